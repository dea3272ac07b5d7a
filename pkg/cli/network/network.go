// Package network owns the commands on networks: security groups, VPCs, subnets,
// elastic addresses and network interfaces. It may import pkg/client, the API's
// types, pkg/model and its neighbours under pkg/cli only.
package network

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
)

// NewVPCCommand returns the command "vpc" with all its verbs.
func NewVPCCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "vpc VERB", Aliases: []string{"vpcs"}, Short: "Manage VPCs: networks that are isolated from each other"}
	cmd.AddCommand(lister[ec2types.Vpc]{
		what: "VPCs", all: resolve.VPCs, id: func(v ec2types.Vpc) *string { return v.VpcId },
		columns: []output.Column[ec2types.Vpc]{
			column("VPC", func(v ec2types.Vpc) *string { return v.VpcId }),
			column("CIDR", func(v ec2types.Vpc) *string { return v.CidrBlock }),
			{Title: "DEFAULT", Text: func(v ec2types.Vpc) string { return yesNo(v.IsDefault) }},
			wide(column("DHCP OPTIONS", func(v ec2types.Vpc) *string { return v.DhcpOptionsId })),
			tagColumn(func(v ec2types.Vpc) []ec2types.Tag { return v.Tags }),
		},
	}.command(f), newVPCCreateCommand(f), newVPCDeleteCommand(f))
	return cmd
}

// NewSubnetCommand returns the command "subnet" with all its verbs.
func NewSubnetCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "subnet VERB", Aliases: []string{"subnets"}, Short: "Manage subnets: the parts of VPCs that instances are launched in"}
	cmd.AddCommand(lister[ec2types.Subnet]{
		what: "subnets", vpc: true, all: resolve.Subnets, id: func(s ec2types.Subnet) *string { return s.SubnetId },
		columns: []output.Column[ec2types.Subnet]{
			column("SUBNET", func(s ec2types.Subnet) *string { return s.SubnetId }),
			column("CIDR", func(s ec2types.Subnet) *string { return s.CidrBlock }),
			{Title: "FREE", Text: func(s ec2types.Subnet) string { return strconv.Itoa(int(ec2types.Value(s.AvailableIpAddressCount))) }},
			{Title: "PUBLIC", Text: func(s ec2types.Subnet) string { return yesNo(s.MapPublicIpOnLaunch) }},
			column("VPC", func(s ec2types.Subnet) *string { return s.VpcId }),
			wide(column("ZONE", func(s ec2types.Subnet) *string { return s.AvailabilityZone })),
			tagColumn(func(s ec2types.Subnet) []ec2types.Tag { return s.Tags }),
		},
	}.command(f), newSubnetCreateCommand(f), verb{
		use: "delete SUBNET", short: "Delete a subnet in which there is nothing", object: "subnet", args: cobra.ExactArgs(1),
		complete: complete.First(complete.Subnets(f)),
		run: func(ctx context.Context, s *session, args []string) error {
			id, err := resolve.Subnet(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			return change(ctx, s, id, "DeleteSubnet", &ec2types.DeleteSubnetInput{SubnetId: &id, DryRun: s.plan.Flag()}, s.DeleteSubnet)
		},
	}.command(f))
	return cmd
}

// NewInterfaceCommand returns the command "network-interface" with all its verbs.
func NewInterfaceCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "network-interface VERB", Aliases: []string{"network-interfaces", "eni"}, Short: "List network interfaces"}
	type nic = ec2types.NetworkInterface
	cmd.AddCommand(lister[nic]{
		what: "network interfaces", vpc: true, all: resolve.NetworkInterfaces, id: func(n nic) *string { return n.NetworkInterfaceId },
		columns: []output.Column[nic]{
			column("INTERFACE", func(n nic) *string { return n.NetworkInterfaceId }),
			column("STATE", func(n nic) *string { return n.Status }),
			column("PRIVATE IP", func(n nic) *string { return n.PrivateIpAddress }),
			{Title: "PUBLIC IP", Text: publicIP},
			{Title: "INSTANCE", Text: func(n nic) string {
				if n.Attachment == nil {
					return ""
				}
				return ec2types.Value(n.Attachment.InstanceId)
			}},
			{Title: "GROUPS", Text: func(n nic) string { return groupNames(n.Groups) }},
			wide(column("MAC", func(n nic) *string { return n.MacAddress })),
			wide(column("SUBNET", func(n nic) *string { return n.SubnetId })),
			wide(column("DESCRIPTION", func(n nic) *string { return n.Description })),
		},
	}.command(f))
	return cmd
}

func publicIP(n ec2types.NetworkInterface) string {
	if n.Association == nil {
		return ""
	}
	return ec2types.Value(n.Association.PublicIp)
}

func groupNames(groups []ec2types.GroupIdentifier) string {
	var names []string
	for _, g := range groups {
		names = append(names, ec2types.Value(g.GroupName))
	}
	return strings.Join(names, ",")
}

func newVPCCreateCommand(f *factory.Factory) *cobra.Command {
	var (
		name     string
		internet bool
	)
	return verb{
		use: "create CIDR", short: "Make a VPC", object: "VPC", args: cobra.ExactArgs(1),
		long: `Make a VPC with this range of private addresses, of /16 to /28. With --internet it
also gets an internet gateway and a route to it: without, nothing outside of the VPC
reaches its instances, or is reached by them.`,
		example: `  bundt vpc create 10.0.0.0/16 --name lab --internet
  bundt subnet create 10.0.1.0/24 --vpc lab --name lab-1 --public`,
		flags: func(cmd *cobra.Command) {
			nameFlag(cmd, &name, "VPC")
			cmd.Flags().BoolVar(&internet, "internet", false, "make an internet gateway and the route to it too")
		},
		run: func(ctx context.Context, s *session, args []string) error {
			out, err := send(ctx, s, "CreateVpc", &ec2types.CreateVpcInput{CidrBlock: &args[0], TagSpecifications: nameTag("vpc", name), DryRun: s.plan.Flag()}, s.CreateVpc)
			if err != nil || out == nil {
				return err
			}
			id := ec2types.Value(out.Vpc.VpcId)
			if err := s.print(id); err != nil || !internet {
				return err
			}
			return failure.WithHint(s.openVPC(ctx, id, name), "the VPC %s was made, and is without a way to the internet", id)
		},
	}.command(f)
}

// openVPC gives a new VPC a way to the internet.
func (s *session) openVPC(ctx context.Context, vpc, name string) error {
	gateway, err := s.CreateInternetGateway(ctx, &ec2types.CreateInternetGatewayInput{TagSpecifications: nameTag("internet-gateway", name)})
	if err != nil {
		return err
	}
	id := gateway.InternetGateway.InternetGatewayId
	if _, err := s.AttachInternetGateway(ctx, &ec2types.AttachInternetGatewayInput{InternetGatewayId: id, VpcId: &vpc}); err != nil {
		return err
	}
	tables, err := s.DescribeRouteTables(ctx, &ec2types.DescribeRouteTablesInput{
		Filters: []ec2types.Filter{resolve.Filter("vpc-id", vpc), resolve.Filter("association.main", "true")},
	})
	if err != nil {
		return err
	}
	_, err = s.CreateRoute(ctx, &ec2types.CreateRouteInput{
		RouteTableId: tables.RouteTables[0].RouteTableId, DestinationCidrBlock: new("0.0.0.0/0"), GatewayId: id,
	})
	return err
}

func newVPCDeleteCommand(f *factory.Factory) *cobra.Command {
	internet := false
	return verb{
		use: "delete VPC", short: "Delete a VPC in which there is nothing", object: "VPC", args: cobra.ExactArgs(1),
		complete: complete.First(complete.VPCs(f)),
		long: `Delete a VPC in which there are no subnets and no security groups but its default
one. --internet deletes its internet gateway before.`,
		flags: func(cmd *cobra.Command) {
			cmd.Flags().BoolVar(&internet, "internet", false, "delete its internet gateway too")
		},
		run: func(ctx context.Context, s *session, args []string) error {
			id, err := resolve.VPC(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			if internet && !s.plan.DryRun {
				if err := s.closeVPC(ctx, id); err != nil {
					return err
				}
			}
			return change(ctx, s, id, "DeleteVpc", &ec2types.DeleteVpcInput{VpcId: &id, DryRun: s.plan.Flag()}, s.DeleteVpc)
		},
	}.command(f)
}

// closeVPC deletes the internet gateway of a VPC.
func (s *session) closeVPC(ctx context.Context, vpc string) error {
	found, err := s.DescribeInternetGateways(ctx, &ec2types.DescribeInternetGatewaysInput{Filters: []ec2types.Filter{resolve.Filter("attachment.vpc-id", vpc)}})
	if err != nil {
		return err
	}
	for _, g := range found.InternetGateways {
		if _, err := s.DetachInternetGateway(ctx, &ec2types.DetachInternetGatewayInput{InternetGatewayId: g.InternetGatewayId, VpcId: &vpc}); err != nil {
			return err
		}
		if _, err := s.DeleteInternetGateway(ctx, &ec2types.DeleteInternetGatewayInput{InternetGatewayId: g.InternetGatewayId}); err != nil {
			return err
		}
	}
	return nil
}

func newSubnetCreateCommand(f *factory.Factory) *cobra.Command {
	var (
		name   string
		vpc    = resolve.DefaultVPC
		public bool
	)
	return verb{
		use: "create CIDR", short: "Make a subnet of a VPC", object: "subnet", args: cobra.ExactArgs(1),
		example: "  bundt subnet create 10.0.1.0/24 --vpc lab --name lab-1 --public",
		flags: func(cmd *cobra.Command) {
			nameFlag(cmd, &name, "subnet")
			vpcFlag(f, cmd, &vpc, "`VPC` that it is a part of")
			cmd.Flags().BoolVar(&public, "public", false, "instances that are launched in it get a public address")
		},
		run: func(ctx context.Context, s *session, args []string) error {
			vpcID, err := resolve.VPC(ctx, s.Client, vpc)
			if err != nil {
				return err
			}
			out, err := send(ctx, s, "CreateSubnet", &ec2types.CreateSubnetInput{
				VpcId: &vpcID, CidrBlock: &args[0], TagSpecifications: nameTag("subnet", name), DryRun: s.plan.Flag(),
			}, s.CreateSubnet)
			if err != nil || out == nil {
				return err
			}
			id := ec2types.Value(out.Subnet.SubnetId)
			if err := s.print(id); err != nil || !public {
				return err
			}
			_, err = s.ModifySubnetAttribute(ctx, &ec2types.ModifySubnetAttributeInput{SubnetId: &id, MapPublicIpOnLaunch: &ec2types.AttributeBooleanValue{Value: &public}})
			return err
		},
	}.command(f)
}
