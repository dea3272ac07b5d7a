package actions

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerNetworkACLs(t *api.Table) {
	api.Register(t, api.Action[ec2types.CreateNetworkAclInput, ec2types.CreateNetworkAclOutput]{
		Name: "CreateNetworkAcl", Acts: []string{"VpcId", "ClientToken", "TagSpecifications"}, Handler: a.createNetworkACL,
	})
	api.Register(t, api.Action[ec2types.DeleteNetworkAclInput, ec2types.DeleteNetworkAclOutput]{
		Name: "DeleteNetworkAcl", Acts: []string{"NetworkAclId"},
		Handler: func(ctx context.Context, in *ec2types.DeleteNetworkAclInput) (*ec2types.DeleteNetworkAclOutput, error) {
			return &ec2types.DeleteNetworkAclOutput{}, a.account(ctx).DeleteNetworkACL(ctx, ec2types.Value(in.NetworkAclId))
		},
	})
	entry := []string{"NetworkAclId", "RuleNumber", "Egress", "RuleAction", "Protocol", "CidrBlock", "Ipv6CidrBlock", "PortRange", "IcmpTypeCode"}
	api.Register(t, api.Action[ec2types.CreateNetworkAclEntryInput, ec2types.CreateNetworkAclEntryOutput]{
		Name: "CreateNetworkAclEntry", Acts: entry,
		Handler: func(ctx context.Context, in *ec2types.CreateNetworkAclEntryInput) (*ec2types.CreateNetworkAclEntryOutput, error) {
			return &ec2types.CreateNetworkAclEntryOutput{}, a.putACLEntry(ctx, *in, false)
		},
	})
	api.Register(t, api.Action[ec2types.ReplaceNetworkAclEntryInput, ec2types.ReplaceNetworkAclEntryOutput]{
		Name: "ReplaceNetworkAclEntry", Acts: entry,
		Handler: func(ctx context.Context, in *ec2types.ReplaceNetworkAclEntryInput) (*ec2types.ReplaceNetworkAclEntryOutput, error) {
			return &ec2types.ReplaceNetworkAclEntryOutput{}, a.putACLEntry(ctx, ec2types.CreateNetworkAclEntryInput(*in), true)
		},
	})
	api.Register(t, api.Action[ec2types.DeleteNetworkAclEntryInput, ec2types.DeleteNetworkAclEntryOutput]{
		Name: "DeleteNetworkAclEntry", Acts: []string{"NetworkAclId", "RuleNumber", "Egress"},
		Handler: func(ctx context.Context, in *ec2types.DeleteNetworkAclEntryInput) (*ec2types.DeleteNetworkAclEntryOutput, error) {
			err := a.account(ctx).DeleteACLEntry(ctx, ec2types.Value(in.NetworkAclId), int(ec2types.Value(in.RuleNumber)), ec2types.Value(in.Egress))
			return &ec2types.DeleteNetworkAclEntryOutput{}, err
		},
	})
	api.Register(t, api.Action[ec2types.ReplaceNetworkAclAssociationInput, ec2types.ReplaceNetworkAclAssociationOutput]{
		Name: "ReplaceNetworkAclAssociation", Acts: []string{"AssociationId", "NetworkAclId"},
		Handler: func(ctx context.Context, in *ec2types.ReplaceNetworkAclAssociationInput) (*ec2types.ReplaceNetworkAclAssociationOutput, error) {
			id, err := a.account(ctx).ReplaceACLAssociation(ctx, ec2types.Value(in.AssociationId), ec2types.Value(in.NetworkAclId))
			if err != nil {
				return nil, err
			}
			return &ec2types.ReplaceNetworkAclAssociationOutput{NewAssociationId: &id}, nil
		},
	})
	api.Register(t, api.Action[ec2types.DescribeNetworkAclsInput, ec2types.DescribeNetworkAclsOutput]{
		Name: "DescribeNetworkAcls", Handler: a.describeNetworkAcls, Acts: []string{"NetworkAclIds", "Filters", "MaxResults", "NextToken"},
	})
}

func (a *Actions) createNetworkACL(ctx context.Context, in *ec2types.CreateNetworkAclInput) (*ec2types.CreateNetworkAclOutput, error) {
	tags, err := oneTagSet(in.TagSpecifications, "network-acl")
	if err != nil {
		return nil, err
	}
	made, err := a.account(ctx).CreateNetworkACL(ctx, ec2types.Value(in.VpcId), ec2types.Value(in.ClientToken), tags)
	if err != nil {
		return nil, err
	}
	all, err := a.networkACLs(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(n networkACL) bool { return n.ID == made.ID })
	if i < 0 {
		return nil, model.Errorf(aclKind.notFound, "The network ACL '%s' has been deleted", made.ID)
	}
	return &ec2types.CreateNetworkAclOutput{ClientToken: in.ClientToken, NetworkAcl: ptr(aclOf(&all[i]))}, nil
}

func (a *Actions) putACLEntry(ctx context.Context, in ec2types.CreateNetworkAclEntryInput, replace bool) error {
	e := model.ACLEntry{
		Number: int(ec2types.Value(in.RuleNumber)), Egress: ec2types.Value(in.Egress), Allow: ec2types.Value(in.RuleAction) == ec2types.RuleActionAllow,
		Protocol: strings.ToLower(ec2types.Value(in.Protocol)),
	}
	switch {
	case (in.CidrBlock == nil) == (in.Ipv6CidrBlock == nil):
		return model.Errorf(model.CodeInvalidParameterCombination, "Exactly one of cidrBlock and ipv6CidrBlock has to be given")
	case in.CidrBlock != nil:
		e.CIDR = *in.CidrBlock
	default:
		e.CIDR = *in.Ipv6CidrBlock
	}
	if v6 := strings.Contains(e.CIDR, ":"); v6 == (in.Ipv6CidrBlock == nil) {
		return model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter %s is invalid. This is not a valid CIDR block.", e.CIDR, map[bool]string{true: "cidrBlock", false: "ipv6CidrBlock"}[v6])
	}
	switch e.Protocol {
	case "6", "tcp", "17", "udp":
		if in.PortRange == nil || in.PortRange.From == nil || in.PortRange.To == nil {
			return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter portRange: an entry for TCP or UDP is for ports")
		}
		e.FromPort, e.ToPort = int(*in.PortRange.From), int(*in.PortRange.To)
	case "1", "icmp", "58", "icmpv6":
		if in.IcmpTypeCode == nil || in.IcmpTypeCode.Type == nil || in.IcmpTypeCode.Code == nil {
			return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter icmpTypeCode: an entry for ICMP is for types and codes, of which -1 is any")
		}
		e.ICMPType, e.ICMPCode = int(*in.IcmpTypeCode.Type), int(*in.IcmpTypeCode.Code)
	}
	return a.account(ctx).PutACLEntry(ctx, ec2types.Value(in.NetworkAclId), e, replace)
}

// networkACL is a network ACL with the subnets that it is for.
type networkACL struct {
	model.NetworkACL
	subnets []model.Subnet
	ipv6    bool // its VPC has IPv6
}

func (n *networkACL) entries() []model.ACLEntry { return n.All(n.ipv6) }

func (a *Actions) networkACLs(ctx context.Context) ([]networkACL, error) {
	acls, err := a.account(ctx).NetworkACLs(ctx)
	if err != nil {
		return nil, err
	}
	subnets, err := a.account(ctx).Subnets(ctx)
	if err != nil {
		return nil, err
	}
	vpcs, err := a.account(ctx).VPCs(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]networkACL, len(acls))
	for i := range acls {
		all[i].NetworkACL = acls[i]
		all[i].ipv6 = slices.ContainsFunc(vpcs, func(v model.VPC) bool { return v.ID == acls[i].VPCID && v.CIDRv6 != "" })
		for _, s := range subnets {
			if s.ACLID == acls[i].ID || (s.ACLID == "" && !acls[i].Custom && s.VPCID == acls[i].VPCID) {
				all[i].subnets = append(all[i].subnets, s.Subnet)
			}
		}
	}
	return all, nil
}

func (a *Actions) describeNetworkAcls(ctx context.Context, in *ec2types.DescribeNetworkAclsInput) (*ec2types.DescribeNetworkAclsOutput, error) {
	all, err := a.networkACLs(ctx)
	if err != nil {
		return nil, err
	}
	of := func(n *networkACL) []model.Subnet { return n.subnets }
	entry := func(value func(*model.ACLEntry) string) func(*networkACL) []string {
		return each((*networkACL).entries, value)
	}
	page, next, err := describe(a, query[networkACL]{
		action: "DescribeNetworkAcls", all: all, ids: in.NetworkAclIds, kind: aclKind, filters: in.Filters,
		fields: map[string]func(*networkACL) []string{
			"association.association-id": each(of, func(s *model.Subnet) string { return s.ACLAssocID }),
			"association.network-acl-id": func(n *networkACL) []string { return slices.Repeat([]string{n.ID}, min(len(n.subnets), 1)) },
			"association.subnet-id":      each(of, func(s *model.Subnet) string { return s.ID }),
			"default":                    one(func(n *networkACL) string { return yesNo(!n.Custom) }),
			"entry.cidr":                 entry(func(e *model.ACLEntry) string { return ifFamily(e, false) }),
			"entry.ipv6-cidr":            entry(func(e *model.ACLEntry) string { return ifFamily(e, true) }),
			"entry.egress":               entry(func(e *model.ACLEntry) string { return yesNo(e.Egress) }),
			"entry.icmp.code":            entry(func(e *model.ACLEntry) string { return ifThere(icmpEntry(e), strconv.Itoa(e.ICMPCode)) }),
			"entry.icmp.type":            entry(func(e *model.ACLEntry) string { return ifThere(icmpEntry(e), strconv.Itoa(e.ICMPType)) }),
			"entry.port-range.from":      entry(func(e *model.ACLEntry) string { return ifThere(portEntry(e), strconv.Itoa(e.FromPort)) }),
			"entry.port-range.to":        entry(func(e *model.ACLEntry) string { return ifThere(portEntry(e), strconv.Itoa(e.ToPort)) }),
			"entry.protocol":             entry(func(e *model.ACLEntry) string { return e.Protocol }),
			"entry.rule-action":          entry(ruleAction),
			"entry.rule-number":          entry(func(e *model.ACLEntry) string { return strconv.Itoa(e.Number) }),
			"network-acl-id":             one(func(n *networkACL) string { return n.ID }),
			"owner-id":                   one(func(n *networkACL) string { return n.OwnerID }),
			"vpc-id":                     one(func(n *networkACL) string { return n.VPCID }),
		},
		tags: func(n *networkACL) model.Tags { return n.Tags }, max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeNetworkAclsOutput{NextToken: next}
	for i := range page {
		out.NetworkAcls = append(out.NetworkAcls, aclOf(&page[i]))
	}
	return out, nil
}

// portEntry and icmpEntry are the protocol of entries that are for ports, or for types
// and codes; of others "".
func portEntry(e *model.ACLEntry) string {
	return map[string]string{"6": e.Protocol, "17": e.Protocol}[e.Protocol]
}

func icmpEntry(e *model.ACLEntry) string {
	return map[string]string{"1": e.Protocol, "58": e.Protocol}[e.Protocol]
}

// ifFamily is the entry's range if it is of IPv6, or of IPv4.
func ifFamily(e *model.ACLEntry, v6 bool) string {
	if strings.Contains(e.CIDR, ":") == v6 {
		return e.CIDR
	}
	return ""
}

func ruleAction(e *model.ACLEntry) string {
	if e.Allow {
		return ec2types.RuleActionAllow
	}
	return ec2types.RuleActionDeny
}

// Numbers of the entries that deny what no other one fits.
const (
	aclRestNumber   = 32767
	aclRestV6Number = 32768
)

// aclOf shows the entries with the one at the end of each direction that denies the rest.
func aclOf(n *networkACL) ec2types.NetworkAcl {
	out := ec2types.NetworkAcl{IsDefault: ptr(!n.Custom), NetworkAclId: ptr(n.ID), OwnerId: ptr(n.OwnerID), VpcId: ptr(n.VPCID), Tags: tagsOf(n.Tags)}
	entries := n.entries()
	for _, egress := range []bool{true, false} {
		for i := range entries {
			if entries[i].Egress == egress {
				out.Entries = append(out.Entries, aclEntryOf(&entries[i]))
			}
		}
		out.Entries = append(out.Entries, aclEntryOf(&model.ACLEntry{Number: aclRestNumber, Egress: egress, Protocol: "-1", CIDR: "0.0.0.0/0"}))
		if n.ipv6 {
			out.Entries = append(out.Entries, aclEntryOf(&model.ACLEntry{Number: aclRestV6Number, Egress: egress, Protocol: "-1", CIDR: "::/0"}))
		}
	}
	for _, s := range n.subnets {
		out.Associations = append(out.Associations, ec2types.NetworkAclAssociation{
			NetworkAclAssociationId: ptr(s.ACLAssocID), NetworkAclId: ptr(n.ID), SubnetId: ptr(s.ID),
		})
	}
	return out
}

func aclEntryOf(e *model.ACLEntry) ec2types.NetworkAclEntry {
	out := ec2types.NetworkAclEntry{Egress: ptr(e.Egress), Protocol: ptr(e.Protocol), RuleAction: ptr(ruleAction(e)), RuleNumber: ptr(int32(e.Number))}
	if strings.Contains(e.CIDR, ":") {
		out.Ipv6CidrBlock = ptr(e.CIDR)
	} else {
		out.CidrBlock = ptr(e.CIDR)
	}
	if portEntry(e) != "" {
		out.PortRange = &ec2types.PortRange{From: ptr(int32(e.FromPort)), To: ptr(int32(e.ToPort))}
	}
	if icmpEntry(e) != "" {
		out.IcmpTypeCode = &ec2types.IcmpTypeCode{Type: ptr(int32(e.ICMPType)), Code: ptr(int32(e.ICMPCode))}
	}
	return out
}
