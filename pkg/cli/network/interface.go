package network

import (
	"context"
	"crypto/rand"
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

// NewInterfaceCommand returns the command "network-interface" with all its verbs.
func NewInterfaceCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "network-interface VERB", Aliases: []string{"network-interfaces", "interface", "interfaces", "eni"}, Short: "Manage network interfaces"}
	cmd.Long = `Manage network interfaces. INTERFACE is an id (eni-…), or a name. An instance's first one
comes and goes with it; others are attached and detached, also while it runs.`
	type nic = ec2types.NetworkInterface
	one := complete.First(complete.NetworkInterfaces(f))
	cmd.AddCommand(lister[nic]{
		what: "network interfaces", vpc: "vpc-id", all: resolve.NetworkInterfaces, id: func(n nic) *string { return n.NetworkInterfaceId },
		columns: []output.Column[nic]{
			command.Text("INTERFACE", func(n nic) *string { return n.NetworkInterfaceId }),
			command.Text("STATE", func(n nic) *string { return n.Status }),
			command.Text("PRIVATE IP", func(n nic) *string { return n.PrivateIpAddress }),
			{Title: "PUBLIC IP", Text: publicIP},
			{Title: "INSTANCE", Text: func(n nic) string {
				if n.Attachment == nil {
					return ""
				}
				return ec2types.Value(n.Attachment.InstanceId)
			}},
			{Title: "GROUPS", Text: func(n nic) string { return groupNames(n.Groups) }},
			command.Wide(output.Column[nic]{Title: "IPV6", Text: func(n nic) string {
				var all []string
				for _, a := range n.Ipv6Addresses {
					all = append(all, ec2types.Value(a.Ipv6Address))
				}
				return strings.Join(all, ",")
			}}),
			command.Wide(command.Text("MAC", func(n nic) *string { return n.MacAddress })),
			command.Wide(command.Text("SUBNET", func(n nic) *string { return n.SubnetId })),
			command.Wide(command.Text("DESCRIPTION", func(n nic) *string { return n.Description })),
			command.Wide(command.Name(func(n nic) []ec2types.Tag { return n.TagSet })),
		},
	}.Command(f), newInterfaceShowCommand(f), newInterfaceCreateCommand(f), newInterfaceEditCommand(f), newInterfaceAttachCommand(f), command.Verb{
		Use: "detach INTERFACE", Short: "Take a network interface away from its instance", Object: "network interface", Args: cobra.ExactArgs(1),
		Complete: one, Run: detachInterface,
	}.Command(f), newAssignCommand(f), newUnassignCommand(f), remover[ec2types.DeleteNetworkInterfaceInput, ec2types.DeleteNetworkInterfaceOutput]{
		use: "delete INTERFACE", short: "Delete a network interface that no instance has", object: "network interface", complete: complete.NetworkInterfaces(f), find: resolve.NetworkInterface, action: "DeleteNetworkInterface",
		request: func(id string, dry *bool) *ec2types.DeleteNetworkInterfaceInput {
			return &ec2types.DeleteNetworkInterfaceInput{NetworkInterfaceId: &id, DryRun: dry}
		},
		send: (*client.Client).DeleteNetworkInterface,
	}.Command(f))
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

func newInterfaceShowCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "show INTERFACE", Short: "Print all that is known of a network interface", Object: "network interface", Args: cobra.ExactArgs(1), Shows: true,
		Complete: complete.First(complete.NetworkInterfaces(f)),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			n, err := theInterface(ctx, s, args[0])
			if err != nil {
				return err
			}
			return output.One(f.IO, &s.Output, ec2types.Value(n.NetworkInterfaceId), n)
		},
	}.Command(f)
}

func theInterface(ctx context.Context, s *command.Session, ref string) (ec2types.NetworkInterface, error) {
	id, err := resolve.NetworkInterface(ctx, s.Client, ref)
	if err != nil {
		return ec2types.NetworkInterface{}, err
	}
	found, err := s.DescribeNetworkInterfaces(ctx, &ec2types.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{id}})
	if err != nil {
		return ec2types.NetworkInterface{}, err
	}
	return found.NetworkInterfaces[0], nil
}

// groupsOf are the ids of security groups of a VPC.
func groupsOf(ctx context.Context, s *command.Session, vpc string, refs []string) (ids []string, err error) {
	for _, ref := range refs {
		id, err := resolve.SecurityGroup(ctx, s.Client, ref, vpc)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func newInterfaceCreateCommand(f *factory.Factory) *cobra.Command {
	var (
		name, description, address string
		groups                     []string
		secondary                  int32
	)
	return command.Verb{
		Use: "create SUBNET", Short: "Make a network interface in a subnet", Object: "network interface in", Args: cobra.ExactArgs(1),
		Complete: complete.First(complete.Subnets(f)),
		Example: `  bundt network-interface create lab-1 --name second --security-group web
  bundt network-interface attach second web`,
		Flags: func(cmd *cobra.Command) {
			command.NameFlag(cmd, &name, "interface")
			cmd.Flags().StringVar(&description, "description", "", "`text` about the interface")
			cmd.Flags().StringVar(&address, "private-ip", "", "its primary private `address`; default: any that is free")
			cmd.Flags().Int32Var(&secondary, "secondary", 0, "`number` of further private addresses")
			cmd.Flags().StringSliceVarP(&groups, "security-group", "g", nil, "security `groups` of the interface; default: the VPC's default group")
			_ = cmd.RegisterFlagCompletionFunc("security-group", complete.SecurityGroups(f))
			for _, flag := range []string{"description", "private-ip", "secondary"} {
				command.FlagValues(cmd, flag)
			}
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			subnet, err := resolve.Subnet(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			vpc, err := resolve.VPCOfSubnet(ctx, s.Client, subnet)
			if err != nil {
				return err
			}
			in := &ec2types.CreateNetworkInterfaceInput{
				SubnetId: &subnet, Description: command.Given(description), PrivateIpAddress: command.Given(address),
				SecondaryPrivateIpAddressCount: command.Given(secondary), TagSpecifications: command.NameTag("network-interface", name),
				ClientToken: new(rand.Text()), DryRun: s.Plan.Flag(),
			}
			if in.Groups, err = groupsOf(ctx, s, vpc, groups); err != nil {
				return err
			}
			out, err := command.Send(ctx, s, "CreateNetworkInterface", in, s.CreateNetworkInterface)
			if err != nil || out == nil {
				return err
			}
			return s.Print(ec2types.Value(out.NetworkInterface.NetworkInterfaceId))
		},
	}.Command(f)
}

func newInterfaceAttachCommand(f *factory.Factory) *cobra.Command {
	device := int32(1)
	return command.Verb{
		Use: "attach INTERFACE INSTANCE", Short: "Give an instance a network interface", Object: "network interface", Args: cobra.ExactArgs(2),
		Complete: complete.Each(complete.NetworkInterfaces(f), complete.Instances(f)),
		Long:     "Give an instance, which may run, a network interface. Prints the attachment's id.",
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().Int32Var(&device, "device-index", device, "its `place` among the instance's interfaces, from 1")
			command.FlagValues(cmd, "device-index")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			id, err := resolve.NetworkInterface(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			instance, err := resolve.Instance(ctx, s.Client, args[1])
			if err != nil {
				return err
			}
			out, err := command.Send(ctx, s, "AttachNetworkInterface", &ec2types.AttachNetworkInterfaceInput{
				NetworkInterfaceId: &id, InstanceId: &instance, DeviceIndex: &device, DryRun: s.Plan.Flag(),
			}, s.AttachNetworkInterface)
			if err != nil || out == nil {
				return err
			}
			return s.Print(ec2types.Value(out.AttachmentId))
		},
	}.Command(f)
}

func detachInterface(ctx context.Context, s *command.Session, args []string) error {
	n, err := theInterface(ctx, s, args[0])
	if err != nil {
		return err
	}
	id := ec2types.Value(n.NetworkInterfaceId)
	if n.Attachment == nil {
		return failure.NotFoundf("no instance has it")
	}
	return command.Change(ctx, s, id, "DetachNetworkInterface", &ec2types.DetachNetworkInterfaceInput{AttachmentId: n.Attachment.AttachmentId, DryRun: s.Plan.Flag()}, s.DetachNetworkInterface)
}

func newInterfaceEditCommand(f *factory.Factory) *cobra.Command {
	var (
		description               string
		groups                    []string
		check, public, deleteWith onOff
	)
	return command.Verb{
		Use: "edit INTERFACE", Short: "Change a network interface", Object: "network interface", Args: cobra.ExactArgs(1),
		Complete: complete.First(complete.NetworkInterfaces(f)),
		Long: `Change a network interface. What is changed takes effect at once. Without the source and
destination check the instance may forward packets of others.`,
		Example: `  bundt network-interface edit eni-0123456789abcdef0 --security-group web --security-group db
  bundt network-interface edit router --source-dest-check off`,
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&description, "description", "", "`text` about the interface")
			cmd.Flags().StringSliceVarP(&groups, "security-group", "g", nil, "the security `groups` that it shall have, in place of those that it has")
			_ = cmd.RegisterFlagCompletionFunc("security-group", complete.SecurityGroups(f))
			command.FlagValues(cmd, "description")
			check.addFlag(cmd, "source-dest-check", "whether the instance may only send as itself")
			public.addFlag(cmd, "public", "whether it has a public address")
			deleteWith.addFlag(cmd, "delete-on-termination", "whether it goes with its instance")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			n, err := theInterface(ctx, s, args[0])
			if err != nil {
				return err
			}
			var changes []*ec2types.ModifyNetworkInterfaceAttributeInput // EC2 takes one at a time
			add := func(in ec2types.ModifyNetworkInterfaceAttributeInput) {
				in.NetworkInterfaceId, in.DryRun = n.NetworkInterfaceId, s.Plan.Flag()
				changes = append(changes, &in)
			}
			if description != "" {
				add(ec2types.ModifyNetworkInterfaceAttributeInput{Description: &ec2types.AttributeValue{Value: &description}})
			}
			if len(groups) > 0 {
				ids, err := groupsOf(ctx, s, ec2types.Value(n.VpcId), groups)
				if err != nil {
					return err
				}
				add(ec2types.ModifyNetworkInterfaceAttributeInput{Groups: ids})
			}
			if v := check.value; v != nil {
				add(ec2types.ModifyNetworkInterfaceAttributeInput{SourceDestCheck: &ec2types.AttributeBooleanValue{Value: v}})
			}
			if v := public.value; v != nil {
				add(ec2types.ModifyNetworkInterfaceAttributeInput{AssociatePublicIpAddress: v})
			}
			if v := deleteWith.value; v != nil {
				if n.Attachment == nil {
					return failure.NotFoundf("no instance has it, with which it could go")
				}
				add(ec2types.ModifyNetworkInterfaceAttributeInput{Attachment: &ec2types.NetworkInterfaceAttachmentChanges{AttachmentId: n.Attachment.AttachmentId, DeleteOnTermination: v}})
			}
			return sendAll(ctx, s, ec2types.Value(n.NetworkInterfaceId), "ModifyNetworkInterfaceAttribute", changes, s.ModifyNetworkInterfaceAttribute)
		},
	}.Command(f)
}

func newAssignCommand(f *factory.Factory) *cobra.Command {
	var (
		count      int32
		move, ipv6 bool
	)
	return command.Verb{
		Use: "assign INTERFACE [ADDRESS…]", Short: "Give a network interface further private addresses", Object: "addresses to", Args: cobra.MinimumNArgs(1), NoDryRun: true,
		Complete: complete.First(complete.NetworkInterfaces(f)),
		Long: `Give a network interface further private addresses of its subnet: these, or --count free
ones; with --ipv6 IPv6 addresses. The guest sets up those of IPv4 itself, and gets those of
IPv6 by DHCP. Prints the addresses.`,
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().Int32Var(&count, "count", 0, "`number` of addresses, whichever are free")
			cmd.Flags().BoolVar(&move, "reassign", false, "take addresses away from other interfaces")
			cmd.Flags().BoolVar(&ipv6, "ipv6", false, "IPv6 addresses")
			cmd.MarkFlagsMutuallyExclusive("ipv6", "reassign")
			command.FlagValues(cmd, "count")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			if (count > 0) == (len(args) > 1) {
				return failure.Usagef("give either addresses or --count")
			}
			id, err := resolve.NetworkInterface(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			if ipv6 {
				out, err := s.AssignIpv6Addresses(ctx, &ec2types.AssignIpv6AddressesInput{NetworkInterfaceId: &id, Ipv6Addresses: args[1:], Ipv6AddressCount: command.Given(count)})
				if err != nil {
					return err
				}
				return s.Print(out.AssignedIpv6Addresses...)
			}
			out, err := s.AssignPrivateIpAddresses(ctx, &ec2types.AssignPrivateIpAddressesInput{
				NetworkInterfaceId: &id, PrivateIpAddresses: args[1:], SecondaryPrivateIpAddressCount: command.Given(count), AllowReassignment: command.Given(move),
			})
			if err != nil {
				return err
			}
			for _, a := range out.AssignedPrivateIpAddresses {
				if err := s.Print(ec2types.Value(a.PrivateIpAddress)); err != nil {
					return err
				}
			}
			return nil
		},
	}.Command(f)
}

func newUnassignCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "unassign INTERFACE ADDRESS…", Short: "Take private addresses from a network interface", Object: "addresses of", Args: cobra.MinimumNArgs(2), NoDryRun: true,
		Complete: complete.First(complete.NetworkInterfaces(f)),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			id, err := resolve.NetworkInterface(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			if strings.Contains(args[1], ":") {
				if _, err := s.UnassignIpv6Addresses(ctx, &ec2types.UnassignIpv6AddressesInput{NetworkInterfaceId: &id, Ipv6Addresses: args[1:]}); err != nil {
					return err
				}
				return s.Print(id)
			}
			_, err = s.UnassignPrivateIpAddresses(ctx, &ec2types.UnassignPrivateIpAddressesInput{NetworkInterfaceId: &id, PrivateIpAddresses: args[1:]})
			if err != nil {
				return err
			}
			return s.Print(id)
		},
	}.Command(f)
}
