// Package auth owns who may use a cloud: accounts, users, access keys, temporary
// credentials, roles, policies and instance profiles, all kept in the store, and
// the decision whether an identity may do something. What a policy means is
// package policy's.
//
// Secret access keys must be known in plain to verify signatures. In the store
// they are encrypted with the key in the file secret.key of the data directory,
// which is not part of the store: a copy of the store alone opens nothing.
//
// It imports pkg/store, pkg/records, pkg/model and its own package policy only.
// In particular it knows nothing of requests: pkg/api/authz says which action on
// which resource a call is.
package auth

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/seal"
	"github.com/bundt/bundt/pkg/store"
)

// Options of a Directory.
type Options struct {
	Store *store.Store
	// Dir is the data directory: of secret.key and of the file credentials.
	Dir   string
	Cloud records.Cloud
	Log   *slog.Logger     // default: discarded
	Now   func() time.Time // default: time.Now
}

// Directory is the accounts and identities of a cloud. It is safe for concurrent use.
type Directory struct {
	store *store.Store
	dir   string
	cloud records.Cloud
	log   *slog.Logger
	now   func() time.Time

	keys     *seal.Sealer // of access keys' secrets
	sessions *seal.Sealer // of session tokens
	messages *seal.Sealer // of encoded authorization messages

	// generation counts changes of what the cache holds.
	generation atomic.Uint64
	cache      sync.Map // cacheKey -> cached

	uses sync.Map // access key id -> model.AccessKeyUse that is not in the store yet
}

// Open returns the directory kept in a cloud's store. In a new store it founds
// the cloud's admin account and writes its access key to the file credentials
// (mode 0600) of the data directory: there are no default credentials.
func Open(ctx context.Context, o Options) (*Directory, error) {
	d := &Directory{store: o.Store, dir: o.Dir, cloud: o.Cloud, log: o.Log, now: o.Now}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.now == nil {
		d.now = time.Now
	}
	var err error
	if d.keys, err = d.openKeyFile(ctx, filepath.Join(o.Dir, "secret.key")); err != nil {
		return nil, err
	}
	if d.sessions, err = seal.Derive(o.Cloud.Secret, "session token"); err != nil {
		return nil, err
	}
	if d.messages, err = seal.Derive(o.Cloud.Secret, "authorization message"); err != nil {
		return nil, err
	}
	if err := d.found(ctx); err != nil {
		return nil, fmt.Errorf("founding the admin account: %w", err)
	}
	return d, nil
}

// AdminAccount is the account that manages the others.
func (d *Directory) AdminAccount() string { return d.cloud.AccountID }

// Region is the cloud's region.
func (d *Directory) Region() string { return d.cloud.Region }

// Now is the directory's clock, in UTC.
func (d *Directory) Now() time.Time { return d.now().UTC() }

// Run keeps the cache true when others change the store, and writes down when
// access keys were used, until ctx ends.
func (d *Directory) Run(ctx context.Context) {
	changes := d.store.Watch(ctx, records.Accounts.Name(), records.Users.Name(), records.AccessKeys.Name(),
		records.Policies.Name(), records.Roles.Name())
	d.forget() // what changed before the watch began
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			d.flushUses(last)
			return
		case _, ok := <-changes:
			if !ok {
				changes = nil // the store ends, and soon ctx
			}
			d.forget()
		case <-tick.C:
			d.flushUses(ctx)
		}
	}
}

// cacheKey says what is cached: the access key of that id, or an identity's policies.
type cacheKey struct{ kind, account, name string }

type cached struct {
	generation uint64
	value      any
}

// forget makes everything cached be read again.
func (d *Directory) forget() {
	d.generation.Add(1)
	d.cache.Clear()
}

// remembered returns what load returned the last time, if nothing changed since.
// Errors are not remembered.
func remembered[T any](d *Directory, key cacheKey, load func() (T, error)) (T, error) {
	// The generation is taken before reading: what is read while something
	// changes is never taken for the state after the change.
	generation := d.generation.Load()
	if c, ok := d.cache.Load(key); ok && c.(cached).generation == generation {
		return c.(cached).value.(T), nil
	}
	v, err := load()
	if err == nil {
		d.cache.Store(key, cached{generation, v})
	}
	return v, err
}

// update changes the store and then makes the cache be read again, so that whoever
// got an answer sees its effect.
func (d *Directory) update(ctx context.Context, fn func(tx *store.Tx) error) error {
	defer d.forget()
	return d.store.Update(ctx, fn)
}

// view reads the store.
func view[T any](ctx context.Context, d *Directory, fn func(tx *store.Tx) (T, error)) (out T, err error) {
	err = d.store.View(ctx, func(tx *store.Tx) error {
		out, err = fn(tx)
		return err
	})
	return out, err
}

// The error codes of IAM and STS.
// https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
const (
	CodeNoSuchEntity            = "NoSuchEntity"
	CodeEntityAlreadyExists     = "EntityAlreadyExists"
	CodeDeleteConflict          = "DeleteConflict"
	CodeLimitExceeded           = "LimitExceeded"
	CodeMalformedPolicyDocument = "MalformedPolicyDocument"
	CodeInvalidInput            = "InvalidInput"
	CodeValidationError         = "ValidationError"
	CodeAccessDenied            = "AccessDenied"
	CodeInvalidClientTokenID    = "InvalidClientTokenId"
	CodeExpiredToken            = "ExpiredToken"
	CodeInvalidMessage          = "InvalidAuthorizationMessageException"
	CodeUnmodifiableEntity      = "UnmodifiableEntity"
)

// noSuch is the error of something that does not exist, in IAM's words.
func noSuch(what, name string) *model.Error {
	return model.Errorf(CodeNoSuchEntity, "The %s with name %s cannot be found.", what, name)
}
