package hvtest

import (
	"errors"
	"image"
	"testing"

	"github.com/bundt/bundt/pkg/hypervisor"
)

// screenshot looks at a machine that has a display, and at one that has none.
func (s *suite) screenshot(t *testing.T, d hypervisor.Driver) {
	ctx := t.Context()
	look := d.(hypervisor.Screenshotter)
	blind, spec := s.Spec(t, "i-0000000000000000b"), s.Spec(t, "i-0000000000000000c")
	spec.Display = true
	if _, err := look.Screenshot(ctx, spec.ID); !errors.Is(err, hypervisor.ErrNotFound) {
		t.Errorf("picture of an absent machine: %v", err)
	}
	s.start(t, d, blind)
	if _, err := look.Screenshot(ctx, blind.ID); !errors.Is(err, hypervisor.ErrUnsupported) {
		t.Errorf("picture of a machine without a display: %v", err)
	}
	s.start(t, d, spec)
	s.console(t, d, spec.ID, 1)
	shot, err := look.Screenshot(ctx, spec.ID)
	if err != nil {
		t.Fatalf("picture: %v", err)
	}
	if !written(shot) {
		t.Errorf("nothing is on the screen of %v", shot.Bounds())
	}
	// A driver that comes later still knows that there is a display.
	s.close(t, d)
	d = s.open(t)
	look = d.(hypervisor.Screenshotter)
	if _, err := look.Screenshot(ctx, spec.ID); err != nil {
		t.Errorf("picture by another driver: %v", err)
	}
	if err := d.Kill(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := look.Screenshot(ctx, spec.ID); !errors.Is(err, hypervisor.ErrNotRunning) {
		t.Errorf("picture of a stopped machine: %v", err)
	}
}

// written reports whether a picture has points of more than one colour.
func written(shot image.Image) bool {
	b := shot.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			if shot.At(x, y) != shot.At(b.Min.X, b.Min.Y) {
				return true
			}
		}
	}
	return false
}
