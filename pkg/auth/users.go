package auth

import (
	"context"
	"errors"
	"strings"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

func getUser(tx *store.Tx, account, name string) (model.User, error) {
	return named(tx, records.Users, "user", account, name)
}

// CreateUser makes a user who may do nothing yet.
func (d *Directory) CreateUser(ctx context.Context, account, name, path string, tags model.Tags) (u model.User, err error) {
	if err := errors.Join(checkName("userName", name, maxUserName), checkTags(tags)); err != nil {
		return u, err
	}
	if path, err = checkPath(path); err != nil {
		return u, err
	}
	u = model.User{ID: model.NewIAMID(model.UserIDPrefix), AccountID: account, Name: name, Path: path, Tags: tags, Created: d.Now()}
	return u, d.update(ctx, func(tx *store.Tx) error { return add(tx, records.Users, "User", account, name, &u) })
}

// User returns a user.
func (d *Directory) User(ctx context.Context, account, name string) (model.User, error) {
	return view(ctx, d, func(tx *store.Tx) (model.User, error) { return getUser(tx, account, name) })
}

// Users returns an account's users whose path begins with a prefix, by name.
func (d *Directory) Users(ctx context.Context, account, pathPrefix string) ([]model.User, error) {
	return listIAM(ctx, d, records.Users, account, func(u *model.User) bool { return strings.HasPrefix(u.Path, pathPrefix) })
}

// listIAM returns an account's objects of one kind, in the order of their names.
func listIAM[T any](ctx context.Context, d *Directory, col store.Collection[T], account string, keep func(*T) bool) ([]T, error) {
	all, err := view(ctx, d, func(tx *store.Tx) ([]T, error) { return col.ListPrefix(tx, account+".") })
	var out []T
	for i := range all {
		if keep(&all[i]) {
			out = append(out, all[i])
		}
	}
	return out, err
}

// ChangeUser changes a user in one transaction.
func (d *Directory) ChangeUser(ctx context.Context, account, name string, change func(tx *store.Tx, u *model.User) error) error {
	return d.update(ctx, func(tx *store.Tx) error {
		u, err := getUser(tx, account, name)
		if err != nil {
			return err
		}
		if err := change(tx, &u); err != nil {
			return err
		}
		return records.Users.Put(tx, &u)
	})
}

// DeleteUser deletes a user who has no access keys and no policies.
func (d *Directory) DeleteUser(ctx context.Context, account, name string) error {
	return d.update(ctx, func(tx *store.Tx) error {
		u, err := getUser(tx, account, name)
		if err != nil {
			return err
		}
		keys, err := keysOf(tx, account, u.Name)
		switch {
		case err != nil:
			return err
		case len(keys) > 0:
			return model.Errorf(CodeDeleteConflict, "Cannot delete entity, must delete access keys first.")
		case len(u.Policies.Inline) > 0:
			return model.Errorf(CodeDeleteConflict, "Cannot delete entity, must delete policies first.")
		case len(u.Policies.Attached) > 0:
			return model.Errorf(CodeDeleteConflict, "Cannot delete entity, must detach all policies first.")
		}
		return records.Users.Delete(tx, records.IAMKey(account, u.Name))
	})
}

// PutUserPolicy adds or replaces an inline policy of a user.
func (d *Directory) PutUserPolicy(ctx context.Context, account, user, name, document string) error {
	return d.ChangeUser(ctx, account, user, func(_ *store.Tx, u *model.User) error {
		return putInline(&u.Policies, name, document, maxUserInline)
	})
}

// UserPolicy returns the document of an inline policy of a user.
func (d *Directory) UserPolicy(ctx context.Context, account, user, name string) (string, error) {
	u, err := d.User(ctx, account, user)
	if err != nil {
		return "", err
	}
	return inline(&u.Policies, "user", user, name)
}

// DeleteUserPolicy deletes an inline policy of a user.
func (d *Directory) DeleteUserPolicy(ctx context.Context, account, user, name string) error {
	return d.ChangeUser(ctx, account, user, func(_ *store.Tx, u *model.User) error {
		_, err := inline(&u.Policies, "user", user, name)
		delete(u.Policies.Inline, name)
		return err
	})
}

// AttachUserPolicy gives a user the permissions of a managed policy.
func (d *Directory) AttachUserPolicy(ctx context.Context, account, user, arn string) error {
	return d.ChangeUser(ctx, account, user, func(tx *store.Tx, u *model.User) error {
		if _, err := managed(tx, account, arn); err != nil {
			return err
		}
		return attached(&u.Policies, arn)
	})
}

// DetachUserPolicy takes the permissions of a managed policy from a user.
func (d *Directory) DetachUserPolicy(ctx context.Context, account, user, arn string) error {
	return d.ChangeUser(ctx, account, user, func(_ *store.Tx, u *model.User) error { return detached(&u.Policies, arn) })
}
