package actions

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerInstanceAttributes(t *api.Table) {
	api.Register(t, api.Action[ec2types.DescribeInstanceAttributeInput, ec2types.DescribeInstanceAttributeOutput]{
		Name: "DescribeInstanceAttribute", Handler: a.describeInstanceAttribute, Acts: []string{"InstanceId", "Attribute"},
	})
	api.Register(t, api.Action[ec2types.ModifyInstanceAttributeInput, ec2types.ModifyInstanceAttributeOutput]{
		Name: "ModifyInstanceAttribute", Handler: a.modifyInstanceAttribute,
		Acts: []string{
			"InstanceId", "Attribute", "Value", "DisableApiStop", "DisableApiTermination", "EbsOptimized", "EnaSupport.Value=true",
			"InstanceInitiatedShutdownBehavior", "InstanceType", "UserData", "SourceDestCheck", "Groups",
			"BlockDeviceMappings.DeviceName", "BlockDeviceMappings.Ebs.DeleteOnTermination", "BlockDeviceMappings.Ebs.VolumeId",
		},
	})
	api.Register(t, api.Action[ec2types.ResetInstanceAttributeInput, ec2types.ResetInstanceAttributeOutput]{
		Name: "ResetInstanceAttribute", Handler: a.resetInstanceAttribute, Acts: []string{"InstanceId", "Attribute=kernel|ramdisk|sourceDestCheck"},
	})
	api.Register(t, api.Action[ec2types.ModifyInstanceMetadataOptionsInput, ec2types.ModifyInstanceMetadataOptionsOutput]{
		Name: "ModifyInstanceMetadataOptions", Handler: a.modifyInstanceMetadataOptions,
		Acts: []string{"InstanceId", "HttpTokens", "HttpEndpoint", "HttpPutResponseHopLimit", "InstanceMetadataTags", "HttpProtocolIpv6"},
	})
	api.Register(t, api.Action[ec2types.MonitorInstancesInput, ec2types.MonitorInstancesOutput]{
		Name: "MonitorInstances", Acts: []string{"InstanceIds"},
		Handler: func(ctx context.Context, in *ec2types.MonitorInstancesInput) (*ec2types.MonitorInstancesOutput, error) {
			shown, err := a.monitor(ctx, in.InstanceIds, true)
			return &ec2types.MonitorInstancesOutput{InstanceMonitorings: shown}, err
		},
	})
	api.Register(t, api.Action[ec2types.UnmonitorInstancesInput, ec2types.UnmonitorInstancesOutput]{
		Name: "UnmonitorInstances", Acts: []string{"InstanceIds"},
		Handler: func(ctx context.Context, in *ec2types.UnmonitorInstancesInput) (*ec2types.UnmonitorInstancesOutput, error) {
			shown, err := a.monitor(ctx, in.InstanceIds, false)
			return &ec2types.UnmonitorInstancesOutput{InstanceMonitorings: shown}, err
		},
	})
}

// describeInstanceAttribute shows one attribute and no other.
func (a *Actions) describeInstanceAttribute(ctx context.Context, in *ec2types.DescribeInstanceAttributeInput) (*ec2types.DescribeInstanceAttributeOutput, error) {
	found, _, err := a.findInstances(ctx, instanceQuery{ids: []string{*in.InstanceId}})
	if err != nil {
		return nil, err
	}
	i, shape := found[0].record, found[0].shape()
	boolean := func(v *bool) *ec2types.AttributeBooleanValue { return &ec2types.AttributeBooleanValue{Value: v} }
	out := &ec2types.DescribeInstanceAttributeOutput{InstanceId: ptr(i.ID)}
	switch *in.Attribute {
	case ec2types.InstanceAttributeNameBlockDeviceMapping:
		out.BlockDeviceMappings = shape.BlockDeviceMappings
	case ec2types.InstanceAttributeNameDisableApiStop:
		out.DisableApiStop = boolean(ptr(i.Options.DisableAPIStop))
	case ec2types.InstanceAttributeNameDisableApiTermination:
		out.DisableApiTermination = boolean(ptr(i.Options.DisableAPITermination))
	case ec2types.InstanceAttributeNameEbsOptimized:
		out.EbsOptimized = boolean(ptr(i.Options.EbsOptimized))
	case ec2types.InstanceAttributeNameEnaSupport:
		out.EnaSupport = boolean(shape.EnaSupport)
	case ec2types.InstanceAttributeNameEnclaveOptions:
		out.EnclaveOptions = shape.EnclaveOptions
	case ec2types.InstanceAttributeNameGroupSet:
		out.Groups = shape.SecurityGroups
	case ec2types.InstanceAttributeNameInstanceInitiatedShutdownBehavior:
		out.InstanceInitiatedShutdownBehavior = &ec2types.AttributeValue{Value: ptr(shutdownBehavior(i))}
	case ec2types.InstanceAttributeNameInstanceType:
		out.InstanceType = &ec2types.AttributeValue{Value: ptr(i.Type)}
	case ec2types.InstanceAttributeNameKernel: // HVM instances have neither
		out.KernelId = &ec2types.AttributeValue{}
	case ec2types.InstanceAttributeNameRamdisk:
		out.RamdiskId = &ec2types.AttributeValue{}
	case ec2types.InstanceAttributeNameProductCodes:
		out.ProductCodes = shape.ProductCodes
	case ec2types.InstanceAttributeNameRootDeviceName:
		out.RootDeviceName = &ec2types.AttributeValue{Value: ptr(i.RootDevice)}
	case ec2types.InstanceAttributeNameSourceDestCheck:
		out.SourceDestCheck = boolean(shape.SourceDestCheck)
	case ec2types.InstanceAttributeNameSriovNetSupport:
		out.SriovNetSupport = &ec2types.AttributeValue{}
	case ec2types.InstanceAttributeNameUserData:
		out.UserData = &ec2types.AttributeValue{}
		if len(i.UserData) > 0 {
			out.UserData.Value = ptr(base64.StdEncoding.EncodeToString(i.UserData))
		}
	}
	return out, nil
}

func (a *Actions) modifyInstanceAttribute(ctx context.Context, in *ec2types.ModifyInstanceAttributeInput) (*ec2types.ModifyInstanceAttributeOutput, error) {
	if _, err := a.account(ctx).Instance(ctx, *in.InstanceId); err != nil {
		return nil, err
	}
	if err := nameAttribute(in); err != nil {
		return nil, err
	}
	if err := oneAttribute(in); err != nil {
		return nil, err
	}
	ch, err := instanceChange(in)
	if err != nil {
		return nil, err
	}
	return nil, a.account(ctx).ModifyInstance(ctx, *in.InstanceId, ch)
}

// nameAttribute turns the old form of the request, Attribute and Value, into the
// new one, which has a member for each attribute.
func nameAttribute(in *ec2types.ModifyInstanceAttributeInput) error {
	if in.Attribute == nil {
		if in.Value != nil {
			return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter Attribute")
		}
		return nil
	}
	name := *in.Attribute
	if in.Value == nil {
		switch name {
		case ec2types.InstanceAttributeNameBlockDeviceMapping, ec2types.InstanceAttributeNameGroupSet:
			return nil // the value is a member of its own
		}
		return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter Value")
	}
	text := &ec2types.AttributeValue{Value: in.Value}
	boolean := &ec2types.AttributeBooleanValue{Value: ptr(*in.Value == "true")}
	switch name {
	case ec2types.InstanceAttributeNameInstanceType:
		in.InstanceType = text
		return nil
	case ec2types.InstanceAttributeNameInstanceInitiatedShutdownBehavior:
		in.InstanceInitiatedShutdownBehavior = text
		return nil
	case ec2types.InstanceAttributeNameUserData:
		data, err := base64.StdEncoding.DecodeString(*in.Value)
		if err != nil {
			return model.Errorf(model.CodeInvalidParameterValue, "Invalid BASE64 encoding of user data")
		}
		in.UserData = &ec2types.BlobAttributeValue{Value: data}
		return nil
	case ec2types.InstanceAttributeNameDisableApiStop:
		in.DisableApiStop = boolean
	case ec2types.InstanceAttributeNameDisableApiTermination:
		in.DisableApiTermination = boolean
	case ec2types.InstanceAttributeNameEbsOptimized:
		in.EbsOptimized = boolean
	case ec2types.InstanceAttributeNameEnaSupport:
		in.EnaSupport = boolean
	case ec2types.InstanceAttributeNameSourceDestCheck:
		in.SourceDestCheck = boolean
	default:
		return model.Errorf(model.CodeUnsupportedOperation, "The attribute %s cannot be modified", name)
	}
	if *in.Value != "true" && *in.Value != "false" {
		return model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter Value is invalid: %s is true or false", *in.Value, name)
	}
	return nil
}

// oneAttribute refuses a request that changes none or several.
func oneAttribute(in *ec2types.ModifyInstanceAttributeInput) error {
	var given []string
	for name, set := range map[string]bool{
		"blockDeviceMapping": len(in.BlockDeviceMappings) > 0, "disableApiStop": in.DisableApiStop != nil, "disableApiTermination": in.DisableApiTermination != nil,
		"ebsOptimized": in.EbsOptimized != nil, "enaSupport": in.EnaSupport != nil, "groupSet": len(in.Groups) > 0,
		"instanceInitiatedShutdownBehavior": in.InstanceInitiatedShutdownBehavior != nil, "instanceType": in.InstanceType != nil,
		"sourceDestCheck": in.SourceDestCheck != nil, "userData": in.UserData != nil,
	} {
		if set {
			given = append(given, name)
		}
	}
	slices.Sort(given)
	switch len(given) {
	case 0:
		return model.Errorf(model.CodeInvalidParameterCombination, "No attributes specified.")
	case 1:
		return nil
	}
	return model.Errorf(model.CodeInvalidParameterCombination, "Fields for multiple attribute types specified: %s", strings.Join(given, ", "))
}

// instanceChange is what the request asks of pkg/cloud.
func instanceChange(in *ec2types.ModifyInstanceAttributeInput) (ch cloud.InstanceChange, err error) {
	boolean := func(v *ec2types.AttributeBooleanValue) *bool {
		if v == nil {
			return nil
		}
		return v.Value
	}
	ch.DisableAPIStop, ch.DisableAPITermination = boolean(in.DisableApiStop), boolean(in.DisableApiTermination)
	ch.EbsOptimized, ch.Stopped = boolean(in.EbsOptimized), in.EnaSupport != nil
	if in.InstanceType != nil {
		ch.Type = ptr(ec2types.Value(in.InstanceType.Value))
	}
	if in.UserData != nil {
		ch.UserData = &in.UserData.Value
	}
	if s := in.InstanceInitiatedShutdownBehavior; s != nil {
		switch v := ec2types.Value(s.Value); v {
		case ec2types.ShutdownBehaviorStop, ec2types.ShutdownBehaviorTerminate:
			ch.TerminateOnHalt = ptr(v == ec2types.ShutdownBehaviorTerminate)
		default:
			return ch, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter InstanceInitiatedShutdownBehavior is invalid. Valid values: stop, terminate", v)
		}
	}
	ch.GroupIDs, ch.SourceDestCheck = in.Groups, boolean(in.SourceDestCheck)
	for _, m := range in.BlockDeviceMappings {
		if m.DeviceName == nil || m.Ebs == nil || m.Ebs.DeleteOnTermination == nil {
			return ch, model.Errorf(model.CodeMissingParameter, "A block device mapping needs DeviceName and Ebs.DeleteOnTermination")
		}
		ch.BlockDevices = append(ch.BlockDevices, cloud.BlockDeviceChange{
			Device: *m.DeviceName, VolumeID: ec2types.Value(m.Ebs.VolumeId), DeleteOnTermination: *m.Ebs.DeleteOnTermination,
		})
	}
	return ch, nil
}

// resetInstanceAttribute: kernel and RAM disk of an HVM instance are its image's
// at all times, but EC2 wants the instance stopped all the same.
func (a *Actions) resetInstanceAttribute(ctx context.Context, in *ec2types.ResetInstanceAttributeInput) (*ec2types.ResetInstanceAttributeOutput, error) {
	ch := cloud.InstanceChange{Stopped: true}
	if *in.Attribute == ec2types.InstanceAttributeNameSourceDestCheck {
		ch = cloud.InstanceChange{SourceDestCheck: ptr(true)}
	}
	return nil, a.account(ctx).ModifyInstance(ctx, *in.InstanceId, ch)
}

func (a *Actions) modifyInstanceMetadataOptions(ctx context.Context, in *ec2types.ModifyInstanceMetadataOptionsInput) (*ec2types.ModifyInstanceMetadataOptionsOutput, error) {
	if _, err := a.account(ctx).Instance(ctx, *in.InstanceId); err != nil {
		return nil, err
	}
	ch := cloud.MetadataChange{HTTPTokens: in.HttpTokens}
	if in.HttpTokens == nil && in.HttpEndpoint == nil && in.HttpPutResponseHopLimit == nil && in.InstanceMetadataTags == nil && in.HttpProtocolIpv6 == nil {
		return nil, model.Errorf(model.CodeMissingParameter, "The request must contain at least one metadata option")
	}
	if h := in.HttpPutResponseHopLimit; h != nil {
		if err := checkHopLimit(*h); err != nil {
			return nil, err
		}
		ch.HopLimit = ptr(int(*h))
	}
	if in.HttpEndpoint != nil {
		ch.Disabled = ptr(*in.HttpEndpoint == ec2types.InstanceMetadataEndpointStateDisabled)
	}
	if in.InstanceMetadataTags != nil {
		ch.InstanceTags = ptr(*in.InstanceMetadataTags == ec2types.InstanceMetadataTagsStateEnabled)
	}
	if in.HttpProtocolIpv6 != nil {
		ch.IPv6 = ptr(*in.HttpProtocolIpv6 == ec2types.InstanceMetadataProtocolStateEnabled)
	}
	i, err := a.account(ctx).ModifyMetadata(ctx, *in.InstanceId, ch)
	return &ec2types.ModifyInstanceMetadataOptionsOutput{InstanceId: in.InstanceId, InstanceMetadataOptions: metadataOptionsOf(i.Metadata, i.State)}, err
}

func (a *Actions) monitor(ctx context.Context, ids []string, on bool) ([]ec2types.InstanceMonitoring, error) {
	if err := a.account(ctx).Monitor(ctx, ids, on); err != nil {
		return nil, err
	}
	var out []ec2types.InstanceMonitoring
	for _, id := range ids {
		out = append(out, ec2types.InstanceMonitoring{InstanceId: ptr(id), Monitoring: monitoringOf(&model.InstanceOptions{DetailedMonitoring: on})})
	}
	return out, nil
}
