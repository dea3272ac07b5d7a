package network

import (
	"cmp"
	"context"
	"net/netip"
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
	"github.com/bundt/bundt/pkg/model"
)

// NewRouteTableCommand returns the command "route-table" with all its verbs.
func NewRouteTableCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "route-table VERB", Aliases: []string{"route-tables", "rtb"}, Short: "Manage route tables: where subnets' packets go",
		Long: `Manage route tables. A subnet has the one that it is associated with, else its VPC's
main one. TABLE is an id, a name, or VPC/main: the main one of a VPC, like lab/main or
default/main.`,
	}
	type table = ec2types.RouteTable
	one := complete.First(complete.RouteTables(f))
	cmd.AddCommand(lister[table]{
		what: "route tables", vpc: "vpc-id", all: resolve.RouteTables, id: func(t table) *string { return t.RouteTableId },
		columns: []output.Column[table]{
			command.Text("TABLE", func(t table) *string { return t.RouteTableId }),
			command.Text("VPC", func(t table) *string { return t.VpcId }),
			{Title: "MAIN", Text: func(t table) string { return map[bool]string{true: "yes", false: "no"}[isMain(t)] }},
			{Title: "ROUTES", Text: func(t table) string { return strconv.Itoa(len(t.Routes)) }},
			{Title: "SUBNETS", Text: tableSubnets},
			command.Name(func(t table) []ec2types.Tag { return t.Tags }),
		},
	}.Command(f), newRoutesCommand(f), newTableCreateCommand(f), newRouteCommand(f), command.Verb{
		Use: "unroute TABLE DESTINATION", Short: "Take a route out of a route table", Doing: "remove", Object: "route of", Args: cobra.ExactArgs(2), Complete: one,
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			id, err := resolve.RouteTable(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			in := &ec2types.DeleteRouteInput{RouteTableId: &id, DryRun: s.Plan.Flag()}
			if in.DestinationCidrBlock, in.DestinationIpv6CidrBlock, err = destination(args[1]); err != nil {
				return err
			}
			return command.Change(ctx, s, id, "DeleteRoute", in, s.DeleteRoute)
		},
	}.Command(f), command.Verb{
		Use: "associate TABLE SUBNET", Short: "Give a subnet a route table", Object: "route table", Args: cobra.ExactArgs(2),
		Complete: complete.Each(complete.RouteTables(f), complete.Subnets(f)), Run: associateTable,
		Long: "Give a subnet a route table, in place of the one that it has. Prints the association's id.",
	}.Command(f), command.Verb{
		Use: "disassociate SUBNET", Short: "Give a subnet its VPC's main route table again", Object: "subnet", Args: cobra.ExactArgs(1),
		Complete: complete.First(complete.Subnets(f)), Run: disassociateTable,
	}.Command(f), remover[ec2types.DeleteRouteTableInput, ec2types.DeleteRouteTableOutput]{
		use: "delete TABLE", short: "Delete a route table that no subnet has", object: "route table", complete: complete.RouteTables(f), find: resolve.RouteTable, action: "DeleteRouteTable",
		request: func(id string, dry *bool) *ec2types.DeleteRouteTableInput {
			return &ec2types.DeleteRouteTableInput{RouteTableId: &id, DryRun: dry}
		},
		send: (*client.Client).DeleteRouteTable,
	}.Command(f))
	return cmd
}

func isMain(t ec2types.RouteTable) bool {
	for _, a := range t.Associations {
		if ec2types.Value(a.Main) {
			return true
		}
	}
	return false
}

func tableSubnets(t ec2types.RouteTable) string {
	var out []string
	for _, a := range t.Associations {
		if a.SubnetId != nil {
			out = append(out, *a.SubnetId)
		}
	}
	return strings.Join(out, ",")
}

func newRoutesCommand(f *factory.Factory) *cobra.Command {
	type route = ec2types.Route
	to := func(r route) string {
		return cmp.Or(ec2types.Value(r.DestinationCidrBlock), ec2types.Value(r.DestinationIpv6CidrBlock))
	}
	return command.List[route]{
		What: "routes of a route table", Use: "routes TABLE", Aliases: []string{"show"}, Short: "List the routes of a route table",
		Args: cobra.ExactArgs(1), Complete: complete.First(complete.RouteTables(f)), ID: to,
		All: func(ctx context.Context, s *command.Session, args []string) ([]route, error) {
			id, err := resolve.RouteTable(ctx, s.Client, args[0])
			if err != nil {
				return nil, err
			}
			found, err := s.DescribeRouteTables(ctx, &ec2types.DescribeRouteTablesInput{RouteTableIds: []string{id}})
			if err != nil {
				return nil, err
			}
			return found.RouteTables[0].Routes, nil
		},
		Columns: func(*command.Session) []output.Column[route] {
			return []output.Column[route]{
				{Title: "DESTINATION", Text: to},
				{Title: "TARGET", Text: func(r route) string {
					return cmp.Or(ec2types.Value(r.GatewayId), ec2types.Value(r.EgressOnlyInternetGatewayId), ec2types.Value(r.NetworkInterfaceId))
				}},
				command.Text("STATE", func(r route) *string { return r.State }),
			}
		},
	}.Command(f)
}

func newTableCreateCommand(f *factory.Factory) *cobra.Command {
	var name string
	vpc := resolve.DefaultVPC
	return command.Verb{
		Use: "create", Short: "Make a route table of a VPC", Object: "a route table", Args: cobra.NoArgs,
		Example: `  bundt route-table create --vpc lab --name private
  bundt route-table associate private lab-2`,
		Flags: func(cmd *cobra.Command) {
			command.NameFlag(cmd, &name, "route table")
			vpcFlag(f, cmd, &vpc, "`VPC` that it is for")
		},
		Run: func(ctx context.Context, s *command.Session, _ []string) error {
			id, err := resolve.VPC(ctx, s.Client, vpc)
			if err != nil {
				return err
			}
			out, err := command.Send(ctx, s, "CreateRouteTable", &ec2types.CreateRouteTableInput{
				VpcId: &id, TagSpecifications: command.NameTag("route-table", name), DryRun: s.Plan.Flag(),
			}, s.CreateRouteTable)
			if err != nil || out == nil {
				return err
			}
			return s.Print(ec2types.Value(out.RouteTable.RouteTableId))
		},
	}.Command(f)
}

// destination is a route's, of either kind.
func destination(text string) (v4, v6 *string, err error) {
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return nil, nil, failure.Usagef("%q is no destination: a CIDR like 0.0.0.0/0", text)
	case p.Addr().Is4():
		return &text, nil, nil
	}
	return nil, &text, nil
}

func newRouteCommand(f *factory.Factory) *cobra.Command {
	replace := false
	return command.Verb{
		Use: "route TABLE DESTINATION TARGET", Short: "Add a route to a route table", Doing: "add", Object: "route of", Args: cobra.ExactArgs(3),
		Complete: complete.Each(complete.RouteTables(f), complete.None, complete.InternetGateways(f)),
		Long: `Add a route to a route table: to DESTINATION, a CIDR, by TARGET: an internet gateway, an
egress-only one by its id, or a network interface or an instance that forwards: bundt
network-interface edit INTERFACE --source-dest-check off lets it. With --replace, change the route that there is.`,
		Example: "  bundt route-table route lab/main 0.0.0.0/0 out\n  bundt route-table route private 0.0.0.0/0 i-0123456789abcdef0",
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().BoolVar(&replace, "replace", false, "change the route to this destination")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			id, err := resolve.RouteTable(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			v4, v6, err := destination(args[1])
			if err != nil {
				return err
			}
			var gateway, egress, nic, instance *string
			switch {
			case model.CheckID(model.EgressGatewayPrefix, args[2]) == nil:
				egress = &args[2]
			case model.CheckID(model.InterfacePrefix, args[2]) == nil:
				nic = &args[2]
			case model.CheckID(model.InstancePrefix, args[2]) == nil:
				instance = &args[2]
			default:
				found, err := resolve.InternetGateway(ctx, s.Client, args[2])
				if err != nil {
					return err
				}
				gateway = &found
			}
			if replace {
				return command.Change(ctx, s, id, "ReplaceRoute", &ec2types.ReplaceRouteInput{
					RouteTableId: &id, DestinationCidrBlock: v4, DestinationIpv6CidrBlock: v6, GatewayId: gateway, EgressOnlyInternetGatewayId: egress,
					NetworkInterfaceId: nic, InstanceId: instance, DryRun: s.Plan.Flag(),
				}, s.ReplaceRoute)
			}
			return command.Change(ctx, s, id, "CreateRoute", &ec2types.CreateRouteInput{
				RouteTableId: &id, DestinationCidrBlock: v4, DestinationIpv6CidrBlock: v6, GatewayId: gateway, EgressOnlyInternetGatewayId: egress,
				NetworkInterfaceId: nic, InstanceId: instance, DryRun: s.Plan.Flag(),
			}, s.CreateRoute)
		},
	}.Command(f)
}

// association is a subnet's with a route table of its own; "" if it has none.
func association(ctx context.Context, s *command.Session, subnet string) (string, error) {
	tables, err := resolve.RouteTables(ctx, s.Client, resolve.Filter("association.subnet-id", subnet))
	if err != nil {
		return "", err
	}
	for _, t := range tables {
		for _, a := range t.Associations {
			if ec2types.Value(a.SubnetId) == subnet {
				return ec2types.Value(a.RouteTableAssociationId), nil
			}
		}
	}
	return "", nil
}

func associateTable(ctx context.Context, s *command.Session, args []string) error {
	table, err := resolve.RouteTable(ctx, s.Client, args[0])
	if err != nil {
		return err
	}
	subnet, err := resolve.Subnet(ctx, s.Client, args[1])
	if err != nil {
		return err
	}
	has, err := association(ctx, s, subnet)
	if err != nil {
		return err
	}
	if has != "" {
		out, err := command.Send(ctx, s, "ReplaceRouteTableAssociation", &ec2types.ReplaceRouteTableAssociationInput{
			AssociationId: &has, RouteTableId: &table, DryRun: s.Plan.Flag(),
		}, s.ReplaceRouteTableAssociation)
		if err != nil || out == nil {
			return err
		}
		return s.Print(ec2types.Value(out.NewAssociationId))
	}
	out, err := command.Send(ctx, s, "AssociateRouteTable", &ec2types.AssociateRouteTableInput{
		RouteTableId: &table, SubnetId: &subnet, DryRun: s.Plan.Flag(),
	}, s.AssociateRouteTable)
	if err != nil || out == nil {
		return err
	}
	return s.Print(ec2types.Value(out.AssociationId))
}

func disassociateTable(ctx context.Context, s *command.Session, args []string) error {
	subnet, err := resolve.Subnet(ctx, s.Client, args[0])
	if err != nil {
		return err
	}
	has, err := association(ctx, s, subnet)
	if err != nil {
		return err
	}
	if has == "" {
		return failure.NotFoundf("it has its VPC's main route table, and no other")
	}
	return command.Change(ctx, s, subnet, "DisassociateRouteTable", &ec2types.DisassociateRouteTableInput{AssociationId: &has, DryRun: s.Plan.Flag()}, s.DisassociateRouteTable)
}
