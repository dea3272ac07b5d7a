package actions_test

import (
	"fmt"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

// The reverse name of an elastic address is its one attribute.
func TestAddressAttributes(t *testing.T) {
	l := newLab(t)
	address := do[ec2types.AllocateAddressOutput](l, "AllocateAddress", &ec2types.AllocateAddressInput{})
	other := do[ec2types.AllocateAddressOutput](l, "AllocateAddress", &ec2types.AllocateAddressInput{})
	id := address.AllocationId
	name := func(domain string) *ec2types.ModifyAddressAttributeInput {
		return &ec2types.ModifyAddressAttributeInput{AllocationId: id, DomainName: &domain}
	}
	l.refuse("MissingParameter", "ModifyAddressAttribute", &ec2types.ModifyAddressAttributeInput{AllocationId: id})
	for _, domain := range []string{"mail", "-a.example.com", "a..example.com", "a b.example.com", "a.example.com..", "ü.example.com"} {
		l.refuse("InvalidParameterValue", "ModifyAddressAttribute", name(domain))
	}
	l.refuse("InvalidAllocationID.NotFound", "ModifyAddressAttribute", &ec2types.ModifyAddressAttributeInput{AllocationId: ptr("eipalloc-00000000000000000"), DomainName: ptr("a.example.com")})
	l.as("111122223333").refuse("InvalidAllocationID.NotFound", "ModifyAddressAttribute", name("a.example.com"))

	set := do[ec2types.ModifyAddressAttributeOutput](l, "ModifyAddressAttribute", name("mail.example.com")).Address
	if *set.PtrRecord != "mail.example.com." || *set.PublicIp != *address.PublicIp || *set.AllocationId != *id {
		t.Errorf("the address is %+v", set)
	}
	describe := func(in ec2types.DescribeAddressesAttributeInput) []ec2types.AddressAttribute {
		return do[ec2types.DescribeAddressesAttributeOutput](l, "DescribeAddressesAttribute", &in).Addresses
	}
	shown := describe(ec2types.DescribeAddressesAttributeInput{AllocationIds: []string{*id}, Attribute: ptr("domain-name")})
	if len(shown) != 1 || *shown[0].PtrRecord != "mail.example.com." {
		t.Errorf("the attribute is shown as %+v", shown)
	}
	if shown = describe(ec2types.DescribeAddressesAttributeInput{}); len(shown) != 2 || shown[0].PtrRecord != nil || shown[1].PtrRecord != nil {
		t.Errorf("without an attribute there are %+v", shown)
	}
	page := do[ec2types.DescribeAddressesAttributeOutput](l, "DescribeAddressesAttribute", &ec2types.DescribeAddressesAttributeInput{MaxResults: ptr(int32(1))})
	if len(page.Addresses) != 1 || page.NextToken == nil {
		t.Fatalf("a page of one is %+v", page)
	}
	rest := describe(ec2types.DescribeAddressesAttributeInput{MaxResults: ptr(int32(1)), NextToken: page.NextToken})
	if len(rest) != 1 || *rest[0].AllocationId == *page.Addresses[0].AllocationId {
		t.Errorf("the second page is %+v", rest)
	}
	l.refuse("InvalidAllocationID.NotFound", "DescribeAddressesAttribute", &ec2types.DescribeAddressesAttributeInput{AllocationIds: []string{*other.AllocationId, "eipalloc-00000000000000000"}})

	reset := do[ec2types.ResetAddressAttributeOutput](l, "ResetAddressAttribute", &ec2types.ResetAddressAttributeInput{AllocationId: id, Attribute: ptr("domain-name")}).Address
	if reset.PtrRecord != nil || *reset.PublicIp != *address.PublicIp {
		t.Errorf("after the reset the address is %+v", reset)
	}
	if shown = describe(ec2types.DescribeAddressesAttributeInput{Attribute: ptr("domain-name")}); shown[0].PtrRecord != nil || shown[1].PtrRecord != nil {
		t.Errorf("after the reset there are %+v", shown)
	}
}

func TestReplaceAndDeleteRoute(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc("10.0.0.0/16")
	gateway := func() *string {
		return do[ec2types.CreateInternetGatewayOutput](l, "CreateInternetGateway", &ec2types.CreateInternetGatewayInput{}).InternetGateway.InternetGatewayId
	}
	attach := func(g *string) {
		do[ec2types.AttachInternetGatewayOutput](l, "AttachInternetGateway", &ec2types.AttachInternetGatewayInput{InternetGatewayId: g, VpcId: &vpc})
	}
	first, second := gateway(), gateway()
	table := do[ec2types.CreateRouteTableOutput](l, "CreateRouteTable", &ec2types.CreateRouteTableInput{VpcId: &vpc}).RouteTable.RouteTableId
	routes := func() (out string) {
		for _, r := range do[ec2types.DescribeRouteTablesOutput](l, "DescribeRouteTables", &ec2types.DescribeRouteTablesInput{RouteTableIds: []string{*table}}).RouteTables[0].Routes {
			out += fmt.Sprintln(*r.DestinationCidrBlock, *r.GatewayId, *r.State)
		}
		return out
	}
	const local = "10.0.0.0/16 local active\n"
	attach(first)
	do[ec2types.CreateRouteOutput](l, "CreateRoute", &ec2types.CreateRouteInput{RouteTableId: table, DestinationCidrBlock: ptr("0.0.0.0/0"), GatewayId: first})
	do[ec2types.CreateRouteOutput](l, "CreateRoute", &ec2types.CreateRouteInput{RouteTableId: table, DestinationCidrBlock: ptr("192.0.2.0/24"), GatewayId: first})
	do[ec2types.DetachInternetGatewayOutput](l, "DetachInternetGateway", &ec2types.DetachInternetGatewayInput{InternetGatewayId: first, VpcId: &vpc})
	attach(second)
	do[ec2types.ReplaceRouteOutput](l, "ReplaceRoute", &ec2types.ReplaceRouteInput{RouteTableId: table, DestinationCidrBlock: ptr("0.0.0.0/0"), GatewayId: second})
	if got, want := routes(), local+"0.0.0.0/0 "+*second+" active\n192.0.2.0/24 "+*first+" blackhole\n"; got != want {
		t.Errorf("the routes are\n%swant\n%s", got, want)
	}
	do[ec2types.DeleteRouteOutput](l, "DeleteRoute", &ec2types.DeleteRouteInput{RouteTableId: table, DestinationCidrBlock: ptr("192.0.2.0/24")})
	if got, want := routes(), local+"0.0.0.0/0 "+*second+" active\n"; got != want {
		t.Errorf("after the deletion the routes are\n%swant\n%s", got, want)
	}
	l.refuse("InvalidRoute.NotFound", "DeleteRoute", &ec2types.DeleteRouteInput{RouteTableId: table, DestinationCidrBlock: ptr("192.0.2.0/24")})
	l.refuse("MissingParameter", "DeleteRoute", &ec2types.DeleteRouteInput{RouteTableId: table})
}

func TestEgressRules(t *testing.T) {
	l := newLab(t)
	g := l.group(l.vpc("10.0.0.0/16"), "web")
	added := do[ec2types.AuthorizeSecurityGroupEgressOutput](l, "AuthorizeSecurityGroupEgress", &ec2types.AuthorizeSecurityGroupEgressInput{
		GroupId: &g, IpPermissions: []ec2types.IpPermission{permission("udp", 53, 53, "10.0.0.2/32")},
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ptr("security-group-rule"), Tags: []ec2types.Tag{{Key: ptr("k"), Value: ptr("v")}}}},
	})
	if len(added.SecurityGroupRules) != 1 || !*added.Return {
		t.Fatalf("the answer is %+v", added)
	}
	if r := added.SecurityGroupRules[0]; !*r.IsEgress || *r.CidrIpv4 != "10.0.0.2/32" || *r.FromPort != 53 || *r.GroupId != g || len(r.Tags) != 1 {
		t.Errorf("the rule is %+v", r)
	}
	if shown := l.describeGroup(g); len(shown.IpPermissions) != 0 || len(shown.IpPermissionsEgress) != 2 {
		t.Errorf("the group is %+v", shown)
	}
	out := do[ec2types.DescribeSecurityGroupRulesOutput](l, "DescribeSecurityGroupRules", &ec2types.DescribeSecurityGroupRulesInput{Filters: append(filter("group-id", g), filter("is-egress", "true")...)}).SecurityGroupRules
	if len(out) != 2 {
		t.Errorf("the rules that let out are %+v", out)
	}
	l.refuse("InvalidPermission.Duplicate", "AuthorizeSecurityGroupEgress", &ec2types.AuthorizeSecurityGroupEgressInput{GroupId: &g, IpPermissions: []ec2types.IpPermission{permission("udp", 53, 53, "10.0.0.2/32")}})
	// The same traffic in the other direction is another rule.
	do[ec2types.AuthorizeSecurityGroupIngressOutput](l, "AuthorizeSecurityGroupIngress", &ec2types.AuthorizeSecurityGroupIngressInput{GroupId: &g, IpPermissions: []ec2types.IpPermission{permission("udp", 53, 53, "10.0.0.2/32")}})
}

// VPCs are not peered, so no group is named from another VPC.
func TestSecurityGroupReferences(t *testing.T) {
	l := newLab(t)
	a, b := l.group("", "a"), l.group("", "b")
	do[ec2types.AuthorizeSecurityGroupIngressOutput](l, "AuthorizeSecurityGroupIngress", &ec2types.AuthorizeSecurityGroupIngressInput{
		GroupId: &a, IpPermissions: []ec2types.IpPermission{{IpProtocol: ptr("-1"), UserIdGroupPairs: []ec2types.UserIdGroupPair{{GroupId: &b}}}},
	})
	if found := do[ec2types.DescribeSecurityGroupReferencesOutput](l, "DescribeSecurityGroupReferences", &ec2types.DescribeSecurityGroupReferencesInput{GroupId: []string{a, b}}).SecurityGroupReferenceSet; found == nil || len(found) != 0 {
		t.Errorf("the references are %#v", found)
	}
	for code, id := range map[string]string{"InvalidGroup.NotFound": "sg-00000000000000000", "InvalidGroupId.Malformed": "web"} {
		l.refuse(code, "DescribeSecurityGroupReferences", &ec2types.DescribeSecurityGroupReferencesInput{GroupId: []string{a, id}})
	}
}

// Each quota is that of its owner alone: another account, VPC or table has its own.
func TestNetworkLimits(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for range 99 { // and the default one
		l.vpc("10.0.0.0/16")
	}
	l.refuse("VpcLimitExceeded", "CreateVpc", &ec2types.CreateVpcInput{CidrBlock: ptr("10.0.0.0/16")})
	other := l.as("111122223333")
	vpc := other.vpc("10.0.0.0/16")

	for i := range 200 {
		other.subnet(vpc, fmt.Sprintf("10.0.%d.0/24", i))
	}
	other.refuse("SubnetLimitExceeded", "CreateSubnet", &ec2types.CreateSubnetInput{VpcId: &vpc, CidrBlock: ptr("10.0.201.0/24")})

	g := other.group(vpc, "many")
	many := func(from, to int) (out []ec2types.IpPermission) {
		for i := from; i < to; i++ {
			out = append(out, permission("tcp", int32(i), int32(i), "10.0.0.0/8"))
		}
		return out
	}
	do[ec2types.AuthorizeSecurityGroupIngressOutput](other, "AuthorizeSecurityGroupIngress", &ec2types.AuthorizeSecurityGroupIngressInput{GroupId: &g, IpPermissions: many(0, 999)})
	other.refuse("RulesPerSecurityGroupLimitExceeded", "AuthorizeSecurityGroupIngress", &ec2types.AuthorizeSecurityGroupIngressInput{GroupId: &g, IpPermissions: many(999, 1001)})
	do[ec2types.AuthorizeSecurityGroupIngressOutput](other, "AuthorizeSecurityGroupIngress", &ec2types.AuthorizeSecurityGroupIngressInput{GroupId: &g, IpPermissions: many(999, 1000)})
	do[ec2types.AuthorizeSecurityGroupEgressOutput](other, "AuthorizeSecurityGroupEgress", &ec2types.AuthorizeSecurityGroupEgressInput{GroupId: &g, IpPermissions: many(0, 1)})

	subnet := other.subnet(other.vpc("10.0.0.0/16"), "10.0.0.0/16")
	other.refuse("PrivateIpAddressLimitExceeded", "CreateNetworkInterface", &ec2types.CreateNetworkInterfaceInput{SubnetId: &subnet, SecondaryPrivateIpAddressCount: ptr(int32(50))})
	var groups []string
	own := do[ec2types.DescribeSubnetsOutput](other, "DescribeSubnets", &ec2types.DescribeSubnetsInput{SubnetIds: []string{subnet}}).Subnets[0].VpcId
	for i := range 17 {
		groups = append(groups, other.group(*own, fmt.Sprintf("g%d", i)))
	}
	other.refuse("SecurityGroupsPerInterfaceLimitExceeded", "CreateNetworkInterface", &ec2types.CreateNetworkInterfaceInput{SubnetId: &subnet, Groups: groups})
	do[ec2types.CreateNetworkInterfaceOutput](other, "CreateNetworkInterface", &ec2types.CreateNetworkInterfaceInput{SubnetId: &subnet, Groups: groups[:16], SecondaryPrivateIpAddressCount: ptr(int32(49))})
}

func TestRouteLimits(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	vpc, _, _ := l.defaults()
	main := do[ec2types.DescribeRouteTablesOutput](l, "DescribeRouteTables", &ec2types.DescribeRouteTablesInput{}).RouteTables[0]
	gateway := main.Routes[1].GatewayId
	for range 199 {
		do[ec2types.CreateRouteTableOutput](l, "CreateRouteTable", &ec2types.CreateRouteTableInput{VpcId: vpc.VpcId})
	}
	l.refuse("RouteTableLimitExceeded", "CreateRouteTable", &ec2types.CreateRouteTableInput{VpcId: vpc.VpcId})
	route := func(i int) *ec2types.CreateRouteInput {
		return &ec2types.CreateRouteInput{RouteTableId: main.RouteTableId, DestinationCidrBlock: ptr(fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)), GatewayId: gateway}
	}
	for i := range 499 {
		do[ec2types.CreateRouteOutput](l, "CreateRoute", route(i))
	}
	l.refuse("RouteLimitExceeded", "CreateRoute", route(500))
	for range 99 {
		do[ec2types.CreateInternetGatewayOutput](l, "CreateInternetGateway", &ec2types.CreateInternetGatewayInput{})
	}
	l.refuse("InternetGatewayLimitExceeded", "CreateInternetGateway", &ec2types.CreateInternetGatewayInput{})
	for range 500 {
		do[ec2types.AllocateAddressOutput](l, "AllocateAddress", &ec2types.AllocateAddressInput{})
	}
	l.refuse("AddressLimitExceeded", "AllocateAddress", &ec2types.AllocateAddressInput{})
}
