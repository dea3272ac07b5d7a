package cloud

import (
	"cmp"
	"regexp"
	"slices"
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

// ImageMapping is one entry of the block device mapping that CreateImage or
// RegisterImage asks for. What is zero keeps what is there.
type ImageMapping struct {
	Device              string
	NoDevice            bool // leave the device out
	SnapshotID          string
	SizeGiB             int64
	DeleteOnTermination *bool
	VolumeType          string
	IOPS, Throughput    int64
}

// changeMapping applies what a request says to the image's block device mapping:
// entries for devices that it has change them, others are added.
func (c *Account) changeMapping(tx *store.Tx, img *model.Image, changes []ImageMapping) ([]model.BlockDevice, error) {
	out := slices.Clone(img.BlockDevices)
	seen := map[string]bool{}
	for _, m := range changes {
		if !deviceName.MatchString(m.Device) {
			return nil, model.Errorf(model.CodeInvalidBlockDeviceMapping, "Invalid device name %s", m.Device)
		}
		if seen[m.Device] {
			return nil, model.Errorf(model.CodeInvalidBlockDeviceMapping, "The device '%s' is used in more than one block-device mapping", m.Device)
		}
		seen[m.Device] = true
		if m.NoDevice {
			if m.Device == img.RootDevice {
				return nil, model.Errorf(model.CodeInvalidBlockDeviceMapping, "The root device %s cannot be left out", m.Device)
			}
			continue
		}
		i := slices.IndexFunc(out, func(b model.BlockDevice) bool { return b.Device == m.Device })
		var err error
		if i < 0 {
			var b model.BlockDevice
			b, err = c.addDevice(tx, m, m.Device == img.RootDevice)
			out = append(out, b)
		} else {
			err = m.change(&out[i])
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// addDevice is an entry for a device that the image does not have yet.
func (c *Account) addDevice(tx *store.Tx, m ImageMapping, root bool) (model.BlockDevice, error) {
	b := model.BlockDevice{Device: m.Device, DeleteOnTermination: root, SizeGiB: m.SizeGiB}
	if m.SnapshotID == "" && m.SizeGiB == 0 {
		return b, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter size or snapshotId of the device %s", m.Device)
	}
	if m.SnapshotID != "" {
		snap, err := c.usableSnapshot(tx, m.SnapshotID)
		if err != nil {
			return b, err
		}
		b.SnapshotID, b.SizeGiB = snap.ID, snap.SizeGiB
		m.SnapshotID = ""
	}
	return b, m.change(&b)
}

// change applies the entry to one of the same device.
func (m ImageMapping) change(b *model.BlockDevice) error {
	if m.SnapshotID != "" && m.SnapshotID != b.SnapshotID {
		return model.Errorf(model.CodeInvalidBlockDeviceMapping, "The snapshot of the device %s cannot be changed", b.Device)
	}
	if m.SizeGiB != 0 && m.SizeGiB < b.SizeGiB {
		return model.Errorf(model.CodeInvalidBlockDeviceMapping, "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", m.SizeGiB, b.SnapshotID, b.SizeGiB)
	}
	b.SizeGiB = cmp.Or(m.SizeGiB, b.SizeGiB)
	if b.SizeGiB < 1 || b.SizeGiB > model.MaxVolumeGiB {
		return model.Errorf(model.CodeInvalidParameterValue, "Volume of %dGiB: expect 1GiB to %dGiB", b.SizeGiB, model.MaxVolumeGiB)
	}
	if m.DeleteOnTermination != nil {
		b.DeleteOnTermination = *m.DeleteOnTermination
	}
	if m.VolumeType != "" && m.VolumeType != b.VolumeType {
		b.IOPS, b.Throughput = 0, 0 // were of the other type
	}
	b.VolumeType, b.IOPS, b.Throughput = cmp.Or(m.VolumeType, b.VolumeType), cmp.Or(m.IOPS, b.IOPS), cmp.Or(m.Throughput, b.Throughput)
	_, err := b.Kind().Complete(b.SizeGiB) // kept as it was asked for
	return err
}
