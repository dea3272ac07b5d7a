package cloud

import (
	"context"
	"slices"
	"sync"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// views are what descriptions read of many objects: from memory, so that a page
// costs no more than its objects, and an id no more than one.
type views struct {
	instances  *view[model.Instance]
	volumes    *view[model.Volume]
	snapshots  *view[model.Snapshot]
	images     *view[model.Image]
	interfaces *view[model.NetworkInterface]
	lineage    *view[model.Lineage]
	trees      trees
}

func newViews(s *store.Store) views {
	return views{
		instances: newView(s, records.Instances, ifOwned[model.Instance]),
		volumes:   newView(s, records.Volumes, ifOwned[model.Volume]),
		snapshots: newView(s, records.Snapshots, func(snap *model.Snapshot, account string) *model.Snapshot {
			if !snap.UsableBy(account) {
				return nil
			}
			return snap
		}),
		images: newView(s, records.Images, func(i *model.Image, account string) *model.Image {
			switch {
			case !i.UsableBy(account):
				return nil
			case i.OwnerID == account:
				return i
			}
			return new(i.SeenBy(account))
		}),
		interfaces: newView(s, records.Interfaces, ifOwned[model.NetworkInterface]),
		lineage:    newView(s, records.Lineages, func(l *model.Lineage, _ string) *model.Lineage { return l }),
	}
}

// ifOwned shows an account its own objects.
func ifOwned[T any, P object[T]](o *T, account string) *T {
	if P(o).Owner() != account {
		return nil
	}
	return o
}

// view is a collection as each account sees it. It remembers what all of it looks
// like, until something changes.
type view[T any] struct {
	mirror *store.Mirror[T]
	see    func(o *T, account string) *T // nil: not at all

	mu    sync.Mutex
	of    []*T // the mirror's list, of which lists are
	lists map[string][]*T
}

func newView[T any](s *store.Store, c store.Collection[T], see func(*T, string) *T) *view[T] {
	return &view[T]{mirror: store.NewMirror(s, c), see: see}
}

// find returns what the account sees of the objects with these keys, or of all, in
// the order of keys; a key that it does not see is left out. The objects and the
// list are shared with other readers and must not be changed.
func (v *view[T]) find(ctx context.Context, account string, keys []string) ([]*T, error) {
	if len(keys) == 0 {
		all, err := v.mirror.All(ctx)
		if err != nil {
			return nil, err
		}
		return v.all(account, all), nil
	}
	get, err := v.mirror.Getter(ctx)
	if err != nil {
		return nil, err
	}
	var out []*T
	for _, key := range slices.Compact(slices.Sorted(slices.Values(keys))) {
		o := get(key)
		if o != nil {
			o = v.see(o, account)
		}
		if o != nil {
			out = append(out, o)
		}
	}
	return out, nil
}

// all is what the account sees of the mirror's list.
func (v *view[T]) all(account string, all []*T) []*T {
	if len(all) == 0 {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !sameList(v.of, all) {
		v.of, v.lists = all, map[string][]*T{}
	}
	list, ok := v.lists[account]
	if !ok {
		for _, o := range all {
			if seen := v.see(o, account); seen != nil {
				list = append(list, seen)
			}
		}
		v.lists[account] = list
	}
	return list
}

// sameList reports whether two lists are one.
func sameList[T any](a, b []*T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// FindVolumes returns those of the account's volumes with these ids, or all of
// them, in the order of ids. It reads from memory. They are shared with other
// readers and must not be changed.
func (c *Account) FindVolumes(ctx context.Context, ids []string) ([]*model.Volume, error) {
	return c.views.volumes.find(ctx, c.id, ids)
}

// FindSnapshots is FindVolumes for the account's snapshots and those shared with it.
func (c *Account) FindSnapshots(ctx context.Context, ids []string) ([]*model.Snapshot, error) {
	return c.views.snapshots.find(ctx, c.id, ids)
}

// FindImages is FindVolumes for the account's images and those shared with it, each
// as the account sees it.
func (c *Account) FindImages(ctx context.Context, ids []string) ([]*model.Image, error) {
	return c.views.images.find(ctx, c.id, ids)
}

// FindInterfaces is FindVolumes for the account's network interfaces. They have no
// Names: see NamedInterfaces.
func (c *Account) FindInterfaces(ctx context.Context, ids []string) ([]*model.NetworkInterface, error) {
	if _, err := c.defaults(ctx); err != nil {
		return nil, err
	}
	return c.views.interfaces.find(ctx, c.id, ids)
}

// NamedInterfaces returns copies of interfaces with the names of what they are in.
func (c *Account) NamedInterfaces(ctx context.Context, nics []*model.NetworkInterface) ([]*model.NetworkInterface, error) {
	copies, out := make([]model.NetworkInterface, len(nics)), make([]*model.NetworkInterface, len(nics))
	for k, n := range nics {
		copies[k], out[k] = *n, &copies[k]
	}
	return out, c.name(ctx, func(name func(*model.NetworkInterface)) {
		for k := range copies {
			name(&copies[k])
		}
	})
}

// FindInstances returns the account's instances with these ids, or all of them in
// the order of their ids if none are given. It reads from memory, and by id looks
// at no others. One malformed or unknown id is an error; a repeated one counts
// once. The instances are shared with other readers and must not be changed.
func (c *Account) FindInstances(ctx context.Context, ids []string) ([]*model.Instance, error) {
	for _, id := range ids {
		if model.CheckID(model.InstancePrefix, id) != nil {
			return nil, instanceMalformed(id)
		}
	}
	found, err := c.views.instances.find(ctx, c.id, ids)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	if len(ids) > 0 {
		for _, i := range found {
			known[i.ID] = true
		}
	}
	for _, id := range ids {
		if !known[id] {
			return nil, instanceNotFound(id)
		}
	}
	return found, nil
}
