package node

import (
	"cmp"
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

// Every snapshot makes a volume's chain longer by a layer, and every layer costs
// memory, open files and time for what is read through it. A volume whose chain is
// too long has its head made to read from the layers that it began with, or from
// none: QEMU copies what is in between into the head, while its guest goes on.
//
// Which layer that is comes into the volume's record first: killed at any point,
// the head's file says whether the work was done, and both chains show the same disk.

const (
	// maxDepth is how many layers a volume's chain may have.
	maxDepth = 8
	// flattenRate is how fast a chain is shortened, in bytes per second.
	flattenRate = 64 << 20
	// flattenAgain is when to look again at a volume that was busy.
	flattenAgain = 20 * time.Second
)

func (n *Node) maxDepth() int { return cmp.Or(n.ChainDepth, maxDepth) }

// reconcileFlatten shortens the chain of a volume whose machine runs, if it is too long.
func (n *Node) reconcileFlatten(ctx context.Context, id string) (time.Duration, error) {
	f, ok := n.Driver.(hypervisor.Flattener)
	if !ok {
		return 0, nil
	}
	if err := n.settleFlattening(ctx, id); err != nil {
		return 0, err
	}
	vol, err := n.planFlatten(ctx, id, func(v *model.Volume) bool { return v.Attachment != nil && v.Attachment.State == model.Attached })
	if err != nil || vol == nil {
		return 0, err
	}
	machine := vol.Attachment.InstanceID
	st, err := n.status(ctx, machine)
	if err != nil || st.State != hypervisor.StateRunning {
		return 0, err // its start looks again
	}
	begun := n.Now()
	err = f.FlattenDisk(ctx, machine, id, vol.Flattening.Base, flattenRate)
	switch {
	case errors.Is(err, hypervisor.ErrBusy):
		return flattenAgain, nil
	case errors.Is(err, hypervisor.ErrNotRunning), errors.Is(err, hypervisor.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("shortening the chain of volume %s: %w", id, err)
	}
	n.Logger.Info("the chain of a volume was shortened", "volume", id, "took", n.Now().Sub(begun).Round(time.Millisecond))
	return 0, n.settleFlattening(ctx, id)
}

// flattenIdle shortens the chain of a volume that nothing uses, if it is too long.
// What is encrypted waits until a machine has it.
func (n *Node) flattenIdle(ctx context.Context, id string) error {
	if err := n.settleFlattening(ctx, id); err != nil {
		return err
	}
	vol, err := n.planFlatten(ctx, id, func(v *model.Volume) bool { return v.Attachment == nil && v.State == model.VolumeAvailable })
	if err != nil || vol == nil {
		return err
	}
	if err := n.CheckSpace(); err != nil {
		return err
	}
	if err := n.Layers.Rebase(ctx, vol.Head, vol.Flattening.Base); err != nil {
		return fmt.Errorf("shortening the chain of volume %s: %w", id, err)
	}
	return n.settleFlattening(ctx, id)
}

// planFlatten writes down what is to be done, and returns the volume if there is
// something: it matches, nothing else is being done with it and its chain is too long.
func (n *Node) planFlatten(ctx context.Context, id string, match func(*model.Volume) bool) (planned *model.Volume, err error) {
	err = n.Store.Update(ctx, func(tx *store.Tx) error {
		planned = nil
		vol, err := records.Volumes.Get(tx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if vol.NextHead != "" || vol.Modifying() || !match(&vol) {
			return nil
		}
		chain, err := chain(tx, vol.Head)
		if err != nil {
			return err
		}
		slices.Reverse(chain) // the head first
		if chain[0].Node != n.ID || len(chain) <= n.maxDepth() {
			return nil
		}
		if vol.Attachment == nil && slices.ContainsFunc(chain, func(l model.Layer) bool { return l.Key != "" }) {
			return nil
		}
		base := flattenBase(chain, origin(tx, &vol), n.maxDepth()/2)
		if base == chain[0].Parent {
			return nil
		}
		vol.Flattening = &model.Flattening{Head: vol.Head, Base: base}
		planned = &vol
		return records.Volumes.Put(tx, &vol)
	})
	return planned, err
}

// origin is the layer of the snapshot that a volume was made of, if it is still there.
func origin(tx *store.Tx, vol *model.Volume) string {
	snap, err := records.Snapshots.Get(tx, vol.SnapshotID)
	if err != nil {
		return ""
	}
	return snap.LayerID
}

// flattenBase is the layer that a head shall read from: the one that its volume
// began with, because it shares that with others, or none if there are more layers
// below that than kept. Of a volume whose snapshot is
// gone it is the end of the chain, which is most often an image's.
func flattenBase(chain []model.Layer, origin string, kept int) string {
	at := slices.IndexFunc(chain, func(l model.Layer) bool { return l.ID == origin })
	if at < 1 {
		at = len(chain) - 1
	}
	if len(chain)-at > kept {
		return ""
	}
	return chain[at].ID
}

// settleFlattening brings the records up to date with what a head's file says.
func (n *Node) settleFlattening(ctx context.Context, id string) error {
	vol, _, err := n.volume(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && vol.Flattening == nil {
		return nil
	}
	if err != nil {
		return err
	}
	f := *vol.Flattening
	info, err := n.Layers.Info(f.Head)
	if err != nil && !errors.Is(err, layer.ErrNotFound) {
		return err
	}
	done := err == nil && info.Parent == f.Base
	err = n.editVolume(ctx, id, func(tx *store.Tx, v *model.Volume) error {
		if v.Flattening == nil || *v.Flattening != f {
			return nil
		}
		v.Flattening = nil
		head, err := records.Layers.Get(tx, f.Head)
		if errors.Is(err, store.ErrNotFound) || err == nil && !done {
			return nil
		}
		if err != nil {
			return err
		}
		head.Parent = f.Base
		return records.Layers.Put(tx, &head)
	})
	n.wakeCollector()
	return err
}
