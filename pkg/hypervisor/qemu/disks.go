package qemu

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu/qmp"
)

const diskDriver = "virtio-blk-pci"

// Disks returns the ids of the disks that QEMU shows the guest.
func (d *Driver) Disks(ctx context.Context, id string) ([]string, error) {
	var ids []string
	err := d.plugging(ctx, id, func(m *machine, _ *run, client *qmp.Client) error {
		devices, err := diskDevices(ctx, client)
		if err != nil {
			return err
		}
		blocks, err := queryBlocks(ctx, client)
		if err != nil {
			return err
		}
		for dev := range devices {
			if blocks[dev].head != goneNode(dev) {
				ids = append(ids, diskOf(dev))
			}
		}
		slices.Sort(ids)
		return nil
	})
	return ids, err
}

// AttachDisk opens the disk's layers that are not open yet and puts a virtio disk
// in a free place.
func (d *Driver) AttachDisk(ctx context.Context, id string, disk hypervisor.Disk) error {
	if err := checkDisk(disk); err != nil {
		return fmt.Errorf("machine %s: %w", id, err)
	}
	return d.plugging(ctx, id, func(m *machine, _ *run, client *qmp.Client) error {
		devices, err := diskDevices(ctx, client)
		if err != nil {
			return err
		}
		if _, there := devices[diskDevice(disk.ID)]; there {
			if gone, err := pulled(ctx, client, diskDevice(disk.ID)); gone || err != nil {
				return errors.Join(err, fmt.Errorf("disk %s was taken from the guest by force: %w", disk.ID, hypervisor.ErrBusy))
			}
			if err := throttle(ctx, client, disk.ID, disk.Limits); err != nil {
				return err
			}
			return m.noteDisk(disk)
		}
		at, err := freePlace(devices, diskPlaces(m.x86()))
		if err != nil {
			return err
		}
		var opened []string
		err = withKeys(ctx, client, disk.Layers, func() (err error) {
			opened, err = openChain(ctx, client, disk.Layers)
			return err
		})
		if err == nil {
			err = client.Execute(ctx, "device_add", diskArgs(disk, at), nil)
		}
		if err != nil {
			closeNodes(client, opened)
			return err
		}
		if err := throttle(ctx, client, disk.ID, disk.Limits); err != nil {
			return err // called again, it goes on from here
		}
		return m.noteDisk(disk)
	})
}

// DetachDisk asks the guest to let go, and closes the disk's layers when it has,
// or at once by force.
func (d *Driver) DetachDisk(ctx context.Context, id, diskID string, force bool) error {
	return d.plugging(ctx, id, func(m *machine, _ *run, client *qmp.Client) error {
		m.mu.Lock()
		i := diskIndex(m.rec.Spec, diskID)
		m.mu.Unlock()
		if i == 0 {
			return fmt.Errorf("disk %s is the root disk: %w", diskID, hypervisor.ErrUnsupported)
		}
		if err := endFlattening(ctx, client); err != nil {
			return err
		}
		err := unplug(ctx, client, diskDriver, diskDevice(diskID))
		if force && errors.Is(err, hypervisor.ErrBusy) {
			err = pull(ctx, client, diskDevice(diskID))
		}
		if err != nil {
			return err
		}
		if i > 0 {
			return m.dropDisk(ctx, client, i)
		}
		return nil
	})
}

// ResizeDisk grows the head and tells the guest.
func (d *Driver) ResizeDisk(ctx context.Context, id, diskID string, bytes int64) error {
	return d.plugging(ctx, id, func(m *machine, _ *run, client *qmp.Client) error {
		if err := endFlattening(ctx, client); err != nil {
			return err
		}
		blocks, err := queryBlocks(ctx, client)
		if err != nil {
			return err
		}
		b, ok := blocks[diskDevice(diskID)]
		switch {
		case !ok:
			return fmt.Errorf("it has no disk %s", diskID)
		case b.size >= bytes:
			return nil
		}
		return client.Execute(ctx, "block_resize", map[string]any{"node-name": b.head, "size": bytes}, nil)
	})
}

// diskDevices returns the virtio disks by device id, each with its place.
func diskDevices(ctx context.Context, client qmp.Executor) (map[string]place, error) {
	return plugged(ctx, client, diskDriver)
}

// diskOf is the inverse of diskDevice: volume ids have one dash, after their prefix.
func diskOf(device string) string {
	return "vol-" + strings.TrimPrefix(device, "vol")
}

// openChain opens the layers that QEMU does not have open yet, base first, and
// returns their nodes in that order. What it opened is closed again on an error.
func openChain(ctx context.Context, client *qmp.Client, layers []hypervisor.Layer) (opened []string, err error) {
	var nodes []struct {
		Name string `json:"node-name"`
	}
	if err := client.Execute(ctx, "query-named-block-nodes", map[string]any{"flat": true}, &nodes); err != nil {
		return nil, err
	}
	open := map[string]bool{}
	for _, n := range nodes {
		open[n.Name] = true
	}
	var backing any // JSON null, as in the argv
	for j := len(layers) - 1; j >= 0; j-- {
		l := layers[j]
		if open[l.ID] && j == 0 {
			// Left by a driver that was killed before its device_add, or after the
			// device was gone: it may have been opened with other options.
			if err := client.Execute(ctx, "blockdev-del", map[string]any{"node-name": l.ID}, nil); err != nil {
				return opened, fmt.Errorf("closing layer %s to open it anew: %w", l.ID, err)
			}
		}
		if !open[l.ID] || j == 0 {
			if err := client.Execute(ctx, "blockdev-add", layerNode(l, j == 0, backing), nil); err != nil {
				return opened, fmt.Errorf("opening layer %s: %w", l.Path, err)
			}
			opened = append(opened, l.ID)
		}
		backing = l.ID
	}
	return opened, nil
}

// closeNodes closes nodes, the last first. One that something else uses by now
// stays: QEMU refuses.
func closeNodes(client qmp.Executor, nodes []string) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	for _, n := range slices.Backward(nodes) {
		if client.Execute(ctx, "blockdev-del", map[string]any{"node-name": n}, nil) != nil {
			return
		}
	}
}

// goneNode is what a device reads and writes whose disk was taken away by force.
func goneNode(device string) string { return "gone-" + device }

// pulled reports whether a device's disk was taken away.
func pulled(ctx context.Context, client qmp.Executor, device string) (bool, error) {
	blocks, err := queryBlocks(ctx, client)
	return blocks[device].head == goneNode(device), err
}

// pull puts nothing in the place of a device's disk: reading it fails, and what is
// written vanishes, because an error of writing would stop the machine. The device
// itself stays until the guest lets go of it.
func pull(ctx context.Context, client qmp.Executor, device string) error {
	blocks, err := queryBlocks(ctx, client)
	if err != nil {
		return err
	}
	b, node := blocks[device], goneNode(device)
	if b.head == node || b.head == "" {
		return nil
	}
	_ = client.Execute(ctx, "blockdev-del", map[string]any{"node-name": node}, nil) // of an earlier time
	const eio = 5
	err = client.Execute(ctx, "blockdev-add", properties{
		"driver": "blkdebug", "node-name": node,
		"inject-error": []properties{{"event": "none", "iotype": "read", "errno": eio, "once": false}},
		"image":        properties{"driver": "null-co", "size": b.size},
	}, nil)
	if err != nil {
		return err
	}
	err = client.Execute(ctx, "qom-set", map[string]any{"path": peripherals + device, "property": "drive", "value": node}, nil)
	if err != nil {
		closeNodes(client, []string{node})
	}
	return err
}

// noteDisk records a disk that QEMU has.
func (m *machine) noteDisk(disk hypervisor.Disk) error {
	return m.renote(func(s *hypervisor.Spec) bool {
		if diskIndex(*s, disk.ID) >= 0 {
			return false
		}
		s.Disks = append(slices.Clone(s.Disks), disk)
		return true
	})
}

// dropDisk closes the layers of a disk that the guest no longer has, those that
// no other disk uses, and forgets it. The head in QEMU may be a newer one than in
// the record, if a driver was killed between a snapshot and its record.
func (m *machine) dropDisk(ctx context.Context, client *qmp.Client, i int) error {
	m.mu.Lock()
	spec := m.rec.Spec
	layers := slices.Clone(spec.Disks[i].Layers)
	spec.Disks = slices.Delete(slices.Clone(spec.Disks), i, i+1)
	m.rec.Spec = spec
	rec := m.rec
	m.mu.Unlock()
	var nodes []string // behind the head
	for _, l := range slices.Backward(layers[1:]) {
		nodes = append(nodes, l.ID)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if closeHead(ctx, client, layers[0].ID) {
		closeNodes(client, nodes)
	}
	return save(m.paths.spec(), rec, true)
}

// releaseTime is how long a device that is gone may hold its disk: QEMU tells of
// its end a moment before it lets go.
const releaseTime = time.Second

// closeHead closes a departed device's head, which it may still hold: left open it
// could be nobody's backing file, as it is open for writing. It is false for a head
// that stays.
func closeHead(ctx context.Context, client qmp.Executor, head string) bool {
	for end := time.Now().Add(releaseTime); time.Now().Before(end); {
		err := client.Execute(ctx, "blockdev-del", map[string]any{"node-name": head}, nil)
		var refusal *qmp.Error
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Desc, "in use") {
			return err == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	return false
}

// block is what QEMU says of a disk device's medium.
type block struct {
	head string // node
	size int64  // bytes
}

// queryBlocks returns what each disk device writes to.
func queryBlocks(ctx context.Context, client qmp.Executor) (map[string]block, error) {
	var devices []struct {
		QDev     string `json:"qdev"` // /machine/peripheral/vol0123/virtio-backend
		Inserted struct {
			Node  string `json:"node-name"`
			Image struct {
				Size int64 `json:"virtual-size"`
			} `json:"image"`
		} `json:"inserted"`
	}
	if err := client.Execute(ctx, "query-block", nil, &devices); err != nil {
		return nil, err
	}
	blocks := map[string]block{}
	for _, d := range devices {
		name, _, _ := strings.Cut(strings.TrimPrefix(d.QDev, peripherals), "/")
		blocks[name] = block{head: d.Inserted.Node, size: d.Inserted.Image.Size}
	}
	return blocks, nil
}
