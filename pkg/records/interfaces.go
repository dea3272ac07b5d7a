package records

import (
	"errors"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/store"
)

// PutInterface writes an interface, and the copy of it in the record of the
// instance that it is attached to: whoever has an instance knows its interfaces
// without another read.
func PutInterface(tx *store.Tx, n *model.NetworkInterface) error {
	if err := Interfaces.Put(tx, n); err != nil || n.Attachment == nil {
		return err
	}
	inst, err := Instances.Get(tx, n.Attachment.InstanceID)
	if err != nil {
		return err
	}
	inst.SetInterface(*n)
	return Instances.Put(tx, &inst)
}

// DetachInterface takes an attached interface from its instance, in both records.
func DetachInterface(tx *store.Tx, n *model.NetworkInterface) error {
	inst, err := Instances.Get(tx, n.Attachment.InstanceID)
	if err != nil {
		return err
	}
	n.Attachment = nil
	inst.RemoveInterface(n.ID)
	if err := Interfaces.Put(tx, n); err != nil {
		return err
	}
	return Instances.Put(tx, &inst)
}

// DropPublic takes the public address from an interface's primary private
// address: an elastic one stays its owner's, another one is free again. The
// interface itself is the caller's to write.
func DropPublic(tx *store.Tx, n *model.NetworkInterface) error {
	if n.PublicIP == "" {
		return nil
	}
	if n.AllocationID != "" {
		if err := Disassociate(tx, n.AllocationID); err != nil {
			return err
		}
	} else if err := Addresses.Delete(tx, AddressKey(PublicPool, n.PublicIP)); err != nil {
		return err
	}
	n.PublicIP, n.AllocationID, n.AssociationID = "", "", ""
	return nil
}

// Disassociate makes an elastic address lead nowhere. The interface that it led to
// is the caller's to write.
func Disassociate(tx *store.Tx, allocationID string) error {
	a, err := ElasticAddresses.Get(tx, allocationID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	a.AssociationID, a.InterfaceID, a.PrivateIP = "", "", ""
	return ElasticAddresses.Put(tx, &a)
}

// DropSecondary frees one secondary private address of an interface.
func DropSecondary(tx *store.Tx, n *model.NetworkInterface, p model.PrivateAddress) error {
	if p.AllocationID != "" {
		if err := Disassociate(tx, p.AllocationID); err != nil {
			return err
		}
	}
	return Addresses.Delete(tx, AddressKey(n.SubnetID, p.IP))
}

// DropIPv6 frees one IPv6 address of an interface.
func DropIPv6(tx *store.Tx, n *model.NetworkInterface, ip string) error {
	return Addresses.Delete(tx, AddressKey(PoolV6(n.SubnetID), ip))
}

// DeleteInterface removes an interface and frees its addresses.
func DeleteInterface(tx *store.Tx, n *model.NetworkInterface) error {
	if err := endRoutesTo(tx, n); err != nil {
		return err
	}
	if err := DropPublic(tx, n); err != nil {
		return err
	}
	for _, p := range n.Secondary {
		if err := DropSecondary(tx, n, p); err != nil {
			return err
		}
	}
	for _, ip := range n.IPv6 {
		if err := DropIPv6(tx, n, ip); err != nil {
			return err
		}
	}
	if err := Addresses.Delete(tx, AddressKey(n.SubnetID, n.PrivateIP)); err != nil {
		return err
	}
	return Interfaces.Delete(tx, n.ID)
}

// endRoutesTo makes black holes of the routes to an interface that goes: its address
// may be another's soon.
func endRoutesTo(tx *store.Tx, n *model.NetworkInterface) error {
	if !n.Routed {
		return nil
	}
	tables, err := RouteTables.List(tx)
	if err != nil {
		return err
	}
	for i := range tables {
		changed := false
		for k := range tables[i].Routes {
			if r := &tables[i].Routes[k]; r.InterfaceID == n.ID && r.Via != "" {
				r.Via, changed = "", true
			}
		}
		if changed {
			if err := RouteTables.Put(tx, &tables[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// ReleaseInterfaces frees what an instance's interfaces hold when it has ended:
// those that end with it are deleted, the others wait for another instance.
func ReleaseInterfaces(tx *store.Tx, inst *model.Instance) error {
	for _, n := range inst.Interfaces() {
		n, err := Interfaces.Get(tx, n.ID)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if n.Attachment == nil || n.Attachment.DeleteOnTermination {
			if err := DeleteInterface(tx, &n); err != nil {
				return err
			}
			continue
		}
		if n.AllocationID == "" {
			if err := DropPublic(tx, &n); err != nil {
				return err
			}
		}
		n.Attachment, n.AutoPublic = nil, false
		if err := Interfaces.Put(tx, &n); err != nil {
			return err
		}
	}
	return nil
}

// StopInterfaces gives the public addresses back that an instance had for as
// long as it ran; elastic addresses stay. The instance is the caller's to write.
func StopInterfaces(tx *store.Tx, inst *model.Instance) error {
	for _, n := range inst.Interfaces() {
		if n.PublicIP == "" || n.AllocationID != "" {
			continue
		}
		if err := DropPublic(tx, &n); err != nil {
			return err
		}
		if err := Interfaces.Put(tx, &n); err != nil {
			return err
		}
		inst.SetInterface(n)
	}
	return nil
}
