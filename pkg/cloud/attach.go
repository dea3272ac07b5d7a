package cloud

import (
	"context"
	"errors"
	"slices"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// AttachVolume writes the intent to attach a volume to an instance that runs or
// is stopped, and returns the volume with its attachment.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AttachVolume.html
func (c *Account) AttachVolume(ctx context.Context, volumeID, instanceID, device string) (model.Volume, error) {
	if err := model.CheckDevice(device); err != nil {
		return model.Volume{}, err
	}
	return c.editVolume(ctx, volumeID, func(tx *store.Tx, v *model.Volume) error {
		i, err := c.instance(tx, instanceID)
		if err != nil {
			return err
		}
		if err := attachable(v, &i, device); err != nil {
			return err
		}
		if head, err := records.Layers.Get(tx, v.Head); err != nil || head.Damage != "" {
			return errors.Join(err, model.Errorf(model.CodeIncorrectState, "Volume '%s' is impaired: %s", v.ID, head.Damage))
		}
		now := c.now().UTC()
		v.State = model.VolumeInUse
		v.Attachment = &model.Attachment{InstanceID: i.ID, Device: device, Attached: now, State: model.Attaching}
		entry := model.InstanceVolume{Device: device, VolumeID: v.ID, Attached: now, State: model.Attaching}
		at := len(i.Volumes)
		if model.SameDevice(device, i.RootDevice) {
			at = 0 // a machine boots from its first disk
		}
		i.Volumes = slices.Insert(i.Volumes, at, entry)
		return records.Instances.Put(tx, &i)
	})
}

func attachable(v *model.Volume, i *model.Instance, device string) error {
	switch {
	case v.Attachment != nil:
		return model.Errorf(model.CodeVolumeInUse, "%s is already attached to an instance", v.ID).
			WithHint("it is attached to %s; detach it first: bundt volume detach %s", v.Attachment.InstanceID, v.ID)
	case v.State != model.VolumeAvailable:
		return model.Errorf(model.CodeIncorrectState, "Volume '%s' is not 'available'.", v.ID).WithHint("it is %s", v.State)
	case i.State != model.InstanceRunning && i.State != model.InstanceStopped:
		return model.Errorf(model.CodeIncorrectState, "Instance '%s' is not 'running'.", i.ID).WithHint("it is %s", i.State)
	case len(i.Volumes) >= maxVolumes:
		return model.Errorf(model.CodeAttachmentLimit, "Instance %s already has %d volumes, which is the limit", i.ID, len(i.Volumes))
	case i.State == model.InstanceRunning && model.SameDevice(device, i.RootDevice):
		return model.Errorf(model.CodeInvalidParameterValue, "Invalid value '%s' for unixDevice. Attachment point %s is already in use", device, device)
	}
	if slices.ContainsFunc(i.Volumes, func(o model.InstanceVolume) bool { return model.SameDevice(o.Device, device) }) {
		return model.Errorf(model.CodeInvalidParameterValue, "Invalid value '%s' for unixDevice. Attachment point %s is already in use", device, device).
			WithHint("bundt volume ls shows which devices are used")
	}
	return nil
}

// Detachment is what DetachVolume asks for.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DetachVolume.html
type Detachment struct {
	VolumeID   string
	InstanceID string // optional: must be the one it is attached to
	Device     string // optional: must be the one it is attached as
	Force      bool   // whatever the guest does; also of a detachment that is under way
}

// DetachVolume writes the intent to take a volume away from its instance, and
// returns the volume with its attachment.
func (c *Account) DetachVolume(ctx context.Context, r Detachment) (model.Volume, error) {
	return c.editVolume(ctx, r.VolumeID, func(tx *store.Tx, v *model.Volume) error {
		at := v.Attachment
		if at == nil {
			return model.Errorf(model.CodeIncorrectState, "Volume '%s' is in the '%s' state.", v.ID, v.State)
		}
		if r.InstanceID != "" {
			if _, err := c.instance(tx, r.InstanceID); err != nil {
				return err
			}
		}
		if r.InstanceID != "" && r.InstanceID != at.InstanceID || r.Device != "" && !model.SameDevice(r.Device, at.Device) {
			return model.Errorf(model.CodeAttachmentNotFound, "The volume '%s' is not attached to instance '%s' as device '%s'", v.ID, r.InstanceID, r.Device).
				WithHint("it is attached to %s as %s", at.InstanceID, at.Device)
		}
		if at.State.Leaving() && !r.Force {
			return model.Errorf(model.CodeIncorrectState, "Volume '%s' is already being detached", v.ID).
				WithHint("its guest must let it go: unmount it, or detach it by force")
		}
		i, err := c.instance(tx, at.InstanceID)
		if err != nil {
			return err
		}
		if model.SameDevice(at.Device, i.RootDevice) && i.State != model.InstanceStopped {
			return model.Errorf(model.CodeOperationNotPermitted, "Unable to detach root volume '%s' from instance '%s'", v.ID, i.ID).
				WithHint("stop the instance first: bundt stop %s", i.ID)
		}
		at.State, at.Force = model.Detaching, at.Force || r.Force
		for k := range i.Volumes {
			if i.Volumes[k].VolumeID == v.ID {
				i.Volumes[k].State = model.Detaching
			}
		}
		return records.Instances.Put(tx, &i)
	})
}
