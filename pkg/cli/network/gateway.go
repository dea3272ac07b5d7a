package network

import (
	"context"

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

// NewInternetGatewayCommand returns the command "internet-gateway" with all its verbs.
func NewInternetGatewayCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "internet-gateway VERB", Aliases: []string{"internet-gateways", "igw"}, Short: "Manage internet gateways: VPCs' ways to the outside",
		Long: `Manage internet gateways. A VPC has one at most. It is a way out for the subnets whose
route table has a route to it: bundt route-table route. bundt vpc create --internet makes
all of that at once.`,
	}
	type gateway = ec2types.InternetGateway
	one := complete.First(complete.InternetGateways(f))
	cmd.AddCommand(lister[gateway]{
		what: "internet gateways", vpc: "attachment.vpc-id", all: resolve.InternetGateways, id: func(g gateway) *string { return g.InternetGatewayId },
		columns: []output.Column[gateway]{
			command.Text("GATEWAY", func(g gateway) *string { return g.InternetGatewayId }),
			{Title: "VPC", Text: attachedVPC},
			command.Name(func(g gateway) []ec2types.Tag { return g.Tags }),
		},
	}.Command(f), newGatewayCreateCommand(f), command.Verb{
		Use: "attach GATEWAY VPC", Short: "Give a VPC an internet gateway", Object: "internet gateway", Args: cobra.ExactArgs(2),
		Complete: complete.Each(complete.InternetGateways(f), complete.VPCs(f)),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			id, err := resolve.InternetGateway(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			vpc, err := resolve.VPC(ctx, s.Client, args[1])
			if err != nil {
				return err
			}
			return command.Change(ctx, s, id, "AttachInternetGateway", &ec2types.AttachInternetGatewayInput{InternetGatewayId: &id, VpcId: &vpc, DryRun: s.Plan.Flag()}, s.AttachInternetGateway)
		},
	}.Command(f), command.Verb{
		Use: "detach GATEWAY", Short: "Take an internet gateway away from its VPC", Object: "internet gateway", Args: cobra.ExactArgs(1), Complete: one, Run: detachGateway,
	}.Command(f), remover[ec2types.DeleteInternetGatewayInput, ec2types.DeleteInternetGatewayOutput]{
		use: "delete GATEWAY", short: "Delete an internet gateway that no VPC has", object: "internet gateway", complete: complete.InternetGateways(f), find: resolve.InternetGateway, action: "DeleteInternetGateway",
		request: func(id string, dry *bool) *ec2types.DeleteInternetGatewayInput {
			return &ec2types.DeleteInternetGatewayInput{InternetGatewayId: &id, DryRun: dry}
		},
		send: (*client.Client).DeleteInternetGateway,
	}.Command(f))
	return cmd
}

func attachedVPC(g ec2types.InternetGateway) string {
	if len(g.Attachments) == 0 {
		return ""
	}
	return ec2types.Value(g.Attachments[0].VpcId)
}

func newGatewayCreateCommand(f *factory.Factory) *cobra.Command {
	var name string
	return command.Verb{
		Use: "create", Short: "Make an internet gateway", Object: "an internet gateway", Args: cobra.NoArgs,
		Example: `  bundt internet-gateway create --name out
  bundt internet-gateway attach out lab`,
		Flags: func(cmd *cobra.Command) { command.NameFlag(cmd, &name, "gateway") },
		Run: func(ctx context.Context, s *command.Session, _ []string) error {
			out, err := command.Send(ctx, s, "CreateInternetGateway", &ec2types.CreateInternetGatewayInput{
				TagSpecifications: command.NameTag("internet-gateway", name), DryRun: s.Plan.Flag(),
			}, s.CreateInternetGateway)
			if err != nil || out == nil {
				return err
			}
			return s.Print(ec2types.Value(out.InternetGateway.InternetGatewayId))
		},
	}.Command(f)
}

func detachGateway(ctx context.Context, s *command.Session, args []string) error {
	id, err := resolve.InternetGateway(ctx, s.Client, args[0])
	if err != nil {
		return err
	}
	found, err := s.DescribeInternetGateways(ctx, &ec2types.DescribeInternetGatewaysInput{InternetGatewayIds: []string{id}})
	if err != nil {
		return err
	}
	vpc := attachedVPC(found.InternetGateways[0])
	if vpc == "" {
		return failure.NotFoundf("no VPC has it")
	}
	return command.Change(ctx, s, id, "DetachInternetGateway", &ec2types.DetachInternetGatewayInput{InternetGatewayId: &id, VpcId: &vpc, DryRun: s.Plan.Flag()}, s.DetachInternetGateway)
}
