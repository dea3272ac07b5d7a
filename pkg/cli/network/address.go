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
	"github.com/bundt/bundt/pkg/model"
)

// NewAddressCommand returns the command "address" with all its verbs.
func NewAddressCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "address VERB", Aliases: []string{"addresses", "eip"}, Short: "Manage elastic addresses: public ones that stay and can move",
		Long: `Manage elastic addresses: public addresses that stay yours until they are released,
and that can move from one instance to another. ADDRESS is an allocation's id, the
address itself, or its name.`,
	}
	cmd.AddCommand(lister[ec2types.Address]{
		what: "elastic addresses", all: resolve.Addresses, id: func(a ec2types.Address) *string { return a.AllocationId },
		columns: []output.Column[ec2types.Address]{
			command.Text("ADDRESS", func(a ec2types.Address) *string { return a.PublicIp }),
			command.Text("ALLOCATION", func(a ec2types.Address) *string { return a.AllocationId }),
			command.Text("INSTANCE", func(a ec2types.Address) *string { return a.InstanceId }),
			command.Text("PRIVATE IP", func(a ec2types.Address) *string { return a.PrivateIpAddress }),
			command.Wide(command.Text("INTERFACE", func(a ec2types.Address) *string { return a.NetworkInterfaceId })),
			command.Wide(command.Text("ASSOCIATION", func(a ec2types.Address) *string { return a.AssociationId })),
			command.Name(func(a ec2types.Address) []ec2types.Tag { return a.Tags }),
		},
	}.Command(f), newAllocateCommand(f), newAssociateCommand(f), newDomainCommand(f), command.Verb{
		Use: "disassociate ADDRESS", Short: "Make an elastic address lead nowhere", Object: "address", Args: cobra.ExactArgs(1),
		Complete: complete.First(complete.Addresses(f)), Run: disassociate,
	}.Command(f), remover[ec2types.ReleaseAddressInput, ec2types.ReleaseAddressOutput]{
		use: "release ADDRESS", short: "Give back an elastic address that leads nowhere", object: "address", complete: complete.Addresses(f), find: resolve.Address, action: "ReleaseAddress",
		request: func(id string, dry *bool) *ec2types.ReleaseAddressInput {
			return &ec2types.ReleaseAddressInput{AllocationId: &id, DryRun: dry}
		},
		send: (*client.Client).ReleaseAddress,
	}.Command(f))
	return cmd
}

func newAllocateCommand(f *factory.Factory) *cobra.Command {
	var name, address string
	return command.Verb{
		Use: "allocate", Short: "Take a public address for the account", Object: "an address", Args: cobra.NoArgs,
		Example: `  bundt address allocate --name front
  bundt address associate front web`,
		Flags: func(cmd *cobra.Command) {
			command.NameFlag(cmd, &name, "address")
			cmd.Flags().StringVar(&address, "address", "", "this public `address`; default: any that is free")
			_ = cmd.RegisterFlagCompletionFunc("address", complete.None)
		},
		Run: func(ctx context.Context, s *command.Session, _ []string) error {
			in := &ec2types.AllocateAddressInput{Domain: new("vpc"), TagSpecifications: command.NameTag("elastic-ip", name), DryRun: s.Plan.Flag()}
			if address != "" {
				in.Address = &address
			}
			out, err := command.Send(ctx, s, "AllocateAddress", in, s.AllocateAddress)
			if err != nil || out == nil {
				return err
			}
			return s.Print(ec2types.Value(out.PublicIp))
		},
	}.Command(f)
}

func newAssociateCommand(f *factory.Factory) *cobra.Command {
	var private string
	stay := false
	addresses, instances := complete.Addresses(f), complete.Instances(f)
	return command.Verb{
		Use: "associate ADDRESS TARGET", Short: "Make an elastic address lead to an instance", Object: "address", Args: cobra.ExactArgs(2),
		Long: `Make an elastic address lead to TARGET: an instance by its id or name, or a network
interface by its id. It replaces the public address that was there. An address that
leads elsewhere moves, unless --no-reassociation is given.`,
		Example: `  bundt address associate front web
  bundt address associate 127.77.0.9 eni-0123456789abcdef0 --private-ip 172.31.0.9`,
		Complete: func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			switch len(args) {
			case 0:
				return addresses(cmd, args, toComplete)
			case 1:
				return instances(cmd, args[1:], toComplete)
			}
			return complete.None(cmd, args, toComplete)
		},
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&private, "private-ip", "", "private `address` behind it; default: the interface's primary one")
			cmd.Flags().BoolVar(&stay, "no-reassociation", false, "fail if the address leads elsewhere")
			_ = cmd.RegisterFlagCompletionFunc("private-ip", complete.None)
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			id, err := resolve.Address(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			in := &ec2types.AssociateAddressInput{AllocationId: &id, AllowReassociation: new(!stay), DryRun: s.Plan.Flag()}
			if model.CheckID(model.InterfacePrefix, args[1]) == nil {
				in.NetworkInterfaceId = &args[1]
			} else {
				instance, err := resolve.Instance(ctx, s.Client, args[1])
				if err != nil {
					return err
				}
				in.InstanceId = &instance
			}
			if private != "" {
				in.PrivateIpAddress = &private
			}
			out, err := command.Send(ctx, s, "AssociateAddress", in, s.AssociateAddress)
			if err != nil || out == nil {
				return err
			}
			return s.Print(ec2types.Value(out.AssociationId))
		},
	}.Command(f)
}

func disassociate(ctx context.Context, s *command.Session, args []string) error {
	id, err := resolve.Address(ctx, s.Client, args[0])
	if err != nil {
		return err
	}
	found, err := s.DescribeAddresses(ctx, &ec2types.DescribeAddressesInput{AllocationIds: []string{id}})
	if err != nil {
		return err
	}
	association := found.Addresses[0].AssociationId
	if association == nil {
		return failure.NotFoundf("the address %s leads nowhere", ec2types.Value(found.Addresses[0].PublicIp))
	}
	return command.Change(ctx, s, id, "DisassociateAddress", &ec2types.DisassociateAddressInput{AssociationId: association, DryRun: s.Plan.Flag()}, s.DisassociateAddress)
}
