//go:build libvirt

package libvirt

import (
	"context"
	"fmt"
	"time"

	"libvirt.org/go/libvirt"

	"github.com/bundt/bundt/pkg/hypervisor"
)

// Usage asks libvirt, which asks the kernel and QEMU.
func (d *driver) Usage(ctx context.Context, id string) (u hypervisor.Usage, err error) {
	err = d.running(ctx, id, func(m *domain) error {
		cpus, err := m.dom.GetVcpus()
		if err != nil {
			return fmt.Errorf("asking for its processors: %w", err)
		}
		for _, c := range cpus {
			u.CPU += time.Duration(c.CpuTime)
		}
		memory, err := m.dom.MemoryStats(uint32(libvirt.DOMAIN_MEMORY_STAT_NR), 0)
		if err != nil {
			return fmt.Errorf("asking for its memory: %w", err)
		}
		for _, s := range memory {
			if s.Tag == int32(libvirt.DOMAIN_MEMORY_STAT_RSS) {
				u.Memory = int64(s.Val) << 10
			}
		}
		disks, err := m.disks()
		if err != nil {
			return err
		}
		u.Disks = map[string]hypervisor.DiskUsage{}
		for diskID, disk := range disks {
			s, err := m.dom.BlockStatsFlags(disk.Target.Dev, 0)
			if err != nil {
				return fmt.Errorf("asking for what disk %s did: %w", diskID, err)
			}
			u.Disks[diskID] = hypervisor.DiskUsage{
				ReadBytes: s.RdBytes, WrittenBytes: s.WrBytes, Reads: s.RdReq, Writes: s.WrReq,
				ReadTime: time.Duration(s.RdTotalTimes), WriteTime: time.Duration(s.WrTotalTimes),
			}
		}
		return nil
	})
	return u, err
}
