// Package account owns the commands on accounts. It may
// import pkg/client, the API's types, pkg/model and its neighbours under pkg/cli only.
package account

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/model"
)

// NewCommand returns the command "account" with all its verbs.
func NewCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "account VERB",
		Aliases: []string{"accounts"},
		Short:   "Manage accounts: who owns what, and how much of it",
		Long: `Manage accounts. What an account owns does not exist for the others. The admin
account, which the first start of the daemon makes, manages them.`,
	}
	cmd.AddCommand(NewCreateCommand(f, nil), newListCommand(f), NewQuotaCommand(f, nil), newAliasCommand(f), NewDeleteCommand(f, nil))
	return cmd
}

// CreateOptions are the inputs of "account create".
type CreateOptions struct {
	Factory *factory.Factory
	Name    string
	Quotas  []string
}

// NewCreateCommand returns the command "account create".
func NewCreateCommand(f *factory.Factory, run func(context.Context, *CreateOptions) error) *cobra.Command {
	o := &CreateOptions{Factory: f}
	if run == nil {
		run = create
	}
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an account with its first access key",
		Long: `Make an account, and print the access key of its root in the form of the file
~/.aws/credentials, as a profile of the account's name. Its secret is shown this once.`,
		Example:           `  bundt account create dev --quota instances=5 --quota vcpus=8 >> ~/.aws/credentials`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return failure.Wrap(run(cmd.Context(), o), "create account", o.Name)
		},
	}
	cmd.Flags().StringArrayVar(&o.Quotas, "quota", nil, "bound what it may have, `NAME=NUMBER`; may be repeated")
	return cmd
}

func create(ctx context.Context, o *CreateOptions) error {
	set, remove, err := parseQuotas(o.Quotas)
	if err != nil {
		return err
	}
	if len(remove) > 0 {
		return failure.Usagef("a new account has no quota %s that could be taken away", remove[0])
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	out, err := c.CreateAccount(ctx, &bundttypes.CreateAccountInput{Name: &o.Name, Quotas: set})
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Factory.IO.Err, "account %s, %s\n", out.Account.AccountId, out.Account.Name)
	return output.Credentials(o.Factory.IO, o.Name, out.AccessKeyId, out.SecretAccessKey)
}

// parseQuotas takes "vcpus=8" and "vcpus=unlimited" apart.
func parseQuotas(texts []string) (set []bundttypes.AccountQuota, remove []string, err error) {
	for _, text := range texts {
		name, number, ok := strings.Cut(text, "=")
		if !ok || !slices.Contains(model.AllQuotas, model.Quota(name)) {
			return nil, nil, failure.Usagef("%q is no quota: NAME=NUMBER or NAME=unlimited, where NAME is one of %v", text, model.AllQuotas)
		}
		if number == "unlimited" {
			remove = append(remove, name)
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 0 {
			return nil, nil, failure.Usagef("the quota %s must be a number or unlimited, not %q", name, number)
		}
		set = append(set, bundttypes.AccountQuota{Name: &name, Value: &n})
	}
	return set, remove, nil
}

func newListCommand(f *factory.Factory) *cobra.Command {
	type account = bundttypes.Account
	return command.List[account]{
		What: "accounts", Use: "ls [ACCOUNT…]", Aliases: []string{"show"}, Short: "List accounts with their quotas",
		Args: cobra.ArbitraryArgs, Complete: complete.Accounts(f),
		All: func(ctx context.Context, s *command.Session, args []string) ([]account, error) {
			out, err := s.DescribeAccounts(ctx, &bundttypes.DescribeAccountsInput{Accounts: args})
			if err != nil {
				return nil, err
			}
			return out.Accounts, nil
		},
		ID: func(a account) string { return a.AccountId },
		Columns: func(s *command.Session) []output.Column[account] {
			return []output.Column[account]{
				{Title: "NAME", Text: func(a account) string { return a.Name }},
				{Title: "ACCOUNT", Text: func(a account) string { return a.AccountId }},
				{Title: "QUOTAS", Text: func(a account) string { return cmp.Or(showQuotas(a.Quotas), "unlimited") }},
				command.Age(s, func(a account) *time.Time { return &a.CreatedAt }),
				{Title: "ALIAS", Wide: true, Text: func(a account) string { return a.Alias }},
			}
		},
	}.Command(f)
}

func showQuotas(quotas []bundttypes.AccountQuota) string {
	texts := make([]string, len(quotas))
	for i, q := range quotas {
		texts[i] = fmt.Sprintf("%s=%d", *q.Name, *q.Value)
	}
	return strings.Join(texts, " ")
}

// QuotaOptions are the inputs of "account quota".
type QuotaOptions struct {
	Factory *factory.Factory
	Account string
	Quotas  []string
}

// NewQuotaCommand returns the command "account quota".
func NewQuotaCommand(f *factory.Factory, run func(context.Context, *QuotaOptions) error) *cobra.Command {
	o := &QuotaOptions{Factory: f}
	if run == nil {
		run = quota
	}
	return &cobra.Command{
		Use:   "quota ACCOUNT NAME=NUMBER…",
		Short: "Bound what an account may have",
		Long: `Bound what an account may have at a time. NUMBER may be "unlimited". What it has
already stays. The quotas: instances (not terminated), vcpus and memory (in MiB, of
those that run), volumes, volume-gib (of all volumes together), snapshots, images,
key-pairs.`,
		Example:           `  bundt account quota dev instances=5 vcpus=unlimited`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: complete.First(complete.Accounts(f)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Account, o.Quotas = args[0], args[1:]
			return failure.Wrap(run(cmd.Context(), o), "change quotas of", o.Account)
		},
	}
}

func quota(ctx context.Context, o *QuotaOptions) error {
	set, remove, err := parseQuotas(o.Quotas)
	if err != nil {
		return err
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	out, err := c.ModifyAccountQuotas(ctx, &bundttypes.ModifyAccountQuotasInput{Account: &o.Account, Quotas: set, Remove: remove})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(o.Factory.IO.Out, cmp.Or(showQuotas(out.Account.Quotas), "unlimited"))
	return err
}

// DeleteOptions are the inputs of "account delete".
type DeleteOptions struct {
	Factory *factory.Factory
	Account string
}

// NewDeleteCommand returns the command "account delete".
func NewDeleteCommand(f *factory.Factory, run func(context.Context, *DeleteOptions) error) *cobra.Command {
	o := &DeleteOptions{Factory: f}
	if run == nil {
		run = remove
	}
	return &cobra.Command{
		Use:               "delete ACCOUNT",
		Aliases:           []string{"rm"},
		Short:             "Delete an account that owns nothing, with its users and access keys",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: complete.First(complete.Accounts(f)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Account = args[0]
			return failure.Wrap(run(cmd.Context(), o), "delete account", o.Account)
		},
	}
}

func remove(ctx context.Context, o *DeleteOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	_, err = c.DeleteAccount(ctx, &bundttypes.DeleteAccountInput{Account: &o.Account})
	return err
}
