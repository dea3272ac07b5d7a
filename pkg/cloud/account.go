package cloud

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// Account is the cloud as one account sees it: every use case acts on the
// account's own objects and on what others share with it. An object of another
// account does not exist here: asking for it is the same NotFound error.
type Account struct {
	*Cloud
	id string
}

// Account returns the cloud as the account with these twelve digits sees it.
func (c *Cloud) Account(id string) *Account { return &Account{Cloud: c, id: id} }

// ID is the account's twelve digits.
func (c *Account) ID() string { return c.id }

// idempotent runs do at most once per (owner, action, token): a repetition with
// equal parameters gets the ids of the first call, one with others an error. The
// record is part of do's own transaction, so no crash can separate them.
func (c *Account) idempotent(tx *store.Tx, action, token, paramsHash string, do func() ([]string, error)) ([]string, error) {
	if token == "" {
		return do()
	}
	if len(token) > 64 {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "the client token has %d characters; 64 is the most", len(token))
	}
	old, err := records.Idempotent.Get(tx, records.TokenKey(c.id, action, token))
	switch {
	case err == nil && old.ParamsHash == paramsHash:
		return old.IDs, nil
	case err == nil:
		return nil, model.Errorf(model.CodeIdempotentParameterMismatch, "the client token %q was used before with other parameters", token)
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	ids, err := do()
	if err != nil {
		return nil, err
	}
	return ids, records.Idempotent.Put(tx, &records.Token{
		OwnerID: c.id, Action: action, Token: token,
		ParamsHash: paramsHash, IDs: ids, Created: c.now().UTC(),
	})
}

// list returns every object of a collection at one revision.
func list[T any](ctx context.Context, s *store.Store, col store.Collection[T]) (out []T, err error) {
	err = s.View(ctx, func(tx *store.Tx) error {
		out, err = col.List(tx)
		return err
	})
	return out, err
}

// get returns an object, or notFound when there is none.
func get[T any](tx *store.Tx, col store.Collection[T], id string, notFound *model.Error) (T, error) {
	v, err := col.Get(tx, id)
	if errors.Is(err, store.ErrNotFound) {
		return v, notFound
	}
	return v, err
}

// object is a pointer to an object that has an owner.
type object[T any] interface {
	*T
	model.Owned
}

// own returns an object of this account, or notFound when there is none.
func own[T any, P object[T]](c *Account, tx *store.Tx, col store.Collection[T], id string, notFound *model.Error) (T, error) {
	v, err := get(tx, col, id, notFound)
	if err == nil && P(&v).Owner() != c.id {
		return *new(T), notFound
	}
	return v, err
}

// owned returns every object of a collection that is this account's.
func owned[T any, P object[T]](ctx context.Context, c *Account, col store.Collection[T]) ([]T, error) {
	all, err := list(ctx, c.store, col)
	return slices.DeleteFunc(all, func(v T) bool { return P(&v).Owner() != c.id }), err
}

// Images returns the account's images and those shared with it, each as the
// account sees it.
func (c *Account) Images(ctx context.Context) ([]model.Image, error) {
	all, err := list(ctx, c.store, records.Images)
	all = slices.DeleteFunc(all, func(i model.Image) bool { return !i.UsableBy(c.id) })
	for i := range all {
		all[i] = all[i].SeenBy(c.id)
	}
	return all, err
}

// Instances returns the account's instances, those terminated within the last hour included.
func (c *Account) Instances(ctx context.Context) ([]model.Instance, error) {
	all, err := owned(ctx, c, records.Instances)
	if err != nil {
		return nil, err
	}
	return all, c.nameInstances(ctx, all)
}

// Volumes returns the account's volumes.
func (c *Account) Volumes(ctx context.Context) ([]model.Volume, error) {
	return owned(ctx, c, records.Volumes)
}

// Snapshots returns the account's snapshots and those shared with it.
func (c *Account) Snapshots(ctx context.Context) ([]model.Snapshot, error) {
	all, err := list(ctx, c.store, records.Snapshots)
	return slices.DeleteFunc(all, func(s model.Snapshot) bool { return !s.UsableBy(c.id) }), err
}

// KeyPairs returns the account's key pairs.
func (c *Account) KeyPairs(ctx context.Context) ([]model.KeyPair, error) {
	return owned(ctx, c, records.KeyPairs)
}

// Builds returns the account's builds.
func (c *Account) Builds(ctx context.Context) ([]model.Build, error) {
	return owned(ctx, c, records.Builds)
}

// Lineages returns where the account's objects came from, back to the first
// ancestor that is another account's: what that one was made of is not shown.
func (c *Account) Lineages(ctx context.Context) ([]model.Lineage, error) {
	all, err := list(ctx, c.store, records.Lineages)
	if err != nil {
		return nil, err
	}
	byID := map[string]*model.Lineage{}
	for i := range all {
		byID[all[i].ID] = &all[i]
	}
	shown := map[string]bool{}
	for i := range all {
		for l := &all[i]; l != nil && l.OwnerID == c.id && !shown[l.ID]; l = byID[l.Parent] {
			shown[l.ID] = true
			if parent := byID[l.Parent]; parent != nil && parent.OwnerID != c.id {
				shown[parent.ID] = true
			}
		}
	}
	return slices.DeleteFunc(all, func(l model.Lineage) bool { return !shown[l.ID] }), nil
}

// FindInstances returns the account's instances with these ids, or all of them in
// the order of their ids if none are given. It reads from memory, and by id looks
// at no others. One malformed or unknown id is an error; a repeated one counts
// once. The instances are shared with other readers and must not be changed.
func (c *Account) FindInstances(ctx context.Context, ids []string) ([]*model.Instance, error) {
	if len(ids) == 0 {
		all, err := c.instances.All(ctx)
		return c.byOwner.of(c.id, all), err
	}
	for _, id := range ids {
		if model.CheckID(model.InstancePrefix, id) != nil {
			return nil, instanceMalformed(id)
		}
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	out := make([]*model.Instance, len(ids))
	for k, id := range ids {
		i, err := c.instances.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		if i == nil || i.OwnerID != c.id {
			return nil, instanceNotFound(id)
		}
		out[k] = i
	}
	return out, nil
}

// Named returns copies of instances with the names of what their interfaces are in.
func (c *Account) Named(ctx context.Context, insts []*model.Instance) ([]*model.Instance, error) {
	copies, out := make([]model.Instance, len(insts)), make([]*model.Instance, len(insts))
	for k, i := range insts {
		copies[k], out[k] = *i, &copies[k]
	}
	return out, c.nameInstances(ctx, copies)
}

// Instance returns one of the account's instances.
func (c *Account) Instance(ctx context.Context, id string) (i model.Instance, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		i, err = c.instance(tx, id)
		return err
	})
	return i, err
}

// byOwner remembers the instances of each account, as long as the mirror's list
// of all is the same.
type byOwner struct {
	mu    sync.Mutex
	all   []*model.Instance
	lists map[string][]*model.Instance
}

func (b *byOwner) of(account string, all []*model.Instance) []*model.Instance {
	if len(all) == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.all) != len(all) || &b.all[0] != &all[0] { // another list
		b.all, b.lists = all, map[string][]*model.Instance{}
	}
	list, ok := b.lists[account]
	if !ok {
		for _, i := range all {
			if i.OwnerID == account {
				list = append(list, i)
			}
		}
		b.lists[account] = list
	}
	return list
}
