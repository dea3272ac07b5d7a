package hvtest

import (
	"errors"
	"testing"

	"github.com/bundt/bundt/pkg/hypervisor"
)

// variables reads those of machines that have none: real firmware is too slow for
// this suite.
func (s *suite) variables(t *testing.T, d hypervisor.Driver) {
	read := d.(hypervisor.Variables)
	spec := s.Spec(t, "i-0000000000000000d")
	if _, err := read.Variables(t.Context(), spec.ID); !errors.Is(err, hypervisor.ErrNotFound) {
		t.Errorf("variables of an absent machine: %v", err)
	}
	s.start(t, d, spec)
	if _, err := read.Variables(t.Context(), spec.ID); !errors.Is(err, hypervisor.ErrUnsupported) {
		t.Errorf("variables of a machine with firmware %q: %v", spec.Boot.Firmware, err)
	}
}
