//go:build vm

package qemu

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

// limitsOf asks QEMU for a disk's limits. What is one second's worth is no burst.
func limitsOf(t *testing.T, d hypervisor.Driver, id, diskID string) model.IOLimits {
	t.Helper()
	_, client, err := d.(*Driver).machine(id).monitor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var devices []struct {
		QDev     string
		Inserted struct {
			Bps       int64
			BpsMax    int64 `json:"bps_max"`
			BpsTime   int64 `json:"bps_max_length"`
			Iops      int64
			IopsMax   int64 `json:"iops_max"`
			IopsTime  int64 `json:"iops_max_length"`
			IopsBytes int64 `json:"iops_size"`
		}
	}
	if err := client.Execute(t.Context(), "query-block", nil, &devices); err != nil {
		t.Fatal(err)
	}
	rate := func(perSecond, most, seconds int64) model.Rate {
		if seconds <= 1 {
			return model.Rate{PerSecond: perSecond}
		}
		return model.Rate{PerSecond: perSecond, Burst: most, BurstSeconds: seconds}
	}
	for _, dev := range devices {
		if strings.HasPrefix(dev.QDev, backend(diskID)) {
			in := dev.Inserted
			return model.IOLimits{
				Operations: rate(in.Iops, in.IopsMax, in.IopsTime), Bytes: rate(in.Bps, in.BpsMax, in.BpsTime), OperationBytes: in.IopsBytes,
			}
		}
	}
	t.Fatalf("machine %s has no disk %s", id, diskID)
	return model.IOLimits{}
}

// What passes a disk in a second is what its limit says, from the start, across
// snapshots, after a change, and with a driver that comes later.
func TestLimitsHold(t *testing.T) {
	w := newWorld(t, accelTCG)
	d := w.driver(t)
	defer func() { _ = d.Close() }()
	ctx := t.Context()
	spec := w.Spec(t, "i-limits")
	disk := &spec.Disks[0]
	ops := func(n int64) model.IOLimits {
		return model.IOLimits{Operations: model.Rate{PerSecond: n}, OperationBytes: 4096}
	}
	disk.Limits = ops(50)
	if _, err := d.Start(ctx, spec); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Remove(ctx, spec.ID) }()
	// read reads as the guest would, through the device, and tells how long it took
	// beyond the second that may be done at once.
	read := func(n, bytes int) time.Duration {
		_, client, err := d.machine(spec.ID).monitor(ctx)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		for range n {
			var out string
			line := fmt.Sprintf("qemu-io -d %s \"read 0 %d\"", backend(disk.ID), bytes)
			err := client.Execute(ctx, "human-monitor-command", map[string]any{"command-line": line}, &out)
			if err != nil || strings.Contains(strings.ToLower(out), "error") {
				t.Fatalf("%v %s", err, out)
			}
		}
		return time.Since(begun)
	}
	expect := func(what string, got, want time.Duration) {
		t.Helper()
		if ratio := got.Seconds() / want.Seconds(); ratio < 0.8 || ratio > 1.5 { // the host may be slow, and then hurry
			t.Errorf("%s: it took %v where %v was expected", what, got, want)
		} else {
			t.Logf("%s: %v of %v, ratio %.3f", what, got, want, ratio)
		}
	}
	read(50, 512) // its first second
	expect("50 a second", read(50, 512), time.Second)

	next := w.Overlay(t, disk.Layers[0])
	if _, err := d.Snapshot(ctx, spec.ID, []hypervisor.SnapshotDisk{{DiskID: disk.ID, LayerID: next.ID, Path: next.Path}}); err != nil {
		t.Fatal(err)
	}
	expect("50 a second after a snapshot", read(50, 512), time.Second)
	if err := d.LimitDisk(ctx, spec.ID, disk.ID, ops(100)); err != nil {
		t.Fatal(err)
	}
	read(100, 512)
	expect("100 a second", read(100, 512), time.Second)
	expect("requests of four operations", read(25, 16384), time.Second)

	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = w.driver(t)
	expect("with another driver", read(200, 512), time.Second)
	bytes := model.IOLimits{Bytes: model.Rate{PerSecond: 1 << 20}}
	if err := d.LimitDisk(ctx, spec.ID, disk.ID, bytes); err != nil {
		t.Fatal(err)
	}
	read(16, 64<<10)
	expect("1 MiB/s", read(16, 64<<10), time.Second)
}
