//go:build libvirt

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"libvirt.org/go/libvirt"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu"
	"github.com/bundt/bundt/pkg/hypervisor/qemu/qmp"
)

// Interfaces are QEMU's alone: libvirt has no word for their sockets, and is asked to
// pass on what QEMU is told. Which there are is in the record.

// NICs returns the ids of the interfaces that QEMU shows the guest.
func (d *driver) NICs(ctx context.Context, id string) (ids []string, err error) {
	err = d.on(ctx, id, func(m *domain) error {
		ids, err = qemu.NICs(ctx, m)
		return err
	})
	return ids, err
}

// AttachNIC makes QEMU listen on the interface's socket and puts a virtio interface in
// the place of its index.
func (d *driver) AttachNIC(ctx context.Context, id string, nic hypervisor.NIC, tap *os.File) error {
	if err := qemu.CheckNIC(nic); err != nil {
		return fmt.Errorf("machine %s: %w", id, err)
	}
	if nic.Tap || tap != nil {
		return fmt.Errorf("machine %s: interface %s: %w", id, nic.ID, errTap)
	}
	return d.on(ctx, id, func(m *domain) error {
		there, err := qemu.NICs(ctx, m)
		if err != nil {
			return err
		}
		if slices.Contains(there, nic.ID) {
			if cut, err := qemu.Unlinked(ctx, m, nic.ID); cut || err != nil {
				return errors.Join(err, fmt.Errorf("interface %s was taken from the guest by force: %w", nic.ID, hypervisor.ErrBusy))
			}
			return m.noteNIC(nic)
		}
		if nic.Index == 0 {
			return fmt.Errorf("interface %s: the first interface cannot be changed: %w", nic.ID, hypervisor.ErrUnsupported)
		}
		for _, other := range m.rec.Spec.NICs {
			if other.Index == nic.Index && other.ID != nic.ID { // and the socket of that index is its
				return fmt.Errorf("interface %s: %s has the index %d: %w", nic.ID, other.ID, nic.Index, hypervisor.ErrBusy)
			}
		}
		// Noted first: whoever adopts the machine knows its sockets.
		if err := m.noteNIC(nic); err != nil {
			return err
		}
		if err := m.plugNIC(ctx, nic); err != nil {
			return errors.Join(fmt.Errorf("plugging interface %s: %w", nic.ID, err), qemu.RemoveNetdev(m, nic.ID), m.dropNIC(nic.ID))
		}
		return nil
	})
}

func (m *domain) plugNIC(ctx context.Context, nic hypervisor.NIC) error {
	// One may be left by a driver that was killed before its device_add.
	if err := qemu.RemoveNetdev(m, nic.ID); err != nil {
		return err
	}
	bus, slot := nicSlot(m.x86(), nic.Index)
	netdev, device := m.paths.NICArgs(nic, bus, slot)
	if err := m.Execute(ctx, "netdev_add", netdev, nil); err != nil {
		return err
	}
	err := m.Execute(ctx, "device_add", device, nil)
	var refusal *qmp.Error
	if errors.As(err, &refusal) && strings.Contains(refusal.Desc, "in use") { // by one that was taken by force
		return fmt.Errorf("%w: %w", hypervisor.ErrBusy, err)
	}
	return err
}

// DetachNIC asks the guest to let go, and ends the host's side when it has.
func (d *driver) DetachNIC(ctx context.Context, id, nicID string, force bool) error {
	return d.on(ctx, id, func(m *domain) error {
		if i := m.nic(nicID); i >= 0 && m.rec.Spec.NICs[i].Index == 0 {
			return fmt.Errorf("interface %s is the first one: %w", nicID, hypervisor.ErrUnsupported)
		}
		if err := m.unplugNIC(ctx, nicID); err != nil && (!force || !errors.Is(err, hypervisor.ErrBusy)) {
			return err
		}
		if err := qemu.RemoveNetdev(m, nicID); err != nil {
			return err
		}
		return m.dropNIC(nicID)
	})
}

func (m *domain) unplugNIC(ctx context.Context, nicID string) error {
	gone := func() (bool, error) {
		ids, err := qemu.NICs(ctx, m)
		return !slices.Contains(ids, nicID), err
	}
	if done, err := gone(); done || err != nil {
		return err
	}
	err := m.Execute(ctx, "device_del", map[string]any{"id": nicID}, nil)
	var refusal *qmp.Error
	switch {
	case errors.As(err, &refusal) && refusal.Class == "DeviceNotFound":
		return nil
	case errors.As(err, &refusal) && strings.Contains(refusal.Desc, "unplug"): // asked already
	case err != nil:
		return err
	}
	return m.await(ctx, "interface "+nicID, gone)
}

func (m *domain) nic(id string) int {
	return slices.IndexFunc(m.rec.Spec.NICs, func(n hypervisor.NIC) bool { return n.ID == id })
}

func (m *domain) noteNIC(nic hypervisor.NIC) error {
	if m.nic(nic.ID) >= 0 {
		return nil
	}
	m.rec.Spec.NICs = append(m.rec.Spec.NICs, nic)
	return m.note(libvirt.DOMAIN_AFFECT_LIVE)
}

func (m *domain) dropNIC(id string) error {
	i := m.nic(id)
	if i < 0 {
		return nil
	}
	_ = os.Remove(m.paths.NIC(m.rec.Spec.NICs[i].Index)) // QEMU leaves it; the next one replaces it
	m.rec.Spec.NICs = slices.Delete(m.rec.Spec.NICs, i, i+1)
	return m.note(libvirt.DOMAIN_AFFECT_LIVE)
}
