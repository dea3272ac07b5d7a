package node

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/layer"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// spaceReserve is kept free for the store: without space for its log the daemon
// has to end, and takes every running build and request with it.
const spaceReserve = 96 << 20

// poolsEvery is how often the node measures its pools.
const poolsEvery = 5 * time.Second

// Pool is where volumes of some types have their layers: a pool of the layer store.
type Pool struct {
	Name    string   // of the layer store's; "" is its own directory
	Types   []string // of volumes; none for the store's own: all others
	Reserve int64    // bytes of its file system that are kept free; 0 is the default
	Quota   int64    // bytes that all its layers together may take; 0 for any number
}

// CheckSpace refuses to make a disk or a blob when the layer store's file system is nearly full.
func (n *Node) CheckSpace() error { return checkFree(n.Layers.Dir(), spaceReserve) }

// checkFree refuses to write to a file system that is nearly full.
func checkFree(dir string, reserve int64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("measuring the free space of %s: %w", dir, err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < reserve {
		return fmt.Errorf("%s has %d MiB free, and %d MiB are kept for bundt itself: free some space: %w", dir, free>>20, reserve>>20, disk.ErrNoSpace)
	}
	return nil
}

// poolOf is where volumes of a kind have their layers.
func (n *Node) poolOf(kind model.VolumeKind) Pool {
	typ := cmp.Or(kind.Type, model.DefaultVolumeType)
	own := Pool{}
	for _, p := range n.Pools {
		if slices.Contains(p.Types, typ) {
			return p
		}
		if p.Name == "" {
			own = p
		}
	}
	return own
}

// checkPool refuses to make a layer in a pool that is full, or nearly.
func (n *Node) checkPool(ctx context.Context, p Pool) error {
	if err := checkFree(n.Layers.PoolDir(p.Name), cmp.Or(p.Reserve, spaceReserve)); err != nil || p.Quota == 0 {
		return err
	}
	used, err := n.Layers.PoolBytes(ctx, p.Name)
	if err == nil && used >= p.Quota {
		err = fmt.Errorf("the volumes in %s take %d MiB, of %d MiB that they may: delete what is not needed, or raise the quota: %w", n.Layers.PoolDir(p.Name), used>>20, p.Quota>>20, disk.ErrNoSpace)
	}
	return err
}

// layersIn is the layer store with a pool that new layers go to.
func (n *Node) layersIn(p Pool) (*layer.Store, error) { return n.Layers.In(p.Name) }

// fullTypes are the types of volumes whose pool is full, each with the reason.
func (n *Node) fullTypes(ctx context.Context) map[string]string {
	full, known := map[string]string{}, map[string]string{}
	for _, typ := range model.VolumeTypes() {
		p := n.poolOf(model.VolumeKind{Type: typ})
		reason, measured := known[p.Name]
		if !measured {
			if err := n.checkPool(ctx, p); err != nil {
				reason = err.Error()
			}
			known[p.Name] = reason
		}
		if reason != "" {
			full[typ] = reason
		}
	}
	return full
}

// followPools tells the cloud which pools are full, so that it refuses new volumes
// before any is made.
func (n *Node) followPools(ctx context.Context) {
	tick := time.NewTicker(poolsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := n.notePools(ctx); err != nil && ctx.Err() == nil {
			n.Logger.Error("telling the cloud which pools are full", "error", err)
		}
	}
}

func (n *Node) notePools(ctx context.Context) error {
	full := n.fullTypes(ctx)
	var rec model.Node
	err := n.Store.View(ctx, func(tx *store.Tx) (err error) {
		rec, err = records.Nodes.Get(tx, n.ID)
		return err
	})
	// The reason has numbers in it: what counts is which types are full.
	if err != nil || slices.Equal(slices.Sorted(maps.Keys(full)), slices.Sorted(maps.Keys(rec.FullTypes))) {
		return err
	}
	return n.Store.Update(ctx, func(tx *store.Tx) error {
		rec, err := records.Nodes.Get(tx, n.ID)
		if err != nil {
			return err
		}
		rec.FullTypes = full
		return records.Nodes.Put(tx, &rec)
	})
}
