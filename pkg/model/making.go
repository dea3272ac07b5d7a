package model

import "time"

// MakingKind is what an image was made of.
type MakingKind string

// The kinds of making.
const (
	MadeOfRecipe   MakingKind = "recipe"   // baked, or built on another image
	MadeOfInstance MakingKind = "instance" // by CreateImage
)

// Making is how an image was made here: what its provenance says, beyond what the
// image says itself.
type Making struct {
	Kind     MakingKind `json:"kind"`
	ID       string     `json:"id"` // of the build, or the image
	Started  time.Time  `json:"started"`
	Finished time.Time  `json:"finished"`
	Version  string     `json:"version"`            // of bundt
	Instance string     `json:"instance,omitempty"` // that it was made of; its owner alone may know
	NoReboot bool       `json:"noReboot,omitempty"`
	// Parent is the image that it lies on, nil if there is none.
	Parent *ParentImage `json:"parent,omitempty"`
	// Recipe and Inputs are those of an image that has no Recipe of its own: because it
	// is a copy; or, the inputs, of an instance's image, what is below is made of.
	Recipe *RecipeRef `json:"recipe,omitempty"` // without its inputs
	Inputs []Input    `json:"inputs,omitempty"`
}

// ParentImage is what an image lies on, as it was when that was made.
type ParentImage struct {
	ID        string     `json:"id"`
	Name      string     `json:"name,omitempty"`
	Reference string     `json:"reference,omitempty"` // in a registry
	Digest    string     `json:"digest,omitempty"`    // of its manifest there
	Recipe    *RecipeRef `json:"recipe,omitempty"`    // without its inputs
	Arch      Arch       `json:"arch,omitempty"`
	Boot      Boot       `json:"boot,omitzero"`
	// Layers are the last layers of its disks, by device.
	Layers map[string]string `json:"layers,omitempty"`
}

// Parent is the image as what is made of it remembers it; layers are the last ones of
// its disks.
func (i *Image) Parent(layers map[string]string) *ParentImage {
	p := &ParentImage{ID: i.ID, Name: i.Name, Arch: i.Arch, Boot: i.Boot, Layers: layers}
	if i.Origin != nil {
		p.Reference, p.Digest = i.Origin.Reference, i.Origin.Digest
	}
	p.Recipe = i.recipeAlone()
	return p
}

// recipeAlone is the image's recipe without its inputs.
func (i *Image) recipeAlone() *RecipeRef {
	switch {
	case i.Recipe != nil:
		return &RecipeRef{Name: i.Recipe.Name, Version: i.Recipe.Version, Digest: i.Recipe.Digest}
	case i.Made != nil:
		return i.Made.Recipe
	}
	return nil
}

// Carry has a copy know how its source was made, and of what: a copy has no recipe.
func (i *Image) Carry(src *Image) {
	if src.Made != nil {
		m := *src.Made
		m.Recipe, m.Inputs = src.recipeAlone(), src.Materials()
		i.Made = &m
	} else if src.Origin != nil {
		o := *src.Origin
		o.Inputs = src.Materials()
		i.Origin = &o
	}
}

// Materials is what is known to have gone into the image.
func (i *Image) Materials() []Input {
	switch {
	case i.Recipe != nil:
		return i.Recipe.Inputs
	case i.Made != nil:
		return i.Made.Inputs
	case i.Origin != nil:
		return i.Origin.Inputs
	}
	return nil
}

// forOthers is how an image was made, without what only its owner may know.
func (m *Making) forOthers() *Making {
	if m == nil || m.Instance == "" {
		return m
	}
	other := *m
	other.Instance = ""
	return &other
}

// Baked is when the image was made, here or where it came from; of a copy, when its
// source was.
func (i *Image) Baked() time.Time {
	switch {
	case i.Made != nil && !i.Made.Finished.IsZero():
		return i.Made.Finished.UTC()
	case i.Made == nil && i.Origin != nil && !i.Origin.Baked.IsZero():
		return i.Origin.Baked.UTC()
	}
	return i.Created.UTC()
}
