package cloud

import (
	"context"
	"slices"
	"unicode/utf8"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// CreateNetworkInterface makes an interface that waits for an instance.
func (c *Account) CreateNetworkInterface(ctx context.Context, s InterfaceSpec, token string, tags model.Tags) (n model.NetworkInterface, err error) {
	if err := checkTags(tags); err != nil {
		return n, err
	}
	hash, err := paramsHash([]any{s, tags})
	if err != nil {
		return n, err
	}
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		ids, err := c.idempotent(tx, "CreateNetworkInterface", token, hash, func() ([]string, error) {
			made, _, err := c.newInterface(tx, s)
			if err != nil {
				return nil, err
			}
			if err := checkInterfaceDescription(s.Description); err != nil {
				return nil, err
			}
			made.Tags = tags
			return []string{made.ID}, records.Interfaces.Put(tx, &made)
		})
		if err != nil {
			return err
		}
		n, err = c.networkInterface(tx, ids[0])
		return err
	})
	if err != nil {
		return n, err
	}
	return n, c.name(ctx, func(name func(*model.NetworkInterface)) { name(&n) })
}

func checkInterfaceDescription(s string) error {
	if utf8.RuneCountInString(s) > 255 {
		return model.Errorf(model.CodeInvalidParameterValue, "The description has more than 255 characters")
	}
	return nil
}

// DeleteNetworkInterface removes an interface that is attached to nothing.
func (c *Account) DeleteNetworkInterface(ctx context.Context, id string) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		n, err := c.networkInterface(tx, id)
		if err != nil {
			return err
		}
		if n.Attachment != nil {
			return model.Errorf("InvalidNetworkInterface.InUse", "Network interface '%s' is currently in use.", n.ID).
				WithHint("the instance %s has it", n.Attachment.InstanceID)
		}
		return records.DeleteInterface(tx, &n)
	})
}

// AttachNetworkInterface gives an instance that runs or is stopped another
// interface, and returns the attachment's id.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AttachNetworkInterface.html
func (c *Account) AttachNetworkInterface(ctx context.Context, id, instanceID string, device int) (attachment string, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		n, err := c.networkInterface(tx, id)
		if err != nil {
			return err
		}
		inst, err := c.instance(tx, instanceID)
		if err != nil {
			return err
		}
		if n.Attachment != nil {
			return model.Errorf("InvalidNetworkInterface.InUse", "Interface: [%s] in use.", n.ID)
		}
		if err := interfaceAttachable(&inst, &n, device); err != nil {
			return err
		}
		attachment = model.NewID(model.AttachmentPrefix)
		n.Attachment = &model.InterfaceAttachment{ID: attachment, InstanceID: inst.ID, DeviceIndex: device, Attached: c.Now()}
		if inst.State == model.InstanceRunning {
			n.Attachment.State = model.Attaching // until its machine has it
		}
		return records.PutInterface(tx, &n)
	})
	return attachment, err
}

func interfaceAttachable(inst *model.Instance, n *model.NetworkInterface, device int) error {
	switch {
	case n.VPCID != inst.Interface.VPCID:
		return model.Errorf(model.CodeInvalidParameterCombination, "The network interface %s and the instance %s are in different VPCs", n.ID, inst.ID)
	case inst.State != model.InstanceStopped && inst.State != model.InstanceRunning:
		return wrongState(inst, "given an interface")
	case device < 1 || device >= MaxInterfaces:
		return model.Errorf(model.CodeInvalidParameterValue, "Invalid device index %d: it must be 1 to %d", device, MaxInterfaces-1)
	}
	for _, o := range inst.Others {
		if o.Attachment.DeviceIndex == device {
			return model.Errorf(model.CodeInvalidParameterValue, "Instance '%s' already has an interface attached at device index '%d'.", inst.ID, device)
		}
	}
	return nil
}

// DetachNetworkInterface takes an interface from an instance; from a running one
// when its guest lets it go, by force whatever the guest does.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DetachNetworkInterface.html
func (c *Account) DetachNetworkInterface(ctx context.Context, attachmentID string, force bool) error {
	if model.CheckID(model.AttachmentPrefix, attachmentID) != nil {
		return model.Errorf("InvalidAttachmentID.Malformed", "Invalid id: \"%s\" (expecting \"eni-attach-...\")", attachmentID)
	}
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		all, err := records.Interfaces.List(tx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(n model.NetworkInterface) bool {
			return n.OwnerID == c.id && n.Attachment != nil && n.Attachment.ID == attachmentID
		})
		if i < 0 {
			return model.Errorf("InvalidAttachmentID.NotFound", "The interface attachment '%s' does not exist.", attachmentID)
		}
		n := &all[i]
		inst, err := c.instance(tx, n.Attachment.InstanceID)
		if err != nil {
			return err
		}
		at := *n.Attachment
		switch {
		case at.DeviceIndex == 0:
			return model.Errorf("OperationNotPermitted", "The network interface at device index 0 cannot be detached.")
		case inst.State == model.InstanceStopped:
			return records.DetachInterface(tx, n)
		case inst.State != model.InstanceRunning:
			return wrongState(&inst, "deprived of an interface")
		case at.State.Leaving() && !force:
			return model.Errorf(model.CodeIncorrectState, "The interface attachment '%s' is already being detached", attachmentID).
				WithHint("its guest must let it go: take it down, or detach it by force")
		}
		at.State, at.Force = model.Detaching, at.Force || force
		n.Attachment = &at
		return records.PutInterface(tx, n)
	})
}

// InterfaceChange is what of an interface is to change; nil keeps it.
type InterfaceChange struct {
	Description         *string
	GroupIDs            []string
	AttachmentID        string
	DeleteOnTermination *bool
	AssociatePublic     *bool // a public address whenever its instance runs
	SourceDestCheck     *bool
}

// ModifyNetworkInterface changes an interface's attributes.
func (c *Account) ModifyNetworkInterface(ctx context.Context, id string, ch InterfaceChange) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		n, err := c.networkInterface(tx, id)
		if err != nil {
			return err
		}
		if ch.Description != nil {
			if err := checkInterfaceDescription(*ch.Description); err != nil {
				return err
			}
			n.Description = *ch.Description
		}
		if len(ch.GroupIDs) > 0 {
			if err := c.regroup(tx, &n, ch.GroupIDs); err != nil {
				return err
			}
		}
		if ch.SourceDestCheck != nil {
			n.NoSourceDestCheck = !*ch.SourceDestCheck
		}
		if ch.DeleteOnTermination != nil {
			if n.Attachment == nil || n.Attachment.ID != ch.AttachmentID {
				return model.Errorf("InvalidAttachmentID.NotFound", "The interface attachment '%s' does not exist.", ch.AttachmentID)
			}
			n.Attachment.DeleteOnTermination = *ch.DeleteOnTermination
		}
		if ch.AssociatePublic != nil {
			if err := c.associatePublic(tx, &n, *ch.AssociatePublic); err != nil {
				return err
			}
		}
		return records.PutInterface(tx, &n)
	})
}

// regroup puts an interface into these security groups instead of those it is in.
// The interface is the caller's to write.
func (c *Account) regroup(tx *store.Tx, n *model.NetworkInterface, ids []string) error {
	subnet, err := records.Subnets.Get(tx, n.SubnetID)
	if err != nil {
		return err
	}
	groups, err := c.interfaceGroups(tx, &subnet, ids, nil)
	if err != nil {
		return err
	}
	n.Groups = groups
	return nil
}

// associatePublic turns on or off that an interface has a public address while
// its instance runs; at once if it does. As on EC2 it is so for the primary
// interface of an instance only, and an elastic address stays.
func (c *Account) associatePublic(tx *store.Tx, n *model.NetworkInterface, on bool) error {
	n.AutoPublic = on
	if n.Attachment == nil || n.Attachment.DeviceIndex != 0 {
		return nil
	}
	inst, err := c.instance(tx, n.Attachment.InstanceID)
	switch {
	case err != nil:
		return err
	case !on && n.AllocationID == "":
		return records.DropPublic(tx, n)
	case inst.State == model.InstancePending || inst.State == model.InstanceRunning:
		return c.assignPublic(tx, n)
	}
	return nil
}

// AssignPrivateAddresses gives an interface secondary private addresses: these,
// and more of any. With reassign, those that another interface has as secondary
// ones are taken from it. It returns the new ones.
func (c *Account) AssignPrivateAddresses(ctx context.Context, id string, given []string, more int, reassign bool) (out []string, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		n, err := c.networkInterface(tx, id)
		if err != nil {
			return err
		}
		if (len(given) == 0) == (more == 0) {
			return model.Errorf(model.CodeInvalidParameterCombination, "Exactly one of private addresses and a number of them is needed")
		}
		subnet, err := records.Subnets.Get(tx, n.SubnetID)
		if err != nil {
			return err
		}
		if reassign {
			if err := c.takeAway(tx, &n, given); err != nil {
				return err
			}
		}
		had := len(n.Secondary)
		if err := addSecondary(tx, &n, &subnet, given, more); err != nil {
			return err
		}
		out = nil
		for _, p := range n.Secondary[had:] {
			out = append(out, p.IP)
		}
		return records.PutInterface(tx, &n)
	})
	return out, err
}

// takeAway frees addresses that other interfaces have as secondary ones.
func (c *Account) takeAway(tx *store.Tx, n *model.NetworkInterface, ips []string) error {
	for _, ip := range ips {
		a, err := records.Addresses.Get(tx, records.AddressKey(n.SubnetID, ip))
		if err != nil || a.InterfaceID == n.ID {
			continue // free, or this one's: what follows says so
		}
		other, err := c.networkInterface(tx, a.InterfaceID)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(other.Secondary, func(p model.PrivateAddress) bool { return p.IP == ip })
		if i < 0 {
			continue // its primary address stays
		}
		if err := records.DropSecondary(tx, &other, other.Secondary[i]); err != nil {
			return err
		}
		other.Secondary = slices.Delete(other.Secondary, i, i+1)
		if err := records.PutInterface(tx, &other); err != nil {
			return err
		}
	}
	return nil
}

// UnassignPrivateAddresses takes secondary private addresses from an interface.
func (c *Account) UnassignPrivateAddresses(ctx context.Context, id string, ips []string) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		n, err := c.networkInterface(tx, id)
		if err != nil {
			return err
		}
		for _, ip := range ips {
			i := slices.IndexFunc(n.Secondary, func(p model.PrivateAddress) bool { return p.IP == ip })
			if i < 0 {
				return model.Errorf(model.CodeInvalidParameterValue, "Some of the specified addresses are not assigned to interface %s: %s", n.ID, ip)
			}
			if err := records.DropSecondary(tx, &n, n.Secondary[i]); err != nil {
				return err
			}
			n.Secondary = slices.Delete(n.Secondary, i, i+1)
		}
		return records.PutInterface(tx, &n)
	})
}
