package identity

import (
	"context"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/model"
)

// RegisterAccounts adds bundt's own actions on accounts to a table.
func (a *Actions) RegisterAccounts(t *api.Table, release auth.Release) {
	add(t, "CreateAccount", a.createAccount, "Name", "Quotas")
	add(t, "DescribeAccounts", a.describeAccounts, "Accounts")
	add(t, "ModifyAccountQuotas", a.modifyAccountQuotas, "Account", "Quotas", "Remove")
	add(t, "DeleteAccount", func(ctx context.Context, in *bundttypes.DeleteAccountInput) (*bundttypes.DeleteAccountOutput, error) {
		return nil, a.directory.DeleteAccount(ctx, value(in.Account), release)
	}, "Account")
}

func accountShape(a *model.Account) bundttypes.Account {
	out := bundttypes.Account{AccountId: a.ID, Alias: a.Alias, CreatedAt: a.Created, Name: a.Name}
	for q, n := range a.Quotas {
		out.Quotas = append(out.Quotas, bundttypes.AccountQuota{Name: new(string(q)), Value: &n})
	}
	slices.SortFunc(out.Quotas, func(x, y bundttypes.AccountQuota) int { return strings.Compare(*x.Name, *y.Name) })
	return out
}

func quotasFrom(quotas []bundttypes.AccountQuota) (map[model.Quota]int64, error) {
	out := map[model.Quota]int64{}
	for _, q := range quotas {
		name := model.Quota(value(q.Name))
		if _, twice := out[name]; twice {
			return nil, model.Errorf(auth.CodeValidationError, "The quota %s is given twice", name)
		}
		out[name] = value(q.Value)
	}
	return out, nil
}

func (a *Actions) createAccount(ctx context.Context, in *bundttypes.CreateAccountInput) (*bundttypes.CreateAccountOutput, error) {
	quotas, err := quotasFrom(in.Quotas)
	if err != nil {
		return nil, err
	}
	account, key, secret, err := a.directory.CreateAccount(ctx, value(in.Name), quotas)
	return &bundttypes.CreateAccountOutput{Account: accountShape(&account), AccessKeyId: key.ID, SecretAccessKey: secret}, err
}

// describeAccounts shows the admin account all accounts, others themselves.
func (a *Actions) describeAccounts(ctx context.Context, in *bundttypes.DescribeAccountsInput) (*bundttypes.DescribeAccountsOutput, error) {
	all, err := a.directory.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	if id := caller(ctx).AccountID; id != a.directory.AdminAccount() {
		all = slices.DeleteFunc(all, func(a model.Account) bool { return a.ID != id })
	}
	out := &bundttypes.DescribeAccountsOutput{}
	for _, ref := range in.Accounts {
		if !slices.ContainsFunc(all, func(a model.Account) bool { return a.ID == ref || a.Name == ref }) {
			return nil, model.Errorf(auth.CodeNoSuchEntity, "The account %s does not exist", ref).WithHint("bundt account ls shows the accounts there are")
		}
	}
	for i := range all {
		if len(in.Accounts) == 0 || slices.Contains(in.Accounts, all[i].ID) || slices.Contains(in.Accounts, all[i].Name) {
			out.Accounts = append(out.Accounts, accountShape(&all[i]))
		}
	}
	return out, nil
}

func (a *Actions) modifyAccountQuotas(ctx context.Context, in *bundttypes.ModifyAccountQuotasInput) (*bundttypes.ModifyAccountQuotasOutput, error) {
	set, err := quotasFrom(in.Quotas)
	if err != nil {
		return nil, err
	}
	unset := make([]model.Quota, len(in.Remove))
	for i, q := range in.Remove {
		unset[i] = model.Quota(q)
	}
	account, err := a.directory.SetQuotas(ctx, value(in.Account), set, unset)
	return &bundttypes.ModifyAccountQuotasOutput{Account: accountShape(&account)}, err
}
