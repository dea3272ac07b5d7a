package cloud

import (
	"context"
	"errors"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// SigningKey returns the cloud's key of instance identity documents. The first
// call makes it, which takes some tenths of a second.
func (c *Cloud) SigningKey(ctx context.Context) (key model.SigningKey, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		key, err = records.SigningKeys.Get(tx, records.TheCloud)
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		return key, err
	}
	made, err := c.newSigningKey(c.info.Region, c.Now())
	if err != nil {
		return key, err
	}
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		if key, err = records.SigningKeys.Get(tx, records.TheCloud); !errors.Is(err, store.ErrNotFound) {
			return err // somebody was faster
		}
		key = made
		return records.SigningKeys.Put(tx, &key)
	})
	return key, err
}
