package cloud

import (
	"context"
	"maps"
	"net/url"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// Regions are the other regions, which the owner has named.
type Regions interface {
	// Peers lists them.
	Peers() []model.Region
	// Known is an error unless a region is one of them and the account is known there.
	Known(region, account string) error
	// Call calls an action of EC2's API there.
	Call(ctx context.Context, region, account, action string, params url.Values, out any) error
}

// Regions are the regions that images can be copied from and to, this one first.
func (c *Cloud) Regions() []model.Region {
	own := model.Region{Name: c.info.Region}
	if c.regions == nil {
		return []model.Region{own}
	}
	return append([]model.Region{own}, c.regions.Peers()...)
}

// here reports whether a region is this cloud's own. One that is not known is an error.
func (c *Account) here(region string) (bool, error) {
	if region == c.info.Region {
		return true, nil
	}
	if c.regions == nil {
		return false, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter sourceRegion is invalid. The region does not exist.", region).
			WithHint("this cloud is the region %s", c.info.Region)
	}
	return false, c.regions.Known(region, c.id)
}

// checkRegional refuses what a copy from another region cannot be.
func (c *Account) checkRegional(tx *store.Tx, e Encryption) error {
	if err := c.checkEncryption(e, false); err != nil {
		return err
	}
	on := e.Encrypted != nil && *e.Encrypted
	if !on {
		rules, err := c.volumeRules(tx)
		if err != nil {
			return err
		}
		on = rules.Encrypt
	}
	if on {
		return model.Errorf(model.CodeUnsupportedOperation, "What comes from another region cannot be encrypted on its way").
			WithHint("copy it here first, with the encryption by default off, and then copy that, encrypted")
	}
	return nil
}

// copyImageFrom begins the copy of an image of another region. The image is there,
// pending, from now on; a node gets its content.
func (c *Account) copyImageFrom(ctx context.Context, r ImageCopy, hash string) (id string, err error) {
	var found ec2types.DescribeImagesOutput
	if err := c.regions.Call(ctx, r.SourceRegion, c.id, "DescribeImages", url.Values{"ImageId.1": {r.SourceImageID}}, &found); err != nil {
		return "", err
	}
	if len(found.Images) != 1 {
		return "", imageNotFound(r.SourceImageID)
	}
	src := found.Images[0]
	if state := ec2types.Value(src.State); state != string(model.ImageAvailable) {
		return "", model.Errorf(model.CodeImageIDUnavailable, "The image %s in %s is %s and cannot be copied", r.SourceImageID, r.SourceRegion, state)
	}
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		ids, err := c.idempotent(tx, "CopyImage", r.ClientToken, hash, func() ([]string, error) {
			if err := c.checkRegional(tx, r.Encryption); err != nil {
				return nil, err
			}
			img := model.Image{
				ID: model.NewID(model.ImagePrefix), OwnerID: c.id, Created: c.Now(), Name: r.Name, Description: r.Description, State: model.ImagePending,
				Arch: model.Arch(ec2types.Value(src.Architecture)), RootDevice: ec2types.Value(src.RootDeviceName), Tags: model.Tags{},
				Origin: &model.ImageOrigin{Region: r.SourceRegion, ImageID: r.SourceImageID, Reference: r.SourceRegion + "/" + r.SourceImageID},
			}
			for _, b := range src.BlockDeviceMappings {
				if b.Ebs != nil {
					img.BlockDevices = append(img.BlockDevices, model.BlockDevice{
						Device: ec2types.Value(b.DeviceName), SizeGiB: int64(ec2types.Value(b.Ebs.VolumeSize)), VolumeType: ec2types.Value(b.Ebs.VolumeType),
						DeleteOnTermination: ec2types.Value(b.Ebs.DeleteOnTermination),
					})
				}
			}
			if r.CopyTags {
				for _, t := range src.Tags {
					img.Tags[ec2types.Value(t.Key)] = ec2types.Value(t.Value)
				}
			}
			maps.Copy(img.Tags, r.Tags)
			if err := checkTags(img.Tags); err != nil {
				return nil, err
			}
			if err := c.takeName(tx, img.Name, img.ID); err != nil {
				return nil, err
			}
			if err := c.putImage(tx, &img); err != nil {
				return nil, err
			}
			return []string{img.ID}, c.putRegionCopy(tx, model.RegistryTask{ImageID: img.ID, ImageName: img.Name}, model.RegionCopy{Region: r.SourceRegion, SourceID: r.SourceImageID, SnapshotTags: r.SnapshotTags})
		})
		if err == nil {
			id = ids[0]
		}
		return err
	})
	return id, err
}

// copySnapshotFrom begins the copy of a snapshot of another region.
func (c *Account) copySnapshotFrom(ctx context.Context, r CopyRequest) (snap model.Snapshot, err error) {
	var found ec2types.DescribeSnapshotsOutput
	if err := c.regions.Call(ctx, r.Region, c.id, "DescribeSnapshots", url.Values{"SnapshotId.1": {r.SourceID}}, &found); err != nil {
		return snap, err
	}
	if len(found.Snapshots) != 1 {
		return snap, snapshotNotFound(r.SourceID)
	}
	src := found.Snapshots[0]
	if state := ec2types.Value(src.State); state != string(model.SnapshotCompleted) {
		return snap, model.Errorf(model.CodeIncorrectState, "Snapshot %s in %s is %s, not completed", r.SourceID, r.Region, state)
	}
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		if err := c.checkRegional(tx, r.Encryption); err != nil {
			return err
		}
		snap = model.Snapshot{
			ID: model.NewID(model.SnapshotPrefix), OwnerID: c.id, SizeGiB: int64(ec2types.Value(src.VolumeSize)), State: model.SnapshotPending,
			Started: c.Now(), Description: r.Description, Tags: r.Tags,
		}
		if err := c.addSnapshot(tx, &snap); err != nil {
			return err
		}
		return c.putRegionCopy(tx, model.RegistryTask{}, model.RegionCopy{Region: r.Region, SourceID: r.SourceID, SnapshotID: snap.ID})
	})
	return snap, err
}

func (c *Account) putRegionCopy(tx *store.Tx, t model.RegistryTask, r model.RegionCopy) (err error) {
	if t.Node, err = c.bakery(tx); err != nil {
		return err
	}
	t.ID, t.OwnerID, t.Created, t.State, t.Message = model.NewID(model.RegistryTaskPrefix), c.id, c.Now(), model.TaskActive, "pending"
	t.Reference, t.Copy = r.Region+"/"+r.SourceID, &r
	return records.RegistryTasks.Put(tx, &t)
}

// snapshotDevice is what the disk of a snapshot is called that travels by itself.
const snapshotDevice = "/dev/sda1"

// ToSend returns an image that the account may copy to another region, and the layers
// of its block devices. A snapshot travels as an image of one disk.
func (c *Account) ToSend(ctx context.Context, id string) (img model.Image, tops map[string]string, err error) {
	tops = map[string]string{}
	err = c.store.View(ctx, func(tx *store.Tx) error {
		if model.CheckID(model.SnapshotPrefix, id) == nil {
			img, err = c.snapshotToSend(tx, id)
		} else {
			img, err = c.imageToSend(tx, id)
		}
		if err != nil {
			return err
		}
		if err := mayLeave(&img, "copied to another region"); err != nil {
			return err
		}
		if err := mayTravel(&img, "copied to another region"); err != nil {
			return err
		}
		for _, b := range img.BlockDevices {
			if b.SnapshotID == "" {
				continue
			}
			snap, err := get(tx, records.Snapshots, b.SnapshotID, snapshotNotFound(b.SnapshotID))
			if err != nil {
				return err
			}
			if !snap.UsableBy(c.id) {
				return storageRefused(img.ID, snap.ID)
			}
			tops[b.Device] = snap.LayerID
		}
		return nil
	})
	return img, tops, err
}

func (c *Account) imageToSend(tx *store.Tx, id string) (model.Image, error) {
	img, err := c.visibleImage(tx, id)
	if err == nil && img.State != model.ImageAvailable {
		err = unavailable(&img, "copied")
	}
	img.Recipe = nil // as with every copy: it is its owner's
	return img, err
}

func (c *Account) snapshotToSend(tx *store.Tx, id string) (model.Image, error) {
	snap, err := c.usableSnapshot(tx, id)
	return model.Image{
		ID: id, Name: id, Arch: model.X8664, RootDevice: snapshotDevice, Boot: model.Boot{Firmware: model.FirmwareBIOS}, Created: snap.Started,
		Consistency: snap.Consistency, ProductCodes: snap.ProductCodes,
		BlockDevices: []model.BlockDevice{{Device: snapshotDevice, SizeGiB: snap.SizeGiB, SnapshotID: id, Encrypted: snap.Key != ""}},
	}, err
}

// storageRefused is the error for an image whose snapshot is not shared.
func storageRefused(image, snapshot string) error {
	return model.Errorf("InvalidRequest", "You do not have permission to access the storage of this ami").
		WithHint("the owner of %s must share its snapshot %s with this account too", image, snapshot)
}
