// Package hvtest owns the conformance suite that every hypervisor driver passes,
// on real machines or simulated ones.
package hvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

// Harness is what the suite needs of a driver. The guest of Spec prints
// something, then idles until the power button is pressed.
type Harness struct {
	// New returns a driver; drivers of one harness have the same state directory.
	// The suite closes those that are io.Closers.
	New func(t *testing.T) hypervisor.Driver
	// Spec returns a machine with a disk and a NIC.
	Spec func(t *testing.T, id string) hypervisor.Spec
	// Overlay makes a new layer whose backing file is below.
	Overlay func(t *testing.T, below hypervisor.Layer) hypervisor.Layer
	// Written waits until the guest has written to the layer; nil if guests
	// do not write.
	Written func(t *testing.T, l hypervisor.Layer)
	// Release makes the guest let go of disks and interfaces that it was asked for; nil if it
	// does so by itself.
	Release func(t *testing.T, d hypervisor.Driver, id string)
	// Size is how large a machine's disk is, in bytes.
	Size func(t *testing.T, id, diskID string, head hypervisor.Layer) int64
	// Limits are those of a machine's disk, as the hypervisor has them.
	Limits func(t *testing.T, d hypervisor.Driver, id, diskID string) model.IOLimits
	// Banner is what the guest prints when it is up.
	Banner string
	// Crash ends a machine's process behind the driver's back.
	Crash func(t *testing.T, s hypervisor.Status)
	// RealSockets says that NIC sockets can be connected to.
	RealSockets bool
	// Patience is how long a guest may take for anything; default 10 s.
	Patience time.Duration
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	if h.Patience == 0 {
		h.Patience = 10 * time.Second
	}
	s := &suite{Harness: h, closed: map[hypervisor.Driver]bool{}}
	for _, test := range []struct {
		name string
		f    func(*testing.T, hypervisor.Driver)
	}{
		{"Host", s.host},
		{"AbsentMachine", s.absent},
		{"BadSpec", s.badSpec},
		{"Life", s.life},
		{"StartRaces", s.startRaces},
		{"PowerButton", s.powerButton},
		{"Reset", s.reset},
		{"Crash", s.crash},
		{"Snapshot", s.snapshot},
		{"Disks", s.disks},
		{"NICs", s.nics},
		{"Screenshot", s.screenshot},
		{"Usage", s.usage},
		{"SerialPort", s.serialPort},
		{"Variables", s.variables},
		{"Adoption", s.adoption},
		{"HaltWhileAway", s.haltWhileAway},
		{"EndedContext", s.endedContext},
	} {
		t.Run(test.name, func(t *testing.T) { test.f(t, s.open(t)) })
	}
}

type suite struct {
	Harness
	closed map[hypervisor.Driver]bool
	chains map[string][]hypervisor.Layer // of disks, after snapshots
}

// open returns a driver that is closed with the test, its machines removed.
func (s *suite) open(t *testing.T) hypervisor.Driver {
	d := s.New(t)
	t.Cleanup(func() {
		if s.closed[d] {
			return
		}
		ctx := context.Background()
		list, err := d.List(ctx)
		if err != nil {
			t.Errorf("listing at the end: %v", err)
		}
		for _, m := range list {
			if err := d.Remove(ctx, m.ID); err != nil {
				t.Errorf("removing %s: %v", m.ID, err)
			}
		}
		if list, _ := d.List(ctx); len(list) != 0 {
			t.Errorf("left behind: %+v", list)
		}
		s.close(t, d)
	})
	return d
}

func (s *suite) close(t *testing.T, d hypervisor.Driver) {
	s.closed[d] = true
	if c, ok := d.(io.Closer); ok {
		if err := c.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
}

func (s *suite) start(t *testing.T, d hypervisor.Driver, spec hypervisor.Spec) hypervisor.Status {
	t.Helper()
	st, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatalf("starting: %v", err)
	}
	if st.ID != spec.ID || st.State != hypervisor.StateRunning || st.PID == 0 || st.Accel.Name == "" || st.Accel.Reason == "" {
		t.Fatalf("started: %+v", st)
	}
	return st
}

// wait polls the status until ok, which is what a receiver of events does.
func (s *suite) wait(t *testing.T, d hypervisor.Driver, id, what string, ok func(hypervisor.Status) bool) hypervisor.Status {
	t.Helper()
	var st hypervisor.Status
	var err error
	for end := time.Now().Add(s.Patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if st, err = d.Status(t.Context(), id); err != nil {
			t.Fatalf("status: %v", err)
		}
		if ok(st) {
			return st
		}
	}
	t.Fatalf("waited for %s, got %+v", what, st)
	return st
}

func stopped(s hypervisor.Status) bool { return s.State == hypervisor.StateStopped }

// console waits until the guest's banner has been printed n times.
func (s *suite) console(t *testing.T, d hypervisor.Driver, id string, n int) {
	t.Helper()
	c, ok := d.(hypervisor.Console)
	if !ok {
		t.Fatal("the driver has no consoles")
	}
	var out []byte
	var err error
	for end := time.Now().Add(s.Patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if out, err = c.ConsoleOutput(t.Context(), id, 64<<10); err != nil {
			t.Fatalf("console: %v", err)
		}
		if bytes.Count(out, []byte(s.Banner)) >= n {
			return
		}
	}
	t.Fatalf("waited for %q %d times, the console has %q", s.Banner, n, out)
}

func (s *suite) host(t *testing.T, d hypervisor.Driver) {
	host, err := d.Host(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if host.Driver != d.Name() || host.Version == "" {
		t.Errorf("got %+v", host)
	}
	for _, a := range model.Archs {
		support, ok := host.Archs[a]
		if !ok {
			t.Errorf("nothing said about %s", a)
		}
		if support.Problem == "" && (support.Accel.Reason == "" || support.Emulator == "") {
			t.Errorf("%s: %+v", a, support)
		}
		if support.Problem != "" && support.Fix == "" {
			t.Errorf("%s: a problem without a fix: %+v", a, support)
		}
	}
}

const absentID = "i-00000000000000bad"

func (s *suite) absent(t *testing.T, d hypervisor.Driver) {
	ctx := t.Context()
	for op, err := range map[string]error{
		"Status":      second(d.Status(ctx, absentID)),
		"PowerButton": d.PowerButton(ctx, absentID),
		"Reset":       d.Reset(ctx, absentID),
		"Snapshot":    second(d.(hypervisor.Snapshotter).Snapshot(ctx, absentID, nil)),
		"Console":     second(d.(hypervisor.Console).ConsoleOutput(ctx, absentID, 10)),
	} {
		if !errors.Is(err, hypervisor.ErrNotFound) {
			t.Errorf("%s: %v", op, err)
		}
	}
	for op, err := range map[string]error{"Kill": d.Kill(ctx, absentID), "Remove": d.Remove(ctx, absentID)} {
		if err != nil {
			t.Errorf("%s of nothing must succeed: %v", op, err)
		}
	}
	if list, err := d.List(ctx); err != nil || len(list) != 0 {
		t.Errorf("list: %+v, %v", list, err)
	}
}

func second[T any](_ T, err error) error { return err }

func (s *suite) badSpec(t *testing.T, d hypervisor.Driver) {
	good := s.Spec(t, "i-000000000000bad01")
	for name, spoil := range map[string]func(*hypervisor.Spec){
		"no id":           func(p *hypervisor.Spec) { p.ID = "" },
		"unknown arch":    func(p *hypervisor.Spec) { p.Arch = "vax" },
		"no memory":       func(p *hypervisor.Spec) { p.MemoryMiB = 0 },
		"no CPU":          func(p *hypervisor.Spec) { p.VCPUs = 0 },
		"nothing to boot": func(p *hypervisor.Spec) { p.Disks, p.Boot.Kernel = nil, "" },
		"empty disk":      func(p *hypervisor.Spec) { p.Disks = []hypervisor.Disk{{ID: "vol-1"}} },
	} {
		t.Run(name, func(t *testing.T) {
			spec := good
			spoil(&spec)
			if _, err := d.Start(t.Context(), spec); err == nil {
				t.Error("it started")
			}
			if list, err := d.List(t.Context()); err != nil || len(list) != 0 {
				t.Errorf("left behind: %+v, %v", list, err)
			}
		})
	}
}

func (s *suite) life(t *testing.T, d hypervisor.Driver) {
	ctx := t.Context()
	events := d.Events(ctx)
	spec := s.Spec(t, "i-00000000000000001")
	first := s.start(t, d, spec)
	if again := s.start(t, d, spec); again.PID != first.PID {
		t.Errorf("a second start made process %d of %d", again.PID, first.PID)
	}
	for _, nic := range spec.NICs {
		s.listens(t, first, nic.ID)
	}
	s.console(t, d, spec.ID, 1)
	s.list(t, d, spec.ID)
	for range 2 {
		if err := d.Kill(ctx, spec.ID); err != nil {
			t.Fatalf("killing: %v", err)
		}
	}
	st, err := d.Status(ctx, spec.ID)
	if err != nil || !stopped(st) || st.GuestHalted || st.PID != 0 {
		t.Fatalf("killed: %+v, %v", st, err)
	}
	if err := d.PowerButton(ctx, spec.ID); !errors.Is(err, hypervisor.ErrNotRunning) {
		t.Errorf("power button of a stopped machine: %v", err)
	}
	s.console(t, d, spec.ID, 1) // the log outlives the process
	expectEvents(t, events, spec.ID, "started", "stopped")

	if st := s.start(t, d, spec); st.PID == first.PID {
		t.Error("the new process is the old one")
	}
	for range 2 {
		if err := d.Remove(ctx, spec.ID); err != nil {
			t.Fatalf("removing: %v", err)
		}
	}
	if _, err := d.Status(ctx, spec.ID); !errors.Is(err, hypervisor.ErrNotFound) {
		t.Errorf("removed: %v", err)
	}
	s.list(t, d)
}

// listens connects to an interface's socket.
func (s *suite) listens(t *testing.T, st hypervisor.Status, nicID string) {
	t.Helper()
	path := st.NICSockets[nicID]
	if path == "" {
		t.Errorf("interface %s has no socket", nicID)
	}
	if !s.RealSockets {
		return
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("connecting to a NIC: %v", err)
	}
	_ = c.Close()
}

func (s *suite) list(t *testing.T, d hypervisor.Driver, ids ...string) {
	t.Helper()
	list, err := d.List(t.Context())
	if err != nil {
		t.Fatalf("listing: %v", err)
	}
	var got []string
	for _, m := range list {
		got = append(got, m.ID)
	}
	if strings.Join(got, " ") != strings.Join(ids, " ") {
		t.Errorf("list has %v, want %v", got, ids)
	}
}

func expectEvents(t *testing.T, events <-chan hypervisor.Event, id string, kinds ...string) {
	t.Helper()
	deadline := time.After(5 * time.Second)
	for _, kind := range kinds {
		for {
			var e hypervisor.Event
			select {
			case e = <-events:
			case <-deadline:
				t.Errorf("no event %q", kind)
				return
			}
			if e.ID == id && e.Kind == kind {
				break
			}
		}
	}
}

func (s *suite) startRaces(t *testing.T, d hypervisor.Driver) {
	spec := s.Spec(t, "i-00000000000000002")
	pids := make([]int, 4)
	var wg sync.WaitGroup
	for i := range pids {
		wg.Go(func() {
			st, err := d.Start(t.Context(), spec)
			if err != nil {
				t.Errorf("start %d: %v", i, err)
			}
			pids[i] = st.PID
		})
	}
	wg.Wait()
	for _, pid := range pids {
		if pid != pids[0] {
			t.Errorf("several processes: %v", pids)
		}
	}
	for range 4 {
		wg.Go(func() {
			if err := d.Remove(t.Context(), spec.ID); err != nil {
				t.Errorf("removing: %v", err)
			}
		})
	}
	wg.Wait()
	s.list(t, d)
}

func (s *suite) powerButton(t *testing.T, d hypervisor.Driver) {
	spec := s.Spec(t, "i-00000000000000003")
	s.start(t, d, spec)
	s.console(t, d, spec.ID, 1)
	if err := d.PowerButton(t.Context(), spec.ID); err != nil {
		t.Fatalf("power button: %v", err)
	}
	st := s.wait(t, d, spec.ID, "the guest's end", stopped)
	if !st.GuestHalted {
		t.Errorf("the guest powered off, the status says %+v", st)
	}
	// A new driver knows it, too; a new start forgets it.
	s.close(t, d)
	next := s.open(t)
	if st, err := next.Status(t.Context(), spec.ID); err != nil || !st.GuestHalted {
		t.Errorf("a new driver says %+v, %v", st, err)
	}
	if st := s.start(t, next, spec); st.GuestHalted {
		t.Errorf("started again: %+v", st)
	}
}

func (s *suite) reset(t *testing.T, d hypervisor.Driver) {
	spec := s.Spec(t, "i-00000000000000004")
	first := s.start(t, d, spec)
	s.console(t, d, spec.ID, 1)
	if err := d.Reset(t.Context(), spec.ID); err != nil {
		t.Fatalf("resetting: %v", err)
	}
	s.console(t, d, spec.ID, 2)
	if st, err := d.Status(t.Context(), spec.ID); err != nil || st.PID != first.PID || st.State != hypervisor.StateRunning {
		t.Errorf("after a reset: %+v, %v", st, err)
	}
}

func (s *suite) crash(t *testing.T, d hypervisor.Driver) {
	events := d.Events(t.Context())
	spec := s.Spec(t, "i-00000000000000005")
	s.Crash(t, s.start(t, d, spec))
	st := s.wait(t, d, spec.ID, "the notice of the crash", stopped)
	if st.GuestHalted || st.Detail == "" {
		t.Errorf("crashed: %+v", st)
	}
	expectEvents(t, events, spec.ID, "started", "stopped")
	s.start(t, d, spec)
}

func (s *suite) snapshot(t *testing.T, d hypervisor.Driver) {
	ctx := t.Context()
	spec := s.Spec(t, "i-00000000000000006")
	s.start(t, d, spec)
	s.console(t, d, spec.ID, 1)
	snap := d.(hypervisor.Snapshotter)
	disk := spec.Disks[0]
	head := disk.Layers[0]
	for i := range 3 {
		next := s.Overlay(t, head)
		request := []hypervisor.SnapshotDisk{{DiskID: disk.ID, LayerID: next.ID, Path: next.Path}}
		for range 2 { // the second changes nothing
			result, err := snap.Snapshot(ctx, spec.ID, request)
			if err != nil {
				t.Fatalf("snapshot %d: %v", i, err)
			}
			if result.Consistency != model.ConsistencyCrash && result.Consistency != model.ConsistencyFilesystem {
				t.Errorf("consistency %q", result.Consistency)
			}
			t.Logf("%+v", result)
		}
		head = next
		if s.Written != nil {
			s.Written(t, head)
		}
	}
	lost := s.Overlay(t, head)
	bad := [][]hypervisor.SnapshotDisk{
		{{DiskID: "vol-0000000000000dead", LayerID: lost.ID, Path: lost.Path}},
		{{DiskID: disk.ID, LayerID: lost.ID, Path: lost.Path}, {DiskID: "vol-0000000000000dead", LayerID: "layer-x", Path: "/x"}},
	}
	for _, request := range bad {
		if _, err := snap.Snapshot(ctx, spec.ID, request); err == nil {
			t.Errorf("%+v was done", request)
		}
	}
	// Nothing of the refused ones stayed.
	if _, err := snap.Snapshot(ctx, spec.ID, []hypervisor.SnapshotDisk{{DiskID: disk.ID, LayerID: lost.ID, Path: lost.Path}}); err != nil {
		t.Errorf("after refusals: %v", err)
	}
	if err := d.Kill(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := snap.Snapshot(ctx, spec.ID, nil); !errors.Is(err, hypervisor.ErrNotRunning) {
		t.Errorf("snapshot of a stopped machine: %v", err)
	}
}

func (s *suite) adoption(t *testing.T, d hypervisor.Driver) {
	ctx := t.Context()
	spec := s.Spec(t, "i-00000000000000007")
	before := s.start(t, d, spec)
	s.console(t, d, spec.ID, 1)
	s.close(t, d)

	next := s.open(t)
	after, err := next.Status(ctx, spec.ID)
	if err != nil || after.State != hypervisor.StateRunning || after.PID != before.PID || after.Accel != before.Accel ||
		fmt.Sprint(after.NICSockets) != fmt.Sprint(before.NICSockets) {
		t.Fatalf("adopted %+v, %v; it was %+v", after, err, before)
	}
	if d := after.Started.Sub(before.Started).Abs(); d > time.Second {
		t.Errorf("the start moved by %v", d)
	}
	if again := s.start(t, next, spec); again.PID != before.PID {
		t.Errorf("starting an adopted machine made process %d", again.PID)
	}
	overlay := s.Overlay(t, spec.Disks[0].Layers[0])
	if _, err := next.(hypervisor.Snapshotter).Snapshot(ctx, spec.ID, []hypervisor.SnapshotDisk{
		{DiskID: spec.Disks[0].ID, LayerID: overlay.ID, Path: overlay.Path}}); err != nil {
		t.Errorf("snapshot of an adopted machine: %v", err)
	}
	if err := next.PowerButton(ctx, spec.ID); err != nil {
		t.Fatalf("power button: %v", err)
	}
	if st := s.wait(t, next, spec.ID, "the guest's end", stopped); !st.GuestHalted {
		t.Errorf("got %+v", st)
	}
}

// A guest that powers off while no driver looks is found to have done so.
func (s *suite) haltWhileAway(t *testing.T, d hypervisor.Driver) {
	spec := s.Spec(t, "i-00000000000000008")
	s.start(t, d, spec)
	s.console(t, d, spec.ID, 1)
	if err := d.PowerButton(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	s.close(t, d)
	time.Sleep(300 * time.Millisecond)
	next := s.open(t)
	if st := s.wait(t, next, spec.ID, "the guest's end", stopped); !st.GuestHalted {
		t.Errorf("got %+v", st)
	}
}

func (s *suite) endedContext(t *testing.T, d hypervisor.Driver) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Start(ctx, s.Spec(t, "i-00000000000000009")); err == nil {
		t.Error("it started")
	}
	s.list(t, d)
}
