package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// Keys opens the keys that volumes are encrypted with.
type Keys interface {
	Passphrase(k *model.DataKey) (disk.Passphrase, error)
}

// keyOf is the key of a layer, the zero one of a layer that is not encrypted.
func (n *Node) keyOf(tx *store.Tx, l *model.Layer) (hypervisor.Key, error) {
	if l.Key == "" {
		return hypervisor.Key{}, nil
	}
	if n.Keys == nil {
		return hypervisor.Key{}, fmt.Errorf("layer %s is encrypted, and this node has no keys", l.ID)
	}
	k, err := records.DataKeys.Get(tx, l.Key)
	if err != nil {
		return hypervisor.Key{}, fmt.Errorf("finding the key of layer %s: %w", l.ID, err)
	}
	p, err := n.Keys.Passphrase(&k)
	return hypervisor.Key{ID: k.ID, Secret: string(p)}, err
}

func (n *Node) layerKey(ctx context.Context, l *model.Layer) (key hypervisor.Key, err error) {
	if l.Key == "" {
		return hypervisor.Key{}, nil
	}
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		key, err = n.keyOf(tx, l)
		return err
	})
	return key, err
}

// passphrase is what opens a layer, "" if it is not encrypted.
func (n *Node) passphrase(ctx context.Context, l *model.Layer) (disk.Passphrase, error) {
	key, err := n.layerKey(ctx, l)
	return disk.Passphrase(key.Secret), err
}

// chainFiles are the files of layers, with what opens them.
func (n *Node) chainFiles(ctx context.Context, ids []string) (files []disk.ChainFile, err error) {
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		files = files[:0]
		for _, id := range ids {
			f := disk.ChainFile{Path: n.Layers.Path(id)}
			l, err := records.Layers.Get(tx, id)
			if err == nil {
				var key hypervisor.Key
				key, err = n.keyOf(tx, &l)
				f.Key = disk.Passphrase(key.Secret)
			}
			if err != nil && !errors.Is(err, store.ErrNotFound) { // of a build that goes on: it has no record yet
				return err
			}
			files = append(files, f)
		}
		return nil
	})
	return files, err
}

// forgetKeys removes data keys that nothing is encrypted with any more.
func forgetKeys(tx *store.Tx, used map[string]bool) error {
	keys, err := records.DataKeys.List(tx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if !used[k.ID] {
			if err := records.DataKeys.Delete(tx, k.ID); err != nil {
				return err
			}
		}
	}
	return nil
}
