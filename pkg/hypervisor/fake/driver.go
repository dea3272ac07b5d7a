package fake

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

// Driver is a hypervisor driver on a simulated host.
type Driver struct{ host *Host }

var (
	_ hypervisor.Driver      = (*Driver)(nil)
	_ hypervisor.Snapshotter = (*Driver)(nil)
	_ hypervisor.Console     = (*Driver)(nil)
	_ hypervisor.DiskPlugger = (*Driver)(nil)
	_ hypervisor.NICPlugger  = (*Driver)(nil)
	_ hypervisor.Refresher   = (*Driver)(nil)

	_ hypervisor.Screenshotter = (*Driver)(nil)
	_ hypervisor.Meter         = (*Driver)(nil)
	_ hypervisor.Variables     = (*Driver)(nil)
)

// New returns a driver on h. Several drivers on one host stand for a daemon
// before and after its restart.
func New(h *Host) *Driver { return &Driver{host: h} }

// Name returns "fake".
func (d *Driver) Name() string { return "fake" }

func (d *Driver) fault(ctx context.Context, op Op, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.host.Fault == nil {
		return nil
	}
	return d.host.Fault(ctx, op, id)
}

// Host reports that every architecture runs.
func (d *Driver) Host(ctx context.Context) (hypervisor.Host, error) {
	if err := d.fault(ctx, OpHost, ""); err != nil {
		return hypervisor.Host{}, err
	}
	h := hypervisor.Host{
		Driver:  d.Name(),
		Version: "1",
		Archs:   map[model.Arch]hypervisor.ArchSupport{},
		KVM:     hypervisor.KVM{Reason: "simulated machines need no KVM"},
	}
	for _, a := range model.Archs {
		h.Archs[a] = hypervisor.ArchSupport{
			Emulator: "fake",
			Accel:    model.Accelerator{Name: "tcg", Reason: "simulated"},
		}
		h.Firmware = append(h.Firmware, hypervisor.FirmwareFile{Arch: a, Kind: model.FirmwareUEFI, Code: "fake"})
	}
	return h, nil
}

// Refresh has nothing to forget: the simulated host is looked at each time.
func (d *Driver) Refresh() {}

// Start makes the machine run.
func (d *Driver) Start(ctx context.Context, spec hypervisor.Spec) (hypervisor.Status, error) {
	if err := check(spec); err != nil {
		return hypervisor.Status{}, err
	}
	if err := d.fault(ctx, OpStart, spec.ID); err != nil {
		return hypervisor.Status{}, err
	}
	h := d.host
	h.mu.Lock()
	defer h.mu.Unlock()
	m, known := h.machines[spec.ID]
	switch {
	case known && m.state == hypervisor.StatePaused:
		m.state, m.detail = hypervisor.StateRunning, ""
		h.emit(m, "started")
	case known && m.state == hypervisor.StateRunning:
	default:
		if !known {
			m = &machine{state: hypervisor.StateStopped}
		}
		m.spec, m.guest = clone(spec), h.guestFor(spec)
		if err := h.start(m); err != nil {
			return hypervisor.Status{}, err
		}
		h.machines[spec.ID] = m
	}
	return m.status(), nil
}

func check(spec hypervisor.Spec) error {
	switch {
	case spec.ID == "":
		return fmt.Errorf("the machine has no id")
	case !spec.Arch.Valid():
		return fmt.Errorf("machine %s has unknown architecture %q", spec.ID, spec.Arch)
	case spec.VCPUs < 1 || spec.MemoryMiB < 1:
		return fmt.Errorf("machine %s has %d vCPUs and %d MiB of memory", spec.ID, spec.VCPUs, spec.MemoryMiB)
	case spec.Boot.Kernel == "" && len(spec.Disks) == 0:
		return fmt.Errorf("machine %s has neither a disk nor a kernel to boot", spec.ID)
	}
	for _, disk := range spec.Disks {
		if len(disk.Layers) == 0 {
			return fmt.Errorf("disk %s of machine %s has no layers", disk.ID, spec.ID)
		}
	}
	return nil
}

func clone(spec hypervisor.Spec) hypervisor.Spec {
	spec.Disks = slices.Clone(spec.Disks)
	for i := range spec.Disks {
		spec.Disks[i].Layers = slices.Clone(spec.Disks[i].Layers)
	}
	spec.NICs = slices.Clone(spec.NICs)
	return spec
}

// Status returns the machine's present status.
func (d *Driver) Status(ctx context.Context, id string) (hypervisor.Status, error) {
	if err := d.fault(ctx, OpStatus, id); err != nil {
		return hypervisor.Status{}, err
	}
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	m, ok := d.host.machines[id]
	if !ok {
		return hypervisor.Status{}, fmt.Errorf("%s: %w", id, hypervisor.ErrNotFound)
	}
	return m.status(), nil
}

// PowerButton lets the guest power off after its ShutdownTime.
func (d *Driver) PowerButton(ctx context.Context, id string) error {
	if err := d.fault(ctx, OpPowerButton, id); err != nil {
		return err
	}
	h := d.host
	return h.control(id, func(m *machine) {
		m.buttons++
		if m.guest.ShutdownTime < 0 || m.state != hypervisor.StateRunning {
			return
		}
		run := m.run
		time.AfterFunc(m.guest.ShutdownTime, func() {
			_ = h.control(id, func(m *machine) {
				if m.run == run {
					h.stop(m, "the guest powered off", true)
				}
			})
		})
	})
}

// Reset restarts the guest.
func (d *Driver) Reset(ctx context.Context, id string) error {
	if err := d.fault(ctx, OpReset, id); err != nil {
		return err
	}
	return d.host.control(id, func(m *machine) {
		m.resets++
		m.state, m.detail = hypervisor.StateRunning, ""
		m.print(m.guest.Console)
		d.host.emit(m, "reset")
	})
}

// Kill ends the machine's process.
func (d *Driver) Kill(ctx context.Context, id string) error {
	if err := d.fault(ctx, OpKill, id); err != nil {
		return err
	}
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	if m, ok := d.host.machines[id]; ok {
		d.host.stop(m, "killed", false)
	}
	return nil
}

// Remove kills the machine and forgets it.
func (d *Driver) Remove(ctx context.Context, id string) error {
	if err := d.fault(ctx, OpRemove, id); err != nil {
		return err
	}
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	if m, ok := d.host.machines[id]; ok {
		d.host.stop(m, "killed", false)
		delete(d.host.machines, id)
	}
	return nil
}

// List returns all machines of the host, by id.
func (d *Driver) List(ctx context.Context) ([]hypervisor.Status, error) {
	if err := d.fault(ctx, OpList, ""); err != nil {
		return nil, err
	}
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	list := make([]hypervisor.Status, 0, len(d.host.machines))
	for _, m := range d.host.machines {
		list = append(list, m.status())
	}
	slices.SortFunc(list, func(a, b hypervisor.Status) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// Events delivers changes until ctx ends.
func (d *Driver) Events(ctx context.Context) <-chan hypervisor.Event {
	h := d.host
	w := make(chan hypervisor.Event, 256)
	h.mu.Lock()
	h.watchers[w] = struct{}{}
	h.mu.Unlock()
	context.AfterFunc(ctx, func() {
		h.mu.Lock()
		delete(h.watchers, w)
		h.mu.Unlock()
		close(w)
	})
	return w
}

// Snapshot makes each given layer the head of its disk, all or none.
func (d *Driver) Snapshot(ctx context.Context, id string, disks []hypervisor.SnapshotDisk) (hypervisor.SnapshotResult, error) {
	var result hypervisor.SnapshotResult
	if err := d.fault(ctx, OpSnapshot, id); err != nil {
		return result, err
	}
	begun := time.Now()
	var failure error
	err := d.host.control(id, func(m *machine) {
		next := clone(m.spec)
		for _, sd := range disks {
			i := slices.IndexFunc(next.Disks, func(disk hypervisor.Disk) bool { return disk.ID == sd.DiskID })
			if i < 0 {
				failure = fmt.Errorf("machine %s has no disk %s", id, sd.DiskID)
				return
			}
			if layers := next.Disks[i].Layers; layers[0].ID != sd.LayerID {
				next.Disks[i].Layers = slices.Insert(layers, 0, hypervisor.Layer{ID: sd.LayerID, Path: sd.Path, Key: sd.Key})
			}
		}
		m.spec = next
		result.Consistency = model.ConsistencyCrash
		if m.guest.Agent {
			result.Consistency = model.ConsistencyFilesystem
		}
	})
	if err == nil {
		err = failure
	}
	result.Stall = time.Since(begun)
	return result, err
}

// ConsoleOutput returns the end of what the guest printed.
func (d *Driver) ConsoleOutput(ctx context.Context, id string, max int) ([]byte, error) {
	if err := d.fault(ctx, OpConsole, id); err != nil {
		return nil, err
	}
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	m, ok := d.host.machines[id]
	if !ok {
		return nil, fmt.Errorf("%s: %w", id, hypervisor.ErrNotFound)
	}
	return bytes.Clone(m.console[len(m.console)-min(max, len(m.console)):]), nil
}
