package cloud

import (
	"context"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// VolumeRequest is what CreateVolume asks for.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
type VolumeRequest struct {
	Zone        string
	SizeGiB     int64 // 0 is the snapshot's
	SnapshotID  string
	Kind        model.VolumeKind
	Encryption  Encryption
	Tags        model.Tags
	ClientToken string `json:"-"`
}

// CreateVolume writes the intent to make a volume and returns it as creating.
func (c *Account) CreateVolume(ctx context.Context, r VolumeRequest) (model.Volume, error) {
	if err := checkTags(r.Tags); err != nil {
		return model.Volume{}, err
	}
	if r.Zone != c.Zone() {
		return model.Volume{}, model.Errorf(model.CodeZoneNotFound, "The zone '%s' does not exist.", r.Zone).WithHint("this cloud has the zone %s", c.Zone())
	}
	if r.SizeGiB == 0 && r.SnapshotID == "" {
		return model.Volume{}, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter size/snapshot")
	}
	hash, err := paramsHash(r)
	if err != nil {
		return model.Volume{}, err
	}
	var vol model.Volume
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		ids, err := c.idempotent(tx, "CreateVolume", r.ClientToken, hash, func() ([]string, error) {
			v, err := c.createVolume(tx, r)
			return []string{v.ID}, err
		})
		if err == nil {
			vol, err = c.volume(tx, ids[0])
		}
		return err
	})
	return vol, err
}

func (c *Account) createVolume(tx *store.Tx, r VolumeRequest) (model.Volume, error) {
	b := model.BlockDevice{SnapshotID: r.SnapshotID, SizeGiB: r.SizeGiB}
	b.SetKind(r.Kind)
	node, err := anyNode(tx)
	if err != nil {
		return model.Volume{}, err
	}
	if r.SnapshotID != "" {
		snap, err := c.usableSnapshot(tx, r.SnapshotID)
		if err != nil {
			return model.Volume{}, err
		}
		if b.SizeGiB == 0 {
			b.SizeGiB = snap.SizeGiB
		}
		if b.SizeGiB < snap.SizeGiB {
			return model.Volume{}, model.Errorf(model.CodeInvalidParameterValue, "Volume of %dGiB is smaller than snapshot '%s', expect size >= %dGiB", b.SizeGiB, snap.ID, snap.SizeGiB)
		}
		layer, err := records.Layers.Get(tx, snap.LayerID)
		if err != nil {
			return model.Volume{}, err
		}
		node = layer.Node
	}
	if err := c.volumeQuota(tx, 1, b.SizeGiB); err != nil {
		return model.Volume{}, err
	}
	vol, err := c.newVolume(tx, b, r.Encryption, node, c.now().UTC())
	if err != nil {
		return vol, err
	}
	vol.Tags = r.Tags
	return vol, records.Volumes.Put(tx, &vol)
}

// anyNode is the node that keeps a volume that nothing ties to one.
func anyNode(tx *store.Tx) (string, error) {
	nodes, err := records.Nodes.List(tx)
	if err != nil {
		return "", err
	}
	if len(nodes) == 0 {
		return "", model.Errorf(model.CodeStorageFull, "There is no node to keep the volume").WithHint("wait until the daemon has started")
	}
	return nodes[0].ID, nil
}

// volume returns one of the account's volumes.
func (c *Account) volume(tx *store.Tx, id string) (model.Volume, error) {
	if err := model.CheckID(model.VolumePrefix, id); err != nil {
		return model.Volume{}, model.Errorf(model.CodeVolumeIDMalformed, "Invalid id: %v", err)
	}
	return own(c, tx, records.Volumes, id, volumeNotFound(id))
}

// editVolume changes a volume's record in one transaction and returns it.
func (c *Account) editVolume(ctx context.Context, id string, edit func(*store.Tx, *model.Volume) error) (vol model.Volume, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		if vol, err = c.volume(tx, id); err != nil {
			return err
		}
		if err := edit(tx, &vol); err != nil {
			return err
		}
		return records.Volumes.Put(tx, &vol)
	})
	return vol, err
}

// DeleteVolume writes the intent to delete a volume that is attached to nothing.
// Snapshots of it stay.
func (c *Account) DeleteVolume(ctx context.Context, id string) error {
	_, err := c.editVolume(ctx, id, func(_ *store.Tx, v *model.Volume) error {
		if v.Attachment != nil {
			return model.Errorf(model.CodeVolumeInUse, "Volume %s is currently attached to %s", v.ID, v.Attachment.InstanceID).
				WithHint("detach it first: bundt volume detach %s", v.ID)
		}
		if v.State != model.VolumeAvailable && v.State != model.VolumeErrored && v.State != model.VolumeDeleting {
			return incorrectState(v, "available")
		}
		v.State = model.VolumeDeleting
		return nil
	})
	return err
}

// VolumeChange is what ModifyVolume asks for; zero values keep what there is.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVolume.html
type VolumeChange struct {
	VolumeID string
	SizeGiB  int64
	Kind     model.VolumeKind
}

// ModifyVolume writes the intent to grow a volume or to change its type. Unlike
// on EC2 the next change need not wait for six hours, only for this one.
func (c *Account) ModifyVolume(ctx context.Context, r VolumeChange) (model.Volume, error) {
	return c.editVolume(ctx, r.VolumeID, func(tx *store.Tx, v *model.Volume) error {
		switch {
		case r.SizeGiB == 0 && r.Kind == (model.VolumeKind{}):
			return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter size, volumeType, iops or throughput")
		case v.State != model.VolumeAvailable && v.State != model.VolumeInUse:
			return incorrectState(v, "available' or 'in-use")
		case v.Modifying():
			return model.Errorf(model.CodeIncorrectModificationState, "The volume %s is currently being modified", v.ID).
				WithHint("wait until it is done: aws ec2 describe-volumes-modifications shows it")
		}
		m := &model.VolumeModification{
			State: model.ModificationModifying, Started: c.now().UTC(),
			OriginalSize: v.SizeGiB, TargetSize: v.SizeGiB, Original: v.VolumeKind, Target: v.VolumeKind,
		}
		if r.SizeGiB != 0 {
			m.TargetSize = r.SizeGiB
		}
		if m.TargetSize < v.SizeGiB {
			return model.Errorf(model.CodeInvalidParameterValue, "New size cannot be smaller than existing size").
				WithHint("volume %s has %d GiB; copy its data to a smaller one", v.ID, v.SizeGiB)
		}
		if grown := m.TargetSize - v.SizeGiB; grown > 0 {
			if err := c.volumeQuota(tx, 0, grown); err != nil {
				return err
			}
		}
		var err error
		if m.Target, err = changedKind(v.VolumeKind, r.Kind, m.TargetSize); err != nil {
			return err
		}
		v.Modification = m
		return nil
	})
}

// changedKind is the kind that a change makes of one. A change of type forgets
// the performance that was provisioned for the old one.
func changedKind(old, change model.VolumeKind, sizeGiB int64) (model.VolumeKind, error) {
	k := old
	if change.Type != "" && change.Type != old.Type {
		k = model.VolumeKind{Type: change.Type}
	}
	k = k.Asked()
	if change.IOPS != 0 {
		k.IOPS = change.IOPS
	}
	if change.Throughput != 0 {
		k.Throughput = change.Throughput
	}
	return k.Complete(sizeGiB)
}

// Volume returns one of the account's volumes.
func (c *Account) Volume(ctx context.Context, id string) (v model.Volume, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		v, err = c.volume(tx, id)
		return err
	})
	return v, err
}

// SetAutoEnableIO changes the attribute of that name. bundt never stops a
// volume's I/O by itself, so there is nothing to enable.
func (c *Account) SetAutoEnableIO(ctx context.Context, id string, on *bool) error {
	_, err := c.editVolume(ctx, id, func(_ *store.Tx, v *model.Volume) error {
		if on == nil {
			return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter AutoEnableIO")
		}
		v.AutoEnableIO = *on
		return nil
	})
	return err
}

func incorrectState(v *model.Volume, want string) *model.Error {
	return model.Errorf(model.CodeIncorrectState, "Volume '%s' is in the '%s' state. The volume must be '%s'", v.ID, v.State, want)
}

func volumeNotFound(id string) *model.Error {
	return model.Errorf(model.CodeVolumeNotFound, "The volume '%s' does not exist.", id).
		WithHint("bundt volume ls shows the volumes there are")
}
