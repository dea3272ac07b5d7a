package cli_test

import (
	"slices"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// toyStorage is the toy cloud's volumes and snapshots: each look at one that is
// on its way somewhere finds it there.
type toyStorage struct {
	volumes   []*ec2types.Volume
	snapshots []*ec2types.Snapshot
	shared    []string // what snapshots were shared with
}

func (c *toyCloud) storageTable(t *api.Table) {
	register(t, "DescribeAvailabilityZones", nil, func(*ec2types.DescribeAvailabilityZonesInput) (*ec2types.DescribeAvailabilityZonesOutput, error) {
		return &ec2types.DescribeAvailabilityZonesOutput{AvailabilityZones: []ec2types.AvailabilityZone{{ZoneName: new("toy-1a")}}}, nil
	})
	register(t, "DescribeRegions", nil, func(*ec2types.DescribeRegionsInput) (*ec2types.DescribeRegionsOutput, error) {
		return &ec2types.DescribeRegionsOutput{Regions: []ec2types.Region{{RegionName: new("toy-1")}, {RegionName: new("west-1"), Endpoint: new("192.0.2.20:8773")}}}, nil
	})
	register(t, "CreateVolume", []string{"AvailabilityZone", "Size", "SnapshotId", "VolumeType", "Iops", "TagSpecifications", "ClientToken"}, c.createVolume)
	register(t, "DescribeVolumes", []string{"VolumeIds", "Filters"}, c.describeVolumes)
	register(t, "AttachVolume", []string{"VolumeId", "InstanceId", "Device"}, c.attachVolume)
	register(t, "DetachVolume", []string{"VolumeId", "Force"}, func(in *ec2types.DetachVolumeInput) (*ec2types.DetachVolumeOutput, error) {
		return nil, c.onVolume(in.VolumeId, func(v *ec2types.Volume) error {
			if len(v.Attachments) == 0 {
				return model.Errorf(model.CodeIncorrectState, "Volume '%s' is in the 'available' state.", *v.VolumeId)
			}
			v.Attachments[0].State = new("detaching")
			return nil
		})
	})
	register(t, "ModifyVolume", []string{"VolumeId", "Size", "VolumeType"}, func(in *ec2types.ModifyVolumeInput) (*ec2types.ModifyVolumeOutput, error) {
		return nil, c.onVolume(in.VolumeId, func(v *ec2types.Volume) error {
			if in.Size != nil && *in.Size < *v.Size {
				return model.Errorf(model.CodeInvalidParameterValue, "New size cannot be smaller than existing size")
			}
			v.Size = in.Size
			return nil
		})
	})
	register(t, "DescribeVolumesModifications", []string{"VolumeIds"}, func(in *ec2types.DescribeVolumesModificationsInput) (*ec2types.DescribeVolumesModificationsOutput, error) {
		return &ec2types.DescribeVolumesModificationsOutput{VolumesModifications: []ec2types.VolumeModification{{VolumeId: &in.VolumeIds[0], ModificationState: new("completed")}}}, nil
	})
	register(t, "DeleteVolume", []string{"VolumeId"}, func(in *ec2types.DeleteVolumeInput) (*ec2types.DeleteVolumeOutput, error) {
		return nil, c.onVolume(in.VolumeId, func(v *ec2types.Volume) error {
			if len(v.Attachments) > 0 {
				return model.Errorf(model.CodeVolumeInUse, "Volume %s is currently attached", *v.VolumeId)
			}
			c.volumes = slices.DeleteFunc(c.volumes, func(o *ec2types.Volume) bool { return o == v })
			return nil
		})
	})
	c.snapshotTable(t)
}

func (c *toyCloud) snapshotTable(t *api.Table) {
	register(t, "CreateSnapshot", []string{"VolumeId", "Description", "TagSpecifications"}, func(in *ec2types.CreateSnapshotInput) (out *ec2types.CreateSnapshotOutput, err error) {
		return out, c.onVolume(in.VolumeId, func(*ec2types.Volume) error {
			out = c.addSnapshot(in.VolumeId, in.Description)
			return nil
		})
	})
	register(t, "CreateSnapshots", []string{"InstanceSpecification.InstanceId"}, func(in *ec2types.CreateSnapshotsInput) (*ec2types.CreateSnapshotsOutput, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		out := &ec2types.CreateSnapshotsOutput{}
		for _, v := range c.volumes {
			if len(v.Attachments) > 0 && *v.Attachments[0].InstanceId == *in.InstanceSpecification.InstanceId {
				out.Snapshots = append(out.Snapshots, ec2types.SnapshotInfo{SnapshotId: c.addSnapshot(v.VolumeId, nil).SnapshotId})
			}
		}
		return out, nil
	})
	register(t, "DescribeSnapshots", []string{"SnapshotIds"}, func(in *ec2types.DescribeSnapshotsInput) (*ec2types.DescribeSnapshotsOutput, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		out := &ec2types.DescribeSnapshotsOutput{}
		for _, s := range c.snapshots {
			if len(in.SnapshotIds) == 0 || slices.Contains(in.SnapshotIds, *s.SnapshotId) {
				out.Snapshots = append(out.Snapshots, *s)
				s.State = new("completed")
			}
		}
		return out, nil
	})
	register(t, "CopySnapshot", []string{"SourceSnapshotId", "SourceRegion", "Description", "TagSpecifications"}, func(in *ec2types.CopySnapshotInput) (*ec2types.CopySnapshotOutput, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if *in.SourceRegion != "toy-1" && *in.SourceRegion != "west-1" {
			return nil, model.Errorf(model.CodeInvalidParameterValue, "The region does not exist.")
		}
		return &ec2types.CopySnapshotOutput{SnapshotId: c.addSnapshot(new("vol-ffffffff"), in.Description).SnapshotId}, nil
	})
	register(t, "ModifySnapshotAttribute", []string{"SnapshotId", "Attribute", "OperationType", "UserIds", "GroupNames"}, func(in *ec2types.ModifySnapshotAttributeInput) (*ec2types.ModifySnapshotAttributeOutput, error) {
		c.shared = append(append(c.shared, in.UserIds...), in.GroupNames...)
		return nil, nil
	})
	register(t, "ResetSnapshotAttribute", []string{"SnapshotId", "Attribute"}, func(*ec2types.ResetSnapshotAttributeInput) (*ec2types.ResetSnapshotAttributeOutput, error) {
		if len(c.shared) == 0 {
			return nil, model.Errorf(model.CodeInvalidParameterValue, "it is shared with nobody")
		}
		c.shared = nil
		return nil, nil
	})
}

func (c *toyCloud) addSnapshot(volume, description *string) *ec2types.Snapshot {
	s := &ec2types.Snapshot{
		SnapshotId: new(model.NewID(model.SnapshotPrefix)), VolumeId: volume, Description: description, State: new("pending"), VolumeSize: new(int32(1)),
	}
	c.snapshots = append(c.snapshots, s)
	shown := *s
	return &shown
}

func (c *toyCloud) createVolume(in *ec2types.CreateVolumeInput) (*ec2types.CreateVolumeOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *in.AvailabilityZone != "toy-1a" {
		return nil, model.Errorf(model.CodeZoneNotFound, "The zone '%s' does not exist.", *in.AvailabilityZone)
	}
	v := &ec2types.Volume{VolumeId: new(model.NewID(model.VolumePrefix)), Size: in.Size, SnapshotId: in.SnapshotId, State: new("creating"), VolumeType: new("gp3")}
	for _, s := range in.TagSpecifications {
		v.Tags = s.Tags
	}
	c.volumes = append(c.volumes, v)
	return v, nil
}

func (c *toyCloud) onVolume(id *string, f func(*ec2types.Volume) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.volumes, func(v *ec2types.Volume) bool { return *v.VolumeId == *id })
	if i < 0 {
		return model.Errorf(model.CodeVolumeNotFound, "The volume '%s' does not exist.", *id)
	}
	return f(c.volumes[i])
}

func (c *toyCloud) describeVolumes(in *ec2types.DescribeVolumesInput) (*ec2types.DescribeVolumesOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	match, err := api.MatchFilters(in.Filters, api.FilterBy[*ec2types.Volume]{Tags: func(v *ec2types.Volume) model.Tags { return tagsOf(v.Tags) }})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeVolumesOutput{}
	for _, v := range c.volumes {
		if !match(v) || len(in.VolumeIds) > 0 && !slices.Contains(in.VolumeIds, *v.VolumeId) {
			continue
		}
		shown := *v
		shown.Attachments = slices.Clone(v.Attachments)
		out.Volumes = append(out.Volumes, shown)
		switch {
		case *v.State == "creating":
			v.State = new("available")
		case len(v.Attachments) > 0 && *v.Attachments[0].State == "attaching":
			v.Attachments[0].State = new("attached")
		case len(v.Attachments) > 0 && *v.Attachments[0].State == "detaching":
			v.State, v.Attachments = new("available"), nil
		}
	}
	return out, nil
}

func (c *toyCloud) attachVolume(in *ec2types.AttachVolumeInput) (*ec2types.AttachVolumeOutput, error) {
	return nil, c.onVolume(in.VolumeId, func(v *ec2types.Volume) error {
		found, err := c.find([]string{*in.InstanceId})
		if err != nil {
			return err
		}
		found[0].BlockDeviceMappings = append(found[0].BlockDeviceMappings, ec2types.InstanceBlockDeviceMapping{DeviceName: in.Device})
		v.State = new("in-use")
		v.Attachments = []ec2types.VolumeAttachment{{InstanceId: in.InstanceId, Device: in.Device, State: new("attaching")}}
		return nil
	})
}
