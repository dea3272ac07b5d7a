package actions

import (
	"context"
	"slices"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerImageAttributes(t *api.Table) {
	api.Register(t, api.Action[ec2types.DescribeImageAttributeInput, ec2types.DescribeImageAttributeOutput]{
		Name: "DescribeImageAttribute", Handler: a.describeImageAttribute, Acts: []string{"Attribute", "ImageId"},
	})
	api.Register(t, api.Action[ec2types.ModifyImageAttributeInput, ec2types.ModifyImageAttributeOutput]{
		Name: "ModifyImageAttribute", Handler: a.modifyImageAttribute, KeepEmpty: []string{"Value", "Description.Value"},
		Acts: []string{
			"Attribute", "Description", "ImageId", "ImdsSupport", "OperationType", "UserGroups", "UserIds", "Value",
			"LaunchPermission.Add.Group", "LaunchPermission.Add.UserId", "LaunchPermission.Remove.Group", "LaunchPermission.Remove.UserId",
		},
	})
	api.Register(t, api.Action[ec2types.ResetImageAttributeInput, ec2types.ResetImageAttributeOutput]{
		Name: "ResetImageAttribute", Acts: []string{"Attribute", "ImageId"},
		Handler: func(ctx context.Context, in *ec2types.ResetImageAttributeInput) (*ec2types.ResetImageAttributeOutput, error) {
			return nil, a.account(ctx).UnshareImage(ctx, ec2types.Value(in.ImageId)) // the only attribute that can be reset
		},
	})
}

func (a *Actions) describeImageAttribute(ctx context.Context, in *ec2types.DescribeImageAttributeInput) (*ec2types.DescribeImageAttributeOutput, error) {
	img, err := a.account(ctx).OwnImage(ctx, ec2types.Value(in.ImageId))
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeImageAttributeOutput{ImageId: ptr(img.ID)}
	value := func(s string) *ec2types.AttributeValue { return &ec2types.AttributeValue{Value: str(s)} }
	switch ec2types.Value(in.Attribute) {
	case ec2types.ImageAttributeNameDescription:
		out.Description = value(img.Description)
	case ec2types.ImageAttributeNameLaunchPermission:
		out.LaunchPermissions = launchPermissions(img.Launch)
	case ec2types.ImageAttributeNameBootMode:
		out.BootMode = value(string(img.Boot.Mode))
	case ec2types.ImageAttributeNameImdsSupport:
		out.ImdsSupport = value(img.IMDS)
	case ec2types.ImageAttributeNameSriovNetSupport:
		out.SriovNetSupport = value(img.SriovNet)
	case ec2types.ImageAttributeNameDeregistrationProtection:
		out.DeregistrationProtection = value(img.Protection.String())
	case ec2types.ImageAttributeNameLastLaunchedTime:
		out.LastLaunchedTime = value("")
		if !img.LastLaunched.IsZero() {
			out.LastLaunchedTime = value(imageTime(img.LastLaunched))
		}
	case ec2types.ImageAttributeNameBlockDeviceMapping: // as EC2 answers since it was deprecated
		return nil, model.Errorf(model.CodeAuthFailure, "Unauthorized attempt to access restricted resource").WithHint("DescribeImages shows an image's block device mapping")
	case ec2types.ImageAttributeNameProductCodes:
		out.ProductCodes = productCodesOf(img.ProductCodes)
	// Images have none of the others.
	case ec2types.ImageAttributeNameKernel:
		out.KernelId = value("")
	case ec2types.ImageAttributeNameRamdisk:
		out.RamdiskId = value("")
	case ec2types.ImageAttributeNameTpmSupport:
		out.TpmSupport = value("")
	case ec2types.ImageAttributeNameUefiData:
		out.UefiData = value("")
	}
	return out, nil
}

func launchPermissions(s model.Sharing) []ec2types.LaunchPermission {
	var out []ec2types.LaunchPermission
	if s.Public {
		out = append(out, ec2types.LaunchPermission{Group: ptr("all")})
	}
	for _, id := range s.Accounts {
		out = append(out, ec2types.LaunchPermission{UserId: ptr(id)})
	}
	return out
}

// modifyImageAttribute changes one attribute, named by its own member or, in the
// older form, by Attribute.
func (a *Actions) modifyImageAttribute(ctx context.Context, in *ec2types.ModifyImageAttributeInput) (*ec2types.ModifyImageAttributeOutput, error) {
	acct, id := a.account(ctx), ec2types.Value(in.ImageId)
	if _, err := acct.OwnImage(ctx, id); err != nil {
		return nil, err
	}
	attribute, err := modifiedAttribute(in)
	if err != nil {
		return nil, err
	}
	switch attribute {
	case ec2types.ImageAttributeNameDescription:
		text := in.Value
		if in.Description != nil {
			text = in.Description.Value
		}
		if text == nil {
			return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter Value")
		}
		return nil, acct.SetImageDescription(ctx, id, *text)
	case ec2types.ImageAttributeNameImdsSupport:
		value := ec2types.Value(in.Value)
		if in.ImdsSupport != nil {
			value = ec2types.Value(in.ImdsSupport.Value)
		}
		if value != ec2types.ImdsSupportValuesV20 {
			return nil, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter ImdsSupport is invalid: must be %s", value, ec2types.ImdsSupportValuesV20)
		}
		return nil, acct.RequireIMDSv2(ctx, id)
	}
	change, err := shareChange(in)
	if err != nil {
		return nil, err
	}
	return nil, acct.ShareImage(ctx, id, change)
}

func modifiedAttribute(in *ec2types.ModifyImageAttributeInput) (string, error) {
	var set []string
	if in.Attribute != nil {
		set = append(set, *in.Attribute)
	}
	for name, has := range map[string]bool{
		ec2types.ImageAttributeNameDescription:      in.Description != nil,
		ec2types.ImageAttributeNameImdsSupport:      in.ImdsSupport != nil,
		ec2types.ImageAttributeNameLaunchPermission: in.LaunchPermission != nil || in.OperationType != nil || len(in.UserIds)+len(in.UserGroups) > 0,
	} {
		if has && !slices.Contains(set, name) {
			set = append(set, name)
		}
	}
	changeable := []string{ec2types.ImageAttributeNameDescription, ec2types.ImageAttributeNameImdsSupport, ec2types.ImageAttributeNameLaunchPermission}
	switch {
	case len(set) == 0:
		return "", model.Errorf(model.CodeInvalidParameterCombination, "No attributes specified")
	case len(set) > 1:
		slices.Sort(set)
		return "", model.Errorf(model.CodeInvalidParameterCombination, "Fields for multiple attribute types specified: %v", set)
	case !slices.Contains(changeable, set[0]):
		return "", model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter attribute is invalid: an image's %v can be changed", set[0], changeable)
	}
	return set[0], nil
}

// shareChange collects the launch permissions to add and to remove, of both forms.
func shareChange(in *ec2types.ModifyImageAttributeInput) (ch cloud.ShareChange, err error) {
	var add, remove []ec2types.LaunchPermission
	if p := in.LaunchPermission; p != nil {
		add, remove = p.Add, p.Remove
	}
	var named []ec2types.LaunchPermission
	for _, id := range in.UserIds {
		named = append(named, ec2types.LaunchPermission{UserId: ptr(id)})
	}
	for _, group := range in.UserGroups {
		named = append(named, ec2types.LaunchPermission{Group: ptr(group)})
	}
	switch op := ec2types.Value(in.OperationType); {
	case op == "add":
		add = append(add, named...)
	case op == "remove":
		remove = append(remove, named...)
	case len(named) > 0:
		return ch, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter OperationType")
	}
	if len(add)+len(remove) == 0 {
		return ch, model.Errorf(model.CodeMissingParameter, "The request must contain the launch permissions to add or to remove")
	}
	if ch.Add, err = sharingOf(add); err != nil {
		return ch, err
	}
	ch.Remove, err = sharingOf(remove)
	return ch, err
}

func sharingOf(permissions []ec2types.LaunchPermission) (s model.Sharing, err error) {
	for _, p := range permissions {
		group, id := ec2types.Value(p.Group), ec2types.Value(p.UserId)
		switch {
		case group == "" && id == "":
			return s, model.Errorf(model.CodeMissingParameter, "A launch permission must contain a UserId or a Group")
		case group != "" && group != "all":
			return s, model.Errorf("InvalidAMIAttributeItemValue", "Invalid attribute item value %q for userGroup item type", group)
		case id != "" && !accountID.MatchString(id):
			return s, model.Errorf("InvalidAMIAttributeItemValue", "Invalid attribute item value %q for userId item type", id)
		}
		s.Public = s.Public || group != ""
		if id != "" {
			s.Accounts = append(s.Accounts, id)
		}
	}
	return s, nil
}

// imageMetadata has instances of an image that supports IMDSv2 only ask for
// tokens, over two hops, where the launch says nothing else, as EC2 does.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-IMDS-new-instances.html
func (a *Actions) imageMetadata(ctx context.Context, in *ec2types.RunInstancesInput) error {
	if in.ImageId == nil {
		return nil
	}
	img, err := a.account(ctx).Image(ctx, *in.ImageId)
	if err != nil || img.IMDS == "" {
		return err
	}
	if in.MetadataOptions == nil {
		in.MetadataOptions = &ec2types.InstanceMetadataOptionsRequest{}
	}
	o := in.MetadataOptions
	if o.HttpTokens == nil {
		o.HttpTokens = ptr("required")
	}
	if o.HttpPutResponseHopLimit == nil {
		o.HttpPutResponseHopLimit = ptr(int32(2))
	}
	return nil
}
