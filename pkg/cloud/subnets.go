package cloud

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// reservedAddresses of each subnet are never given to an interface: the network
// itself, gateway, name server, one for the future, and broadcast.
// https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
const reservedAddresses = 5

// Subnet is a subnet with how many of its addresses are free.
type Subnet struct {
	model.Subnet
	Available int32
}

// Subnets returns the account's subnets.
func (c *Account) Subnets(ctx context.Context) (out []Subnet, err error) {
	if _, err := c.defaults(ctx); err != nil {
		return nil, err
	}
	err = c.store.View(ctx, func(tx *store.Tx) error {
		all, err := records.Subnets.List(tx)
		if err != nil {
			return err
		}
		out = out[:0]
		for _, s := range all {
			if s.OwnerID != c.id {
				continue
			}
			taken, err := records.Addresses.ListPrefix(tx, records.AddressKey(s.ID, ""))
			if err != nil {
				return err
			}
			out = append(out, Subnet{s, capacity(s.CIDR) - int32(len(taken))})
		}
		return nil
	})
	return out, err
}

// capacity is how many interfaces' addresses a subnet has.
func capacity(cidr string) int32 {
	p := netip.MustParsePrefix(cidr) // it was checked when the subnet was made
	return int32(1)<<(32-p.Bits()) - reservedAddresses
}

// CreateSubnet makes a subnet of a VPC, with a range of IPv6 addresses if cidrV6
// is not "".
func (c *Account) CreateSubnet(ctx context.Context, vpcID, cidr, cidrV6 string, tags model.Tags) (s Subnet, err error) {
	if err := checkTags(tags); err != nil {
		return s, err
	}
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		v, err := c.vpc(tx, vpcID)
		if err != nil {
			return err
		}
		cidr, err := checkRange(cidr, "InvalidSubnet.Range")
		if err != nil {
			return err
		}
		if err := fits(tx, &v, cidr); err != nil {
			return err
		}
		s = Subnet{model.Subnet{
			ID: model.NewID(model.SubnetPrefix), OwnerID: c.id, VPCID: v.ID, CIDR: cidr,
			ACLAssocID: model.NewID(model.ACLAssocPrefix), Created: c.Now(), Tags: tags,
		}, capacity(cidr)}
		if cidrV6 != "" {
			if err := setRangeV6(tx, &v, &s.Subnet, cidrV6); err != nil {
				return err
			}
		}
		return records.Subnets.Put(tx, &s.Subnet)
	})
	return s, err
}

// fits says if a range is a part of the VPC that no subnet has.
func fits(tx *store.Tx, v *model.VPC, cidr string) error {
	p := netip.MustParsePrefix(cidr)
	var ranges []string
	for _, r := range v.Ranges() {
		ranges = append(ranges, r.CIDR)
	}
	if !slices.ContainsFunc(ranges, func(r string) bool {
		whole := netip.MustParsePrefix(r)
		return whole.Contains(p.Addr()) && p.Bits() >= whole.Bits()
	}) {
		return model.Errorf("InvalidSubnet.Range", "The CIDR '%s' is invalid: it is not a part of the VPC's %s", cidr, strings.Join(ranges, ", "))
	}
	all, err := records.Subnets.List(tx)
	if err != nil {
		return err
	}
	n := 0
	for _, o := range all {
		if o.VPCID != v.ID {
			continue
		}
		if n++; n >= maxSubnets {
			return model.Errorf("SubnetLimitExceeded", "The maximum number of subnets (%d) in %s has been reached.", maxSubnets, v.ID)
		}
		if netip.MustParsePrefix(o.CIDR).Overlaps(p) {
			return model.Errorf("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", cidr).WithHint("%s has %s", o.ID, o.CIDR)
		}
	}
	return nil
}

// CreateDefaultSubnet makes the zone's default subnet anew.
func (c *Account) CreateDefaultSubnet(ctx context.Context) (s Subnet, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		d, err := records.Defaults.Get(tx, c.id)
		if err != nil {
			return err
		}
		switch {
		case d.VPCID == "":
			return model.Errorf("DefaultVpcDoesNotExist", "There is no default VPC in this region").WithHint("make one with CreateDefaultVpc, which makes its subnet too")
		case d.SubnetID != "":
			return model.Errorf("DefaultSubnetAlreadyExistsInAvailabilityZone", "'%s' is already the default subnet in %s", d.SubnetID, c.Zone())
		}
		v, err := records.VPCs.Get(tx, d.VPCID)
		if err != nil {
			return err
		}
		s = Subnet{newDefaultSubnet(model.NewID(model.SubnetPrefix), &v, c.Now()), capacity(DefaultSubnetCIDR.String())}
		if err := fits(tx, &v, s.CIDR); err != nil {
			return err
		}
		d.SubnetID = s.ID
		if err := records.Defaults.Put(tx, &d); err != nil {
			return err
		}
		return records.Subnets.Put(tx, &s.Subnet)
	})
	return s, err
}

// DeleteSubnet removes a subnet without interfaces.
func (c *Account) DeleteSubnet(ctx context.Context, id string) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		s, err := c.subnet(tx, id)
		if err != nil {
			return err
		}
		taken, err := records.Addresses.ListPrefix(tx, records.AddressKey(s.ID, ""))
		if err != nil {
			return err
		}
		if len(taken) > 0 {
			return model.Errorf(codeDependency, "The subnet '%s' has dependencies and cannot be deleted.", id).
				WithHint("the network interface %s has an address of it", taken[0].InterfaceID)
		}
		if err := dropAssociation(tx, &s); err != nil {
			return err
		}
		d, err := records.Defaults.Get(tx, c.id)
		if err != nil {
			return err
		}
		if d.SubnetID == s.ID {
			d.SubnetID = ""
			if err := records.Defaults.Put(tx, &d); err != nil {
				return err
			}
		}
		return records.Subnets.Delete(tx, s.ID)
	})
}

// EditSubnet changes a subnet's attributes.
func (c *Account) EditSubnet(ctx context.Context, id string, edit func(*model.Subnet) error) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		s, err := c.subnet(tx, id)
		if err != nil {
			return err
		}
		if err := edit(&s); err != nil {
			return err
		}
		return records.Subnets.Put(tx, &s)
	})
}

func (c *Account) subnet(tx *store.Tx, id string) (model.Subnet, error) {
	if model.CheckID(model.SubnetPrefix, id) != nil {
		return model.Subnet{}, model.Errorf("InvalidSubnetID.Malformed", "Invalid id: \"%s\" (expecting \"subnet-...\")", id)
	}
	return own(c, tx, records.Subnets, id, subnetNotFound(id))
}

func subnetNotFound(id string) *model.Error {
	return model.Errorf("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", id)
}
