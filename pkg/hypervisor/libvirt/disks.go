//go:build libvirt

package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu"
	"github.com/bundt/bundt/pkg/hypervisor/qemu/qmp"
	"github.com/bundt/bundt/pkg/model"
)

// disks returns the disks that the domain has now, by id.
func (m *domain) disks() (map[string]libvirtxml.DomainDisk, error) {
	x, err := m.xml()
	if err != nil {
		return nil, err
	}
	disks := map[string]libvirtxml.DomainDisk{}
	for _, d := range x.Devices.Disks {
		if d.Serial != "" {
			disks[qemu.DiskOf(d.Serial)] = d
		}
	}
	return disks, nil
}

func (m *domain) disk(id string) (libvirtxml.DomainDisk, error) {
	disks, err := m.disks()
	if err != nil {
		return libvirtxml.DomainDisk{}, err
	}
	d, ok := disks[id]
	if !ok {
		return d, fmt.Errorf("it has no disk %s", id)
	}
	return d, nil
}

// Disks returns the ids of the disks that the guest has.
func (d *driver) Disks(ctx context.Context, id string) (ids []string, err error) {
	err = d.on(ctx, id, func(m *domain) error {
		disks, err := m.disks()
		if err != nil {
			return err
		}
		pulled, err := qemu.Pulled(ctx, m)
		if err != nil {
			return err
		}
		for id := range disks {
			if !pulled[diskAlias(id)] {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		return nil
	})
	return ids, err
}

// AttachDisk has libvirt put a virtio disk in a free place.
func (d *driver) AttachDisk(ctx context.Context, id string, disk hypervisor.Disk) error {
	if err := errors.Join(qemu.CheckDisk(disk), plain(disk.Layers...)); err != nil {
		return fmt.Errorf("machine %s: %w", id, err)
	}
	return d.on(ctx, id, func(m *domain) error {
		disks, err := m.disks()
		if err != nil {
			return err
		}
		if there, ok := disks[disk.ID]; ok {
			pulled, err := qemu.Pulled(ctx, m)
			if err != nil {
				return err
			}
			if pulled[diskAlias(disk.ID)] {
				return fmt.Errorf("disk %s was taken from the guest by force: %w", disk.ID, hypervisor.ErrBusy)
			}
			return m.limit(there, disk.Limits)
		}
		target, at, err := m.free(disks)
		if err != nil {
			return err
		}
		x := diskXML(disk, target, at)
		text, err := x.Marshal()
		if err != nil {
			return fmt.Errorf("encoding disk %s: %w", disk.ID, err)
		}
		return m.dom.AttachDeviceFlags(text, libvirt.DOMAIN_DEVICE_MODIFY_LIVE)
	})
}

// free is a name and a place that none of the disks has.
func (m *domain) free(disks map[string]libvirtxml.DomainDisk) (target string, at *libvirtxml.DomainAddress, err error) {
	targets, places := map[string]bool{}, map[[2]uint]bool{}
	for _, d := range disks {
		targets[d.Target.Dev] = true
		if d.Address != nil && d.Address.PCI != nil {
			places[[2]uint{*d.Address.PCI.Bus, *d.Address.PCI.Slot}] = true
		}
	}
	for i := range qemu.MaxDisks {
		if t := diskTarget(i); !targets[t] {
			target = t
			break
		}
	}
	for i := 1; i < qemu.MaxDisks; i++ {
		p := place(m.x86(), qemu.DiskPlace(i))
		if !places[[2]uint{*p.PCI.Bus, *p.PCI.Slot}] {
			return target, p, nil
		}
	}
	return "", nil, fmt.Errorf("all of its %d places for disks are taken", qemu.MaxDisks-1)
}

// DetachDisk asks the guest to let go, which libvirt waits for. By force the disk goes
// at once and the guest is left with a device that has none.
func (d *driver) DetachDisk(ctx context.Context, id, diskID string, force bool) error {
	return d.on(ctx, id, func(m *domain) error {
		if root := m.rec.Spec.Disks; len(root) > 0 && root[0].ID == diskID {
			return fmt.Errorf("disk %s is the root disk: %w", diskID, hypervisor.ErrUnsupported)
		}
		err := m.detach(ctx, diskID)
		if !force || !errors.Is(err, hypervisor.ErrBusy) {
			return err
		}
		return m.pull(ctx, diskID)
	})
}

func (m *domain) detach(ctx context.Context, diskID string) error {
	gone := func() (bool, error) {
		disks, err := m.disks()
		_, there := disks[diskID]
		return !there, err
	}
	done, err := gone()
	if err == nil && !done {
		err = m.dom.DetachDeviceAlias(diskAlias(diskID), libvirt.DOMAIN_DEVICE_MODIFY_LIVE)
		switch {
		case is(err, libvirt.ERR_DEVICE_MISSING):
			err = nil
		case err == nil || asked(err):
			err = m.await(ctx, "disk "+diskID, gone)
		}
	}
	if err != nil {
		return err
	}
	return m.sweep(ctx)
}

// releaseTime is how long a device that is gone may hold its disk: QEMU tells of its end
// a moment before it lets go, and libvirt, which tries once, leaves the layers open then.
const releaseTime = time.Second

// sweep closes the layers that are none of the domain's disks', of which nobody else
// could have the head.
func (m *domain) sweep(ctx context.Context) error {
	for end := time.Now().Add(releaseTime); ; time.Sleep(10 * time.Millisecond) {
		left, err := m.leftNodes(ctx)
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("closing the layers %v: %w", left, hypervisor.ErrBusy)
		}
		for _, node := range left {
			var refusal *qmp.Error
			err := m.Execute(ctx, "blockdev-del", map[string]any{"node-name": node}, nil)
			if err != nil && !errors.As(err, &refusal) { // refused while another has it for its backing file
				return err
			}
		}
	}
}

// leftNodes are the block nodes that libvirt made for a disk and forgot.
func (m *domain) leftNodes(ctx context.Context) (left []string, err error) {
	x, err := m.xml()
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, d := range x.Devices.Disks {
		for _, n := range nodes(d) {
			used[n] = true
		}
	}
	var all []struct {
		Name string `json:"node-name"`
	}
	if err := m.Execute(ctx, "query-named-block-nodes", map[string]any{"flat": true}, &all); err != nil {
		return nil, err
	}
	for _, n := range all {
		if layerNode.MatchString(n.Name) && !used[n.Name] {
			left = append(left, n.Name)
		}
	}
	return left, nil
}

// layerNode is how libvirt names the nodes of disks.
var layerNode = regexp.MustCompile(`^libvirt-\d+-(format|storage)$`)

// asked reports whether a device cannot be asked for because it was already.
func asked(err error) bool {
	return is(err, libvirt.ERR_OPERATION_FAILED) || is(err, libvirt.ERR_INTERNAL_ERROR)
}

// await waits a moment until a device is gone.
func (m *domain) await(ctx context.Context, what string, gone func() (bool, error)) error {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	patience := time.NewTimer(qemu.UnplugTime)
	defer patience.Stop()
	for {
		select {
		case <-look.C:
			if done, err := gone(); done || err != nil {
				return err
			}
		case <-patience.C:
			return fmt.Errorf("unplugging %s: %w", what, hypervisor.ErrBusy)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pull takes the disk from its device and closes its layers. Libvirt, which closes them
// when the guest lets go, finds that they are closed.
func (m *domain) pull(ctx context.Context, diskID string) error {
	d, err := m.disk(diskID)
	if err != nil {
		return err
	}
	if err := qemu.Pull(ctx, m, diskAlias(diskID)); err != nil {
		return err
	}
	qemu.CloseNodes(m, nodes(d))
	return nil
}

// nodes are the block nodes of a disk's chain, by the indexes that libvirt gives them, in
// the order in which CloseNodes wants them: the last first.
func nodes(d libvirtxml.DomainDisk) (list []string) {
	add := func(index uint) {
		list = append(list, fmt.Sprintf("libvirt-%d-format", index), fmt.Sprintf("libvirt-%d-storage", index))
	}
	if d.Source != nil {
		add(d.Source.Index)
	}
	for b := d.BackingStore; b != nil && b.Source != nil; b = b.BackingStore {
		add(b.Index)
	}
	slices.Reverse(list)
	return list
}

// ResizeDisk grows the head and tells the guest.
func (d *driver) ResizeDisk(ctx context.Context, id, diskID string, bytes int64) error {
	return d.on(ctx, id, func(m *domain) error {
		disk, err := m.disk(diskID)
		if err != nil {
			return err
		}
		size, err := qemu.DiskSize(ctx, m, diskAlias(diskID))
		if err != nil || size >= bytes {
			return err
		}
		return m.dom.BlockResize(disk.Target.Dev, uint64(bytes), libvirt.DOMAIN_BLOCK_RESIZE_BYTES)
	})
}

// LimitDisk changes what a disk may do.
func (d *driver) LimitDisk(ctx context.Context, id, diskID string, limits model.IOLimits) error {
	return d.on(ctx, id, func(m *domain) error {
		disk, err := m.disk(diskID)
		if err != nil {
			return err
		}
		return m.limit(disk, limits)
	})
}

func (m *domain) limit(disk libvirtxml.DomainDisk, limits model.IOLimits) error {
	t := tuning(limits)
	// Length 1 of a rate that there is not takes an earlier length away.
	params := &libvirt.DomainBlockIoTuneParameters{
		TotalIopsSecSet: true, TotalIopsSec: t.TotalIopsSec, TotalIopsSecMaxSet: true, TotalIopsSecMax: t.TotalIopsSecMax,
		TotalBytesSecSet: true, TotalBytesSec: t.TotalBytesSec, TotalBytesSecMaxSet: true, TotalBytesSecMax: t.TotalBytesSecMax,
		TotalIopsSecMaxLengthSet: true, TotalIopsSecMaxLength: max(t.TotalIopsSecMaxLength, 1),
		TotalBytesSecMaxLengthSet: true, TotalBytesSecMaxLength: max(t.TotalBytesSecMaxLength, 1),
		SizeIopsSecSet: true, SizeIopsSec: t.SizeIopsSec,
	}
	if err := m.dom.SetBlockIoTune(disk.Target.Dev, params, libvirt.DOMAIN_AFFECT_LIVE); err != nil {
		return fmt.Errorf("limiting disk %s: %w", qemu.DiskOf(disk.Serial), err)
	}
	return nil
}

// snapshotFlags: libvirt swaps the heads, in one transaction, for overlays that are there
// already, and keeps no record of it that would be in the way of the next.
const snapshotFlags = libvirt.DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | libvirt.DOMAIN_SNAPSHOT_CREATE_ATOMIC |
	libvirt.DOMAIN_SNAPSHOT_CREATE_NO_METADATA | libvirt.DOMAIN_SNAPSHOT_CREATE_REUSE_EXT

// Snapshot puts the overlays on the disks. Overlays that are their disks' heads already
// are left out, so that it can be repeated.
func (d *driver) Snapshot(ctx context.Context, id string, disks []hypervisor.SnapshotDisk) (result hypervisor.SnapshotResult, err error) {
	err = d.on(ctx, id, func(m *domain) error {
		result, err = m.snapshot(disks)
		return err
	})
	return result, err
}

func (m *domain) snapshot(disks []hypervisor.SnapshotDisk) (hypervisor.SnapshotResult, error) {
	result := hypervisor.SnapshotResult{Consistency: model.ConsistencyCrash}
	have, err := m.disks()
	if err != nil {
		return result, err
	}
	text, err := snapshotXML(have, disks)
	if err != nil || text == "" {
		return result, err
	}
	frozen, thaw := m.freeze()
	begun := time.Now()
	snap, err := m.dom.CreateSnapshotXML(text, snapshotFlags)
	result.Stall = time.Since(begun)
	thaw()
	if err != nil {
		return result, err
	}
	_ = snap.Free()
	if frozen {
		result.Consistency = model.ConsistencyFilesystem
	}
	return result, nil
}

// snapshotXML says what is to be done, "" for nothing.
func snapshotXML(have map[string]libvirtxml.DomainDisk, disks []hypervisor.SnapshotDisk) (string, error) {
	list := map[string]libvirtxml.DomainSnapshotDisk{}
	paths := map[string]bool{}
	for _, sd := range disks {
		d, ok := have[sd.DiskID]
		if !ok {
			return "", fmt.Errorf("it has no disk %s", sd.DiskID)
		}
		layer := hypervisor.Layer{ID: sd.LayerID, Path: sd.Path, Key: sd.Key}
		if err := errors.Join(qemu.CheckDisk(hypervisor.Disk{ID: sd.DiskID, Layers: []hypervisor.Layer{layer}}), plain(layer)); err != nil {
			return "", err
		}
		if d.Source.File.File == sd.Path { // done before
			continue
		}
		for b := d.BackingStore; b != nil && b.Source != nil; b = b.BackingStore {
			if b.Source.File != nil && b.Source.File.File == sd.Path {
				return "", fmt.Errorf("layer %s is already below the head of disk %s", sd.LayerID, sd.DiskID)
			}
		}
		if _, twice := list[d.Target.Dev]; twice || paths[sd.Path] {
			return "", fmt.Errorf("disk %s or layer %s is named twice", sd.DiskID, sd.LayerID)
		}
		paths[sd.Path] = true
		list[d.Target.Dev] = libvirtxml.DomainSnapshotDisk{
			Name: d.Target.Dev, Snapshot: "external", Driver: &libvirtxml.DomainDiskDriver{Type: "qcow2"}, Source: fileSource(sd.Path),
		}
	}
	if len(list) == 0 {
		return "", nil
	}
	x := libvirtxml.DomainSnapshot{Disks: &libvirtxml.DomainSnapshotDisks{}}
	for _, d := range have {
		if s, named := list[d.Target.Dev]; named {
			x.Disks.Disks = append(x.Disks.Disks, s)
		} else {
			x.Disks.Disks = append(x.Disks.Disks, libvirtxml.DomainSnapshotDisk{Name: d.Target.Dev, Snapshot: "no"})
		}
	}
	text, err := xml.Marshal(&x)
	if err != nil {
		return "", fmt.Errorf("encoding the snapshot: %w", err)
	}
	return string(text), nil
}
