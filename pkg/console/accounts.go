package console

import (
	"context"
	"fmt"
	"net/http"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/iamtypes"
)

func (c *Console) accountRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Path+"account", c.page(accountPage))
	mux.HandleFunc("GET "+Path+"host", c.page(hostPage))
}

// accountPage shows the account, and all of them to those who may see them.
func accountPage(ctx context.Context, r *request) (*view, error) {
	d := detail{Kind: "Account", Parent: button{Text: "Overview", Action: Path}, ID: r.Account(), Name: "Signed in as " + r.Who()}
	d.Facts = []fact{{"Account", cell{Kind: codeText, Text: r.Account()}}, {"You are", cell{Kind: codeText, Text: r.who.Identity.ARN()}}}
	users, err := call[iamtypes.ListUsersOutput](ctx, r, "ListUsers", &iamtypes.ListUsersInput{})
	if err == nil {
		d.Tables = append(d.Tables, usersTable(users.Users))
	}
	accounts, err := call[bundttypes.DescribeAccountsOutput](ctx, r, "DescribeAccounts", &bundttypes.DescribeAccountsInput{})
	if err == nil {
		t := table{ID: "accounts", Title: "Accounts of this cloud", Columns: []column{{Title: "Name"}, {Title: "Account"}, {Title: "Quotas", Wide: true}, {Title: "Made", Wide: true}}, Help: "Accounts see nothing of each other but what they share."}
		t.Forms = []form{{Title: "Create account", Action: Path + "accounts/create", Submit: "Create and download its key", Help: "The access key of the account's root is downloaded now; its secret cannot be had again.", Fields: []field{{Name: "name", Label: "Name", Required: true}}}}
		for _, a := range accounts.Accounts {
			var quotas cell
			for _, q := range a.Quotas {
				quotas.More = append(quotas.More, cell{Text: fmt.Sprintf("%s %d", ec2types.Value(q.Name), ec2types.Value(q.Value))})
			}
			t.Rows = append(t.Rows, row{Cells: []cell{{Text: a.Name}, {Kind: codeText, Text: a.AccountId}, quotas, when(&a.CreatedAt)}})
		}
		d.Tables = append(d.Tables, t)
	}
	return &view{Title: "Account", Section: "account", Template: "detail", Main: d}, nil
}

// hostPage shows what the daemon says of its host.
func hostPage(ctx context.Context, r *request) (*view, error) {
	out, err := call[bundttypes.DescribeHostOutput](ctx, r, "DescribeHost", &bundttypes.DescribeHostInput{})
	if err != nil {
		return nil, err
	}
	return &view{Title: "Host", Section: "host", Template: "host", Main: out}, nil
}
