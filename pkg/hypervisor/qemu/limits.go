package qemu

import (
	"context"
	"fmt"
	"slices"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu/qmp"
	"github.com/bundt/bundt/pkg/model"
)

// The limits are the device's and not of a node in front of its head (a throttle
// filter): so they stay what they are when a snapshot changes the head, and chains
// look alike with and without them. A device has none until it is told, so
// every new connection to QEMU tells it again (see tryConnect).

// LimitDisk tells QEMU, and remembers the limits for drivers to come.
func (d *Driver) LimitDisk(ctx context.Context, id, diskID string, limits model.IOLimits) error {
	return d.plugging(ctx, id, func(m *machine, _ *run, client *qmp.Client) error {
		m.mu.Lock()
		i := diskIndex(m.rec.Spec, diskID)
		m.mu.Unlock()
		if i < 0 {
			return fmt.Errorf("it has no disk %s", diskID)
		}
		if err := throttle(ctx, client, diskID, limits); err != nil {
			return err
		}
		return m.renote(func(s *hypervisor.Spec) bool {
			if s.Disks[i].Limits == limits {
				return false
			}
			s.Disks = slices.Clone(s.Disks)
			s.Disks[i].Limits = limits
			return true
		})
	})
}

// backend is the part of a disk's device that has the block device.
func backend(diskID string) string { return peripherals + diskDevice(diskID) + "/virtio-backend" }

// throttleAll limits the disks that have limits.
func throttleAll(ctx context.Context, client *qmp.Client, disks []hypervisor.Disk) error {
	for _, disk := range disks {
		if disk.Limits == (model.IOLimits{}) {
			continue
		}
		if err := throttle(ctx, client, disk.ID, disk.Limits); err != nil {
			return err
		}
	}
	return nil
}

// throttle limits a disk's device. https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html
func throttle(ctx context.Context, client *qmp.Client, diskID string, l model.IOLimits) error {
	args := map[string]any{"id": backend(diskID), "iops_rd": 0, "iops_wr": 0, "bps_rd": 0, "bps_wr": 0}
	putRate(args, "iops", l.Operations)
	putRate(args, "bps", l.Bytes)
	if l.Operations != (model.Rate{}) {
		args["iops_size"] = l.OperationBytes
	}
	if err := client.Execute(ctx, "block_set_io_throttle", args, nil); err != nil {
		return fmt.Errorf("limiting disk %s: %w", diskID, err)
	}
	return nil
}

// putRate sets a rate. Where there is no burst, what one second allows may be done
// at once, as EBS counts by the second; QEMU's own measure is a tenth of that.
func putRate(args map[string]any, name string, r model.Rate) {
	args[name] = r.PerSecond
	if r.PerSecond == 0 {
		return
	}
	args[name+"_max"], args[name+"_max_length"] = max(r.Burst, r.PerSecond), max(r.BurstSeconds, 1)
}
