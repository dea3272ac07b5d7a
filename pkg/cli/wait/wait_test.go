package wait

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/cli/failure"
)

func TestUntil(t *testing.T) {
	looks := 0
	o := &Options{Timeout: time.Minute}
	err := o.Until(t.Context(), nil, func(context.Context) (bool, string, error) {
		looks++
		return looks == 3, "pending", nil
	})
	if err != nil || looks != 3 {
		t.Errorf("Until gave %v after %d looks", err, looks)
	}
}

func TestUntilStopsAtAnError(t *testing.T) {
	broken := errors.New("broken")
	o := &Options{Timeout: time.Minute}
	err := o.Until(t.Context(), nil, func(context.Context) (bool, string, error) { return false, "", broken })
	if !errors.Is(err, broken) {
		t.Errorf("Until gave %v", err)
	}
}

func TestUntilTimesOut(t *testing.T) {
	o := &Options{Timeout: 30 * time.Millisecond}
	// A check that notices the time limit itself must not hide that it was one.
	err := o.Until(t.Context(), nil, func(ctx context.Context) (bool, string, error) { return false, "pending", ctx.Err() })
	if !errors.Is(err, failure.ErrTimeout) || err.Error() != "timed out after 30ms (pending)" {
		t.Errorf("Until gave %v", err)
	}
}

func TestUntilIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	err := (&Options{Timeout: time.Minute}).Until(ctx, nil, func(context.Context) (bool, string, error) { return false, "", nil })
	if !errors.Is(err, context.Canceled) || errors.Is(err, failure.ErrTimeout) {
		t.Errorf("Until gave %v", err)
	}
}

func TestPossible(t *testing.T) {
	for _, c := range []struct {
		state, condition string
		ok               bool
	}{
		{"pending", "running", true}, {"running", Reachable, true}, {"stopped", Reachable, false}, {"stopping", "running", false},
		{"terminated", "running", false}, {"shutting-down", "stopped", false}, {"running", "stopped", true},
		{"terminated", "terminated", true}, {"running", "terminated", true},
	} {
		if err := possible("i-1", c.state, c.condition); (err == nil) != c.ok {
			t.Errorf("from %s to %s: %v", c.state, c.condition, err)
		}
	}
}
