package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/layer"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// reconcileVolume drives a volume that is attached to no instance a step towards
// what is wanted of it. Attached ones are their instance's.
func (n *Node) reconcileVolume(ctx context.Context, id string) (time.Duration, error) {
	vol, head, err := n.volume(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil || head.Node != n.ID || vol.Attachment != nil {
		return 0, err
	}
	if vol.State == model.VolumeCreating {
		return 0, n.createVolume(ctx, &vol)
	}
	sets, err := n.pendingSets(ctx, func(v *model.Volume) bool { return v.ID == id })
	if err != nil {
		return 0, err
	}
	for i := range sets {
		if err := n.takeSet(ctx, &sets[i], "", hypervisor.Status{State: hypervisor.StateStopped}); err != nil {
			return 0, fmt.Errorf("taking a snapshot of volume %s: %w", id, err)
		}
	}
	switch {
	case vol.State == model.VolumeDeleting:
		return 0, n.deleteVolume(ctx, id)
	case vol.Modifying():
		return 0, n.modifyVolume(ctx, id, "")
	}
	return 0, n.flattenIdle(ctx, id)
}

func (n *Node) volume(ctx context.Context, id string) (vol model.Volume, head model.Layer, err error) {
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		if vol, err = records.Volumes.Get(tx, id); err != nil {
			return err
		}
		head, err = records.Layers.Get(tx, vol.Head)
		return err
	})
	return vol, head, err
}

// editVolume changes a volume's record; one that vanished is left alone.
func (n *Node) editVolume(ctx context.Context, id string, change func(*store.Tx, *model.Volume) error) error {
	return n.Store.Update(ctx, func(tx *store.Tx) error {
		vol, err := records.Volumes.Get(tx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := change(tx, &vol); err != nil {
			return err
		}
		return records.Volumes.Put(tx, &vol)
	})
}

func (n *Node) createVolume(ctx context.Context, vol *model.Volume) error {
	cause := n.makeDisk(ctx, vol.ID, func(*model.Volume) bool { return true })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return n.editVolume(ctx, vol.ID, func(_ *store.Tx, v *model.Volume) error {
		if v.State != model.VolumeCreating {
			return nil
		}
		v.State = model.VolumeAvailable
		if cause != nil {
			n.Logger.Error("making a volume failed", "volume", v.ID, "error", cause)
			v.State, v.StateReason = model.VolumeErrored, model.Reason{Code: codeInternal, Message: cause.Error()}
		}
		return nil
	})
}

// deleteVolume forgets a volume and its writable layers; the collector removes
// the frozen ones that nothing else needs.
func (n *Node) deleteVolume(ctx context.Context, id string) error {
	var garbage []string
	err := n.Store.Update(ctx, func(tx *store.Tx) error {
		vol, err := records.Volumes.Get(tx, id)
		if err != nil || vol.Attachment != nil || vol.State != model.VolumeDeleting {
			return err
		}
		garbage, err = forgetVolume(tx, &vol)
		return err
	})
	if err != nil {
		return err
	}
	n.wakeCollector()
	return n.deleteLayers(ctx, garbage)
}

func (n *Node) deleteLayers(ctx context.Context, ids []string) error {
	for _, id := range ids {
		if err := n.Layers.Delete(ctx, id); err != nil {
			return fmt.Errorf("deleting layer %s: %w", id, err)
		}
	}
	return nil
}

// forgetVolume deletes a volume's records, with the writable layers that nobody
// else can have, and returns those.
func forgetVolume(tx *store.Tx, vol *model.Volume) (garbage []string, err error) {
	for _, l := range []string{vol.Head, vol.NextHead} {
		if l == "" {
			continue
		}
		if err := records.Layers.Delete(tx, l); err != nil {
			return nil, err
		}
		garbage = append(garbage, l)
	}
	return garbage, records.Volumes.Delete(tx, vol.ID)
}

// modifyVolume grows a volume and gives it its new kind; machine is the one that
// has the disk right now, if any. The file comes before the records: a file that
// is larger than its record says is one whose modification is not done.
func (n *Node) modifyVolume(ctx context.Context, id, machine string) error {
	vol, head, err := n.volume(ctx, id)
	if err != nil || !vol.Modifying() {
		return err
	}
	if vol.NextHead != "" {
		return fmt.Errorf("modifying volume %s: %w", id, errOtherSet)
	}
	size := vol.Modification.TargetSize << 30
	if size > head.SizeBytes {
		if err := n.grow(ctx, id, &head, machine, size); err != nil {
			return n.modified(ctx, id, head, fmt.Errorf("growing volume %s: %w", id, err))
		}
	}
	if machine != "" {
		if err := n.limit(ctx, &vol, machine); err != nil {
			return n.modified(ctx, id, head, fmt.Errorf("limiting volume %s: %w", id, err))
		}
	}
	return n.modified(ctx, id, head, nil)
}

func (n *Node) grow(ctx context.Context, id string, head *model.Layer, machine string, size int64) error {
	if machine != "" {
		p, err := n.plugger()
		if err != nil {
			return err
		}
		return p.ResizeDisk(ctx, machine, id, size)
	}
	key, err := n.passphrase(ctx, head)
	if err != nil {
		return err
	}
	if err := n.Layers.Grow(ctx, head.ID, size, key); !errors.Is(err, layer.ErrNotFound) {
		return err
	}
	return nil // its instance has not started yet: it is made with its new size
}

// limit makes a machine's disk as fast as its modification says.
func (n *Node) limit(ctx context.Context, vol *model.Volume, machine string) error {
	p, err := n.plugger()
	if err != nil {
		return err
	}
	return p.LimitDisk(ctx, machine, vol.ID, n.limitsOf(vol.Modification.Target, vol.Modification.TargetSize))
}

// modified records how a modification ended. One that failed can be asked for again.
func (n *Node) modified(ctx context.Context, id string, head model.Layer, cause error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(cause, hypervisor.ErrNotRunning) || errors.Is(cause, hypervisor.ErrNotFound) {
		return cause // the machine has just ended: the next look goes on without it
	}
	return n.editVolume(ctx, id, func(tx *store.Tx, v *model.Volume) error {
		if !v.Modifying() {
			return nil
		}
		m := *v.Modification
		v.Modification = &m
		m.Ended = n.Now().UTC()
		if cause != nil {
			n.Logger.Error("modifying a volume failed", "volume", id, "error", cause)
			m.State, m.Message = model.ModificationFailed, cause.Error()
			return nil //nolint:nilerr // the failure is what is recorded
		}
		if v.Head != head.ID {
			return fmt.Errorf("modifying volume %s: %w", id, errOtherSet)
		}
		m.State = model.ModificationCompleted
		v.SizeGiB, v.VolumeKind = m.TargetSize, m.Target
		head.SizeBytes = max(head.SizeBytes, m.TargetSize<<30)
		return records.Layers.Put(tx, &head)
	})
}

// enqueueVolume looks at a volume that has something to be done, or at its instance.
func (n *Node) enqueueVolume(ctx context.Context, id string) error {
	return n.Store.View(ctx, func(tx *store.Tx) error {
		vol, err := records.Volumes.Get(tx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err == nil && vol.Attachment != nil && vol.NextHead == "" {
			n.flattens.add(id)
		}
		if err == nil {
			n.enqueue(&vol, vol.Modifying() || vol.Attachment != nil && vol.Attachment.State != model.Attached)
		}
		return err
	})
}

// enqueue looks at a volume, or at the instance that it is attached to if that
// has something to do with it.
func (n *Node) enqueue(vol *model.Volume, due bool) {
	switch {
	case vol.Attachment == nil:
		n.volumes.add(vol.ID)
	case due:
		n.queue.add(vol.Attachment.InstanceID)
	}
}

// enqueueSnapshot looks at the volume of a snapshot that is to be taken.
func (n *Node) enqueueSnapshot(ctx context.Context, id string) error {
	return n.Store.View(ctx, func(tx *store.Tx) error {
		snap, err := records.Snapshots.Get(tx, id)
		if errors.Is(err, store.ErrNotFound) || err == nil && snap.State != model.SnapshotPending {
			return nil
		}
		if err != nil {
			return err
		}
		if snap.CopyOf != "" {
			n.transfers.add(id)
			return nil
		}
		if snap.VolumeID == "" {
			return nil // it comes from another region
		}
		vol, err := records.Volumes.Get(tx, snap.VolumeID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err == nil {
			n.enqueue(&vol, true)
		}
		return err
	})
}

// disksOf returns the ids of the disks that an instance's machine has right now.
func (n *Node) disksOf(ctx context.Context, instanceID string, st hypervisor.Status) ([]string, error) {
	if instanceID == "" || st.State == hypervisor.StateStopped {
		return nil, nil
	}
	p, err := n.plugger()
	if err != nil {
		return nil, err
	}
	return p.Disks(ctx, instanceID)
}

func (n *Node) plugger() (hypervisor.DiskPlugger, error) {
	p, ok := n.Driver.(hypervisor.DiskPlugger)
	if !ok {
		return nil, fmt.Errorf("changing the disks of a running machine: %w (driver %s)", hypervisor.ErrUnsupported, n.Driver.Name())
	}
	return p, nil
}

// volumesOf returns the records of an instance's volumes, in its order.
func (n *Node) volumesOf(ctx context.Context, inst *model.Instance) (vols []model.Volume, err error) {
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		vols = vols[:0]
		for _, v := range inst.Volumes {
			vol, err := records.Volumes.Get(tx, v.VolumeID)
			if err != nil {
				return err
			}
			if vol.Attachment != nil && vol.Attachment.InstanceID == inst.ID { // else inst is old
				vols = append(vols, vol)
			}
		}
		return nil
	})
	return vols, err
}

// settleVolumes does what is due to the volumes of an instance whose machine does
// not run, before it may be started.
func (n *Node) settleVolumes(ctx context.Context, inst *model.Instance) error {
	vols, err := n.volumesOf(ctx, inst)
	if err != nil {
		return err
	}
	for i := range vols {
		v := &vols[i]
		if err := n.settleFlattening(ctx, v.ID); err != nil {
			return err
		}
		switch {
		case v.Attachment.State.Leaving():
			err = n.detached(ctx, inst, v.ID)
		case v.Modifying():
			err = n.modifyVolume(ctx, v.ID, "")
		}
		if err == nil && v.Attachment.State == model.Attaching {
			err = n.attachmentIs(ctx, v.ID, model.Attaching, model.Attached)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// busyAgain is when to ask a guest again that did not let go of a disk.
const busyAgain = 5 * time.Second

// plugVolumes gives a running machine the disks that it shall have and takes
// those that are to be detached. again is when to look again in any case.
func (n *Node) plugVolumes(ctx context.Context, inst *model.Instance, again time.Duration) (time.Duration, error) {
	vols, err := n.volumesOf(ctx, inst)
	if err != nil || len(vols) == 0 {
		return again, err
	}
	settled := !slices.ContainsFunc(vols, func(v model.Volume) bool { return v.Attachment.State != model.Attached || v.Modifying() })
	if settled {
		return again, nil
	}
	has, err := n.disksOf(ctx, inst.ID, hypervisor.Status{State: hypervisor.StateRunning})
	if err != nil {
		return again, err
	}
	for i := range vols {
		v := &vols[i]
		switch {
		case v.Attachment.State.Leaving():
			busy, err := n.unplug(ctx, inst, v)
			if err != nil {
				return again, err
			}
			if busy && (again == 0 || again > busyAgain) {
				again = busyAgain
			}
			continue
		case v.Attachment.State == model.Attaching:
			if err := n.plug(ctx, inst.ID, v, slices.Contains(has, v.ID)); err != nil {
				return again, err
			}
		}
		if v.Modifying() {
			if err := n.modifyVolume(ctx, v.ID, inst.ID); err != nil {
				return again, err
			}
		}
	}
	return again, nil
}

// plug attaches a volume to a running machine and records it.
func (n *Node) plug(ctx context.Context, machine string, vol *model.Volume, there bool) error {
	if vol.NextHead != "" {
		return fmt.Errorf("attaching volume %s: %w", vol.ID, errOtherSet)
	}
	if !there {
		err := n.makeDisk(ctx, vol.ID, func(*model.Volume) bool { return false })
		if errors.Is(err, errVanished) {
			return n.giveBack(ctx, machine, vol, err)
		}
		if err != nil {
			return err
		}
	}
	p, err := n.plugger()
	if err != nil {
		return err
	}
	var disk hypervisor.Disk
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		disk, err = n.diskOf(tx, vol)
		return err
	})
	if err != nil {
		return err
	}
	// Repeated even if the disk is there: the driver may have been ended before
	// it recorded it.
	if err := p.AttachDisk(ctx, machine, disk); err != nil {
		return fmt.Errorf("attaching volume %s to machine %s: %w", vol.ID, machine, err)
	}
	return n.attachmentIs(ctx, vol.ID, model.Attaching, model.Attached)
}

// giveBack ends the attachment of a volume that cannot be attached, and notes why.
func (n *Node) giveBack(ctx context.Context, machine string, vol *model.Volume, cause error) error {
	n.Logger.Error("a volume cannot be attached", "volume", vol.ID, "instance", machine, "error", cause)
	return n.Store.Update(ctx, func(tx *store.Tx) error {
		now, err := records.Volumes.Get(tx, vol.ID)
		if err != nil || now.Attachment == nil || now.Attachment.InstanceID != machine || now.Attachment.State != model.Attaching {
			return err
		}
		inst, err := records.Instances.Get(tx, machine)
		if err != nil {
			return err
		}
		head, err := records.Layers.Get(tx, now.Head)
		if err != nil {
			return err
		}
		inst.Volumes = slices.DeleteFunc(inst.Volumes, func(v model.InstanceVolume) bool { return v.VolumeID == vol.ID })
		now.State, now.Attachment = model.VolumeAvailable, nil
		head.Damage, head.Checked = cause.Error(), n.Now().UTC()
		return errors.Join(records.Layers.Put(tx, &head), records.Instances.Put(tx, &inst), records.Volumes.Put(tx, &now))
	})
}

// attachmentIs takes a volume's attachment from one state to another.
func (n *Node) attachmentIs(ctx context.Context, id string, from, to model.AttachmentState) error {
	return n.editVolume(ctx, id, func(tx *store.Tx, v *model.Volume) error {
		if v.Attachment == nil || v.Attachment.State != from {
			return nil
		}
		at := *v.Attachment
		at.State = to
		v.Attachment = &at
		inst, err := records.Instances.Get(tx, at.InstanceID)
		if err != nil {
			return err
		}
		for i := range inst.Volumes {
			if inst.Volumes[i].VolumeID == id {
				inst.Volumes[i].State = to
			}
		}
		return records.Instances.Put(tx, &inst)
	})
}

// unplug takes a volume from a running machine, unless its guest holds it.
func (n *Node) unplug(ctx context.Context, inst *model.Instance, vol *model.Volume) (busy bool, err error) {
	p, err := n.plugger()
	if err != nil {
		return false, err
	}
	err = p.DetachDisk(ctx, inst.ID, vol.ID, vol.Attachment.Force)
	switch {
	case errors.Is(err, hypervisor.ErrBusy):
		if vol.Attachment.State == model.Busy {
			return true, nil
		}
		return true, n.attachmentIs(ctx, vol.ID, model.Detaching, model.Busy)
	case err != nil:
		return false, fmt.Errorf("detaching volume %s from machine %s: %w", vol.ID, inst.ID, err)
	}
	return false, n.detached(ctx, inst, vol.ID)
}

// detached records that a volume is no longer its instance's.
func (n *Node) detached(ctx context.Context, inst *model.Instance, id string) error {
	if !inst.Booted { // what was made for its first start is made now
		if err := n.makeDisk(ctx, id, madeFor(inst)); err != nil && !errors.Is(err, errVanished) {
			return err
		}
	}
	err := n.Store.Update(ctx, func(tx *store.Tx) error {
		vol, err := records.Volumes.Get(tx, id)
		if err != nil || vol.Attachment == nil || vol.Attachment.InstanceID != inst.ID || !vol.Attachment.State.Leaving() {
			return err
		}
		got, err := records.Instances.Get(tx, inst.ID)
		if err != nil {
			return err
		}
		got.Volumes = slices.DeleteFunc(got.Volumes, func(v model.InstanceVolume) bool { return v.VolumeID == id })
		vol.State, vol.Attachment = model.VolumeAvailable, nil
		if err := records.Volumes.Put(tx, &vol); err != nil {
			return err
		}
		return records.Instances.Put(tx, &got)
	})
	if err == nil {
		inst.Volumes = slices.DeleteFunc(slices.Clone(inst.Volumes), func(v model.InstanceVolume) bool { return v.VolumeID == id })
	}
	return err
}
