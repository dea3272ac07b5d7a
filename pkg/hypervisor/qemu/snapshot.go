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
	"github.com/bundt/bundt/pkg/model"
)

// Snapshot puts the overlays on the disks in one QMP transaction. Overlays that
// are their disks' heads already are left out, so that it can be repeated.
func (d *Driver) Snapshot(ctx context.Context, id string, disks []hypervisor.SnapshotDisk) (hypervisor.SnapshotResult, error) {
	m, err := d.known(id)
	if err != nil {
		return hypervisor.SnapshotResult{}, err
	}
	m.op.Lock()
	defer m.op.Unlock()
	r, client, err := m.monitor(ctx)
	if err != nil {
		return hypervisor.SnapshotResult{}, err
	}
	result, err := m.snapshot(ctx, r, client, disks)
	if err != nil {
		return result, fmt.Errorf("snapshotting machine %s: %w", id, err)
	}
	return result, nil
}

// overlay is a layer that becomes the head of a disk.
type overlay struct {
	disk  int // index
	over  string
	layer hypervisor.Layer
}

func (m *machine) snapshot(ctx context.Context, r *run, client *qmp.Client, disks []hypervisor.SnapshotDisk) (hypervisor.SnapshotResult, error) {
	result := hypervisor.SnapshotResult{Consistency: model.ConsistencyCrash}
	if err := endFlattening(ctx, client); err != nil {
		return result, err
	}
	if err := m.syncChains(ctx, r, client, disks); err != nil {
		return result, err
	}
	overlays, err := m.plan(disks)
	if err != nil || len(overlays) == 0 {
		return result, err
	}
	heads := make([]hypervisor.Layer, len(overlays))
	for i, o := range overlays {
		heads[i] = o.layer
	}
	if err := withKeys(ctx, client, heads, func() error { return addOverlays(ctx, client, overlays) }); err != nil {
		return result, err
	}
	frozen, thaw := m.freeze(ctx, client)
	begun := time.Now()
	err = transact(ctx, client, overlays)
	result.Stall = time.Since(begun)
	thaw()
	if err != nil {
		return result, m.undo(r, client, overlays, err)
	}
	if frozen {
		result.Consistency = model.ConsistencyFilesystem
	}
	return result, m.push(overlays)
}

// plan returns what is to be done.
func (m *machine) plan(disks []hypervisor.SnapshotDisk) ([]overlay, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []overlay
	for _, sd := range disks {
		layer := hypervisor.Layer{ID: sd.LayerID, Path: sd.Path, Key: sd.Key}
		if err := checkLayer(layer); err != nil {
			return nil, err
		}
		i := diskIndex(m.rec.Spec, sd.DiskID)
		if i < 0 {
			return nil, fmt.Errorf("it has no disk %s", sd.DiskID)
		}
		layers := m.rec.Spec.Disks[i].Layers
		at := slices.IndexFunc(layers, func(l hypervisor.Layer) bool { return l.ID == layer.ID })
		switch {
		case at == 0: // done before
		case at > 0:
			return nil, fmt.Errorf("layer %s is already below the head of disk %s", layer.ID, sd.DiskID)
		case slices.ContainsFunc(list, func(o overlay) bool { return o.disk == i || o.layer.ID == layer.ID }):
			return nil, fmt.Errorf("disk %s or layer %s is named twice", sd.DiskID, layer.ID)
		default:
			list = append(list, overlay{disk: i, over: layers[0].ID, layer: layer})
		}
	}
	return list, nil
}

func diskIndex(spec hypervisor.Spec, id string) int {
	return slices.IndexFunc(spec.Disks, func(d hypervisor.Disk) bool { return d.ID == id })
}

// addOverlays opens the overlays, all or none.
func addOverlays(ctx context.Context, client *qmp.Client, overlays []overlay) error {
	for i, o := range overlays {
		node := layerNode(o.layer, true, nil)
		err := client.Execute(ctx, "blockdev-add", node, nil)
		var refusal *qmp.Error
		if errors.As(err, &refusal) && strings.Contains(refusal.Desc, "node-name") {
			// Left by a driver that was killed before its transaction: it may have
			// been opened with other options.
			if client.Execute(ctx, "blockdev-del", map[string]any{"node-name": o.layer.ID}, nil) == nil {
				err = client.Execute(ctx, "blockdev-add", node, nil)
			}
		}
		if err != nil {
			removeOverlays(client, overlays[:i+1])
			return fmt.Errorf("opening overlay %s: %w", o.layer.Path, err)
		}
	}
	return nil
}

// removeOverlays closes overlays that did not become heads.
func removeOverlays(client *qmp.Client, overlays []overlay) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	for _, o := range overlays {
		_ = client.Execute(ctx, "blockdev-del", map[string]any{"node-name": o.layer.ID}, nil)
	}
}

func transact(ctx context.Context, client *qmp.Client, overlays []overlay) error {
	actions := make([]map[string]any, len(overlays))
	for i, o := range overlays {
		actions[i] = map[string]any{
			"type": "blockdev-snapshot",
			"data": map[string]any{"node": o.over, "overlay": o.layer.ID},
		}
	}
	return client.Execute(ctx, "transaction", map[string]any{"actions": actions}, nil)
}

// undo cleans up after a failed transaction. One whose answer did not come may
// have been done: then the nodes are heads, which QEMU does not remove, and the
// chains are asked for before the next snapshot.
func (m *machine) undo(r *run, client *qmp.Client, overlays []overlay, cause error) error {
	var refusal *qmp.Error
	if !errors.As(cause, &refusal) {
		m.mu.Lock()
		r.synced = false
		m.mu.Unlock()
	}
	removeOverlays(client, overlays)
	return cause
}

// push records the new heads.
func (m *machine) push(overlays []overlay) error {
	m.mu.Lock()
	spec := m.rec.Spec
	spec.Disks = slices.Clone(spec.Disks)
	for _, o := range overlays {
		disk := &spec.Disks[o.disk]
		disk.Layers = append([]hypervisor.Layer{o.layer}, disk.Layers...)
	}
	m.rec.Spec = spec
	rec := m.rec
	m.mu.Unlock()
	return save(m.paths.spec(), rec, true)
}

// syncChains asks QEMU for the heads when the record may lag behind: after an
// adoption, and after a transaction whose answer was lost.
func (m *machine) syncChains(ctx context.Context, r *run, client *qmp.Client, disks []hypervisor.SnapshotDisk) error {
	m.mu.Lock()
	synced, spec := r.synced, m.rec.Spec
	m.mu.Unlock()
	if synced {
		return nil
	}
	blocks, err := queryBlocks(ctx, client)
	if err != nil {
		return err
	}
	var done []overlay
	for i, disk := range spec.Disks {
		head := blocks[diskDevice(disk.ID)].head
		if head == disk.Layers[0].ID || head == "" { // "": unplugged meanwhile
			continue
		}
		at := slices.IndexFunc(disks, func(sd hypervisor.SnapshotDisk) bool { return sd.DiskID == disk.ID && sd.LayerID == head })
		if at < 0 {
			return fmt.Errorf("disk %s has head %q where %s was expected", disk.ID, head, disk.Layers[0].ID)
		}
		done = append(done, overlay{disk: i, layer: hypervisor.Layer{ID: head, Path: disks[at].Path, Key: disks[at].Key}})
	}
	if len(done) > 0 {
		if err := m.push(done); err != nil {
			return err
		}
	}
	m.mu.Lock()
	r.synced = true
	m.mu.Unlock()
	return nil
}
