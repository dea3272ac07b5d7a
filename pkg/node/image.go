package node

import (
	"context"
	"fmt"
	"slices"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// A live image is made in four steps, each of which can be repeated:
//
//  1. one transaction gives every volume a next head, a layer on its present one;
//  2. the files of the next heads are made;
//  3. QEMU swaps all disks to their next heads at once (not for a halted guest);
//  4. one transaction makes the next heads the heads, the old ones frozen layers,
//     the snapshots completed and the image available.
//
// Ended between 1 and 4, the next heads lie on the old ones whether QEMU has
// swapped or not, so going on from any point gives the same volumes.

// swap is one volume's change of head.
type swap struct {
	volumeID, snapshotID string
	old, next            model.Layer
	resumed              bool // begun before, perhaps under a running guest
}

// takeImages makes the pending images of an instance that are due: those without
// a reboot at once, the others when the guest has halted for its reboot.
func (n *Node) takeImages(ctx context.Context, inst *model.Instance, st hypervisor.Status) error {
	images, err := n.pendingImages(ctx, inst.ID)
	if err != nil {
		return err
	}
	for i := range images {
		img := &images[i]
		rebooting := inst.Desired == model.InstanceRunning && inst.RebootsRequested > inst.RebootsDone
		if st.State != hypervisor.StateStopped && !img.NoReboot && rebooting {
			continue
		}
		if err := n.takeImage(ctx, img, st); err != nil {
			return fmt.Errorf("making image %s: %w", img.ID, err)
		}
	}
	return nil
}

func (n *Node) pendingImages(ctx context.Context, instanceID string) (out []model.Image, err error) {
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		images, err := records.Images.List(tx)
		out = out[:0]
		for _, img := range images {
			if img.SourceInstance == instanceID && img.State == model.ImagePending {
				out = append(out, img)
			}
		}
		return err
	})
	return out, err
}

func (n *Node) takeImage(ctx context.Context, img *model.Image, st hypervisor.Status) error {
	swaps, err := n.planSwaps(ctx, img)
	if err != nil {
		return err
	}
	consistency, cause := n.swapHeads(ctx, img.SourceInstance, swaps, st)
	if cause != nil {
		if ctx.Err() != nil {
			return cause
		}
		now, err := n.status(ctx, img.SourceInstance)
		if err != nil {
			return err
		}
		if now.State == hypervisor.StateStopped && st.State != hypervisor.StateStopped {
			return cause // the machine ended meanwhile: go on as for a halted one
		}
		return n.imageFailed(ctx, img, swaps, cause)
	}
	for _, s := range swaps {
		if err := n.Layers.Freeze(ctx, s.old.ID); err != nil {
			return fmt.Errorf("freezing layer %s: %w", s.old.ID, err)
		}
	}
	return n.imageDone(ctx, img.ID, swaps, consistency)
}

// planSwaps is step 1.
func (n *Node) planSwaps(ctx context.Context, img *model.Image) (swaps []swap, err error) {
	err = n.Store.Update(ctx, func(tx *store.Tx) error {
		swaps = swaps[:0]
		for _, b := range img.BlockDevices {
			if b.SnapshotID == "" {
				continue // a blank volume
			}
			snap, err := records.Snapshots.Get(tx, b.SnapshotID)
			if err != nil {
				return err
			}
			if snap.State == model.SnapshotCompleted {
				continue // added by the request
			}
			vol, err := records.Volumes.Get(tx, snap.VolumeID)
			if err != nil {
				return err
			}
			s := swap{volumeID: vol.ID, snapshotID: snap.ID}
			if s.old, err = records.Layers.Get(tx, vol.Head); err != nil {
				return err
			}
			s.resumed = vol.NextHead != ""
			if !s.resumed {
				vol.NextHead = model.NewID(model.LayerPrefix)
				next := model.Layer{ID: vol.NextHead, Parent: s.old.ID, SizeBytes: s.old.SizeBytes, Node: n.ID}
				if err := records.Layers.Put(tx, &next); err != nil {
					return err
				}
				if err := records.Volumes.Put(tx, &vol); err != nil {
					return err
				}
			}
			if s.next, err = records.Layers.Get(tx, vol.NextHead); err != nil {
				return err
			}
			swaps = append(swaps, s)
		}
		return nil
	})
	return swaps, err
}

// swapHeads is steps 2 and 3.
func (n *Node) swapHeads(ctx context.Context, instanceID string, swaps []swap, st hypervisor.Status) (model.Consistency, error) {
	if err := n.CheckSpace(); err != nil {
		return "", err
	}
	disks := make([]hypervisor.SnapshotDisk, 0, len(swaps))
	for _, s := range swaps {
		if err := n.Layers.CreateSnapshotOverlay(ctx, s.next.ID, s.next.Parent, s.next.SizeBytes); err != nil {
			return "", fmt.Errorf("making the new head of volume %s: %w", s.volumeID, err)
		}
		disks = append(disks, hypervisor.SnapshotDisk{DiskID: s.volumeID, LayerID: s.next.ID, Path: n.Layers.Path(s.next.ID)})
	}
	if st.State == hypervisor.StateStopped {
		resumed := slices.ContainsFunc(swaps, func(s swap) bool { return s.resumed })
		if st.GuestHalted && !resumed {
			return model.ConsistencyStopped, nil
		}
		// QEMU may have swapped before the guest halted: then the old head is
		// as the running guest left it.
		return model.ConsistencyCrash, nil
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

// imageDone is step 4.
func (n *Node) imageDone(ctx context.Context, id string, swaps []swap, c model.Consistency) error {
	return n.Store.Update(ctx, func(tx *store.Tx) error {
		for _, s := range swaps {
			vol, err := records.Volumes.Get(tx, s.volumeID)
			if err != nil {
				return err
			}
			snap, err := records.Snapshots.Get(tx, s.snapshotID)
			if err != nil {
				return err
			}
			vol.Head, vol.NextHead = s.next.ID, ""
			s.old.Frozen = true
			snap.LayerID, snap.State = s.old.ID, model.SnapshotCompleted
			if err := records.Volumes.Put(tx, &vol); err != nil {
				return err
			}
			if err := records.Layers.Put(tx, &s.old); err != nil {
				return err
			}
			if err := records.Snapshots.Put(tx, &snap); err != nil {
				return err
			}
		}
		img, err := records.Images.Get(tx, id)
		if err != nil {
			return err
		}
		img.State, img.Consistency = model.ImageAvailable, c
		if l, err := records.Lineages.Get(tx, id); err == nil {
			l.Consistency = c
			if err := records.Lineages.Put(tx, &l); err != nil {
				return err
			}
		}
		return records.Images.Put(tx, &img)
	})
}

// imageFailed takes steps 1 and 2 back. It is called only when the running
// machine still has its old heads.
func (n *Node) imageFailed(ctx context.Context, img *model.Image, swaps []swap, cause error) error {
	n.Logger.Error("making an image failed", "image", img.ID, "instance", img.SourceInstance, "error", cause)
	reason := model.Reason{Code: codeInternal, Message: cause.Error()}
	err := n.Store.Update(ctx, func(tx *store.Tx) error {
		for _, s := range swaps {
			vol, err := records.Volumes.Get(tx, s.volumeID)
			if err != nil {
				return err
			}
			snap, err := records.Snapshots.Get(tx, s.snapshotID)
			if err != nil {
				return err
			}
			vol.NextHead = ""
			snap.State, snap.StateReason = model.SnapshotError, reason
			if err := records.Volumes.Put(tx, &vol); err != nil {
				return err
			}
			if err := records.Snapshots.Put(tx, &snap); err != nil {
				return err
			}
			if err := records.Layers.Delete(tx, s.next.ID); err != nil {
				return err
			}
		}
		got, err := records.Images.Get(tx, img.ID)
		if err != nil {
			return err
		}
		got.State, got.StateReason = model.ImageFailed, reason
		return records.Images.Put(tx, &got)
	})
	n.wakeCollector()
	return err
}
