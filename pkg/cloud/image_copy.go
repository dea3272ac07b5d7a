package cloud

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// ImageCopy is what CopyImage asks for.
type ImageCopy struct {
	SourceImageID string
	SourceRegion  string
	Name          string
	Description   string
	CopyTags      bool
	Tags          model.Tags
	SnapshotTags  model.Tags
	Encryption    Encryption
	ClientToken   string `json:"-"`
}

// CopyImage makes an image of the account's own of one that it may use. The copy
// has snapshots of its own on the same layers: nothing is copied on disk, and the
// source may go. Only what is to be encrypted and is not is written anew. One of another
// region is got from there.
func (c *Account) CopyImage(ctx context.Context, r ImageCopy) (id string, err error) {
	if err := errors.Join(checkTags(r.Tags, r.SnapshotTags), checkDescription(r.Description)); err != nil {
		return "", err
	}
	hash, err := paramsHash(r)
	if err != nil {
		return "", err
	}
	here, err := c.here(r.SourceRegion)
	if err != nil {
		return "", err
	}
	if !here {
		return c.copyImageFrom(ctx, r, hash)
	}
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		ids, err := c.idempotent(tx, "CopyImage", r.ClientToken, hash, func() ([]string, error) {
			img, err := c.copyImage(tx, r)
			return []string{img.ID}, err
		})
		if err == nil {
			id = ids[0]
		}
		return err
	})
	return id, err
}

func (c *Account) copyImage(tx *store.Tx, r ImageCopy) (model.Image, error) {
	src, err := c.visibleImage(tx, r.SourceImageID)
	if err != nil {
		return src, err
	}
	if src.State != model.ImageAvailable {
		return src, unavailable(&src, "copied")
	}
	img := copyOf(&src, model.NewID(model.ImagePrefix), c.id, c.Now())
	img.Name, img.Description = r.Name, r.Description
	if r.CopyTags {
		maps.Copy(img.Tags, src.SeenBy(c.id).Tags)
	}
	maps.Copy(img.Tags, r.Tags)
	if err := c.takeName(tx, img.Name, img.ID); err != nil {
		return img, err
	}
	if err := c.copySnapshots(tx, &src, &img, r.SnapshotTags, func(s *model.Snapshot) error { return c.encryptCopy(tx, s, r.Encryption) }); err != nil {
		return img, err
	}
	return img, c.putImage(tx, &img)
}

// copyOf is a new image like src, without what is its owner's matter.
func copyOf(src *model.Image, id, owner string, now time.Time) model.Image {
	img := *src
	img.ID, img.OwnerID, img.Created = id, owner, now
	img.ParentImage, img.SourceInstance, img.Recipe, img.ClientToken = src.ID, "", nil, ""
	img.Launch, img.Protection = model.Sharing{}, model.Protection{}
	seen := src.SeenBy(owner)
	img.Carry(&seen)
	img.DeprecateAt, img.LastLaunched = src.SeenBy("").LastLaunched, src.SeenBy("").LastLaunched
	img.Tags = model.Tags{}
	return img
}

// copySnapshots gives a copy of an image snapshots of its own. encrypt may make a
// snapshot one that is yet to be written; nil is for none.
func (c *Account) copySnapshots(tx *store.Tx, src, img *model.Image, tags model.Tags, encrypt func(*model.Snapshot) error) error {
	img.BlockDevices = nil
	for _, b := range src.BlockDevices {
		if b.SnapshotID != "" {
			snap, err := c.copySnapshotOf(tx, src, img, b.SnapshotID, tags, encrypt)
			if err != nil {
				return err
			}
			b.SnapshotID, b.Encrypted = snap.ID, snap.Key != ""
			if snap.State == model.SnapshotPending {
				img.State = model.ImagePending
			}
		}
		img.BlockDevices = append(img.BlockDevices, b)
	}
	return nil
}

// copySnapshotOf makes a snapshot on the layer of one of the source image's. Of
// another account's image the snapshots must be shared too, as on EC2.
func (c *Account) copySnapshotOf(tx *store.Tx, src, img *model.Image, id string, tags model.Tags, encrypt func(*model.Snapshot) error) (model.Snapshot, error) {
	snap, err := get(tx, records.Snapshots, id, snapshotNotFound(id))
	if err != nil {
		return snap, err
	}
	if !snap.UsableBy(c.id) {
		return snap, storageRefused(src.ID, id)
	}
	dup := model.Snapshot{
		ID: model.NewID(model.SnapshotPrefix), OwnerID: c.id, LayerID: snap.LayerID, SizeGiB: snap.SizeGiB,
		State: snap.State, Started: img.Created, Tags: maps.Clone(tags), ProductCodes: snap.ProductCodes, Key: snap.Key, Set: img.ID,
		Description: fmt.Sprintf("Copied for DestinationAmi %s from SourceAmi %s for SourceSnapshot %s.", img.ID, src.ID, id),
	}
	if encrypt != nil {
		if err := encrypt(&dup); err != nil {
			return dup, err
		}
	}
	return dup, c.addSnapshot(tx, &dup)
}
