package fake

import (
	"context"
	"fmt"
	"slices"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

// Disks returns the ids of a machine's disks.
func (d *Driver) Disks(ctx context.Context, id string) (ids []string, err error) {
	if err := d.fault(ctx, OpDisks, id); err != nil {
		return nil, err
	}
	err = d.host.control(id, func(m *machine) {
		for _, disk := range m.spec.Disks {
			ids = append(ids, disk.ID)
		}
	})
	return ids, err
}

// AttachDisk adds a disk to a machine.
func (d *Driver) AttachDisk(ctx context.Context, id string, disk hypervisor.Disk) error {
	if err := d.fault(ctx, OpAttachDisk, id); err != nil {
		return err
	}
	if len(disk.Layers) == 0 {
		return fmt.Errorf("disk %s has no layers", disk.ID)
	}
	return d.host.control(id, func(m *machine) {
		if diskIndex(m, disk.ID) < 0 {
			next := clone(m.spec)
			next.Disks = append(next.Disks, disk)
			m.spec = next
		}
	})
}

// DetachDisk takes a disk from a machine whose guest lets go of it, or by force.
func (d *Driver) DetachDisk(ctx context.Context, id, diskID string, force bool) error {
	if err := d.fault(ctx, OpDetachDisk, id); err != nil {
		return err
	}
	var failure error
	err := d.host.control(id, func(m *machine) {
		i := diskIndex(m, diskID)
		switch {
		case i < 0:
		case i == 0:
			failure = fmt.Errorf("disk %s is the root disk of machine %s: %w", diskID, id, hypervisor.ErrUnsupported)
		case m.guest.Holds && !force:
			failure = hypervisor.ErrBusy
		default:
			next := clone(m.spec)
			next.Disks = slices.Delete(next.Disks, i, i+1)
			m.spec = next
			d.host.emit(m, "unplugged")
		}
	})
	if err == nil {
		err = failure
	}
	return err
}

// ResizeDisk remembers the size.
func (d *Driver) ResizeDisk(ctx context.Context, id, diskID string, bytes int64) error {
	if err := d.fault(ctx, OpResizeDisk, id); err != nil {
		return err
	}
	var failure error
	err := d.host.control(id, func(m *machine) {
		if diskIndex(m, diskID) < 0 {
			failure = fmt.Errorf("machine %s has no disk %s", id, diskID)
			return
		}
		if m.sizes == nil {
			m.sizes = map[string]int64{}
		}
		m.sizes[diskID] = max(m.sizes[diskID], bytes)
	})
	if err == nil {
		err = failure
	}
	return err
}

// FlattenDisk leaves layers out of a disk's chain.
func (d *Driver) FlattenDisk(ctx context.Context, id, diskID, base string, _ int64) error {
	if err := d.fault(ctx, OpFlattenDisk, id); err != nil {
		return err
	}
	var failure error
	err := d.host.control(id, func(m *machine) {
		i := diskIndex(m, diskID)
		if i < 0 {
			failure = fmt.Errorf("machine %s has no disk %s", id, diskID)
			return
		}
		next := clone(m.spec)
		layers := next.Disks[i].Layers
		at := len(layers)
		if base != "" {
			at = slices.IndexFunc(layers, func(l hypervisor.Layer) bool { return l.ID == base })
		}
		if at < 1 {
			failure = fmt.Errorf("disk %s has no layer %s below its head", diskID, base)
			return
		}
		next.Disks[i].Layers = slices.Delete(layers, 1, at)
		m.spec = next
	})
	if err == nil {
		err = failure
	}
	return err
}

// LimitDisk remembers the limits.
func (d *Driver) LimitDisk(ctx context.Context, id, diskID string, limits model.IOLimits) error {
	if err := d.fault(ctx, OpLimitDisk, id); err != nil {
		return err
	}
	var failure error
	err := d.host.control(id, func(m *machine) {
		i := diskIndex(m, diskID)
		if i < 0 {
			failure = fmt.Errorf("machine %s has no disk %s", id, diskID)
			return
		}
		next := clone(m.spec)
		next.Disks[i].Limits = limits
		m.spec = next
	})
	if err == nil {
		err = failure
	}
	return err
}

func diskIndex(m *machine, id string) int {
	return slices.IndexFunc(m.spec.Disks, func(disk hypervisor.Disk) bool { return disk.ID == id })
}
