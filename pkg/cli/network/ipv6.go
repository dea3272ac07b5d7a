package network

import (
	"context"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/model"
)

// anyIPv6 asks for the first free range of a VPC's.
const anyIPv6 = "any"

// gone are states of ranges that an object has no more.
func gone(state *string) bool {
	return ec2types.Value(state) == ec2types.VpcCidrBlockStateCodeDisassociated || ec2types.Value(state) == ec2types.VpcCidrBlockStateCodeDisassociating
}

// vpcIPv6 is a VPC's range of IPv6 and its association; nil for none.
func vpcIPv6(v ec2types.Vpc) (cidr, association *string) {
	for _, a := range v.Ipv6CidrBlockAssociationSet {
		if a.Ipv6CidrBlockState == nil || !gone(a.Ipv6CidrBlockState.State) {
			return a.Ipv6CidrBlock, a.AssociationId
		}
	}
	return nil, nil
}

// subnetIPv6 is a subnet's.
func subnetIPv6(s ec2types.Subnet) (cidr, association *string) {
	for _, a := range s.Ipv6CidrBlockAssociationSet {
		if a.Ipv6CidrBlockState == nil || !gone(a.Ipv6CidrBlockState.State) {
			return a.Ipv6CidrBlock, a.AssociationId
		}
	}
	return nil, nil
}

// setVPCIPv6 gives a VPC a range of IPv6, or takes it.
func setVPCIPv6(ctx context.Context, s *command.Session, vpc string, on bool) error {
	found, err := s.DescribeVpcs(ctx, &ec2types.DescribeVpcsInput{VpcIds: []string{vpc}})
	if err != nil {
		return err
	}
	_, association := vpcIPv6(found.Vpcs[0])
	switch {
	case on == (association != nil):
		return nil // it is so
	case on:
		_, err = s.AssociateVpcCidrBlock(ctx, &ec2types.AssociateVpcCidrBlockInput{VpcId: &vpc, AmazonProvidedIpv6CidrBlock: &on})
	default:
		_, err = s.DisassociateVpcCidrBlock(ctx, &ec2types.DisassociateVpcCidrBlockInput{AssociationId: association})
	}
	return err
}

// setSubnetIPv6 gives a subnet a range of IPv6, or takes it for "off".
func setSubnetIPv6(ctx context.Context, s *command.Session, subnet, cidr string) error {
	found, err := s.DescribeSubnets(ctx, &ec2types.DescribeSubnetsInput{SubnetIds: []string{subnet}})
	if err != nil {
		return err
	}
	if cidr == "off" {
		_, association := subnetIPv6(found.Subnets[0])
		if association == nil {
			return nil
		}
		_, err = s.DisassociateSubnetCidrBlock(ctx, &ec2types.DisassociateSubnetCidrBlockInput{AssociationId: association})
		return err
	}
	if cidr, err = chosenIPv6(ctx, s, ec2types.Value(found.Subnets[0].VpcId), cidr); err != nil {
		return err
	}
	_, err = s.AssociateSubnetCidrBlock(ctx, &ec2types.AssociateSubnetCidrBlockInput{SubnetId: &subnet, Ipv6CidrBlock: &cidr})
	return err
}

// chosenIPv6 is the range that was given, or for "any" the VPC's first /64 that no
// subnet of it has.
func chosenIPv6(ctx context.Context, s *command.Session, vpc, cidr string) (string, error) {
	if cidr != anyIPv6 {
		return cidr, nil
	}
	found, err := s.DescribeVpcs(ctx, &ec2types.DescribeVpcsInput{VpcIds: []string{vpc}})
	if err != nil {
		return "", err
	}
	text, _ := vpcIPv6(found.Vpcs[0])
	whole, err := netip.ParsePrefix(ec2types.Value(text))
	if err != nil {
		return "", failure.WithHint(failure.NotFoundf("the VPC %s has no IPv6", vpc), "give it a range: bundt vpc edit %s --ipv6 on", vpc)
	}
	subnets, err := resolve.Subnets(ctx, s.Client, resolve.Filter("vpc-id", vpc))
	if err != nil {
		return "", err
	}
	taken := map[string]bool{}
	for _, sub := range subnets {
		has, _ := subnetIPv6(sub)
		taken[ec2types.Value(has)] = true
	}
	free, ok := freeSubnet(whole, taken)
	if !ok {
		return "", failure.NotFoundf("no /64 of %s is free in the VPC %s", whole, vpc)
	}
	return free, nil
}

// freeSubnet is the first /64 of a range of at least as much that is not taken.
func freeSubnet(whole netip.Prefix, taken map[string]bool) (string, bool) {
	a := whole.Masked().Addr().As16()
	for i := range 1 << min(64-whole.Bits(), 16) {
		b := a
		b[6], b[7] = a[6]|byte(i>>8), a[7]|byte(i)
		if p := netip.PrefixFrom(netip.AddrFrom16(b), 64).String(); !taken[p] {
			return p, true
		}
	}
	return "", false
}

// NewEgressGatewayCommand returns the command "egress-gateway" with all its verbs.
func NewEgressGatewayCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "egress-gateway VERB", Aliases: []string{"egress-gateways", "egress-only-internet-gateway", "eigw"},
		Short: "Manage egress-only internet gateways: ways out for IPv6, and none in",
	}
	type gateway = ec2types.EgressOnlyInternetGateway
	var name string
	cmd.AddCommand(lister[gateway]{
		what: "egress-only internet gateways", all: resolve.EgressGateways, id: func(g gateway) *string { return g.EgressOnlyInternetGatewayId },
		columns: []output.Column[gateway]{
			command.Text("GATEWAY", func(g gateway) *string { return g.EgressOnlyInternetGatewayId }),
			{Title: "VPC", Text: func(g gateway) string {
				if len(g.Attachments) == 0 {
					return ""
				}
				return ec2types.Value(g.Attachments[0].VpcId)
			}},
			command.Name(func(g gateway) []ec2types.Tag { return g.Tags }),
		},
	}.Command(f), command.Verb{
		Use: "create VPC", Short: "Give a VPC an egress-only internet gateway", Object: "egress-only internet gateway of", Args: cobra.ExactArgs(1),
		Complete: complete.First(complete.VPCs(f)),
		Example: `  bundt egress-gateway create lab
  bundt route-table route lab/main ::/0 eigw-0123456789abcdef0`,
		Flags: func(cmd *cobra.Command) { command.NameFlag(cmd, &name, "gateway") },
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			vpc, err := resolve.VPC(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			out, err := command.Send(ctx, s, "CreateEgressOnlyInternetGateway", &ec2types.CreateEgressOnlyInternetGatewayInput{
				VpcId: &vpc, TagSpecifications: command.NameTag("egress-only-internet-gateway", name), DryRun: s.Plan.Flag(),
			}, s.CreateEgressOnlyInternetGateway)
			if err != nil || out == nil {
				return err
			}
			return s.Print(ec2types.Value(out.EgressOnlyInternetGateway.EgressOnlyInternetGatewayId))
		},
	}.Command(f), command.Verb{
		Use: "delete GATEWAY", Short: "Delete an egress-only internet gateway, given by its id", Object: "egress-only internet gateway", Args: cobra.ExactArgs(1),
		Complete: complete.First(complete.EgressGateways(f)),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			if err := model.CheckID(model.EgressGatewayPrefix, args[0]); err != nil {
				return failure.UsageError(err)
			}
			return command.Change(ctx, s, args[0], "DeleteEgressOnlyInternetGateway", &ec2types.DeleteEgressOnlyInternetGatewayInput{EgressOnlyInternetGatewayId: &args[0], DryRun: s.Plan.Flag()}, s.DeleteEgressOnlyInternetGateway)
		},
	}.Command(f))
	return cmd
}
