package fake

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/bundt/bundt/pkg/hypervisor"
)

// NICs returns the ids of a machine's interfaces.
func (d *Driver) NICs(ctx context.Context, id string) (ids []string, err error) {
	if err := d.fault(ctx, OpNICs, id); err != nil {
		return nil, err
	}
	err = d.host.control(id, func(m *machine) {
		for _, nic := range m.spec.NICs {
			ids = append(ids, nic.ID)
		}
	})
	return ids, err
}

// AttachNIC adds an interface to a machine.
func (d *Driver) AttachNIC(ctx context.Context, id string, nic hypervisor.NIC, _ *os.File) error {
	if err := d.fault(ctx, OpAttachNIC, id); err != nil {
		return err
	}
	var failure error
	err := d.host.control(id, func(m *machine) {
		switch {
		case nicIndex(m, nic.ID) >= 0:
			return
		case slices.ContainsFunc(m.spec.NICs, func(o hypervisor.NIC) bool { return o.Index == nic.Index }):
			failure = fmt.Errorf("machine %s has an interface of index %d", id, nic.Index)
			return
		}
		m.sockets = maps.Clone(m.sockets) // a status may have them
		if failure = d.host.listenFor(m, nic); failure == nil {
			next := clone(m.spec)
			next.NICs = append(next.NICs, nic)
			m.spec = next
		}
	})
	if err == nil {
		err = failure
	}
	return err
}

// DetachNIC takes an interface from a machine whose guest lets go of it.
func (d *Driver) DetachNIC(ctx context.Context, id, nicID string, force bool) error {
	if err := d.fault(ctx, OpDetachNIC, id); err != nil {
		return err
	}
	var failure error
	err := d.host.control(id, func(m *machine) {
		i := nicIndex(m, nicID)
		switch {
		case i < 0:
		case m.spec.NICs[i].Index == 0:
			failure = fmt.Errorf("interface %s is the first one of machine %s: %w", nicID, id, hypervisor.ErrUnsupported)
		case m.guest.Holds && !force:
			failure = hypervisor.ErrBusy
		default:
			next := clone(m.spec)
			next.NICs = slices.Delete(next.NICs, i, i+1)
			m.spec = next
			m.sockets = maps.Clone(m.sockets)
			delete(m.sockets, nicID)
			if l := m.listeners[nicID]; l != nil {
				_ = l.Close()
				delete(m.listeners, nicID)
			}
			d.host.emit(m, "unplugged")
		}
	})
	if err == nil {
		err = failure
	}
	return err
}

func nicIndex(m *machine, id string) int {
	return slices.IndexFunc(m.spec.NICs, func(nic hypervisor.NIC) bool { return nic.ID == id })
}
