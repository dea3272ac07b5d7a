package cloud

import (
	"context"
	"net/netip"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

const (
	maxVPCs    = 100 // of an account
	maxSubnets = 200 // of a VPC
)

// VPCs returns the account's VPCs.
func (c *Account) VPCs(ctx context.Context) ([]model.VPC, error) {
	return networkObjects(ctx, c, records.VPCs)
}

// CreateVPC makes a VPC of a range of 16 to 65,536 addresses, and of one of IPv6
// addresses if ipv6 is set.
func (c *Account) CreateVPC(ctx context.Context, cidr string, ipv6 bool, tags model.Tags) (v model.VPC, err error) {
	if cidr, err = checkRange(cidr, "InvalidVpc.Range"); err != nil {
		return v, err
	}
	if err := checkTags(tags); err != nil {
		return v, err
	}
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		d, err := c.vpcQuota(tx)
		if err != nil {
			return err
		}
		now := c.Now()
		v = model.VPC{
			ID: model.NewID(model.VPCPrefix), OwnerID: c.id, CIDR: cidr, CIDRAssocID: model.NewID(model.CIDRAssocPrefix),
			DHCPOptionsID: d.DHCPOptionsID, DNSSupport: true, Created: now, Tags: tags,
		}
		if ipv6 {
			if err := giveRangeV6(tx, &v); err != nil {
				return err
			}
		}
		g := defaultGroup(model.NewID(model.GroupPrefix), &v, now)
		return putVPC(tx, &v, &g, nil)
	})
	return v, err
}

// checkRange returns the canonical form of a VPC's or subnet's range.
func checkRange(cidr, code string) (string, error) {
	p, err := netip.ParsePrefix(cidr)
	if err != nil || !p.Addr().Is4() {
		return "", model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter cidrBlock is invalid. This is not a valid CIDR block.", cidr)
	}
	p = p.Masked()
	for _, bad := range []string{"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"} {
		if p.Overlaps(netip.MustParsePrefix(bad)) {
			return "", model.Errorf(code, "The CIDR '%s' is invalid: %s is reserved", cidr, bad)
		}
	}
	if p.Bits() < 16 || p.Bits() > 28 {
		return "", model.Errorf(code, "The CIDR '%s' is invalid: the block size must be between a /16 netmask and a /28 netmask", cidr)
	}
	return p.String(), nil
}

func (c *Account) vpcQuota(tx *store.Tx) (records.Default, error) {
	d, err := records.Defaults.Get(tx, c.id)
	if err != nil {
		return d, err
	}
	all, err := records.VPCs.List(tx)
	if err == nil && count(all, func(v model.VPC) bool { return v.OwnerID == c.id }) >= maxVPCs {
		err = model.Errorf("VpcLimitExceeded", "The maximum number of VPCs (%d) has been reached.", maxVPCs)
	}
	return d, err
}

// CreateDefaultVPC makes a default VPC anew, with its subnet, gateway and group.
func (c *Account) CreateDefaultVPC(ctx context.Context) (v model.VPC, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		d, err := c.vpcQuota(tx)
		if err != nil {
			return err
		}
		if d.VPCID != "" {
			return model.Errorf("DefaultVpcAlreadyExists", "A Default VPC already exists for this account in this region: %s", d.VPCID)
		}
		if err := makeDefaultVPC(tx, &d, records.Cloud{}, c.Now()); err != nil {
			return err
		}
		if err := records.Defaults.Put(tx, &d); err != nil {
			return err
		}
		v, err = records.VPCs.Get(tx, d.VPCID)
		return err
	})
	return v, err
}

// DeleteVPC removes a VPC in which there is nothing but what it began with.
func (c *Account) DeleteVPC(ctx context.Context, id string) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		v, err := c.vpc(tx, id)
		if err != nil {
			return err
		}
		if err := deleteVPCParts(tx, &v); err != nil {
			return err
		}
		d, err := records.Defaults.Get(tx, c.id)
		if err != nil {
			return err
		}
		if d.VPCID == v.ID {
			d.VPCID, d.SubnetID = "", ""
			if err := records.Defaults.Put(tx, &d); err != nil {
				return err
			}
		}
		return records.VPCs.Delete(tx, v.ID)
	})
}

// deleteVPCParts removes what every VPC begins with, and refuses a VPC with more.
func deleteVPCParts(tx *store.Tx, v *model.VPC) error {
	refuse := func(what string) error {
		return model.Errorf(codeDependency, "The vpc '%s' has dependencies and cannot be deleted.", v.ID).WithHint("delete %s first", what)
	}
	what, err := madeInVPC(tx, v.ID)
	if err != nil {
		return err
	}
	if what != "" {
		return refuse(what)
	}
	groups, err := records.Groups.List(tx)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if g.VPCID != v.ID {
			continue
		}
		if g.Name != DefaultGroupName {
			return refuse(g.ID)
		}
		if err := deleteGroup(tx, &g); err != nil {
			return err
		}
	}
	tables, err := records.RouteTables.List(tx)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if t.VPCID != v.ID {
			continue
		}
		if !t.Main() {
			return refuse(t.ID)
		}
		if err := records.RouteTables.Delete(tx, t.ID); err != nil {
			return err
		}
	}
	acls, err := records.NetworkACLs.List(tx)
	if err != nil {
		return err
	}
	for _, a := range acls {
		if a.VPCID == v.ID {
			if a.Custom {
				return refuse(a.ID)
			}
			if err := records.NetworkACLs.Delete(tx, a.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// madeInVPC names a subnet or an attached gateway of a VPC; "" if it has none.
func madeInVPC(tx *store.Tx, vpc string) (string, error) {
	subnets, err := records.Subnets.List(tx)
	if err != nil {
		return "", err
	}
	for _, s := range subnets {
		if s.VPCID == vpc {
			return s.ID, nil
		}
	}
	gateways, err := records.Gateways.List(tx)
	if err != nil {
		return "", err
	}
	for _, g := range gateways {
		if g.VPCID == vpc {
			return "the attachment of " + g.ID, nil
		}
	}
	egress, err := records.EgressOnlyGateways.List(tx)
	if err != nil {
		return "", err
	}
	for _, g := range egress {
		if g.VPCID == vpc {
			return g.ID, nil
		}
	}
	return "", nil
}

// EditVPC changes a VPC's attributes.
func (c *Account) EditVPC(ctx context.Context, id string, edit func(*model.VPC) error) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		v, err := c.vpc(tx, id)
		if err != nil {
			return err
		}
		if err := edit(&v); err != nil {
			return err
		}
		return records.VPCs.Put(tx, &v)
	})
}

func (c *Account) vpc(tx *store.Tx, id string) (model.VPC, error) {
	if model.CheckID(model.VPCPrefix, id) != nil {
		return model.VPC{}, model.Errorf("InvalidVpcId.Malformed", "Invalid id: \"%s\" (expecting \"vpc-...\")", id)
	}
	return own(c, tx, records.VPCs, id, vpcNotFound(id))
}

// vpcOrDefault is the account's VPC of that id; of "" its default VPC.
func (c *Account) vpcOrDefault(tx *store.Tx, id string) (model.VPC, error) {
	if id != "" {
		return c.vpc(tx, id)
	}
	d, err := records.Defaults.Get(tx, c.id)
	if err != nil {
		return model.VPC{}, err
	}
	if d.VPCID == "" {
		return model.VPC{}, model.Errorf("VPCIdNotSpecified", "No default VPC for this user").
			WithHint("make one with CreateDefaultVpc, or name a VPC")
	}
	return records.VPCs.Get(tx, d.VPCID)
}

func vpcNotFound(id string) *model.Error {
	return model.Errorf("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", id)
}
