package fake_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/fake"
	"github.com/bundt/bundt/pkg/hypervisor/hvtest"
	"github.com/bundt/bundt/pkg/model"
)

func spec(id string) hypervisor.Spec {
	return hypervisor.Spec{
		ID: id, UUID: "ec2", Arch: model.X8664, VCPUs: 1, MemoryMiB: 64,
		Boot:  hypervisor.BootSpec{Firmware: model.FirmwareBIOS},
		Disks: []hypervisor.Disk{{ID: "vol-1", Layers: []hypervisor.Layer{{ID: "layer-0", Path: "/0"}}}},
		NICs:  []hypervisor.NIC{{ID: "eni-1", MAC: "02:00:00:00:00:01"}},
	}
}

func TestConformance(t *testing.T) {
	host := fake.NewHost()
	host.SocketDir = t.TempDir()
	host.GuestFor = func(s hypervisor.Spec) fake.Guest {
		return fake.Guest{Console: "guest " + s.ID + " is up\n", ShutdownTime: time.Millisecond, Holds: true}
	}
	layers := 0
	hvtest.Run(t, hvtest.Harness{
		New:  func(*testing.T) hypervisor.Driver { return fake.New(host) },
		Spec: func(_ *testing.T, id string) hypervisor.Spec { return spec(id) },
		Overlay: func(*testing.T, hypervisor.Layer) hypervisor.Layer {
			layers++
			return hypervisor.Layer{ID: fmt.Sprintf("layer-%d", layers), Path: fmt.Sprintf("/%d", layers)}
		},
		Release: func(t *testing.T, _ hypervisor.Driver, id string) {
			if err := host.LetGo(id); err != nil {
				t.Error(err)
			}
		},
		Size: func(_ *testing.T, id, diskID string, _ hypervisor.Layer) int64 { return host.DiskSize(id, diskID) },
		Limits: func(t *testing.T, _ hypervisor.Driver, id, diskID string) model.IOLimits {
			spec, _ := host.Spec(id)
			for _, disk := range spec.Disks {
				if disk.ID == diskID {
					return disk.Limits
				}
			}
			t.Fatalf("machine %s has no disk %s", id, diskID)
			return model.IOLimits{}
		},
		Banner: "is up",
		Crash: func(t *testing.T, s hypervisor.Status) {
			if err := host.Crash(s.ID, "crashed by the test"); err != nil {
				t.Error(err)
			}
		},
		RealSockets: true,
	})
}

func TestFaultsAndDelays(t *testing.T) {
	host := fake.NewHost()
	broken := errors.New("out of fuel")
	host.Fault = func(ctx context.Context, op fake.Op, _ string) error {
		switch op {
		case fake.OpStart:
			return broken
		case fake.OpList:
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	d := fake.New(host)
	if _, err := d.Start(t.Context(), spec("i-1")); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, err := d.Status(t.Context(), "i-1"); !errors.Is(err, hypervisor.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := d.List(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestGuestThatIgnoresTheButtonAndPauses(t *testing.T) {
	host := fake.NewHost()
	host.GuestFor = func(hypervisor.Spec) fake.Guest { return fake.Guest{ShutdownTime: -1, Agent: true} }
	d := fake.New(host)
	if _, err := d.Start(t.Context(), spec("i-1")); err != nil {
		t.Fatal(err)
	}
	if err := d.PowerButton(t.Context(), "i-1"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
	if s, _ := d.Status(t.Context(), "i-1"); s.State != hypervisor.StateRunning {
		t.Errorf("got %+v", s)
	}
	r, err := d.Snapshot(t.Context(), "i-1", []hypervisor.SnapshotDisk{{DiskID: "vol-1", LayerID: "layer-9", Path: "/9"}})
	if err != nil || r.Consistency != model.ConsistencyFilesystem {
		t.Errorf("%+v, %v", r, err)
	}
	if s, _ := host.Spec("i-1"); len(s.Disks[0].Layers) != 2 || s.Disks[0].Layers[0].ID != "layer-9" {
		t.Errorf("chain %+v", s.Disks[0])
	}
	if err := host.Pause("i-1", "disk full"); err != nil {
		t.Fatal(err)
	}
	if s, _ := d.Status(t.Context(), "i-1"); s.State != hypervisor.StatePaused || s.Detail != "disk full" {
		t.Errorf("got %+v", s)
	}
	if s, err := d.Start(t.Context(), spec("i-1")); err != nil || s.State != hypervisor.StateRunning {
		t.Errorf("%+v, %v", s, err)
	}
}

// A power button pressed in one run does not end the next.
func TestLateShutdownSparesTheNextRun(t *testing.T) {
	host := fake.NewHost()
	host.GuestFor = func(hypervisor.Spec) fake.Guest { return fake.Guest{ShutdownTime: 20 * time.Millisecond} }
	d := fake.New(host)
	for _, step := range []func() error{
		func() error { _, err := d.Start(t.Context(), spec("i-1")); return err },
		func() error { return d.PowerButton(t.Context(), "i-1") },
		func() error { return d.Kill(t.Context(), "i-1") },
		func() error { _, err := d.Start(t.Context(), spec("i-1")); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(40 * time.Millisecond)
	if s, _ := d.Status(t.Context(), "i-1"); s.State != hypervisor.StateRunning {
		t.Errorf("got %+v", s)
	}
}

func TestThousands(t *testing.T) {
	host := fake.NewHost()
	d := fake.New(host)
	const n = 5000
	for i := range n {
		if _, err := d.Start(t.Context(), spec(fmt.Sprintf("i-%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := d.List(t.Context()); err != nil || len(list) != n {
		t.Errorf("%d machines, %v", len(list), err)
	}
}
