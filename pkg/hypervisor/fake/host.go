// Package fake owns an in-memory hypervisor with the state machine of a real
// one: machines that outlive their driver, guests that answer the power button,
// consoles, snapshots, failures on demand. It is for tests and for simulating
// thousands of machines, and passes the suite in hvtest. It may import
// pkg/hypervisor and pkg/model only.
package fake

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/serialport"
	"github.com/bundt/bundt/pkg/model"
)

// Guest is what a simulated guest does.
type Guest struct {
	// Console is written on the serial port at start and after each reset.
	Console string
	// ShutdownTime is how long the guest takes to power off after the power
	// button was pressed; negative: it ignores the button.
	ShutdownTime time.Duration
	// Agent says that a guest agent answers, so that snapshots are consistent.
	Agent bool
	// Holds says that the guest does not let go of its disks and interfaces.
	Holds bool
}

// Op names a driver's operation for failures and delays.
type Op string

// The operations that can be made to fail or wait.
const (
	OpHost        Op = "Host"
	OpStart       Op = "Start"
	OpStatus      Op = "Status"
	OpPowerButton Op = "PowerButton"
	OpReset       Op = "Reset"
	OpKill        Op = "Kill"
	OpRemove      Op = "Remove"
	OpList        Op = "List"
	OpSnapshot    Op = "Snapshot"
	OpConsole     Op = "ConsoleOutput"
	OpDisks       Op = "Disks"
	OpAttachDisk  Op = "AttachDisk"
	OpDetachDisk  Op = "DetachDisk"
	OpResizeDisk  Op = "ResizeDisk"
	OpLimitDisk   Op = "LimitDisk"
	OpFlattenDisk Op = "FlattenDisk"
	OpNICs        Op = "NICs"
	OpAttachNIC   Op = "AttachNIC"
	OpDetachNIC   Op = "DetachNIC"
	OpScreenshot  Op = "Screenshot"
	OpUsage       Op = "Usage"
	OpSerialPort  Op = "SerialPort"
	OpVariables   Op = "Variables"
	OpForeign     Op = "Foreign"
)

// Host is the simulated machine room: what exists whether or not a driver looks
// at it. Drivers on the same Host see the same machines.
type Host struct {
	// GuestFor chooses a machine's guest; nil means a guest that prints one line
	// and powers off after a millisecond. Set it before the first Start.
	GuestFor func(hypervisor.Spec) Guest
	// Fault, if set, is asked before every operation. It may block (a delay) and
	// its error becomes the operation's. Set it before the first operation.
	Fault func(ctx context.Context, op Op, id string) error
	// SocketDir, if set, makes the NICs real listening unix sockets in it.
	SocketDir string

	mu       sync.Mutex
	foreign  map[string]model.ForeignMachine // by UUID
	machines map[string]*machine
	watchers map[chan hypervisor.Event]struct{}
	nextPID  int
}

// NewHost returns a host without machines.
func NewHost() *Host {
	return &Host{
		machines: map[string]*machine{},
		watchers: map[chan hypervisor.Event]struct{}{},
		nextPID:  1000,
	}
}

// machine is guarded by Host.mu.
type machine struct {
	spec      hypervisor.Spec
	guest     Guest
	state     hypervisor.State
	detail    string
	pid       int
	started   time.Time
	halted    bool
	sockets   map[string]string
	listeners map[string]net.Listener // by interface
	console   []byte
	serial    chan []byte // to who looks at the serial port; nil if nobody does
	port      *serialport.Port
	resets    int
	buttons   int
	sizes     map[string]int64 // of disks that were resized
	run       int              // counts starts, so that a late timer spares the next run
}

// consoleKept bounds a console's log.
const consoleKept = 128 << 10

func (m *machine) print(text string) {
	m.console = append(m.console, text...)
	select {
	case m.serial <- []byte(text):
	default: // nobody looks, or not fast enough
	}
	if over := len(m.console) - consoleKept; over > 0 {
		m.console = bytes.Clone(m.console[over:])
	}
}

func (m *machine) status() hypervisor.Status {
	s := hypervisor.Status{
		ID:          m.spec.ID,
		State:       m.state,
		Detail:      m.detail,
		Started:     m.started,
		Accel:       accelerator(m.spec),
		GuestHalted: m.halted,
	}
	if m.state != hypervisor.StateStopped {
		s.PID = m.pid
		s.NICSockets = m.sockets
	}
	return s
}

func accelerator(spec hypervisor.Spec) model.Accelerator {
	name := spec.Accel
	if name == "" {
		name = "tcg"
	}
	return model.Accelerator{Name: name, Reason: "simulated"}
}

func (h *Host) guestFor(spec hypervisor.Spec) Guest {
	if h.GuestFor != nil {
		return h.GuestFor(spec)
	}
	return Guest{Console: "guest " + spec.ID + " is up\n", ShutdownTime: time.Millisecond}
}

// start is called with mu held.
func (h *Host) start(m *machine) error {
	if err := h.listen(m); err != nil {
		return err
	}
	h.nextPID++
	m.run++
	m.pid, m.started = h.nextPID, time.Now()
	m.state, m.detail, m.halted = hypervisor.StateRunning, "", false
	m.console = nil
	m.print(m.guest.Console)
	h.emit(m, "started")
	return nil
}

func (h *Host) listen(m *machine) error {
	m.sockets, m.listeners = map[string]string{}, map[string]net.Listener{}
	for _, nic := range m.spec.NICs {
		if err := h.listenFor(m, nic); err != nil {
			m.hangUp()
			return err
		}
	}
	return nil
}

func (h *Host) listenFor(m *machine, nic hypervisor.NIC) error {
	path := fmt.Sprintf("fake:%s/nic%d.sock", m.spec.ID, nic.Index)
	switch {
	case nic.Tap:
		path = ""
	case h.SocketDir != "":
		path = filepath.Join(h.SocketDir, fmt.Sprintf("%s-nic%d.sock", m.spec.ID, nic.Index))
		_ = os.Remove(path)
		l, err := net.Listen("unix", path)
		if err != nil {
			return fmt.Errorf("listening for interface %s: %w", nic.ID, err)
		}
		m.listeners[nic.ID] = l
		go discard(l)
	}
	m.sockets[nic.ID] = path
	return nil
}

// discard plays a NIC that nobody sends from: it accepts one peer at a time.
func discard(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			buf := make([]byte, 2048)
			for {
				if _, err := c.Read(buf); err != nil {
					_ = c.Close()
					return
				}
			}
		}()
	}
}

func (m *machine) hangUp() {
	for _, l := range m.listeners {
		_ = l.Close()
	}
	m.listeners, m.sockets = nil, nil
}

// stop is called with mu held. It is idempotent.
func (h *Host) stop(m *machine, detail string, halted bool) {
	if m.state == hypervisor.StateStopped {
		return
	}
	m.hangUp()
	m.unplugSerial(nil)
	m.state, m.detail, m.halted, m.pid = hypervisor.StateStopped, detail, halted, 0
	h.emit(m, "stopped")
}

func (h *Host) emit(m *machine, kind string) {
	for w := range h.watchers {
		select {
		case w <- hypervisor.Event{ID: m.spec.ID, Kind: kind}:
		default: // events may be lost
		}
	}
}

// control runs f on a machine that has a process.
func (h *Host) control(id string, f func(*machine)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, ok := h.machines[id]
	if !ok {
		return hypervisor.ErrNotFound
	}
	if m.state == hypervisor.StateStopped {
		return hypervisor.ErrNotRunning
	}
	f(m)
	return nil
}

// Crash ends a machine's process as if it had died by itself.
func (h *Host) Crash(id, detail string) error {
	return h.control(id, func(m *machine) { h.stop(m, detail, false) })
}

// Halt powers a machine off from inside its guest.
func (h *Host) Halt(id string) error {
	return h.control(id, func(m *machine) { h.stop(m, "the guest powered off", true) })
}

// Pause stops a machine's CPUs, as an I/O error does.
func (h *Host) Pause(id, detail string) error {
	return h.control(id, func(m *machine) {
		m.state, m.detail = hypervisor.StatePaused, detail
		h.emit(m, "paused")
	})
}

// Print writes on a machine's serial port.
func (h *Host) Print(id, text string) error {
	return h.control(id, func(m *machine) { m.print(text) })
}

// Spec returns the spec of a machine, with the chains as snapshots left them.
func (h *Host) Spec(id string) (hypervisor.Spec, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, ok := h.machines[id]
	if !ok {
		return hypervisor.Spec{}, false
	}
	return m.spec, true
}

// LetGo makes a machine's guest give up the disks and interfaces that it held.
func (h *Host) LetGo(id string) error {
	return h.control(id, func(m *machine) {
		m.guest.Holds = false
		h.emit(m, "unplugged")
	})
}

// DiskSize returns what a machine's disk was last resized to, in bytes.
func (h *Host) DiskSize(id, diskID string) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m, ok := h.machines[id]; ok {
		return m.sizes[diskID]
	}
	return 0
}

// Resets returns how often a machine was reset.
func (h *Host) Resets(id string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m, ok := h.machines[id]; ok {
		return m.resets
	}
	return 0
}
