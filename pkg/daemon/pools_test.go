package daemon_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/daemon"
)

// Volumes of some types are in a pool of their own, and refused when it is full; all
// others go on.
func TestPools(t *testing.T) {
	cfg := config(t)
	fast := t.TempDir()
	cfg.Pools = []string{"fast=" + fast + ":types=io1+io2:quota=1"}
	c := cloudWith(t, cfg, daemon.Parts{})
	ctx := t.Context()
	files := func() int {
		found, err := filepath.Glob(filepath.Join(fast, "*", "*.qcow2"))
		c.must(err)
		return len(found)
	}
	create := func(typ string) (*ec2types.CreateVolumeOutput, error) {
		return c.CreateVolume(ctx, &ec2types.CreateVolumeInput{AvailabilityZone: new(zone), Size: new(int32(4)), VolumeType: &typ, Iops: new(int32(200)), Encrypted: new(true)})
	}
	made, err := create("io1")
	c.must(err)
	c.volumeIs(made.VolumeId, "available")
	c.newVolume(1)
	if files() != 1 {
		t.Errorf("the pool has %d files", files())
	}
	snap, err := c.CreateSnapshot(ctx, &ec2types.CreateSnapshotInput{VolumeId: made.VolumeId})
	c.must(err)
	c.snapshotDone(snap.SnapshotId)
	if files() != 2 {
		t.Errorf("with a snapshot the pool has %d files", files())
	}
	for range 2 { // each takes more than a quarter of a MiB
		if out, err := create("io2"); err == nil {
			c.volumeIs(out.VolumeId, "available")
		}
	}
	c.until("the pool is full", func() error {
		out, err := create("io2")
		if err == nil {
			return fmt.Errorf("it made %s", *out.VolumeId)
		}
		if !strings.Contains(err.Error(), "InsufficientVolumeCapacity") {
			t.Fatal(err)
		}
		return nil
	})
	c.newVolume(1)
}

func TestPoolsConfiguration(t *testing.T) {
	for _, bad := range []string{
		"fast", "=/x:types=gp3", "Fast=/x:types=gp3", "fast=x:types=gp3", "fast=/x", "fast=/x:types=floppy", "fast=/x:types=gp3:quota=0", "fast=/x:types=gp3:size=1",
		"fast=rbd:pool/image:types=gp3", "fast=/dev/vg/lv:types=gp3", "default=/x:quota=1", "default=:types=gp3",
	} {
		cfg := config(t)
		cfg.Pools = []string{bad}
		if _, err := daemon.New(t.Context(), cfg, nil, daemon.Parts{}); err == nil {
			t.Errorf("%s was taken", bad)
		} else {
			t.Log(err)
		}
	}
	cfg := config(t)
	cfg.Pools = []string{"a=/x:types=gp3", "b=/y:types=gp3"}
	if _, err := daemon.New(t.Context(), cfg, nil, daemon.Parts{}); err == nil {
		t.Error("a type is in two pools")
	}
}
