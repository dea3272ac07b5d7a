package node

import (
	"errors"
	"fmt"
	"maps"

	"github.com/bundt/bundt/pkg/catalog/registry"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// Regions are where other regions' images are got from.
type Regions interface {
	Repository(region, account, id string) (*registry.Repository, error)
}

// errNoRegions: a copy was begun by a daemon that knew other regions.
var errNoRegions = errors.New("this cloud knows no other region any more (bundtd --regions)")

func (n *Node) regionRepository(account string, c *model.RegionCopy) (*registry.Repository, error) {
	if n.Regions == nil {
		return nil, errNoRegions
	}
	return n.Regions.Repository(c.Region, account, c.SourceID)
}

// completeCopy has the pending image of a copy be what has been got. What the copy's
// owner has said of it meanwhile stays.
func (p *pull) completeCopy(tx *store.Tx, got *model.Image, snaps []model.Snapshot) error {
	if p.task.Copy.SnapshotID != "" {
		return p.completeSnapshot(tx, snaps)
	}
	img, err := records.Images.Get(tx, p.task.ImageID)
	if errors.Is(err, store.ErrNotFound) || err == nil && img.State != model.ImagePending {
		return errCancelled
	}
	if err != nil {
		return err
	}
	got.ID, got.OwnerID, got.Created, got.Name, got.Description, got.Tags = img.ID, img.OwnerID, img.Created, img.Name, img.Description, img.Tags
	got.Launch, got.Protection, got.Recipe = img.Launch, img.Protection, nil
	got.Origin.Region, got.Origin.ImageID = img.Origin.Region, img.Origin.ImageID
	for i := range snaps {
		s := &snaps[i]
		s.Tags = maps.Clone(p.task.Copy.SnapshotTags)
		s.Description = fmt.Sprintf("Copied for DestinationAmi %s from SourceAmi %s in %s.", img.ID, img.Origin.ImageID, img.Origin.Region)
		if err := records.Snapshots.Put(tx, s); err != nil {
			return err
		}
	}
	return records.Images.Put(tx, got)
}

// completeSnapshot gives the pending snapshot of a copy its layer.
func (p *pull) completeSnapshot(tx *store.Tx, got []model.Snapshot) error {
	snap, err := records.Snapshots.Get(tx, p.task.Copy.SnapshotID)
	if errors.Is(err, store.ErrNotFound) || err == nil && snap.State != model.SnapshotPending {
		return errCancelled
	}
	if err != nil {
		return err
	}
	if len(got) != 1 {
		return fmt.Errorf("what the region %s sent has %d disks, not one", p.task.Copy.Region, len(got))
	}
	snap.State, snap.LayerID, snap.Consistency = model.SnapshotCompleted, got[0].LayerID, got[0].Consistency
	snap.SizeGiB = max(snap.SizeGiB, got[0].SizeGiB)
	return records.Snapshots.Put(tx, &snap)
}

// failCopy records on what was to be made that it could not be.
func failCopy(tx *store.Tx, t *model.RegistryTask) error {
	reason := model.Reason{Code: codeInternal, Message: t.Message}
	if id := t.Copy.SnapshotID; id != "" {
		snap, err := records.Snapshots.Get(tx, id)
		if errors.Is(err, store.ErrNotFound) || err == nil && snap.State != model.SnapshotPending {
			return nil
		}
		if err != nil {
			return err
		}
		snap.State, snap.StateReason = model.SnapshotError, reason
		return records.Snapshots.Put(tx, &snap)
	}
	img, err := records.Images.Get(tx, t.ImageID)
	if errors.Is(err, store.ErrNotFound) || err == nil && img.State != model.ImagePending {
		return nil
	}
	if err != nil {
		return err
	}
	img.State, img.StateReason = model.ImageFailed, reason
	return records.Images.Put(tx, &img)
}
