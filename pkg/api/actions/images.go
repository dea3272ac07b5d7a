package actions

import (
	"context"
	"slices"
	"strconv"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerImages(t *api.Table) {
	api.Register(t, api.Action[ec2types.CreateImageInput, ec2types.CreateImageOutput]{
		Name: "CreateImage", Handler: a.createImage,
		Acts: []string{
			"InstanceId", "Name", "Description", "NoReboot", "TagSpecifications",
			"BlockDeviceMappings.DeviceName", "BlockDeviceMappings.Ebs.VolumeSize", "BlockDeviceMappings.Ebs.DeleteOnTermination",
		},
	})
	api.Register(t, api.Action[ec2types.RegisterImageInput, ec2types.RegisterImageOutput]{
		Name: "RegisterImage", Handler: a.registerImage,
		Acts: []string{
			"Name", "Description", "Architecture", "RootDeviceName", "BootMode", "VirtualizationType", "EnaSupport", "TagSpecifications",
			"BlockDeviceMappings.DeviceName", "BlockDeviceMappings.Ebs.SnapshotId", "BlockDeviceMappings.Ebs.VolumeSize",
			"BlockDeviceMappings.Ebs.DeleteOnTermination", "BlockDeviceMappings.Ebs.VolumeType",
		},
	})
	api.Register(t, api.Action[ec2types.DeregisterImageInput, ec2types.DeregisterImageOutput]{
		Name: "DeregisterImage", Acts: []string{"ImageId"},
		Handler: func(ctx context.Context, in *ec2types.DeregisterImageInput) (*ec2types.DeregisterImageOutput, error) {
			return &ec2types.DeregisterImageOutput{}, a.account(ctx).DeregisterImage(ctx, ec2types.Value(in.ImageId))
		},
	})
	api.Register(t, api.Action[ec2types.DescribeImagesInput, ec2types.DescribeImagesOutput]{
		Name: "DescribeImages", Handler: a.describeImages,
		Acts: []string{"ImageIds", "Owners", "ExecutableUsers", "Filters", "IncludeDeprecated", "IncludeDisabled", "MaxResults", "NextToken"},
	})
}

func (a *Actions) createImage(ctx context.Context, in *ec2types.CreateImageInput) (*ec2types.CreateImageOutput, error) {
	tags, err := tagSpecs(in.TagSpecifications, "image", "snapshot")
	if err != nil {
		return nil, err
	}
	req := cloud.ImageRequest{
		InstanceID: ec2types.Value(in.InstanceId), Name: ec2types.Value(in.Name), Description: ec2types.Value(in.Description), NoReboot: ec2types.Value(in.NoReboot),
		Tags: tags["image"], SnapshotTags: tags["snapshot"],
	}
	for _, m := range in.BlockDeviceMappings {
		o := cloud.BlockDeviceOverride{Device: ec2types.Value(m.DeviceName)}
		if m.Ebs != nil {
			o.SizeGiB, o.DeleteOnTermination = int64(ec2types.Value(m.Ebs.VolumeSize)), m.Ebs.DeleteOnTermination
		}
		req.BlockDevices = append(req.BlockDevices, o)
	}
	img, err := a.account(ctx).CreateImage(ctx, req)
	return &ec2types.CreateImageOutput{ImageId: ptr(img.ID)}, err
}

func (a *Actions) registerImage(ctx context.Context, in *ec2types.RegisterImageInput) (*ec2types.RegisterImageOutput, error) {
	tags, err := tagSpecs(in.TagSpecifications, "image")
	if err != nil {
		return nil, err
	}
	r := cloud.Registration{
		Name: ec2types.Value(in.Name), Description: ec2types.Value(in.Description), Arch: model.Arch(ec2types.Value(in.Architecture)), RootDevice: ec2types.Value(in.RootDeviceName),
		Tags: tags["image"],
	}
	if r.Arch == "" {
		r.Arch = model.I386 // EC2's default for images backed by EBS
	}
	if !r.Arch.Valid() {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter architecture is invalid: must be one of %v", r.Arch, model.Archs)
	}
	if v := ec2types.Value(in.VirtualizationType); v != "" && v != "hvm" {
		return nil, model.Errorf(model.CodeUnsupportedOperation, "virtualization type '%s' is not supported: only hvm is", v)
	}
	if r.Firmware, err = firmwareFor(ec2types.Value(in.BootMode), r.Arch); err != nil {
		return nil, err
	}
	for _, m := range in.BlockDeviceMappings {
		b := model.BlockDevice{Device: ec2types.Value(m.DeviceName), DeleteOnTermination: true}
		if m.Ebs == nil || ec2types.Value(m.Ebs.SnapshotId) == "" {
			return nil, model.Errorf(model.CodeUnsupportedOperation, "the device '%s' has no snapshot: images with blank volumes are not supported yet", b.Device)
		}
		b.SnapshotID, b.SizeGiB = ec2types.Value(m.Ebs.SnapshotId), int64(ec2types.Value(m.Ebs.VolumeSize))
		if d := m.Ebs.DeleteOnTermination; d != nil {
			b.DeleteOnTermination = *d
		}
		if v := ec2types.Value(m.Ebs.VolumeType); v != "" && v != volumeType {
			return nil, model.Errorf(model.CodeUnsupportedOperation, "volume type '%s' is not supported: only %s is", v, volumeType)
		}
		r.BlockDevices = append(r.BlockDevices, b)
	}
	img, err := a.account(ctx).RegisterImage(ctx, r)
	return &ec2types.RegisterImageOutput{ImageId: ptr(img.ID)}, err
}

// firmwareFor is EC2's default where no boot mode is given: UEFI on arm64, BIOS elsewhere.
func firmwareFor(mode string, arch model.Arch) (model.Firmware, error) {
	switch {
	case mode == "uefi", mode == "" && arch == model.ARM64:
		return model.FirmwareUEFI, nil
	case mode == "legacy-bios" && arch == model.ARM64:
		return "", model.Errorf(model.CodeInvalidParameterCombination, "arm64 images boot by uefi only")
	case mode == "legacy-bios", mode == "":
		return model.FirmwareBIOS, nil
	case mode == "uefi-preferred":
		return model.FirmwareUEFI, nil
	}
	return "", model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter BootMode is invalid: must be legacy-bios, uefi or uefi-preferred", mode)
}

func (a *Actions) describeImages(ctx context.Context, in *ec2types.DescribeImagesInput) (*ec2types.DescribeImagesOutput, error) {
	all, err := a.account(ctx).Images(ctx)
	if err != nil {
		return nil, err
	}
	if !mine(ctx, in.Owners) || len(in.ExecutableUsers) > 0 && !mine(ctx, in.ExecutableUsers) {
		if err := imageKind.check(in.ImageIds, func(id string) bool { return slices.ContainsFunc(all, func(i model.Image) bool { return i.ID == id }) }); err != nil {
			return nil, err
		}
		return &ec2types.DescribeImagesOutput{}, nil // only this account's images exist
	}
	page, next, err := describe(a, query[model.Image]{
		action: "DescribeImages", all: all, ids: in.ImageIds, kind: imageKind, filters: in.Filters,
		fields: a.imageFields(), tags: func(i *model.Image) model.Tags { return i.Tags }, max: in.MaxResults, token: in.NextToken, least: 1, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeImagesOutput{NextToken: next}
	for i := range page {
		out.Images = append(out.Images, a.imageOf(&page[i]))
	}
	return out, nil
}

// mine reports whether a list of owners or users takes in this account.
func mine(ctx context.Context, owners []string) bool {
	return len(owners) == 0 || slices.Contains(owners, "self") || slices.Contains(owners, api.PrincipalFrom(ctx).AccountID)
}

func (a *Actions) imageFields() map[string]func(*model.Image) []string {
	one := func(get func(*model.Image) string) func(*model.Image) []string {
		return func(i *model.Image) []string { return []string{get(i)} }
	}
	each := func(get func(model.BlockDevice) string) func(*model.Image) []string {
		return func(i *model.Image) []string {
			var out []string
			for _, b := range i.BlockDevices {
				out = append(out, get(b))
			}
			return out
		}
	}
	return map[string]func(*model.Image) []string{
		"architecture":                     one(func(i *model.Image) string { return string(i.Arch) }),
		"block-device-mapping.device-name": each(func(b model.BlockDevice) string { return b.Device }),
		"block-device-mapping.snapshot-id": each(func(b model.BlockDevice) string { return b.SnapshotID }),
		"block-device-mapping.volume-size": each(func(b model.BlockDevice) string { return strconv.FormatInt(b.SizeGiB, 10) }),
		"block-device-mapping.delete-on-termination": each(func(b model.BlockDevice) string {
			return strconv.FormatBool(b.DeleteOnTermination)
		}),
		"creation-date":       func(i *model.Image) []string { return timeFilter(i.Created) },
		"description":         one(func(i *model.Image) string { return i.Description }),
		"hypervisor":          one(func(*model.Image) string { return "xen" }),
		"image-id":            one(func(i *model.Image) string { return i.ID }),
		"image-type":          one(func(*model.Image) string { return "machine" }),
		"is-public":           one(func(*model.Image) string { return "false" }),
		"manifest-location":   one(func(i *model.Image) string { return i.OwnerID + "/" + i.Name }),
		"name":                one(func(i *model.Image) string { return i.Name }),
		"owner-id":            one(func(i *model.Image) string { return i.OwnerID }),
		"root-device-name":    one(func(i *model.Image) string { return i.RootDevice }),
		"root-device-type":    one(func(*model.Image) string { return "ebs" }),
		"source-instance-id":  one(func(i *model.Image) string { return i.SourceInstance }),
		"state":               one(func(i *model.Image) string { return string(i.State) }),
		"state-reason-code":   one(func(i *model.Image) string { return i.StateReason.Code }),
		"virtualization-type": one(func(*model.Image) string { return "hvm" }),
	}
}
