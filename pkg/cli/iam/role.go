package iam

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/client"
)

// NewRoleCommand returns the command "role" with all its verbs.
func NewRoleCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "role VERB", Aliases: []string{"roles"}, Short: "Manage roles: permissions that are taken on for a while",
		Long: `Manage roles. Whom a role's trust policy names may take it on (sts:AssumeRole) and gets
temporary keys, with which it may do what the role's policies allow. bundt policy
attach gives a role policies, as role/NAME; an instance profile carries one to
instances.`,
	}
	cmd.AddCommand(newCreateRoleCommand(f), newListRolesCommand(f), newShowRoleCommand(f), newTrustCommand(f), newDeleteRoleCommand(f))
	return cmd
}

func newListRolesCommand(f *factory.Factory) *cobra.Command {
	type role = iamtypes.Role
	return command.List[role]{
		What: "the account's roles", All: roles,
		ID: func(r role) string { return value(r.RoleName) },
		Columns: func(s *command.Session) []output.Column[role] {
			return []output.Column[role]{
				command.Text("NAME", func(r role) *string { return r.RoleName }),
				command.Text("ROLE", func(r role) *string { return r.RoleId }),
				command.Text("PATH", func(r role) *string { return r.Path }),
				command.Age(s, func(r role) *time.Time { return r.CreateDate }),
				command.Text("DESCRIPTION", func(r role) *string { return r.Description }),
				command.Wide(command.Text("ARN", func(r role) *string { return r.Arn })),
			}
		},
	}.Command(f)
}

func roles(ctx context.Context, s *command.Session, _ []string) (all []iamtypes.Role, err error) {
	for page, err := range s.ListRolesPages(ctx, nil) {
		if err != nil {
			return nil, err
		}
		all = append(all, page.Roles...)
	}
	return all, nil
}

func newShowRoleCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "show NAME", Short: "Print a role with its trust policy, policies and instance profiles", Object: "role", Args: cobra.ExactArgs(1),
		Complete: complete.First(complete.Roles(f)), Shows: true, Run: showRole,
	}.Command(f)
}

// shownRole is what "role show" prints.
type shownRole struct {
	Role             iamtypes.Role
	TrustPolicy      json.RawMessage
	AttachedPolicies []iamtypes.AttachedPolicy
	InlinePolicies   []string
	InstanceProfiles []string
}

func showRole(ctx context.Context, s *command.Session, args []string) error {
	got, err := s.GetRole(ctx, &iamtypes.GetRoleInput{RoleName: &args[0]})
	if err != nil {
		return err
	}
	shown := shownRole{Role: *got.Role, InstanceProfiles: []string{}}
	if shown.TrustPolicy, err = decoded(got.Role.AssumeRolePolicyDocument); err != nil {
		return err
	}
	shown.Role.AssumeRolePolicyDocument = nil // shown above, to be read
	t := target{kind: roleKind, name: args[0]}
	if shown.AttachedPolicies, err = t.attached(ctx, s.Client); err != nil {
		return err
	}
	if shown.InlinePolicies, err = t.inline(ctx, s.Client); err != nil {
		return err
	}
	profiles, err := profilesOf(ctx, s.Client, args[0])
	if err != nil {
		return err
	}
	for _, p := range profiles {
		shown.InstanceProfiles = append(shown.InstanceProfiles, value(p.InstanceProfileName))
	}
	return output.One(s.Factory.IO, &s.Output, args[0], shown)
}

// trust says who may take a role on: one of its members.
type trust struct {
	file     string // of a trust policy; "-" for standard input
	service  string // like "ec2", or "ec2.amazonaws.com"
	accounts []string
}

func (t *trust) addFlags(f *factory.Factory, cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.file, "trust", "", "who may take it on: the trust policy in this `file`, - for standard input")
	cmd.Flags().StringVar(&t.service, "service", "", "who may take it on: this AWS `service`; ec2 for instances")
	cmd.Flags().StringSliceVar(&t.accounts, "principal", nil, "who may take it on: these `principals`, each twelve digits of an account, or an ARN")
	cmd.MarkFlagsMutuallyExclusive("trust", "service", "principal")
	command.FlagValues(cmd, "service", "ec2")
	_ = cmd.RegisterFlagCompletionFunc("principal", complete.PrincipalARNs(f))
}

// policy is the trust policy.
func (t *trust) policy(f *factory.Factory) (string, error) {
	var principal map[string]any
	switch {
	case t.file != "":
		return readDocument(f, t.file)
	case t.service != "":
		service := t.service
		if !strings.Contains(service, ".") {
			service += ".amazonaws.com"
		}
		principal = map[string]any{"Service": service}
	case len(t.accounts) > 0:
		principal = map[string]any{"AWS": t.accounts}
	default:
		return "", failure.Usagef("--trust, --service or --principal is required: who may take the role on")
	}
	document, err := json.Marshal(map[string]any{
		"Version":   "2012-10-17",
		"Statement": map[string]any{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"},
	})
	return string(document), err
}

func newCreateRoleCommand(f *factory.Factory) *cobra.Command {
	var (
		who               trust
		path, description string
		tags              []string
		session           time.Duration
	)
	return command.Verb{
		Use: "create NAME", Short: "Make a role, which may do nothing yet", Object: "role", Args: cobra.ExactArgs(1), NoDryRun: true,
		Long: "Make a role, which may do nothing yet, and print its ARN.",
		Example: `  bundt role create reader --principal 123456789012
  bundt policy attach ReadOnlyAccess role/reader
  bundt role create web --service ec2
  bundt role create deploy --trust trust.json --max-session 4h`,
		Flags: func(cmd *cobra.Command) {
			who.addFlags(f, cmd)
			cmd.Flags().StringVar(&path, "path", "", "`path` of the role's ARN, like /team/; default: /")
			cmd.Flags().StringVar(&description, "description", "", "`text` about the role")
			cmd.Flags().StringArrayVar(&tags, "tag", nil, "tag `KEY=VALUE` of the role; may be repeated")
			cmd.Flags().DurationVar(&session, "max-session", 0, "longest `time` that its temporary keys may be good for, 1h to 12h; default: 1h")
			for _, flag := range []string{"path", "description", "tag", "max-session"} {
				command.FlagValues(cmd, flag)
			}
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			document, err := who.policy(f)
			if err != nil {
				return err
			}
			in := &iamtypes.CreateRoleInput{
				RoleName: &args[0], AssumeRolePolicyDocument: &document, Path: command.Given(path), Description: command.Given(description),
				MaxSessionDuration: command.Given(int32(session / time.Second)),
			}
			if in.Tags, err = parseTags(tags); err != nil {
				return err
			}
			out, err := s.CreateRole(ctx, in)
			if err != nil {
				return err
			}
			return s.Print(value(out.Role.Arn))
		},
	}.Command(f)
}

func newTrustCommand(f *factory.Factory) *cobra.Command {
	var who trust
	return command.Verb{
		Use: "trust NAME", Short: "Change who may take a role on", Object: "who trusts role", Args: cobra.ExactArgs(1), NoDryRun: true,
		Complete: complete.First(complete.Roles(f)),
		Long:     "Replace a role's trust policy: who may take it on. Temporary keys that were given stay good.",
		Example:  "  bundt role trust reader --principal arn:aws:iam::123456789012:user/alice",
		Flags:    func(cmd *cobra.Command) { who.addFlags(f, cmd) },
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			document, err := who.policy(f)
			if err != nil {
				return err
			}
			_, err = s.UpdateAssumeRolePolicy(ctx, &iamtypes.UpdateAssumeRolePolicyInput{RoleName: &args[0], PolicyDocument: &document})
			return err
		},
	}.Command(f)
}

func newDeleteRoleCommand(f *factory.Factory) *cobra.Command {
	force := false
	return command.Verb{
		Use: "delete NAME…", Short: "Delete roles", Object: "role", Args: cobra.MinimumNArgs(1), NoDryRun: true, Complete: complete.Roles(f),
		Long: `Delete roles that have no policies and are in no instance profile; with --force, delete
their inline policies too, detach the others, and take them out of instance profiles.`,
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().BoolVar(&force, "force", false, "delete their inline policies, detach the others, and take them out of instance profiles")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			for _, name := range args {
				if force {
					if err := release(ctx, s.Client, name); err != nil {
						return err
					}
				}
				if _, err := s.DeleteRole(ctx, &iamtypes.DeleteRoleInput{RoleName: &name}); err != nil {
					return failure.WithHint(err, "bundt role delete --force %s takes its policies and instance profiles away first", name)
				}
				if err := s.Print(name); err != nil {
					return err
				}
			}
			return nil
		},
	}.Command(f)
}

// release takes a role's policies away, and it out of its instance profiles.
func release(ctx context.Context, c *client.Client, name string) error {
	profiles, err := profilesOf(ctx, c, name)
	if err != nil {
		return err
	}
	for _, p := range profiles {
		if _, err := c.RemoveRoleFromInstanceProfile(ctx, &iamtypes.RemoveRoleFromInstanceProfileInput{InstanceProfileName: p.InstanceProfileName, RoleName: &name}); err != nil {
			return err
		}
	}
	return target{kind: roleKind, name: name}.strip(ctx, c)
}

// profilesOf returns the instance profiles that a role is in.
func profilesOf(ctx context.Context, c *client.Client, role string) (all []iamtypes.InstanceProfile, err error) {
	for page, err := range c.ListInstanceProfilesForRolePages(ctx, &iamtypes.ListInstanceProfilesForRoleInput{RoleName: &role}) {
		if err != nil {
			return nil, err
		}
		all = append(all, page.InstanceProfiles...)
	}
	return all, nil
}

// roleNames are the names of an instance profile's roles, of which there is one at most.
func roleNames(p iamtypes.InstanceProfile) string {
	var names []string
	for _, r := range p.Roles {
		names = append(names, ec2types.Value(r.RoleName))
	}
	return strings.Join(names, ",")
}
