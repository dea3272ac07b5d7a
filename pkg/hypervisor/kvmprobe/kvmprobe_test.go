package kvmprobe

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		best   time.Duration
		err    error
		usable bool
		reason string
	}{
		"hardware":  {best: 31 * time.Microsecond, usable: true, reason: "0.03 ms"},
		"emulated":  {best: 21 * time.Millisecond, reason: "took 21.0 ms"},
		"threshold": {best: threshold, usable: true, reason: "3.00 ms"},
		"hung":      {err: errHung, reason: "hung"},
		"broken":    {err: errors.New("no vCPU"), reason: "no vCPU"},
	} {
		t.Run(name, func(t *testing.T) {
			kvm := judge(tc.best, tc.err)
			if kvm.Usable != tc.usable || !kvm.Present || !strings.Contains(kvm.Reason, tc.reason) {
				t.Errorf("got %+v", kvm)
			}
			if kvm.Usable == (kvm.Fix != "") {
				t.Errorf("fix %q", kvm.Fix)
			}
		})
	}
}

func TestCannotOpen(t *testing.T) {
	for _, cause := range []error{os.ErrNotExist, os.ErrPermission, os.ErrClosed} {
		kvm := cannotOpen(&fs.PathError{Op: "open", Path: Device, Err: cause})
		if kvm.Present || kvm.Usable || kvm.Reason == "" || kvm.Fix == "" {
			t.Errorf("%v: %+v", cause, kvm)
		}
	}
}

// Whatever the host has, the probe gives a reasoned answer in time.
func TestProbe(t *testing.T) {
	begun := time.Now()
	kvm := Probe(t.Context())
	if took := time.Since(begun); took > timeout+time.Second {
		t.Errorf("took %v", took)
	}
	t.Logf("%+v in %v", kvm, time.Since(begun))
	if kvm.Reason == "" || (kvm.Usable && !kvm.Present) {
		t.Errorf("got %+v", kvm)
	}
	dev, err := os.OpenFile(Device, os.O_RDWR, 0)
	if (err == nil) != kvm.Present {
		t.Errorf("present %v, but opening says %v", kvm.Present, err)
	}
	if err == nil {
		_ = dev.Close()
	}
}

func TestProbeThatMayNotTakeTimeIsInterrupted(t *testing.T) {
	dev, err := os.OpenFile(Device, os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer dev.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
	defer cancel()
	if _, err := run(ctx, dev); err != nil && !errors.Is(err, errHung) {
		t.Errorf("got %v", err)
	}
}
