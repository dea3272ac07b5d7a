package cloud

import (
	"cmp"
	"strings"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// parentImage finds the image that a recipe builds on: by its id, its name, or as
// the newest of a recipe. A recipe that is baked has none.
func (c *Account) parentImage(tx *store.Tx, rec *recipe.Recipe, arch model.Arch) (model.Image, error) {
	ref := rec.Source.Image
	if ref == "" {
		return model.Image{}, nil
	}
	img, err := c.findParent(tx, ref, arch)
	switch {
	case err != nil:
		return img, err
	case img.Arch != arch:
		return img, model.Errorf(model.CodeInvalidParameterValue, "the parent image %s is for %s, not for %s", img.ID, img.Arch, arch)
	case img.State != model.ImageAvailable:
		return img, unavailable(&img, "built on")
	}
	return img, nil
}

func (c *Account) findParent(tx *store.Tx, ref string, arch model.Arch) (model.Image, error) {
	if model.CheckID(model.ImagePrefix, ref) == nil {
		return c.visibleImage(tx, ref)
	}
	all, err := records.Images.List(tx)
	if err != nil {
		return model.Image{}, err
	}
	name, byRecipe := strings.CutPrefix(ref, recipe.RecipePrefix)
	var best model.Image
	for _, img := range all {
		match := img.Name == ref
		if byRecipe {
			match = img.Arch == arch && img.SeenBy(c.id).Tags[RecipeTag] == name
		}
		if match && img.State == model.ImageAvailable && img.UsableBy(c.id) && newer(&img, &best, c.id) {
			best = img
		}
	}
	if best.ID == "" {
		return best, model.Errorf(model.CodeInvalidParameterValue, "source.image %q: there is no such image for %s", ref, arch).
			WithHint("bundt image ls shows the images there are; bundt build makes one from a recipe, for instance: bundt build tiny")
	}
	return best, nil
}

// newer reports whether an image is to be taken before another: the account's own
// before others', then the younger.
func newer(img, than *model.Image, account string) bool {
	if than.ID == "" {
		return true
	}
	if mine := img.OwnerID == account; mine != (than.OwnerID == account) {
		return mine
	}
	return cmp.Or(img.Created.Compare(than.Created), cmp.Compare(img.ID, than.ID)) > 0
}

// buildOnParent is the whole build of a recipe that only gives a parent image
// another name and other metadata: snapshots on the same layers, no bytes.
func (c *Account) buildOnParent(tx *store.Tx, b *model.Build, parent *model.Image, rec *recipe.Recipe) error {
	img := copyOf(parent, b.ImageID, c.id, c.Now())
	img.Name, img.Tags, img.Recipe = b.ImageName, b.Tags, b.RecipeRef(parent)
	img.Description = b.Describe()
	img.LoginUser = cmp.Or(rec.Metadata.LoginUser, parent.LoginUser)
	on, err := parentOf(tx, parent)
	if err != nil {
		return err
	}
	img.Made = c.madeOfRecipe(b, on, img.Created)
	if err := c.copySnapshots(tx, parent, &img, nil, nil); err != nil {
		return err
	}
	b.State, b.Finished = model.BuildAvailable, img.Created
	return c.putImage(tx, &img)
}
