package cloud

import (
	"context"
	"net/netip"
	"slices"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// maxRanges of IPv4 in a VPC, the first one among them.
// https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
const maxRanges = 5

// AddRange gives a VPC a further range of IPv4 addresses.
func (c *Account) AddRange(ctx context.Context, id, cidr string) (r model.Range, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		v, err := c.vpc(tx, id)
		if err != nil {
			return err
		}
		if r.CIDR, err = checkRange(cidr, "InvalidVpc.Range"); err != nil {
			return err
		}
		p := netip.MustParsePrefix(r.CIDR)
		for _, o := range v.Ranges() {
			if netip.MustParsePrefix(o.CIDR).Overlaps(p) {
				return model.Errorf("CidrConflict", "The CIDR '%s' conflicts with %s, which %s has", r.CIDR, o.CIDR, v.ID)
			}
		}
		if len(v.Ranges()) >= maxRanges {
			return model.Errorf("CidrLimitExceeded", "This network '%s' has met its maximum number of allowed CIDRs: %d", v.ID, maxRanges)
		}
		tables, err := records.RouteTables.List(tx)
		if err != nil {
			return err
		}
		for _, t := range tables {
			i := slices.IndexFunc(t.Routes, func(route model.Route) bool {
				o := netip.MustParsePrefix(route.CIDR) // it is canonical
				return o.Overlaps(p) && o.Bits() >= p.Bits()
			})
			if t.VPCID == v.ID && i >= 0 {
				return model.Errorf("CidrConflict", "The CIDR '%s' conflicts with the route to %s of %s", r.CIDR, t.Routes[i].CIDR, t.ID).
					WithHint("the VPC's own addresses need no route: delete that one first")
			}
		}
		r.AssocID = model.NewID(model.CIDRAssocPrefix)
		v.More = append(slices.Clone(v.More), r)
		return records.VPCs.Put(tx, &v)
	})
	return r, err
}

// RemoveRange takes a range of IPv4 or IPv6 from a VPC, and returns the VPC as it was.
func (c *Account) RemoveRange(ctx context.Context, associationID string) (v model.VPC, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		all, err := records.VPCs.List(tx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(v model.VPC) bool {
			return v.OwnerID == c.id && (v.CIDRv6AssocID == associationID || slices.ContainsFunc(v.Ranges(), func(r model.Range) bool { return r.AssocID == associationID }))
		})
		if i < 0 || associationID == "" {
			return model.Errorf("InvalidVpcCidrBlockAssociationID.NotFound", "The vpc CIDR block association ID '%s' does not exist", associationID)
		}
		v = all[i]
		if v.CIDRAssocID == associationID {
			return model.Errorf(model.CodeOperationNotPermitted, "The vpc CIDR block with association ID %s may not be disassociated. It is the primary IPv4 CIDR block of the VPC", associationID)
		}
		subnets, err := records.Subnets.List(tx)
		if err != nil {
			return err
		}
		subnets = slices.DeleteFunc(subnets, func(s model.Subnet) bool { return s.VPCID != v.ID })
		without := v
		if v.CIDRv6AssocID == associationID {
			without.CIDRv6, without.CIDRv6AssocID = "", ""
			for _, s := range subnets {
				if s.CIDRv6 != "" {
					return model.Errorf(codeDependency, "The vpc CIDR block '%s' has dependencies and cannot be disassociated.", v.CIDRv6).WithHint("%s has %s of it", s.ID, s.CIDRv6)
				}
			}
			return records.VPCs.Put(tx, &without)
		}
		k := slices.IndexFunc(v.More, func(r model.Range) bool { return r.AssocID == associationID })
		for _, s := range subnets {
			if netip.MustParsePrefix(v.More[k].CIDR).Overlaps(netip.MustParsePrefix(s.CIDR)) {
				return model.Errorf("InvalidCidrBlock.InUse", "The vpc %s currently has a subnet within CIDR block %s", v.ID, v.More[k].CIDR).WithHint("%s has %s of it", s.ID, s.CIDR)
			}
		}
		without.More = slices.Delete(slices.Clone(v.More), k, k+1)
		return records.VPCs.Put(tx, &without)
	})
	return v, err
}
