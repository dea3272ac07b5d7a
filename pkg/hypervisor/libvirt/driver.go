//go:build libvirt

package libvirt

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

	"libvirt.org/go/libvirt"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu"
	"github.com/bundt/bundt/pkg/keylock"
)

// driver runs machines as domains of libvirt.
type driver struct {
	*qemu.Probe // of the host: libvirt starts the same QEMU

	opts Options
	log  *slog.Logger
	ctx  context.Context // ends with Close; for what goes on in the background
	stop context.CancelFunc
	wg   sync.WaitGroup

	link     link
	ops      keylock.Mutex // of what changes a machine, by its id
	watchers qemu.Watchers

	mu    sync.Mutex
	uuids map[string]string // of the domains, by machine id
	// ports are the serial ports that somebody has joined: *serialport.Port by machine.
	ports sync.Map
}

var _ Driver = (*driver)(nil)

// New returns a driver that has found all machines of its state directory again.
func New(opts Options) (Driver, error) {
	if err := CheckURI(opts.URI); err != nil {
		return nil, err
	}
	for _, dir := range []*string{&opts.StateDir, &opts.RunDir} {
		if *dir == "" {
			return nil, errors.New("the libvirt driver needs a state directory and a run directory")
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
	d := &driver{
		Probe: &qemu.Probe{ForceAccel: opts.ForceAccel},
		opts:  opts, log: opts.Logger, uuids: map[string]string{},
	}
	d.ctx, d.stop = context.WithCancel(context.Background())
	if err := d.adoptAll(); err != nil {
		d.stop()
		d.link.close()
		return nil, err
	}
	d.wg.Go(d.keepLink)
	d.wg.Go(func() {
		qemu.TrimConsoles(d.ctx, d.allPaths, func(p qemu.Paths, err error) {
			d.log.Warn("shortening a console's log", "path", p.Console(), "error", err)
		})
	})
	return d, nil
}

// adoptAll finds the domains of the state directory, and thaws guests that an earlier
// driver froze and could not thaw.
func (d *driver) adoptAll() error {
	list, err := d.List(d.ctx)
	if err != nil {
		return err
	}
	for _, st := range list {
		if _, err := os.Stat(d.frozenMark(st.ID)); err != nil {
			continue
		}
		d.wg.Go(func() {
			if err := d.on(d.ctx, st.ID, func(m *domain) error { m.thaw(); return nil }); err != nil {
				d.log.Warn("thawing a guest that was left frozen", "machine", st.ID, "error", err)
			}
		})
	}
	return nil
}

// Close lets go of the machines, which run on.
func (d *driver) Close() error {
	d.stop()
	d.wg.Wait()
	d.link.close()
	return nil
}

// Name returns "libvirt".
func (d *driver) Name() string { return DriverName }

// Host reports what QEMU can run on this host.
func (d *driver) Host(ctx context.Context) (hypervisor.Host, error) {
	h, err := d.Probe.Host(ctx)
	h.Driver = d.Name()
	return h, err
}

func (d *driver) paths(id string) qemu.Paths {
	return qemu.Paths{State: filepath.Join(d.opts.StateDir, id), Run: filepath.Join(d.opts.RunDir, id)}
}

func (d *driver) frozenMark(id string) string { return filepath.Join(d.paths(id).State, "frozen") }

func (d *driver) allPaths() []qemu.Paths {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]qemu.Paths, 0, len(d.uuids))
	for id := range d.uuids {
		list = append(list, d.paths(id))
	}
	return list
}

// idOf is the inverse of uuids, "" for a domain that is not ours.
func (d *driver) idOf(uuid string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, u := range d.uuids {
		if u == uuid {
			return id
		}
	}
	return ""
}

func (d *driver) know(id, uuid string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.uuids[id] = uuid
}

func (d *driver) forget(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.uuids, id)
	d.ports.Delete(id)
}

// List returns all domains of the state directory by id.
func (d *driver) List(ctx context.Context) ([]hypervisor.Status, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := d.connection()
	if err != nil {
		return nil, err
	}
	all, err := c.ListAllDomains(0)
	if err != nil {
		return nil, fmt.Errorf("listing domains: %w", err)
	}
	var list []hypervisor.Status
	for i := range all {
		m, err := d.ours(&all[i])
		if err == nil && m != nil {
			var st hypervisor.Status
			if st, err = m.status(); err == nil {
				d.know(m.id(), m.uuid)
				list = append(list, st)
			}
		}
		_ = all[i].Free()
		if err != nil && !errors.Is(err, hypervisor.ErrNotFound) { // removed meanwhile
			return nil, err
		}
	}
	slices.SortFunc(list, func(a, b hypervisor.Status) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// ours returns the machine that a domain is, nil if it is not of this state directory.
func (d *driver) ours(dom *libvirt.Domain) (*domain, error) {
	element, err := dom.GetMetadata(libvirt.DOMAIN_METADATA_ELEMENT, namespace, 0)
	if is(err, libvirt.ERR_NO_DOMAIN_METADATA) {
		return nil, nil
	}
	if err != nil {
		return nil, absent(err)
	}
	rec, err := parseRecord(element)
	if err != nil {
		return nil, err
	}
	if rec.Owner != d.opts.StateDir {
		return nil, nil
	}
	uuid, err := dom.GetUUIDString()
	if err != nil {
		return nil, err
	}
	return &domain{driver: d, dom: dom, uuid: uuid, rec: rec, paths: d.paths(rec.Spec.ID)}, nil
}

// find calls f with a machine's domain.
func (d *driver) find(ctx context.Context, id string, f func(*domain) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	uuid, known := d.uuids[id]
	d.mu.Unlock()
	if !known {
		return fmt.Errorf("machine %s: %w", id, hypervisor.ErrNotFound)
	}
	c, err := d.connection()
	if err != nil {
		return err
	}
	dom, err := c.LookupDomainByUUIDString(uuid)
	if err != nil {
		return fmt.Errorf("machine %s: %w", id, absent(err))
	}
	defer func() { _ = dom.Free() }()
	m, err := d.ours(dom)
	if err == nil && m == nil {
		err = hypervisor.ErrNotFound // somebody replaced it
	}
	if err != nil {
		return fmt.Errorf("machine %s: %w", id, err)
	}
	if err := f(m); err != nil {
		return fmt.Errorf("machine %s: %w", id, err)
	}
	return nil
}

// running calls f with the domain of a machine that has a process.
func (d *driver) running(ctx context.Context, id string, f func(*domain) error) error {
	return d.find(ctx, id, func(m *domain) error {
		if active, err := m.dom.IsActive(); err != nil || !active {
			return errors.Join(err, hypervisor.ErrNotRunning)
		}
		return f(m)
	})
}

// on is running, while nothing else changes the machine.
func (d *driver) on(ctx context.Context, id string, f func(*domain) error) error {
	defer d.ops.Lock(id)()
	return d.running(ctx, id, f)
}

// Status returns the machine's present status.
func (d *driver) Status(ctx context.Context, id string) (st hypervisor.Status, err error) {
	err = d.find(ctx, id, func(m *domain) error {
		st, err = m.status()
		return err
	})
	return st, err
}

// PowerButton presses the guest's ACPI power button.
func (d *driver) PowerButton(ctx context.Context, id string) error {
	return d.running(ctx, id, func(m *domain) error { return m.dom.ShutdownFlags(libvirt.DOMAIN_SHUTDOWN_ACPI_POWER_BTN) })
}

// Reset restarts the guest; it also brings a paused one back.
func (d *driver) Reset(ctx context.Context, id string) error {
	return d.running(ctx, id, func(m *domain) error {
		if err := m.dom.Reset(0); err != nil {
			return err
		}
		return m.proceed()
	})
}

// Kill ends the domain's process; the domain stays defined.
func (d *driver) Kill(ctx context.Context, id string) error {
	defer d.ops.Lock(id)()
	err := d.find(ctx, id, (*domain).kill)
	if errors.Is(err, hypervisor.ErrNotFound) {
		return nil
	}
	return err
}

// Remove ends the domain, and removes its files and its definition, in this order: as
// long as there are files there is a domain that List shows.
func (d *driver) Remove(ctx context.Context, id string) error {
	defer d.ops.Lock(id)()
	err := d.find(ctx, id, (*domain).remove)
	if err == nil || errors.Is(err, hypervisor.ErrNotFound) {
		d.forget(id)
		return nil
	}
	return err
}

// Events delivers machines' changes of status until ctx ends.
func (d *driver) Events(ctx context.Context) <-chan hypervisor.Event {
	return d.watchers.Subscribe(ctx)
}

// ConsoleOutput returns the end of what the guest wrote on its serial port since the
// machine was last started.
func (d *driver) ConsoleOutput(ctx context.Context, id string, max int) (text []byte, err error) {
	err = d.find(ctx, id, func(m *domain) error {
		text, err = m.paths.ReadConsole(max)
		return err
	})
	return text, err
}

// is reports whether an error is libvirt's of that code.
func is(err error, code libvirt.ErrorNumber) bool {
	var e libvirt.Error
	return errors.As(err, &e) && e.Code == code
}

// absent translates the error of a domain that is not there.
func absent(err error) error {
	if is(err, libvirt.ERR_NO_DOMAIN) {
		return fmt.Errorf("%w: %w", hypervisor.ErrNotFound, err)
	}
	return err
}
