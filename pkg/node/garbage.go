package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

const (
	collectEvery = 10 * time.Minute
	// uploadKept is how long an upload waits for a call that uses it.
	uploadKept = time.Hour
	// tokenKept is how long a client token is remembered.
	tokenKept = 24 * time.Hour
	// buildKept is how long a finished build is shown.
	buildKept = 7 * 24 * time.Hour
	// memoryReserve is the share of the host's memory that guests do not get.
	memoryReserve = 10 // one tenth
)

func (n *Node) wakeCollector() {
	select {
	case n.gc <- struct{}{}:
	default:
	}
}

// collectGarbage frees what nothing uses any more, when told and now and then.
func (n *Node) collectGarbage(ctx context.Context) {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.gc:
		}
		if err := n.Collect(ctx); err != nil && ctx.Err() == nil {
			n.Logger.Error("collecting garbage failed, trying again later", "error", err)
		}
	}
}

// Collect marks the layers and blobs that are in use and sweeps the others:
// records first, so that a file is never missing that a record names.
func (n *Node) Collect(ctx context.Context) error {
	if _, err := n.Layers.SweepTemp(uploadKept); err != nil {
		return fmt.Errorf("sweeping torn writes: %w", err)
	}
	if err := n.sweepArriving(); err != nil {
		return fmt.Errorf("sweeping downloads that nobody went on with: %w", err)
	}
	// Files are listed before the records: what is made in between has a record
	// or a pin by the time the records are read.
	files, err := n.Layers.List()
	if err != nil {
		return fmt.Errorf("listing layers: %w", err)
	}
	blobs, err := n.Layers.ListBlobs()
	if err != nil {
		return fmt.Errorf("listing blobs: %w", err)
	}
	var use usage
	err = n.Store.Update(ctx, func(tx *store.Tx) error {
		if err := n.emptyBin(tx); err != nil {
			return err
		}
		if err := n.forgetCached(tx); err != nil {
			return err
		}
		if use, err = readUsage(tx); err != nil {
			return err
		}
		if err := n.forgetOld(tx, use); err != nil {
			return err
		}
		if err := forgetKeys(tx, use.keys); err != nil {
			return err
		}
		for _, l := range use.unmarked {
			if err := records.Layers.Delete(tx, l); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("marking what is in use: %w", err)
	}
	return n.deleteUnused(ctx, &use, files, blobs)
}

// deleteUnused deletes the files that nothing uses.
func (n *Node) deleteUnused(ctx context.Context, use *usage, files, blobs []string) error {
	for _, id := range files {
		if !use.layers[id] && !n.isPinned(id) {
			if err := n.Layers.Delete(ctx, id); err != nil {
				return fmt.Errorf("deleting layer %s: %w", id, err)
			}
		}
	}
	for _, b := range blobs {
		if use.blobs[b] || n.isPinned(b) || n.awaitsUse(b) {
			continue
		}
		if err := n.Layers.DeleteBlob(ctx, b); err != nil {
			return fmt.Errorf("deleting blob %s: %w", b, err)
		}
	}
	return nil
}

// awaitsUse reports whether a blob was put lately, so that a call that names it
// may still come.
func (n *Node) awaitsUse(digest string) bool {
	put, err := n.Layers.BlobTime(digest)
	return err == nil && n.Now().Sub(put) < uploadKept
}

func (n *Node) isPinned(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pinned[id] > 0
}

// usage is what the records of the store need.
type usage struct {
	layers   map[string]bool // reachable from a snapshot or a volume
	unmarked []string        // layer records that are not
	blobs    map[string]bool
	keys     map[string]bool // data keys of what exists
	alive    map[string]bool // ids and recipe digests of objects that exist
}

func readUsage(tx *store.Tx) (usage, error) {
	u := usage{layers: map[string]bool{}, keys: map[string]bool{}, blobs: map[string]bool{}, alive: map[string]bool{}}
	layers, err := records.Layers.List(tx)
	if err != nil {
		return u, err
	}
	parent, keyOf := make(map[string]string, len(layers)), make(map[string]string, len(layers))
	for _, l := range layers {
		parent[l.ID], keyOf[l.ID] = l.Parent, l.Key
	}
	mark := func(id string) {
		for ; id != "" && !u.layers[id]; id = parent[id] {
			u.layers[id], u.keys[keyOf[id]] = true, true
		}
	}
	if err := markVolumes(tx, mark, func(id string) { u.keys[id] = true }); err != nil {
		return u, err
	}
	if err := u.markTransfers(tx, mark); err != nil {
		return u, err
	}
	if err := markCached(tx, mark); err != nil {
		return u, err
	}
	for id := range parent {
		if !u.layers[id] {
			u.unmarked = append(u.unmarked, id)
		}
	}
	return u, u.markBoots(tx)
}

func markVolumes(tx *store.Tx, mark, key func(string)) error {
	snaps, err := records.Snapshots.List(tx)
	if err != nil {
		return err
	}
	for _, s := range snaps {
		mark(s.LayerID)
		mark(s.CopyOf)
		key(s.Key)
	}
	binned, err := records.BinSnapshots.List(tx)
	if err != nil {
		return err
	}
	for _, b := range binned {
		mark(b.Snapshot.LayerID)
		key(b.Snapshot.Key)
	}
	vols, err := records.Volumes.List(tx)
	if err != nil {
		return err
	}
	for _, v := range vols {
		mark(v.Head)
		mark(v.NextHead)
		key(v.Key)
	}
	return nil
}

// markCached marks what later builds may go on from.
func markCached(tx *store.Tx, mark func(string)) error {
	cached, err := records.CachedBuilds.List(tx)
	for _, c := range cached {
		for _, d := range c.Disks {
			mark(d.LayerID)
		}
	}
	return err
}

func (u *usage) markBlobs(b model.Boot) {
	for _, d := range b.Blobs() {
		u.blobs[d] = true
	}
}

func (u *usage) markImage(i *model.Image) {
	u.markBlobs(i.Boot)
	if i.Recipe != nil {
		u.blobs[i.Recipe.Lock] = true
	}
}

// markBoots marks the kernels and initrds of images and instances, and the
// recipes of builds under way.
func (u *usage) markBoots(tx *store.Tx) error {
	images, err := records.Images.List(tx)
	if err != nil {
		return err
	}
	for _, i := range images {
		u.alive[i.ID] = true
		u.markImage(&i)
	}
	binned, err := records.BinImages.List(tx)
	if err != nil {
		return err
	}
	for _, b := range binned {
		u.alive[b.Image.ID] = true
		u.markImage(&b.Image)
	}
	insts, err := records.Instances.List(tx)
	if err != nil {
		return err
	}
	for _, i := range insts {
		u.alive[i.ID] = true
		if i.State != model.InstanceTerminated {
			u.markBlobs(i.Boot)
		}
	}
	if err := u.markPipelines(tx); err != nil {
		return err
	}
	builds, err := records.Builds.List(tx)
	if err != nil {
		return err
	}
	for _, b := range builds {
		if b.State == model.BuildPending || b.State == model.BuildRunning {
			u.blobs[b.ContextDigest], u.alive[b.RecipeDigest] = true, true
		}
	}
	return nil
}

// markPipelines marks the recipes of pipelines, and of runs whose build has not begun.
func (u *usage) markPipelines(tx *store.Tx) error {
	pipelines, err := records.Pipelines.List(tx)
	for _, p := range pipelines {
		u.blobs[p.ContextDigest] = true
	}
	runs, rerr := records.PipelineRuns.List(tx)
	for _, r := range runs {
		if !r.State.Over() {
			u.blobs[r.Built.Recipe] = true
		}
	}
	return errors.Join(err, rerr)
}

// forgetOld removes records that only looked back: client tokens, finished
// builds, and lineage that no existing object descends from.
func (n *Node) forgetOld(tx *store.Tx, u usage) error {
	now := n.Now()
	tokens, err := records.Idempotent.List(tx)
	if err != nil {
		return err
	}
	for _, t := range tokens {
		if now.Sub(t.Created) > tokenKept {
			if err := records.Idempotent.Delete(tx, records.TokenKey(t.OwnerID, t.Action, t.Token)); err != nil {
				return err
			}
		}
	}
	builds, err := records.Builds.List(tx)
	if err != nil {
		return err
	}
	for _, b := range builds {
		if !b.Finished.IsZero() && now.Sub(b.Finished) > buildKept && !u.alive[b.ImageID] {
			if err := records.Builds.Delete(tx, b.ID); err != nil {
				return err
			}
		}
	}
	if err := forgetTransfers(tx, now); err != nil {
		return err
	}
	return forgetLineage(tx, u.alive)
}

// forgetCached removes what no build may go on from any more.
func (n *Node) forgetCached(tx *store.Tx) error {
	cached, err := records.CachedBuilds.List(tx)
	if err != nil {
		return err
	}
	for i := range cached {
		if c := &cached[i]; c.Stale(n.Now()) {
			if err := records.CachedBuilds.Delete(tx, records.CachedKey(c.OwnerID, c.Key)); err != nil {
				return err
			}
		}
	}
	return nil
}

func forgetLineage(tx *store.Tx, alive map[string]bool) error {
	all, err := records.Lineages.List(tx)
	if err != nil {
		return err
	}
	byID := make(map[string]model.Lineage, len(all))
	for _, l := range all {
		byID[l.ID] = l
	}
	keep := map[string]bool{}
	for id := range alive {
		for ; id != "" && !keep[id]; id = byID[id].Parent {
			keep[id] = true
		}
	}
	for _, l := range all {
		if !keep[l.ID] {
			if err := records.Lineages.Delete(tx, l.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// hostSize returns the CPUs and the memory that guests may use.
func hostSize() (vcpus int, memoryMiB int64, err error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0, fmt.Errorf("measuring the host's memory: %w", err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		fields := strings.Fields(sc.Text())
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("measuring the host's memory: %w", err)
			}
			mib := kib / 1024
			return runtime.NumCPU(), mib - mib/memoryReserve, nil
		}
	}
	return 0, 0, fmt.Errorf("measuring the host's memory: /proc/meminfo has no MemTotal")
}
