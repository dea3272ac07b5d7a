package complete

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/client"
)

// Accounts completes the names of accounts.
func Accounts(f *factory.Factory) cobra.CompletionFunc {
	return from(f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		out, err := c.DescribeAccounts(ctx, &bundttypes.DescribeAccountsInput{})
		if err != nil {
			return nil, err
		}
		var found []cobra.Completion
		for _, a := range out.Accounts {
			found = append(found, cobra.CompletionWithDesc(a.Name, a.AccountId))
		}
		return found, nil
	})
}

// Users completes the names of the account's users.
func Users(f *factory.Factory) cobra.CompletionFunc {
	return from(f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		var found []cobra.Completion
		for page, err := range c.ListUsersPages(ctx, nil) {
			if err != nil {
				return found, err
			}
			for _, u := range page.Users {
				found = append(found, cobra.CompletionWithDesc(ec2types.Value(u.UserName), ec2types.Value(u.Arn)))
			}
		}
		return found, nil
	})
}

// Policies completes the names of managed policies: the account's own, or all
// that it can use.
func Policies(f *factory.Factory, scope string) cobra.CompletionFunc {
	return from(f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		var found []cobra.Completion
		for page, err := range c.ListPoliciesPages(ctx, &iamtypes.ListPoliciesInput{Scope: &scope}) {
			if err != nil {
				return found, err
			}
			for _, p := range page.Policies {
				found = append(found, cobra.CompletionWithDesc(ec2types.Value(p.PolicyName), ec2types.Value(p.Arn)))
			}
		}
		return found, nil
	})
}

// AccessKeys completes the ids of the root's and all users' access keys.
func AccessKeys(f *factory.Factory) cobra.CompletionFunc {
	return from(f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		var found []cobra.Completion
		add := func(user *string) error {
			out, err := c.ListAccessKeys(ctx, &iamtypes.ListAccessKeysInput{UserName: user})
			if err != nil {
				return err
			}
			for _, k := range out.AccessKeyMetadata {
				found = append(found, cobra.CompletionWithDesc(ec2types.Value(k.AccessKeyId), ec2types.Value(k.UserName)+" "+ec2types.Value(k.Status)))
			}
			return nil
		}
		if err := add(nil); err != nil {
			return nil, err
		}
		for page, err := range c.ListUsersPages(ctx, nil) {
			if err != nil {
				return found, err
			}
			for _, u := range page.Users {
				if err := add(u.UserName); err != nil {
					return found, err
				}
			}
		}
		return found, nil
	})
}

// Each completes each argument in its own way, and none after the last.
func Each(completions ...cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(completions) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return completions[len(args)](cmd, args, toComplete)
	}
}

// PrincipalARNs completes the ARNs of the account's users and roles.
func PrincipalARNs(f *factory.Factory) cobra.CompletionFunc {
	return from(f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		var found []cobra.Completion
		for page, err := range c.ListUsersPages(ctx, nil) {
			if err != nil {
				return found, err
			}
			for _, u := range page.Users {
				found = append(found, ec2types.Value(u.Arn))
			}
		}
		for page, err := range c.ListRolesPages(ctx, nil) {
			if err != nil {
				return found, err
			}
			for _, r := range page.Roles {
				found = append(found, ec2types.Value(r.Arn))
			}
		}
		return found, nil
	})
}

// Roles completes the names of the account's roles.
func Roles(f *factory.Factory) cobra.CompletionFunc { return from(f, roles("")) }

// Targets completes whom policies are of: users, and roles as role/NAME.
func Targets(f *factory.Factory) cobra.CompletionFunc {
	users, roles := Users(f), from(f, roles("role/"))
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		found, directive := users(cmd, args, toComplete)
		more, _ := roles(cmd, args, toComplete)
		return append(found, more...), directive
	}
}

func roles(prefix string) lookup {
	return func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		var found []cobra.Completion
		for page, err := range c.ListRolesPages(ctx, nil) {
			if err != nil {
				return found, err
			}
			for _, r := range page.Roles {
				found = append(found, cobra.CompletionWithDesc(prefix+ec2types.Value(r.RoleName), ec2types.Value(r.Arn)))
			}
		}
		return found, nil
	}
}

// InstanceProfiles completes the names of the account's instance profiles.
func InstanceProfiles(f *factory.Factory) cobra.CompletionFunc {
	return from(f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		var found []cobra.Completion
		for page, err := range c.ListInstanceProfilesPages(ctx, nil) {
			if err != nil {
				return found, err
			}
			for _, p := range page.InstanceProfiles {
				found = append(found, cobra.CompletionWithDesc(ec2types.Value(p.InstanceProfileName), ec2types.Value(p.Arn)))
			}
		}
		return found, nil
	})
}
