package hvtest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

const secondDisk = "vol-00000000000000002"

// disks plugs a disk into a running machine, snapshots, grows and unplugs it.
func (s *suite) disks(t *testing.T, d hypervisor.Driver) {
	ctx := t.Context()
	spec := s.Spec(t, "i-0000000000000000a")
	root := spec.Disks[0]
	base := root.Layers[len(root.Layers)-1]
	p := d.(hypervisor.DiskPlugger)
	if _, err := p.Disks(ctx, spec.ID); !errors.Is(err, hypervisor.ErrNotFound) {
		t.Errorf("disks of an absent machine: %v", err)
	}
	s.start(t, d, spec)
	s.console(t, d, spec.ID, 1)
	limits := model.IOLimits{Operations: model.Rate{PerSecond: 3000}, Bytes: model.Rate{PerSecond: 100 << 20}, OperationBytes: 256 << 10}
	extra := hypervisor.Disk{ID: secondDisk, Layers: []hypervisor.Layer{s.Overlay(t, base), base}, Limits: limits}
	for range 2 { // the second changes nothing
		if err := p.AttachDisk(ctx, spec.ID, extra); err != nil {
			t.Fatalf("attaching: %v", err)
		}
	}
	s.has(t, p, spec.ID, root.ID, extra.ID)

	s.limited(t, d, spec.ID, extra.ID, limits)

	extra = s.moment(t, d, spec, extra)
	s.limited(t, d, spec.ID, extra.ID, limits)
	limits = model.IOLimits{
		Operations: model.Rate{PerSecond: 100, Burst: 3000, BurstSeconds: 1800}, Bytes: model.Rate{PerSecond: 128 << 20}, OperationBytes: 256 << 10,
	}
	if err := p.LimitDisk(ctx, spec.ID, extra.ID, limits); err != nil {
		t.Fatalf("limiting: %v", err)
	}
	if err := p.LimitDisk(ctx, spec.ID, "vol-0000000000000dead", limits); err == nil {
		t.Error("a disk that is not there was limited")
	}
	extra.Limits = limits

	// A driver that comes later knows the disk and goes on with it.
	s.close(t, d)
	d = s.open(t)
	p = d.(hypervisor.DiskPlugger)
	s.has(t, p, spec.ID, root.ID, extra.ID)
	extra = s.moment(t, d, spec, extra)
	s.limited(t, d, spec.ID, extra.ID, limits)
	if f, ok := d.(hypervisor.Flattener); ok {
		extra = s.flatten(t, f, spec.ID, extra)
		extra = s.moment(t, d, spec, extra)
	}
	for _, size := range []int64{8 << 20, 8 << 20, 4 << 20} { // it never shrinks
		if err := p.ResizeDisk(ctx, spec.ID, extra.ID, size); err != nil {
			t.Fatalf("resizing: %v", err)
		}
		if got := s.Size(t, spec.ID, extra.ID, extra.Layers[0]); got != 8<<20 {
			t.Errorf("the disk has %d bytes", got)
		}
	}
	if err := p.ResizeDisk(ctx, spec.ID, "vol-0000000000000dead", 1<<20); err == nil {
		t.Error("a disk that is not there was resized")
	}

	if err := p.DetachDisk(ctx, spec.ID, root.ID, true); err == nil || errors.Is(err, hypervisor.ErrBusy) {
		t.Errorf("detaching the root disk: %v", err)
	}
	s.detach(t, d, spec.ID, extra.ID)
	s.has(t, p, spec.ID, root.ID)
	if err := p.DetachDisk(ctx, spec.ID, extra.ID, false); err != nil {
		t.Errorf("detaching what is not there: %v", err)
	}
	// And back again, on a new head.
	again := hypervisor.Disk{ID: extra.ID, Layers: slices.Insert(slices.Clone(extra.Layers), 0, s.Overlay(t, extra.Layers[0])), Limits: limits}
	if err := p.AttachDisk(ctx, spec.ID, again); err != nil {
		t.Fatalf("attaching again: %v", err)
	}
	s.has(t, p, spec.ID, root.ID, extra.ID)
	// By force, the guest is not waited for; twice is as once.
	for range 2 {
		if err := p.DetachDisk(ctx, spec.ID, extra.ID, true); err != nil {
			t.Fatalf("detaching by force: %v", err)
		}
		s.has(t, p, spec.ID, root.ID)
	}
	if err := d.Kill(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
	if err := p.AttachDisk(ctx, spec.ID, again); !errors.Is(err, hypervisor.ErrNotRunning) {
		t.Errorf("attaching to a stopped machine: %v", err)
	}
	spec.Disks = []hypervisor.Disk{root, again}
	spec.Disks[0].Layers = s.chains[root.ID]
	s.start(t, d, spec) // with both from the start
	s.has(t, p, spec.ID, root.ID, extra.ID)
	s.limited(t, d, spec.ID, extra.ID, limits)
	if err := p.LimitDisk(ctx, spec.ID, root.ID, limits); err != nil {
		t.Fatal(err)
	}
	if err := p.LimitDisk(ctx, spec.ID, root.ID, model.IOLimits{}); err != nil {
		t.Fatal(err)
	}
	s.limited(t, d, spec.ID, root.ID, model.IOLimits{})
	s.detach(t, d, spec.ID, extra.ID)
}

// flatten shortens a disk's chain to its head and base, and to the head.
func (s *suite) flatten(t *testing.T, f hypervisor.Flattener, id string, disk hypervisor.Disk) hypervisor.Disk {
	t.Helper()
	if err := f.FlattenDisk(t.Context(), id, disk.ID, "layer-x", 0); err == nil {
		t.Error("flattened down to a layer that it does not have")
	}
	base := disk.Layers[len(disk.Layers)-1]
	for range 2 { // the second changes nothing
		if err := f.FlattenDisk(t.Context(), id, disk.ID, base.ID, 0); err != nil {
			t.Fatalf("flattening: %v", err)
		}
	}
	disk.Layers = []hypervisor.Layer{disk.Layers[0], base}
	s.chains[disk.ID] = disk.Layers
	if err := f.FlattenDisk(t.Context(), id, "vol-0000000000000dead", base.ID, 0); err == nil {
		t.Error("flattened a disk that it does not have")
	}
	return disk
}

func (s *suite) limited(t *testing.T, d hypervisor.Driver, id, diskID string, want model.IOLimits) {
	t.Helper()
	if got := s.Limits(t, d, id, diskID); got != want {
		t.Errorf("the limits of disk %s are %+v, want %+v", diskID, got, want)
	}
}

func (s *suite) has(t *testing.T, p hypervisor.DiskPlugger, id string, want ...string) {
	t.Helper()
	has(t, p.Disks, id, want...)
}

func has(t *testing.T, list func(context.Context, string) ([]string, error), id string, want ...string) {
	t.Helper()
	got, err := list(t.Context(), id)
	if err != nil {
		t.Fatalf("listing what is plugged in: %v", err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("plugged in are %v, want %v", got, want)
	}
}

// moment snapshots the root disk and the other in one transaction, and returns
// the other as it is afterwards.
func (s *suite) moment(t *testing.T, d hypervisor.Driver, spec hypervisor.Spec, extra hypervisor.Disk) hypervisor.Disk {
	t.Helper()
	if s.chains == nil {
		s.chains = map[string][]hypervisor.Layer{}
	}
	var request []hypervisor.SnapshotDisk
	for _, disk := range []hypervisor.Disk{spec.Disks[0], extra} {
		if s.chains[disk.ID] == nil || disk.ID == extra.ID {
			s.chains[disk.ID] = disk.Layers
		}
		next := s.Overlay(t, s.chains[disk.ID][0])
		s.chains[disk.ID] = slices.Insert(slices.Clone(s.chains[disk.ID]), 0, next)
		request = append(request, hypervisor.SnapshotDisk{DiskID: disk.ID, LayerID: next.ID, Path: next.Path})
	}
	if _, err := d.(hypervisor.Snapshotter).Snapshot(t.Context(), spec.ID, request); err != nil {
		t.Fatalf("snapshotting two disks: %v", err)
	}
	extra.Layers = s.chains[extra.ID]
	return extra
}

// detach takes a disk from a machine.
func (s *suite) detach(t *testing.T, d hypervisor.Driver, id, diskID string) {
	t.Helper()
	s.unplug(t, d, id, func() error { return d.(hypervisor.DiskPlugger).DetachDisk(t.Context(), id, diskID, false) })
}

// unplug does as the node does: it asks until the guest has let go.
func (s *suite) unplug(t *testing.T, d hypervisor.Driver, id string, ask func() error) {
	t.Helper()
	released := false
	for end := time.Now().Add(s.Patience); ; time.Sleep(20 * time.Millisecond) {
		err := ask()
		switch {
		case err == nil:
			return
		case !errors.Is(err, hypervisor.ErrBusy) || time.Now().After(end):
			t.Fatalf("detaching: %v", err)
		case !released && s.Release != nil:
			s.Release(t, d, id)
			released = true
		}
	}
}
