package authz

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

// types are the types of EC2's resources in ARNs, by the prefix of their ids.
var types = map[string]string{
	"i": "instance", "ami": "image", "vol": "volume", "snap": "snapshot", "key": "key-pair", "eni": "network-interface",
	"sg": "security-group", "sgr": "security-group-rule", "subnet": "subnet", "vpc": "vpc", "igw": "internet-gateway", "eigw": "egress-only-internet-gateway",
	"rtb": "route-table", "acl": "network-acl", "dopt": "dhcp-options", "eipalloc": "elastic-ip", "lt": "launch-template",
	"import-ami": "import-image-task", "export-ami": "export-image-task", "build": "build", "registry-task": "registry-task", "publisher": "publisher",
	"iip-assoc": "instance", // the one that an instance profile is associated with
}

// created are the types of the resources that an action makes.
var created = map[string][]string{
	"ec2:RunInstances":                    {"instance", "volume", "network-interface"},
	"ec2:CreateImage":                     {"image", "snapshot"},
	"ec2:RegisterImage":                   {"image"},
	"ec2:CopyImage":                       {"image"},
	"ec2:ImportImage":                     {"image", "import-image-task", "snapshot"},
	"ec2:ExportImage":                     {"export-image-task"},
	"ec2:CreateVolume":                    {"volume"},
	"ec2:CreateSnapshot":                  {"snapshot"},
	"ec2:CreateSnapshots":                 {"snapshot"},
	"ec2:CopySnapshot":                    {"snapshot"},
	"ec2:CreateSecurityGroup":             {"security-group"},
	"ec2:CreateVpc":                       {"vpc"},
	"ec2:CreateDefaultVpc":                {"vpc"},
	"ec2:CreateSubnet":                    {"subnet"},
	"ec2:CreateDefaultSubnet":             {"subnet"},
	"ec2:CreateInternetGateway":           {"internet-gateway"},
	"ec2:CreateEgressOnlyInternetGateway": {"egress-only-internet-gateway"},
	"ec2:CreateRouteTable":                {"route-table"},
	"ec2:CreateNetworkAcl":                {"network-acl"},
	"ec2:CreateNetworkAclEntry":           {},
	"ec2:CreateNetworkInterface":          {"network-interface"},
	"ec2:AllocateAddress":                 {"elastic-ip"},
	"ec2:CreateDhcpOptions":               {"dhcp-options"},
	"ec2:CreateLaunchTemplate":            {"launch-template"},
	"bundt:BuildImage":                    {"image"},
	"bundt:PullImage":                     {"image", "snapshot"},
	"bundt:AdoptDomain":                   {"image", "import-image-task", "snapshot"},
	"bundt:PullProductImage":              {"image", "snapshot"},
	"ec2:CreateKeyPair":                   {}, // named in the request
	"ec2:ImportKeyPair":                   {},
	"ec2:CreateTags":                      {},
	"ec2:CreateRoute":                     {},
	"ec2:CreateLaunchTemplateVersion":     {},
}

// notResources are members whose text is not an id, whatever it looks like.
var notResources = []string{"Filters", "TagSpecifications", "Tags", "UserData", "ClientToken", "Description", "Name", "NextToken", "LaunchTemplateData"}

// checks lists what a call asks of the policies.
func (a *Authorizer) checks(ctx context.Context, call *api.Call, action string) []check {
	account := call.Principal.Identity.AccountID
	switch ServiceOf(action) {
	case "iam":
		return []check{a.iamCheck(ctx, call, action)}
	case "sts":
		return stsChecks(call, action)
	case "ssm":
		return ssmChecks(a.directory.Region(), call, action)
	case "cloudwatch": // whose metrics are no resources
		return []check{{action: action, resource: "*"}}
	}
	if strings.HasPrefix(call.Action, "Describe") || call.Input == nil {
		return []check{{action: action, resource: "*"}}
	}
	var out []check
	for _, t := range created[action] {
		out = append(out, check{action: action, resource: a.arn(account, t, "*"), kind: t})
	}
	for _, ref := range references(call.Input) {
		kind := types[prefixOf(ref)]
		name := ref
		if prefix := prefixOf(ref); prefix == "key" || prefix == "iip-assoc" {
			if o, ok, _ := a.objects(ctx, account, ref); ok {
				name = o.Name // key pairs' ARNs have names
			}
		}
		out = append(out, check{action: action, resource: a.arn(account, kind, name), kind: kind, ref: ref})
	}
	if name := text(call.Input, "KeyName"); name != "" {
		out = append(out, check{action: action, resource: a.arn(account, "key-pair", name), kind: "key-pair", ref: name})
	}
	if action == "ec2:RunInstances" {
		out = append(out, a.defaults(account, action, out)...)
	}
	out = append(append(out, a.passRole(ctx, call)...), a.aliasChecks(call)...)
	if len(out) == 0 {
		out = []check{{action: action, resource: "*"}}
	}
	return append(out, a.tagChecks(account, call, action, out)...)
}

// defaults are the resources that a launch uses without naming them.
func (a *Authorizer) defaults(account, action string, named []check) (out []check) {
	for _, kind := range []string{"subnet", "security-group"} {
		if !slices.ContainsFunc(named, func(c check) bool {
			return c.kind == kind || (kind == "subnet" && c.kind == "network-interface" && c.ref != "")
		}) {
			out = append(out, check{action: action, resource: a.arn(account, kind, "*"), kind: kind})
		}
	}
	return out
}

// passRole asks whether the caller may hand the role of an instance profile on.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html
func (a *Authorizer) passRole(ctx context.Context, call *api.Call) []check {
	f := member(call.Input, "IamInstanceProfile")
	if !f.IsValid() {
		return nil
	}
	profile, _ := f.Interface().(*ec2types.IamInstanceProfileSpecification)
	if profile == nil {
		return nil
	}
	account := call.Principal.Identity.AccountID
	name := ec2types.Value(profile.Name)
	if arn := ec2types.Value(profile.Arn); name == "" {
		name = arn[strings.LastIndexByte(arn, '/')+1:]
	}
	resource := "arn:aws:iam::" + account + ":role/*" // until it is known which
	if p, err := a.directory.Profile(ctx, account, name); err == nil && p.Role != "" {
		if r, err := a.directory.Role(ctx, account, p.Role); err == nil {
			resource = r.ARN()
		}
	}
	return []check{{action: "iam:PassRole", service: "ec2", resource: resource, extra: []conditionKey{{"iam:PassedToService", []string{"ec2.amazonaws.com"}}}}}
}

// tagChecks asks ec2:CreateTags for every kind of resource that is tagged as it is made.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html
func (a *Authorizer) tagChecks(account string, call *api.Call, action string, named []check) (out []check) {
	_, name, _ := strings.Cut(action, ":")
	for _, kind := range taggedKinds(call.Input) {
		resource := a.arn(account, kind, "*")
		if i := slices.IndexFunc(named, func(c check) bool { return c.kind == kind && kind == "key-pair" }); i >= 0 {
			resource = named[i].resource
		}
		out = append(out, check{
			action: "ec2:CreateTags", resource: resource, kind: kind,
			extra: []conditionKey{{"ec2:CreateAction", []string{name}}},
		})
	}
	return out
}

// taggedKinds are the types that a request's tag specifications are for.
func taggedKinds(input any) (kinds []string) {
	for _, s := range tagSpecifications(input) {
		if kind := ec2types.Value(s.ResourceType); len(s.Tags) > 0 && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

func tagSpecifications(input any) []ec2types.TagSpecification {
	f := member(input, "TagSpecifications")
	if !f.IsValid() {
		return nil
	}
	specs, _ := f.Interface().([]ec2types.TagSpecification)
	return specs
}

// arn names a resource of EC2's. Images and snapshots may be shared: their ARNs
// have no account.
func (a *Authorizer) arn(account, kind, name string) string {
	service := "ec2"
	switch kind {
	case "image", "snapshot":
		account = ""
	case "build":
		service = "bundt"
	}
	return "arn:aws:" + service + ":" + a.directory.Region() + ":" + account + ":" + kind + "/" + name
}

// member returns a member of an input, the zero Value if it has none of that name.
func member(input any, name string) reflect.Value {
	v := reflect.ValueOf(input)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return v.Elem().FieldByName(name)
}

// text returns a string member of an input, "" if it is absent.
func text(input any, name string) string {
	f := member(input, name)
	if !f.IsValid() {
		return ""
	}
	if f.Kind() == reflect.Pointer {
		if f.IsNil() {
			return ""
		}
		f = f.Elem()
	}
	if f.Kind() != reflect.String {
		return ""
	}
	return f.String()
}

// references returns every id of a resource in an input, each once.
func references(input any) []string {
	var ids []string
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.Uint8 {
				return
			}
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Struct:
			for f, value := range v.Fields() {
				if f.IsExported() && !slices.Contains(notResources, f.Name) {
					walk(value)
				}
			}
		case reflect.String:
			if id := v.String(); types[prefixOf(id)] != "" && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	walk(reflect.ValueOf(input))
	return ids
}

// prefixOf is what stands before the last hyphen of an id, if letters and digits
// follow it: "" of anything else.
func prefixOf(id string) string {
	i := strings.LastIndexByte(id, '-')
	if i < 0 || i == len(id)-1 {
		return ""
	}
	for _, r := range id[i+1:] {
		if (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return ""
		}
	}
	return id[:i]
}
