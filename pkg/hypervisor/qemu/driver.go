// Package qemu owns machines that are QEMU processes of this host: their
// command lines, processes, monitors and files, except disks. It may import
// pkg/hypervisor, its subpackages and pkg/model; never the store, the network or
// the node. QEMU outlives the driver: what a new Driver needs to find it again
// is in the state directory, in /proc and in QEMU itself.
package qemu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

// Options configure a driver.
type Options struct {
	// StateDir keeps each machine's records and logs. One driver at a time.
	StateDir string
	// RunDir holds the sockets. Its path is at most 60 bytes or so: a unix
	// socket's path has 107.
	RunDir string
	// Emulators overrides the program by architecture.
	Emulators map[model.Arch]string
	// ForceAccel, "kvm" or "tcg", is used for machines that do not choose.
	ForceAccel string
	// Logger gets what nobody can be told as an error. Optional.
	Logger *slog.Logger
}

// Driver runs machines as QEMU processes.
type Driver struct {
	opts Options
	log  *slog.Logger
	ctx  context.Context // ends with Close; for what goes on in the background
	stop context.CancelFunc
	wg   sync.WaitGroup

	*Probe // of the host

	mu       sync.Mutex
	machines map[string]*machine

	watchers watchers
}

var (
	_ hypervisor.Driver      = (*Driver)(nil)
	_ hypervisor.Snapshotter = (*Driver)(nil)
	_ hypervisor.Console     = (*Driver)(nil)
	_ hypervisor.DiskPlugger = (*Driver)(nil)
	_ hypervisor.Flattener   = (*Driver)(nil)
	_ hypervisor.NICPlugger  = (*Driver)(nil)
	_ hypervisor.Refresher   = (*Driver)(nil)

	_ hypervisor.Screenshotter = (*Driver)(nil)
	_ hypervisor.Meter         = (*Driver)(nil)
	_ hypervisor.Variables     = (*Driver)(nil)
)

// New returns a driver that has found all machines of its state directory again.
func New(opts Options) (*Driver, error) {
	switch opts.ForceAccel {
	case "", accelKVM, accelTCG:
	default:
		return nil, fmt.Errorf("unknown accelerator %q: use %q or %q", opts.ForceAccel, accelKVM, accelTCG)
	}
	for _, dir := range []*string{&opts.StateDir, &opts.RunDir} {
		if *dir == "" {
			return nil, errors.New("the QEMU driver needs a state directory and a run directory")
		}
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return nil, fmt.Errorf("resolving %s: %w", *dir, err)
		}
		if err := os.MkdirAll(abs, 0o700); err != nil {
			return nil, fmt.Errorf("creating %s: %w", abs, err)
		}
		*dir = abs
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Driver{
		opts: opts, log: opts.Logger, machines: map[string]*machine{},
		Probe: &Probe{Emulators: opts.Emulators, ForceAccel: opts.ForceAccel},
	}
	d.ctx, d.stop = context.WithCancel(context.Background())
	if err := d.adoptAll(); err != nil {
		d.stop()
		return nil, err
	}
	d.wg.Go(d.trimConsoles)
	return d, nil
}

// Close lets go of the machines, which run on.
func (d *Driver) Close() error {
	d.stop()
	d.wg.Wait()
	return nil
}

// Name returns "qemu".
func (d *Driver) Name() string { return driverName }

const driverName = "qemu"

// Paths returns where a machine's files and sockets are.
func (d *Driver) Paths(id string) Paths {
	return Paths{State: filepath.Join(d.opts.StateDir, id), Run: filepath.Join(d.opts.RunDir, id)}
}

// machine returns the machine of that id, or nil.
func (d *Driver) machine(id string) *machine {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.machines[id]
}

func (d *Driver) machineOrNew(id string) *machine {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.machines[id]
	if m == nil {
		m = &machine{driver: d, id: id, paths: d.Paths(id)}
		d.machines[id] = m
	}
	return m
}

// forget drops a machine that has nothing left on this host.
func (d *Driver) forget(m *machine) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.machines[m.id] == m {
		delete(d.machines, m.id)
	}
}

func (d *Driver) known(id string) (*machine, error) {
	m := d.machine(id)
	if m == nil {
		return nil, fmt.Errorf("machine %s: %w", id, hypervisor.ErrNotFound)
	}
	return m, nil
}

// Start makes the machine run. It returns when QEMU answers on its monitor and
// the guest's CPUs run. A machine that an I/O error paused is continued.
func (d *Driver) Start(ctx context.Context, spec hypervisor.Spec) (hypervisor.Status, error) {
	if err := check(spec); err != nil {
		return hypervisor.Status{}, fmt.Errorf("machine %s: %w", spec.ID, err)
	}
	for {
		m := d.machineOrNew(spec.ID)
		m.op.Lock()
		if m.removed { // lost a race with Remove: begin with a new one
			m.op.Unlock()
			continue
		}
		status, err := m.start(ctx, spec)
		if err != nil && m.empty() {
			m.removed = true
			d.forget(m)
		}
		m.op.Unlock()
		if err != nil {
			return hypervisor.Status{}, fmt.Errorf("starting machine %s: %w", spec.ID, err)
		}
		return status, nil
	}
}

// Status returns the machine's present status.
func (d *Driver) Status(ctx context.Context, id string) (hypervisor.Status, error) {
	m, err := d.known(id)
	if err != nil {
		return hypervisor.Status{}, err
	}
	return m.status(ctx)
}

// PowerButton presses the guest's ACPI power button.
func (d *Driver) PowerButton(ctx context.Context, id string) error {
	m, err := d.known(id)
	if err != nil {
		return err
	}
	return m.powerButton(ctx)
}

// Reset restarts the guest; it also brings a paused one back.
func (d *Driver) Reset(ctx context.Context, id string) error {
	m, err := d.known(id)
	if err != nil {
		return err
	}
	return m.reset(ctx)
}

// Kill ends the machine's process.
func (d *Driver) Kill(ctx context.Context, id string) error {
	m := d.machine(id)
	if m == nil {
		return nil
	}
	m.op.Lock()
	defer m.op.Unlock()
	return m.kill(ctx)
}

// Remove kills the machine and removes its files.
func (d *Driver) Remove(ctx context.Context, id string) error {
	if !idPattern.MatchString(id) {
		return nil // and it names no directory of ours
	}
	m := d.machineOrNew(id)
	m.op.Lock()
	defer m.op.Unlock()
	if m.removed {
		return nil
	}
	if err := m.remove(ctx); err != nil {
		return err
	}
	m.removed = true
	d.forget(m)
	return nil
}

// List returns all machines by id, with those whose records are missing but
// whose process runs.
func (d *Driver) List(ctx context.Context) ([]hypervisor.Status, error) {
	if err := d.adoptOrphans(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	machines := make([]*machine, 0, len(d.machines))
	for _, m := range d.machines {
		machines = append(machines, m)
	}
	d.mu.Unlock()
	list := make([]hypervisor.Status, 0, len(machines))
	for _, m := range machines {
		s, err := m.status(ctx)
		if errors.Is(err, hypervisor.ErrNotFound) {
			continue // removed meanwhile, or not started yet
		}
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b hypervisor.Status) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// Events delivers machines' changes of status until ctx ends.
func (d *Driver) Events(ctx context.Context) <-chan hypervisor.Event {
	return d.watchers.subscribe(ctx)
}

// killTimeout is how long a process may take to go away after SIGKILL; one that
// takes longer hangs in the kernel, on its disk.
const killTimeout = 30 * time.Second
