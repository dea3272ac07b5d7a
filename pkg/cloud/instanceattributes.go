package cloud

import (
	"context"
	"slices"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// InstanceChange is what ModifyInstanceAttribute asks for; nil leaves an attribute alone.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyInstanceAttribute.html
type InstanceChange struct {
	DisableAPIStop        *bool
	DisableAPITermination *bool
	TerminateOnHalt       *bool
	// Of stopped instances only:
	Type         *string
	UserData     *[]byte
	EbsOptimized *bool
	// Stopped refuses an instance that is not stopped, whatever else changes.
	Stopped bool
	// SourceDestCheck is that of an instance with one interface.
	SourceDestCheck *bool
	// GroupIDs are the security groups of an instance with one interface; none
	// leaves them alone.
	GroupIDs []string
	// Volumes that stay or go with the instance.
	BlockDevices []BlockDeviceChange
}

// BlockDeviceChange says whether the volume at a device goes with its instance.
type BlockDeviceChange struct {
	Device              string
	VolumeID            string // if given, the device must be this volume's
	DeleteOnTermination bool
}

// needsStopped reports whether the change is one that a running machine cannot take.
func (ch *InstanceChange) needsStopped() bool {
	return ch.Type != nil || ch.UserData != nil || ch.EbsOptimized != nil || ch.Stopped
}

// ModifyInstance changes an instance's attributes.
func (c *Account) ModifyInstance(ctx context.Context, id string, ch InstanceChange) error {
	return c.store.Update(ctx, func(tx *store.Tx) error {
		i, err := c.alive(tx, id)
		if err != nil {
			return err
		}
		if ch.needsStopped() && i.State != model.InstanceStopped {
			return model.Errorf(model.CodeIncorrectInstanceState, "The instance '%s' is not in the 'stopped' state.", id).
				WithHint("stop it first: bundt stop %s", id)
		}
		if err := ch.apply(&i); err != nil {
			return err
		}
		if err := c.changeInterface(tx, &i, ch); err != nil {
			return err
		}
		for _, b := range ch.BlockDevices {
			if err := changeDevice(tx, &i, b); err != nil {
				return err
			}
		}
		return records.Instances.Put(tx, &i)
	})
}

// changeInterface changes what belongs to the interface of an instance that has
// one: of several EC2 wants to know which.
func (c *Account) changeInterface(tx *store.Tx, i *model.Instance, ch InstanceChange) error {
	if len(ch.GroupIDs) == 0 && ch.SourceDestCheck == nil {
		return nil
	}
	if len(i.Others) > 0 {
		return model.Errorf("InvalidInstanceID", "There are multiple interfaces attached to instance '%s'. Please specify an interface ID for the operation instead.", i.ID).
			WithHint("ModifyNetworkInterfaceAttribute changes one interface")
	}
	n, err := c.networkInterface(tx, i.Interface.ID)
	if err != nil {
		return err
	}
	if len(ch.GroupIDs) > 0 {
		if err := c.regroup(tx, &n, ch.GroupIDs); err != nil {
			return err
		}
	}
	if ch.SourceDestCheck != nil {
		n.NoSourceDestCheck = !*ch.SourceDestCheck
	}
	i.SetInterface(n)
	return records.Interfaces.Put(tx, &n)
}

// alive returns an instance that can still be changed.
func (c *Account) alive(tx *store.Tx, id string) (model.Instance, error) {
	i, err := c.instance(tx, id)
	if err == nil && (i.State == model.InstanceTerminated || i.State == model.InstanceShuttingDown) {
		return i, wrongState(&i, "modified")
	}
	return i, err
}

func (ch *InstanceChange) apply(i *model.Instance) error {
	set(&i.Options.DisableAPIStop, ch.DisableAPIStop)
	set(&i.Options.DisableAPITermination, ch.DisableAPITermination)
	set(&i.TerminateOnHalt, ch.TerminateOnHalt)
	set(&i.Options.EbsOptimized, ch.EbsOptimized)
	if ch.UserData != nil {
		if len(*ch.UserData) > maxUserData {
			return userDataTooLong(len(*ch.UserData))
		}
		i.UserData = *ch.UserData
	}
	if ch.Type == nil && ch.EbsOptimized == nil {
		return nil
	}
	name := i.Type
	set(&name, ch.Type)
	typ, err := chooseType(name, i.Arch)
	if err != nil {
		return err
	}
	if err := fitsFirmware(typ, i.Boot, i.ImageID); err != nil {
		return err
	}
	if name != i.Type { // what was chosen for the old type may not be there on the new one
		i.Type, i.Options.CPUCredits, i.Options.CoreCount = typ.Name, "", 0
	}
	return fitOptions(&i.Options, typ)
}

// set assigns what was given.
func set[T any](to, given *T) {
	if given != nil {
		*to = *given
	}
}

func changeDevice(tx *store.Tx, i *model.Instance, ch BlockDeviceChange) error {
	k := slices.IndexFunc(i.Volumes, func(v model.InstanceVolume) bool { return v.Device == ch.Device })
	if k < 0 {
		return model.Errorf(model.CodeInvalidInstanceAttribute, "No device is currently mapped at %s", ch.Device)
	}
	if ch.VolumeID != "" && ch.VolumeID != i.Volumes[k].VolumeID {
		return model.Errorf(model.CodeInvalidInstanceAttribute, "The volume '%s' is not attached to instance '%s' as device %s", ch.VolumeID, i.ID, ch.Device)
	}
	i.Volumes[k].DeleteOnTermination = ch.DeleteOnTermination
	id := i.Volumes[k].VolumeID
	vol, err := get(tx, records.Volumes, id, volumeNotFound(id))
	if err != nil {
		return err
	}
	if vol.Attachment != nil {
		vol.Attachment.DeleteOnTermination = ch.DeleteOnTermination
	}
	return records.Volumes.Put(tx, &vol)
}

// MetadataChange is what ModifyInstanceMetadataOptions asks for; nil leaves an option alone.
type MetadataChange struct {
	HTTPTokens   *string
	HopLimit     *int
	Disabled     *bool
	InstanceTags *bool
	IPv6         *bool
}

// ModifyMetadata changes the options of an instance's metadata service. A running
// instance's are Pending until its node has told the service.
func (c *Account) ModifyMetadata(ctx context.Context, id string, ch MetadataChange) (out model.Instance, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		i, err := c.alive(tx, id)
		if err != nil {
			return err
		}
		set(&i.Metadata.HTTPTokens, ch.HTTPTokens)
		set(&i.Metadata.HopLimit, ch.HopLimit)
		set(&i.Metadata.Disabled, ch.Disabled)
		set(&i.Metadata.InstanceTags, ch.InstanceTags)
		set(&i.Metadata.IPv6, ch.IPv6)
		i.Metadata.Pending = i.State == model.InstanceRunning
		out = i
		return records.Instances.Put(tx, &i)
	})
	return out, err
}

// Monitor switches the detailed monitoring of instances on or off.
func (c *Account) Monitor(ctx context.Context, ids []string, on bool) error {
	_, err := c.change(ctx, ids, func(_ *store.Tx, i *model.Instance) error {
		if i.State == model.InstanceTerminated || i.State == model.InstanceShuttingDown {
			return wrongState(i, "monitored")
		}
		i.Options.DetailedMonitoring = on
		return nil
	})
	return err
}
