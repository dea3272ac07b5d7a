package cloud

import (
	"slices"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// MaxInterfaces is the most network interfaces of an instance.
const MaxInterfaces = 8

// LaunchInterface is one interface that a launch asks for: a new one, or one
// that there is.
type LaunchInterface struct {
	InterfaceSpec
	DeviceIndex         int
	InterfaceID         string // an interface that there is; only DeviceIndex goes with it
	AssociatePublic     *bool  // nil for the subnet's choice
	DeleteOnTermination *bool  // nil: a new interface goes, one that there was stays
}

// checkInterfaces refuses interfaces that do not go together.
func (l *Launch) checkInterfaces() error {
	var seen []int
	for i := range l.Interfaces {
		n := &l.Interfaces[i]
		if n.DeviceIndex < 0 || n.DeviceIndex >= MaxInterfaces {
			return model.Errorf(model.CodeInvalidParameterValue, "Device index %d: an instance has at most %d network interfaces", n.DeviceIndex, MaxInterfaces)
		}
		if slices.Contains(seen, n.DeviceIndex) {
			return model.Errorf(model.CodeInvalidParameterValue, "Each network interface requires a unique device index.")
		}
		seen = append(seen, n.DeviceIndex)
		switch {
		case l.MaxCount > 1 && (n.InterfaceID != "" || n.PrivateIP != "" || len(n.Secondary)+len(n.IPv6) > 0):
			return model.Errorf(model.CodeInvalidParameterCombination, "A network interface or a private address of your choice can be for one instance only: MaxCount must be 1")
		case n.AssociatePublic != nil && (n.InterfaceID != "" || n.DeviceIndex != 0 || len(l.Interfaces) > 1):
			return model.Errorf(model.CodeInvalidParameterCombination, "The associatePublicIPAddress parameter can only be specified for the network interface with DeviceIndex 0, new and the only one")
		case n.InterfaceID != "" && (n.SubnetID+n.PrivateIP+n.Description != "" || len(n.GroupIDs)+len(n.Secondary)+n.SecondaryCount+len(n.IPv6) > 0 || n.IPv6Count != nil):
			return model.Errorf(model.CodeInvalidParameterCombination, "A network interface may not specify both a network interface ID and a subnet, groups, addresses or a description")
		}
	}
	if !slices.Contains(seen, 0) {
		return model.Errorf(model.CodeInvalidParameterCombination, "When specifying network interfaces, you must include a device at index 0.")
	}
	return nil
}

// addInterfaces gives a new instance its interfaces.
func (c *Account) addInterfaces(tx *store.Tx, inst *model.Instance, l Launch) error {
	for i := range l.Interfaces {
		want := &l.Interfaces[i]
		n, err := c.launchInterface(tx, want, l, len(l.Interfaces) == 1)
		if err != nil {
			return err
		}
		if inst.Interface.ID != "" && n.VPCID != inst.Interface.VPCID {
			return model.Errorf(model.CodeInvalidParameterCombination, "The network interfaces of an instance must be in one VPC")
		}
		n.Attachment = &model.InterfaceAttachment{
			ID: model.NewID(model.AttachmentPrefix), InstanceID: inst.ID, DeviceIndex: want.DeviceIndex,
			DeleteOnTermination: want.InterfaceID == "", Attached: inst.LaunchTime,
		}
		if want.DeleteOnTermination != nil {
			n.Attachment.DeleteOnTermination = *want.DeleteOnTermination
		}
		if err := records.Interfaces.Put(tx, &n); err != nil {
			return err
		}
		inst.SetInterface(n)
	}
	return nil
}

// launchInterface makes an interface, or takes one that waits for an instance.
func (c *Account) launchInterface(tx *store.Tx, want *LaunchInterface, l Launch, only bool) (model.NetworkInterface, error) {
	if want.InterfaceID != "" {
		n, err := c.networkInterface(tx, want.InterfaceID)
		if err == nil && n.Attachment != nil {
			err = model.Errorf("InvalidNetworkInterface.InUse", "Interface: [%s] in use.", n.ID)
		}
		return n, err
	}
	n, subnet, err := c.newInterface(tx, want.InterfaceSpec)
	if err != nil {
		return n, err
	}
	n.Tags = l.InterfaceTags
	if want.DeviceIndex == 0 && only {
		n.AutoPublic = subnet.MapPublicIP
		if want.AssociatePublic != nil {
			n.AutoPublic = *want.AssociatePublic
		}
	}
	return n, c.assignPublic(tx, &n)
}
