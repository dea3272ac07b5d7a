package iam

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/client"
)

// NewAccessKeyCommand returns the command "access-key" with all its verbs.
func NewAccessKeyCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "access-key VERB",
		Aliases: []string{"access-keys"},
		Short:   "Manage access keys: what requests are signed with",
		Long: `Manage access keys, with which AWS's tools and SDKs sign their requests. A user, and
an account's root, can have two at a time: make the second, use it, delete the first.`,
	}
	cmd.AddCommand(NewCreateAccessKeyCommand(f, nil), newListAccessKeysCommand(f),
		newChangeKeysCommand(f, "enable", "Let access keys sign requests again", "", setStatus(iamtypes.StatusTypeActive)),
		newChangeKeysCommand(f, "disable", "Let access keys sign no more requests", "", setStatus(iamtypes.StatusTypeInactive)),
		newChangeKeysCommand(f, "delete", "Delete access keys", "rm", deleteKey))
	return cmd
}

// CreateAccessKeyOptions are the inputs of "access-key create".
type CreateAccessKeyOptions struct {
	Factory *factory.Factory
	User    string
	Profile string
}

// NewCreateAccessKeyCommand returns the command "access-key create".
func NewCreateAccessKeyCommand(f *factory.Factory, run func(context.Context, *CreateAccessKeyOptions) error) *cobra.Command {
	o := &CreateAccessKeyOptions{Factory: f}
	if run == nil {
		run = createAccessKey
	}
	cmd := &cobra.Command{
		Use:   "create [USER]",
		Short: "Make an access key and print it",
		Long: `Make an access key of a user, or of whom the command acts as, and print it in the
form of the file ~/.aws/credentials. Its secret is shown this once.`,
		Example:           `  bundt access-key create alice >> ~/.aws/credentials`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: complete.First(complete.Users(f)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.User = strings.Join(args, "")
			return failure.Wrap(run(cmd.Context(), o), "create access key of", cmp.Or(o.User, "the caller"))
		},
	}
	cmd.Flags().StringVar(&o.Profile, "profile", "", "`name` of the profile to print; default: the user's")
	return cmd
}

func createAccessKey(ctx context.Context, o *CreateAccessKeyOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	out, err := c.CreateAccessKey(ctx, &iamtypes.CreateAccessKeyInput{UserName: command.Given(o.User)})
	if err != nil {
		return err
	}
	k := out.AccessKey
	return output.Credentials(o.Factory.IO, cmp.Or(o.Profile, value(k.UserName), o.Factory.Account(), "bundt"), value(k.AccessKeyId), value(k.SecretAccessKey))
}

func newListAccessKeysCommand(f *factory.Factory) *cobra.Command {
	return command.List[usedKey]{
		What: "access keys", Use: "ls [USER]",
		Long: "List the access keys of a user, or of the account: of its root and of all its users.",
		Args: cobra.MaximumNArgs(1), Complete: complete.First(complete.Users(f)),
		All: usedKeys,
		ID:  func(k usedKey) string { return value(k.AccessKeyId) },
		Columns: func(s *command.Session) []output.Column[usedKey] {
			now := s.Factory.Now()
			return []output.Column[usedKey]{
				command.Text("KEY", func(k usedKey) *string { return k.AccessKeyId }),
				{Title: "USER", Text: func(k usedKey) string { return cmp.Or(value(k.UserName), "(root)") }},
				command.Text("STATUS", func(k usedKey) *string { return k.Status }),
				{Title: "LAST USED", Text: func(k usedKey) string { return lastUsed(now, k.LastUsed) }},
				command.Age(s, func(k usedKey) *time.Time { return k.CreateDate }),
			}
		},
	}.Command(f)
}

// usedKey is an access key and its last use.
type usedKey struct {
	iamtypes.AccessKeyMetadata
	LastUsed *iamtypes.AccessKeyLastUsed
}

// usedKeys returns the access keys of the user that the first argument names, or of all.
func usedKeys(ctx context.Context, s *command.Session, args []string) (keys []usedKey, err error) {
	owners := []*string{nil} // the root
	if len(args) > 0 {
		owners[0] = &args[0]
	} else {
		all, err := users(ctx, s.Client)
		if err != nil {
			return nil, err
		}
		for _, u := range all {
			owners = append(owners, u.UserName)
		}
	}
	for _, owner := range owners {
		found, err := accessKeys(ctx, s.Client, owner)
		if err != nil {
			return nil, err
		}
		for _, k := range found {
			used, err := s.GetAccessKeyLastUsed(ctx, &iamtypes.GetAccessKeyLastUsedInput{AccessKeyId: k.AccessKeyId})
			if err != nil {
				return nil, err
			}
			keys = append(keys, usedKey{k, used.AccessKeyLastUsed})
		}
	}
	return keys, nil
}

func lastUsed(now time.Time, use *iamtypes.AccessKeyLastUsed) string {
	if use == nil || use.LastUsedDate == nil {
		return "never"
	}
	return fmt.Sprintf("%s ago, %s", output.Age(now, *use.LastUsedDate), value(use.ServiceName))
}

// accessKeys returns the access keys of a user, or of the caller for nil.
func accessKeys(ctx context.Context, c *client.Client, user *string) (all []iamtypes.AccessKeyMetadata, err error) {
	for page, err := range c.ListAccessKeysPages(ctx, &iamtypes.ListAccessKeysInput{UserName: user}) {
		if err != nil {
			return nil, err
		}
		all = append(all, page.AccessKeyMetadata...)
	}
	return all, nil
}

// ChangeKeysOptions are the inputs of the verbs that change access keys.
type ChangeKeysOptions struct {
	Factory *factory.Factory
	IDs     []string
}

// newChangeKeysCommand returns a command that does something to each access key.
func newChangeKeysCommand(f *factory.Factory, verb, short, alias string, do func(ctx context.Context, c *client.Client, user, id *string) error) *cobra.Command {
	o := &ChangeKeysOptions{Factory: f}
	cmd := &cobra.Command{
		Use:               verb + " KEY…",
		Short:             short,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: complete.AccessKeys(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.IDs = args
			return failure.Wrap(changeKeys(cmd.Context(), o, do), verb+" access key", strings.Join(args, ", "))
		},
	}
	if alias != "" {
		cmd.Aliases = []string{alias}
	}
	return cmd
}

func changeKeys(ctx context.Context, o *ChangeKeysOptions, do func(ctx context.Context, c *client.Client, user, id *string) error) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	for _, id := range o.IDs {
		owner, err := c.GetAccessKeyLastUsed(ctx, &iamtypes.GetAccessKeyLastUsedInput{AccessKeyId: &id})
		if err != nil {
			return failure.WithHint(err, "bundt access-key ls shows the access keys there are")
		}
		if err := do(ctx, c, owner.UserName, &id); err != nil {
			return err
		}
		fmt.Fprintln(o.Factory.IO.Out, id)
	}
	return nil
}

func setStatus(status string) func(context.Context, *client.Client, *string, *string) error {
	return func(ctx context.Context, c *client.Client, user, id *string) error {
		_, err := c.UpdateAccessKey(ctx, &iamtypes.UpdateAccessKeyInput{UserName: user, AccessKeyId: id, Status: &status})
		return err
	}
}

func deleteKey(ctx context.Context, c *client.Client, user, id *string) error {
	_, err := c.DeleteAccessKey(ctx, &iamtypes.DeleteAccessKeyInput{UserName: user, AccessKeyId: id})
	return err
}
