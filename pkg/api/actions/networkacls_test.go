package actions_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

// entry is the request for an entry of a network ACL that allows TCP.
func entry(acl string, number int32, cidr string, from, to int32) *ec2types.CreateNetworkAclEntryInput {
	return &ec2types.CreateNetworkAclEntryInput{
		NetworkAclId: &acl, RuleNumber: &number, Egress: ptr(false), RuleAction: ptr("allow"), Protocol: ptr("6"), CidrBlock: &cidr,
		PortRange: &ec2types.PortRange{From: &from, To: &to},
	}
}

// acls are the network ACLs that a filter finds.
func (l *lab) acls(name string, values ...string) []ec2types.NetworkAcl {
	l.t.Helper()
	return do[ec2types.DescribeNetworkAclsOutput](l, "DescribeNetworkAcls", &ec2types.DescribeNetworkAclsInput{Filters: filter(name, values...)}).NetworkAcls
}

func TestNetworkACLs(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc("10.0.0.0/16")
	s := do[ec2types.CreateSubnetOutput](l, "CreateSubnet", &ec2types.CreateSubnetInput{VpcId: &vpc, CidrBlock: ptr("10.0.1.0/24")}).Subnet
	create := &ec2types.CreateNetworkAclInput{VpcId: &vpc, ClientToken: ptr("once"), TagSpecifications: []ec2types.TagSpecification{{ResourceType: ptr("network-acl"), Tags: []ec2types.Tag{{Key: ptr("Name"), Value: ptr("web")}}}}}
	made := do[ec2types.CreateNetworkAclOutput](l, "CreateNetworkAcl", create).NetworkAcl
	if again := do[ec2types.CreateNetworkAclOutput](l, "CreateNetworkAcl", create).NetworkAcl; *again.NetworkAclId != *made.NetworkAclId {
		t.Error("the same token made another one")
	}
	if *made.IsDefault || len(made.Entries) != 2 || len(made.Associations) != 0 || *made.Entries[0].RuleAction != "deny" || *made.Entries[0].RuleNumber != 32767 {
		t.Errorf("a new one is %+v", made)
	}
	id := *made.NetworkAclId
	put := func(in *ec2types.CreateNetworkAclEntryInput) {
		t.Helper()
		do[ec2types.CreateNetworkAclEntryOutput](l, "CreateNetworkAclEntry", in)
	}
	put(entry(id, 200, "10.0.0.77/8", 80, 90))
	put(entry(id, 100, "0.0.0.0/0", 443, 443))
	ping := entry(id, 150, "0.0.0.0/0", 0, 0)
	ping.Protocol, ping.PortRange, ping.IcmpTypeCode, ping.RuleAction = ptr("icmp"), nil, &ec2types.IcmpTypeCode{Type: ptr(int32(8)), Code: ptr(int32(-1))}, ptr("deny")
	put(ping)
	for _, bad := range []struct {
		code   string
		change func(*ec2types.CreateNetworkAclEntryInput)
	}{
		{"NetworkAclEntryAlreadyExists", func(e *ec2types.CreateNetworkAclEntryInput) { e.RuleNumber = ptr(int32(100)) }},
		{"InvalidParameterValue", func(e *ec2types.CreateNetworkAclEntryInput) { e.RuleNumber = ptr(int32(0)) }},
		{"InvalidParameterValue", func(e *ec2types.CreateNetworkAclEntryInput) { e.RuleNumber = ptr(int32(32767)) }},
		{"InvalidParameterValue", func(e *ec2types.CreateNetworkAclEntryInput) { e.CidrBlock = ptr("10.0.0.0") }},
		{"InvalidParameterValue", func(e *ec2types.CreateNetworkAclEntryInput) { e.CidrBlock = ptr("::/0") }},
		{"InvalidParameterValue", func(e *ec2types.CreateNetworkAclEntryInput) { e.Protocol = ptr("256") }},
		{"InvalidParameterValue", func(e *ec2types.CreateNetworkAclEntryInput) { e.Protocol = ptr("sctp") }},
		{"InvalidParameterValue", func(e *ec2types.CreateNetworkAclEntryInput) { e.PortRange.From = ptr(int32(91)) }},
		{"InvalidParameterValue", func(e *ec2types.CreateNetworkAclEntryInput) { e.PortRange.To = ptr(int32(65536)) }},
		{"MissingParameter", func(e *ec2types.CreateNetworkAclEntryInput) { e.PortRange = nil }},
		{"MissingParameter", func(e *ec2types.CreateNetworkAclEntryInput) { e.Protocol = ptr("1") }},
		{"InvalidParameterValue", func(e *ec2types.CreateNetworkAclEntryInput) {
			e.Protocol, e.IcmpTypeCode = ptr("58"), &ec2types.IcmpTypeCode{Type: ptr(int32(-1)), Code: ptr(int32(-1))}
		}},
		{"InvalidParameterValue", func(e *ec2types.CreateNetworkAclEntryInput) {
			e.Protocol, e.IcmpTypeCode = ptr("1"), &ec2types.IcmpTypeCode{Type: ptr(int32(-1)), Code: ptr(int32(3))}
		}},
		{"InvalidParameterCombination", func(e *ec2types.CreateNetworkAclEntryInput) { e.Ipv6CidrBlock = ptr("::/0") }},
		{"InvalidParameterCombination", func(e *ec2types.CreateNetworkAclEntryInput) { e.CidrBlock = nil }},
		{"InvalidNetworkAclID.NotFound", func(e *ec2types.CreateNetworkAclEntryInput) { e.NetworkAclId = ptr("acl-0123456789abcdef0") }},
	} {
		in := entry(id, 300, "10.0.0.0/8", 80, 90)
		bad.change(in)
		l.refuse(bad.code, "CreateNetworkAclEntry", in)
	}
	replace := ec2types.ReplaceNetworkAclEntryInput(*entry(id, 200, "10.0.0.0/8", 8080, 8080))
	do[ec2types.ReplaceNetworkAclEntryOutput](l, "ReplaceNetworkAclEntry", &replace)
	replace.Egress = ptr(true)
	l.refuse("InvalidNetworkAclEntry.NotFound", "ReplaceNetworkAclEntry", &replace)
	got := l.acls("entry.cidr", "10.0.0.0/8")
	if len(got) != 1 || *got[0].NetworkAclId != id {
		t.Fatalf("found by an entry's range: %+v", got)
	}
	var shown []string
	for _, e := range got[0].Entries {
		what := fmt.Sprint(*e.RuleNumber, " ", *e.RuleAction, " ", *e.Protocol, " ", *e.CidrBlock, " ", *e.Egress)
		if e.PortRange != nil {
			what += fmt.Sprint(" ", *e.PortRange.From, "-", *e.PortRange.To)
		}
		if e.IcmpTypeCode != nil {
			what += fmt.Sprint(" ", *e.IcmpTypeCode.Type, "/", *e.IcmpTypeCode.Code)
		}
		shown = append(shown, what)
	}
	if want := []string{
		"32767 deny -1 0.0.0.0/0 true", "100 allow 6 0.0.0.0/0 false 443-443", "150 deny 1 0.0.0.0/0 false 8/-1", "200 allow 6 10.0.0.0/8 false 8080-8080", "32767 deny -1 0.0.0.0/0 false",
	}; !slices.Equal(shown, want) {
		t.Errorf("entries are %q, want %q", shown, want)
	}
	del := &ec2types.DeleteNetworkAclEntryInput{NetworkAclId: &id, RuleNumber: ptr(int32(150)), Egress: ptr(false)}
	do[ec2types.DeleteNetworkAclEntryOutput](l, "DeleteNetworkAclEntry", del)
	l.refuse("InvalidNetworkAclEntry.NotFound", "DeleteNetworkAclEntry", del)
	for n := range int32(38) {
		put(entry(id, 1000+n, "10.0.0.0/8", 1, 2))
	}
	l.refuse("NetworkAclEntryLimitExceeded", "CreateNetworkAclEntry", entry(id, 2000, "10.0.0.0/8", 1, 2))
	associations(l, vpc, *s.SubnetId, id)
}

// associations leads the subnet from one network ACL to another, and ends both.
func associations(l *lab, vpc, subnet, id string) {
	l.t.Helper()
	byDefault := l.acls("association.subnet-id", subnet)
	if len(byDefault) != 1 || !*byDefault[0].IsDefault {
		l.t.Fatalf("the subnet has %+v", byDefault)
	}
	association := byDefault[0].Associations[0].NetworkAclAssociationId
	foreign := l.acls("vpc-id", l.vpc("10.1.0.0/16"))[0].NetworkAclId
	l.refuse("InvalidParameterValue", "ReplaceNetworkAclAssociation", &ec2types.ReplaceNetworkAclAssociationInput{AssociationId: association, NetworkAclId: foreign})
	moved := do[ec2types.ReplaceNetworkAclAssociationOutput](l, "ReplaceNetworkAclAssociation", &ec2types.ReplaceNetworkAclAssociationInput{AssociationId: association, NetworkAclId: &id}).NewAssociationId
	l.refuse("InvalidAssociationID.NotFound", "ReplaceNetworkAclAssociation", &ec2types.ReplaceNetworkAclAssociationInput{AssociationId: association, NetworkAclId: &id})
	if got := l.acls("association.association-id", *moved); len(got) != 1 || *got[0].NetworkAclId != id || *got[0].Associations[0].SubnetId != subnet {
		l.t.Errorf("after the move: %+v", got)
	}
	l.refuse("DependencyViolation", "DeleteNetworkAcl", &ec2types.DeleteNetworkAclInput{NetworkAclId: &id})
	l.refuse("InvalidParameterValue", "DeleteNetworkAcl", &ec2types.DeleteNetworkAclInput{NetworkAclId: byDefault[0].NetworkAclId})
	do[ec2types.ReplaceNetworkAclAssociationOutput](l, "ReplaceNetworkAclAssociation", &ec2types.ReplaceNetworkAclAssociationInput{AssociationId: moved, NetworkAclId: byDefault[0].NetworkAclId})
	if got := l.acls("default", "true"); !slices.ContainsFunc(got, func(n ec2types.NetworkAcl) bool {
		return *n.NetworkAclId == *byDefault[0].NetworkAclId && len(n.Associations) == 1
	}) {
		l.t.Errorf("back at the default one: %+v", got)
	}
	do[ec2types.DeleteSubnetOutput](l, "DeleteSubnet", &ec2types.DeleteSubnetInput{SubnetId: &subnet})
	l.refuse("DependencyViolation", "DeleteVpc", &ec2types.DeleteVpcInput{VpcId: &vpc})
	do[ec2types.DeleteNetworkAclOutput](l, "DeleteNetworkAcl", &ec2types.DeleteNetworkAclInput{NetworkAclId: &id})
	do[ec2types.DeleteVpcOutput](l, "DeleteVpc", &ec2types.DeleteVpcInput{VpcId: &vpc})
}

// A default network ACL lets IPv6 pass as soon as its VPC has it, unless its entries
// have been changed.
func TestDefaultNetworkACL(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc("10.0.0.0/16")
	acl := l.acls("vpc-id", vpc)[0]
	do[ec2types.DeleteNetworkAclEntryOutput](l, "DeleteNetworkAclEntry", &ec2types.DeleteNetworkAclEntryInput{NetworkAclId: acl.NetworkAclId, RuleNumber: ptr(int32(100)), Egress: ptr(true)})
	do[ec2types.AssociateVpcCidrBlockOutput](l, "AssociateVpcCidrBlock", &ec2types.AssociateVpcCidrBlockInput{VpcId: &vpc, AmazonProvidedIpv6CidrBlock: ptr(true)})
	acl = l.acls("vpc-id", vpc)[0]
	var numbers []int32
	for _, e := range acl.Entries {
		numbers = append(numbers, *e.RuleNumber)
	}
	if want := []int32{32767, 32768, 100, 32767, 32768}; !slices.Equal(numbers, want) || !*acl.IsDefault {
		t.Errorf("its entries are %v, want %v", numbers, want)
	}
}
