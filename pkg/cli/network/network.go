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
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/client"
)

// NewVPCCommand returns the command "vpc" with all its verbs.
func NewVPCCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "vpc VERB", Aliases: []string{"vpcs"}, Short: "Manage VPCs: networks that are isolated from each other"}
	cmd.AddCommand(lister[ec2types.Vpc]{
		what: "VPCs", all: resolve.VPCs, id: func(v ec2types.Vpc) *string { return v.VpcId },
		columns: []output.Column[ec2types.Vpc]{
			command.Text("VPC", func(v ec2types.Vpc) *string { return v.VpcId }),
			{Title: "CIDR", Text: showRanges},
			command.YesNo("DEFAULT", func(v ec2types.Vpc) *bool { return v.IsDefault }),
			command.Wide(command.Text("IPV6", func(v ec2types.Vpc) *string { cidr, _ := vpcIPv6(v); return cidr })),
			command.Wide(command.Text("DHCP OPTIONS", func(v ec2types.Vpc) *string { return v.DhcpOptionsId })),
			command.Name(func(v ec2types.Vpc) []ec2types.Tag { return v.Tags }),
		},
	}.Command(f), newVPCCreateCommand(f), newVPCEditCommand(f), newVPCDeleteCommand(f), command.Verb{
		Use: "create-default", Short: "Make the account's default VPC, if it has none", Object: "default VPC", Args: cobra.NoArgs,
		Run: func(ctx context.Context, s *command.Session, _ []string) error {
			out, err := command.Send(ctx, s, "CreateDefaultVpc", &ec2types.CreateDefaultVpcInput{DryRun: s.Plan.Flag()}, s.CreateDefaultVpc)
			if err != nil || out == nil {
				return err
			}
			return s.Print(ec2types.Value(out.Vpc.VpcId))
		},
	}.Command(f))
	return cmd
}

// showRanges are a VPC's ranges of IPv4, the first one first.
func showRanges(v ec2types.Vpc) string {
	out := []string{ec2types.Value(v.CidrBlock)}
	for _, a := range v.CidrBlockAssociationSet {
		if cidr := ec2types.Value(a.CidrBlock); cidr != out[0] && (a.CidrBlockState == nil || !gone(a.CidrBlockState.State)) {
			out = append(out, cidr)
		}
	}
	return strings.Join(out, ",")
}

// NewSubnetCommand returns the command "subnet" with all its verbs.
func NewSubnetCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "subnet VERB", Aliases: []string{"subnets"}, Short: "Manage subnets: the parts of VPCs that instances are launched in"}
	cmd.AddCommand(lister[ec2types.Subnet]{
		what: "subnets", vpc: "vpc-id", all: resolve.Subnets, id: func(s ec2types.Subnet) *string { return s.SubnetId },
		columns: []output.Column[ec2types.Subnet]{
			command.Text("SUBNET", func(s ec2types.Subnet) *string { return s.SubnetId }),
			command.Text("CIDR", func(s ec2types.Subnet) *string { return s.CidrBlock }),
			{Title: "FREE", Text: func(s ec2types.Subnet) string { return strconv.Itoa(int(ec2types.Value(s.AvailableIpAddressCount))) }},
			command.YesNo("PUBLIC", func(s ec2types.Subnet) *bool { return s.MapPublicIpOnLaunch }),
			command.Text("VPC", func(s ec2types.Subnet) *string { return s.VpcId }),
			command.Wide(command.Text("IPV6", func(s ec2types.Subnet) *string { cidr, _ := subnetIPv6(s); return cidr })),
			command.Wide(command.Text("ZONE", func(s ec2types.Subnet) *string { return s.AvailabilityZone })),
			command.Name(func(s ec2types.Subnet) []ec2types.Tag { return s.Tags }),
		},
	}.Command(f), newSubnetCreateCommand(f), newSubnetEditCommand(f), remover[ec2types.DeleteSubnetInput, ec2types.DeleteSubnetOutput]{
		use: "delete SUBNET", short: "Delete a subnet in which there is nothing", object: "subnet", complete: complete.Subnets(f), find: resolve.Subnet, action: "DeleteSubnet",
		request: func(id string, dry *bool) *ec2types.DeleteSubnetInput {
			return &ec2types.DeleteSubnetInput{SubnetId: &id, DryRun: dry}
		},
		send: (*client.Client).DeleteSubnet,
	}.Command(f))
	return cmd
}

func newVPCCreateCommand(f *factory.Factory) *cobra.Command {
	var (
		name           string
		internet, ipv6 bool
	)
	return command.Verb{
		Use: "create CIDR", Short: "Make a VPC", Object: "VPC", Args: cobra.ExactArgs(1),
		Long: `Make a VPC with this range of private addresses, of /16 to /28. With --internet it
also gets an internet gateway and a route to it: without, nothing outside of the VPC
reaches its instances, or is reached by them.`,
		Example: `  bundt vpc create 10.0.0.0/16 --name lab --internet
  bundt subnet create 10.0.1.0/24 --vpc lab --name lab-1 --public`,
		Flags: func(cmd *cobra.Command) {
			command.NameFlag(cmd, &name, "VPC")
			cmd.Flags().BoolVar(&internet, "internet", false, "make an internet gateway and the route to it too")
			cmd.Flags().BoolVar(&ipv6, "ipv6", false, "give it a range of IPv6 too, a /56")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			out, err := command.Send(ctx, s, "CreateVpc", &ec2types.CreateVpcInput{CidrBlock: &args[0], AmazonProvidedIpv6CidrBlock: command.Given(ipv6), TagSpecifications: command.NameTag("vpc", name), DryRun: s.Plan.Flag()}, s.CreateVpc)
			if err != nil || out == nil {
				return err
			}
			id := ec2types.Value(out.Vpc.VpcId)
			if err := s.Print(id); err != nil || !internet {
				return err
			}
			return failure.WithHint(openVPC(ctx, s, id, name, ipv6), "the VPC %s was made, and is without a way to the internet", id)
		},
	}.Command(f)
}

// openVPC gives a new VPC a way to the internet, by IPv6 too if it has that.
func openVPC(ctx context.Context, s *command.Session, vpc, name string, ipv6 bool) error {
	gateway, err := s.CreateInternetGateway(ctx, &ec2types.CreateInternetGatewayInput{TagSpecifications: command.NameTag("internet-gateway", name)})
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
	main := tables.RouteTables[0].RouteTableId
	if _, err = s.CreateRoute(ctx, &ec2types.CreateRouteInput{RouteTableId: main, DestinationCidrBlock: new("0.0.0.0/0"), GatewayId: id}); err != nil || !ipv6 {
		return err
	}
	_, err = s.CreateRoute(ctx, &ec2types.CreateRouteInput{RouteTableId: main, DestinationIpv6CidrBlock: new("::/0"), GatewayId: id})
	return err
}

func newVPCDeleteCommand(f *factory.Factory) *cobra.Command {
	internet := false
	return command.Verb{
		Use: "delete VPC", Short: "Delete a VPC in which there is nothing", Object: "VPC", Args: cobra.ExactArgs(1),
		Complete: complete.First(complete.VPCs(f)),
		Long: `Delete a VPC in which there are no subnets and no security groups but its default
one. --internet deletes its internet gateway before.`,
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().BoolVar(&internet, "internet", false, "delete its internet gateway too")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			id, err := resolve.VPC(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			if internet && !s.Plan.DryRun {
				if err := closeVPC(ctx, s, id); err != nil {
					return err
				}
			}
			return command.Change(ctx, s, id, "DeleteVpc", &ec2types.DeleteVpcInput{VpcId: &id, DryRun: s.Plan.Flag()}, s.DeleteVpc)
		},
	}.Command(f)
}

// closeVPC deletes the internet gateway of a VPC.
func closeVPC(ctx context.Context, s *command.Session, vpc string) error {
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
		name, ipv6 string
		vpc        = resolve.DefaultVPC
		public     bool
	)
	return command.Verb{
		Use: "create CIDR", Short: "Make a subnet of a VPC", Object: "subnet", Args: cobra.ExactArgs(1),
		Example: "  bundt subnet create 10.0.1.0/24 --vpc lab --name lab-1 --public",
		Flags: func(cmd *cobra.Command) {
			command.NameFlag(cmd, &name, "subnet")
			vpcFlag(f, cmd, &vpc, "`VPC` that it is a part of")
			cmd.Flags().BoolVar(&public, "public", false, "instances that are launched in it get a public address")
			cmd.Flags().StringVar(&ipv6, "ipv6", "", "its `range` of IPv6, a /64 of the VPC's, or any that is free: any")
			command.FlagValues(cmd, "ipv6", anyIPv6)
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			vpcID, err := resolve.VPC(ctx, s.Client, vpc)
			if err != nil {
				return err
			}
			if ipv6, err = chosenIPv6(ctx, s, vpcID, ipv6); err != nil {
				return err
			}
			out, err := command.Send(ctx, s, "CreateSubnet", &ec2types.CreateSubnetInput{
				VpcId: &vpcID, CidrBlock: &args[0], Ipv6CidrBlock: command.Given(ipv6), TagSpecifications: command.NameTag("subnet", name), DryRun: s.Plan.Flag(),
			}, s.CreateSubnet)
			if err != nil || out == nil {
				return err
			}
			id := ec2types.Value(out.Subnet.SubnetId)
			if err := s.Print(id); err != nil || !public {
				return err
			}
			_, err = s.ModifySubnetAttribute(ctx, &ec2types.ModifySubnetAttributeInput{SubnetId: &id, MapPublicIpOnLaunch: &ec2types.AttributeBooleanValue{Value: &public}})
			return err
		},
	}.Command(f)
}
