package complete

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/client"
)

// both completes an object by its id, and by its name if it has one.
func both(id, name, about string) []cobra.Completion {
	found := []cobra.Completion{cobra.CompletionWithDesc(id, output.Clean(name+" "+about))}
	if name != "" {
		found = append(found, cobra.CompletionWithDesc(name, output.Clean(id+" "+about)))
	}
	return found
}

// objects completes what a look-up finds.
func objects[T any](f *factory.Factory, look func(context.Context, *client.Client, ...ec2types.Filter) ([]T, error), show func(T) []cobra.Completion) cobra.CompletionFunc {
	return from(f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		all, err := look(ctx, c)
		var found []cobra.Completion
		for _, item := range all {
			found = append(found, show(item)...)
		}
		return found, err
	})
}

// VPCs completes the VPCs.
func VPCs(f *factory.Factory) cobra.CompletionFunc {
	return objects(f, resolve.VPCs, func(v ec2types.Vpc) []cobra.Completion {
		name := resolve.Tag(v.Tags, "Name")
		if ec2types.Value(v.IsDefault) {
			name = resolve.DefaultVPC
		}
		return both(ec2types.Value(v.VpcId), name, ec2types.Value(v.CidrBlock))
	})
}

// Subnets completes the subnets.
func Subnets(f *factory.Factory) cobra.CompletionFunc {
	return objects(f, resolve.Subnets, func(s ec2types.Subnet) []cobra.Completion {
		return both(ec2types.Value(s.SubnetId), resolve.Tag(s.Tags, "Name"), ec2types.Value(s.CidrBlock))
	})
}

// SecurityGroups completes the security groups.
func SecurityGroups(f *factory.Factory) cobra.CompletionFunc {
	return objects(f, resolve.SecurityGroups, func(g ec2types.SecurityGroup) []cobra.Completion {
		return both(ec2types.Value(g.GroupId), ec2types.Value(g.GroupName), ec2types.Value(g.VpcId))
	})
}

// SecurityGroupRules completes a security group, then the ids of its rules.
func SecurityGroupRules(f *factory.Factory) cobra.CompletionFunc {
	groups := SecurityGroups(f)
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return groups(cmd, args, toComplete)
		}
		return from(f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
			group, err := resolve.SecurityGroup(ctx, c, args[0], "")
			if err != nil {
				return nil, err
			}
			rules, err := resolve.SecurityGroupRules(ctx, c, group)
			var found []cobra.Completion
			for _, r := range rules {
				found = append(found, cobra.CompletionWithDesc(ec2types.Value(r.SecurityGroupRuleId), output.Clean(ec2types.Value(r.Description))))
			}
			return found, err
		})(cmd, args, toComplete)
	}
}

// Addresses completes the elastic addresses.
func Addresses(f *factory.Factory) cobra.CompletionFunc {
	return objects(f, resolve.Addresses, func(a ec2types.Address) []cobra.Completion {
		return append(both(ec2types.Value(a.AllocationId), resolve.Tag(a.Tags, "Name"), ec2types.Value(a.PublicIp)),
			cobra.CompletionWithDesc(ec2types.Value(a.PublicIp), ec2types.Value(a.AllocationId)))
	})
}

// LaunchTemplates completes the launch templates.
func LaunchTemplates(f *factory.Factory) cobra.CompletionFunc {
	return objects(f, resolve.LaunchTemplates, func(t ec2types.LaunchTemplate) []cobra.Completion {
		return both(ec2types.Value(t.LaunchTemplateId), ec2types.Value(t.LaunchTemplateName), "")
	})
}

// NetworkInterfaces completes the network interfaces.
func NetworkInterfaces(f *factory.Factory) cobra.CompletionFunc {
	return objects(f, resolve.NetworkInterfaces, func(n ec2types.NetworkInterface) []cobra.Completion {
		return both(ec2types.Value(n.NetworkInterfaceId), resolve.Tag(n.TagSet, "Name"), ec2types.Value(n.PrivateIpAddress))
	})
}

// RouteTables completes the route tables.
func RouteTables(f *factory.Factory) cobra.CompletionFunc {
	return objects(f, resolve.RouteTables, func(t ec2types.RouteTable) []cobra.Completion {
		return both(ec2types.Value(t.RouteTableId), resolve.Tag(t.Tags, "Name"), ec2types.Value(t.VpcId))
	})
}

// NetworkACLs completes the network ACLs.
func NetworkACLs(f *factory.Factory) cobra.CompletionFunc {
	return objects(f, resolve.NetworkACLs, func(n ec2types.NetworkAcl) []cobra.Completion {
		return both(ec2types.Value(n.NetworkAclId), resolve.Tag(n.Tags, "Name"), ec2types.Value(n.VpcId))
	})
}

// InternetGateways completes the internet gateways.
func InternetGateways(f *factory.Factory) cobra.CompletionFunc {
	return objects(f, resolve.InternetGateways, func(g ec2types.InternetGateway) []cobra.Completion {
		return both(ec2types.Value(g.InternetGatewayId), resolve.Tag(g.Tags, "Name"), "")
	})
}

// DHCPOptions completes the sets of DHCP options.
func DHCPOptions(f *factory.Factory) cobra.CompletionFunc {
	return objects(f, resolve.DHCPOptions, func(d ec2types.DhcpOptions) []cobra.Completion {
		return both(ec2types.Value(d.DhcpOptionsId), resolve.Tag(d.Tags, "Name"), "")
	})
}

// EgressGateways completes the egress-only internet gateways.
func EgressGateways(f *factory.Factory) cobra.CompletionFunc {
	return objects(f, resolve.EgressGateways, func(g ec2types.EgressOnlyInternetGateway) []cobra.Completion {
		return both(ec2types.Value(g.EgressOnlyInternetGatewayId), "", resolve.Tag(g.Tags, "Name"))
	})
}
