package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu/qmp"
)

const nicDriver = "virtio-net-pci"

// NICs returns the ids of the interfaces that QEMU shows the guest.
func (d *Driver) NICs(ctx context.Context, id string) (ids []string, err error) {
	err = d.plugging(ctx, id, func(_ *machine, _ *run, client *qmp.Client) error {
		devices, err := plugged(ctx, client, nicDriver)
		for dev := range devices {
			ids = append(ids, dev)
		}
		slices.Sort(ids)
		return err
	})
	return ids, err
}

// AttachNIC makes QEMU listen on the interface's socket, or hands it the tap, and
// puts a virtio interface in the place of its index.
func (d *Driver) AttachNIC(ctx context.Context, id string, nic hypervisor.NIC, tap *os.File) error {
	if err := checkNIC(nic); err != nil {
		return fmt.Errorf("machine %s: %w", id, err)
	}
	return d.plugging(ctx, id, func(m *machine, _ *run, client *qmp.Client) error {
		devices, err := plugged(ctx, client, nicDriver)
		if err != nil {
			return err
		}
		if _, there := devices[nic.ID]; there {
			if cut, err := unlinked(ctx, client, nic.ID); cut || err != nil {
				return errors.Join(err, fmt.Errorf("interface %s was taken from the guest by force: %w", nic.ID, hypervisor.ErrBusy))
			}
			return m.noteNIC(nic)
		}
		if nic.Tap != (tap != nil) {
			return fmt.Errorf("interface %s needs a tap, or none", nic.ID)
		}
		if nic.Index == 0 {
			return fmt.Errorf("interface %s: the first interface cannot be changed: %w", nic.ID, hypervisor.ErrUnsupported)
		}
		at := nicPlace(m.x86(), nic.Index)
		for other, place := range devices {
			if place == at { // and the socket of that index is its
				return fmt.Errorf("interface %s: %s has the index %d: %w", nic.ID, other, nic.Index, hypervisor.ErrBusy)
			}
		}
		// Noted first: whoever adopts the machine knows its taps.
		if err := m.noteNIC(nic); err != nil {
			return err
		}
		if err := m.plugNIC(ctx, client, nic, tap, at); err != nil {
			return errors.Join(fmt.Errorf("plugging interface %s: %w", nic.ID, err), removeNetdev(client, nic.ID), m.dropNIC(nic.ID))
		}
		return nil
	})
}

func (m *machine) plugNIC(ctx context.Context, client *qmp.Client, nic hypervisor.NIC, tap *os.File, at place) error {
	// One may be left by a driver that was killed before its device_add.
	if err := removeNetdev(client, nic.ID); err != nil {
		return err
	}
	if tap != nil {
		if err := client.ExecuteFiles(ctx, "getfd", map[string]any{"fdname": nic.ID}, nil, tap); err != nil {
			return err
		}
	}
	if err := client.Execute(ctx, "netdev_add", m.paths.netdev(nic, nic.ID), nil); err != nil {
		return err
	}
	return client.Execute(ctx, "device_add", nicArgs(nic, at), nil)
}

// DetachNIC asks the guest to let go, and ends the host's side when it has.
func (d *Driver) DetachNIC(ctx context.Context, id, nicID string, force bool) error {
	return d.plugging(ctx, id, func(m *machine, _ *run, client *qmp.Client) error {
		m.mu.Lock()
		i := nicIndex(m.rec.Spec, nicID)
		first := i >= 0 && m.rec.Spec.NICs[i].Index == 0
		m.mu.Unlock()
		if first {
			return fmt.Errorf("interface %s is the first one: %w", nicID, hypervisor.ErrUnsupported)
		}
		if err := unplug(ctx, client, nicDriver, nicID); err != nil && (!force || !errors.Is(err, hypervisor.ErrBusy)) {
			return err
		}
		if err := removeNetdev(client, nicID); err != nil {
			return err
		}
		return m.dropNIC(nicID)
	})
}

// unlinked reports whether the host's side of an interface is gone.
func unlinked(ctx context.Context, client qmp.Executor, nicID string) (bool, error) {
	err := client.Execute(ctx, "set_link", map[string]any{"name": netdevID(nicID), "up": true}, nil)
	var refusal *qmp.Error
	if errors.As(err, &refusal) && refusal.Class == "DeviceNotFound" {
		return true, nil
	}
	return false, err
}

// removeNetdev ends the host's side of an interface, if there is one.
func removeNetdev(client qmp.Executor, nicID string) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime) // also after a caller gave up
	defer cancel()
	err := client.Execute(ctx, "netdev_del", map[string]any{"id": netdevID(nicID)}, nil)
	var refusal *qmp.Error
	if errors.As(err, &refusal) && refusal.Class == "DeviceNotFound" {
		return nil
	}
	return err
}

func nicIndex(spec hypervisor.Spec, id string) int {
	return slices.IndexFunc(spec.NICs, func(n hypervisor.NIC) bool { return n.ID == id })
}

// noteNIC records an interface that QEMU has.
func (m *machine) noteNIC(nic hypervisor.NIC) error {
	return m.renote(func(s *hypervisor.Spec) bool {
		if nicIndex(*s, nic.ID) >= 0 {
			return false
		}
		s.NICs = append(slices.Clone(s.NICs), nic)
		return true
	})
}

// dropNIC forgets an interface that the guest no longer has.
func (m *machine) dropNIC(id string) error {
	return m.renote(func(s *hypervisor.Spec) bool {
		i := nicIndex(*s, id)
		if i < 0 {
			return false
		}
		_ = os.Remove(m.paths.NIC(s.NICs[i].Index)) // QEMU leaves it; the next one replaces it
		s.NICs = slices.Delete(slices.Clone(s.NICs), i, i+1)
		return true
	})
}
