package fake

import (
	"context"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
)

// Usage is that of a guest that keeps a quarter of a processor busy, and has half of its
// memory; it reads a sector and writes a block of 4 KiB to each of its disks every second.
func (d *Driver) Usage(ctx context.Context, id string) (u hypervisor.Usage, err error) {
	if err := d.fault(ctx, OpUsage, id); err != nil {
		return u, err
	}
	err = d.host.control(id, func(m *machine) {
		up := time.Since(m.started)
		requests := 1 + int64(up/time.Second)
		u = hypervisor.Usage{CPU: up / 4, Memory: int64(m.spec.MemoryMiB) << 19, Disks: map[string]hypervisor.DiskUsage{}}
		for _, disk := range m.spec.Disks {
			u.Disks[disk.ID] = hypervisor.DiskUsage{
				Reads: requests, ReadBytes: requests * 512, ReadTime: time.Duration(requests) * time.Microsecond,
				Writes: requests, WrittenBytes: requests * 4096, WriteTime: time.Duration(requests) * time.Millisecond,
			}
		}
	})
	return u, err
}
