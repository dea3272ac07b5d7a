package cloud

import (
	"context"
	"strings"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/store"
)

// Attributes are what policies' conditions may ask about an object.
type Attributes struct {
	Owner string
	Tags  model.Tags
	Type  string // of an instance
	Image string // that an instance was launched from
	Name  string // of a key pair; id of the instance that an instance profile's association is with
}

// usable is an object that its owner can share.
type usable interface{ UsableBy(account string) bool }

// Attributes returns what policies may ask about the object of an id; of a key
// pair also by its name. ok is false if there is none for this account. Of an
// object that another account shares only the owner is known: a policy must not
// be a way to find out another account's tags.
func (c *Account) Attributes(ctx context.Context, ref string) (a Attributes, ok bool, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		a, ok = Attributes{}, false
		id := ref
		if strings.HasPrefix(ref, string(model.ProfAssocPrefix)+"-") {
			i, err := c.associated(tx, ref)
			if err == nil {
				a, ok = Attributes{Owner: c.id, Tags: i.Tags, Type: i.Type, Image: i.ImageID, Name: i.ID}, true
			}
			return unlessNotFound(err)
		}
		prefix, _, _ := strings.Cut(id, "-")
		kind, known := taggable[model.IDPrefix(prefix)]
		if !known || model.CheckID(model.IDPrefix(prefix), id) != nil {
			k, err := c.keyByName(tx, ref)
			if err != nil {
				return unlessNotFound(err)
			}
			id, kind = k.ID, taggable[model.KeyPairPrefix]
		}
		object, tags, err := kind.read(tx, id)
		if err != nil {
			return unlessNotFound(err)
		}
		if object.Owner() != c.id {
			shared, can := object.(usable)
			if ok = can && shared.UsableBy(c.id); ok {
				a.Owner = object.Owner()
			}
			return nil
		}
		a, ok = Attributes{Owner: c.id, Tags: tags}, true
		switch o := object.(type) {
		case *model.Instance:
			a.Type, a.Image = o.Type, o.ImageID
		case *model.KeyPair:
			a.Name = o.Name
		}
		return nil
	})
	return a, ok, err
}

// unlessNotFound is nil for an error that is the client's, like one of NotFound.
func unlessNotFound(err error) error {
	if model.CodeOf(err) != "" {
		return nil
	}
	return err
}
