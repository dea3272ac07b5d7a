package bundttypes

import "time"

// The headers that say who a call over the unix socket is made as, which is the
// admin account's root if neither is there. Elsewhere the signature says it.
const (
	AccountHeader = "X-Bundt-Account" // id or name
	UserHeader    = "X-Bundt-User"    // name of one of the account's users
)

// AccountQuota bounds what an account may have at a time.
type AccountQuota struct {
	Name  *string `json:"Name,omitempty" query:"Name" xml:"name" required:"true"` // model.Quota
	Value *int64  `json:"Value,omitempty" query:"Value" xml:"value" required:"true"`
}

// Account is an owner of objects.
type Account struct {
	AccountId string         `json:"AccountId" xml:"accountId"`
	Alias     string         `json:"Alias,omitempty" xml:"alias,omitempty"`
	CreatedAt time.Time      `json:"CreatedAt" xml:"createdAt"`
	Name      string         `json:"Name" xml:"name"`
	Quotas    []AccountQuota `json:"Quotas,omitzero" xml:"quotaSet>item"` // what is not listed is not bounded
}

// CreateAccountInput is the request of CreateAccount.
type CreateAccountInput struct {
	Name   *string        `json:"Name,omitempty" query:"Name" required:"true"`
	Quotas []AccountQuota `json:"Quotas,omitzero" query:"Quota"`
}

// CreateAccountOutput is the response of CreateAccount: the account with an access
// key of its root, whose secret is told this once.
type CreateAccountOutput struct {
	AccessKeyId     string  `json:"AccessKeyId" xml:"accessKeyId"`
	Account         Account `json:"Account" xml:"account"`
	SecretAccessKey string  `json:"SecretAccessKey" xml:"secretAccessKey" sensitive:"true"`
}

// DescribeAccountsInput is the request of DescribeAccounts.
type DescribeAccountsInput struct {
	Accounts []string `json:"Accounts,omitzero" query:"Account"` // ids or names; all if there are none
}

// DescribeAccountsOutput is the response of DescribeAccounts, by age.
type DescribeAccountsOutput struct {
	Accounts []Account `json:"Accounts,omitzero" xml:"accountSet>item"`
}

// DeleteAccountInput is the request of DeleteAccount.
type DeleteAccountInput struct {
	Account *string `json:"Account,omitempty" query:"Account" required:"true"` // id or name
}

// DeleteAccountOutput is the response of DeleteAccount.
type DeleteAccountOutput struct{}

// ModifyAccountQuotasInput is the request of ModifyAccountQuotas. Quotas that it
// does not name stay.
type ModifyAccountQuotasInput struct {
	Account *string        `json:"Account,omitempty" query:"Account" required:"true"` // id or name
	Quotas  []AccountQuota `json:"Quotas,omitzero" query:"Quota"`
	Remove  []string       `json:"Remove,omitzero" query:"Remove"` // names of quotas that no longer bound
}

// ModifyAccountQuotasOutput is the response of ModifyAccountQuotas.
type ModifyAccountQuotasOutput struct {
	Account Account `json:"Account" xml:"account"`
}
