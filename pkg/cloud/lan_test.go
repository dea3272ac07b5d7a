package cloud_test

import (
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

func TestLANRequests(t *testing.T) {
	a, s, _ := room(t, nil)
	for code, r := range map[string]cloud.LANRequest{
		model.CodeMissingParameter:      {Interface: "eth0"},
		model.CodeInvalidParameterValue: {Interface: "eth0", Addresses: []string{"2001:db8::1"}},
	} {
		if _, err := a.AttachLAN(t.Context(), r); model.CodeOf(err) != code {
			t.Errorf("%+v: %v", r, err)
		}
	}
	for _, r := range []cloud.LANRequest{
		{Addresses: []string{"192.0.2.50"}}, {Interface: "an-interface-of-a-long-name", Addresses: []string{"192.0.2.50"}},
		{Interface: "eth0", Addresses: []string{"192.0.2.50"}, Trial: time.Second}, {Interface: "eth0", Addresses: []string{"192.0.2.50"}, Trial: 2 * time.Hour},
	} {
		if _, err := a.AttachLAN(t.Context(), r); model.CodeOf(err) != model.CodeInvalidParameterValue {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if _, err := a.ConfirmLAN(t.Context(), "eth0"); model.CodeOf(err) != "Lan.NotFound" {
		t.Errorf("confirmed nothing: %v", err)
	}
	good := cloud.LANRequest{Interface: "eth0", Addresses: []string{"192.0.2.50"}}
	l, err := a.AttachLAN(t.Context(), good)
	if err != nil || l.State != model.LANPending || l.Trial != 120 {
		t.Fatalf("%+v, %v", l, err)
	}
	if _, err := a.AttachLAN(t.Context(), good); model.CodeOf(err) != "Lan.Duplicate" {
		t.Errorf("attached again: %v", err)
	}
	is := func(state model.LANState, until time.Time) {
		t.Helper()
		err := s.Update(t.Context(), func(tx *store.Tx) error {
			l.State, l.Until = state, until
			return records.LANs.Put(tx, &l)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for state, until := range map[model.LANState]time.Time{model.LANPending: {}, model.LANTrial: time.Now().Add(-time.Minute), model.LANRolledBack: {}} {
		is(state, until)
		if _, err := a.ConfirmLAN(t.Context(), "eth0"); model.CodeOf(err) != model.CodeIncorrectState {
			t.Errorf("confirmed what is %s: %v", state, err)
		}
		if _, err := a.AllocateAddress(t.Context(), "192.0.2.50", nil); model.CodeOf(err) != model.CodeInvalidParameterValue {
			t.Errorf("allocated what is %s: %v", state, err)
		}
	}
	is(model.LANTrial, time.Now().Add(time.Minute))
	if l, err := a.ConfirmLAN(t.Context(), "eth0"); err != nil || !l.Confirmed {
		t.Errorf("%+v, %v", l, err)
	}
	is(model.LANAttached, time.Time{})
	address, err := a.AllocateAddress(t.Context(), "192.0.2.50", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.DetachLAN(t.Context(), "eth0"); model.CodeOf(err) != "DependencyViolation" {
		t.Errorf("detached what is allocated: %v", err)
	}
	if err := a.ReleaseAddress(t.Context(), cloud.AddressRef{AllocationID: address.ID}); err != nil {
		t.Fatal(err)
	}
	if l, err := a.DetachLAN(t.Context(), "eth0"); err != nil || l.State != model.LANDetaching {
		t.Errorf("%+v, %v", l, err)
	}
}
