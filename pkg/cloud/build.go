package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/bundt/bundt/pkg/component"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
	"github.com/bundt/bundt/pkg/recipe/archive"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// BuildRequest is what BuildImage asks for.
type BuildRequest struct {
	ContextDigest string // of the uploaded recipe archive
	Arch          model.Arch
	ImageName     string // "" makes one of the recipe's name, version and architecture
	Tags          model.Tags
	ClientToken   string `json:"-"`
	// HoldKey is a public key that lets its owner into an instance in which a step failed.
	HoldKey string `json:"-"`
	// NoCache has every step run, whatever the cache has.
	NoCache bool `json:"-"`
}

// RecipeTag is the tag that names an image's recipe, so that images can be found by it.
const RecipeTag = "bundt:recipe"

// BuildImage writes the intent to bake a recipe. If an image of that name was
// already baked from exactly this recipe, that build is returned instead.
func (c *Account) BuildImage(ctx context.Context, r BuildRequest) (model.Build, error) {
	rec, unlocked, err := c.openContext(r.ContextDigest)
	if err != nil {
		return model.Build{}, err
	}
	if !slices.Contains(rec.Architectures, r.Arch) {
		return model.Build{}, model.Errorf(model.CodeInvalidParameterValue, "the recipe %s is for %v, not for %q", rec.Name, rec.Architectures, r.Arch)
	}
	if err := checkTags(r.Tags); err != nil {
		return model.Build{}, err
	}
	if r.HoldKey != "" {
		key, err := parsePublicKey([]byte(r.HoldKey))
		if err != nil {
			return model.Build{}, err
		}
		r.HoldKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	}
	if r.ImageName == "" {
		r.ImageName = fmt.Sprintf("%s-%s-%s", rec.Name, rec.Version, r.Arch)
	}
	var b model.Build
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		b, err = c.newBuild(tx, r, rec, unlocked)
		return err
	})
	return b, err
}

func (c *Account) newBuild(tx *store.Tx, r BuildRequest, rec *recipe.Recipe, unlocked string) (model.Build, error) {
	parent, err := c.parentImage(tx, rec, r.Arch)
	if err != nil {
		return model.Build{}, err
	}
	if old, ok, err := c.sameBuild(tx, r, rec.Lock, unlocked, parent.ID); err != nil || ok {
		return old, err
	}
	if err := oneMore(c, tx, records.Images, model.QuotaImages, codeResourceLimit); err != nil {
		return model.Build{}, err
	}
	node, err := c.bakery(tx)
	if err != nil {
		return model.Build{}, err
	}
	tags := model.Tags{RecipeTag: rec.Name}
	maps.Copy(tags, r.Tags)
	b := model.Build{
		ID: model.NewID(model.BuildPrefix), OwnerID: c.id, Node: node, State: model.BuildPending,
		Arch: r.Arch, RecipeName: rec.Name, RecipeVersion: rec.Version, RecipeDigest: rec.Digest(),
		ContextDigest: r.ContextDigest, Unlocked: unlocked, ImageName: r.ImageName, ImageID: model.NewID(model.ImagePrefix),
		ParentImage: parent.ID, StageImage: parent.ID, Guest: len(rec.Components) > 0,
		Created: c.now().UTC(), Tags: tags, ClientToken: r.ClientToken, HoldKey: r.HoldKey, NoCache: r.NoCache,
	}
	if err := c.takeName(tx, b.ImageName, b.ImageID); err != nil {
		return b, err
	}
	err = records.Lineages.Put(tx, &model.Lineage{ID: b.RecipeDigest, Kind: model.LineageRecipe, Name: rec.Name + " " + rec.Version, Created: b.Created})
	if err != nil {
		return b, err
	}
	if parent.ID != "" && !b.Guest {
		if err := c.buildOnParent(tx, &b, &parent, rec); err != nil {
			return b, err
		}
	}
	return b, records.Builds.Put(tx, &b)
}

// openRecipe reads and validates an uploaded recipe.
func (c *Account) openRecipe(digest string) (*recipe.Recipe, error) {
	rec, _, err := c.openContext(digest)
	return rec, err
}

// openContext is openRecipe, and gives the digest of the directory but for its lock file.
func (c *Account) openContext(digest string) (rec *recipe.Recipe, unlocked string, err error) {
	blob, err := c.blobs.OpenBlob(digest)
	if err != nil {
		return nil, "", model.Errorf(model.CodeInvalidParameterValue, "ContextDigest %q: no such upload", digest).
			WithHint("upload the recipe's directory as a tar archive first; bundt build does it")
	}
	defer blob.Close()
	fsys, err := archive.Unpack(blob)
	if err != nil {
		return nil, "", model.Errorf(model.CodeInvalidRecipe, "%v", err)
	}
	rec, err = recipe.Load(fsys)
	if err == nil {
		_, err = component.Compile(rec, fsys, recipe.PhaseBuild)
	}
	if err == nil {
		unlocked, err = recipe.UnlockedDigest(fsys)
	}
	if err != nil {
		return nil, "", model.Errorf(model.CodeInvalidRecipe, "%v", err)
	}
	return rec, unlocked, nil
}

// sameBuild finds the build that made, or is making, the image of this name from
// the same bytes and the same parent. The lock file may be one that was written of
// that very image.
func (c *Account) sameBuild(tx *store.Tx, r BuildRequest, lock *recipe.Lock, unlocked, parent string) (model.Build, bool, error) {
	name, err := records.Names.Get(tx, records.NameKey(model.ImagePrefix, c.id, r.ImageName))
	if errors.Is(err, store.ErrNotFound) {
		return model.Build{}, false, nil
	}
	if err != nil {
		return model.Build{}, false, err
	}
	builds, err := records.Builds.List(tx)
	if err != nil {
		return model.Build{}, false, err
	}
	for _, b := range builds {
		if b.ImageID != name.ID {
			continue
		}
		same := b.Arch == r.Arch && b.ParentImage == parent
		if same && b.ContextDigest != r.ContextDigest {
			if same, err = c.bakedOf(tx, &b, lock, unlocked); err != nil {
				return model.Build{}, false, err
			}
		}
		if r.NoCache { // but the same request may come again
			same = same && r.ClientToken != "" && b.ClientToken == r.ClientToken
		}
		if same && (!b.State.Over() || b.State == model.BuildAvailable) {
			return b, true, nil
		}
	}
	return model.Build{}, false, nil
}

// bakedOf reports whether a build's image is what a recipe that is the same but for
// its lock file has baked: one of the packages that the lock file pins.
func (c *Account) bakedOf(tx *store.Tx, b *model.Build, lock *recipe.Lock, unlocked string) (bool, error) {
	if b.Unlocked != unlocked || b.State != model.BuildAvailable || lock == nil {
		return false, nil
	}
	img, err := records.Images.Get(tx, b.ImageID)
	if errors.Is(err, store.ErrNotFound) || err == nil && (img.Recipe == nil || img.Recipe.Lock == "") {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	blob, err := c.blobs.OpenBlob(img.Recipe.Lock)
	if err != nil {
		return false, fmt.Errorf("opening the lock file of image %s: %w", img.ID, err)
	}
	defer blob.Close()
	text, err := io.ReadAll(blob)
	if err != nil {
		return false, fmt.Errorf("reading the lock file of image %s: %w", img.ID, err)
	}
	baked, err := recipe.ParseLock(recipe.LockFileName, text)
	if err != nil {
		return false, fmt.Errorf("reading the lock file of image %s: %w", img.ID, err)
	}
	return recipe.SamePackages(lock, baked, b.Arch), nil
}

// bakery is the node that bakes: any, since baking runs no guest.
func (c *Account) bakery(tx *store.Tx) (string, error) {
	nodes, err := records.Nodes.List(tx)
	if err != nil {
		return "", err
	}
	if len(nodes) == 0 {
		return "", model.Errorf(model.CodeServiceUnavailable, "no node is ready yet").WithHint("try again in a moment")
	}
	return nodes[0].ID, nil
}

// WatchBuild sends the build at once and after each change, until it is over.
func (c *Account) WatchBuild(ctx context.Context, id string, send func(model.Build) error) error {
	if err := model.CheckID(model.BuildPrefix, id); err != nil {
		return model.Errorf("InvalidBuildID.Malformed", "Invalid id: %v", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := c.store.Watch(ctx, records.Builds.Name())
	for {
		var b model.Build
		err := c.store.View(ctx, func(tx *store.Tx) (err error) {
			b, err = own(c, tx, records.Builds, id, model.Errorf(model.CodeBuildNotFound, "The build '%s' does not exist", id))
			return err
		})
		if err != nil {
			return err
		}
		if err := send(b); err != nil {
			return err
		}
		if b.State.Over() {
			return nil
		}
		for again := true; again; {
			ch, ok := <-changes
			if !ok {
				return ctx.Err()
			}
			again = !ch.Resync && ch.Key != id
		}
	}
}
