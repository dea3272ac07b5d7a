package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// maxKeys is how many access keys a user may have.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const maxKeys = 2

var keyID = regexp.MustCompile(`^(` + model.AccessKeyIDPrefix + `|` + model.SessionKeyIDPrefix + `)[A-Z2-7]{16}$`)

// newSecret returns a fresh secret access key: 40 characters, 240 random bits.
func newSecret() string {
	var b [30]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.StdEncoding.EncodeToString(b[:])
}

// newKey makes an access key of a user, or of the root for user "".
func (d *Directory) newKey(account, user string) (k model.AccessKey, secret string) {
	secret = newSecret()
	k = model.AccessKey{ID: model.NewIAMID(model.AccessKeyIDPrefix), AccountID: account, UserName: user, Active: true, Created: d.Now()}
	k.Secret = d.keys.Seal([]byte(secret), k.ID)
	return k, secret
}

// keysOf returns the access keys of a user, or of the root for user "", oldest first.
func keysOf(tx *store.Tx, account, user string) ([]model.AccessKey, error) {
	all, err := records.AccessKeys.List(tx)
	all = slices.DeleteFunc(all, func(k model.AccessKey) bool { return k.AccountID != account || k.UserName != user })
	slices.SortFunc(all, func(a, b model.AccessKey) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return all, err
}

// CreateAccessKey makes an access key and returns its secret, which is shown this once.
func (d *Directory) CreateAccessKey(ctx context.Context, account, user string) (k model.AccessKey, secret string, err error) {
	err = d.update(ctx, func(tx *store.Tx) error {
		name, err := keyOwner(tx, account, user)
		if err != nil {
			return err
		}
		keys, err := keysOf(tx, account, name)
		if err != nil {
			return err
		}
		if len(keys) >= maxKeys {
			return model.Errorf(CodeLimitExceeded, "Cannot exceed quota for AccessKeysPerUser: %d", maxKeys).
				WithHint("delete an access key first")
		}
		k, secret = d.newKey(account, name)
		return records.AccessKeys.Put(tx, &k)
	})
	return k, secret, err
}

// keyOwner returns the exact name of the user that a key is or will be of; "" for the root.
func keyOwner(tx *store.Tx, account, user string) (string, error) {
	if user == "" {
		return "", nil
	}
	u, err := getUser(tx, account, user)
	return u.Name, err
}

// AccessKeys returns the access keys of a user, or of the root for user "".
func (d *Directory) AccessKeys(ctx context.Context, account, user string) ([]model.AccessKey, error) {
	return view(ctx, d, func(tx *store.Tx) ([]model.AccessKey, error) {
		name, err := keyOwner(tx, account, user)
		if err != nil {
			return nil, err
		}
		return keysOf(tx, account, name)
	})
}

// accessKey returns a key of that user. One of somebody else does not exist.
func accessKey(tx *store.Tx, account, user, id string) (model.AccessKey, error) {
	none := model.Errorf(CodeNoSuchEntity, "The Access Key with id %s cannot be found.", id)
	if !keyID.MatchString(id) {
		return model.AccessKey{}, none
	}
	name, err := keyOwner(tx, account, user)
	if err != nil {
		return model.AccessKey{}, err
	}
	k, err := records.AccessKeys.Get(tx, id)
	if errors.Is(err, store.ErrNotFound) || (err == nil && (k.AccountID != account || k.UserName != name)) {
		return model.AccessKey{}, none
	}
	return k, err
}

// SetAccessKeyActive lets a key sign requests, or no longer.
func (d *Directory) SetAccessKeyActive(ctx context.Context, account, user, id string, active bool) error {
	return d.update(ctx, func(tx *store.Tx) error {
		k, err := accessKey(tx, account, user, id)
		if err != nil {
			return err
		}
		k.Active = active
		return records.AccessKeys.Put(tx, &k)
	})
}

// DeleteAccessKey deletes a key. Temporary credentials got with it stay until they
// expire, as on AWS.
func (d *Directory) DeleteAccessKey(ctx context.Context, account, user, id string) error {
	return d.update(ctx, func(tx *store.Tx) error {
		k, err := accessKey(tx, account, user, id)
		if err != nil {
			return err
		}
		return errors.Join(records.AccessKeys.Delete(tx, k.ID), records.KeyUses.Delete(tx, k.ID))
	})
}

// OwnerOfKey returns the key of that id in an account.
func (d *Directory) OwnerOfKey(ctx context.Context, account, id string) (k model.AccessKey, use model.AccessKeyUse, err error) {
	// As on AWS: whether another account has the key is nobody's business.
	foreign := model.Errorf(CodeAccessDenied, "The access key %s is not one of this account", id)
	if !keyID.MatchString(id) {
		return k, use, foreign
	}
	err = d.store.View(ctx, func(tx *store.Tx) error {
		k, err = records.AccessKeys.Get(tx, id)
		if errors.Is(err, store.ErrNotFound) || (err == nil && k.AccountID != account) {
			return foreign
		}
		if err != nil {
			return err
		}
		use, err = records.KeyUses.Get(tx, id)
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return err
	})
	if recent, ok := d.uses.Load(id); ok {
		use = recent.(model.AccessKeyUse)
	}
	return k, use, err
}

// Used remembers that a key signed a request to a service; it is written down
// within a minute. Temporary keys are not remembered.
func (d *Directory) Used(id, service string) {
	if !strings.HasPrefix(id, model.AccessKeyIDPrefix) {
		return
	}
	now := d.Now().Truncate(time.Minute)
	if old, ok := d.uses.Load(id); ok {
		if u := old.(model.AccessKeyUse); u.Time.Equal(now) && u.Service == service {
			return
		}
	}
	d.uses.Store(id, model.AccessKeyUse{ID: id, Time: now, Service: service})
}

// flushUses writes down what was remembered of keys that still exist.
func (d *Directory) flushUses(ctx context.Context) {
	d.uses.Range(func(id, use any) bool {
		err := d.store.Update(ctx, func(tx *store.Tx) error {
			if _, err := records.AccessKeys.Get(tx, id.(string)); err != nil {
				if errors.Is(err, store.ErrNotFound) {
					return nil
				}
				return err
			}
			u := use.(model.AccessKeyUse)
			return records.KeyUses.Put(tx, &u)
		})
		if err != nil {
			d.log.Warn("could not write down when an access key was used", "key", id, "error", err)
			return false // tried again in a minute
		}
		d.uses.CompareAndDelete(id, use)
		return true
	})
}
