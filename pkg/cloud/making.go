package cloud

import (
	"errors"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// parentOf is an image as what is made of it remembers it.
func parentOf(tx *store.Tx, img *model.Image) (*model.ParentImage, error) {
	layers := map[string]string{}
	for _, b := range img.BlockDevices {
		if b.SnapshotID == "" {
			continue
		}
		snap, err := records.Snapshots.Get(tx, b.SnapshotID)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		layers[b.Device] = snap.LayerID
	}
	return img.Parent(layers), nil
}

// madeOfRecipe is how the image of a build was made.
func (c *Account) madeOfRecipe(b *model.Build, on *model.ParentImage, finished time.Time) *model.Making {
	return &model.Making{Kind: model.MadeOfRecipe, ID: b.ID, Started: b.Created, Finished: finished, Version: c.version, Parent: on}
}
