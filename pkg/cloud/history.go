package cloud

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// HistoryStep is a layer of an image's root disk.
type HistoryStep struct {
	LayerID   string
	By        string    // what it is of
	Created   time.Time // zero if nobody knows any more
	Images    []string  // of the account that end with it
	Snapshots []string
}

// ImageHistory lists the layers of an image's root disk, the last one first.
func (c *Account) ImageHistory(ctx context.Context, id string) (steps []HistoryStep, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		steps = nil
		img, err := c.visibleImage(tx, id)
		if err != nil {
			return err
		}
		root := slices.IndexFunc(img.BlockDevices, func(b model.BlockDevice) bool { return b.Device == img.RootDevice })
		if root < 0 || img.BlockDevices[root].SnapshotID == "" {
			return nil
		}
		snap, err := get(tx, records.Snapshots, img.BlockDevices[root].SnapshotID, snapshotNotFound(img.BlockDevices[root].SnapshotID))
		if err != nil {
			return err
		}
		snaps, err := records.Snapshots.List(tx)
		if err != nil {
			return err
		}
		images, err := records.Images.List(tx)
		if err != nil {
			return err
		}
		for next, seen := snap.LayerID, map[string]bool{}; next != "" && !seen[next]; {
			seen[next] = true
			l, err := records.Layers.Get(tx, next)
			if err != nil {
				return fmt.Errorf("reading the layer %s: %w", next, err)
			}
			steps = append(steps, c.historyStep(&l, snaps, images))
			next = l.Parent
		}
		return nil
	})
	return steps, err
}

// historyStep tells of what a layer is the end: of others only that they are.
func (c *Account) historyStep(l *model.Layer, snaps []model.Snapshot, images []model.Image) HistoryStep {
	s := HistoryStep{LayerID: l.ID}
	for _, snap := range snaps {
		if snap.LayerID != l.ID || !snap.UsableBy(c.id) && !slices.ContainsFunc(images, func(i model.Image) bool { return i.UsableBy(c.id) && mapsSnapshot(&i, snap.ID) }) {
			continue
		}
		s.Snapshots = append(s.Snapshots, snap.ID)
		if s.Created.IsZero() || snap.Started.Before(s.Created) {
			s.Created = snap.Started
			if s.By == "" || len(s.Images) == 0 {
				s.By = snap.Description
			}
		}
		for _, img := range images {
			if !img.UsableBy(c.id) || !mapsSnapshot(&img, snap.ID) {
				continue
			}
			if len(s.Images) == 0 {
				s.By = madeBy(&img)
			}
			s.Images = append(s.Images, img.ID)
		}
	}
	if s.By == "" {
		s.By = "something that was deleted"
		if len(s.Snapshots) > 0 {
			s.By = "a snapshot"
		}
	}
	return s
}

func mapsSnapshot(img *model.Image, snapshot string) bool {
	return slices.ContainsFunc(img.BlockDevices, func(b model.BlockDevice) bool { return b.SnapshotID == snapshot })
}

// madeBy says what an image came from.
func madeBy(img *model.Image) string {
	switch {
	case img.Recipe != nil && img.SourceInstance == "":
		return fmt.Sprintf("the recipe %s %s", img.Recipe.Name, img.Recipe.Version)
	case img.SourceInstance != "":
		return "the instance " + img.SourceInstance
	case img.Origin != nil:
		return img.Origin.Reference
	}
	return "an import, a copy or a registration"
}
