package auth

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

func getProfile(tx *store.Tx, account, name string) (model.InstanceProfile, error) {
	p, err := named(tx, records.Profiles, "", account, name)
	if model.CodeOf(err) == CodeNoSuchEntity {
		err = model.Errorf(CodeNoSuchEntity, "Instance Profile %s cannot be found.", name)
	}
	return p, err
}

// CreateProfile makes an instance profile without a role.
func (d *Directory) CreateProfile(ctx context.Context, account, name, path string, tags model.Tags) (p model.InstanceProfile, err error) {
	if err := errors.Join(checkName("instanceProfileName", name, maxProfileName), checkTags(tags)); err != nil {
		return p, err
	}
	if path, err = checkPath(path); err != nil {
		return p, err
	}
	p = model.InstanceProfile{ID: model.NewIAMID(model.InstanceProfileIDPrefix), AccountID: account, Name: name, Path: path, Tags: tags, Created: d.Now()}
	return p, d.update(ctx, func(tx *store.Tx) error {
		exists, err := records.Profiles.Exists(tx, records.IAMKey(account, name))
		if exists {
			return model.Errorf(CodeEntityAlreadyExists, "Instance Profile %s already exists.", name)
		}
		return errors.Join(err, records.Profiles.Put(tx, &p))
	})
}

// Profile returns an instance profile.
func (d *Directory) Profile(ctx context.Context, account, name string) (model.InstanceProfile, error) {
	return view(ctx, d, func(tx *store.Tx) (model.InstanceProfile, error) { return getProfile(tx, account, name) })
}

// Profiles returns an account's instance profiles whose path begins with a prefix, by name.
func (d *Directory) Profiles(ctx context.Context, account, pathPrefix string) ([]model.InstanceProfile, error) {
	return listIAM(ctx, d, records.Profiles, account, func(p *model.InstanceProfile) bool { return strings.HasPrefix(p.Path, pathPrefix) })
}

// ProfilesForRole returns the instance profiles that hand out a role.
func (d *Directory) ProfilesForRole(ctx context.Context, account, role string) ([]model.InstanceProfile, error) {
	return view(ctx, d, func(tx *store.Tx) ([]model.InstanceProfile, error) {
		r, err := getRole(tx, account, role)
		if err != nil {
			return nil, err
		}
		return profilesWith(tx, account, r.Name)
	})
}

func profilesWith(tx *store.Tx, account, role string) ([]model.InstanceProfile, error) {
	all, err := records.Profiles.ListPrefix(tx, account+".")
	return slices.DeleteFunc(all, func(p model.InstanceProfile) bool { return p.Role != role }), err
}

func (d *Directory) changeProfile(ctx context.Context, account, name string, change func(tx *store.Tx, p *model.InstanceProfile) error) error {
	return d.update(ctx, func(tx *store.Tx) error {
		p, err := getProfile(tx, account, name)
		if err != nil {
			return err
		}
		if err := change(tx, &p); err != nil {
			return err
		}
		return records.Profiles.Put(tx, &p)
	})
}

// AddRole puts a role into an instance profile, which holds one.
func (d *Directory) AddRole(ctx context.Context, account, profile, role string) error {
	return d.changeProfile(ctx, account, profile, func(tx *store.Tx, p *model.InstanceProfile) error {
		r, err := getRole(tx, account, role)
		if err != nil {
			return err
		}
		if p.Role != "" {
			return model.Errorf(CodeLimitExceeded, "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
		}
		p.Role = r.Name
		return nil
	})
}

// RemoveRole takes a role out of an instance profile.
func (d *Directory) RemoveRole(ctx context.Context, account, profile, role string) error {
	return d.changeProfile(ctx, account, profile, func(tx *store.Tx, p *model.InstanceProfile) error {
		r, err := getRole(tx, account, role)
		if err != nil {
			return err
		}
		if p.Role != r.Name {
			return model.Errorf(CodeNoSuchEntity, "Role %s in InstanceProfile %s cannot be found.", role, profile)
		}
		p.Role = ""
		return nil
	})
}

// DeleteProfile deletes an instance profile that has no role.
func (d *Directory) DeleteProfile(ctx context.Context, account, name string) error {
	return d.update(ctx, func(tx *store.Tx) error {
		p, err := getProfile(tx, account, name)
		if err != nil {
			return err
		}
		if p.Role != "" {
			return model.Errorf(CodeDeleteConflict, "Cannot delete entity, must remove roles from instance profile first.")
		}
		return records.Profiles.Delete(tx, records.IAMKey(account, p.Name))
	})
}
