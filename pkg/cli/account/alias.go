package account

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
)

func newAliasCommand(f *factory.Factory) *cobra.Command {
	remove := false
	return command.Verb{
		Use: "alias [ALIAS]", Short: "Print, give or take the account's alias", Object: "account's alias", Args: cobra.MaximumNArgs(1), NoDryRun: true,
		Long: `Print the alias of the account that the command acts in; with ALIAS, give it this one,
in place of another if it has one; with --delete, take it away. Aliases are IAM's: of
small letters, digits and hyphens, and no two accounts have the same.`,
		Example: `  bundt account alias cakes
  bundt --account dev account alias --delete`,
		Flags: func(cmd *cobra.Command) { cmd.Flags().BoolVar(&remove, "delete", false, "take the alias away") },
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			if len(args) > 0 {
				if remove {
					return failure.Usagef("--delete takes away the alias that there is: name none")
				}
				_, err := s.CreateAccountAlias(ctx, &iamtypes.CreateAccountAliasInput{AccountAlias: &args[0]})
				return err
			}
			out, err := s.ListAccountAliases(ctx, &iamtypes.ListAccountAliasesInput{})
			if err != nil {
				return err
			}
			if !remove {
				return s.Print(out.AccountAliases...)
			}
			if len(out.AccountAliases) == 0 {
				return failure.NotFoundf("the account has no alias")
			}
			_, err = s.DeleteAccountAlias(ctx, &iamtypes.DeleteAccountAliasInput{AccountAlias: &out.AccountAliases[0]})
			return err
		},
	}.Command(f)
}
