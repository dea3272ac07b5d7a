package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/seal"
	"github.com/bundt/bundt/pkg/store"
)

// adminName is the name that the founding account gets.
const adminName = "admin"

var (
	accountName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,49}$`)
	accountID    = regexp.MustCompile(`^[0-9]{12}$`)
	accountAlias = regexp.MustCompile(`^[a-z0-9]([a-z0-9]|-[a-z0-9]){2,62}$`)
)

// found makes the admin account if there is none, and writes its credentials
// file if that is still to be done: the account says so, in the same transaction,
// until the file is there.
func (d *Directory) found(ctx context.Context) error {
	var key model.AccessKey
	due := false
	err := d.update(ctx, func(tx *store.Tx) error {
		account, err := records.Accounts.Get(tx, d.cloud.AccountID)
		if errors.Is(err, store.ErrNotFound) {
			account = model.Account{ID: d.cloud.AccountID, Name: adminName, Created: d.Now(), CredentialsDue: true}
			key, _ = d.newKey(account.ID, "")
			due = true
			return errors.Join(records.Accounts.Put(tx, &account), records.AccessKeys.Put(tx, &key))
		}
		if err != nil || !account.CredentialsDue {
			due = false
			return err
		}
		keys, err := keysOf(tx, account.ID, "")
		if due = len(keys) > 0; due {
			key = keys[0]
		}
		return err
	})
	if err != nil || !due {
		return err
	}
	secret, err := d.unsealKey(key.ID, key.Secret)
	if err != nil {
		return err
	}
	path := filepath.Join(d.dir, "credentials")
	if err := seal.WritePrivate(path, CredentialsFile("bundt", key.ID, secret)); err != nil {
		return fmt.Errorf("writing the first access key: %w", err)
	}
	d.log.Info("made the admin account", "account", d.cloud.AccountID, "credentials", path)
	return d.update(ctx, func(tx *store.Tx) error {
		account, err := records.Accounts.Get(tx, d.cloud.AccountID)
		if err != nil {
			return err
		}
		account.CredentialsDue = false
		return records.Accounts.Put(tx, &account)
	})
}

// CredentialsFile is an access key in the form of AWS's shared credentials file.
// https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
func CredentialsFile(profile, id, secret string) []byte {
	return fmt.Appendf(nil, "[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", profile, id, secret)
}

// Account returns an account by its id or its name.
func (d *Directory) Account(ctx context.Context, ref string) (model.Account, error) {
	return view(ctx, d, func(tx *store.Tx) (model.Account, error) { return account(tx, ref) })
}

func account(tx *store.Tx, ref string) (model.Account, error) {
	if accountID.MatchString(ref) {
		a, err := records.Accounts.Get(tx, ref)
		if errors.Is(err, store.ErrNotFound) {
			return a, noSuchAccount(ref)
		}
		return a, err
	}
	all, err := records.Accounts.List(tx)
	if err != nil {
		return model.Account{}, err
	}
	i := slices.IndexFunc(all, func(a model.Account) bool { return a.Name == ref })
	if i < 0 {
		return model.Account{}, noSuchAccount(ref)
	}
	return all[i], nil
}

func noSuchAccount(ref string) *model.Error {
	return model.Errorf(CodeNoSuchEntity, "The account %s does not exist", ref).
		WithHint("bundt account ls shows the accounts there are")
}

// Accounts returns every account, by age.
func (d *Directory) Accounts(ctx context.Context) ([]model.Account, error) {
	all, err := view(ctx, d, records.Accounts.List)
	slices.SortStableFunc(all, func(a, b model.Account) int { return a.Created.Compare(b.Created) })
	return all, err
}

// CreateAccount makes an account with a first access key of its root, and
// returns the key's secret, which is shown this once.
func (d *Directory) CreateAccount(ctx context.Context, name string, quotas map[model.Quota]int64) (a model.Account, key model.AccessKey, secret string, err error) {
	if !accountName.MatchString(name) || accountID.MatchString(name) {
		return a, key, "", model.Errorf(CodeValidationError, "The account name %q is not valid: 1 to 50 letters, digits, spaces and . _ -, but not twelve digits, which is an id", name)
	}
	if err := checkQuotas(quotas); err != nil {
		return a, key, "", err
	}
	err = d.update(ctx, func(tx *store.Tx) error {
		all, err := records.Accounts.List(tx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(all, func(a model.Account) bool { return a.Name == name }) {
			return model.Errorf(CodeEntityAlreadyExists, "An account named %s exists", name)
		}
		id, err := newAccountID(all)
		if err != nil {
			return err
		}
		a = model.Account{ID: id, Name: name, Quotas: quotas, Created: d.Now()}
		key, secret = d.newKey(id, "")
		return errors.Join(records.Accounts.Put(tx, &a), records.AccessKeys.Put(tx, &key))
	})
	return a, key, secret, err
}

func newAccountID(taken []model.Account) (string, error) {
	for {
		n, err := rand.Int(rand.Reader, big.NewInt(1_000_000_000_000))
		if err != nil {
			return "", fmt.Errorf("choosing an account number: %w", err)
		}
		id := fmt.Sprintf("%012d", n)
		if !slices.ContainsFunc(taken, func(a model.Account) bool { return a.ID == id }) {
			return id, nil
		}
	}
}

func checkQuotas(quotas map[model.Quota]int64) error {
	for q, n := range quotas {
		if !slices.Contains(model.AllQuotas, q) {
			return model.Errorf(CodeValidationError, "There is no quota %q", q).WithHint("the quotas are: %v", model.AllQuotas)
		}
		if n < 0 {
			return model.Errorf(CodeValidationError, "The quota %s must not be negative", q)
		}
	}
	return nil
}

// SetQuotas sets some quotas of an account and takes others away, all or none.
// What an account has beyond a new quota stays.
func (d *Directory) SetQuotas(ctx context.Context, ref string, set map[model.Quota]int64, unset []model.Quota) (a model.Account, err error) {
	if err := checkQuotas(set); err != nil {
		return a, err
	}
	for _, q := range unset {
		if err := checkQuotas(map[model.Quota]int64{q: 0}); err != nil {
			return a, err
		}
	}
	err = d.update(ctx, func(tx *store.Tx) error {
		if a, err = account(tx, ref); err != nil {
			return err
		}
		quotas := map[model.Quota]int64{}
		for q, n := range a.Quotas {
			quotas[q] = n
		}
		for q, n := range set {
			quotas[q] = n
		}
		for _, q := range unset {
			delete(quotas, q)
		}
		a.Quotas = quotas
		return records.Accounts.Put(tx, &a)
	})
	return a, err
}

// Release takes from an account, within a transaction, what every account has
// without asking for it, unless the account owns more: then it says what.
type Release func(tx *store.Tx, account string) (owns string, err error)

// DeleteAccount deletes an account that owns nothing, with its users, keys, roles
// and policies.
func (d *Directory) DeleteAccount(ctx context.Context, ref string, release Release) error {
	return d.update(ctx, func(tx *store.Tx) error {
		a, err := account(tx, ref)
		if err != nil {
			return err
		}
		if a.ID == d.cloud.AccountID {
			return model.Errorf(CodeDeleteConflict, "The admin account cannot be deleted")
		}
		owns, err := release(tx, a.ID)
		if err != nil {
			return err
		}
		if owns != "" {
			return model.Errorf(CodeDeleteConflict, "The account %s owns %s", a.Name, owns).
				WithHint("delete what it owns first: bundt --account %s …", a.Name)
		}
		if err := records.Accounts.Delete(tx, a.ID); err != nil {
			return err
		}
		return deleteIdentities(tx, a.ID)
	})
}

// deleteIdentities deletes everything of IAM's that an account has.
func deleteIdentities(tx *store.Tx, account string) error {
	keys, err := records.AccessKeys.List(tx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.AccountID == account {
			if err := errors.Join(records.AccessKeys.Delete(tx, k.ID), records.KeyUses.Delete(tx, k.ID)); err != nil {
				return err
			}
		}
	}
	return errors.Join(
		deleteAll(tx, records.Users, account, func(u *model.User) string { return u.Name }),
		deleteAll(tx, records.Roles, account, func(r *model.Role) string { return r.Name }),
		deleteAll(tx, records.Policies, account, func(p *model.ManagedPolicy) string { return p.Name }),
		deleteAll(tx, records.Profiles, account, func(p *model.InstanceProfile) string { return p.Name }),
	)
}

func deleteAll[T any](tx *store.Tx, col store.Collection[T], account string, name func(*T) string) error {
	all, err := col.ListPrefix(tx, account+".")
	if err != nil {
		return err
	}
	for i := range all {
		if err := col.Delete(tx, records.IAMKey(account, name(&all[i]))); err != nil {
			return err
		}
	}
	return nil
}

// SetAlias gives an account an alias, which is unique in the cloud. It replaces
// the one that the account had.
func (d *Directory) SetAlias(ctx context.Context, id, alias string) error {
	if !accountAlias.MatchString(alias) {
		return model.Errorf(CodeValidationError, "The specified value for accountAlias is invalid: 3 to 63 lower-case letters, digits and single hyphens between them")
	}
	return d.update(ctx, func(tx *store.Tx) error {
		all, err := records.Accounts.List(tx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(all, func(a model.Account) bool { return a.Alias == alias && a.ID != id }) {
			return model.Errorf(CodeEntityAlreadyExists, "The account alias %s already exists.", alias)
		}
		a, err := account(tx, id)
		if err != nil {
			return err
		}
		a.Alias = alias
		return records.Accounts.Put(tx, &a)
	})
}

// DeleteAlias takes an account's alias away.
func (d *Directory) DeleteAlias(ctx context.Context, id, alias string) error {
	return d.update(ctx, func(tx *store.Tx) error {
		a, err := account(tx, id)
		if err != nil {
			return err
		}
		if a.Alias != alias || alias == "" {
			return model.Errorf(CodeNoSuchEntity, "The account alias %s cannot be found.", alias)
		}
		a.Alias = ""
		return records.Accounts.Put(tx, &a)
	})
}
