package actions

import (
	"context"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

// mappingActs are the members of a block device mapping that an image can have.
func mappingActs(more ...string) []string {
	acts := []string{"BlockDeviceMappings.DeviceName", "BlockDeviceMappings.Ebs.Encrypted=false"}
	for _, m := range []string{"DeleteOnTermination", "Iops", "SnapshotId", "Throughput", "VolumeSize", "VolumeType"} {
		acts = append(acts, "BlockDeviceMappings.Ebs."+m)
	}
	return append(acts, more...)
}

func (a *Actions) registerImages(t *api.Table) {
	api.Register(t, api.Action[ec2types.CreateImageInput, ec2types.CreateImageOutput]{
		Name: "CreateImage", Handler: a.createImage, KeepEmpty: []string{"BlockDeviceMappings.NoDevice"},
		Acts: mappingActs("BlockDeviceMappings.NoDevice", "InstanceId", "Name", "Description", "NoReboot", "TagSpecifications"),
	})
	api.Register(t, api.Action[ec2types.RegisterImageInput, ec2types.RegisterImageOutput]{
		Name: "RegisterImage", Handler: a.registerImage,
		Acts: mappingActs("Name", "Description", "Architecture", "RootDeviceName", "BootMode", "VirtualizationType=hvm", "EnaSupport",
			"ImdsSupport", "SriovNetSupport", "TagSpecifications"),
	})
	api.Register(t, api.Action[ec2types.CopyImageInput, ec2types.CopyImageOutput]{
		Name: "CopyImage", Handler: a.copyImage,
		Acts: []string{"ClientToken", "CopyImageTags", "Description", "Encrypted", "KmsKeyId", "Name", "SourceImageId", "SourceRegion", "TagSpecifications"},
	})
	api.Register(t, api.Action[ec2types.DeregisterImageInput, ec2types.DeregisterImageOutput]{
		Name: "DeregisterImage", Handler: a.deregisterImage, Acts: []string{"ImageId", "DeleteAssociatedSnapshots"},
	})
	api.Register(t, api.Action[ec2types.DescribeImagesInput, ec2types.DescribeImagesOutput]{
		Name: "DescribeImages", Handler: a.describeImages, Resolve: a.resolveImages,
		Acts: []string{"ImageIds", "Owners", "ExecutableUsers", "Filters", "IncludeDeprecated", "IncludeDisabled", "MaxResults", "NextToken"},
	})
	a.registerImageAttributes(t)
	a.registerImageStates(t)
	a.registerImageBin(t)
	a.registerTransfers(t)
}

func (a *Actions) createImage(ctx context.Context, in *ec2types.CreateImageInput) (*ec2types.CreateImageOutput, error) {
	tags, err := tagSpecs(in.TagSpecifications, "image", "snapshot")
	if err != nil {
		return nil, err
	}
	mappings, err := blockDevices(in.BlockDeviceMappings)
	if err != nil {
		return nil, err
	}
	img, err := a.account(ctx).CreateImage(ctx, cloud.ImageRequest{
		InstanceID: ec2types.Value(in.InstanceId), Name: ec2types.Value(in.Name), Description: ec2types.Value(in.Description), NoReboot: ec2types.Value(in.NoReboot),
		Tags: tags["image"], SnapshotTags: tags["snapshot"], Mappings: mappings,
	})
	return &ec2types.CreateImageOutput{ImageId: ptr(img.ID)}, err
}

func (a *Actions) registerImage(ctx context.Context, in *ec2types.RegisterImageInput) (*ec2types.RegisterImageOutput, error) {
	tags, err := tagSpecs(in.TagSpecifications, "image")
	if err != nil {
		return nil, err
	}
	mappings, err := blockDevices(in.BlockDeviceMappings)
	if err != nil {
		return nil, err
	}
	r := cloud.Registration{
		Name: ec2types.Value(in.Name), Description: ec2types.Value(in.Description), Arch: model.Arch(ec2types.Value(in.Architecture)), RootDevice: ec2types.Value(in.RootDeviceName),
		Mode: model.BootMode(ec2types.Value(in.BootMode)), ENA: ec2types.Value(in.EnaSupport), SriovNet: ec2types.Value(in.SriovNetSupport), IMDS: ec2types.Value(in.ImdsSupport),
		Tags: tags["image"], Mappings: mappings,
	}
	if r.RootDevice == "" {
		return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter RootDeviceName")
	}
	if r.SriovNet != "" && r.SriovNet != "simple" {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter SriovNetSupport is invalid: must be simple", r.SriovNet)
	}
	if r.Arch == "" {
		r.Arch = model.I386 // EC2's default for images backed by EBS
	}
	if !r.Arch.Valid() {
		return nil, model.Errorf(model.CodeUnsupportedOperation, "The architecture %s is not supported: only %v are", r.Arch, model.Archs)
	}
	if r.Firmware, err = model.FirmwareFor(r.Mode, r.Arch); err != nil {
		return nil, err
	}
	img, err := a.account(ctx).RegisterImage(ctx, r)
	return &ec2types.RegisterImageOutput{ImageId: ptr(img.ID)}, err
}

func (a *Actions) copyImage(ctx context.Context, in *ec2types.CopyImageInput) (*ec2types.CopyImageOutput, error) {
	tags, err := tagSpecs(in.TagSpecifications, "image", "snapshot")
	if err != nil {
		return nil, err
	}
	id, err := a.account(ctx).CopyImage(ctx, cloud.ImageCopy{
		SourceImageID: ec2types.Value(in.SourceImageId), SourceRegion: ec2types.Value(in.SourceRegion), Name: ec2types.Value(in.Name),
		Description: ec2types.Value(in.Description), CopyTags: ec2types.Value(in.CopyImageTags), Tags: tags["image"], SnapshotTags: tags["snapshot"],
		Encryption: encryption(in.Encrypted, in.KmsKeyId), ClientToken: ec2types.Value(in.ClientToken),
	})
	return &ec2types.CopyImageOutput{ImageId: ptr(id)}, err
}

func (a *Actions) deregisterImage(ctx context.Context, in *ec2types.DeregisterImageInput) (*ec2types.DeregisterImageOutput, error) {
	done, err := a.account(ctx).DeregisterImage(ctx, ec2types.Value(in.ImageId), ec2types.Value(in.DeleteAssociatedSnapshots))
	if err != nil {
		return nil, err
	}
	out := &ec2types.DeregisterImageOutput{Return: ptr(true)}
	for _, d := range done {
		out.DeleteSnapshotResults = append(out.DeleteSnapshotResults, ec2types.DeleteSnapshotReturnCode{SnapshotId: ptr(d.SnapshotID), ReturnCode: ptr(d.Result)})
	}
	return out, nil
}
