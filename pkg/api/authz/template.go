package authz

import (
	"reflect"
	"slices"
	"strconv"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

// template adds the condition keys of a launch from a launch template.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/permissions-for-launch-templates.html
func (k *conditionKeys) template(call *api.Call, in *ec2types.RunInstancesInput, c *check) {
	asked, resolved := call.Asked.(*ec2types.RunInstancesInput)
	if !resolved || c.action != "ec2:RunInstances" || in.LaunchTemplate == nil {
		return
	}
	k.add("ec2:LaunchTemplate", k.templateARN(ec2types.Value(in.LaunchTemplate.LaunchTemplateId)))
	k.add("ec2:IsLaunchTemplateResource", strconv.FormatBool(fromTemplate(asked, c)))
}

// ofOthers are the members of a launch that say something of a resource other
// than the instance.
var ofOthers = map[string][]string{
	"volume":            {"BlockDeviceMappings"},
	"network-interface": {"NetworkInterfaces", "SubnetId", "SecurityGroupIds", "SecurityGroups", "PrivateIpAddress"},
	"subnet":            {"NetworkInterfaces", "SubnetId"},
	"security-group":    {"NetworkInterfaces", "SecurityGroupIds", "SecurityGroups"},
	"image":             {"ImageId"},
	"key-pair":          {"KeyName"},
}

// ofTheCall are the members that say how to launch, not what.
var ofTheCall = []string{"LaunchTemplate", "MinCount", "MaxCount", "ClientToken", "DryRun"}

// fromTemplate reports whether a resource is as the launch template has it: the
// request itself says nothing of it.
func fromTemplate(asked *ec2types.RunInstancesInput, c *check) bool {
	if c.kind == "image" && asked.ImageId != nil { // by an alias, perhaps
		return false
	}
	if c.ref != "" && c.kind != "key-pair" {
		return c.kind != "launch-template" && !slices.Contains(references(asked), c.ref)
	}
	if members, ok := ofOthers[c.kind]; ok {
		return !slices.ContainsFunc(members, func(name string) bool { return !member(asked, name).IsZero() })
	}
	others := slices.Clone(ofTheCall)
	for _, members := range ofOthers {
		others = append(others, members...)
	}
	for f, v := range reflect.ValueOf(asked).Elem().Fields() {
		if !v.IsZero() && !slices.Contains(others, f.Name) {
			return false
		}
	}
	return true
}
