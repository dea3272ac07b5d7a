package network

import (
	"context"
	"fmt"
	"slices"
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

// NewNetworkACLCommand returns the command "network-acl" with all its verbs.
func NewNetworkACLCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "network-acl VERB", Aliases: []string{"network-acls", "nacl"}, Short: "Manage network ACLs: what may cross the edges of subnets",
		Long: `Manage network ACLs: lists of what may enter and leave subnets, beside the security
groups of instances. They judge every packet by itself, so answers need entries of
their own; of the entries of a direction the first one that fits decides, by rising
numbers, and what none fits is denied. What stays within a subnet, and the services of
the VPC, are not meant. ACL is an id or a name, or VPC/default for the default one.`,
	}
	type acl = ec2types.NetworkAcl
	count := func(egress bool) func(acl) string {
		return func(n acl) string {
			c := 0
			for _, e := range n.Entries {
				if ec2types.Value(e.Egress) == egress && ec2types.Value(e.RuleNumber) <= lastEntry {
					c++
				}
			}
			return strconv.Itoa(c)
		}
	}
	var name string
	vpc := resolve.DefaultVPC
	cmd.AddCommand(lister[acl]{
		what: "network ACLs", vpc: "vpc-id", all: resolve.NetworkACLs, id: func(n acl) *string { return n.NetworkAclId },
		columns: []output.Column[acl]{
			command.Text("ACL", func(n acl) *string { return n.NetworkAclId }),
			command.Text("VPC", func(n acl) *string { return n.VpcId }),
			{Title: "DEFAULT", Text: func(n acl) string { return map[bool]string{true: "yes", false: "no"}[ec2types.Value(n.IsDefault)] }},
			{Title: "IN", Text: count(false)},
			{Title: "OUT", Text: count(true)},
			{Title: "SUBNETS", Text: func(n acl) string {
				var out []string
				for _, a := range n.Associations {
					out = append(out, ec2types.Value(a.SubnetId))
				}
				return strings.Join(out, ",")
			}},
			command.Name(func(n acl) []ec2types.Tag { return n.Tags }),
		},
	}.Command(f), newACLEntriesCommand(f), command.Verb{
		Use: "create", Short: "Make a network ACL, which denies everything", Object: "a network ACL", Args: cobra.NoArgs,
		Example: `  bundt network-acl create --name web
  bundt network-acl allow web 100 tcp/443
  bundt network-acl allow web 100 tcp/1024-65535 --to 0.0.0.0/0
  bundt network-acl associate web front`,
		Flags: func(cmd *cobra.Command) {
			vpcFlag(f, cmd, &vpc, "`VPC` that it is for")
			command.NameFlag(cmd, &name, "network ACL")
		},
		Run: func(ctx context.Context, s *command.Session, _ []string) error {
			id, err := resolve.VPC(ctx, s.Client, vpc)
			if err != nil {
				return err
			}
			out, err := command.Send(ctx, s, "CreateNetworkAcl", &ec2types.CreateNetworkAclInput{
				VpcId: &id, TagSpecifications: command.NameTag("network-acl", name), DryRun: s.Plan.Flag(),
			}, s.CreateNetworkAcl)
			if err != nil || out == nil {
				return err
			}
			return s.Print(ec2types.Value(out.NetworkAcl.NetworkAclId))
		},
	}.Command(f), newACLPutCommand(f, true), newACLPutCommand(f, false), newACLRemoveCommand(f), command.Verb{
		Use: "associate ACL SUBNET", Short: "Give a subnet another network ACL", Object: "network ACL", Args: cobra.ExactArgs(2),
		Complete: complete.Each(complete.NetworkACLs(f), complete.Subnets(f)),
		Long:     "Give a subnet another network ACL. Prints the association's id.",
		Run:      associateACL,
	}.Command(f), remover[ec2types.DeleteNetworkAclInput, ec2types.DeleteNetworkAclOutput]{
		use: "delete ACL", short: "Delete a network ACL that no subnet has", object: "network ACL", complete: complete.NetworkACLs(f), find: resolve.NetworkACL, action: "DeleteNetworkAcl",
		request: func(id string, dry *bool) *ec2types.DeleteNetworkAclInput {
			return &ec2types.DeleteNetworkAclInput{NetworkAclId: &id, DryRun: dry}
		},
		send: (*client.Client).DeleteNetworkAcl,
	}.Command(f))
	return cmd
}

// lastEntry is the largest number of an entry that somebody has made; EC2 shows those
// that deny the rest with larger ones.
const lastEntry = 32766

func newACLEntriesCommand(f *factory.Factory) *cobra.Command {
	type entry = ec2types.NetworkAclEntry
	return command.List[entry]{
		What: "entries of a network ACL", Use: "entries ACL", Aliases: []string{"rules", "show"}, Short: "List the entries of a network ACL, in the order in which they judge",
		Args: cobra.ExactArgs(1), Complete: complete.First(complete.NetworkACLs(f)),
		All: func(ctx context.Context, s *command.Session, args []string) ([]entry, error) {
			id, err := resolve.NetworkACL(ctx, s.Client, args[0])
			if err != nil {
				return nil, err
			}
			found, err := s.DescribeNetworkAcls(ctx, &ec2types.DescribeNetworkAclsInput{NetworkAclIds: []string{id}})
			if err != nil {
				return nil, err
			}
			entries := found.NetworkAcls[0].Entries
			slices.SortStableFunc(entries, func(a, b entry) int { // what comes in before what goes out
				order := map[bool]int{false: 0, true: 1}
				return order[ec2types.Value(a.Egress)] - order[ec2types.Value(b.Egress)]
			})
			return entries, nil
		},
		ID: func(e entry) string { return strconv.Itoa(int(ec2types.Value(e.RuleNumber))) },
		Columns: func(*command.Session) []output.Column[entry] {
			return []output.Column[entry]{
				{Title: "DIRECTION", Text: func(e entry) string { return map[bool]string{true: "out", false: "in"}[ec2types.Value(e.Egress)] }},
				{Title: "NUMBER", Text: func(e entry) string {
					if n := ec2types.Value(e.RuleNumber); n <= lastEntry {
						return strconv.Itoa(int(n))
					}
					return "*"
				}},
				command.Text("ACTION", func(e entry) *string { return e.RuleAction }),
				{Title: "TRAFFIC", Text: showEntry},
				{Title: "PEER", Text: func(e entry) string { return ec2types.Value(e.CidrBlock) + ec2types.Value(e.Ipv6CidrBlock) }},
			}
		},
	}.Command(f)
}

// showEntry is what an entry is for, as parseTraffic reads it.
func showEntry(e ec2types.NetworkAclEntry) string {
	name := ec2types.Value(e.Protocol)
	if known, ok := protocolNames[name]; ok {
		name = known
	}
	switch {
	case e.PortRange != nil:
		return showTraffic(&name, e.PortRange.From, e.PortRange.To)
	case e.IcmpTypeCode != nil:
		return showTraffic(&name, e.IcmpTypeCode.Type, e.IcmpTypeCode.Code)
	}
	return showTraffic(&name, nil, nil)
}

var protocolNames = map[string]string{"6": "tcp", "17": "udp", "1": "icmp", "58": "icmpv6"}

// newACLPutCommand is "allow", or "deny".
func newACLPutCommand(f *factory.Factory, allow bool) *cobra.Command {
	var (
		from, to string
		replace  bool
	)
	action, short := ec2types.RuleActionDeny, "Add an entry that keeps packets out, or in"
	if allow {
		action, short = ec2types.RuleActionAllow, "Add an entry that lets packets in, or out"
	}
	return command.Verb{
		Use: action + " ACL NUMBER TRAFFIC", Short: short, Object: "traffic by network ACL", Args: cobra.ExactArgs(3), Complete: complete.First(complete.NetworkACLs(f)),
		Long: short + `. Prints the ACL's id.

NUMBER, 1 to 32766, is its place among the entries of its direction. TRAFFIC is
PROTOCOL/PORT or PROTOCOL/FIRST-LAST with tcp or udp, either alone for all its ports,
icmp or icmp/TYPE or icmp/TYPE/CODE (icmpv6 alike), or all; ports are those that packets
are for. --from names the range that packets come from, --to the one that they go to.
Without either: from anywhere, 0.0.0.0/0.`,
		Example: fmt.Sprintf(`  bundt network-acl %[1]s web 100 tcp/443
  bundt network-acl %[1]s web 110 tcp/22 --from 192.0.2.0/24
  bundt network-acl %[1]s web 100 tcp/1024-65535 --to 0.0.0.0/0`, action),
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&from, "from", "", "`range` that packets come from")
			cmd.Flags().StringVar(&to, "to", "", "`range` that packets go to")
			cmd.MarkFlagsMutuallyExclusive("from", "to")
			cmd.Flags().BoolVar(&replace, "replace", false, "change the entry that has the number")
			command.FlagValues(cmd, "from")
			command.FlagValues(cmd, "to")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			in, err := aclEntry(args[1], args[2], from, to)
			if err != nil {
				return err
			}
			id, err := resolve.NetworkACL(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			in.NetworkAclId, in.RuleAction, in.DryRun = &id, &action, s.Plan.Flag()
			if replace {
				return command.Change(ctx, s, id, "ReplaceNetworkAclEntry", new(ec2types.ReplaceNetworkAclEntryInput(*in)), s.ReplaceNetworkAclEntry)
			}
			return command.Change(ctx, s, id, "CreateNetworkAclEntry", in, s.CreateNetworkAclEntry)
		},
	}.Command(f)
}

// aclEntry is the entry that a command line asks for.
func aclEntry(number, traffic, from, to string) (*ec2types.CreateNetworkAclEntryInput, error) {
	n, err := entryNumber(number)
	if err != nil {
		return nil, err
	}
	p, err := parseTraffic(traffic)
	if err != nil {
		return nil, err
	}
	peer := from + to
	if peer == "" {
		peer = "0.0.0.0/0"
	}
	cidr, ok := parseCIDR(peer)
	if !ok {
		return nil, failure.Usagef("%q is no range of addresses, nor an address", peer)
	}
	in := &ec2types.CreateNetworkAclEntryInput{RuleNumber: &n, Egress: new(to != ""), Protocol: p.IpProtocol}
	text := cidr.String()
	if cidr.Addr().Is4() {
		in.CidrBlock = &text
	} else {
		in.Ipv6CidrBlock = &text
	}
	switch *p.IpProtocol {
	case "tcp", "udp":
		in.PortRange = &ec2types.PortRange{From: p.FromPort, To: p.ToPort}
	case "icmp", "icmpv6":
		in.IcmpTypeCode = &ec2types.IcmpTypeCode{Type: p.FromPort, Code: p.ToPort}
	}
	for number, name := range protocolNames { // EC2 wants numbers
		if name == *in.Protocol {
			in.Protocol = &number
		}
	}
	return in, nil
}

func entryNumber(text string) (int32, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || n > lastEntry {
		return 0, failure.Usagef("%q is no number of an entry: want 1 to %d", text, lastEntry)
	}
	return int32(n), nil
}

func newACLRemoveCommand(f *factory.Factory) *cobra.Command {
	var out bool
	return command.Verb{
		Use: "remove ACL NUMBER…", Short: "Remove entries of a network ACL", Object: "entries of network ACL", Args: cobra.MinimumNArgs(2), Complete: complete.First(complete.NetworkACLs(f)),
		Long: "Remove entries of a network ACL: of those for what comes in, or with --out of those for\nwhat goes out. Prints the ACL's id.",
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().BoolVar(&out, "out", false, "remove those for packets that leave")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			var numbers []int32
			for _, text := range args[1:] {
				n, err := entryNumber(text)
				if err != nil {
					return err
				}
				numbers = append(numbers, n)
			}
			id, err := resolve.NetworkACL(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			for _, n := range numbers {
				if _, err := command.Send(ctx, s, "DeleteNetworkAclEntry", &ec2types.DeleteNetworkAclEntryInput{
					NetworkAclId: &id, RuleNumber: &n, Egress: &out, DryRun: s.Plan.Flag(),
				}, s.DeleteNetworkAclEntry); err != nil {
					return err
				}
			}
			if s.Plan.Flag() != nil {
				return nil
			}
			return s.Print(id)
		},
	}.Command(f)
}

func associateACL(ctx context.Context, s *command.Session, args []string) error {
	id, err := resolve.NetworkACL(ctx, s.Client, args[0])
	if err != nil {
		return err
	}
	subnet, err := resolve.Subnet(ctx, s.Client, args[1])
	if err != nil {
		return err
	}
	now, err := resolve.NetworkACLs(ctx, s.Client, resolve.Filter("association.subnet-id", subnet))
	if err != nil {
		return err
	}
	for _, n := range now {
		for _, a := range n.Associations {
			if ec2types.Value(a.SubnetId) != subnet {
				continue
			}
			out, err := command.Send(ctx, s, "ReplaceNetworkAclAssociation", &ec2types.ReplaceNetworkAclAssociationInput{
				AssociationId: a.NetworkAclAssociationId, NetworkAclId: &id, DryRun: s.Plan.Flag(),
			}, s.ReplaceNetworkAclAssociation)
			if err != nil || out == nil {
				return err
			}
			return s.Print(ec2types.Value(out.NewAssociationId))
		}
	}
	return failure.NotFoundf("the subnet %s is no more", subnet)
}
