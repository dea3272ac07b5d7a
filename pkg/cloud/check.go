package cloud

import (
	"context"
	"errors"
	"slices"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// LayerUse is a layer and what of an account depends on it.
type LayerUse struct {
	LayerID                    string
	Volumes, Snapshots, Images []string
}

// layerUses finds what depends on layers.
type layerUses struct {
	layers map[string]model.Layer
	uses   []*LayerUse
	at     map[string]*LayerUse
}

func newLayerUses(tx *store.Tx) (*layerUses, error) {
	list, err := records.Layers.List(tx)
	u := &layerUses{layers: map[string]model.Layer{}, at: map[string]*LayerUse{}}
	for _, l := range list {
		u.layers[l.ID] = l
	}
	return u, err
}

// add notes a user of a layer and of all below.
func (u *layerUses) add(top, user string, list func(*LayerUse) *[]string) {
	for id := top; id != ""; id = u.layers[id].Parent {
		use := u.at[id]
		if use == nil {
			use = &LayerUse{LayerID: id}
			u.at[id], u.uses = use, append(u.uses, use)
		}
		users := list(use)
		if slices.Contains(*users, user) {
			return // and below
		}
		*users = append(*users, user)
	}
}

// LayerUses lists the layers of volumes, snapshots and images of the account, of all
// if no id is given, each with everything of the account that depends on it.
func (c *Account) LayerUses(ctx context.Context, ids []string) (out []LayerUse, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		u, err := newLayerUses(tx)
		if err != nil {
			return err
		}
		if err := c.findUses(tx, u); err != nil {
			return err
		}
		for _, id := range ids {
			if err := c.owns(tx, id); err != nil {
				return err
			}
		}
		out = nil
		for _, use := range u.uses {
			named := func(id string) bool { return slices.Contains(ids, id) }
			if len(ids) == 0 || slices.ContainsFunc(slices.Concat(use.Volumes, use.Snapshots, use.Images), named) {
				out = append(out, *use)
			}
		}
		return nil
	})
	return out, err
}

// owns returns EC2's error unless the id is of a volume, snapshot or image of the account.
func (c *Account) owns(tx *store.Tx, id string) (err error) {
	switch {
	case model.CheckID(model.VolumePrefix, id) == nil:
		_, err = c.volume(tx, id)
	case model.CheckID(model.SnapshotPrefix, id) == nil:
		_, err = c.ownSnapshot(tx, id)
	case model.CheckID(model.ImagePrefix, id) == nil:
		_, err = c.ownImage(tx, id)
	default:
		err = model.Errorf(model.CodeInvalidID, "The ID '%s' is not valid: expect one of a volume, a snapshot or an image", id)
	}
	return err
}

func (c *Account) findUses(tx *store.Tx, u *layerUses) error {
	volumes, errVolumes := records.Volumes.List(tx)
	snapshots, errSnapshots := records.Snapshots.List(tx)
	images, errImages := records.Images.List(tx)
	if err := errors.Join(errVolumes, errSnapshots, errImages); err != nil {
		return err
	}
	for _, v := range volumes {
		if v.OwnerID == c.id {
			u.add(v.Head, v.ID, func(l *LayerUse) *[]string { return &l.Volumes })
		}
	}
	tops := map[string]string{}
	for _, s := range snapshots {
		tops[s.ID] = s.LayerID
		if s.OwnerID == c.id {
			u.add(s.LayerID, s.ID, func(l *LayerUse) *[]string { return &l.Snapshots })
		}
	}
	for _, i := range images {
		for _, b := range i.BlockDevices {
			if i.OwnerID == c.id {
				u.add(tops[b.SnapshotID], i.ID, func(l *LayerUse) *[]string { return &l.Images })
			}
		}
	}
	return nil
}

// Damaged tells which of the account's volumes read from a layer that is known to be
// damaged, and how.
func (c *Account) Damaged(ctx context.Context) (damaged map[string]string, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		u, err := newLayerUses(tx)
		if err != nil {
			return err
		}
		damaged = map[string]string{}
		volumes, err := records.Volumes.List(tx)
		for _, v := range volumes {
			for id := v.Head; id != "" && v.OwnerID == c.id; id = u.layers[id].Parent {
				if d := u.layers[id].Damage; d != "" {
					damaged[v.ID] = d
				}
			}
		}
		return err
	})
	return damaged, err
}
