package cloud

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// BlockDeviceOverride changes one entry of an image's block device mapping, takes
// it away, or adds one: of the image that is made, or for a launch of it.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_BlockDeviceMapping.html
type BlockDeviceOverride struct {
	Device              string
	NoDevice            bool   // takes the image's entry away
	SnapshotID          string // "" keeps the image's; of a new entry: a blank volume
	SizeGiB             int64  // 0 keeps the image's, or the snapshot's
	DeleteOnTermination *bool  // nil keeps the image's; of a new entry: true
	Kind                model.VolumeKind
	Encryption          Encryption
}

// maxVolumes is how many volumes an instance can have: the root volume and one
// for each port that a machine has for others.
const maxVolumes = 17

// launchMapping is the block device mapping of a launch: the image's, changed,
// the root device first.
func (c *Account) launchMapping(tx *store.Tx, img *model.Image, over []BlockDeviceOverride) ([]model.BlockDevice, error) {
	out, err := mapDevices(img.BlockDevices, over, func(b *model.BlockDevice, o *BlockDeviceOverride, added bool) error {
		if added {
			if model.CheckDevice(o.Device) != nil {
				return invalidDevice(o.Device)
			}
			b.DeleteOnTermination = true
		}
		return c.override(tx, img, b, o)
	})
	if err != nil {
		return nil, err
	}
	root := slices.IndexFunc(out, func(b model.BlockDevice) bool { return b.Device == img.RootDevice })
	if root < 0 {
		return nil, model.Errorf(model.CodeInvalidBlockDeviceMapping, "The root device %s of %s cannot be left out", img.RootDevice, img.ID)
	}
	first := out[root]
	out = slices.Insert(slices.Delete(out, root, root+1), 0, first)
	if len(out) > maxVolumes {
		return nil, model.Errorf(model.CodeAttachmentLimit, "An instance can have %d volumes; this mapping has %d", maxVolumes, len(out))
	}
	return out, nil
}

// mapDevices applies changes to a block device mapping: each to the entry of its
// device, or to a new one.
func mapDevices(devices []model.BlockDevice, changes []BlockDeviceOverride, apply func(b *model.BlockDevice, change *BlockDeviceOverride, added bool) error) ([]model.BlockDevice, error) {
	out := slices.Clone(devices)
	for n := range changes {
		change := &changes[n]
		if slices.ContainsFunc(changes[:n], func(o BlockDeviceOverride) bool { return model.SameDevice(o.Device, change.Device) }) {
			return nil, model.Errorf(model.CodeInvalidBlockDeviceMapping, "The device '%s' is used in more than one block-device mapping", change.Device)
		}
		i := slices.IndexFunc(out, func(b model.BlockDevice) bool { return model.SameDevice(b.Device, change.Device) })
		switch {
		case !change.NoDevice:
		case i >= 0:
			out = slices.Delete(out, i, i+1)
			continue
		default:
			continue
		}
		b := model.BlockDevice{Device: change.Device}
		if i >= 0 {
			b = out[i]
		}
		if err := apply(&b, change, i < 0); err != nil {
			return nil, err
		}
		if i >= 0 {
			out[i] = b
		} else {
			out = append(out, b)
		}
	}
	return out, nil
}

// override applies one override to an entry, which may be new.
func (c *Account) override(tx *store.Tx, img *model.Image, b *model.BlockDevice, o *BlockDeviceOverride) error {
	if o.DeleteOnTermination != nil {
		b.DeleteOnTermination = *o.DeleteOnTermination
	}
	least, snapshot := b.SizeGiB, b.SnapshotID
	if o.SnapshotID != "" && o.SnapshotID != b.SnapshotID {
		if b.Device == img.RootDevice {
			return model.Errorf(model.CodeInvalidBlockDeviceMapping, "snapshotId cannot be modified on root device")
		}
		snap, err := c.usableSnapshot(tx, o.SnapshotID)
		if err != nil {
			return err
		}
		b.SnapshotID, b.SizeGiB, least, snapshot = snap.ID, snap.SizeGiB, snap.SizeGiB, snap.ID
		b.Encrypted = snap.Key != ""
	}
	if o.SizeGiB != 0 {
		if snapshot != "" && o.SizeGiB < least {
			return model.Errorf(model.CodeInvalidBlockDeviceMapping, "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", o.SizeGiB, snapshot, least)
		}
		b.SizeGiB = o.SizeGiB
	}
	if b.SizeGiB == 0 {
		return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter size or snapshotId")
	}
	if err := c.checkEncryption(o.Encryption, b.SnapshotID != "" && b.Encrypted); err != nil {
		return err
	}
	b.Encrypted = b.Encrypted || o.Encryption.Encrypted != nil && *o.Encryption.Encrypted
	kind, err := changedKind(b.Kind(), o.Kind, b.SizeGiB)
	b.SetKind(kind)
	return err
}

// newVolumes makes the records of an instance's volumes. The files come when the
// node starts the instance.
func (c *Account) newVolumes(tx *store.Tx, inst *model.Instance, mapping []model.BlockDevice, tags model.Tags) ([]model.InstanceVolume, error) {
	var out []model.InstanceVolume
	for _, b := range mapping {
		e := Encryption{}
		if b.Encrypted {
			e.Encrypted = &b.Encrypted
		}
		vol, err := c.newVolume(tx, b, e, inst.Node, inst.LaunchTime)
		if err != nil {
			return nil, err
		}
		vol.State, vol.Tags = model.VolumeInUse, maps.Clone(tags)
		vol.Attachment = &model.Attachment{
			InstanceID: inst.ID, Device: b.Device, DeleteOnTermination: b.DeleteOnTermination,
			Attached: inst.LaunchTime, State: model.Attached,
		}
		if err := records.Volumes.Put(tx, &vol); err != nil {
			return nil, err
		}
		out = append(out, model.InstanceVolume{Device: b.Device, VolumeID: vol.ID, DeleteOnTermination: b.DeleteOnTermination, Attached: inst.LaunchTime})
	}
	return out, nil
}

// newVolume makes a volume with a writable layer on its snapshot's, or on none,
// and keeps the layer's record; the volume's own is the caller's to keep.
func (c *Account) newVolume(tx *store.Tx, b model.BlockDevice, e Encryption, node string, now time.Time) (model.Volume, error) {
	kind, err := b.Kind().Complete(b.SizeGiB)
	if err != nil {
		return model.Volume{}, err
	}
	if err := hasSpace(tx, node, kind.Type); err != nil {
		return model.Volume{}, err
	}
	head := model.Layer{ID: model.NewID(model.LayerPrefix), SizeBytes: b.SizeGiB << 30, Node: node}
	var codes []string
	if b.SnapshotID != "" {
		snap, err := get(tx, records.Snapshots, b.SnapshotID, snapshotNotFound(b.SnapshotID))
		if err != nil {
			return model.Volume{}, err
		}
		head.Parent, head.Key, codes = snap.LayerID, snap.Key, snap.ProductCodes
	}
	if head.Key, err = c.dataKey(tx, head.Key, e); err != nil {
		return model.Volume{}, err
	}
	vol := model.Volume{
		ID: model.NewID(model.VolumePrefix), OwnerID: c.id, SnapshotID: b.SnapshotID, SizeGiB: b.SizeGiB,
		State: model.VolumeCreating, Head: head.ID, Created: now, VolumeKind: kind, ProductCodes: codes, Key: head.Key,
	}
	return vol, records.Layers.Put(tx, &head)
}

// hasSpace returns EC2's error if a node has no space for volumes of a type.
func hasSpace(tx *store.Tx, node, typ string) error {
	n, err := records.Nodes.Get(tx, node)
	if errors.Is(err, store.ErrNotFound) {
		return nil // it was never there: what is made waits for it
	}
	if why := n.FullTypes[typ]; err == nil && why != "" {
		err = model.Errorf(model.CodeStorageFull, "There is not enough capacity to make a %s volume: %s", typ, why)
	}
	return err
}

// hasRoot reports whether the instance's root volume is attached.
func hasRoot(i *model.Instance) bool {
	return slices.ContainsFunc(i.Volumes, func(v model.InstanceVolume) bool { return model.SameDevice(v.Device, i.RootDevice) })
}

func noRoot(i *model.Instance) *model.Error {
	return model.Errorf(model.CodeIncorrectInstanceState, "Invalid value '%s' for instanceId. Instance does not have a volume attached at root (%s)", i.ID, i.RootDevice).
		WithHint("attach one: bundt volume attach VOLUME %s --device %s", i.ID, i.RootDevice)
}
