package cloud

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strconv"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
const (
	maxACLs       = 200 // of a VPC
	maxACLEntries = 40  // of a direction: what EC2 raises its 20 to when asked
	maxACLNumber  = 32766
)

// NetworkACLs returns the account's network ACLs.
func (c *Account) NetworkACLs(ctx context.Context) ([]model.NetworkACL, error) {
	return networkObjects(ctx, c, records.NetworkACLs)
}

// CreateNetworkACL makes a network ACL, which denies everything until it has entries.
func (c *Account) CreateNetworkACL(ctx context.Context, vpcID, token string, tags model.Tags) (a model.NetworkACL, err error) {
	if err := checkTags(tags); err != nil {
		return a, err
	}
	hash, err := paramsHash([]any{vpcID, tags})
	if err != nil {
		return a, err
	}
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		ids, err := c.idempotent(tx, "CreateNetworkAcl", token, hash, func() ([]string, error) {
			v, err := c.vpc(tx, vpcID)
			if err != nil {
				return nil, err
			}
			all, err := records.NetworkACLs.List(tx)
			if err != nil {
				return nil, err
			}
			if count(all, func(a model.NetworkACL) bool { return a.VPCID == v.ID }) >= maxACLs {
				return nil, model.Errorf("NetworkAclLimitExceeded", "The maximum number of network ACLs (%d) in %s has been reached.", maxACLs, v.ID)
			}
			made := model.NetworkACL{ID: model.NewID(model.ACLPrefix), OwnerID: c.id, VPCID: v.ID, Custom: true, Tags: tags}
			return []string{made.ID}, records.NetworkACLs.Put(tx, &made)
		})
		if err != nil {
			return err
		}
		a, err = c.networkACL(tx, ids[0])
		return err
	})
	return a, err
}

// DeleteNetworkACL removes a network ACL that no subnet has.
func (c *Account) DeleteNetworkACL(ctx context.Context, id string) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		a, err := c.networkACL(tx, id)
		if err != nil {
			return err
		}
		if !a.Custom {
			return model.Errorf(model.CodeInvalidParameterValue, "The network ACL '%s' is the default one of %s and cannot be deleted", id, a.VPCID)
		}
		subnets, err := records.Subnets.List(tx)
		if err != nil {
			return err
		}
		for _, s := range subnets {
			if s.ACLID == id {
				return model.Errorf(codeDependency, "The networkAcl '%s' has dependencies and cannot be deleted.", id).WithHint("it is that of %s", s.ID)
			}
		}
		return records.NetworkACLs.Delete(tx, id)
	})
}

// PutACLEntry adds an entry to a network ACL; with replace it changes the one of that
// number.
func (c *Account) PutACLEntry(ctx context.Context, id string, e model.ACLEntry, replace bool) error {
	return c.editACL(ctx, id, func(a *model.NetworkACL) error {
		e, err := checkACLEntry(e)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(a.Entries, sameACLEntry(e.Number, e.Egress))
		switch {
		case replace && i < 0:
			return aclEntryNotFound(id, e.Number, e.Egress)
		case replace:
			a.Entries[i] = e
			return nil
		case i >= 0:
			return model.Errorf("NetworkAclEntryAlreadyExists", "The network acl entry identified by %d already exists.", e.Number)
		case count(a.Entries, func(o model.ACLEntry) bool { return o.Egress == e.Egress }) >= maxACLEntries:
			return model.Errorf("NetworkAclEntryLimitExceeded", "The maximum number of entries (%d) in one direction of %s has been reached.", maxACLEntries, id)
		}
		a.Entries = append(a.Entries, e)
		slices.SortFunc(a.Entries, func(a, b model.ACLEntry) int {
			if a.Egress != b.Egress {
				return map[bool]int{false: -1, true: 1}[a.Egress]
			}
			return cmp.Compare(a.Number, b.Number)
		})
		return nil
	})
}

// DeleteACLEntry removes an entry of a network ACL.
func (c *Account) DeleteACLEntry(ctx context.Context, id string, number int, egress bool) error {
	return c.editACL(ctx, id, func(a *model.NetworkACL) error {
		i := slices.IndexFunc(a.Entries, sameACLEntry(number, egress))
		if i < 0 {
			return aclEntryNotFound(id, number, egress)
		}
		a.Entries = slices.Delete(a.Entries, i, i+1)
		return nil
	})
}

// ReplaceACLAssociation gives the subnet of an association another network ACL, and
// returns the new association's id.
func (c *Account) ReplaceACLAssociation(ctx context.Context, associationID, aclID string) (id string, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		a, err := c.networkACL(tx, aclID)
		if err != nil {
			return err
		}
		subnets, err := records.Subnets.List(tx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(subnets, func(s model.Subnet) bool { return s.OwnerID == c.id && s.ACLAssocID == associationID })
		if i < 0 {
			return model.Errorf("InvalidAssociationID.NotFound", "The association ID '%s' does not exist", associationID)
		}
		s := subnets[i]
		if s.VPCID != a.VPCID {
			return model.Errorf(model.CodeInvalidParameterValue, "Network ACL %s and subnet %s belong to different networks", a.ID, s.ID)
		}
		id = model.NewID(model.ACLAssocPrefix)
		s.ACLAssocID, s.ACLID = id, ""
		if a.Custom {
			s.ACLID = a.ID
		}
		return records.Subnets.Put(tx, &s)
	})
	return id, err
}

// editACL changes the entries of a network ACL; those of a default one become its own.
func (c *Account) editACL(ctx context.Context, id string, edit func(*model.NetworkACL) error) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		a, err := c.networkACL(tx, id)
		if err != nil {
			return err
		}
		v, err := records.VPCs.Get(tx, a.VPCID)
		if err != nil {
			return err
		}
		a.Entries = slices.Clone(a.All(v.CIDRv6 != ""))
		a.Edited = !a.Custom
		if err := edit(&a); err != nil {
			return err
		}
		return records.NetworkACLs.Put(tx, &a)
	})
}

func sameACLEntry(number int, egress bool) func(model.ACLEntry) bool {
	return func(e model.ACLEntry) bool { return e.Number == number && e.Egress == egress }
}

// checkACLEntry returns the entry in its canonical form.
func checkACLEntry(e model.ACLEntry) (model.ACLEntry, error) {
	if e.Number < 1 || e.Number > maxACLNumber {
		return e, model.Errorf(model.CodeInvalidParameterValue, "Value (%d) for parameter ruleNumber is invalid. Must be between 1 and %d.", e.Number, maxACLNumber)
	}
	p, err := netip.ParsePrefix(e.CIDR)
	if err != nil {
		return e, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter cidrBlock is invalid. This is not a valid CIDR block.", e.CIDR)
	}
	e.CIDR = p.Masked().String()
	if number, ok := map[string]string{"all": "-1", "tcp": "6", "udp": "17", "icmp": "1", "icmpv6": "58"}[e.Protocol]; ok {
		e.Protocol = number
	}
	n, err := strconv.Atoi(e.Protocol)
	if err != nil || n < -1 || n > 255 {
		return e, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter protocol is invalid. Unknown IP protocol", e.Protocol)
	}
	e.Protocol = strconv.Itoa(n)
	switch n {
	case 6, 17:
		if e.FromPort < 0 || e.ToPort > 65535 || e.FromPort > e.ToPort {
			return e, model.Errorf(model.CodeInvalidParameterValue, "Invalid TCP/UDP port range (%d:%d)", e.FromPort, e.ToPort)
		}
		e.ICMPType, e.ICMPCode = 0, 0
	case 1, 58:
		if e.ICMPType < -1 || e.ICMPType > 255 || e.ICMPCode < -1 || e.ICMPCode > 255 || (e.ICMPType < 0 && e.ICMPCode >= 0) {
			return e, model.Errorf(model.CodeInvalidParameterValue, "Invalid ICMP type and code (%d:%d)", e.ICMPType, e.ICMPCode)
		}
		if p.Addr().Is4() != (n == 1) {
			return e, model.Errorf(model.CodeInvalidParameterValue, "Protocol %d is not one of %s", n, e.CIDR).WithHint("1 is ICMP of IPv4, 58 that of IPv6")
		}
		e.FromPort, e.ToPort = 0, 0
	default:
		e.FromPort, e.ToPort, e.ICMPType, e.ICMPCode = 0, 0, 0, 0
	}
	return e, nil
}

func (c *Account) networkACL(tx *store.Tx, id string) (model.NetworkACL, error) {
	if model.CheckID(model.ACLPrefix, id) != nil {
		return model.NetworkACL{}, model.Errorf("InvalidNetworkAclId.Malformed", "Invalid id: \"%s\" (expecting \"acl-...\")", id)
	}
	return own(c, tx, records.NetworkACLs, id, aclNotFound(id))
}

func aclEntryNotFound(id string, number int, egress bool) *model.Error {
	direction := map[bool]string{false: "ingress", true: "egress"}[egress]
	return model.Errorf("InvalidNetworkAclEntry.NotFound", "The specified network acl entry %d does not exist", number).WithHint("%s has no such entry for %s", id, direction)
}
