//go:build libvirt

package libvirt

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/bundt/bundt/pkg/hypervisor"
)

// link is the connection to libvirtd, which may end and start while we and our
// machines go on.
type link struct {
	mu     sync.Mutex
	conn   *libvirt.Connect
	models []string // of security, once asked for; of the same libvirtd
	closed bool
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.conn != nil {
		_, _ = l.conn.Close()
		l.conn = nil
	}
}

// The binding's event loop serves every connection of the process, must be there before
// the first one, and never ends.
var eventLoop = sync.OnceValue(func() error {
	if err := libvirt.EventRegisterDefaultImpl(); err != nil {
		return fmt.Errorf("%w: libvirt's library cannot be used (Debian, Ubuntu: libvirt0; Fedora: libvirt-libs): %w",
			hypervisor.ErrUnavailable, err)
	}
	// Libvirt's loop sleeps until something happens; a timer makes it look for what was
	// registered from other threads meanwhile.
	if _, err := libvirt.EventAddTimeout(1000, func(int) {}); err != nil {
		return fmt.Errorf("starting libvirt's event loop: %w", err)
	}
	go func() {
		for {
			if libvirt.EventRunDefaultImpl() != nil {
				time.Sleep(time.Second)
			}
		}
	}()
	return nil
})

// A connection on which nothing is heard for so long is given up.
const (
	keepAliveSeconds = 5
	keepAliveCount   = 3
)

// connection returns the connection, a new one if the last one ended.
func (d *driver) connection() (*libvirt.Connect, error) {
	l := &d.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("%w: the driver is closed", hypervisor.ErrUnavailable)
	}
	if l.conn != nil {
		if alive, err := l.conn.IsAlive(); err == nil && alive {
			return l.conn, nil
		}
		_, _ = l.conn.Close()
		l.conn = nil
	}
	if err := eventLoop(); err != nil {
		return nil, err
	}
	c, err := libvirt.NewConnect(d.opts.URI)
	if err != nil {
		return nil, fmt.Errorf("%w: connecting to libvirt at %s: %w; is libvirtd (or virtqemud) installed and running, and may this user use it?",
			hypervisor.ErrUnavailable, d.opts.URI, err)
	}
	if err := d.listen(c); err != nil {
		_, _ = c.Close()
		return nil, fmt.Errorf("listening to libvirt's events: %w", err)
	}
	l.conn, l.models = c, nil
	return c, nil
}

// secModels are the security drivers of the present libvirtd. It is asked once: it looks
// at the whole host to answer.
func (d *driver) secModels() ([]string, error) {
	c, err := d.connection()
	if err != nil {
		return nil, err
	}
	d.link.mu.Lock()
	defer d.link.mu.Unlock()
	if d.link.models != nil {
		return d.link.models, nil
	}
	text, err := c.GetCapabilities()
	if err != nil {
		return nil, fmt.Errorf("asking libvirt what it can do: %w", err)
	}
	var caps libvirtxml.Caps
	if err := caps.Unmarshal(text); err != nil {
		return nil, fmt.Errorf("reading what libvirt can do: %w", err)
	}
	models := []string{}
	for _, m := range caps.Host.SecModel {
		models = append(models, m.Name)
	}
	d.link.models = models
	return models, nil
}

// listen has libvirt tell of what happens to domains.
func (d *driver) listen(c *libvirt.Connect) error {
	if err := c.SetKeepAlive(keepAliveSeconds, keepAliveCount); err != nil {
		return err
	}
	if _, err := c.DomainEventLifecycleRegister(nil, func(_ *libvirt.Connect, dom *libvirt.Domain, e *libvirt.DomainEventLifecycle) {
		d.lifecycle(dom, e)
	}); err != nil {
		return err
	}
	if _, err := c.DomainEventRebootRegister(nil, func(_ *libvirt.Connect, dom *libvirt.Domain) {
		d.emit(dom, "reset")
	}); err != nil {
		return err
	}
	// Not libvirt's own event of removed devices: of interfaces it does not know.
	_, err := c.DomainQemuMonitorEventRegister(nil, "DEVICE_DELETED", func(_ *libvirt.Connect, dom *libvirt.Domain, e *libvirt.DomainQemuMonitorEvent) {
		var gone struct{ Device string }
		if json.Unmarshal([]byte(e.Details), &gone) == nil && gone.Device != "" {
			d.emit(dom, "unplugged")
		}
	}, 0)
	return err
}

func (d *driver) emit(dom *libvirt.Domain, kind string) {
	uuid, err := dom.GetUUIDString()
	if err != nil {
		return
	}
	if id := d.idOf(uuid); id != "" {
		d.watchers.Emit(id, kind)
	}
}

func (d *driver) lifecycle(dom *libvirt.Domain, e *libvirt.DomainEventLifecycle) {
	switch e.Event {
	case libvirt.DOMAIN_EVENT_STARTED, libvirt.DOMAIN_EVENT_RESUMED:
		d.emit(dom, "started")
	case libvirt.DOMAIN_EVENT_SUSPENDED, libvirt.DOMAIN_EVENT_CRASHED:
		d.emit(dom, "paused")
	case libvirt.DOMAIN_EVENT_STOPPED:
		if uuid, err := dom.GetUUIDString(); err == nil && libvirt.DomainEventStoppedDetailType(e.Detail) == libvirt.DOMAIN_EVENT_STOPPED_SHUTDOWN {
			d.recordHalt(uuid)
		}
		d.emit(dom, "stopped")
	}
}

// recordHalt writes down that a guest powered off: libvirtd forgets it when it ends.
func (d *driver) recordHalt(uuid string) {
	id := d.idOf(uuid)
	if id == "" || d.ctx.Err() != nil {
		return
	}
	d.wg.Go(func() { // the event loop must not wait for answers that it brings
		defer d.ops.Lock(id)()
		err := d.find(d.ctx, id, func(m *domain) error {
			if halted, err := m.halted(); err != nil || !halted {
				return err // started again
			}
			m.rec.Halted = true
			return m.note(libvirt.DOMAIN_AFFECT_CONFIG)
		})
		if err != nil && d.ctx.Err() == nil {
			d.log.Warn("recording that a guest powered off", "machine", id, "error", err)
		}
	})
}

// linkInterval: so long may events be missed when libvirtd was restarted.
const linkInterval = 2 * time.Second

// keepLink connects again, and has everybody look at everything then.
func (d *driver) keepLink() {
	tick := time.NewTicker(linkInterval)
	defer tick.Stop()
	last, _ := d.connection()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-tick.C:
		}
		c, err := d.connection()
		if err != nil {
			d.log.Warn("libvirt does not answer", "error", err)
			continue
		}
		if c == last {
			continue
		}
		last = c
		list, err := d.List(d.ctx)
		if err != nil {
			d.log.Warn("listing the machines of a new libvirtd", "error", err)
		}
		for _, st := range list {
			kind := map[hypervisor.State]string{hypervisor.StateRunning: "started", hypervisor.StatePaused: "paused", hypervisor.StateStopped: "stopped"}
			d.watchers.Emit(st.ID, kind[st.State])
		}
	}
}
