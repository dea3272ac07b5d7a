// Package iam owns the commands on an account's users, access keys and policies,
// which are IAM's. It may import pkg/client, the API's types, pkg/model and its
// neighbours under pkg/cli only.
package iam

import (
	"context"
	"fmt"
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

func value(p *string) string { return ec2types.Value(p) }

// NewUserCommand returns the command "user" with all its verbs.
func NewUserCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "user VERB",
		Aliases: []string{"users"},
		Short:   "Manage users: who works in an account",
		Long: `Manage the users of an account. A user may do what policies allow, which bundt
policy attaches, and signs requests with access keys, which bundt access-key makes.`,
	}
	cmd.AddCommand(NewCreateUserCommand(f, nil), newListUsersCommand(f), newShowUserCommand(f), NewDeleteUserCommand(f, nil))
	return cmd
}

// CreateUserOptions are the inputs of "user create".
type CreateUserOptions struct {
	Factory *factory.Factory
	Name    string
	Path    string
	Tags    []string
}

// NewCreateUserCommand returns the command "user create".
func NewCreateUserCommand(f *factory.Factory, run func(context.Context, *CreateUserOptions) error) *cobra.Command {
	o := &CreateUserOptions{Factory: f}
	if run == nil {
		run = createUser
	}
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a user, who may do nothing yet",
		Long:  "Make a user, who may do nothing yet, and print the user's ARN.",
		Example: `  bundt user create alice
  bundt policy attach ReadOnlyAccess alice
  bundt access-key create alice >> ~/.aws/credentials`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return failure.Wrap(run(cmd.Context(), o), "create user", o.Name)
		},
	}
	cmd.Flags().StringVar(&o.Path, "path", "", "`path` of the user's ARN, like /team/; default: /")
	cmd.Flags().StringArrayVar(&o.Tags, "tag", nil, "tag `KEY=VALUE` of the user; may be repeated")
	return cmd
}

func createUser(ctx context.Context, o *CreateUserOptions) error {
	in := &iamtypes.CreateUserInput{UserName: &o.Name}
	if o.Path != "" {
		in.Path = &o.Path
	}
	var err error
	if in.Tags, err = parseTags(o.Tags); err != nil {
		return err
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	out, err := c.CreateUser(ctx, in)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(o.Factory.IO.Out, value(out.User.Arn))
	return err
}

func newListUsersCommand(f *factory.Factory) *cobra.Command {
	type user = iamtypes.User
	return command.List[user]{
		What: "the account's users", Empty: "no users; bundt user create makes one",
		All: func(ctx context.Context, s *command.Session, _ []string) ([]user, error) { return users(ctx, s.Client) },
		ID:  func(u user) string { return value(u.UserName) },
		Columns: func(s *command.Session) []output.Column[user] {
			return []output.Column[user]{
				command.Text("NAME", func(u user) *string { return u.UserName }),
				command.Text("USER", func(u user) *string { return u.UserId }),
				command.Text("PATH", func(u user) *string { return u.Path }),
				command.Age(s, func(u user) *time.Time { return u.CreateDate }),
				command.Wide(command.Text("ARN", func(u user) *string { return u.Arn })),
			}
		},
	}.Command(f)
}

// users returns the account's users, by name.
func users(ctx context.Context, c *client.Client) (all []iamtypes.User, err error) {
	for page, err := range c.ListUsersPages(ctx, nil) {
		if err != nil {
			return nil, err
		}
		all = append(all, page.Users...)
	}
	return all, nil
}

func newShowUserCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "show NAME", Short: "Print a user with its policies and access keys", Object: "user", Args: cobra.ExactArgs(1),
		Complete: complete.First(complete.Users(f)), Shows: true, Run: showUser,
	}.Command(f)
}

// shownUser is what "user show" prints.
type shownUser struct {
	User             *iamtypes.User
	AttachedPolicies []iamtypes.AttachedPolicy
	InlinePolicies   []string
	AccessKeys       []iamtypes.AccessKeyMetadata
}

func showUser(ctx context.Context, s *command.Session, args []string) error {
	got, err := s.GetUser(ctx, &iamtypes.GetUserInput{UserName: &args[0]})
	if err != nil {
		return err
	}
	t := target{kind: userKind, name: args[0]}
	shown := shownUser{User: got.User}
	if shown.AttachedPolicies, err = t.attached(ctx, s.Client); err != nil {
		return err
	}
	if shown.InlinePolicies, err = t.inline(ctx, s.Client); err != nil {
		return err
	}
	if shown.AccessKeys, err = accessKeys(ctx, s.Client, &args[0]); err != nil {
		return err
	}
	return output.One(s.Factory.IO, &s.Output, args[0], shown)
}

// DeleteUserOptions are the inputs of "user delete".
type DeleteUserOptions struct {
	Factory *factory.Factory
	Names   []string
	Force   bool
}

// NewDeleteUserCommand returns the command "user delete".
func NewDeleteUserCommand(f *factory.Factory, run func(context.Context, *DeleteUserOptions) error) *cobra.Command {
	o := &DeleteUserOptions{Factory: f}
	if run == nil {
		run = deleteUsers
	}
	cmd := &cobra.Command{
		Use:     "delete NAME…",
		Aliases: []string{"rm"},
		Short:   "Delete users",
		Long: `Delete users who have no access keys and no policies; with --force, their access
keys and inline policies too, and detach their managed policies.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: complete.Users(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Names = args
			return failure.Wrap(run(cmd.Context(), o), "delete user", strings.Join(args, ", "))
		},
	}
	cmd.Flags().BoolVar(&o.Force, "force", false, "delete their access keys and inline policies, and detach the others")
	return cmd
}

func deleteUsers(ctx context.Context, o *DeleteUserOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	for _, name := range o.Names {
		if o.Force {
			if err := strip(ctx, c, name); err != nil {
				return err
			}
		}
		if _, err := c.DeleteUser(ctx, &iamtypes.DeleteUserInput{UserName: &name}); err != nil {
			return failure.WithHint(err, "bundt user delete --force %s takes its access keys and policies away first", name)
		}
		fmt.Fprintln(o.Factory.IO.Out, name)
	}
	return nil
}

// strip takes a user's access keys and policies away.
func strip(ctx context.Context, c *client.Client, name string) error {
	keys, err := accessKeys(ctx, c, &name)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if _, err := c.DeleteAccessKey(ctx, &iamtypes.DeleteAccessKeyInput{UserName: &name, AccessKeyId: k.AccessKeyId}); err != nil {
			return err
		}
	}
	return target{kind: userKind, name: name}.strip(ctx, c)
}
