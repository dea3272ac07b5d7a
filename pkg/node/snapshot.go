package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// Snapshots of one moment are a set: those of an image, of one CreateSnapshots,
// or a single one. A set is taken in four steps, each of which can be repeated:
//
//  1. one transaction gives every volume a next head, a layer on its present one;
//  2. the files of the next heads are made;
//  3. QEMU swaps all disks to their next heads at once (not for a halted guest,
//     and not for volumes that no machine has);
//  4. one transaction makes the next heads the heads, the old ones frozen layers,
//     the snapshots completed and the image, if all are, available.
//
// Ended between 1 and 4, the next heads lie on the old ones whether QEMU has
// swapped or not, so going on from any point gives the same volumes.

// set is what is to be taken at one moment.
type set struct {
	id    string
	snaps []model.Snapshot
	image *model.Image // that the set is made for, if any
	begun bool         // step 1 was done before
}

// swap is one volume's change of head.
type swap struct {
	volumeID, snapshotID string
	old, next            model.Layer
	pool                 Pool
	resumed              bool // begun before, perhaps under a running guest
}

// errOtherSet: another set of the volume is in progress. It is tried again.
var errOtherSet = errors.New("another snapshot of the volume is being taken")

// takeSnapshots takes the pending snapshots of an instance's volumes that are
// due: all at once, but those of an image with a reboot when the guest has halted
// for it.
func (n *Node) takeSnapshots(ctx context.Context, inst *model.Instance, st hypervisor.Status) error {
	sets, err := n.pendingSets(ctx, func(v *model.Volume) bool {
		return v.Attachment != nil && v.Attachment.InstanceID == inst.ID
	})
	if err != nil {
		return err
	}
	if len(sets) == 0 {
		return nil
	}
	// Read after the sets: an image is asked for together with its reboot.
	now, err := n.instance(ctx, inst.ID)
	if err != nil {
		return err
	}
	rebooting := now.Desired == model.InstanceRunning && now.RebootsRequested > now.RebootsDone
	for i := range sets {
		s := &sets[i]
		if st.State != hypervisor.StateStopped && s.image != nil && !s.image.NoReboot && rebooting {
			continue
		}
		if err := n.takeSet(ctx, s, inst.ID, st); err != nil {
			return fmt.Errorf("taking snapshots of instance %s: %w", inst.ID, err)
		}
	}
	return nil
}

// pendingSets returns what is to be taken of the volumes that match: first what
// has begun, then the oldest, so that no two sets of a volume ever mix.
func (n *Node) pendingSets(ctx context.Context, match func(*model.Volume) bool) (sets []set, err error) {
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		snaps, err := records.Snapshots.List(tx)
		if err != nil {
			return err
		}
		sets = sets[:0]
		for _, s := range snaps {
			if s.State != model.SnapshotPending || s.VolumeID == "" { // without a volume it is a copy
				continue
			}
			vol, err := records.Volumes.Get(tx, s.VolumeID)
			if errors.Is(err, store.ErrNotFound) || err == nil && !match(&vol) {
				continue
			}
			if err != nil {
				return err
			}
			at := slices.IndexFunc(sets, func(o set) bool { return o.id == s.Set })
			if at < 0 {
				at = len(sets)
				sets = append(sets, set{id: s.Set})
				if img, err := records.Images.Get(tx, s.Set); err == nil {
					sets[at].image = &img
				} else if !errors.Is(err, store.ErrNotFound) {
					return err
				}
			}
			sets[at].snaps = append(sets[at].snaps, s)
			sets[at].begun = sets[at].begun || vol.NextFor == s.Set
		}
		return nil
	})
	slices.SortFunc(sets, func(a, b set) int {
		if a.begun != b.begun {
			if a.begun {
				return -1
			}
			return 1
		}
		return cmp.Or(a.snaps[0].Started.Compare(b.snaps[0].Started), cmp.Compare(a.id, b.id))
	})
	return sets, err
}

// takeSet takes a set of volumes of an instance, or of volumes that are attached
// to none ("").
func (n *Node) takeSet(ctx context.Context, s *set, instanceID string, st hypervisor.Status) error {
	has, err := n.disksOf(ctx, instanceID, st)
	if err != nil {
		return err
	}
	if err := n.settleSizes(ctx, s, instanceID, has); err != nil {
		return err
	}
	swaps, err := n.planSwaps(ctx, s, instanceID)
	if err != nil {
		return err
	}
	consistency, cause := n.swapHeads(ctx, instanceID, swaps, has, st)
	if cause != nil {
		if ctx.Err() != nil {
			return cause
		}
		now := hypervisor.Status{State: hypervisor.StateStopped}
		if instanceID != "" {
			if now, err = n.status(ctx, instanceID); err != nil {
				return err
			}
		}
		if now.State == hypervisor.StateStopped && st.State != hypervisor.StateStopped {
			return cause // the machine ended meanwhile: go on as for a halted one
		}
		return n.setFailed(ctx, s, swaps, cause)
	}
	for _, sw := range swaps {
		if err := n.Layers.Freeze(ctx, sw.old.ID); err != nil {
			return fmt.Errorf("freezing layer %s: %w", sw.old.ID, err)
		}
	}
	return n.setDone(ctx, s, swaps, consistency)
}

// settleSizes finishes what modifies the set's volumes: a next head has the size of
// the record, which the file may be ahead of.
func (n *Node) settleSizes(ctx context.Context, s *set, instanceID string, has []string) error {
	if s.begun {
		return nil // no modification goes on before it is done
	}
	for _, snap := range s.snaps {
		machine := ""
		if slices.Contains(has, snap.VolumeID) {
			machine = instanceID
		}
		if err := n.modifyVolume(ctx, snap.VolumeID, machine); err != nil {
			return err
		}
	}
	return nil
}

// planSwaps is step 1. A snapshot that was deleted meanwhile is left out, and one
// of a volume that changed hands, which the volume's new holder takes.
func (n *Node) planSwaps(ctx context.Context, s *set, instanceID string) (swaps []swap, err error) {
	err = n.Store.Update(ctx, func(tx *store.Tx) error {
		swaps = swaps[:0]
		for i := range s.snaps {
			snap, err := records.Snapshots.Get(tx, s.snaps[i].ID)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			vol, err := records.Volumes.Get(tx, snap.VolumeID)
			if err != nil {
				return err
			}
			holder := ""
			if vol.Attachment != nil {
				holder = vol.Attachment.InstanceID
			}
			if holder != instanceID || snap.State != model.SnapshotPending {
				continue
			}
			sw, err := n.planSwap(tx, s.id, &vol)
			if err != nil {
				return err
			}
			sw.snapshotID = snap.ID
			swaps = append(swaps, sw)
		}
		return nil
	})
	return swaps, err
}

func (n *Node) planSwap(tx *store.Tx, setID string, vol *model.Volume) (swap, error) {
	s := swap{volumeID: vol.ID, resumed: vol.NextHead != "", pool: n.poolOf(vol.VolumeKind)}
	var err error
	if s.old, err = records.Layers.Get(tx, vol.Head); err != nil {
		return s, err
	}
	if s.resumed && vol.NextFor != setID {
		return s, fmt.Errorf("volume %s: %w", vol.ID, errOtherSet)
	}
	if !s.resumed {
		vol.NextHead, vol.NextFor = model.NewID(model.LayerPrefix), setID
		next := model.Layer{ID: vol.NextHead, Parent: s.old.ID, SizeBytes: s.old.SizeBytes, Node: n.ID, Key: vol.Key}
		if err := records.Layers.Put(tx, &next); err != nil {
			return s, err
		}
		if err := records.Volumes.Put(tx, vol); err != nil {
			return s, err
		}
	}
	s.next, err = records.Layers.Get(tx, vol.NextHead)
	return s, err
}

// swapHeads is steps 2 and 3; has are the disks that the machine has.
func (n *Node) swapHeads(ctx context.Context, instanceID string, swaps []swap, has []string, st hypervisor.Status) (model.Consistency, error) {
	if err := n.CheckSpace(); err != nil {
		return "", err
	}
	var disks []hypervisor.SnapshotDisk
	for _, s := range swaps {
		key, err := n.layerKey(ctx, &s.next)
		if err != nil {
			return "", err
		}
		if err := n.checkPool(ctx, s.pool); err != nil {
			return "", err
		}
		layers, err := n.layersIn(s.pool)
		if err != nil {
			return "", err
		}
		if err := layers.CreateSnapshotOverlay(ctx, s.next.ID, s.next.Parent, s.next.SizeBytes, disk.Passphrase(key.Secret)); err != nil {
			return "", fmt.Errorf("making the new head of volume %s: %w", s.volumeID, err)
		}
		if slices.Contains(has, s.volumeID) {
			disks = append(disks, hypervisor.SnapshotDisk{DiskID: s.volumeID, LayerID: s.next.ID, Path: n.Layers.Path(s.next.ID), Key: key})
		}
	}
	if len(disks) == 0 {
		resumed := slices.ContainsFunc(swaps, func(s swap) bool { return s.resumed })
		if resumed || instanceID != "" && st.State == hypervisor.StateStopped && !st.GuestHalted {
			// QEMU may have swapped before the guest halted: then the old head is
			// as the running guest left it.
			return model.ConsistencyCrash, nil
		}
		return model.ConsistencyStopped, nil
	}
	sn, ok := n.Driver.(hypervisor.Snapshotter)
	if !ok {
		return "", fmt.Errorf("snapshotting a running machine: %w (driver %s)", hypervisor.ErrUnsupported, n.Driver.Name())
	}
	res, err := sn.Snapshot(ctx, instanceID, disks)
	if err != nil {
		// Repeating it tells a refusal from an answer that was lost: disks that
		// have been swapped already are success.
		res, err = sn.Snapshot(ctx, instanceID, disks)
	}
	if err != nil {
		return "", fmt.Errorf("snapshotting machine %s: %w", instanceID, err)
	}
	return res.Consistency, nil
}

// setDone is step 4. Whoever else went on with the same set may have done it.
func (n *Node) setDone(ctx context.Context, s *set, swaps []swap, c model.Consistency) error {
	return n.Store.Update(ctx, func(tx *store.Tx) error {
		for _, sw := range swaps {
			if err := swapDone(tx, sw, c); err != nil {
				return err
			}
		}
		if s.image == nil {
			return nil
		}
		return imageDone(tx, s.image.ID, n.Now().UTC())
	})
}

func swapDone(tx *store.Tx, s swap, c model.Consistency) error {
	vol, err := records.Volumes.Get(tx, s.volumeID)
	if err != nil {
		return err
	}
	if vol.NextHead != s.next.ID {
		return nil
	}
	vol.Head, vol.NextHead, vol.NextFor = s.next.ID, "", ""
	if err := records.Volumes.Put(tx, &vol); err != nil {
		return err
	}
	old := s.old
	old.Frozen = true
	if err := records.Layers.Put(tx, &old); err != nil {
		return err
	}
	snap, err := records.Snapshots.Get(tx, s.snapshotID)
	if errors.Is(err, store.ErrNotFound) {
		return nil // deleted meanwhile: just a layer more
	}
	if err != nil {
		return err
	}
	snap.LayerID, snap.State, snap.Consistency = s.old.ID, model.SnapshotCompleted, c
	snap.SizeGiB = max(snap.SizeGiB, vol.SizeGiB) // it may have grown since it was asked for
	return records.Snapshots.Put(tx, &snap)
}

// worst orders consistencies.
var worst = []model.Consistency{model.ConsistencyStopped, model.ConsistencyFilesystem, model.ConsistencyCrash}

// imageDone makes an image available when the last of its snapshots is completed.
func imageDone(tx *store.Tx, id string, now time.Time) error {
	img, err := records.Images.Get(tx, id)
	if err != nil || img.State != model.ImagePending {
		return err
	}
	c := model.ConsistencyStopped
	for i := range img.BlockDevices {
		b := &img.BlockDevices[i]
		if b.SnapshotID == "" {
			continue
		}
		snap, err := records.Snapshots.Get(tx, b.SnapshotID)
		if err != nil {
			return err
		}
		if snap.State != model.SnapshotCompleted {
			return nil
		}
		b.SizeGiB = max(b.SizeGiB, snap.SizeGiB)
		if slices.Index(worst, snap.Consistency) > slices.Index(worst, c) {
			c = snap.Consistency
		}
	}
	img.State, img.Consistency = model.ImageAvailable, c
	if img.Made != nil {
		img.Made.Finished = now
	}
	if img.Build != "" {
		img.State = model.ImageTransient // its build has yet to pass
	}
	if l, err := records.Lineages.Get(tx, id); err == nil {
		l.Consistency = c
		if err := records.Lineages.Put(tx, &l); err != nil {
			return err
		}
	}
	return records.Images.Put(tx, &img)
}

// setFailed takes steps 1 and 2 back. It is called only when the volumes still
// have their old heads.
func (n *Node) setFailed(ctx context.Context, s *set, swaps []swap, cause error) error {
	n.Logger.Error("taking snapshots failed", "set", s.id, "error", cause)
	reason := model.Reason{Code: codeInternal, Message: cause.Error()}
	err := n.Store.Update(ctx, func(tx *store.Tx) error {
		for _, sw := range swaps {
			if err := swapFailed(tx, sw, reason); err != nil {
				return err
			}
		}
		if s.image == nil {
			return nil
		}
		got, err := records.Images.Get(tx, s.image.ID)
		if err != nil {
			return err
		}
		got.State, got.StateReason = model.ImageFailed, reason
		return records.Images.Put(tx, &got)
	})
	n.wakeCollector()
	return err
}

func swapFailed(tx *store.Tx, s swap, reason model.Reason) error {
	vol, err := records.Volumes.Get(tx, s.volumeID)
	if err != nil {
		return err
	}
	if vol.NextHead == s.next.ID {
		vol.NextHead, vol.NextFor = "", ""
		if err := records.Volumes.Put(tx, &vol); err != nil {
			return err
		}
		if err := records.Layers.Delete(tx, s.next.ID); err != nil {
			return err
		}
	}
	snap, err := records.Snapshots.Get(tx, s.snapshotID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	snap.State, snap.StateReason = model.SnapshotError, reason
	return records.Snapshots.Put(tx, &snap)
}
