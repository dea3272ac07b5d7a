package cloud

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// What is here is for pkg/builder: the use cases of a build whose components run
// in guests. Its instances and images carry its id in their field Build, so that
// whatever happens they can be found and swept.

// BuildTag is the tag that tells people which build an instance works for.
const BuildTag = "bundt:build"

// Build returns one of the account's builds.
func (c *Account) Build(ctx context.Context, id string) (b model.Build, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		b, err = c.ownBuild(tx, id)
		return err
	})
	return b, err
}

func (c *Account) ownBuild(tx *store.Tx, id string) (model.Build, error) {
	if err := model.CheckID(model.BuildPrefix, id); err != nil {
		return model.Build{}, model.Errorf("InvalidBuildID.Malformed", "Invalid id: %v", err)
	}
	return own(c, tx, records.Builds, id, model.Errorf(model.CodeBuildNotFound, "The build '%s' does not exist", id).
		WithHint("bundt build ls shows the builds there are"))
}

// CancelBuild writes the intent to give a build up: what it made so far goes.
// Repeating it is success; a build that is over is an error.
func (c *Account) CancelBuild(ctx context.Context, id string) (model.Build, error) {
	return c.EditBuild(ctx, id, func(b *model.Build) error {
		if b.State.Over() && b.State != model.BuildCancelled {
			return model.Errorf(model.CodeIncorrectState, "The build '%s' is %s already", b.ID, b.State)
		}
		b.Cancel = true
		return nil
	})
}

// EditBuild changes one of the account's builds.
func (c *Account) EditBuild(ctx context.Context, id string, edit func(*model.Build) error) (b model.Build, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		if b, err = c.ownBuild(tx, id); err != nil {
			return err
		}
		if err := edit(&b); err != nil {
			return err
		}
		return records.Builds.Put(tx, &b)
	})
	return b, err
}

// LaunchForBuild runs an instance of one of the build's images, which only the
// holder of the key gets into, and which leaves no volumes.
func (c *Account) LaunchForBuild(ctx context.Context, b *model.Build, image, role, publicKey string) (model.Instance, error) {
	out, err := c.Run(ctx, Launch{
		ImageID: image, MinCount: 1, MaxCount: 1, Build: b.ID, PublicKey: publicKey,
		Metadata: model.MetadataOptions{HTTPTokens: "optional", HopLimit: 1},
		Tags:     model.Tags{BuildTag: b.ID, "Name": b.RecipeName + " " + role},
	})
	if err != nil {
		return model.Instance{}, err
	}
	return out[0], nil
}

// withNothingLeft has all volumes go with their instance.
func withNothingLeft(mapping []model.BlockDevice) []model.BlockDevice {
	mapping = slices.Clone(mapping)
	for i := range mapping {
		mapping[i].DeleteOnTermination = true
	}
	return mapping
}

// ImageForBuild writes the intent to make the build's image of its instance. It
// is transient when it is complete, until PublishBuild.
func (c *Account) ImageForBuild(ctx context.Context, b *model.Build, instanceID string) (model.Image, error) {
	return c.CreateImage(ctx, ImageRequest{InstanceID: instanceID, Name: b.ImageName, Description: b.Describe(), NoReboot: true, build: b})
}

// PublishBuild makes the build's image available: the last step of a build.
func (c *Account) PublishBuild(ctx context.Context, id, loginUser string) error {
	return c.store.Update(ctx, func(tx *store.Tx) error {
		b, err := c.ownBuild(tx, id)
		if err != nil || b.State.Over() {
			return err
		}
		img, err := get(tx, records.Images, b.ImageID, imageNotFound(b.ImageID))
		if err != nil {
			return err
		}
		stage, err := get(tx, records.Images, b.StageImage, imageNotFound(b.StageImage))
		if err != nil {
			return err
		}
		if img.State != model.ImageTransient {
			return unavailable(&img, "published")
		}
		if err := c.settleImage(tx, &img, &b, &stage, loginUser); err != nil {
			return err
		}
		if err := c.discardOthers(tx, &b); err != nil {
			return err
		}
		b.State, b.Finished = model.BuildAvailable, c.Now()
		err = records.Lineages.Put(tx, &model.Lineage{
			ID: img.ID, OwnerID: img.OwnerID, Kind: model.LineageImage, Name: img.Name,
			Parent: cmp.Or(b.ParentImage, b.RecipeDigest), Created: img.Created, Consistency: img.Consistency,
		})
		return errors.Join(err, records.Images.Put(tx, &img), records.Builds.Put(tx, &b))
	})
}

// settleImage makes a candidate what it would be, had it been baked.
func (c *Account) settleImage(tx *store.Tx, img *model.Image, b *model.Build, stage *model.Image, loginUser string) error {
	img.State, img.Build, img.SourceInstance, img.NoReboot = model.ImageAvailable, "", "", false
	img.Tags, img.ParentImage, img.Created = b.Tags, b.ParentImage, c.Now()
	img.LoginUser = cmp.Or(loginUser, stage.LoginUser)
	img.Made = c.madeOfRecipe(b, nil, img.Created)
	if b.ParentImage != "" {
		on, err := parentOf(tx, stage)
		if err != nil {
			return err
		}
		img.Recipe, img.Made.Parent = b.RecipeRef(stage), on
	} else {
		img.Recipe = stage.Recipe
	}
	for i := range img.BlockDevices {
		for _, d := range stage.BlockDevices {
			if d.Device == img.BlockDevices[i].Device {
				img.BlockDevices[i].DeleteOnTermination = d.DeleteOnTermination
			}
		}
	}
	return nil
}

// discardOthers takes away what a build was made from and by: all its images but
// the one that comes of it.
func (c *Account) discardOthers(tx *store.Tx, b *model.Build) error {
	all, err := records.Images.List(tx)
	for i := range all {
		if all[i].Build == b.ID && all[i].ID != b.ImageID {
			err = errors.Join(err, c.discardImage(tx, &all[i]))
		}
	}
	return err
}

func (c *Account) discardImage(tx *store.Tx, img *model.Image) error {
	if err := records.Images.Delete(tx, img.ID); err != nil {
		return err
	}
	for _, b := range img.BlockDevices {
		if b.SnapshotID == "" {
			continue
		}
		if err := records.Snapshots.Delete(tx, b.SnapshotID); err != nil {
			return err
		}
	}
	return nil
}

// SweepBuild takes away what a build has made: its instances, and its images but
// the stage. It reports whether all is gone; terminating takes a while.
func (c *Account) SweepBuild(ctx context.Context, b *model.Build, keepStage bool) (gone bool, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		gone = true
		insts, err := records.Instances.List(tx)
		if err != nil {
			return err
		}
		for i := range insts {
			if insts[i].Build != b.ID || insts[i].State == model.InstanceTerminated {
				continue
			}
			gone = false
			if err := c.endForBuild(tx, &insts[i]); err != nil {
				return err
			}
		}
		if !gone {
			return nil // a pending snapshot is taken, or not, before its volume goes
		}
		images, err := records.Images.List(tx)
		for i := range images {
			if images[i].Build == b.ID && (!keepStage || images[i].ID != b.StageImage) {
				err = errors.Join(err, c.discardImage(tx, &images[i]))
			}
		}
		return err
	})
	return gone, err
}

func (c *Account) endForBuild(tx *store.Tx, i *model.Instance) error {
	if i.Desired == model.InstanceTerminated {
		return nil
	}
	i.State, i.Desired, i.ForceStop = model.InstanceShuttingDown, model.InstanceTerminated, true
	i.StopRequested = c.Now()
	c.userShutdown(i)
	return records.Instances.Put(tx, i)
}

// EndBuild records that a swept build has failed or was cancelled, and frees its name.
func (c *Account) EndBuild(ctx context.Context, id string, state model.BuildState, why model.Reason) error {
	return c.store.Update(ctx, func(tx *store.Tx) error {
		b, err := c.ownBuild(tx, id)
		if err != nil || b.State.Over() {
			return err
		}
		b.State, b.StateReason, b.Finished = state, why, c.Now()
		if err := records.Builds.Put(tx, &b); err != nil {
			return err
		}
		return records.Names.Delete(tx, records.NameKey(model.ImagePrefix, b.OwnerID, b.ImageName))
	})
}
