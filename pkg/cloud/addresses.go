package cloud

import (
	"context"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// maxElasticAddresses of an account.
const maxElasticAddresses = 500

// Addresses returns the account's elastic addresses.
func (c *Account) Addresses(ctx context.Context) ([]model.ElasticAddress, error) {
	return networkObjects(ctx, c, records.ElasticAddresses)
}

// AllocateAddress takes a public address for the account: this one, or any.
func (c *Account) AllocateAddress(ctx context.Context, ip string, tags model.Tags) (a model.ElasticAddress, err error) {
	if !c.public.IsValid() && ip == "" {
		return a, model.Errorf("InsufficientAddressCapacity", "This cloud has no public addresses").WithHint("give bundtd a --public-pool")
	}
	if err := checkTags(tags); err != nil {
		return a, err
	}
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		all, err := records.ElasticAddresses.List(tx)
		if err != nil {
			return err
		}
		if count(all, func(o model.ElasticAddress) bool { return o.OwnerID == c.id }) >= maxElasticAddresses {
			return model.Errorf("AddressLimitExceeded", "The maximum number of addresses (%d) has been reached.", maxElasticAddresses)
		}
		a = model.ElasticAddress{ID: model.NewID(model.AllocationPrefix), OwnerID: c.id, Created: c.Now(), Tags: tags}
		if a.PublicIP, err = c.reservePublic(tx, ip, a.ID); err != nil {
			return err
		}
		return records.ElasticAddresses.Put(tx, &a)
	})
	return a, err
}

func (c *Account) reservePublic(tx *store.Tx, ip, holder string) (string, error) {
	if ip == "" {
		got, err := reserve(tx, records.PublicPool, c.public, holder)
		return got.String(), err
	}
	lan, err := lanAddress(tx, ip)
	if err != nil {
		return "", err
	}
	a, err := netip.ParseAddr(ip)
	if ours := c.public.Contains(a) && !isReserved(c.public, a); err != nil || !ours && !lan && !slices.Contains(c.host, a) {
		return "", model.Errorf(model.CodeInvalidParameterValue, "Address %s is neither one of the public pool %s nor one of the host's that may be allocated", ip, c.public).
			WithHint("bundt lan attach has the host take some; bundtd --host-addresses names those that it has")
	}
	taken, err := records.Addresses.Exists(tx, records.AddressKey(records.PublicPool, ip))
	if err != nil {
		return "", err
	}
	if taken {
		return "", model.Errorf("InvalidAddress.NotFound", "Address %s is not available", ip)
	}
	return ip, records.Addresses.Put(tx, &records.Address{Pool: records.PublicPool, IP: ip, InterfaceID: holder})
}

// AddressRef names an elastic address by its allocation or by itself.
type AddressRef struct{ AllocationID, PublicIP string }

// ReleaseAddress gives an elastic address that nothing has back to the pool.
func (c *Account) ReleaseAddress(ctx context.Context, ref AddressRef) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		a, err := c.address(tx, ref)
		if err != nil {
			return err
		}
		if a.AssociationID != "" {
			return model.Errorf("InvalidIPAddress.InUse", "Address %s is in use.", a.PublicIP).WithHint("disassociate it from %s first", a.InterfaceID)
		}
		if err := records.Addresses.Delete(tx, records.AddressKey(records.PublicPool, a.PublicIP)); err != nil {
			return err
		}
		return records.ElasticAddresses.Delete(tx, a.ID)
	})
}

// Association is where an elastic address is to lead.
type Association struct {
	InstanceID      string // its only interface
	InterfaceID     string
	PrivateIP       string // "" for the primary one
	NoReassociation bool   // refuse an address that leads elsewhere
}

// AssociateAddress makes an elastic address lead to an interface, from the next
// connection on, and returns the association's id.
func (c *Account) AssociateAddress(ctx context.Context, ref AddressRef, to Association) (id string, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		a, err := c.address(tx, ref)
		if err != nil {
			return err
		}
		n, err := c.associable(tx, to)
		if err != nil {
			return err
		}
		private := to.PrivateIP
		if private == "" {
			private = n.PrivateIP
		}
		if a.InterfaceID == n.ID && a.PrivateIP == private {
			id = a.AssociationID
			return nil
		}
		if a.AssociationID != "" && to.NoReassociation {
			return model.Errorf("Resource.AlreadyAssociated", "resource %s is already associated with associate-id %s", a.ID, a.AssociationID)
		}
		if err := c.unlead(tx, &a); err != nil {
			return err
		}
		if n, err = c.networkInterface(tx, n.ID); err != nil { // it may have had the address itself
			return err
		}
		id = model.NewID(model.AddrAssocPrefix)
		a.AssociationID, a.InterfaceID, a.PrivateIP = id, n.ID, private
		if err := lead(tx, &n, &a); err != nil {
			return err
		}
		return records.ElasticAddresses.Put(tx, &a)
	})
	return id, err
}

// associable is the interface that an association is for.
func (c *Account) associable(tx *store.Tx, to Association) (n model.NetworkInterface, err error) {
	switch {
	case to.InterfaceID != "":
		if n, err = c.networkInterface(tx, to.InterfaceID); err != nil {
			return n, err
		}
		if to.InstanceID != "" && (n.Attachment == nil || n.Attachment.InstanceID != to.InstanceID) {
			return n, model.Errorf(model.CodeInvalidParameterCombination, "You may specify either an instance ID or a network interface ID, but not both")
		}
	case to.InstanceID != "":
		inst, err := c.instance(tx, to.InstanceID)
		if err != nil {
			return n, err
		}
		if inst.Interface.PrivateIP == "" {
			return n, wrongState(&inst, "given an address")
		}
		if len(inst.Others) > 0 {
			return n, model.Errorf("InvalidInstanceID", "There are multiple interfaces attached to instance '%s'. Please specify an interface ID for the operation instead.", inst.ID)
		}
		if n, err = records.Interfaces.Get(tx, inst.Interface.ID); err != nil {
			return n, err
		}
	default:
		return n, model.Errorf(model.CodeMissingParameter, "Either 'InstanceId' or 'NetworkInterfaceId' must be specified")
	}
	all, err := records.Gateways.List(tx)
	if err == nil && !slices.ContainsFunc(all, func(g model.InternetGateway) bool { return g.VPCID == n.VPCID }) {
		err = model.Errorf("Gateway.NotAttached", "Network %s is not attached to any internet gateway", n.VPCID)
	}
	return n, err
}

// lead makes an interface's private address the one behind the elastic address.
// What was before in its place goes, as on EC2.
func lead(tx *store.Tx, n *model.NetworkInterface, a *model.ElasticAddress) error {
	if a.PrivateIP == n.PrivateIP {
		if err := records.DropPublic(tx, n); err != nil {
			return err
		}
		n.PublicIP, n.AllocationID, n.AssociationID = a.PublicIP, a.ID, a.AssociationID
		return records.PutInterface(tx, n)
	}
	i := slices.IndexFunc(n.Secondary, func(p model.PrivateAddress) bool { return p.IP == a.PrivateIP })
	if i < 0 {
		return model.Errorf(model.CodeInvalidParameterValue, "The private address %s is not one of %s", a.PrivateIP, n.ID)
	}
	p := &n.Secondary[i]
	if p.AllocationID != "" {
		if err := records.Disassociate(tx, p.AllocationID); err != nil {
			return err
		}
	}
	p.PublicIP, p.AllocationID, p.AssociationID = a.PublicIP, a.ID, a.AssociationID
	return records.PutInterface(tx, n)
}

// unlead takes an elastic address from the interface that it leads to; the
// address itself is the caller's to write.
func (c *Account) unlead(tx *store.Tx, a *model.ElasticAddress) error {
	if a.InterfaceID == "" {
		return nil
	}
	n, err := records.Interfaces.Get(tx, a.InterfaceID)
	if err != nil {
		return err
	}
	if n.AllocationID == a.ID {
		n.PublicIP, n.AllocationID, n.AssociationID = "", "", ""
	}
	for i := range n.Secondary {
		if p := &n.Secondary[i]; p.AllocationID == a.ID {
			p.PublicIP, p.AllocationID, p.AssociationID = "", "", ""
		}
	}
	a.AssociationID, a.InterfaceID, a.PrivateIP = "", "", ""
	return records.PutInterface(tx, &n)
}

// DisassociateAddress makes an elastic address lead nowhere.
func (c *Account) DisassociateAddress(ctx context.Context, associationID, publicIP string) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		all, err := records.ElasticAddresses.List(tx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(a model.ElasticAddress) bool {
			return a.OwnerID == c.id && ((associationID != "" && a.AssociationID == associationID) || (associationID == "" && a.PublicIP == publicIP))
		})
		switch {
		case i < 0 && associationID == "" && publicIP == "":
			return model.Errorf(model.CodeMissingParameter, "Either public IP or association id must be specified")
		case i < 0 && associationID != "":
			return model.Errorf("InvalidAssociationID.NotFound", "The association ID '%s' does not exist", associationID)
		case i < 0:
			return addressNotFound(publicIP)
		}
		if err := c.unlead(tx, &all[i]); err != nil {
			return err
		}
		return records.ElasticAddresses.Put(tx, &all[i])
	})
}

// NameAddress sets the domain name that reverse lookups of an elastic address
// give, in the name servers of all VPCs; "" takes it away.
func (c *Account) NameAddress(ctx context.Context, allocationID, domain string) (a model.ElasticAddress, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		if a, err = c.address(tx, AddressRef{AllocationID: allocationID}); err != nil {
			return err
		}
		a.DomainName = ""
		if host := strings.TrimSuffix(domain, "."); isDomainName(host) {
			a.DomainName = host + "."
		} else if domain != "" {
			return model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter domainName is invalid. It is not a domain name.", domain)
		}
		return records.ElasticAddresses.Put(tx, &a)
	})
	return a, err
}

// domainLabel is a label of a host's name (RFC 1123).
var domainLabel = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// isDomainName reports whether s is the name of a host in a domain, without the
// dot at its end.
func isDomainName(s string) bool {
	labels := strings.Split(s, ".")
	return len(s) <= 253 && len(labels) > 1 && !slices.ContainsFunc(labels, func(l string) bool { return !domainLabel.MatchString(l) })
}

func (c *Account) address(tx *store.Tx, ref AddressRef) (model.ElasticAddress, error) {
	switch {
	case ref.AllocationID != "":
		if model.CheckID(model.AllocationPrefix, ref.AllocationID) != nil {
			return model.ElasticAddress{}, model.Errorf("InvalidAllocationID.Malformed", "Invalid id: \"%s\" (expecting \"eipalloc-...\")", ref.AllocationID)
		}
		return own(c, tx, records.ElasticAddresses, ref.AllocationID, allocationNotFound(ref.AllocationID))
	case ref.PublicIP == "":
		return model.ElasticAddress{}, model.Errorf(model.CodeMissingParameter, "Either public IP or allocation id must be specified")
	}
	all, err := records.ElasticAddresses.List(tx)
	if err != nil {
		return model.ElasticAddress{}, err
	}
	for _, a := range all {
		if a.OwnerID == c.id && a.PublicIP == ref.PublicIP {
			return a, nil
		}
	}
	return model.ElasticAddress{}, addressNotFound(ref.PublicIP)
}

func addressNotFound(ip string) error {
	return model.Errorf("InvalidAddress.NotFound", "Address '%s' not found.", ip)
}
