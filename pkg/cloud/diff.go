package cloud

import (
	"context"
	"slices"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// MadeImage is an image that the account may launch, or would if it were not disabled,
// and that is complete.
func (c *Account) MadeImage(ctx context.Context, id string) (img model.Image, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		if img, err = c.visibleImage(tx, id); err != nil {
			return err
		}
		if img.State != model.ImageAvailable && img.State != model.ImageDisabled {
			return unavailable(&img, "looked into")
		}
		return c.optedIn(tx, img.ProductCodes)
	})
	return img, err
}

// ExplainedImage is a complete image of which the account may know how it was made: its
// own, or one whose provenance came from a registry.
func (c *Account) ExplainedImage(ctx context.Context, id string) (img model.Image, err error) {
	img, err = c.MadeImage(ctx, id)
	if err == nil && img.OwnerID != c.id && (img.Made != nil || img.Origin == nil) {
		err = model.Errorf(model.CodeAuthFailure, "Not authorized for image:%s", id)
	}
	return img, err
}

// RootLayer is the layer of a root disk that the account may read: of an image that it
// may launch and export, or of a snapshot that it may make volumes of.
func (c *Account) RootLayer(ctx context.Context, id string) (layer string, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		if model.CheckID(model.SnapshotPrefix, id) == nil {
			snap, err := c.usableSnapshot(tx, id)
			if err == nil && len(snap.ProductCodes) > 0 && snap.OwnerID != c.id {
				err = snapshotNotFound(id)
			}
			layer = snap.LayerID
			return err
		}
		img, err := c.launchImage(tx, id, "")
		if err != nil {
			return err
		}
		if err := mayLeave(&img, "compared"); err != nil {
			return err
		}
		i := slices.IndexFunc(img.BlockDevices, func(b model.BlockDevice) bool { return b.Device == img.RootDevice })
		if i < 0 || img.BlockDevices[i].SnapshotID == "" {
			return model.Errorf(model.CodeUnsupportedOperation, "The image %s has no root volume to compare", id)
		}
		snap, err := get(tx, records.Snapshots, img.BlockDevices[i].SnapshotID, snapshotNotFound(img.BlockDevices[i].SnapshotID))
		layer = snap.LayerID
		return err
	})
	return layer, err
}
