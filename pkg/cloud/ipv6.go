package cloud

import (
	"context"
	"crypto/rand"
	"net/netip"
	"slices"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

const (
	vpcV6Bits    = 56
	subnetV6Bits = 64
	// reservedV6 are the first addresses of each IPv6 subnet that are never given
	// to an interface; its last one is not either.
	// https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
	reservedV6 = 4
	// anywhereV6 is the range of all IPv6 addresses.
	anywhereV6 = "::/0"
)

// serviceV6 is where EC2's own services are (metadata and names).
var serviceV6 = netip.MustParsePrefix("fd00:ec2::/32")

// newRangeV6 is a /56 of unique local addresses (RFC 4193) that no VPC has:
// docs/adr/0020-ipv6-addresses.md says why these.
func newRangeV6(taken []netip.Prefix) netip.Prefix {
	for {
		a := [16]byte{0: 0xfd}
		_, _ = rand.Read(a[1:6]) // never fails
		p := netip.PrefixFrom(netip.AddrFrom16(a), vpcV6Bits)
		if !p.Overlaps(serviceV6) && !slices.ContainsFunc(taken, p.Overlaps) {
			return p
		}
	}
}

// giveRangeV6 gives a VPC that has none a range of IPv6 addresses. The VPC is the
// caller's to write.
func giveRangeV6(tx *store.Tx, v *model.VPC) error {
	all, err := records.VPCs.List(tx)
	if err != nil {
		return err
	}
	var taken []netip.Prefix
	for i := range all {
		if p, err := netip.ParsePrefix(all[i].CIDRv6); err == nil {
			taken = append(taken, p)
		}
	}
	v.CIDRv6, v.CIDRv6AssocID = newRangeV6(taken).String(), model.NewID(model.CIDRAssocPrefix)
	return nil
}

// AssociateVPCRangeV6 gives a VPC a range of IPv6 addresses. As on EC2, its
// groups that let all of IPv4 out let all of IPv6 out too from now on.
func (c *Account) AssociateVPCRangeV6(ctx context.Context, id string) (v model.VPC, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		if v, err = c.vpc(tx, id); err != nil {
			return err
		}
		if v.CIDRv6 != "" {
			return model.Errorf("CidrLimitExceeded", "This network '%s' has met its maximum number of allowed CIDRs: 1", v.ID)
		}
		if err := giveRangeV6(tx, &v); err != nil {
			return err
		}
		groups, err := records.Groups.List(tx)
		if err != nil {
			return err
		}
		for i := range groups {
			g := &groups[i]
			if g.VPCID != v.ID || !letsAllOut(g) {
				continue
			}
			g.Rules = append(g.Rules, allOutV6())
			if err := records.Groups.Put(tx, g); err != nil {
				return err
			}
		}
		return records.VPCs.Put(tx, &v)
	})
	return v, err
}

// letsAllOut says if a group's only rule for what goes out is the one that it
// began with in a VPC without IPv6.
func letsAllOut(g *model.SecurityGroup) bool {
	var out []model.SecurityGroupRule
	for _, r := range g.Rules {
		if r.Egress {
			out = append(out, r)
		}
	}
	return len(out) == 1 && out[0].Protocol == "-1" && out[0].CIDR == anywhere
}

func allOutV6() model.SecurityGroupRule {
	return model.SecurityGroupRule{ID: model.NewID(model.RulePrefix), Egress: true, Protocol: "-1", FromPort: -1, ToPort: -1, CIDRv6: anywhereV6}
}

// setRangeV6 gives a subnet a /64 of its VPC's range. The subnet is the caller's
// to write.
func setRangeV6(tx *store.Tx, v *model.VPC, s *model.Subnet, cidr string) error {
	p, err := netip.ParsePrefix(cidr)
	switch {
	case err != nil || !p.Addr().Is6():
		return model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter ipv6CidrBlock is invalid. This is not a valid IPv6 CIDR block.", cidr)
	case p.Bits() != subnetV6Bits || p != p.Masked():
		return model.Errorf("InvalidSubnet.Range", "The CIDR '%s' is invalid: an IPv6 CIDR block of a subnet must be a /%d", cidr, subnetV6Bits)
	case v.CIDRv6 == "":
		return model.Errorf("InvalidSubnet.Range", "The CIDR '%s' is invalid: the VPC has no IPv6 CIDR block", cidr).WithHint("give it one: AssociateVpcCidrBlock")
	case !netip.MustParsePrefix(v.CIDRv6).Contains(p.Addr()):
		return model.Errorf("InvalidSubnet.Range", "The CIDR '%s' is invalid: it is not a part of the VPC's %s", cidr, v.CIDRv6)
	}
	all, err := records.Subnets.List(tx)
	if err != nil {
		return err
	}
	for _, o := range all {
		if o.VPCID == v.ID && o.CIDRv6 == p.String() {
			return model.Errorf("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", cidr).WithHint("%s has it", o.ID)
		}
	}
	s.CIDRv6, s.CIDRv6AssocID = p.String(), model.NewID(model.SubnetCIDRAssocPrefix)
	return nil
}

// AssociateSubnetRangeV6 gives a subnet that has none a range of IPv6 addresses.
func (c *Account) AssociateSubnetRangeV6(ctx context.Context, id, cidr string) (s model.Subnet, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		if s, err = c.subnet(tx, id); err != nil {
			return err
		}
		if s.CIDRv6 != "" {
			return model.Errorf(model.CodeInvalidParameterValue, "The subnet '%s' has an IPv6 CIDR block: %s", s.ID, s.CIDRv6)
		}
		v, err := records.VPCs.Get(tx, s.VPCID)
		if err != nil {
			return err
		}
		if err := setRangeV6(tx, &v, &s, cidr); err != nil {
			return err
		}
		return records.Subnets.Put(tx, &s)
	})
	return s, err
}

// DisassociateSubnetRangeV6 takes a subnet's range of IPv6 addresses, of which no
// interface may have one. It returns the subnet as it was.
func (c *Account) DisassociateSubnetRangeV6(ctx context.Context, associationID string) (s model.Subnet, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		all, err := records.Subnets.List(tx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(s model.Subnet) bool { return s.OwnerID == c.id && s.CIDRv6AssocID == associationID })
		if i < 0 {
			return model.Errorf("InvalidSubnetCidrBlockAssociationID.NotFound", "The subnet CIDR block association ID '%s' does not exist", associationID)
		}
		s = all[i]
		taken, err := records.Addresses.ListPrefix(tx, records.AddressKey(records.PoolV6(s.ID), ""))
		if err != nil {
			return err
		}
		if len(taken) > 0 {
			return model.Errorf(codeDependency, "The subnet CIDR block '%s' has dependencies and cannot be disassociated.", s.CIDRv6).
				WithHint("%s has %s of it", taken[0].InterfaceID, taken[0].IP)
		}
		without := s
		without.CIDRv6, without.CIDRv6AssocID, without.AssignIPv6 = "", "", false
		return records.Subnets.Put(tx, &without)
	})
	return s, err
}

// addIPv6 gives an interface IPv6 addresses: these, and more of any. The interface
// is the caller's to write.
func addIPv6(tx *store.Tx, n *model.NetworkInterface, subnet *model.Subnet, given []string, more int) error {
	if len(given)+more == 0 {
		return nil
	}
	if subnet.CIDRv6 == "" {
		return model.Errorf(model.CodeInvalidParameterValue, "The subnet '%s' has no IPv6 CIDR block to take an address of", subnet.ID).
			WithHint("give it one: AssociateSubnetCidrBlock")
	}
	if len(n.IPv6)+len(given)+more > MaxPrivateAddresses {
		return model.Errorf("PrivateIpAddressLimitExceeded", "Number of IPv6 addresses will exceed limit of %d", MaxPrivateAddresses)
	}
	cidr, err := netip.ParsePrefix(subnet.CIDRv6)
	if err != nil {
		return err
	}
	for _, ip := range slices.Concat(given, make([]string, more)) {
		a, err := reserveV6(tx, subnet.ID, cidr, ip, n.ID)
		if err != nil {
			return err
		}
		n.IPv6 = append(n.IPv6, a)
	}
	return nil
}

// reserveV6 takes an address of a subnet: this one, or any if it is "".
func reserveV6(tx *store.Tx, subnetID string, cidr netip.Prefix, ip, interfaceID string) (string, error) {
	pool := records.PoolV6(subnetID)
	var a netip.Addr
	if ip != "" {
		var err error
		a, err = netip.ParseAddr(ip)
		switch {
		case err != nil || !a.Is6() || a.Zone() != "":
			return "", model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter ipv6Address is invalid. Invalid IPv6 address", ip)
		case !cidr.Contains(a):
			return "", model.Errorf(model.CodeInvalidParameterValue, "Address %s does not fall within the subnet's IPv6 address range", ip)
		case isReservedV6(cidr, a):
			return "", model.Errorf(model.CodeInvalidParameterValue, "Address %s is in subnet's reserved address range", ip)
		}
	}
	for {
		if ip == "" {
			a = randomV6(cidr)
		}
		taken, err := records.Addresses.Exists(tx, records.AddressKey(pool, a.String()))
		switch {
		case err != nil:
			return "", err
		case !taken:
			return a.String(), records.Addresses.Put(tx, &records.Address{Pool: pool, IP: a.String(), InterfaceID: interfaceID})
		case ip != "":
			return "", model.Errorf("InvalidIPAddress.InUse", "Address %s is in use.", ip)
		}
	}
}

// randomV6 is any address of a /64 that is not reserved; two are hardly ever the same.
func randomV6(cidr netip.Prefix) netip.Addr {
	for {
		b := cidr.Addr().As16()
		_, _ = rand.Read(b[8:]) // never fails
		if a := netip.AddrFrom16(b); !isReservedV6(cidr, a) {
			return a
		}
	}
}

func isReservedV6(cidr netip.Prefix, a netip.Addr) bool {
	first := cidr.Addr()
	for range reservedV6 {
		if a == first {
			return true
		}
		first = first.Next()
	}
	return !cidr.Contains(a.Next())
}

// AssignIPv6 gives an interface IPv6 addresses: these, or so many of any. It
// returns the new ones.
func (c *Account) AssignIPv6(ctx context.Context, id string, given []string, more int) (out []string, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		n, err := c.networkInterface(tx, id)
		if err != nil {
			return err
		}
		if (len(given) == 0) == (more == 0) {
			return model.Errorf(model.CodeInvalidParameterCombination, "Exactly one of IPv6 addresses and a number of them is needed")
		}
		subnet, err := records.Subnets.Get(tx, n.SubnetID)
		if err != nil {
			return err
		}
		had := len(n.IPv6)
		if err := addIPv6(tx, &n, &subnet, given, more); err != nil {
			return err
		}
		out = slices.Clone(n.IPv6[had:])
		return records.PutInterface(tx, &n)
	})
	return out, err
}

// UnassignIPv6 takes IPv6 addresses from an interface.
func (c *Account) UnassignIPv6(ctx context.Context, id string, ips []string) (out []string, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		n, err := c.networkInterface(tx, id)
		if err != nil {
			return err
		}
		if len(ips) == 0 {
			return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter Ipv6Addresses")
		}
		out = nil
		for _, ip := range ips {
			a, _ := netip.ParseAddr(ip)
			i := slices.Index(n.IPv6, a.String())
			if i < 0 {
				return model.Errorf(model.CodeInvalidParameterValue, "Some of the specified addresses are not assigned to interface %s: %s", n.ID, ip)
			}
			out = append(out, n.IPv6[i])
			if err := records.DropIPv6(tx, &n, n.IPv6[i]); err != nil {
				return err
			}
			n.IPv6 = slices.Delete(n.IPv6, i, i+1)
		}
		return records.PutInterface(tx, &n)
	})
	return out, err
}
