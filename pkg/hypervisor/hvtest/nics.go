package hvtest

import (
	"errors"
	"testing"

	"github.com/bundt/bundt/pkg/hypervisor"
)

// nics plugs an interface into a running machine and takes it away, with a driver
// that comes later in between.
func (s *suite) nics(t *testing.T, d hypervisor.Driver) {
	ctx := t.Context()
	spec := s.Spec(t, "i-0000000000000000b")
	first := spec.NICs[0]
	p := d.(hypervisor.NICPlugger)
	extra := hypervisor.NIC{ID: "eni-00000000000000009", MAC: "02:00:00:00:00:09", MTU: 1500, Index: 3}
	if _, err := p.NICs(ctx, spec.ID); !errors.Is(err, hypervisor.ErrNotFound) {
		t.Errorf("interfaces of an absent machine: %v", err)
	}
	s.start(t, d, spec)
	s.console(t, d, spec.ID, 1)
	has(t, p.NICs, spec.ID, first.ID)
	for range 2 { // the second changes nothing
		if err := p.AttachNIC(ctx, spec.ID, extra, nil); err != nil {
			t.Fatalf("attaching: %v", err)
		}
	}
	has(t, p.NICs, spec.ID, first.ID, extra.ID)
	for _, index := range []int{0, extra.Index} {
		if err := p.AttachNIC(ctx, spec.ID, hypervisor.NIC{ID: "eni-00000000000000bad", MAC: "02:00:00:00:00:0a", Index: index}, nil); err == nil {
			t.Errorf("two interfaces of index %d", index)
		}
	}
	has(t, p.NICs, spec.ID, first.ID, extra.ID)

	s.close(t, d)
	d = s.open(t)
	p = d.(hypervisor.NICPlugger)
	st, err := d.Status(ctx, spec.ID)
	if err != nil || len(st.NICSockets) != 2 {
		t.Fatalf("adopted: %+v, %v", st, err)
	}
	s.listens(t, st, extra.ID)

	if err := p.DetachNIC(ctx, spec.ID, first.ID, true); err == nil || errors.Is(err, hypervisor.ErrBusy) {
		t.Errorf("detaching the first interface: %v", err)
	}
	s.detachNIC(t, d, spec.ID, extra.ID)
	has(t, p.NICs, spec.ID, first.ID)
	if st, err := d.Status(ctx, spec.ID); err != nil || len(st.NICSockets) != 1 || st.NICSockets[first.ID] == "" {
		t.Errorf("detached: %+v, %v", st, err)
	}
	if err := p.DetachNIC(ctx, spec.ID, extra.ID, false); err != nil {
		t.Errorf("detaching what is not there: %v", err)
	}
	// And back again, in another place, then from the start.
	extra.Index = 1
	if err := p.AttachNIC(ctx, spec.ID, extra, nil); err != nil {
		t.Fatalf("attaching again: %v", err)
	}
	if err := d.Kill(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
	if err := p.AttachNIC(ctx, spec.ID, extra, nil); !errors.Is(err, hypervisor.ErrNotRunning) {
		t.Errorf("attaching to a stopped machine: %v", err)
	}
	spec.NICs = append(spec.NICs, extra)
	s.start(t, d, spec)
	has(t, p.NICs, spec.ID, first.ID, extra.ID)
	s.detachNIC(t, d, spec.ID, extra.ID)
	has(t, p.NICs, spec.ID, first.ID)

	// By force, whatever the guest does: its socket is gone at once.
	if err := p.AttachNIC(ctx, spec.ID, extra, nil); err != nil {
		t.Fatalf("attaching once more: %v", err)
	}
	if err := p.DetachNIC(ctx, spec.ID, extra.ID, true); err != nil {
		t.Errorf("detaching by force: %v", err)
	}
	if st, err := d.Status(ctx, spec.ID); err != nil || len(st.NICSockets) != 1 {
		t.Errorf("detached by force: %+v, %v", st, err)
	}
}

func (s *suite) detachNIC(t *testing.T, d hypervisor.Driver, id, nicID string) {
	t.Helper()
	s.unplug(t, d, id, func() error { return d.(hypervisor.NICPlugger).DetachNIC(t.Context(), id, nicID, false) })
}
