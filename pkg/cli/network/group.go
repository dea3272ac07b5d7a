package network

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
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
		what: "security groups", vpc: true, all: resolve.SecurityGroups, id: func(g group) *string { return g.GroupId },
		columns: []output.Column[group]{
			column("GROUP", func(g group) *string { return g.GroupId }),
			column("NAME", func(g group) *string { return g.GroupName }),
			column("VPC", func(g group) *string { return g.VpcId }),
			{Title: "RULES IN", Text: func(g group) string { return count(g.IpPermissions) }},
			{Title: "RULES OUT", Text: func(g group) string { return count(g.IpPermissionsEgress) }},
			column("DESCRIPTION", func(g group) *string { return g.Description }),
		},
	}.command(f), newRulesCommand(f), newGroupCreateCommand(f), newAllowCommand(f), newRevokeCommand(f), verb{
		use: "delete GROUP", short: "Delete a security group that nothing uses", object: "security group", args: cobra.ExactArgs(1),
		complete: complete.First(complete.SecurityGroups(f)),
		run: func(ctx context.Context, s *session, args []string) error {
			id, err := resolve.SecurityGroup(ctx, s.Client, args[0], "")
			if err != nil {
				return err
			}
			return change(ctx, s, id, "DeleteSecurityGroup", &ec2types.DeleteSecurityGroupInput{GroupId: &id, DryRun: s.plan.Flag()}, s.DeleteSecurityGroup)
		},
	}.command(f))
	return cmd
}

func newGroupCreateCommand(f *factory.Factory) *cobra.Command {
	var description string
	vpc := resolve.DefaultVPC
	return verb{
		use: "create NAME", short: "Make a security group", object: "security group", args: cobra.ExactArgs(1),
		long: `Make a security group of a VPC. A new group lets everything out and nothing in.`,
		example: `  bundt security-group create web --description "what the web may reach"
  bundt security-group allow web tcp/80 tcp/443`,
		flags: func(cmd *cobra.Command) {
			vpcFlag(f, cmd, &vpc, "`VPC` that the group is for")
			cmd.Flags().StringVar(&description, "description", "", "what it is for; default: its name")
			_ = cmd.RegisterFlagCompletionFunc("description", complete.None)
		},
		run: func(ctx context.Context, s *session, args []string) error {
			id, err := resolve.VPC(ctx, s.Client, vpc)
			if err != nil {
				return err
			}
			if description == "" {
				description = args[0] // EC2 demands one
			}
			out, err := send(ctx, s, "CreateSecurityGroup", &ec2types.CreateSecurityGroupInput{
				GroupName: &args[0], Description: &description, VpcId: &id, DryRun: s.plan.Flag(),
			}, s.CreateSecurityGroup)
			if err != nil || out == nil {
				return err
			}
			return s.print(ec2types.Value(out.GroupId))
		},
	}.command(f)
}

func newRulesCommand(f *factory.Factory) *cobra.Command {
	var o output.Options
	cmd := &cobra.Command{
		Use: "rules GROUP", Aliases: []string{"show"}, Short: "List the rules of a security group", Args: cobra.ExactArgs(1),
		ValidArgsFunction: complete.First(complete.SecurityGroups(f)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return failure.Wrap(listRules(cmd.Context(), f, &o, args[0]), "list rules of security group", args[0])
		},
	}
	o.AddFlags(cmd)
	return cmd
}

func listRules(ctx context.Context, f *factory.Factory, o *output.Options, ref string) error {
	c, err := f.Client()
	if err != nil {
		return err
	}
	id, err := resolve.SecurityGroup(ctx, c, ref, "")
	if err != nil {
		return err
	}
	// A group that does not exist has no rules either; this call knows better.
	if _, err := c.DescribeSecurityGroups(ctx, &ec2types.DescribeSecurityGroupsInput{GroupIds: []string{id}}); err != nil {
		return err
	}
	rules, err := resolve.SecurityGroupRules(ctx, c, id)
	if err != nil {
		return err
	}
	type rule = ec2types.SecurityGroupRule
	return output.List(f.IO, o, rules, func(r rule) string { return ec2types.Value(r.SecurityGroupRuleId) }, []output.Column[rule]{
		column("RULE", func(r rule) *string { return r.SecurityGroupRuleId }),
		{Title: "DIRECTION", Text: func(r rule) string {
			if ec2types.Value(r.IsEgress) {
				return "out"
			}
			return "in"
		}},
		{Title: "TRAFFIC", Text: func(r rule) string { return showTraffic(r.IpProtocol, r.FromPort, r.ToPort) }},
		{Title: "PEER", Text: showPeer},
		column("DESCRIPTION", func(r rule) *string { return r.Description }),
	})
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
	return verb{
		use: "allow GROUP TRAFFIC…", short: "Let traffic in, or out", object: "traffic by security group", args: cobra.MinimumNArgs(2),
		complete: complete.First(complete.SecurityGroups(f)),
		long:     "Add rules to a security group. Prints their ids.\n\n" + ruleHelp,
		example: `  bundt security-group allow web tcp/80 tcp/443
  bundt security-group allow db tcp/5432 --from web
  bundt security-group allow web tcp/8000-8010 icmp --from 172.31.0.0/16 --description "from inside"
  bundt security-group allow web udp/53 --to 172.31.0.2`,
		flags: func(cmd *cobra.Command) {
			p.addFlags(f, cmd)
			cmd.Flags().StringVar(&description, "description", "", "what the rules are for")
			_ = cmd.RegisterFlagCompletionFunc("description", complete.None)
		},
		run: func(ctx context.Context, s *session, args []string) error {
			group, permissions, err := s.permissions(ctx, args, &p, description)
			if err != nil {
				return err
			}
			var rules []ec2types.SecurityGroupRule
			if p.egress() {
				out, err := send(ctx, s, "AuthorizeSecurityGroupEgress", &ec2types.AuthorizeSecurityGroupEgressInput{
					GroupId: &group, IpPermissions: permissions, DryRun: s.plan.Flag(),
				}, s.AuthorizeSecurityGroupEgress)
				if err != nil || out == nil {
					return err
				}
				rules = out.SecurityGroupRules
			} else {
				out, err := send(ctx, s, "AuthorizeSecurityGroupIngress", &ec2types.AuthorizeSecurityGroupIngressInput{
					GroupId: &group, IpPermissions: permissions, DryRun: s.plan.Flag(),
				}, s.AuthorizeSecurityGroupIngress)
				if err != nil || out == nil {
					return err
				}
				rules = out.SecurityGroupRules
			}
			for _, r := range rules {
				if err := s.print(ec2types.Value(r.SecurityGroupRuleId)); err != nil {
					return err
				}
			}
			return nil
		},
	}.command(f)
}

func newRevokeCommand(f *factory.Factory) *cobra.Command {
	var p peers
	return verb{
		use: "revoke GROUP RULE…", short: "Remove rules: what they allowed is allowed no more", object: "rules of security group", args: cobra.MinimumNArgs(2),
		complete: complete.SecurityGroupRules(f),
		long: `Remove rules from a security group: by their ids, or by what they allow, written as
for allow. Connections that are open stay so. Prints the group's id.

` + ruleHelp,
		example: `  bundt security-group revoke web tcp/80
  bundt security-group revoke db tcp/5432 --from web
  bundt security-group revoke web sgr-0123456789abcdef0`,
		flags: func(cmd *cobra.Command) { p.addFlags(f, cmd) },
		run: func(ctx context.Context, s *session, args []string) error {
			for _, rule := range args[1:] {
				if strings.HasPrefix(rule, string(model.RulePrefix)+"-") {
					if p.given() {
						return failure.Usagef("--from and --to are for rules given by what they allow, not by id")
					}
					return s.revokeIDs(ctx, args[0], args[1:])
				}
			}
			group, permissions, err := s.permissions(ctx, args, &p, "")
			if err != nil {
				return err
			}
			return s.revoke(ctx, group, p.egress(), permissions, nil)
		},
	}.command(f)
}

// revokeIDs removes the rules with these ids, which may be of both directions.
func (s *session) revokeIDs(ctx context.Context, ref string, ids []string) error {
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
		if err := s.revoke(ctx, group, false, nil, in); err != nil {
			return err
		}
	}
	if len(out) > 0 {
		return s.revoke(ctx, group, true, nil, out)
	}
	return nil
}

func (s *session) revoke(ctx context.Context, group string, egress bool, permissions []ec2types.IpPermission, ids []string) error {
	var unknown []ec2types.IpPermission
	if egress {
		out, err := send(ctx, s, "RevokeSecurityGroupEgress", &ec2types.RevokeSecurityGroupEgressInput{
			GroupId: &group, IpPermissions: permissions, SecurityGroupRuleIds: ids, DryRun: s.plan.Flag(),
		}, s.RevokeSecurityGroupEgress)
		if err != nil || out == nil {
			return err
		}
		unknown = out.UnknownIpPermissions
	} else {
		out, err := send(ctx, s, "RevokeSecurityGroupIngress", &ec2types.RevokeSecurityGroupIngressInput{
			GroupId: &group, IpPermissions: permissions, SecurityGroupRuleIds: ids, DryRun: s.plan.Flag(),
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
	return s.print(group)
}
