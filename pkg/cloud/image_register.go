package cloud

import (
	"context"
	"errors"
	"slices"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// Registration is what RegisterImage asks for.
type Registration struct {
	Name        string
	Description string
	Arch        model.Arch
	RootDevice  string
	Firmware    model.Firmware
	Mode        model.BootMode // as given; the firmware follows from it
	ENA         bool
	SriovNet    string
	IMDS        string
	Mappings    []BlockDeviceOverride
	Tags        model.Tags
}

// RegisterImage makes an image of existing snapshots and of blank volumes. It
// boots by firmware, as on EC2, unless its root snapshot belongs to an image that
// boots a kernel directly: then it boots as that one does.
func (c *Account) RegisterImage(ctx context.Context, r Registration) (model.Image, error) {
	if err := errors.Join(checkTags(r.Tags), checkDescription(r.Description)); err != nil {
		return model.Image{}, err
	}
	var img model.Image
	err := c.store.Update(ctx, func(tx *store.Tx) (err error) {
		img = model.Image{
			ID: model.NewID(model.ImagePrefix), OwnerID: c.id, Name: r.Name, Description: r.Description,
			Arch: r.Arch, State: model.ImageAvailable, Created: c.now().UTC(), RootDevice: r.RootDevice,
			Boot: model.Boot{Firmware: r.Firmware, Mode: r.Mode}, Tags: r.Tags, ENA: r.ENA, SriovNet: r.SriovNet, IMDS: r.IMDS,
		}
		if err := c.takeName(tx, img.Name, img.ID); err != nil {
			return err
		}
		if img.BlockDevices, err = c.changeMapping(tx, &img, r.Mappings); err != nil {
			return err
		}
		root := slices.IndexFunc(img.BlockDevices, func(b model.BlockDevice) bool { return b.Device == img.RootDevice })
		if root < 0 {
			return model.Errorf(model.CodeInvalidBlockDeviceMapping, "The block device mapping has no entry for the root device %q", img.RootDevice)
		}
		if img.BlockDevices[root].SnapshotID == "" {
			return model.Errorf(model.CodeInvalidBlockDeviceMapping, "The root device %q must be mapped to a snapshot", img.RootDevice)
		}
		if err := inheritBoot(tx, &img, img.BlockDevices[root].SnapshotID); err != nil {
			return err
		}
		return c.putImage(tx, &img)
	})
	return img, err
}

func inheritBoot(tx *store.Tx, img *model.Image, rootSnapshot string) error {
	images, err := records.Images.List(tx)
	if err != nil {
		return err
	}
	for _, other := range images {
		for _, b := range other.BlockDevices {
			if b.SnapshotID != rootSnapshot || b.Device != other.RootDevice {
				continue
			}
			img.ParentImage, img.LoginUser = other.ID, other.LoginUser
			if other.Boot.KernelDigest != "" {
				mode := img.Boot.Mode
				img.Boot = other.Boot
				img.Boot.Mode = mode
			}
			return nil
		}
	}
	return nil
}
