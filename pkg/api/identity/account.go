package identity

import (
	"context"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/iamtypes"
)

func (a *Actions) registerAccount(t *api.Table) {
	add(t, "CreateAccountAlias", do[iamtypes.CreateAccountAliasInput, iamtypes.CreateAccountAliasOutput](func(ctx context.Context, account string, in *iamtypes.CreateAccountAliasInput) error {
		return a.directory.SetAlias(ctx, account, value(in.AccountAlias))
	}), "AccountAlias")
	add(t, "DeleteAccountAlias", do[iamtypes.DeleteAccountAliasInput, iamtypes.DeleteAccountAliasOutput](func(ctx context.Context, account string, in *iamtypes.DeleteAccountAliasInput) error {
		return a.directory.DeleteAlias(ctx, account, value(in.AccountAlias))
	}), "AccountAlias")
	add(t, "ListAccountAliases", a.listAliases, "Marker", "MaxItems")
	add(t, "GetAccountSummary", a.getAccountSummary)
}

func (a *Actions) listAliases(ctx context.Context, in *iamtypes.ListAccountAliasesInput) (*iamtypes.ListAccountAliasesOutput, error) {
	account, err := a.directory.Account(ctx, caller(ctx).AccountID)
	if err != nil {
		return nil, err
	}
	var all []string
	if account.Alias != "" {
		all = []string{account.Alias}
	}
	part, truncated, marker, err := page(a, listing{"ListAccountAliases", in.Marker, in.MaxItems, nil}, all, itself)
	return &iamtypes.ListAccountAliasesOutput{AccountAliases: part, IsTruncated: truncated, Marker: marker}, err
}

func (a *Actions) getAccountSummary(ctx context.Context, _ *iamtypes.GetAccountSummaryInput) (*iamtypes.GetAccountSummaryOutput, error) {
	s, err := a.directory.Summary(ctx, caller(ctx).AccountID)
	return &iamtypes.GetAccountSummaryOutput{SummaryMap: s}, err
}
