package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// reconcileCopy writes a pending copy of a snapshot anew, encrypted: every other
// copy shares its source's layer.
func (n *Node) reconcileCopy(ctx context.Context, id string) error {
	var snap model.Snapshot
	var source model.Layer
	err := n.Store.View(ctx, func(tx *store.Tx) (err error) {
		if snap, err = records.Snapshots.Get(tx, id); err == nil && snap.CopyOf != "" {
			source, err = records.Layers.Get(tx, snap.CopyOf)
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && (snap.State != model.SnapshotPending || source.Node != n.ID) {
		return nil
	}
	if err != nil {
		return err
	}
	l := model.Layer{ID: model.NewID(model.LayerPrefix), Frozen: true, SizeBytes: source.SizeBytes, Node: n.ID, Key: snap.Key}
	n.pin(l.ID)
	defer n.unpinBlob(l.ID)
	cause := n.inWorkDir(id, func(work string) error { return n.rewrite(ctx, &l, source.ID, work) })
	if cause != nil && ctx.Err() != nil {
		return cause
	}
	if cause != nil {
		n.Logger.Error("copying a snapshot failed", "snapshot", id, "error", cause)
	}
	return n.Store.Update(ctx, func(tx *store.Tx) error { return copied(tx, id, &l, cause, n.Now().UTC()) })
}

// rewrite makes the file of a layer that has all that another and its parents show.
func (n *Node) rewrite(ctx context.Context, l *model.Layer, source, work string) error {
	if err := n.CheckSpace(); err != nil {
		return err
	}
	ids, err := n.Layers.Chain(source)
	if err != nil {
		return err
	}
	files, err := n.chainFiles(ctx, ids)
	if err != nil {
		return err
	}
	key, err := n.passphrase(ctx, l)
	if err != nil {
		return err
	}
	made := filepath.Join(work, "copy.qcow2")
	if err := disk.Copy(ctx, files, made, key, disk.ConvertOptions{}); err != nil {
		return err
	}
	return n.Layers.Place(ctx, l.ID, made)
}

// copied records how a copy ended, and with the last one of an image that the
// image is there. A copy that was deleted meanwhile leaves a layer to the collector.
func copied(tx *store.Tx, id string, l *model.Layer, cause error, now time.Time) error {
	snap, err := records.Snapshots.Get(tx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && snap.State != model.SnapshotPending {
		return nil
	}
	if err != nil {
		return err
	}
	snap.CopyOf = ""
	if cause == nil {
		snap.State, snap.LayerID = model.SnapshotCompleted, l.ID
		if err := records.Layers.Put(tx, l); err != nil {
			return err
		}
	} else {
		snap.State, snap.StateReason = model.SnapshotError, model.Reason{Code: codeInternal, Message: cause.Error()}
	}
	if err := records.Snapshots.Put(tx, &snap); err != nil || snap.Set == "" {
		return err
	}
	return copiedImage(tx, snap.Set, snap.StateReason, now)
}

// copiedImage records the end of an image's copy when all its snapshots are copied,
// or one could not be.
func copiedImage(tx *store.Tx, id string, failure model.Reason, now time.Time) error {
	img, err := records.Images.Get(tx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && img.State != model.ImagePending {
		return nil
	}
	if err != nil {
		return err
	}
	for _, b := range img.BlockDevices {
		if b.SnapshotID == "" {
			continue
		}
		snap, err := records.Snapshots.Get(tx, b.SnapshotID)
		if err != nil {
			return fmt.Errorf("looking at snapshot %s of image %s: %w", b.SnapshotID, id, err)
		}
		if failure.Message == "" && snap.State != model.SnapshotCompleted {
			return nil
		}
	}
	img.State, img.StateReason = model.ImageAvailable, failure
	if failure.Message != "" {
		img.State = model.ImageFailed
	} else if img.Made != nil {
		img.Made.Finished = now
	}
	return records.Images.Put(tx, &img)
}
