package resolve

import (
	"context"
	"iter"
	"net/netip"
	"strings"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// DefaultVPC is the name by which users mean the account's default VPC.
const DefaultVPC = "default"

// collect joins what is on all pages.
func collect[P, T any](pages iter.Seq2[*P, error], items func(*P) []T) ([]T, error) {
	var all []T
	for page, err := range pages {
		if err != nil {
			return nil, err
		}
		all = append(all, items(page)...)
	}
	return all, nil
}

// ids are the ids of some objects.
func ids[T any](all []T, id func(T) *string) []string {
	var out []string
	for _, item := range all {
		out = append(out, ec2types.Value(id(item)))
	}
	return out
}

// VPCs returns every VPC that passes the filters.
func VPCs(ctx context.Context, c *client.Client, filters ...ec2types.Filter) ([]ec2types.Vpc, error) {
	return collect(c.DescribeVpcsPages(ctx, &ec2types.DescribeVpcsInput{Filters: filters}),
		func(p *ec2types.DescribeVpcsOutput) []ec2types.Vpc { return p.Vpcs })
}

// VPC returns the id of the VPC that ref means: an id, the Name tag of exactly
// one VPC, or "default".
func VPC(ctx context.Context, c *client.Client, ref string) (string, error) {
	if model.CheckID(model.VPCPrefix, ref) == nil {
		return ref, nil
	}
	by := Filter("tag:Name", exactly(ref))
	if ref == DefaultVPC {
		by = Filter("is-default", "true")
	}
	found, err := VPCs(ctx, c, by)
	if err != nil {
		return "", err
	}
	return one("VPC", ref, ids(found, func(v ec2types.Vpc) *string { return v.VpcId }), "bundt vpc ls lists the VPCs")
}

// Subnets returns every subnet that passes the filters.
func Subnets(ctx context.Context, c *client.Client, filters ...ec2types.Filter) ([]ec2types.Subnet, error) {
	return collect(c.DescribeSubnetsPages(ctx, &ec2types.DescribeSubnetsInput{Filters: filters}),
		func(p *ec2types.DescribeSubnetsOutput) []ec2types.Subnet { return p.Subnets })
}

// Subnet returns the id of the subnet that ref, an id or the Name tag of exactly
// one subnet, means.
func Subnet(ctx context.Context, c *client.Client, ref string) (string, error) {
	if model.CheckID(model.SubnetPrefix, ref) == nil {
		return ref, nil
	}
	found, err := Subnets(ctx, c, Filter("tag:Name", exactly(ref)))
	if err != nil {
		return "", err
	}
	return one("subnet", ref, ids(found, func(s ec2types.Subnet) *string { return s.SubnetId }), "bundt subnet ls lists the subnets")
}

// VPCOfSubnet returns the id of the VPC that a subnet is of; of the default VPC
// if there is no subnet.
func VPCOfSubnet(ctx context.Context, c *client.Client, subnet string) (string, error) {
	if subnet == "" {
		return VPC(ctx, c, DefaultVPC)
	}
	found, err := collect(c.DescribeSubnetsPages(ctx, &ec2types.DescribeSubnetsInput{SubnetIds: []string{subnet}}),
		func(p *ec2types.DescribeSubnetsOutput) []ec2types.Subnet { return p.Subnets })
	if err != nil {
		return "", err
	}
	return ec2types.Value(found[0].VpcId), nil
}

// SecurityGroups returns every security group that passes the filters.
func SecurityGroups(ctx context.Context, c *client.Client, filters ...ec2types.Filter) ([]ec2types.SecurityGroup, error) {
	return collect(c.DescribeSecurityGroupsPages(ctx, &ec2types.DescribeSecurityGroupsInput{Filters: filters}),
		func(p *ec2types.DescribeSecurityGroupsOutput) []ec2types.SecurityGroup { return p.SecurityGroups })
}

// SecurityGroup returns the id of the security group that ref means: an id, or
// the name of exactly one group. With a VPC, whose groups have different names,
// only those of it count.
func SecurityGroup(ctx context.Context, c *client.Client, ref, vpc string) (string, error) {
	if model.CheckID(model.GroupPrefix, ref) == nil {
		return ref, nil
	}
	filters := []ec2types.Filter{Filter("group-name", exactly(ref))}
	if vpc != "" {
		filters = append(filters, Filter("vpc-id", vpc))
	}
	found, err := SecurityGroups(ctx, c, filters...)
	if err != nil {
		return "", err
	}
	return one("security group", ref, ids(found, func(g ec2types.SecurityGroup) *string { return g.GroupId }), "bundt security-group ls lists the groups")
}

// SecurityGroupRules returns the rules of a security group.
func SecurityGroupRules(ctx context.Context, c *client.Client, group string) ([]ec2types.SecurityGroupRule, error) {
	return collect(c.DescribeSecurityGroupRulesPages(ctx, &ec2types.DescribeSecurityGroupRulesInput{Filters: []ec2types.Filter{Filter("group-id", group)}}),
		func(p *ec2types.DescribeSecurityGroupRulesOutput) []ec2types.SecurityGroupRule {
			return p.SecurityGroupRules
		})
}

// Addresses returns every elastic address that passes the filters.
func Addresses(ctx context.Context, c *client.Client, filters ...ec2types.Filter) ([]ec2types.Address, error) {
	out, err := c.DescribeAddresses(ctx, &ec2types.DescribeAddressesInput{Filters: filters})
	if err != nil {
		return nil, err
	}
	return out.Addresses, nil
}

// Address returns the allocation id of the elastic address that ref means: that
// id, the address itself, or the Name tag of exactly one.
func Address(ctx context.Context, c *client.Client, ref string) (string, error) {
	if model.CheckID(model.AllocationPrefix, ref) == nil {
		return ref, nil
	}
	by := Filter("tag:Name", exactly(ref))
	if _, err := netip.ParseAddr(ref); err == nil {
		by = Filter("public-ip", ref)
	}
	found, err := Addresses(ctx, c, by)
	if err != nil {
		return "", err
	}
	return one("elastic IP", ref, ids(found, func(a ec2types.Address) *string { return a.AllocationId }), "bundt address ls lists the addresses")
}

// NetworkInterfaces returns every network interface that passes the filters.
func NetworkInterfaces(ctx context.Context, c *client.Client, filters ...ec2types.Filter) ([]ec2types.NetworkInterface, error) {
	return collect(c.DescribeNetworkInterfacesPages(ctx, &ec2types.DescribeNetworkInterfacesInput{Filters: filters}),
		func(p *ec2types.DescribeNetworkInterfacesOutput) []ec2types.NetworkInterface {
			return p.NetworkInterfaces
		})
}

// named returns the id of the object that ref, an id or the Name tag of exactly one,
// means.
func named[T any](ctx context.Context, c *client.Client, prefix model.IDPrefix, kind, ref, hint string,
	all func(context.Context, *client.Client, ...ec2types.Filter) ([]T, error), id func(T) *string) (string, error) {
	if model.CheckID(prefix, ref) == nil {
		return ref, nil
	}
	found, err := all(ctx, c, Filter("tag:Name", exactly(ref)))
	if err != nil {
		return "", err
	}
	return one(kind, ref, ids(found, id), hint)
}

// NetworkInterface returns the id of the network interface that ref, an id or the
// Name tag of exactly one, means.
func NetworkInterface(ctx context.Context, c *client.Client, ref string) (string, error) {
	return named(ctx, c, model.InterfacePrefix, "network interface", ref, "bundt network-interface ls lists the interfaces", NetworkInterfaces,
		func(n ec2types.NetworkInterface) *string { return n.NetworkInterfaceId })
}

// RouteTables returns every route table that passes the filters.
func RouteTables(ctx context.Context, c *client.Client, filters ...ec2types.Filter) ([]ec2types.RouteTable, error) {
	return collect(c.DescribeRouteTablesPages(ctx, &ec2types.DescribeRouteTablesInput{Filters: filters}),
		func(p *ec2types.DescribeRouteTablesOutput) []ec2types.RouteTable { return p.RouteTables })
}

// RouteTable returns the id of the route table that ref means: an id, the Name tag
// of exactly one, or VPC/main, where VPC is one by id or name.
func RouteTable(ctx context.Context, c *client.Client, ref string) (string, error) {
	const hint = "bundt route-table ls lists the route tables"
	id := func(t ec2types.RouteTable) *string { return t.RouteTableId }
	if vpc, ok := strings.CutSuffix(ref, "/main"); ok {
		vpcID, err := VPC(ctx, c, vpc)
		if err != nil {
			return "", err
		}
		found, err := RouteTables(ctx, c, Filter("vpc-id", vpcID), Filter("association.main", "true"))
		if err != nil {
			return "", err
		}
		return one("route table", ref, ids(found, id), hint)
	}
	return named(ctx, c, model.RouteTablePrefix, "route table", ref, hint, RouteTables, id)
}

// NetworkACLs returns every network ACL that passes the filters.
func NetworkACLs(ctx context.Context, c *client.Client, filters ...ec2types.Filter) ([]ec2types.NetworkAcl, error) {
	return collect(c.DescribeNetworkAclsPages(ctx, &ec2types.DescribeNetworkAclsInput{Filters: filters}),
		func(p *ec2types.DescribeNetworkAclsOutput) []ec2types.NetworkAcl { return p.NetworkAcls })
}

// NetworkACL returns the id of the network ACL that ref means: an id, the Name tag of
// exactly one, or VPC/default, where VPC is one by id or name.
func NetworkACL(ctx context.Context, c *client.Client, ref string) (string, error) {
	const hint = "bundt network-acl ls lists the network ACLs"
	id := func(n ec2types.NetworkAcl) *string { return n.NetworkAclId }
	if vpc, ok := strings.CutSuffix(ref, "/default"); ok {
		vpcID, err := VPC(ctx, c, vpc)
		if err != nil {
			return "", err
		}
		found, err := NetworkACLs(ctx, c, Filter("vpc-id", vpcID), Filter("default", "true"))
		if err != nil {
			return "", err
		}
		return one("network ACL", ref, ids(found, id), hint)
	}
	return named(ctx, c, model.ACLPrefix, "network ACL", ref, hint, NetworkACLs, id)
}

// InternetGateways returns every internet gateway that passes the filters.
func InternetGateways(ctx context.Context, c *client.Client, filters ...ec2types.Filter) ([]ec2types.InternetGateway, error) {
	return collect(c.DescribeInternetGatewaysPages(ctx, &ec2types.DescribeInternetGatewaysInput{Filters: filters}),
		func(p *ec2types.DescribeInternetGatewaysOutput) []ec2types.InternetGateway { return p.InternetGateways })
}

// InternetGateway returns the id of the internet gateway that ref, an id or the
// Name tag of exactly one, means.
func InternetGateway(ctx context.Context, c *client.Client, ref string) (string, error) {
	return named(ctx, c, model.GatewayPrefix, "internet gateway", ref, "bundt internet-gateway ls lists the gateways", InternetGateways,
		func(g ec2types.InternetGateway) *string { return g.InternetGatewayId })
}

// DHCPOptions returns all DHCP options that pass the filters.
func DHCPOptions(ctx context.Context, c *client.Client, filters ...ec2types.Filter) ([]ec2types.DhcpOptions, error) {
	return collect(c.DescribeDhcpOptionsPages(ctx, &ec2types.DescribeDhcpOptionsInput{Filters: filters}),
		func(p *ec2types.DescribeDhcpOptionsOutput) []ec2types.DhcpOptions { return p.DhcpOptions })
}

// DHCPOption returns the id of the DHCP options that ref, an id or the Name tag of
// exactly one set, means.
func DHCPOption(ctx context.Context, c *client.Client, ref string) (string, error) {
	return named(ctx, c, model.DHCPOptionsPrefix, "set of DHCP options", ref, "bundt dhcp-options ls lists them", DHCPOptions,
		func(d ec2types.DhcpOptions) *string { return d.DhcpOptionsId })
}

// EgressGateways returns every egress-only internet gateway that passes the filters.
func EgressGateways(ctx context.Context, c *client.Client, filters ...ec2types.Filter) ([]ec2types.EgressOnlyInternetGateway, error) {
	return collect(c.DescribeEgressOnlyInternetGatewaysPages(ctx, &ec2types.DescribeEgressOnlyInternetGatewaysInput{Filters: filters}),
		func(p *ec2types.DescribeEgressOnlyInternetGatewaysOutput) []ec2types.EgressOnlyInternetGateway {
			return p.EgressOnlyInternetGateways
		})
}
