package network

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/model"
)

// onOff is a flag that changes nothing unless it is given.
type onOff struct{ value *bool }

func (o *onOff) String() string { return "" }

// Type is what the help calls the value.
func (o *onOff) Type() string { return "on|off" }

// Set takes the value.
func (o *onOff) Set(text string) error {
	switch text {
	case "on":
		o.value = new(true)
	case "off":
		o.value = new(false)
	default:
		return failure.Usagef("on or off, not %q", text)
	}
	return nil
}

func (o *onOff) addFlag(cmd *cobra.Command, name, usage string) {
	cmd.Flags().Var(o, name, usage)
	command.FlagValues(cmd, name, "on", "off")
}

// attribute is a request's, nil if it is not to be changed.
func (o *onOff) attribute() *ec2types.AttributeBooleanValue {
	if o.value == nil {
		return nil
	}
	return &ec2types.AttributeBooleanValue{Value: o.value}
}

// sendAll makes requests that change the object of this id, in order, and prints
// the id.
func sendAll[I, O any](ctx context.Context, s *command.Session, id, action string, changes []*I, call func(context.Context, *I) (*O, error)) error {
	if len(changes) == 0 {
		return failure.Usagef("nothing to change: give a flag")
	}
	for _, in := range changes {
		if _, err := command.Send(ctx, s, action, in, call); err != nil {
			return err
		}
	}
	if s.Plan.DryRun {
		return nil
	}
	return s.Print(id)
}

func newVPCEditCommand(f *factory.Factory) *cobra.Command {
	var (
		support, hostnames, ipv6 onOff
		options                  string
		add, remove              []string
	)
	return command.Verb{
		Use: "edit VPC", Short: "Change a VPC's ranges, names, DHCP options and IPv6", Object: "VPC", Args: cobra.ExactArgs(1), NoDryRun: true,
		Complete: complete.First(complete.VPCs(f)),
		Long: `Change a VPC: its further ranges of addresses, whether it has a name server, whether instances with public addresses have
public names, and what DHCP tells guests (bundt dhcp-options; "default" is EC2's own).`,
		Example: `  bundt vpc edit lab --dns-hostnames on
  bundt vpc edit lab --add-range 192.168.8.0/22
  bundt vpc edit lab --dhcp-options default`,
		Flags: func(cmd *cobra.Command) {
			support.addFlag(cmd, "dns-support", "whether the VPC has a name server")
			hostnames.addFlag(cmd, "dns-hostnames", "whether public addresses have names")
			ipv6.addFlag(cmd, "ipv6", "whether it has a range of IPv6")
			cmd.Flags().StringVar(&options, "dhcp-options", "", "`options` that DHCP tells guests, or default")
			_ = cmd.RegisterFlagCompletionFunc("dhcp-options", complete.DHCPOptions(f))
			cmd.Flags().StringSliceVar(&add, "add-range", nil, "further `ranges` of IPv4 addresses for it")
			cmd.Flags().StringSliceVar(&remove, "remove-range", nil, "`ranges` to take from it, in which it has no subnet")
			command.FlagValues(cmd, "add-range")
			command.FlagValues(cmd, "remove-range")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			id, err := resolve.VPC(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			var changes []*ec2types.ModifyVpcAttributeInput // EC2 takes one at a time
			if a := support.attribute(); a != nil {
				changes = append(changes, &ec2types.ModifyVpcAttributeInput{VpcId: &id, EnableDnsSupport: a})
			}
			if a := hostnames.attribute(); a != nil {
				changes = append(changes, &ec2types.ModifyVpcAttributeInput{VpcId: &id, EnableDnsHostnames: a})
			}
			if options != "" {
				if options != resolve.DefaultVPC {
					if options, err = resolve.DHCPOption(ctx, s.Client, options); err != nil {
						return err
					}
				}
				if _, err := s.AssociateDhcpOptions(ctx, &ec2types.AssociateDhcpOptionsInput{VpcId: &id, DhcpOptionsId: &options}); err != nil {
					return err
				}
			}
			if ipv6.value != nil {
				if err := setVPCIPv6(ctx, s, id, *ipv6.value); err != nil {
					return err
				}
			}
			if err := changeRanges(ctx, s, id, add, remove); err != nil {
				return err
			}
			if len(changes) == 0 && (options != "" || ipv6.value != nil || len(add)+len(remove) > 0) {
				return s.Print(id)
			}
			return sendAll(ctx, s, id, "ModifyVpcAttribute", changes, s.ModifyVpcAttribute)
		},
	}.Command(f)
}

// changeRanges takes further ranges from a VPC, and then gives it others.
func changeRanges(ctx context.Context, s *command.Session, vpc string, add, remove []string) error {
	if len(remove) > 0 {
		found, err := s.DescribeVpcs(ctx, &ec2types.DescribeVpcsInput{VpcIds: []string{vpc}})
		if err != nil {
			return err
		}
		for _, cidr := range remove {
			i := slices.IndexFunc(found.Vpcs[0].CidrBlockAssociationSet, func(a ec2types.VpcCidrBlockAssociation) bool { return ec2types.Value(a.CidrBlock) == cidr })
			if i < 0 {
				return failure.WithHint(failure.NotFoundf("%s is no range of the VPC", cidr), "its ranges: %s", showRanges(found.Vpcs[0]))
			}
			id := found.Vpcs[0].CidrBlockAssociationSet[i].AssociationId
			if _, err := s.DisassociateVpcCidrBlock(ctx, &ec2types.DisassociateVpcCidrBlockInput{AssociationId: id}); err != nil {
				return err
			}
		}
	}
	for _, cidr := range add {
		if _, err := s.AssociateVpcCidrBlock(ctx, &ec2types.AssociateVpcCidrBlockInput{VpcId: &vpc, CidrBlock: &cidr}); err != nil {
			return err
		}
	}
	return nil
}

func newSubnetEditCommand(f *factory.Factory) *cobra.Command {
	var (
		public, assign onOff
		ipv6           string
	)
	return command.Verb{
		Use: "edit SUBNET", Short: "Change a subnet's IPv6, and what instances get in it", Object: "subnet", Args: cobra.ExactArgs(1), NoDryRun: true,
		Complete: complete.First(complete.Subnets(f)),
		Example:  "  bundt subnet edit lab-1 --public on",
		Flags: func(cmd *cobra.Command) {
			public.addFlag(cmd, "public", "whether instances that are launched in it get a public address")
			assign.addFlag(cmd, "assign-ipv6", "whether interfaces that are made in it get an IPv6 address")
			cmd.Flags().StringVar(&ipv6, "ipv6", "", "its `range` of IPv6, a /64 of the VPC's; any that is free: any; or off")
			command.FlagValues(cmd, "ipv6", anyIPv6, "off")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			id, err := resolve.Subnet(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			var changes []*ec2types.ModifySubnetAttributeInput
			if a := public.attribute(); a != nil {
				changes = append(changes, &ec2types.ModifySubnetAttributeInput{SubnetId: &id, MapPublicIpOnLaunch: a})
			}
			if ipv6 != "" {
				if err := setSubnetIPv6(ctx, s, id, ipv6); err != nil {
					return err
				}
			}
			if a := assign.attribute(); a != nil {
				changes = append(changes, &ec2types.ModifySubnetAttributeInput{SubnetId: &id, AssignIpv6AddressOnCreation: a})
			}
			if len(changes) == 0 && ipv6 != "" {
				return s.Print(id)
			}
			return sendAll(ctx, s, id, "ModifySubnetAttribute", changes, s.ModifySubnetAttribute)
		},
	}.Command(f)
}

func newDomainCommand(f *factory.Factory) *cobra.Command {
	remove := false
	return command.Verb{
		Use: "domain ADDRESS [NAME]", Short: "Say what name reverse lookups of an elastic address find", Doing: "manage", Object: "domain name of address", Args: cobra.RangeArgs(1, 2),
		Complete: complete.First(complete.Addresses(f)),
		Long:     "Print the domain name that reverse lookups of an elastic address find; with NAME give it\nthis one, with --delete take it away.",
		Example:  "  bundt address domain front www.example.com",
		Flags:    func(cmd *cobra.Command) { cmd.Flags().BoolVar(&remove, "delete", false, "take the name away") },
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			if remove && len(args) > 1 {
				return failure.Usagef("--delete takes away the name that there is: give none")
			}
			id, err := resolve.Address(ctx, s.Client, args[0])
			switch {
			case err != nil:
				return err
			case remove:
				return command.Change(ctx, s, id, "ResetAddressAttribute", &ec2types.ResetAddressAttributeInput{AllocationId: &id, Attribute: new("domain-name"), DryRun: s.Plan.Flag()}, s.ResetAddressAttribute)
			case len(args) > 1:
				return command.Change(ctx, s, id, "ModifyAddressAttribute", &ec2types.ModifyAddressAttributeInput{AllocationId: &id, DomainName: &args[1], DryRun: s.Plan.Flag()}, s.ModifyAddressAttribute)
			}
			out, err := s.DescribeAddressesAttribute(ctx, &ec2types.DescribeAddressesAttributeInput{AllocationIds: []string{id}, Attribute: new("domain-name")})
			if err != nil {
				return err
			}
			for _, a := range out.Addresses {
				if a.PtrRecord != nil {
					return s.Print(*a.PtrRecord)
				}
			}
			return nil
		},
	}.Command(f)
}

func newRuleEditCommand(f *factory.Factory) *cobra.Command {
	var traffic, peer, description string
	return command.Verb{
		Use: "edit-rule GROUP RULE", Short: "Change a rule: its traffic, its peer, its description", Doing: "edit", Object: "rule of security group", Args: cobra.ExactArgs(2),
		Complete: complete.SecurityGroupRules(f),
		Long: `Change a rule of a security group, given by its id, which stays. What no flag names
stays as it is. Prints the rule's id.

` + ruleHelp,
		Example: "  bundt security-group edit-rule web sgr-0123456789abcdef0 --traffic tcp/443 --peer 10.0.0.0/8",
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&traffic, "traffic", "", "the `traffic` that it allows")
			cmd.Flags().StringVar(&peer, "peer", "", "who may be at the other end: a CIDR, an address or a security `group`")
			cmd.Flags().StringVar(&description, "description", "", "`text` about the rule")
			_ = cmd.RegisterFlagCompletionFunc("peer", complete.SecurityGroups(f))
			command.FlagValues(cmd, "traffic")
			command.FlagValues(cmd, "description")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			if traffic+peer+description == "" {
				return failure.Usagef("nothing to change: give a flag")
			}
			group, err := resolve.SecurityGroup(ctx, s.Client, args[0], "")
			if err != nil {
				return err
			}
			if err := model.CheckID(model.RulePrefix, args[1]); err != nil {
				return failure.UsageError(err)
			}
			found, err := s.DescribeSecurityGroupRules(ctx, &ec2types.DescribeSecurityGroupRulesInput{SecurityGroupRuleIds: []string{args[1]}})
			if err != nil {
				return err
			}
			rule := requestOf(found.SecurityGroupRules[0])
			if traffic != "" {
				p, err := parseTraffic(traffic)
				if err != nil {
					return err
				}
				rule.IpProtocol, rule.FromPort, rule.ToPort = p.IpProtocol, p.FromPort, p.ToPort
			}
			if description != "" {
				rule.Description = &description
			}
			if peer != "" {
				if err := setPeer(ctx, s, rule, group, peer); err != nil {
					return err
				}
			}
			return command.Change(ctx, s, args[1], "ModifySecurityGroupRules", &ec2types.ModifySecurityGroupRulesInput{
				GroupId: &group, SecurityGroupRules: []ec2types.SecurityGroupRuleUpdate{{SecurityGroupRuleId: &args[1], SecurityGroupRule: rule}}, DryRun: s.Plan.Flag(),
			}, s.ModifySecurityGroupRules)
		},
	}.Command(f)
}

// requestOf is what a rule would be made by.
func requestOf(r ec2types.SecurityGroupRule) *ec2types.SecurityGroupRuleRequest {
	out := &ec2types.SecurityGroupRuleRequest{
		CidrIpv4: r.CidrIpv4, CidrIpv6: r.CidrIpv6, PrefixListId: r.PrefixListId, Description: r.Description,
		IpProtocol: r.IpProtocol, FromPort: r.FromPort, ToPort: r.ToPort,
	}
	if r.ReferencedGroupInfo != nil {
		out.ReferencedGroupId = r.ReferencedGroupInfo.GroupId
	}
	return out
}

func setPeer(ctx context.Context, s *command.Session, rule *ec2types.SecurityGroupRuleRequest, group, peer string) error {
	rule.CidrIpv4, rule.CidrIpv6, rule.PrefixListId, rule.ReferencedGroupId = nil, nil, nil, nil
	cidr, ok := parseCIDR(peer)
	switch {
	case !ok:
		id, err := peerGroup(ctx, s, group, peer)
		rule.ReferencedGroupId = &id
		return err
	case cidr.Addr().Is4():
		rule.CidrIpv4 = new(cidr.String())
	default:
		rule.CidrIpv6 = new(cidr.String())
	}
	return nil
}
