package daemon_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/daemon"
	"github.com/bundt/bundt/pkg/model"
)

const zone = "local-1a"

// fails checks a call's error code.
func fails(t *testing.T, code string, err error) {
	t.Helper()
	if model.CodeOf(err) != code {
		t.Errorf("error is %v, want %s", err, code)
	}
}

func (c *cloud) until(what string, f func() error) {
	c.t.Helper()
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	c.t.Fatalf("waiting until %s: %v", what, err)
}

func (c *cloud) volume(id *string) ec2types.Volume {
	c.t.Helper()
	out, err := c.DescribeVolumes(c.t.Context(), &ec2types.DescribeVolumesInput{VolumeIds: []string{*id}})
	c.must(err)
	return out.Volumes[0]
}

func (c *cloud) volumeIs(id *string, state string) (v ec2types.Volume) {
	c.t.Helper()
	c.until(*id+" is "+state, func() error {
		if v = c.volume(id); *v.State != state {
			return fmt.Errorf("it is %s", *v.State)
		}
		return nil
	})
	return v
}

func (c *cloud) attachmentIs(id *string, state string) (at ec2types.VolumeAttachment) {
	c.t.Helper()
	c.until("the attachment of "+*id+" is "+state, func() error {
		v := c.volume(id)
		if len(v.Attachments) != 1 {
			return errors.New("it has none")
		}
		if at = v.Attachments[0]; *at.State != state {
			return fmt.Errorf("it is %s", *at.State)
		}
		return nil
	})
	return at
}

func (c *cloud) newVolume(size int32) *string {
	c.t.Helper()
	out, err := c.CreateVolume(c.t.Context(), &ec2types.CreateVolumeInput{AvailabilityZone: new(zone), Size: &size})
	c.must(err)
	if *out.State != "creating" {
		c.t.Errorf("a new volume is %s", *out.State)
	}
	c.volumeIs(out.VolumeId, "available")
	return out.VolumeId
}

func (c *cloud) snapshotDone(id *string) (s ec2types.Snapshot) {
	c.t.Helper()
	c.until(*id+" is completed", func() error {
		out, err := c.DescribeSnapshots(c.t.Context(), &ec2types.DescribeSnapshotsInput{SnapshotIds: []string{*id}})
		c.must(err)
		if s = out.Snapshots[0]; *s.State != "completed" {
			return fmt.Errorf("it is %s %v", *s.State, s.StateMessage)
		}
		return nil
	})
	return s
}

func (c *cloud) mapping(instance string) map[string]string {
	c.t.Helper()
	out, err := c.DescribeInstances(c.t.Context(), &ec2types.DescribeInstancesInput{InstanceIds: []string{instance}})
	c.must(err)
	devices := map[string]string{}
	for _, m := range out.Reservations[0].Instances[0].BlockDeviceMappings {
		devices[*m.DeviceName] = *m.Ebs.VolumeId
	}
	return devices
}

func TestCreateVolume(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	type in = ec2types.CreateVolumeInput
	for name, tc := range map[string]struct {
		in   in
		code string
	}{
		"no zone":             {in{Size: new(int32(1))}, "MissingParameter"},
		"wrong zone":          {in{AvailabilityZone: new("mars-1a"), Size: new(int32(1))}, "InvalidZone.NotFound"},
		"no size":             {in{AvailabilityZone: new(zone)}, "MissingParameter"},
		"size 0":              {in{AvailabilityZone: new(zone), Size: new(int32(0))}, "InvalidParameterValue"},
		"too large":           {in{AvailabilityZone: new(zone), Size: new(int32(65537))}, "InvalidParameterValue"},
		"too large standard":  {in{AvailabilityZone: new(zone), Size: new(int32(1025)), VolumeType: new("standard")}, "InvalidParameterValue"},
		"too small st1":       {in{AvailabilityZone: new(zone), Size: new(int32(124)), VolumeType: new("st1")}, "InvalidParameterValue"},
		"unknown type":        {in{AvailabilityZone: new(zone), Size: new(int32(1)), VolumeType: new("floppy")}, "InvalidParameterValue"},
		"io1 without iops":    {in{AvailabilityZone: new(zone), Size: new(int32(4)), VolumeType: new("io1")}, "MissingParameter"},
		"io1 too many iops":   {in{AvailabilityZone: new(zone), Size: new(int32(4)), VolumeType: new("io1"), Iops: new(int32(201))}, "InvalidParameterValue"},
		"gp2 with iops":       {in{AvailabilityZone: new(zone), Size: new(int32(4)), VolumeType: new("gp2"), Iops: new(int32(3000))}, "InvalidParameterCombination"},
		"sc1 with iops":       {in{AvailabilityZone: new(zone), Size: new(int32(125)), VolumeType: new("sc1"), Iops: new(int32(100))}, "InvalidParameterCombination"},
		"gp3 few iops":        {in{AvailabilityZone: new(zone), Size: new(int32(100)), VolumeType: new("gp3"), Iops: new(int32(2999))}, "InvalidParameterValue"},
		"gp3 throughput":      {in{AvailabilityZone: new(zone), Size: new(int32(100)), VolumeType: new("gp3"), Throughput: new(int32(751))}, "InvalidParameterValue"},
		"gp2 with throughput": {in{AvailabilityZone: new(zone), Size: new(int32(100)), VolumeType: new("gp2"), Throughput: new(int32(125))}, "InvalidParameterCombination"},
		"key":                 {in{AvailabilityZone: new(zone), Size: new(int32(1)), KmsKeyId: new("alias/aws/ebs")}, "InvalidParameterDependency"},
		"unknown key":         {in{AvailabilityZone: new(zone), Size: new(int32(1)), Encrypted: new(true), KmsKeyId: new("alias/x")}, "InvalidParameterValue"},
		"multi-attach":        {in{AvailabilityZone: new(zone), Size: new(int32(4)), VolumeType: new("io2"), Iops: new(int32(100)), MultiAttachEnabled: new(true)}, "UnsupportedOperation"},
		"malformed snapshot":  {in{AvailabilityZone: new(zone), SnapshotId: new("snap-1")}, "InvalidSnapshotID.Malformed"},
		"no such snapshot":    {in{AvailabilityZone: new(zone), SnapshotId: new("snap-00000000000000000")}, "InvalidSnapshot.NotFound"},
		"dry run":             {in{AvailabilityZone: new(zone), Size: new(int32(1)), DryRun: new(true)}, "DryRunOperation"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.CreateVolume(t.Context(), &tc.in)
			fails(t, tc.code, err)
		})
	}
	if out, err := c.DescribeVolumes(t.Context(), &ec2types.DescribeVolumesInput{}); err != nil || len(out.Volumes) != 0 {
		t.Errorf("refused volumes were made: %+v, %v", out, err)
	}

	// A client token makes one volume, once.
	request := in{AvailabilityZone: new(zone), Size: new(int32(10)), VolumeType: new("gp3"), Iops: new(int32(4000)), Throughput: new(int32(500)), ClientToken: new("t")}
	first, err := c.CreateVolume(t.Context(), &request)
	c.must(err)
	second, err := c.CreateVolume(t.Context(), &request)
	c.must(err)
	if *first.VolumeId != *second.VolumeId {
		t.Error("a repeated token made another volume")
	}
	request.Size = new(int32(11))
	_, err = c.CreateVolume(t.Context(), &request)
	fails(t, "IdempotentParameterMismatch", err)
	v := c.volumeIs(first.VolumeId, "available")
	if *v.Iops != 4000 || *v.Throughput != 500 || *v.VolumeType != "gp3" || *v.Size != 10 || *v.MultiAttachEnabled || *v.Encrypted {
		t.Errorf("got %+v", v)
	}
	c.must(only(c.DeleteVolume(t.Context(), &ec2types.DeleteVolumeInput{VolumeId: first.VolumeId})))
	c.until("it is gone", func() error {
		_, err := c.DescribeVolumes(t.Context(), &ec2types.DescribeVolumesInput{VolumeIds: []string{*first.VolumeId}})
		if model.CodeOf(err) == "InvalidVolume.NotFound" {
			return nil
		}
		return fmt.Errorf("still there: %w", err)
	})
}

func only[T any](_ T, err error) error { return err }

func TestAttachAndDetach(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	ctx := t.Context()
	inst := c.run(c.bootSector())
	vol, other := c.newVolume(2), c.newVolume(1)
	type in = ec2types.AttachVolumeInput
	root := c.mapping(inst)["/dev/sda1"]
	for name, tc := range map[string]struct {
		in   in
		code string
	}{
		"no device":          {in{VolumeId: vol, InstanceId: &inst}, "MissingParameter"},
		"bad device":         {in{VolumeId: vol, InstanceId: &inst, Device: new("C:")}, "InvalidParameterValue"},
		"root device":        {in{VolumeId: vol, InstanceId: &inst, Device: new("/dev/sda1")}, "InvalidParameterValue"},
		"malformed volume":   {in{VolumeId: new("vol-x"), InstanceId: &inst, Device: new("/dev/sdf")}, "InvalidVolumeID.Malformed"},
		"no such volume":     {in{VolumeId: new("vol-00000000000000000"), InstanceId: &inst, Device: new("/dev/sdf")}, "InvalidVolume.NotFound"},
		"malformed instance": {in{VolumeId: vol, InstanceId: new("i-x"), Device: new("/dev/sdf")}, "InvalidInstanceID.Malformed"},
		"no such instance":   {in{VolumeId: vol, InstanceId: new("i-00000000000000000"), Device: new("/dev/sdf")}, "InvalidInstanceID.NotFound"},
		"attached already":   {in{VolumeId: &root, InstanceId: &inst, Device: new("/dev/sdf")}, "VolumeInUse"},
		"dry run":            {in{VolumeId: vol, InstanceId: &inst, Device: new("/dev/sdf"), DryRun: new(true)}, "DryRunOperation"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.AttachVolume(ctx, &tc.in)
			fails(t, tc.code, err)
		})
	}
	_, err := c.DetachVolume(ctx, &ec2types.DetachVolumeInput{VolumeId: vol})
	fails(t, "IncorrectState", err)
	_, err = c.DetachVolume(ctx, &ec2types.DetachVolumeInput{VolumeId: &root})
	fails(t, "OperationNotPermitted", err)

	at, err := c.AttachVolume(ctx, &in{VolumeId: vol, InstanceId: &inst, Device: new("/dev/sdf")})
	c.must(err)
	if *at.State != "attaching" || *at.Device != "/dev/sdf" || *at.InstanceId != inst || *at.DeleteOnTermination {
		t.Errorf("got %+v", at)
	}
	c.attachmentIs(vol, "attached")
	c.volumeIs(vol, "in-use")
	shown, err := c.DescribeInstances(ctx, &ec2types.DescribeInstancesInput{InstanceIds: []string{inst}})
	c.must(err)
	if m := shown.Reservations[0].Instances[0].BlockDeviceMappings[1]; *m.Ebs.Status != "attached" || !m.Ebs.AttachTime.Equal(*at.AttachTime) {
		t.Errorf("the instance shows %+v", m.Ebs)
	}
	if got := c.mapping(inst); got["/dev/sdf"] != *vol || len(got) != 2 {
		t.Errorf("the instance has %v", got)
	}
	_, err = c.AttachVolume(ctx, &in{VolumeId: other, InstanceId: &inst, Device: new("sdf")})
	fails(t, "InvalidParameterValue", err)
	_, err = c.DeleteVolume(ctx, &ec2types.DeleteVolumeInput{VolumeId: vol})
	fails(t, "VolumeInUse", err)
	found, err := c.DescribeVolumes(ctx, &ec2types.DescribeVolumesInput{Filters: []ec2types.Filter{
		{Name: new("attachment.device"), Values: []string{"/dev/sdf"}}, {Name: new("attachment.status"), Values: []string{"attached"}},
	}})
	if err != nil || len(found.Volumes) != 1 || *found.Volumes[0].VolumeId != *vol {
		t.Errorf("filtered: %+v, %v", found, err)
	}
	_, err = c.DetachVolume(ctx, &ec2types.DetachVolumeInput{VolumeId: vol, InstanceId: &inst, Device: new("/dev/sdg")})
	fails(t, "InvalidAttachment.NotFound", err)
	at, err = c.DetachVolume(ctx, &ec2types.DetachVolumeInput{VolumeId: vol, InstanceId: &inst})
	c.must(err)
	if *at.State != "detaching" {
		t.Errorf("got %+v", at)
	}
	c.volumeIs(vol, "available")

	// A stopped instance takes volumes and gives its root volume.
	c.must(only(c.StopInstances(ctx, &ec2types.StopInstancesInput{InstanceIds: []string{inst}})))
	c.await(inst, "stopped")
	c.must(only(c.AttachVolume(ctx, &in{VolumeId: other, InstanceId: &inst, Device: new("/dev/sdg")})))
	c.attachmentIs(other, "attached")
	c.must(only(c.DetachVolume(ctx, &ec2types.DetachVolumeInput{VolumeId: &root})))
	c.volumeIs(&root, "available")
	_, err = c.StartInstances(ctx, &ec2types.StartInstancesInput{InstanceIds: []string{inst}})
	fails(t, "IncorrectInstanceState", err)
	c.must(only(c.AttachVolume(ctx, &in{VolumeId: &root, InstanceId: &inst, Device: new("/dev/sda1")})))
	c.attachmentIs(&root, "attached")
	c.must(only(c.StartInstances(ctx, &ec2types.StartInstancesInput{InstanceIds: []string{inst}})))
	c.await(inst, "running")

	// Its end frees what was attached.
	c.must(only(c.TerminateInstances(ctx, &ec2types.TerminateInstancesInput{InstanceIds: []string{inst}})))
	c.await(inst, "terminated")
	c.volumeIs(other, "available")
	c.volumeIs(&root, "available") // attached by hand: it is not deleted with the instance
}

func TestModifyVolume(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	ctx := t.Context()
	inst := c.run(c.bootSector())
	vol := c.newVolume(2)
	type in = ec2types.ModifyVolumeInput
	for name, tc := range map[string]struct {
		in   in
		code string
	}{
		"nothing":        {in{VolumeId: vol}, "MissingParameter"},
		"smaller":        {in{VolumeId: vol, Size: new(int32(1))}, "InvalidParameterValue"},
		"too large":      {in{VolumeId: vol, Size: new(int32(65537))}, "InvalidParameterValue"},
		"io1 no iops":    {in{VolumeId: vol, Size: new(int32(4)), VolumeType: new("io1")}, "MissingParameter"},
		"multi-attach":   {in{VolumeId: vol, MultiAttachEnabled: new(true)}, "UnsupportedOperation"},
		"no such volume": {in{VolumeId: new("vol-00000000000000000"), Size: new(int32(4))}, "InvalidVolume.NotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.ModifyVolume(ctx, &tc.in)
			fails(t, tc.code, err)
		})
	}
	_, err := c.DescribeVolumesModifications(ctx, &ec2types.DescribeVolumesModificationsInput{VolumeIds: []string{*vol}})
	fails(t, "InvalidVolumeModification.NotFound", err)

	grow := func(size int32, typ string, iops *int32) {
		t.Helper()
		out, err := c.ModifyVolume(ctx, &in{VolumeId: vol, Size: &size, VolumeType: &typ, Iops: iops})
		c.must(err)
		if m := out.VolumeModification; *m.ModificationState != "modifying" || *m.TargetSize != size || *m.TargetVolumeType != typ {
			t.Errorf("got %+v", m)
		}
		c.until("it is modified", func() error {
			out, err := c.DescribeVolumesModifications(ctx, &ec2types.DescribeVolumesModificationsInput{VolumeIds: []string{*vol}})
			c.must(err)
			if m := out.VolumesModifications[0]; *m.ModificationState != "completed" || *m.Progress != 100 {
				return fmt.Errorf("%s %v", *m.ModificationState, m.StatusMessage)
			}
			return nil
		})
		if v := c.volume(vol); *v.Size != size || *v.VolumeType != typ {
			t.Errorf("it is %+v", v)
		}
	}
	grow(3, "gp2", nil) // attached to nothing
	c.must(only(c.AttachVolume(ctx, &ec2types.AttachVolumeInput{VolumeId: vol, InstanceId: &inst, Device: new("/dev/sdf")})))
	c.attachmentIs(vol, "attached")
	grow(4, "io1", new(int32(200))) // while it is used
	c.must(only(c.StopInstances(ctx, &ec2types.StopInstancesInput{InstanceIds: []string{inst}})))
	c.await(inst, "stopped")
	grow(5, "gp3", nil) // of a stopped instance
	c.must(only(c.StartInstances(ctx, &ec2types.StartInstancesInput{InstanceIds: []string{inst}})))
	c.await(inst, "running")
}

func TestSnapshots(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	ctx := t.Context()
	inst := c.run(c.bootSector())
	vol := c.newVolume(2)
	_, err := c.CreateSnapshot(ctx, &ec2types.CreateSnapshotInput{VolumeId: new("vol-00000000000000000")})
	fails(t, "InvalidVolume.NotFound", err)

	// Of a volume that is attached to nothing.
	alone, err := c.CreateSnapshot(ctx, &ec2types.CreateSnapshotInput{VolumeId: vol, Description: new("alone")})
	c.must(err)
	if *alone.State != "pending" || *alone.Progress != "0%" || *alone.VolumeSize != 2 {
		t.Errorf("got %+v", alone)
	}
	if s := c.snapshotDone(alone.SnapshotId); *s.Progress != "100%" || *s.VolumeId != *vol {
		t.Errorf("got %+v", s)
	}
	// Of all volumes of a running instance, and of some.
	c.must(only(c.AttachVolume(ctx, &ec2types.AttachVolumeInput{VolumeId: vol, InstanceId: &inst, Device: new("/dev/sdf")})))
	c.attachmentIs(vol, "attached")
	spec := &ec2types.InstanceSpecification{InstanceId: &inst}
	all, err := c.CreateSnapshots(ctx, &ec2types.CreateSnapshotsInput{InstanceSpecification: spec, CopyTagsFromSource: new("volume")})
	c.must(err)
	if len(all.Snapshots) != 2 {
		t.Fatalf("got %+v", all)
	}
	for _, s := range all.Snapshots {
		c.snapshotDone(s.SnapshotId)
	}
	spec.ExcludeBootVolume = new(true)
	data, err := c.CreateSnapshots(ctx, &ec2types.CreateSnapshotsInput{InstanceSpecification: spec})
	c.must(err)
	if len(data.Snapshots) != 1 || *data.Snapshots[0].VolumeId != *vol {
		t.Errorf("got %+v", data)
	}
	spec.ExcludeDataVolumeIds = []string{*vol}
	_, err = c.CreateSnapshots(ctx, &ec2types.CreateSnapshotsInput{InstanceSpecification: spec})
	fails(t, "InvalidParameterCombination", err)
	spec.ExcludeDataVolumeIds = []string{"vol-00000000000000000"}
	_, err = c.CreateSnapshots(ctx, &ec2types.CreateSnapshotsInput{InstanceSpecification: spec})
	fails(t, "InvalidParameterValue", err)

	// An image has the data volume, too, and its instances get theirs.
	img, err := c.CreateImage(ctx, &ec2types.CreateImageInput{InstanceId: &inst, Name: new("with data"), NoReboot: new(true)})
	c.must(err)
	c.until("the image is available", func() error {
		out, err := c.DescribeImages(ctx, &ec2types.DescribeImagesInput{ImageIds: []string{*img.ImageId}})
		c.must(err)
		if *out.Images[0].State != "available" || len(out.Images[0].BlockDeviceMappings) != 2 {
			return fmt.Errorf("%+v", out.Images[0])
		}
		_, err = c.DeleteSnapshot(ctx, &ec2types.DeleteSnapshotInput{SnapshotId: out.Images[0].BlockDeviceMappings[1].Ebs.SnapshotId})
		fails(t, "InvalidSnapshot.InUse", err)
		return nil
	})
	if got := c.mapping(c.run(img.ImageId)); len(got) != 2 || got["/dev/sdf"] == "" {
		t.Errorf("the twin has %v", got)
	}

	// A copy refers to the same content and outlives its source, and its volume.
	_, err = c.CopySnapshot(ctx, &ec2types.CopySnapshotInput{SourceSnapshotId: alone.SnapshotId, SourceRegion: new("mars-1")})
	fails(t, "InvalidParameterValue", err)
	twin, err := c.CopySnapshot(ctx, &ec2types.CopySnapshotInput{SourceSnapshotId: alone.SnapshotId, SourceRegion: new("local-1")})
	c.must(err)
	c.must(only(c.DeleteSnapshot(ctx, &ec2types.DeleteSnapshotInput{SnapshotId: alone.SnapshotId})))
	c.snapshotDone(twin.SnapshotId)
	_, err = c.CreateVolume(ctx, &ec2types.CreateVolumeInput{AvailabilityZone: new(zone), SnapshotId: twin.SnapshotId, Size: new(int32(1))})
	fails(t, "InvalidParameterValue", err)
	restored, err := c.CreateVolume(ctx, &ec2types.CreateVolumeInput{AvailabilityZone: new(zone), SnapshotId: twin.SnapshotId})
	c.must(err)
	if v := c.volumeIs(restored.VolumeId, "available"); *v.Size != 2 || *v.SnapshotId != *twin.SnapshotId {
		t.Errorf("got %+v", v)
	}
}

func TestSnapshotSharing(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	ctx := t.Context()
	snap, err := c.CreateSnapshot(ctx, &ec2types.CreateSnapshotInput{VolumeId: c.newVolume(1)})
	c.must(err)
	attribute := new("createVolumePermission")
	shared := func() string {
		t.Helper()
		out, err := c.DescribeSnapshotAttribute(ctx, &ec2types.DescribeSnapshotAttributeInput{SnapshotId: snap.SnapshotId, Attribute: attribute})
		c.must(err)
		text := ""
		for _, p := range out.CreateVolumePermissions {
			text += ec2types.Value(p.Group) + ec2types.Value(p.UserId) + " "
		}
		return text
	}
	type in = ec2types.ModifySnapshotAttributeInput
	_, err = c.ModifySnapshotAttribute(ctx, &in{SnapshotId: snap.SnapshotId, Attribute: attribute, UserIds: []string{"123456789012"}})
	fails(t, "MissingParameter", err)
	_, err = c.ModifySnapshotAttribute(ctx, &in{SnapshotId: snap.SnapshotId, Attribute: attribute, OperationType: new("add"), UserIds: []string{"me"}})
	fails(t, "InvalidParameterValue", err)
	c.must(only(c.ModifySnapshotAttribute(ctx, &in{SnapshotId: snap.SnapshotId, Attribute: attribute, OperationType: new("add"), UserIds: []string{"123456789012"}, GroupNames: []string{"all"}})))
	if got := shared(); got != "all 123456789012 " {
		t.Errorf("shared with %q", got)
	}
	c.must(only(c.ModifySnapshotAttribute(ctx, &in{SnapshotId: snap.SnapshotId, CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{
		Remove: []ec2types.CreateVolumePermission{{Group: new("all")}}, Add: []ec2types.CreateVolumePermission{{UserId: new("210987654321")}},
	}})))
	if got := shared(); got != "123456789012 210987654321 " {
		t.Errorf("shared with %q", got)
	}
	restorable, err := c.DescribeSnapshots(ctx, &ec2types.DescribeSnapshotsInput{RestorableByUserIds: []string{"210987654321"}})
	if err != nil || len(restorable.Snapshots) != 1 {
		t.Errorf("restorable by the other: %+v, %v", restorable, err)
	}
	restorable, err = c.DescribeSnapshots(ctx, &ec2types.DescribeSnapshotsInput{RestorableByUserIds: []string{"all"}})
	if err != nil || len(restorable.Snapshots) != 0 {
		t.Errorf("restorable by all: %+v, %v", restorable, err)
	}
	c.must(only(c.ResetSnapshotAttribute(ctx, &ec2types.ResetSnapshotAttributeInput{SnapshotId: snap.SnapshotId, Attribute: attribute})))
	if got := shared(); got != "" {
		t.Errorf("shared with %q", got)
	}
	_, err = c.ResetSnapshotAttribute(ctx, &ec2types.ResetSnapshotAttributeInput{SnapshotId: snap.SnapshotId, Attribute: new("productCodes")})
	fails(t, "UnsupportedOperation", err)
}

func TestLaunchMapping(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	ctx := t.Context()
	image := c.bootSector()
	launch := func(m ...ec2types.BlockDeviceMapping) (string, error) {
		out, err := c.RunInstances(ctx, &ec2types.RunInstancesInput{
			ImageId: image, InstanceType: new("b1.pico"), MinCount: new(int32(1)), MaxCount: new(int32(1)), BlockDeviceMappings: m,
		})
		if err != nil {
			return "", err
		}
		return *out.Instances[0].InstanceId, nil
	}
	entry := func(device string, e *ec2types.EbsBlockDevice) ec2types.BlockDeviceMapping {
		return ec2types.BlockDeviceMapping{DeviceName: &device, Ebs: e}
	}
	for name, tc := range map[string]struct {
		m    []ec2types.BlockDeviceMapping
		code string
	}{
		"twice":       {[]ec2types.BlockDeviceMapping{entry("/dev/sdb", &ec2types.EbsBlockDevice{VolumeSize: new(int32(1))}), entry("sdb", &ec2types.EbsBlockDevice{VolumeSize: new(int32(1))})}, "InvalidBlockDeviceMapping"},
		"no size":     {[]ec2types.BlockDeviceMapping{entry("/dev/sdb", &ec2types.EbsBlockDevice{VolumeType: new("gp3")})}, "MissingParameter"},
		"bad device":  {[]ec2types.BlockDeviceMapping{entry("/dev/disk", &ec2types.EbsBlockDevice{VolumeSize: new(int32(1))})}, "InvalidBlockDeviceMapping"},
		"no root":     {[]ec2types.BlockDeviceMapping{{DeviceName: new("/dev/sda1"), NoDevice: new("")}}, "InvalidBlockDeviceMapping"},
		"no such key": {[]ec2types.BlockDeviceMapping{entry("/dev/sdb", &ec2types.EbsBlockDevice{VolumeSize: new(int32(1)), Encrypted: new(true), KmsKeyId: new("x")})}, "InvalidParameterValue"},
		"ephemeral":   {[]ec2types.BlockDeviceMapping{{DeviceName: new("/dev/sdb"), VirtualName: new("ephemeral0")}}, "UnsupportedOperation"},
		"io2 no iops": {[]ec2types.BlockDeviceMapping{entry("/dev/sdb", &ec2types.EbsBlockDevice{VolumeSize: new(int32(4)), VolumeType: new("io2")})}, "MissingParameter"},
		"no snapshot": {[]ec2types.BlockDeviceMapping{entry("/dev/sdb", &ec2types.EbsBlockDevice{SnapshotId: new("snap-00000000000000000")})}, "InvalidSnapshot.NotFound"},
		"shrunk root": {[]ec2types.BlockDeviceMapping{entry("/dev/sda1", &ec2types.EbsBlockDevice{VolumeSize: new(int32(0))})}, "InvalidBlockDeviceMapping"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := launch(tc.m...)
			fails(t, tc.code, err)
		})
	}
	id, err := launch(
		entry("/dev/sda1", &ec2types.EbsBlockDevice{VolumeSize: new(int32(3)), DeleteOnTermination: new(true), Encrypted: new(false)}),
		entry("/dev/sdb", &ec2types.EbsBlockDevice{VolumeSize: new(int32(4)), VolumeType: new("io1"), Iops: new(int32(150)), DeleteOnTermination: new(false)}),
		entry("/dev/sdc", &ec2types.EbsBlockDevice{VolumeSize: new(int32(1))}),
	)
	c.must(err)
	c.await(id, "running")
	devices := c.mapping(id)
	kept, gone := devices["/dev/sdb"], devices["/dev/sdc"]
	if v := c.volume(&kept); *v.Size != 4 || *v.Iops != 150 || *v.VolumeType != "io1" || *v.Attachments[0].DeleteOnTermination || *v.SnapshotId != "" {
		t.Errorf("got %+v", v)
	}
	c.must(only(c.TerminateInstances(ctx, &ec2types.TerminateInstancesInput{InstanceIds: []string{id}})))
	c.await(id, "terminated")
	c.volumeIs(&kept, "available")
	_, err = c.DescribeVolumes(ctx, &ec2types.DescribeVolumesInput{VolumeIds: []string{gone}})
	fails(t, "InvalidVolume.NotFound", err)
}

func TestVolumeStatusAndAttributes(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	ctx := t.Context()
	vol := c.newVolume(1)
	st, err := c.DescribeVolumeStatus(ctx, &ec2types.DescribeVolumeStatusInput{VolumeIds: []string{*vol}, Filters: []ec2types.Filter{{Name: new("volume-status.status"), Values: []string{"ok"}}}})
	if err != nil || len(st.VolumeStatuses) != 1 || *st.VolumeStatuses[0].VolumeStatus.Details[0].Status != "passed" {
		t.Errorf("got %+v, %v", st, err)
	}
	_, err = c.DescribeVolumeStatus(ctx, &ec2types.DescribeVolumeStatusInput{Filters: []ec2types.Filter{{Name: new("weather"), Values: []string{"fair"}}}})
	fails(t, "InvalidParameterValue", err)
	auto := func() *ec2types.DescribeVolumeAttributeOutput {
		out, err := c.DescribeVolumeAttribute(ctx, &ec2types.DescribeVolumeAttributeInput{VolumeId: vol, Attribute: new("autoEnableIO")})
		c.must(err)
		return out
	}
	if *auto().AutoEnableIO.Value {
		t.Error("on by itself")
	}
	_, err = c.ModifyVolumeAttribute(ctx, &ec2types.ModifyVolumeAttributeInput{VolumeId: vol})
	fails(t, "MissingParameter", err)
	c.must(only(c.ModifyVolumeAttribute(ctx, &ec2types.ModifyVolumeAttributeInput{VolumeId: vol, AutoEnableIO: &ec2types.AttributeBooleanValue{Value: new(true)}})))
	if !*auto().AutoEnableIO.Value {
		t.Error("still off")
	}
	if out, err := c.DescribeVolumeAttribute(ctx, &ec2types.DescribeVolumeAttributeInput{VolumeId: vol, Attribute: new("productCodes")}); err != nil || out.AutoEnableIO != nil {
		t.Errorf("got %+v, %v", out, err)
	}
}

// A layer that has changed, and one whose file is gone, are found with all that
// depends on them.
func TestCheckVolumes(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	ctx := t.Context()
	image := c.bootSector()
	inst := c.run(image)
	root := c.mapping(inst)["/dev/sda1"]
	vol := c.newVolume(1)
	snap, err := c.CreateSnapshot(ctx, &ec2types.CreateSnapshotInput{VolumeId: vol})
	c.must(err)
	c.snapshotDone(snap.SnapshotId)
	check := func(ids ...string) map[string]bundttypes.CheckedLayer {
		t.Helper()
		out, err := c.CheckVolumes(ctx, &bundttypes.CheckVolumesInput{ResourceIds: ids})
		c.must(err)
		layers := map[string]bundttypes.CheckedLayer{}
		for _, l := range out.Layers {
			layers[l.LayerId] = l
		}
		return layers
	}
	states := func(layers map[string]bundttypes.CheckedLayer) string {
		count := map[string]int{}
		for _, l := range layers {
			count[l.State]++
		}
		return fmt.Sprint(count)
	}
	if got := states(check()); got != "map[in-use:2 recorded:2]" {
		t.Errorf("first %s", got)
	}
	if got := states(check()); got != "map[in-use:2 ok:2]" {
		t.Errorf("then %s", got)
	}
	of := check(*snap.SnapshotId)
	if got := states(of); got != "map[ok:1]" {
		t.Errorf("of the snapshot %s", got)
	}
	for id, l := range of {
		if len(l.VolumeIds) != 1 || l.VolumeIds[0] != *vol || len(l.SnapshotIds) != 1 || l.Bytes == 0 {
			t.Errorf("got %+v", l)
		}
		c.must(os.Remove(filepath.Join(c.cfg.DataDir, "layers", id+".qcow2")))
	}
	for id, l := range check(*image) {
		if len(l.VolumeIds) != 1 || l.VolumeIds[0] != root || len(l.ImageIds) != 1 || l.ImageIds[0] != *image {
			t.Errorf("got %+v", l)
		}
		path := filepath.Join(c.cfg.DataDir, "layers", id+".qcow2")
		c.must(os.Chmod(path, 0o600))
		content, err := os.ReadFile(path)
		c.must(err)
		content[len(content)-1] ^= 1
		c.must(os.WriteFile(path, content, 0o600))
		c.must(os.Chmod(path, 0o444))
	}
	after := check()
	if got := states(after); got != "map[damaged:2 in-use:2]" {
		t.Errorf("damaged: %s", got)
	}
	for _, l := range after {
		t.Log(l.State, l.Message)
	}
	st, err := c.DescribeVolumeStatus(ctx, &ec2types.DescribeVolumeStatusInput{Filters: []ec2types.Filter{{Name: new("volume-status.status"), Values: []string{"impaired"}}}})
	if err != nil || len(st.VolumeStatuses) != 2 {
		t.Errorf("impaired are %+v, %v", st.VolumeStatuses, err)
	}
	_, err = c.CheckVolumes(ctx, &bundttypes.CheckVolumesInput{ResourceIds: []string{"vol-00000000000000000"}})
	fails(t, "InvalidVolume.NotFound", err)
	_, err = c.CheckVolumes(ctx, &bundttypes.CheckVolumesInput{ResourceIds: []string{inst}})
	fails(t, "InvalidID", err)
}

// A volume whose file vanished is not replaced by a blank one: it is given back,
// impaired, and usable when the file is back; an instance does not start without it.
func TestVanishedVolume(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	ctx := t.Context()
	inst := c.run(c.bootSector())
	before := c.layerFiles()
	vol := c.newVolume(1)
	var file string
	for path := range c.layerFiles() {
		if !before[path] {
			file = path
		}
	}
	attach := func() error {
		return only(c.AttachVolume(ctx, &ec2types.AttachVolumeInput{VolumeId: vol, InstanceId: &inst, Device: new("/dev/sdf")}))
	}
	c.must(os.Rename(file, file+".away"))
	c.must(attach())
	c.until("it is given back, impaired", func() error {
		st, err := c.DescribeVolumeStatus(ctx, &ec2types.DescribeVolumeStatusInput{VolumeIds: []string{*vol}})
		c.must(err)
		if v := c.volume(vol); *v.State != "available" || *st.VolumeStatuses[0].VolumeStatus.Status != "impaired" {
			return fmt.Errorf("it is %s and %s", *v.State, *st.VolumeStatuses[0].VolumeStatus.Status)
		}
		return nil
	})
	if len(c.mapping(inst)) != 1 {
		t.Error("the instance still has it")
	}
	if _, err := os.Stat(file); err == nil {
		t.Fatal("a blank disk was made in its place")
	}
	fails(t, "IncorrectState", attach())
	c.must(os.Rename(file+".away", file))
	c.must(only(c.CheckVolumes(ctx, &bundttypes.CheckVolumesInput{ResourceIds: []string{*vol}})))
	c.must(attach())
	c.attachmentIs(vol, "attached")

	c.must(only(c.StopInstances(ctx, &ec2types.StopInstancesInput{InstanceIds: []string{inst}})))
	c.await(inst, "stopped")
	c.must(os.Rename(file, file+".away"))
	c.must(only(c.StartInstances(ctx, &ec2types.StartInstancesInput{InstanceIds: []string{inst}})))
	c.until("it says why it does not start", func() error {
		out, err := c.DescribeInstances(ctx, &ec2types.DescribeInstancesInput{InstanceIds: []string{inst}})
		c.must(err)
		i := out.Reservations[0].Instances[0]
		if *i.State.Name != "stopped" || i.StateReason == nil || !strings.Contains(*i.StateReason.Message, "missing") {
			return fmt.Errorf("%s %+v", *i.State.Name, i.StateReason)
		}
		return nil
	})
	if _, err := os.Stat(file); err == nil {
		t.Fatal("a blank disk was made in its place")
	}
	c.must(os.Rename(file+".away", file))
	c.must(only(c.StartInstances(ctx, &ec2types.StartInstancesInput{InstanceIds: []string{inst}})))
	c.await(inst, "running")
}

func (c *cloud) layerFiles() map[string]bool {
	c.t.Helper()
	paths, err := filepath.Glob(filepath.Join(c.cfg.DataDir, "layers", "*.qcow2"))
	c.must(err)
	files := map[string]bool{}
	for _, p := range paths {
		files[p] = true
	}
	return files
}
