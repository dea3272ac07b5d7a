package cloud

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// ProfileRef names an instance profile by its name or its ARN.
type ProfileRef struct{ Name, ARN string }

// profileName is IAM's form of an instance profile's name.
var profileName = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{1,128}$`)

// newAssociation makes an association with an instance profile of this account,
// which must have a role.
func (c *Account) newAssociation(tx *store.Tx, ref ProfileRef) (*model.ProfileAssociation, error) {
	name := ref.Name
	wrong := model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", ref.Name)
	if ref.ARN != "" {
		if name != "" {
			return nil, model.Errorf(model.CodeInvalidParameterCombination, "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'")
		}
		name = ref.ARN[strings.LastIndexByte(ref.ARN, '/')+1:]
		wrong = model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN", ref.ARN)
	}
	if !profileName.MatchString(name) {
		return nil, wrong
	}
	p, err := get(tx, records.Profiles, records.IAMKey(c.id, name), wrong)
	switch {
	case err != nil:
		return nil, err
	case ref.ARN != "" && ref.ARN != p.ARN():
		return nil, wrong
	case p.Role == "":
		return nil, model.Errorf(model.CodeInvalidParameterValue, "IAM Instance Profile %q has no associated IAM Roles", p.ARN())
	}
	return &model.ProfileAssociation{ID: model.NewID(model.ProfAssocPrefix), ProfileID: p.ID, Name: p.Name, ARN: p.ARN(), Since: c.Now()}, nil
}

// AssociateProfile gives an instance that has none an instance profile.
func (c *Account) AssociateProfile(ctx context.Context, instanceID string, ref ProfileRef) (out model.Instance, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		i, err := c.alive(tx, instanceID)
		if err != nil {
			return err
		}
		if i.Profile != nil {
			return model.Errorf("IncorrectState", "There is an existing association for instance %s", i.ID).
				WithHint("ReplaceIamInstanceProfileAssociation changes it: %s", i.Profile.ID)
		}
		if i.Profile, err = c.newAssociation(tx, ref); err != nil {
			return err
		}
		out = i
		return records.Instances.Put(tx, &i)
	})
	return out, err
}

// ReplaceProfile gives the instance of an association another instance profile,
// by a new association.
func (c *Account) ReplaceProfile(ctx context.Context, association string, ref ProfileRef) (out model.Instance, err error) {
	err = c.changeProfile(ctx, association, func(tx *store.Tx, i *model.Instance) (err error) {
		if i.Profile, err = c.newAssociation(tx, ref); err == nil {
			out = *i
		}
		return err
	})
	return out, err
}

// DisassociateProfile takes the instance profile from an instance, which it
// returns as it was. Credentials that its guest has already last as long as they do.
func (c *Account) DisassociateProfile(ctx context.Context, association string) (was model.Instance, err error) {
	err = c.changeProfile(ctx, association, func(_ *store.Tx, i *model.Instance) error {
		was, i.Profile = *i, nil
		return nil
	})
	return was, err
}

func (c *Account) changeProfile(ctx context.Context, association string, change func(*store.Tx, *model.Instance) error) error {
	return c.store.Update(ctx, func(tx *store.Tx) error {
		i, err := c.associated(tx, association)
		if err != nil {
			return err
		}
		if err := change(tx, &i); err != nil {
			return err
		}
		return records.Instances.Put(tx, &i)
	})
}

// associated finds the instance of an association.
func (c *Account) associated(tx *store.Tx, association string) (model.Instance, error) {
	missing := model.Errorf("InvalidAssociationID.NotFound", "The association ID '%s' does not exist", association)
	if model.CheckID(model.ProfAssocPrefix, association) != nil {
		return model.Instance{}, model.Errorf(model.CodeInvalidParameterValue, "Invalid value for associationId.")
	}
	all, err := records.Instances.List(tx)
	if err != nil {
		return model.Instance{}, err
	}
	k := slices.IndexFunc(all, func(i model.Instance) bool {
		return i.OwnerID == c.id && i.Profile != nil && i.Profile.ID == association && i.State != model.InstanceTerminated
	})
	if k < 0 {
		return model.Instance{}, missing
	}
	return all[k], nil
}
