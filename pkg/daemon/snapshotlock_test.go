package daemon_test

import (
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/daemon"
)

func TestSnapshotLocks(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	ctx := t.Context()
	taken, err := c.CreateSnapshot(ctx, &ec2types.CreateSnapshotInput{VolumeId: c.newVolume(1)})
	c.must(err)
	snap := taken.SnapshotId
	c.snapshotDone(snap)
	type in = ec2types.LockSnapshotInput
	for name, tc := range map[string]struct {
		in   in
		code string
	}{
		"no mode":              {in{SnapshotId: snap, LockDuration: new(int32(1))}, "MissingParameter"},
		"no end":               {in{SnapshotId: snap, LockMode: new("governance")}, "InvalidParameterCombination"},
		"two ends":             {in{SnapshotId: snap, LockMode: new("governance"), LockDuration: new(int32(1)), ExpirationDate: new(time.Now().AddDate(1, 0, 0))}, "InvalidParameterCombination"},
		"too long":             {in{SnapshotId: snap, LockMode: new("governance"), LockDuration: new(int32(36501))}, "InvalidParameterValue"},
		"too soon":             {in{SnapshotId: snap, LockMode: new("governance"), ExpirationDate: new(time.Now().Add(time.Hour))}, "InvalidParameterValue"},
		"cool-off of a weak":   {in{SnapshotId: snap, LockMode: new("governance"), LockDuration: new(int32(1)), CoolOffPeriod: new(int32(1))}, "InvalidParameterCombination"},
		"cool-off of 100 days": {in{SnapshotId: snap, LockMode: new("compliance"), LockDuration: new(int32(1)), CoolOffPeriod: new(int32(100))}, "InvalidParameterValue"},
		"no such snapshot":     {in{SnapshotId: new("snap-00000000000000000"), LockMode: new("governance"), LockDuration: new(int32(1))}, "InvalidSnapshot.NotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.LockSnapshot(ctx, &tc.in)
			fails(t, tc.code, err)
		})
	}
	lock := func(mode string, days int32, coolOff *int32) (*ec2types.LockSnapshotOutput, error) {
		return c.LockSnapshot(ctx, &in{SnapshotId: snap, LockMode: &mode, LockDuration: &days, CoolOffPeriod: coolOff})
	}
	unlock := func() error { return only(c.UnlockSnapshot(ctx, &ec2types.UnlockSnapshotInput{SnapshotId: snap})) }
	remove := func() error { return only(c.DeleteSnapshot(ctx, &ec2types.DeleteSnapshotInput{SnapshotId: snap})) }
	fails(t, "IncorrectState", unlock())
	got, err := lock("governance", 10, nil)
	if err != nil || *got.LockState != "governance" || *got.LockDuration != 10 {
		t.Fatalf("%+v, %v", got, err)
	}
	fails(t, "OperationNotPermitted", remove())
	c.must(only(lock("governance", 1, nil))) // shorter
	c.must(unlock())
	got, err = lock("compliance", 10, new(int32(2)))
	if err != nil || *got.LockState != "compliance-cooloff" || got.CoolOffPeriodExpiresOn == nil {
		t.Fatalf("%+v, %v", got, err)
	}
	c.must(unlock())
	c.must(only(lock("compliance", 10, nil)))
	fails(t, "OperationNotPermitted", unlock())
	fails(t, "OperationNotPermitted", only(lock("governance", 20, nil)))
	fails(t, "OperationNotPermitted", only(lock("compliance", 9, nil)))
	c.must(only(lock("compliance", 11, nil)))
	fails(t, "OperationNotPermitted", remove())
	shown, err := c.DescribeLockedSnapshots(ctx, &ec2types.DescribeLockedSnapshotsInput{Filters: []ec2types.Filter{{Name: new("lock-state"), Values: []string{"compliance"}}}})
	if err != nil || len(shown.Snapshots) != 1 || *shown.Snapshots[0].LockDuration != 11 {
		t.Errorf("%+v, %v", shown, err)
	}
}

func TestSnapshotBin(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	ctx := t.Context()
	vol := c.newVolume(1)
	take := func() *string {
		t.Helper()
		s, err := c.CreateSnapshot(ctx, &ec2types.CreateSnapshotInput{VolumeId: vol, Description: new("kept")})
		c.must(err)
		c.snapshotDone(s.SnapshotId)
		return s.SnapshotId
	}
	remove := func(id *string) {
		t.Helper()
		c.must(only(c.DeleteSnapshot(ctx, &ec2types.DeleteSnapshotInput{SnapshotId: id})))
		_, err := c.DescribeSnapshots(ctx, &ec2types.DescribeSnapshotsInput{SnapshotIds: []string{*id}})
		fails(t, "InvalidSnapshot.NotFound", err)
	}
	restore := func(id *string) error {
		return only(c.RestoreSnapshotFromRecycleBin(ctx, &ec2types.RestoreSnapshotFromRecycleBinInput{SnapshotId: id}))
	}
	gone := take()
	remove(gone)
	fails(t, "InvalidSnapshot.NotFound", restore(gone))
	c.must(only(c.ModifySnapshotRetention(ctx, &bundttypes.ModifySnapshotRetentionInput{RetentionDays: new(int32(7))})))
	if r, err := c.DescribeSnapshotRetention(ctx, &bundttypes.DescribeSnapshotRetentionInput{}); err != nil || r.RetentionDays != 7 {
		t.Errorf("%+v, %v", r, err)
	}
	kept := take()
	remove(kept)
	c.must(only(c.DeleteVolume(ctx, &ec2types.DeleteVolumeInput{VolumeId: vol})))
	bin, err := c.ListSnapshotsInRecycleBin(ctx, &ec2types.ListSnapshotsInRecycleBinInput{})
	if err != nil || len(bin.Snapshots) != 1 || *bin.Snapshots[0].SnapshotId != *kept || *bin.Snapshots[0].Description != "kept" {
		t.Fatalf("%+v, %v", bin, err)
	}
	// What it stands on has stayed.
	c.must(restore(kept))
	c.snapshotDone(kept)
	made, err := c.CreateVolume(ctx, &ec2types.CreateVolumeInput{AvailabilityZone: new(zone), SnapshotId: kept})
	c.must(err)
	c.volumeIs(made.VolumeId, "available")
	_, err = c.ModifySnapshotRetention(ctx, &bundttypes.ModifySnapshotRetentionInput{RetentionDays: new(int32(366))})
	fails(t, "InvalidParameterValue", err)

	_, err = c.EnableFastSnapshotRestores(ctx, &ec2types.EnableFastSnapshotRestoresInput{AvailabilityZones: []string{zone}, SourceSnapshotIds: []string{*kept}})
	fails(t, "UnsupportedOperation", err)
	fast, err := c.DescribeFastSnapshotRestores(ctx, &ec2types.DescribeFastSnapshotRestoresInput{})
	if err != nil || len(fast.FastSnapshotRestores) != 0 {
		t.Errorf("%+v, %v", fast, err)
	}
}
