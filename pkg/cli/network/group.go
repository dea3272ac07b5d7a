package network

import (
	"context"
	"fmt"
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

// NewSecurityGroupCommand returns the command "security-group" with all its verbs.
func NewSecurityGroupCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "security-group VERB", Aliases: []string{"security-groups", "sg"}, Short: "Manage security groups: what may reach instances",
		Long: `Manage security groups: the rules that say what may reach the instances in them, and
what they may reach. Changes reach running instances at once. GROUP is an id or a
name; if groups of several VPCs have the name, give the id.`,
	}
	type group = ec2types.SecurityGroup
	count := func(permissions []ec2types.IpPermission) string {
		n := 0
		for _, p := range permissions {
			n += len(p.IpRanges) + len(p.Ipv6Ranges) + len(p.UserIdGroupPairs)
		}
		return fmt.Sprint(n)
	}
	cmd.AddCommand(lister[group]{
		what: "security groups", vpc: "vpc-id", all: resolve.SecurityGroups, id: func(g group) *string { return g.GroupId },
		columns: []output.Column[group]{
			command.Text("GROUP", func(g group) *string { return g.GroupId }),
			command.Text("NAME", func(g group) *string { return g.GroupName }),
			command.Text("VPC", func(g group) *string { return g.VpcId }),
			{Title: "RULES IN", Text: func(g group) string { return count(g.IpPermissions) }},
			{Title: "RULES OUT", Text: func(g group) string { return count(g.IpPermissionsEgress) }},
			command.Text("DESCRIPTION", func(g group) *string { return g.Description }),
		},
	}.Command(f), newRulesCommand(f), newGroupCreateCommand(f), newAllowCommand(f), newRuleEditCommand(f), newRevokeCommand(f), remover[ec2types.DeleteSecurityGroupInput, ec2types.DeleteSecurityGroupOutput]{
		use: "delete GROUP", short: "Delete a security group that nothing uses", object: "security group", complete: complete.SecurityGroups(f), find: func(ctx context.Context, c *client.Client, ref string) (string, error) {
			return resolve.SecurityGroup(ctx, c, ref, "")
		}, action: "DeleteSecurityGroup",
		request: func(id string, dry *bool) *ec2types.DeleteSecurityGroupInput {
			return &ec2types.DeleteSecurityGroupInput{GroupId: &id, DryRun: dry}
		},
		send: (*client.Client).DeleteSecurityGroup,
	}.Command(f))
	return cmd
}

func newGroupCreateCommand(f *factory.Factory) *cobra.Command {
	var description string
	vpc := resolve.DefaultVPC
	return command.Verb{
		Use: "create NAME", Short: "Make a security group", Object: "security group", Args: cobra.ExactArgs(1),
		Long: `Make a security group of a VPC. A new group lets everything out and nothing in.`,
		Example: `  bundt security-group create web --description "what the web may reach"
  bundt security-group allow web tcp/80 tcp/443`,
		Flags: func(cmd *cobra.Command) {
			vpcFlag(f, cmd, &vpc, "`VPC` that the group is for")
			cmd.Flags().StringVar(&description, "description", "", "what it is for; default: its name")
			_ = cmd.RegisterFlagCompletionFunc("description", complete.None)
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			id, err := resolve.VPC(ctx, s.Client, vpc)
			if err != nil {
				return err
			}
			if description == "" {
				description = args[0] // EC2 demands one
			}
			out, err := command.Send(ctx, s, "CreateSecurityGroup", &ec2types.CreateSecurityGroupInput{
				GroupName: &args[0], Description: &description, VpcId: &id, DryRun: s.Plan.Flag(),
			}, s.CreateSecurityGroup)
			if err != nil || out == nil {
				return err
			}
			return s.Print(ec2types.Value(out.GroupId))
		},
	}.Command(f)
}

func newRulesCommand(f *factory.Factory) *cobra.Command {
	type rule = ec2types.SecurityGroupRule
	return command.List[rule]{
		What: "rules of a security group", Use: "rules GROUP", Aliases: []string{"show"}, Short: "List the rules of a security group",
		Args: cobra.ExactArgs(1), Complete: complete.First(complete.SecurityGroups(f)), All: rulesOf,
		ID: func(r rule) string { return ec2types.Value(r.SecurityGroupRuleId) },
		Columns: func(*command.Session) []output.Column[rule] {
			return []output.Column[rule]{
				command.Text("RULE", func(r rule) *string { return r.SecurityGroupRuleId }),
				{Title: "DIRECTION", Text: func(r rule) string {
					if ec2types.Value(r.IsEgress) {
						return "out"
					}
					return "in"
				}},
				{Title: "TRAFFIC", Text: func(r rule) string { return showTraffic(r.IpProtocol, r.FromPort, r.ToPort) }},
				{Title: "PEER", Text: showPeer},
				command.Text("DESCRIPTION", func(r rule) *string { return r.Description }),
			}
		},
	}.Command(f)
}

// rulesOf returns the rules of the group that the first argument names.
func rulesOf(ctx context.Context, s *command.Session, args []string) ([]ec2types.SecurityGroupRule, error) {
	id, err := resolve.SecurityGroup(ctx, s.Client, args[0], "")
	if err != nil {
		return nil, err
	}
	// A group that does not exist has no rules either; this call knows better.
	if _, err := s.DescribeSecurityGroups(ctx, &ec2types.DescribeSecurityGroupsInput{GroupIds: []string{id}}); err != nil {
		return nil, err
	}
	return resolve.SecurityGroupRules(ctx, s.Client, id)
}

func showPeer(r ec2types.SecurityGroupRule) string {
	switch {
	case r.CidrIpv4 != nil:
		return *r.CidrIpv4
	case r.CidrIpv6 != nil:
		return *r.CidrIpv6
	case r.ReferencedGroupInfo != nil:
		return ec2types.Value(r.ReferencedGroupInfo.GroupId)
	}
	return ec2types.Value(r.PrefixListId)
}

// ruleHelp explains TRAFFIC.
const ruleHelp = `TRAFFIC is PROTOCOL/PORT or PROTOCOL/FIRST-LAST with tcp or udp, either alone for all
its ports, icmp or icmp/TYPE or icmp/TYPE/CODE (icmpv6 alike), or all. --from names
who may reach the instances: a CIDR, an address, or a security group whose members
are meant; --to whom they may reach. Without either: from anywhere, 0.0.0.0/0.`

func newAllowCommand(f *factory.Factory) *cobra.Command {
	var (
		p           peers
		description string
	)
	return command.Verb{
		Use: "allow GROUP TRAFFIC…", Short: "Let traffic in, or out", Object: "traffic by security group", Args: cobra.MinimumNArgs(2),
		Complete: complete.First(complete.SecurityGroups(f)),
		Long:     "Add rules to a security group. Prints their ids.\n\n" + ruleHelp,
		Example: `  bundt security-group allow web tcp/80 tcp/443
  bundt security-group allow db tcp/5432 --from web
  bundt security-group allow web tcp/8000-8010 icmp --from 172.31.0.0/16 --description "from inside"
  bundt security-group allow web udp/53 --to 172.31.0.2`,
		Flags: func(cmd *cobra.Command) {
			p.addFlags(f, cmd)
			cmd.Flags().StringVar(&description, "description", "", "what the rules are for")
			_ = cmd.RegisterFlagCompletionFunc("description", complete.None)
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			group, permissions, err := permissions(ctx, s, args, &p, description)
			if err != nil {
				return err
			}
			var rules []ec2types.SecurityGroupRule
			if p.egress() {
				out, err := command.Send(ctx, s, "AuthorizeSecurityGroupEgress", &ec2types.AuthorizeSecurityGroupEgressInput{
					GroupId: &group, IpPermissions: permissions, DryRun: s.Plan.Flag(),
				}, s.AuthorizeSecurityGroupEgress)
				if err != nil || out == nil {
					return err
				}
				rules = out.SecurityGroupRules
			} else {
				out, err := command.Send(ctx, s, "AuthorizeSecurityGroupIngress", &ec2types.AuthorizeSecurityGroupIngressInput{
					GroupId: &group, IpPermissions: permissions, DryRun: s.Plan.Flag(),
				}, s.AuthorizeSecurityGroupIngress)
				if err != nil || out == nil {
					return err
				}
				rules = out.SecurityGroupRules
			}
			for _, r := range rules {
				if err := s.Print(ec2types.Value(r.SecurityGroupRuleId)); err != nil {
					return err
				}
			}
			return nil
		},
	}.Command(f)
}

func newRevokeCommand(f *factory.Factory) *cobra.Command {
	var p peers
	return command.Verb{
		Use: "revoke GROUP RULE…", Short: "Remove rules: what they allowed is allowed no more", Object: "rules of security group", Args: cobra.MinimumNArgs(2),
		Complete: complete.SecurityGroupRules(f),
		Long: `Remove rules from a security group: by their ids, or by what they allow, written as
for allow. Connections that are open stay so. Prints the group's id.

` + ruleHelp,
		Example: `  bundt security-group revoke web tcp/80
  bundt security-group revoke db tcp/5432 --from web
  bundt security-group revoke web sgr-0123456789abcdef0`,
		Flags: func(cmd *cobra.Command) { p.addFlags(f, cmd) },
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			for _, rule := range args[1:] {
				if strings.HasPrefix(rule, string(model.RulePrefix)+"-") {
					if p.given() {
						return failure.Usagef("--from and --to are for rules given by what they allow, not by id")
					}
					return revokeIDs(ctx, s, args[0], args[1:])
				}
			}
			group, permissions, err := permissions(ctx, s, args, &p, "")
			if err != nil {
				return err
			}
			return revoke(ctx, s, group, p.egress(), permissions, nil)
		},
	}.Command(f)
}

// revokeIDs removes the rules with these ids, which may be of both directions.
func revokeIDs(ctx context.Context, s *command.Session, ref string, ids []string) error {
	group, err := resolve.SecurityGroup(ctx, s.Client, ref, "")
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := model.CheckID(model.RulePrefix, id); err != nil {
			return failure.Usagef("%q is not the id of a rule, but another argument is", id)
		}
	}
	found, err := s.DescribeSecurityGroupRules(ctx, &ec2types.DescribeSecurityGroupRulesInput{SecurityGroupRuleIds: ids})
	if err != nil {
		return err
	}
	var in, out []string
	for _, r := range found.SecurityGroupRules {
		id := ec2types.Value(r.SecurityGroupRuleId)
		switch {
		case ec2types.Value(r.GroupId) != group:
			return failure.NotFoundf("the rule %s is not of %s but of %s", id, group, ec2types.Value(r.GroupId))
		case ec2types.Value(r.IsEgress):
			out = append(out, id)
		default:
			in = append(in, id)
		}
	}
	if len(in) > 0 {
		if err := revoke(ctx, s, group, false, nil, in); err != nil {
			return err
		}
	}
	if len(out) > 0 {
		return revoke(ctx, s, group, true, nil, out)
	}
	return nil
}

func revoke(ctx context.Context, s *command.Session, group string, egress bool, permissions []ec2types.IpPermission, ids []string) error {
	var unknown []ec2types.IpPermission
	if egress {
		out, err := command.Send(ctx, s, "RevokeSecurityGroupEgress", &ec2types.RevokeSecurityGroupEgressInput{
			GroupId: &group, IpPermissions: permissions, SecurityGroupRuleIds: ids, DryRun: s.Plan.Flag(),
		}, s.RevokeSecurityGroupEgress)
		if err != nil || out == nil {
			return err
		}
		unknown = out.UnknownIpPermissions
	} else {
		out, err := command.Send(ctx, s, "RevokeSecurityGroupIngress", &ec2types.RevokeSecurityGroupIngressInput{
			GroupId: &group, IpPermissions: permissions, SecurityGroupRuleIds: ids, DryRun: s.Plan.Flag(),
		}, s.RevokeSecurityGroupIngress)
		if err != nil || out == nil {
			return err
		}
		unknown = out.UnknownIpPermissions
	}
	// In the default VPC EC2 removes what there is, and tells what was not there.
	if len(unknown) > 0 {
		var missing []string
		for _, p := range unknown {
			missing = append(missing, showTraffic(p.IpProtocol, p.FromPort, p.ToPort))
		}
		return failure.WithHint(failure.NotFoundf("no such rules: %s", strings.Join(missing, ", ")), "bundt security-group rules %s lists the rules", group)
	}
	return s.Print(group)
}
