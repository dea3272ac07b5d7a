package actions_test

import (
	"net/netip"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

// dualVPC makes a VPC with IPv6 and a subnet of its first /64.
func dualVPC(l *lab) (vpc, subnet string, cidr netip.Prefix) {
	l.t.Helper()
	v := do[ec2types.CreateVpcOutput](l, "CreateVpc", &ec2types.CreateVpcInput{CidrBlock: ptr("10.0.0.0/16"), AmazonProvidedIpv6CidrBlock: ptr(true)}).Vpc
	as := v.Ipv6CidrBlockAssociationSet
	if len(as) != 1 || *as[0].Ipv6CidrBlockState.State != "associating" || *as[0].Ipv6Pool != "Amazon" {
		l.t.Fatalf("the VPC's IPv6 ranges are %+v", as)
	}
	p := netip.MustParsePrefix(*as[0].Ipv6CidrBlock)
	if p.Bits() != 56 || !p.Addr().IsPrivate() || p != p.Masked() {
		l.t.Fatalf("the VPC's IPv6 range is %s", p)
	}
	first := netip.PrefixFrom(p.Addr(), 64)
	s := do[ec2types.CreateSubnetOutput](l, "CreateSubnet", &ec2types.CreateSubnetInput{VpcId: v.VpcId, CidrBlock: ptr("10.0.1.0/24"), Ipv6CidrBlock: ptr(first.String())}).Subnet
	if got := s.Ipv6CidrBlockAssociationSet; len(got) != 1 || *got[0].Ipv6CidrBlock != first.String() || *got[0].Ipv6CidrBlockState.State != "associated" {
		l.t.Fatalf("the subnet's IPv6 ranges are %+v", got)
	}
	return *v.VpcId, *s.SubnetId, first
}

func TestIPv6Ranges(t *testing.T) {
	l := newLab(t)
	vpc, subnet, cidr := dualVPC(l)
	other := do[ec2types.CreateVpcOutput](l, "CreateVpc", &ec2types.CreateVpcInput{CidrBlock: ptr("10.0.0.0/16")}).Vpc
	if len(other.Ipv6CidrBlockAssociationSet) != 0 {
		t.Errorf("a VPC has IPv6 that did not ask for it: %+v", other.Ipv6CidrBlockAssociationSet)
	}
	second := netip.PrefixFrom(nth(cidr.Addr(), 1), 64)
	l.refuse("InvalidSubnet.Conflict", "CreateSubnet", &ec2types.CreateSubnetInput{VpcId: &vpc, CidrBlock: ptr("10.0.2.0/24"), Ipv6CidrBlock: ptr(cidr.String())})
	l.refuse("InvalidSubnet.Range", "CreateSubnet", &ec2types.CreateSubnetInput{VpcId: &vpc, CidrBlock: ptr("10.0.2.0/24"), Ipv6CidrBlock: ptr("fd00:1::/64")})
	l.refuse("InvalidSubnet.Range", "CreateSubnet", &ec2types.CreateSubnetInput{VpcId: &vpc, CidrBlock: ptr("10.0.2.0/24"), Ipv6CidrBlock: ptr(netip.PrefixFrom(second.Addr(), 80).String())})
	l.refuse("InvalidSubnet.Range", "CreateSubnet", &ec2types.CreateSubnetInput{VpcId: other.VpcId, CidrBlock: ptr("10.0.2.0/24"), Ipv6CidrBlock: ptr(second.String())})
	l.refuse("InvalidParameterValue", "CreateSubnet", &ec2types.CreateSubnetInput{VpcId: &vpc, CidrBlock: ptr("10.0.2.0/24"), Ipv6CidrBlock: ptr("10.1.0.0/24")})
	l.refuse("CidrLimitExceeded", "AssociateVpcCidrBlock", &ec2types.AssociateVpcCidrBlockInput{VpcId: &vpc, AmazonProvidedIpv6CidrBlock: ptr(true)})
	l.refuse("MissingParameter", "AssociateVpcCidrBlock", &ec2types.AssociateVpcCidrBlockInput{VpcId: other.VpcId})
	l.refuse("InvalidParameterCombination", "AssociateVpcCidrBlock", &ec2types.AssociateVpcCidrBlockInput{VpcId: other.VpcId, CidrBlock: ptr("10.1.0.0/16"), AmazonProvidedIpv6CidrBlock: ptr(true)})

	plain := do[ec2types.CreateSubnetOutput](l, "CreateSubnet", &ec2types.CreateSubnetInput{VpcId: other.VpcId, CidrBlock: ptr("10.0.1.0/24")}).Subnet
	l.refuse("InvalidParameterValue", "ModifySubnetAttribute", &ec2types.ModifySubnetAttributeInput{SubnetId: plain.SubnetId, AssignIpv6AddressOnCreation: &ec2types.AttributeBooleanValue{Value: ptr(true)}})
	as := do[ec2types.AssociateVpcCidrBlockOutput](l, "AssociateVpcCidrBlock", &ec2types.AssociateVpcCidrBlockInput{VpcId: other.VpcId, AmazonProvidedIpv6CidrBlock: ptr(true)}).Ipv6CidrBlockAssociation
	first := netip.PrefixFrom(netip.MustParsePrefix(*as.Ipv6CidrBlock).Addr(), 64).String()
	sub := do[ec2types.AssociateSubnetCidrBlockOutput](l, "AssociateSubnetCidrBlock", &ec2types.AssociateSubnetCidrBlockInput{SubnetId: plain.SubnetId, Ipv6CidrBlock: &first}).Ipv6CidrBlockAssociation
	l.refuse("InvalidParameterValue", "AssociateSubnetCidrBlock", &ec2types.AssociateSubnetCidrBlockInput{SubnetId: plain.SubnetId, Ipv6CidrBlock: &first})
	found := do[ec2types.DescribeSubnetsOutput](l, "DescribeSubnets", &ec2types.DescribeSubnetsInput{Filters: filter("ipv6-cidr-block-association.ipv6-cidr-block", first)}).Subnets
	if len(found) != 1 || *found[0].SubnetId != *plain.SubnetId {
		t.Errorf("found by its IPv6 range: %+v", found)
	}
	vpcs := do[ec2types.DescribeVpcsOutput](l, "DescribeVpcs", &ec2types.DescribeVpcsInput{Filters: filter("ipv6-cidr-block-association.association-id", *as.AssociationId)}).Vpcs
	if len(vpcs) != 1 || *vpcs[0].VpcId != *other.VpcId || *vpcs[0].Ipv6CidrBlockAssociationSet[0].Ipv6CidrBlockState.State != "associated" {
		t.Errorf("found by its IPv6 association: %+v", vpcs)
	}
	l.refuse("DependencyViolation", "DisassociateVpcCidrBlock", &ec2types.DisassociateVpcCidrBlockInput{AssociationId: as.AssociationId})
	l.refuse("OperationNotPermitted", "DisassociateVpcCidrBlock", &ec2types.DisassociateVpcCidrBlockInput{AssociationId: other.CidrBlockAssociationSet[0].AssociationId})
	l.refuse("InvalidVpcCidrBlockAssociationID.NotFound", "DisassociateVpcCidrBlock", &ec2types.DisassociateVpcCidrBlockInput{AssociationId: ptr("vpc-cidr-assoc-0123456789abcdef0")})
	nic := do[ec2types.CreateNetworkInterfaceOutput](l, "CreateNetworkInterface", &ec2types.CreateNetworkInterfaceInput{SubnetId: plain.SubnetId, Ipv6AddressCount: ptr(int32(1))}).NetworkInterface
	l.refuse("DependencyViolation", "DisassociateSubnetCidrBlock", &ec2types.DisassociateSubnetCidrBlockInput{AssociationId: sub.AssociationId})
	do[ec2types.DeleteNetworkInterfaceOutput](l, "DeleteNetworkInterface", &ec2types.DeleteNetworkInterfaceInput{NetworkInterfaceId: nic.NetworkInterfaceId})
	do[ec2types.DisassociateSubnetCidrBlockOutput](l, "DisassociateSubnetCidrBlock", &ec2types.DisassociateSubnetCidrBlockInput{AssociationId: sub.AssociationId})
	l.refuse("InvalidSubnetCidrBlockAssociationID.NotFound", "DisassociateSubnetCidrBlock", &ec2types.DisassociateSubnetCidrBlockInput{AssociationId: sub.AssociationId})
	do[ec2types.DisassociateVpcCidrBlockOutput](l, "DisassociateVpcCidrBlock", &ec2types.DisassociateVpcCidrBlockInput{AssociationId: as.AssociationId})
	do[ec2types.DeleteSubnetOutput](l, "DeleteSubnet", &ec2types.DeleteSubnetInput{SubnetId: &subnet})
	do[ec2types.DeleteVpcOutput](l, "DeleteVpc", &ec2types.DeleteVpcInput{VpcId: &vpc})
}

// nth is the /64 that is n after the first one.
func nth(a netip.Addr, n byte) netip.Addr {
	b := a.As16()
	b[7] += n
	return netip.AddrFrom16(b)
}

func TestIPv6Addresses(t *testing.T) {
	l := newLab(t)
	_, subnet, cidr := dualVPC(l)
	create := func(in ec2types.CreateNetworkInterfaceInput) *ec2types.NetworkInterface {
		t.Helper()
		in.SubnetId = &subnet
		return do[ec2types.CreateNetworkInterfaceOutput](l, "CreateNetworkInterface", &in).NetworkInterface
	}
	if n := create(ec2types.CreateNetworkInterfaceInput{}); len(n.Ipv6Addresses) != 0 || n.Ipv6Address != nil {
		t.Errorf("IPv6 without asking: %+v", n)
	}
	n := create(ec2types.CreateNetworkInterfaceInput{Ipv6AddressCount: ptr(int32(2))})
	if len(n.Ipv6Addresses) != 2 || *n.Ipv6Address != *n.Ipv6Addresses[0].Ipv6Address {
		t.Fatalf("two IPv6 addresses are %+v", n.Ipv6Addresses)
	}
	for _, a := range n.Ipv6Addresses {
		if !cidr.Contains(netip.MustParseAddr(*a.Ipv6Address)) {
			t.Errorf("%s is not in %s", *a.Ipv6Address, cidr)
		}
	}
	given := cidr.Addr().String() + "1234"
	if n := create(ec2types.CreateNetworkInterfaceInput{Ipv6Addresses: []ec2types.InstanceIpv6Address{{Ipv6Address: &given}}}); *n.Ipv6Address != given {
		t.Errorf("a given address became %s", *n.Ipv6Address)
	}
	bad := func(code string, in ec2types.CreateNetworkInterfaceInput) {
		t.Helper()
		in.SubnetId = &subnet
		l.refuse(code, "CreateNetworkInterface", &in)
	}
	address := func(s string) []ec2types.InstanceIpv6Address {
		return []ec2types.InstanceIpv6Address{{Ipv6Address: &s}}
	}
	bad("InvalidIPAddress.InUse", ec2types.CreateNetworkInterfaceInput{Ipv6Addresses: address(given)})
	bad("InvalidParameterValue", ec2types.CreateNetworkInterfaceInput{Ipv6Addresses: address(cidr.Addr().String() + "3")}) // reserved
	bad("InvalidParameterValue", ec2types.CreateNetworkInterfaceInput{Ipv6Addresses: address("fd00:1::1")})
	bad("InvalidParameterValue", ec2types.CreateNetworkInterfaceInput{Ipv6Addresses: address("10.0.1.9")})
	bad("InvalidParameterValue", ec2types.CreateNetworkInterfaceInput{Ipv6AddressCount: ptr(int32(-1))})
	bad("InvalidParameterCombination", ec2types.CreateNetworkInterfaceInput{Ipv6AddressCount: ptr(int32(1)), Ipv6Addresses: address(given)})
	bad("PrivateIpAddressLimitExceeded", ec2types.CreateNetworkInterfaceInput{Ipv6AddressCount: ptr(int32(51))})
	bad("UnsupportedOperation", ec2types.CreateNetworkInterfaceInput{Ipv6PrefixCount: ptr(int32(1))})

	got := do[ec2types.AssignIpv6AddressesOutput](l, "AssignIpv6Addresses", &ec2types.AssignIpv6AddressesInput{NetworkInterfaceId: n.NetworkInterfaceId, Ipv6AddressCount: ptr(int32(1))}).AssignedIpv6Addresses
	l.refuse("InvalidParameterCombination", "AssignIpv6Addresses", &ec2types.AssignIpv6AddressesInput{NetworkInterfaceId: n.NetworkInterfaceId})
	shown := do[ec2types.DescribeNetworkInterfacesOutput](l, "DescribeNetworkInterfaces", &ec2types.DescribeNetworkInterfacesInput{Filters: filter("ipv6-addresses.ipv6-address", got[0])}).NetworkInterfaces
	if len(got) != 1 || len(shown) != 1 || len(shown[0].Ipv6Addresses) != 3 {
		t.Fatalf("assigned %v, shown %+v", got, shown)
	}
	do[ec2types.UnassignIpv6AddressesOutput](l, "UnassignIpv6Addresses", &ec2types.UnassignIpv6AddressesInput{NetworkInterfaceId: n.NetworkInterfaceId, Ipv6Addresses: got})
	l.refuse("InvalidParameterValue", "UnassignIpv6Addresses", &ec2types.UnassignIpv6AddressesInput{NetworkInterfaceId: n.NetworkInterfaceId, Ipv6Addresses: got})
	// What is free again can be taken.
	do[ec2types.AssignIpv6AddressesOutput](l, "AssignIpv6Addresses", &ec2types.AssignIpv6AddressesInput{NetworkInterfaceId: n.NetworkInterfaceId, Ipv6Addresses: got})

	do[ec2types.ModifySubnetAttributeOutput](l, "ModifySubnetAttribute", &ec2types.ModifySubnetAttributeInput{SubnetId: &subnet, AssignIpv6AddressOnCreation: &ec2types.AttributeBooleanValue{Value: ptr(true)}})
	if n := create(ec2types.CreateNetworkInterfaceInput{}); len(n.Ipv6Addresses) != 1 {
		t.Errorf("the subnet assigns no IPv6 address: %+v", n.Ipv6Addresses)
	}
	if n := create(ec2types.CreateNetworkInterfaceInput{Ipv6AddressCount: ptr(int32(0))}); len(n.Ipv6Addresses) != 0 {
		t.Errorf("the subnet assigns an IPv6 address to who wants none: %+v", n.Ipv6Addresses)
	}
	if s := do[ec2types.DescribeSubnetsOutput](l, "DescribeSubnets", &ec2types.DescribeSubnetsInput{SubnetIds: []string{subnet}}).Subnets[0]; *s.AvailableIpAddressCount != 251-5 || !*s.AssignIpv6AddressOnCreation {
		t.Errorf("IPv6 addresses count among the subnet's IPv4 ones: %d free", *s.AvailableIpAddressCount)
	}
}

// Groups of a VPC with IPv6 let it out, if they let all of IPv4 out.
func TestIPv6DefaultRules(t *testing.T) {
	l := newLab(t)
	vpc := do[ec2types.CreateVpcOutput](l, "CreateVpc", &ec2types.CreateVpcInput{CidrBlock: ptr("10.0.0.0/16")}).Vpc.VpcId
	group := func(name string) *string {
		return do[ec2types.CreateSecurityGroupOutput](l, "CreateSecurityGroup", &ec2types.CreateSecurityGroupInput{VpcId: vpc, GroupName: &name, Description: &name}).GroupId
	}
	closed := group("closed")
	do[ec2types.RevokeSecurityGroupEgressOutput](l, "RevokeSecurityGroupEgress", &ec2types.RevokeSecurityGroupEgressInput{GroupId: closed, IpPermissions: []ec2types.IpPermission{{
		IpProtocol: ptr("-1"), IpRanges: []ec2types.IpRange{{CidrIp: ptr("0.0.0.0/0")}},
	}}})
	before := group("before")
	do[ec2types.AssociateVpcCidrBlockOutput](l, "AssociateVpcCidrBlock", &ec2types.AssociateVpcCidrBlockInput{VpcId: vpc, AmazonProvidedIpv6CidrBlock: ptr(true)})
	after := group("after")
	for id, want := range map[*string]int{closed: 0, before: 2, after: 2} {
		g := do[ec2types.DescribeSecurityGroupRulesOutput](l, "DescribeSecurityGroupRules", &ec2types.DescribeSecurityGroupRulesInput{Filters: filter("group-id", *id)}).SecurityGroupRules
		v6 := 0
		for _, r := range g {
			if ec2types.Value(r.CidrIpv6) == "::/0" && *r.IsEgress && *r.IpProtocol == "-1" {
				v6++
			}
		}
		if len(g) != want || v6 != want/2 {
			t.Errorf("%s has %d rules, %d of IPv6, want %d", *id, len(g), v6, want)
		}
	}
	acl := do[ec2types.DescribeNetworkAclsOutput](l, "DescribeNetworkAcls", &ec2types.DescribeNetworkAclsInput{Filters: filter("vpc-id", *vpc)}).NetworkAcls[0]
	if len(acl.Entries) != 8 {
		t.Errorf("the network ACL has %d entries, want 8", len(acl.Entries))
	}
}

func TestIPv6Routes(t *testing.T) {
	l := newLab(t)
	vpc, _, _ := dualVPC(l)
	other, _, _ := dualVPC(l)
	table := do[ec2types.DescribeRouteTablesOutput](l, "DescribeRouteTables", &ec2types.DescribeRouteTablesInput{Filters: filter("vpc-id", vpc)}).RouteTables[0]
	if len(table.Routes) != 2 || table.Routes[1].DestinationIpv6CidrBlock == nil || *table.Routes[1].GatewayId != "local" {
		t.Fatalf("the routes are %+v", table.Routes)
	}
	egress := func(vpc string) *string {
		return do[ec2types.CreateEgressOnlyInternetGatewayOutput](l, "CreateEgressOnlyInternetGateway", &ec2types.CreateEgressOnlyInternetGatewayInput{VpcId: &vpc}).EgressOnlyInternetGateway.EgressOnlyInternetGatewayId
	}
	g, foreign := egress(vpc), egress(other)
	route := func(v4, v6 string, gateway, egressOnly *string) *ec2types.CreateRouteInput {
		in := &ec2types.CreateRouteInput{RouteTableId: table.RouteTableId, GatewayId: gateway, EgressOnlyInternetGatewayId: egressOnly}
		if v4 != "" {
			in.DestinationCidrBlock = &v4
		}
		if v6 != "" {
			in.DestinationIpv6CidrBlock = &v6
		}
		return in
	}
	l.refuse("InvalidParameterValue", "CreateRoute", route("", "::/0", nil, foreign))
	l.refuse("InvalidParameterValue", "CreateRoute", route("0.0.0.0/0", "", nil, g))
	l.refuse("InvalidParameterValue", "CreateRoute", route("::/0", "", nil, g))
	l.refuse("InvalidParameterValue", "CreateRoute", route("", "0.0.0.0/0", nil, g))
	l.refuse("InvalidParameterValue", "CreateRoute", route("", *table.Routes[1].DestinationIpv6CidrBlock, nil, g))
	l.refuse("MissingParameter", "CreateRoute", route("", "", nil, g))
	l.refuse("MissingParameter", "CreateRoute", route("", "::/0", nil, nil))
	l.refuse("InvalidParameterCombination", "CreateRoute", route("", "::/0", ptr("igw-0123456789abcdef0"), g))
	l.refuse("InvalidParameterCombination", "CreateRoute", route("0.0.0.0/0", "::/0", nil, g))
	l.refuse("InvalidInternetGatewayId.Malformed", "CreateRoute", route("", "::/0", g, nil))
	do[ec2types.CreateRouteOutput](l, "CreateRoute", route("", "::/0", nil, g))
	l.refuse("RouteAlreadyExists", "CreateRoute", route("", "::/0", nil, g))
	tables := do[ec2types.DescribeRouteTablesOutput](l, "DescribeRouteTables", &ec2types.DescribeRouteTablesInput{Filters: filter("route.egress-only-internet-gateway-id", *g)}).RouteTables
	if len(tables) != 1 || len(tables[0].Routes) != 3 || *tables[0].Routes[2].State != "active" || *tables[0].Routes[2].DestinationIpv6CidrBlock != "::/0" {
		t.Fatalf("the tables with the route are %+v", tables)
	}
	l.refuse("DependencyViolation", "DeleteEgressOnlyInternetGateway", &ec2types.DeleteEgressOnlyInternetGatewayInput{EgressOnlyInternetGatewayId: g})
	l.refuse("InvalidParameterValue", "DeleteRoute", &ec2types.DeleteRouteInput{RouteTableId: table.RouteTableId, DestinationIpv6CidrBlock: table.Routes[1].DestinationIpv6CidrBlock})
	do[ec2types.DeleteRouteOutput](l, "DeleteRoute", &ec2types.DeleteRouteInput{RouteTableId: table.RouteTableId, DestinationIpv6CidrBlock: ptr("::/0")})
	l.refuse("InvalidRoute.NotFound", "DeleteRoute", &ec2types.DeleteRouteInput{RouteTableId: table.RouteTableId, DestinationIpv6CidrBlock: ptr("::/0")})
	all := do[ec2types.DescribeEgressOnlyInternetGatewaysOutput](l, "DescribeEgressOnlyInternetGateways", &ec2types.DescribeEgressOnlyInternetGatewaysInput{}).EgressOnlyInternetGateways
	if len(all) != 2 || *all[0].Attachments[0].State != "attached" {
		t.Errorf("the gateways are %+v", all)
	}
	do[ec2types.DeleteEgressOnlyInternetGatewayOutput](l, "DeleteEgressOnlyInternetGateway", &ec2types.DeleteEgressOnlyInternetGatewayInput{EgressOnlyInternetGatewayId: g})
	l.refuse("InvalidEgressOnlyInternetGatewayId.NotFound", "DeleteEgressOnlyInternetGateway", &ec2types.DeleteEgressOnlyInternetGatewayInput{EgressOnlyInternetGatewayId: g})
}
