package hvtest

import (
	"errors"
	"testing"

	"github.com/bundt/bundt/pkg/hypervisor"
)

// usage reads what a machine has used, which only grows.
func (s *suite) usage(t *testing.T, d hypervisor.Driver) {
	ctx := t.Context()
	meter := d.(hypervisor.Meter)
	spec := s.Spec(t, "i-0000000000000000e")
	if _, err := meter.Usage(ctx, spec.ID); !errors.Is(err, hypervisor.ErrNotFound) {
		t.Errorf("usage of an absent machine: %v", err)
	}
	s.start(t, d, spec)
	s.console(t, d, spec.ID, 1)
	first, err := meter.Usage(ctx, spec.ID)
	if err != nil {
		t.Fatalf("usage: %v", err)
	}
	root := first.Disks[spec.Disks[0].ID]
	if first.CPU < 0 || first.Memory < 1<<20 || len(first.Disks) != len(spec.Disks) || root.Reads < 1 || root.ReadBytes < 512 || root.ReadTime <= 0 {
		t.Errorf("a machine that has booted has used %+v", first)
	}
	now, err := meter.Usage(ctx, spec.ID)
	if err != nil {
		t.Fatalf("usage: %v", err)
	}
	if now.CPU < first.CPU || now.Disks[spec.Disks[0].ID].ReadBytes < root.ReadBytes {
		t.Errorf("it has used %+v, and %+v before", now, first)
	}
	if err := d.Kill(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := meter.Usage(ctx, spec.ID); !errors.Is(err, hypervisor.ErrNotRunning) {
		t.Errorf("usage of a stopped machine: %v", err)
	}
}
