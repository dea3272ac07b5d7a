package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/digitalocean/go-qemu/qmp/raw"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu/qmp"
	"github.com/bundt/bundt/pkg/hypervisor/serialport"
)

// machine is one machine of this host, running or not.
type machine struct {
	driver *Driver
	id     string
	paths  Paths

	// op serialises what changes the machine: start, kill, remove, snapshot.
	op      sync.Mutex
	removed bool // guarded by op: this machine is no longer in the driver's map

	mu  sync.Mutex
	rec record
	end endRecord
	run *run // nil if there is no process
	// port is the serial port, once somebody has joined it.
	port *serialport.Port
}

// run is one process of a machine, from start or adoption to its end. What is
// not constant is guarded by the machine's mu.
type run struct {
	proc     *process
	started  time.Time
	adopted  bool          // by a driver that did not start it
	ready    chan struct{} // closed when QEMU was asked for its state
	finished chan struct{} // closed when the end of the process is recorded

	client   *qmp.Client // nil while not connected
	state    hypervisor.State
	detail   string
	ioErr    string // the last failed request
	halted   bool   // the guest powered off
	quitting bool   // and QEMU was told to end
	killed   bool   // by us
	unwanted bool   // and nothing of it is to be kept
	synced   bool   // rec's chains are QEMU's
}

func newRun(proc *process, adopted bool) *run {
	return &run{
		proc:     proc,
		started:  proc.startedAt(),
		adopted:  adopted,
		synced:   !adopted,
		ready:    make(chan struct{}),
		finished: make(chan struct{}),
		state:    hypervisor.StateRunning,
	}
}

func (m *machine) current() *run {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.run
}

// empty reports whether nothing of the machine is left on this host.
func (m *machine) empty() bool {
	if m.current() != nil {
		return false
	}
	_, err := os.Lstat(m.paths.State)
	return os.IsNotExist(err)
}

// answerTime bounds how long a status waits for a QEMU that was just adopted.
const answerTime = 2 * time.Second

func (m *machine) status(ctx context.Context) (hypervisor.Status, error) {
	if r := m.current(); r != nil {
		patience := time.NewTimer(answerTime)
		defer patience.Stop()
		select {
		case <-r.ready:
		case <-r.finished:
		case <-patience.C:
		case <-ctx.Done():
			return hypervisor.Status{}, ctx.Err()
		}
	} else if m.empty() {
		return hypervisor.Status{}, fmt.Errorf("machine %s: %w", m.id, hypervisor.ErrNotFound)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := hypervisor.Status{ID: m.id, State: hypervisor.StateStopped, Accel: m.rec.Accel}
	if m.run == nil {
		s.Detail, s.GuestHalted = m.end.Detail, m.end.GuestHalted
		return s, nil
	}
	s.State, s.Detail = m.run.state, m.run.detail
	s.PID, s.Started = m.run.proc.pid, m.run.started
	s.NICSockets = make(map[string]string, len(m.rec.Spec.NICs))
	for _, nic := range m.rec.Spec.NICs {
		s.NICSockets[nic.ID] = ""
		if !nic.Tap {
			s.NICSockets[nic.ID] = m.paths.NIC(nic.Index)
		}
	}
	return s, nil
}

// monitor returns the connection to the machine's QEMU. It waits a little for
// one that is being made.
func (m *machine) monitor(ctx context.Context) (*run, *qmp.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for {
		m.mu.Lock()
		r := m.run
		var c *qmp.Client
		if r != nil {
			c = r.client
		}
		m.mu.Unlock()
		switch {
		case r == nil && m.empty():
			return nil, nil, fmt.Errorf("machine %s: %w", m.id, hypervisor.ErrNotFound)
		case r == nil:
			return nil, nil, fmt.Errorf("machine %s: %w", m.id, hypervisor.ErrNotRunning)
		case c != nil && c.Err() == nil:
			return r, c, nil
		}
		select {
		case <-r.finished:
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("machine %s: QEMU does not answer on its monitor: %w", m.id, ctx.Err())
		}
	}
}

// commandTime bounds a QMP command that QEMU answers at once.
const commandTime = 10 * time.Second

// command runs one of go-qemu's generated commands.
func (m *machine) command(ctx context.Context, name string, f func(*raw.Monitor) error) error {
	_, client, err := m.monitor(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	if err := f(raw.NewMonitor(client.Monitor(ctx))); err != nil {
		return fmt.Errorf("machine %s: %s: %w", m.id, name, err)
	}
	return nil
}

func (m *machine) powerButton(ctx context.Context) error {
	return m.command(ctx, "pressing the power button", (*raw.Monitor).SystemPowerdown)
}

func (m *machine) reset(ctx context.Context) error {
	if err := m.command(ctx, "resetting", (*raw.Monitor).SystemReset); err != nil {
		return err
	}
	if r := m.current(); r != nil && m.paused(r) {
		return m.command(ctx, "continuing", (*raw.Monitor).Cont)
	}
	return nil
}

func (m *machine) paused(r *run) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return r.state == hypervisor.StatePaused
}

// kill ends the process and waits until its end is recorded. It is called with
// op held.
func (m *machine) kill(ctx context.Context) error {
	if r := m.current(); r != nil {
		return m.killRun(ctx, r, false)
	}
	return nil
}

// remove ends the process and deletes what the machine has on this host. It is
// called with op held. Most of the files go while the kernel takes the process
// apart, which takes longer; it was told to end before, and if we end meanwhile
// it is found in /proc like any other process of ours.
func (m *machine) remove(ctx context.Context) error {
	if r := m.current(); r != nil {
		if err := m.killRun(ctx, r, true); err != nil {
			return err
		}
	}
	return m.removeFiles()
}

func (m *machine) removeFiles() error {
	if err := errors.Join(os.RemoveAll(m.paths.Run), os.RemoveAll(m.paths.State)); err != nil {
		return fmt.Errorf("removing machine %s: %w", m.id, err)
	}
	return nil
}

func (m *machine) killRun(ctx context.Context, r *run, unwanted bool) error {
	m.mu.Lock()
	r.killed, r.unwanted = true, unwanted
	m.mu.Unlock()
	if err := r.proc.kill(); err != nil {
		return err
	}
	if unwanted {
		_ = m.removeFiles() // what fails or comes again is removed after the process's end
	}
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	select {
	case <-r.finished:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the end of machine %s (process %d): %w", m.id, r.proc.pid, ctx.Err())
	}
}

// finish records the end of the process and removes what only it needed.
func (m *machine) finish(r *run) {
	m.mu.Lock()
	end := endRecord{Time: time.Now(), GuestHalted: r.halted}
	switch {
	case r.halted:
		end.Detail = detailHalted
	case r.killed:
		end.Detail = "killed"
	default:
		end.Detail = strings.TrimSpace("QEMU ended unexpectedly " + parenthesised(r.proc.outcome()))
		if last := lastLines(m.paths.Log(), 3); last != "" {
			end.Detail += ": " + last
		}
	}
	m.end, m.run = end, nil
	unwanted := r.unwanted
	m.mu.Unlock()
	if !unwanted {
		if err := m.settle(end); err != nil {
			m.driver.log.Error("recording the end of a machine", "machine", m.id, "error", err)
		}
	}
	close(r.finished)
	m.driver.watchers.emit(m.id, "stopped")
}

// settle writes how a machine ended and removes its sockets.
func (m *machine) settle(end endRecord) error {
	if _, err := os.Stat(m.paths.State); err == nil { // an orphan may have none
		if err := save(m.paths.end(), end, end.GuestHalted); err != nil {
			return err
		}
	}
	_ = os.Remove(m.paths.process())
	_ = os.Remove(m.paths.frozen())
	return os.RemoveAll(m.paths.Run)
}

const detailHalted = "the guest powered off"

func parenthesised(s string) string {
	if s == "" {
		return ""
	}
	return "(" + s + ")"
}

// lastLines returns the end of a small log, on one line.
func lastLines(path string, n int) string {
	text, err := tail(path, 4096)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	lines = lines[max(len(lines)-n, 0):]
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.ReplaceAll(strings.Join(lines, "; "), filepath.Dir(path)+"/", "")
}
