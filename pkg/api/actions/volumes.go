package actions

import (
	"context"
	"strconv"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerVolumes(t *api.Table) {
	api.Register(t, api.Action[ec2types.CreateVolumeInput, ec2types.CreateVolumeOutput]{
		Name: "CreateVolume", Handler: a.createVolume,
		Acts: []string{
			"AvailabilityZone", "Size", "SnapshotId", "VolumeType", "Iops", "Throughput", "TagSpecifications", "ClientToken",
			"Encrypted", "KmsKeyId", "MultiAttachEnabled=false",
		},
	})
	api.Register(t, api.Action[ec2types.DeleteVolumeInput, ec2types.DeleteVolumeOutput]{
		Name: "DeleteVolume", Acts: []string{"VolumeId"},
		Handler: func(ctx context.Context, in *ec2types.DeleteVolumeInput) (*ec2types.DeleteVolumeOutput, error) {
			return &ec2types.DeleteVolumeOutput{}, a.account(ctx).DeleteVolume(ctx, ec2types.Value(in.VolumeId))
		},
	})
	api.Register(t, api.Action[ec2types.AttachVolumeInput, ec2types.AttachVolumeOutput]{
		Name: "AttachVolume", Acts: []string{"VolumeId", "InstanceId", "Device"},
		Handler: func(ctx context.Context, in *ec2types.AttachVolumeInput) (*ec2types.AttachVolumeOutput, error) {
			v, err := a.account(ctx).AttachVolume(ctx, ec2types.Value(in.VolumeId), ec2types.Value(in.InstanceId), ec2types.Value(in.Device))
			return attachmentOf(&v), err
		},
	})
	api.Register(t, api.Action[ec2types.DetachVolumeInput, ec2types.DetachVolumeOutput]{
		Name: "DetachVolume", Acts: []string{"VolumeId", "InstanceId", "Device", "Force"},
		Handler: func(ctx context.Context, in *ec2types.DetachVolumeInput) (*ec2types.DetachVolumeOutput, error) {
			v, err := a.account(ctx).DetachVolume(ctx, cloud.Detachment{
				VolumeID: ec2types.Value(in.VolumeId), InstanceID: ec2types.Value(in.InstanceId),
				Device: ec2types.Value(in.Device), Force: ec2types.Value(in.Force),
			})
			return attachmentOf(&v), err
		},
	})
	api.Register(t, api.Action[ec2types.ModifyVolumeInput, ec2types.ModifyVolumeOutput]{
		Name: "ModifyVolume", Handler: a.modifyVolume,
		Acts: []string{"VolumeId", "Size", "VolumeType", "Iops", "Throughput", "MultiAttachEnabled=false"},
	})
	api.Register(t, api.Action[ec2types.DescribeVolumesInput, ec2types.DescribeVolumesOutput]{
		Name: "DescribeVolumes", Handler: a.describeVolumes, Acts: []string{"VolumeIds", "Filters", "MaxResults", "NextToken"},
	})
}

func (a *Actions) createVolume(ctx context.Context, in *ec2types.CreateVolumeInput) (*ec2types.CreateVolumeOutput, error) {
	tags, err := tagSpecs(in.TagSpecifications, "volume")
	if err != nil {
		return nil, err
	}
	kind, err := kindOf(in.VolumeType, in.Iops, in.Throughput)
	if err != nil {
		return nil, err
	}
	if in.Size != nil && *in.Size < 1 {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "Volume size must be at least 1 GiB; this is %d", *in.Size)
	}
	v, err := a.account(ctx).CreateVolume(ctx, cloud.VolumeRequest{
		Zone: ec2types.Value(in.AvailabilityZone), SizeGiB: int64(ec2types.Value(in.Size)), SnapshotID: ec2types.Value(in.SnapshotId),
		Kind: kind, Encryption: encryption(in.Encrypted, in.KmsKeyId), Tags: tags["volume"], ClientToken: ec2types.Value(in.ClientToken),
	})
	if err != nil {
		return nil, err
	}
	out := a.volumeOf(&v)
	return &out, nil
}

func (a *Actions) modifyVolume(ctx context.Context, in *ec2types.ModifyVolumeInput) (*ec2types.ModifyVolumeOutput, error) {
	kind, err := kindOf(in.VolumeType, in.Iops, in.Throughput)
	if err != nil {
		return nil, err
	}
	v, err := a.account(ctx).ModifyVolume(ctx, cloud.VolumeChange{VolumeID: ec2types.Value(in.VolumeId), SizeGiB: int64(ec2types.Value(in.Size)), Kind: kind})
	if err != nil {
		return nil, err
	}
	m := modificationOf(&v)
	return &ec2types.ModifyVolumeOutput{VolumeModification: &m}, nil
}

// volumeField makes a filter's getter of one that has one value.
func volumeField(get func(*model.Volume) string) func(*model.Volume) []string {
	return func(v *model.Volume) []string { return []string{get(v)} }
}

// attachmentField makes a filter's getter of one that attached volumes only have.
func attachmentField(get func(*model.Attachment) []string) func(*model.Volume) []string {
	return func(v *model.Volume) []string {
		if v.Attachment == nil {
			return nil
		}
		return get(v.Attachment)
	}
}

func (a *Actions) volumeFields() map[string]func(*model.Volume) []string {
	return map[string]func(*model.Volume) []string{
		"attachment.attach-time": attachmentField(func(at *model.Attachment) []string { return timeFilter(at.Attached) }),
		"attachment.delete-on-termination": attachmentField(func(at *model.Attachment) []string {
			return []string{strconv.FormatBool(at.DeleteOnTermination)}
		}),
		"attachment.device":      attachmentField(func(at *model.Attachment) []string { return []string{at.Device} }),
		"attachment.instance-id": attachmentField(func(at *model.Attachment) []string { return []string{at.InstanceID} }),
		"attachment.status":      attachmentField(func(at *model.Attachment) []string { return []string{string(at.State)} }),
		"availability-zone":      volumeField(func(*model.Volume) string { return a.cloud.Zone() }),
		"create-time":            func(v *model.Volume) []string { return timeFilter(v.Created) },
		"encrypted":              volumeField(func(v *model.Volume) string { return strconv.FormatBool(v.Key != "") }),
		"fast-restored":          volumeField(func(*model.Volume) string { return "false" }),
		"multi-attach-enabled":   volumeField(func(*model.Volume) string { return "false" }),
		"size":                   volumeField(func(v *model.Volume) string { return strconv.FormatInt(v.SizeGiB, 10) }),
		"snapshot-id":            volumeField(func(v *model.Volume) string { return v.SnapshotID }),
		"status":                 volumeField(func(v *model.Volume) string { return string(v.State) }),
		"volume-id":              volumeField(func(v *model.Volume) string { return v.ID }),
		"volume-type": volumeField(func(v *model.Volume) string {
			typ, _, _ := shownKind(v.VolumeKind, v.SizeGiB)
			return *typ
		}),
	}
}

func (a *Actions) describeVolumes(ctx context.Context, in *ec2types.DescribeVolumesInput) (*ec2types.DescribeVolumesOutput, error) {
	found, err := a.account(ctx).FindVolumes(ctx, in.VolumeIds)
	if err != nil {
		return nil, err
	}
	page, next, err := describe(a, query[model.Volume]{
		action: "DescribeVolumes", sorted: found, ids: in.VolumeIds, kind: volumeKind, filters: in.Filters,
		fields: a.volumeFields(), tags: func(v *model.Volume) model.Tags { return v.Tags }, max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeVolumesOutput{NextToken: next}
	for i := range page {
		out.Volumes = append(out.Volumes, a.volumeOf(&page[i]))
	}
	return out, nil
}

func (a *Actions) volumeOf(v *model.Volume) ec2types.Volume {
	out := ec2types.Volume{
		AvailabilityZone: ptr(a.cloud.Zone()), CreateTime: ptr(v.Created), Encrypted: ptr(v.Key != ""), KmsKeyId: a.keyARN(v.OwnerID, v.Key), MultiAttachEnabled: ptr(false),
		Size: ptr(int32(v.SizeGiB)), SnapshotId: ptr(v.SnapshotID), State: ptr(string(v.State)), Tags: tagsOf(v.Tags), VolumeId: ptr(v.ID),
		Attachments: []ec2types.VolumeAttachment{}, // shown, if empty
	}
	out.VolumeType, out.Iops, out.Throughput = shownKind(v.VolumeKind, v.SizeGiB)
	if v.Attachment != nil {
		out.Attachments = []ec2types.VolumeAttachment{*attachmentOf(v)}
	}
	return out
}

// attachmentOf is a volume's attachment in EC2's shape.
func attachmentOf(v *model.Volume) *ec2types.VolumeAttachment {
	at := v.Attachment
	if at == nil {
		return &ec2types.VolumeAttachment{VolumeId: ptr(v.ID), State: ptr("detached")}
	}
	state := at.State
	if state == "" {
		state = model.Attached
	}
	return &ec2types.VolumeAttachment{
		AttachTime: ptr(at.Attached), DeleteOnTermination: ptr(at.DeleteOnTermination), Device: ptr(at.Device),
		InstanceId: ptr(at.InstanceID), State: ptr(string(state)), VolumeId: ptr(v.ID),
	}
}
