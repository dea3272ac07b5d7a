package cloud

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// ImageRequest is what CreateImage asks for.
type ImageRequest struct {
	InstanceID   string
	Name         string
	Description  string
	NoReboot     bool
	Tags         model.Tags
	SnapshotTags model.Tags
	// Mappings changes the block device mapping that the instance's volumes give.
	Mappings []BlockDeviceOverride

	build *model.Build // that the image is the candidate of
}

// CreateImage writes the intent to make an image of an instance's volumes and
// returns the image as pending.
func (c *Account) CreateImage(ctx context.Context, r ImageRequest) (model.Image, error) {
	if err := errors.Join(checkTags(r.Tags, r.SnapshotTags), checkDescription(r.Description)); err != nil {
		return model.Image{}, err
	}
	var img model.Image
	err := c.store.Update(ctx, func(tx *store.Tx) error {
		i, err := c.instance(tx, r.InstanceID)
		if err != nil {
			return err
		}
		if i.State != model.InstanceRunning && i.State != model.InstanceStopped {
			return wrongState(&i, "imaged")
		}
		if !hasRoot(&i) {
			return noRoot(&i)
		}
		now := c.now().UTC()
		img = model.Image{
			ID: model.NewID(model.ImagePrefix), OwnerID: c.id, Name: r.Name, Description: r.Description,
			Arch: i.Arch, State: model.ImagePending, Created: now, RootDevice: i.RootDevice, Boot: i.Boot,
			LoginUser: i.LoginUser, Tags: r.Tags, SourceInstance: i.ID, ParentImage: i.ImageID, NoReboot: r.NoReboot,
			ENA: true,
		}
		img.Made = &model.Making{
			Kind: model.MadeOfInstance, ID: img.ID, Started: now, Finished: now, Version: c.version, Instance: i.ID, NoReboot: r.NoReboot,
			Parent: &model.ParentImage{ID: i.ImageID},
		}
		if parent, err := records.Images.Get(tx, i.ImageID); err == nil {
			img.IMDS, img.SriovNet = parent.IMDS, parent.SriovNet
			img.Made.Inputs = slices.Clone(parent.Materials())
			if img.Made.Parent, err = parentOf(tx, &parent); err != nil {
				return err
			}
		}
		if r.build != nil { // which has the name
			img.ID, img.Build, img.Recipe = r.build.ImageID, r.build.ID, r.build.RecipeRef(nil)
		} else if err := c.takeName(tx, img.Name, img.ID); err != nil {
			return err
		}
		if img.BlockDevices, err = c.newSnapshots(tx, &i, &img, r); err != nil {
			return err
		}
		if img.BlockDevices, err = c.changeMapping(tx, &img, r.Mappings); err != nil {
			return err
		}
		if !r.NoReboot && i.State == model.InstanceRunning {
			// The node takes the snapshot between the guest's halt and its start.
			requestReboot(&i, now)
			if err := records.Instances.Put(tx, &i); err != nil {
				return err
			}
		}
		return c.putImage(tx, &img)
	})
	return img, err
}

func requestReboot(i *model.Instance, now time.Time) {
	if i.RebootsRequested == i.RebootsDone {
		i.StopRequested = now
	}
	i.Reachability = model.ReachabilityInitializing
	i.RebootsRequested++
}

// newSnapshots makes a pending snapshot record for each of the instance's volumes
// that the request does not leave out and that are not being detached.
func (c *Account) newSnapshots(tx *store.Tx, i *model.Instance, img *model.Image, r ImageRequest) ([]model.BlockDevice, error) {
	var out []model.BlockDevice
	for _, v := range i.Volumes {
		if slices.ContainsFunc(r.Mappings, func(m BlockDeviceOverride) bool { return m.NoDevice && model.SameDevice(m.Device, v.Device) }) {
			continue
		}
		vol, err := get(tx, records.Volumes, v.VolumeID, volumeNotFound(v.VolumeID))
		if err != nil {
			return nil, err
		}
		if vol.Attachment != nil && vol.Attachment.State.Leaving() {
			continue
		}
		snap := pendingSnapshot(&vol, img.ID, img.Created)
		snap.Tags, snap.Description = maps.Clone(r.SnapshotTags), "Created by CreateImage("+i.ID+") for "+img.ID
		if err := c.addSnapshot(tx, &snap); err != nil {
			return nil, err
		}
		b := model.BlockDevice{Device: v.Device, SnapshotID: snap.ID, SizeGiB: vol.SizeGiB, DeleteOnTermination: v.DeleteOnTermination, Encrypted: vol.Key != ""}
		b.SetKind(vol.Asked())
		out = append(out, b)
	}
	return out, nil
}

// addSnapshot keeps a new snapshot, within the account's quota.
func (c *Account) addSnapshot(tx *store.Tx, snap *model.Snapshot) error {
	if err := oneMore(c, tx, records.Snapshots, model.QuotaSnapshots, codeSnapshotLimit); err != nil {
		return err
	}
	return records.Snapshots.Put(tx, snap)
}

// putImage keeps a new image, within the account's quota. It has the product codes of
// what is on its disks.
func (c *Account) putImage(tx *store.Tx, img *model.Image) (err error) {
	if err := oneMore(c, tx, records.Images, model.QuotaImages, codeResourceLimit); err != nil {
		return err
	}
	if img.ProductCodes, err = productCodes(tx, img.BlockDevices); err != nil {
		return err
	}
	parent := img.SourceInstance
	switch {
	case img.Recipe != nil && img.ParentImage == "":
		parent = img.Recipe.Digest
	case parent == "":
		parent = img.ParentImage
	}
	err = records.Lineages.Put(tx, &model.Lineage{ID: img.ID, OwnerID: img.OwnerID, Kind: model.LineageImage, Name: img.Name, Parent: parent, Created: img.Created})
	if err != nil {
		return err
	}
	return records.Images.Put(tx, img)
}

// takeName reserves an image name, which is unique per owner.
func (c *Account) takeName(tx *store.Tx, name, id string) error {
	return records.TakeImageName(tx, c.id, name, id)
}

func imageNotFound(id string) *model.Error {
	return model.Errorf(model.CodeImageIDNotFound, "The image id '[%s]' does not exist", id).
		WithHint("bundt image ls shows the images there are; bundt build makes one from a recipe")
}
