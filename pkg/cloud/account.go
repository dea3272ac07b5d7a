package cloud

import (
	"context"
	"errors"
	"slices"

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

// KeyPairs returns the account's key pairs.
func (c *Account) KeyPairs(ctx context.Context) ([]model.KeyPair, error) {
	return owned(ctx, c, records.KeyPairs)
}

// Builds returns the account's builds.
func (c *Account) Builds(ctx context.Context) ([]model.Build, error) {
	return owned(ctx, c, records.Builds)
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
