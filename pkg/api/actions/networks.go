package actions

import (
	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerNetworks(t *api.Table) {
	a.registerGroups(t)
	a.registerGroupRules(t)
	a.registerVPCs(t)
	a.registerSubnets(t)
	a.registerRoutes(t)
	a.registerGateways(t)
	a.registerDHCPOptions(t)
	a.registerInterfaces(t)
	a.registerIPv6(t)
	a.registerEgressGateways(t)
	a.registerNetworkACLs(t)
	a.registerAddresses(t)
	a.registerAddressNames(t)
}

var (
	vpcKind     = objectKind[model.VPC]{func(v *model.VPC) string { return v.ID }, isID(model.VPCPrefix), "InvalidVpcId.Malformed", "InvalidVpcID.NotFound", "vpc ID"}
	subnetKind  = objectKind[cloud.Subnet]{func(s *cloud.Subnet) string { return s.ID }, isID(model.SubnetPrefix), "InvalidSubnetID.Malformed", "InvalidSubnetID.NotFound", "subnet ID"}
	groupKind   = objectKind[model.SecurityGroup]{func(g *model.SecurityGroup) string { return g.ID }, isID(model.GroupPrefix), "InvalidGroupId.Malformed", "InvalidGroup.NotFound", "security group"}
	ruleKind    = objectKind[groupRule]{func(r *groupRule) string { return r.ID }, isID(model.RulePrefix), "InvalidSecurityGroupRuleId.Malformed", "InvalidSecurityGroupRuleId.NotFound", "security group rule ID"}
	gatewayKind = objectKind[model.InternetGateway]{func(g *model.InternetGateway) string { return g.ID }, isID(model.GatewayPrefix), "InvalidInternetGatewayId.Malformed", "InvalidInternetGatewayID.NotFound", "internetGateway ID"}
	tableKind   = objectKind[routeTable]{func(t *routeTable) string { return t.ID }, isID(model.RouteTablePrefix), "InvalidRouteTableId.Malformed", "InvalidRouteTableID.NotFound", "routeTable ID"}
	aclKind     = objectKind[networkACL]{func(n *networkACL) string { return n.ID }, isID(model.ACLPrefix), "InvalidNetworkAclId.Malformed", "InvalidNetworkAclID.NotFound", "networkAcl ID"}
	dhcpKind    = objectKind[model.DHCPOptions]{func(d *model.DHCPOptions) string { return d.ID }, isID(model.DHCPOptionsPrefix), "InvalidDhcpOptionsId.Malformed", "InvalidDhcpOptionID.NotFound", "dhcpOption ID"}
)

// oneTagSet returns the tags for the one resource type that an action makes.
func oneTagSet(specs []ec2types.TagSpecification, kind string) (model.Tags, error) {
	tags, err := tagSpecs(specs, kind)
	return tags[kind], err
}

// one makes a filter's values of an object's only value.
func one[T any](get func(*T) string) func(*T) []string {
	return func(o *T) []string { return []string{get(o)} }
}

// each makes a filter's values of the values of an object's parts.
func each[T, P any](parts func(*T) []P, value func(*P) string) func(*T) []string {
	return func(o *T) []string {
		var out []string
		all := parts(o)
		for i := range all {
			if v := value(&all[i]); v != "" {
				out = append(out, v)
			}
		}
		return out
	}
}

func yesNo(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
