package cloud

import (
	"cmp"
	"regexp"
	"unicode/utf8"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/store"
)

// deviceName is what EC2 takes as the name of a block device.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html
var deviceName = regexp.MustCompile(`^(/dev/)?(sd[a-z]|hd[a-z]|xvd[a-d]?[a-z]|vd[a-z]|nvme[0-9]+n[0-9]+)[0-9]{0,2}$`)

// maxImageText is EC2's limit on an image's description.
const maxImageText = 255

func checkDescription(text string) error {
	if n := utf8.RuneCountInString(text); n > maxImageText {
		return model.Errorf(model.CodeInvalidParameterValue, "The description has %d characters; %d is the most", n, maxImageText)
	}
	return nil
}

func invalidDevice(name string) error {
	return model.Errorf(model.CodeInvalidBlockDeviceMapping, "Invalid device name %s", name)
}

// changeMapping applies what a request says to the block device mapping of an
// image that is made.
func (c *Account) changeMapping(tx *store.Tx, img *model.Image, changes []BlockDeviceOverride) ([]model.BlockDevice, error) {
	for _, change := range changes {
		switch {
		case !deviceName.MatchString(change.Device):
			return nil, invalidDevice(change.Device)
		case change.NoDevice && model.SameDevice(change.Device, img.RootDevice):
			return nil, model.Errorf(model.CodeInvalidBlockDeviceMapping, "The root device %s cannot be left out", change.Device)
		}
	}
	return mapDevices(img.BlockDevices, changes, func(b *model.BlockDevice, change *BlockDeviceOverride, added bool) error {
		if added {
			b.DeleteOnTermination = model.SameDevice(b.Device, img.RootDevice)
			if err := c.beginWith(tx, b, change); err != nil {
				return err
			}
		} else if change.SnapshotID != "" && change.SnapshotID != b.SnapshotID {
			return model.Errorf(model.CodeInvalidBlockDeviceMapping, "The snapshot of the device %s cannot be changed", b.Device)
		}
		if err := c.checkEncryption(change.Encryption, b.Encrypted); err != nil {
			return err
		}
		return change.apply(b)
	})
}

// beginWith gives a new entry the size, and the snapshot, that it begins with.
func (c *Account) beginWith(tx *store.Tx, b *model.BlockDevice, change *BlockDeviceOverride) error {
	b.SizeGiB = change.SizeGiB
	if change.SnapshotID == "" {
		if change.SizeGiB == 0 {
			return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter size or snapshotId of the device %s", change.Device)
		}
		return nil
	}
	snap, err := c.usableSnapshot(tx, change.SnapshotID)
	b.SnapshotID, b.SizeGiB, b.Encrypted = snap.ID, snap.SizeGiB, snap.Key != ""
	return err
}

// apply changes an entry's size, type and end.
func (o *BlockDeviceOverride) apply(b *model.BlockDevice) error {
	if o.SizeGiB != 0 && o.SizeGiB < b.SizeGiB {
		return model.Errorf(model.CodeInvalidBlockDeviceMapping, "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", o.SizeGiB, b.SnapshotID, b.SizeGiB)
	}
	b.SizeGiB = cmp.Or(o.SizeGiB, b.SizeGiB)
	if b.SizeGiB < 1 || b.SizeGiB > model.MaxVolumeGiB {
		return model.Errorf(model.CodeInvalidParameterValue, "Volume of %dGiB: expect 1GiB to %dGiB", b.SizeGiB, model.MaxVolumeGiB)
	}
	if o.DeleteOnTermination != nil {
		b.DeleteOnTermination = *o.DeleteOnTermination
	}
	kind := b.Kind()
	if o.Kind.Type != "" && o.Kind.Type != kind.Type {
		kind.IOPS, kind.Throughput = 0, 0 // were of the other type
	}
	kind = model.VolumeKind{Type: cmp.Or(o.Kind.Type, kind.Type), IOPS: cmp.Or(o.Kind.IOPS, kind.IOPS), Throughput: cmp.Or(o.Kind.Throughput, kind.Throughput)}
	b.SetKind(kind)
	_, err := kind.Complete(b.SizeGiB) // kept as it was asked for
	return err
}
