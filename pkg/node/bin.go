package node

import (
	"errors"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// emptyBin forgets the images whose time in the recycle bin is over, and those of
// their snapshots that were to go with them and that no other image needs.
func (n *Node) emptyBin(tx *store.Tx) error {
	binned, err := records.BinImages.List(tx)
	if err != nil {
		return err
	}
	images, err := records.Images.List(tx)
	if err != nil {
		return err
	}
	if err := n.emptySnapshotBin(tx); err != nil {
		return err
	}
	var gone []model.BinnedImage
	for _, b := range binned {
		if n.Now().Before(b.Exits) {
			images = append(images, b.Image)
		} else {
			gone = append(gone, b)
		}
	}
	needed := map[string]bool{}
	for _, i := range images {
		for _, d := range i.BlockDevices {
			needed[d.SnapshotID] = true
		}
	}
	for _, b := range gone {
		if err := records.BinImages.Delete(tx, b.Image.ID); err != nil {
			return err
		}
		if !b.DeleteSnapshots {
			continue
		}
		for _, d := range b.Image.BlockDevices {
			if d.SnapshotID == "" || needed[d.SnapshotID] {
				continue
			}
			snap, err := records.Snapshots.Get(tx, d.SnapshotID)
			if errors.Is(err, store.ErrNotFound) || err == nil && snap.OwnerID != b.Image.OwnerID {
				continue
			}
			if err != nil {
				return err
			}
			if snap.Locked(n.Now()) {
				continue
			}
			if err := records.Snapshots.Delete(tx, d.SnapshotID); err != nil {
				return err
			}
		}
	}
	return nil
}

// emptySnapshotBin forgets the snapshots whose time in the recycle bin is over.
func (n *Node) emptySnapshotBin(tx *store.Tx) error {
	binned, err := records.BinSnapshots.List(tx)
	if err != nil {
		return err
	}
	for _, b := range binned {
		if n.Now().Before(b.Exits) {
			continue
		}
		if err := records.BinSnapshots.Delete(tx, b.Snapshot.ID); err != nil {
			return err
		}
	}
	return nil
}
