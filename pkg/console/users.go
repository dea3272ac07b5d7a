package console

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/iamtypes"
)

func (c *Console) userRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Path+"users/{name}", c.page(userPage))
	mux.HandleFunc("POST "+Path+"users/create", c.do(createUser))
	mux.HandleFunc("POST "+Path+"users/delete", c.do(deleteUser))
	mux.HandleFunc("POST "+Path+"users/attach", c.do(attachPolicy))
	mux.HandleFunc("POST "+Path+"users/detach", c.do(detachPolicy))
	mux.HandleFunc("POST "+Path+"users/keys/create", c.do(createAccessKey))
	mux.HandleFunc("POST "+Path+"users/keys/status", c.do(setAccessKey))
	mux.HandleFunc("POST "+Path+"users/keys/delete", c.do(deleteAccessKey))
	mux.HandleFunc("POST "+Path+"accounts/create", c.do(createAccount))
}

// userOf is the page of a user.
func userOf(name string) string { return Path + "users/" + url.PathEscape(name) }

const policyARN = "arn:aws:iam::aws:policy/"

// roles are what a new user may do, by the managed policies that every account has.
var roles = []option{
	{Value: policyARN + "ReadOnlyAccess", Text: "Read only: see everything that is no secret"},
	{Value: policyARN + "AmazonEC2FullAccess", Text: "User: run machines and bake images"},
	{Value: policyARN + "PowerUserAccess", Text: "Power user: everything but accounts, users and policies"},
	{Value: policyARN + "AdministratorAccess", Text: "Administrator: everything in this account"},
}

func usersTable(users []iamtypes.User) table {
	t := table{
		ID: "users", Title: "Users", Help: "A user signs in with an access key of their own, and may do what the policies say.",
		Columns: []column{{Title: "Name"}, {Title: "Id", Wide: true}, {Title: "Made", Wide: true}}, Empty: "No users but the account's root.",
		Forms: []form{{Title: "Create user", Action: Path + "users/create", Submit: "Create user", Fields: []field{
			{Name: "name", Label: "Name", Required: true, Help: "letters, digits and +=,.@_-"}, {Name: "policy", Label: "May", Type: "select", Options: roles},
		}}},
	}
	for _, u := range users {
		name := text(u.UserName)
		name.Href = userOf(name.Text)
		t.Rows = append(t.Rows, row{Cells: []cell{name, code(u.UserId), when(u.CreateDate)}})
	}
	return t
}

func userPage(ctx context.Context, r *request) (*view, error) {
	name := r.PathValue("name")
	out, err := call[iamtypes.GetUserOutput](ctx, r, "GetUser", &iamtypes.GetUserInput{UserName: &name})
	if err != nil {
		return nil, err
	}
	policies, err := userPolicies(ctx, r, name)
	if err != nil {
		return nil, err
	}
	keys, err := userKeys(ctx, r, name)
	if err != nil {
		return nil, err
	}
	d := detail{Kind: "User", Parent: button{Text: "Account", Action: Path + "account"}, ID: name, Tables: []table{policies, keys}}
	if u := out.User; u != nil {
		d.Facts = present(fact{"ARN", code(u.Arn)}, fact{"Id", code(u.UserId)}, fact{"Made", when(u.CreateDate)}, fact{"Signed in last", when(u.PasswordLastUsed)})
	}
	d.Buttons = []button{{Text: "Delete", Action: Path + "users/delete", Hidden: map[string]string{"user": name}, Danger: "The user's access keys stop working, and sessions end. What the user made stays."}}
	return &view{Title: name, Section: "account", Template: "detail", Main: d}, nil
}

func userPolicies(ctx context.Context, r *request, name string) (table, error) {
	t := table{
		ID: "user-policies", Title: "Policies", Columns: []column{{Title: "Policy"}, {Title: "ARN", Wide: true}}, Empty: "Without a policy the user may do nothing.",
		Forms: []form{{Title: "Attach policy", Action: Path + "users/attach?user=" + url.QueryEscape(name), Submit: "Attach", Fields: []field{{Name: "policy", Label: "May", Type: "select", Options: roles}}}},
	}
	attached, err := call[iamtypes.ListAttachedUserPoliciesOutput](ctx, r, "ListAttachedUserPolicies", &iamtypes.ListAttachedUserPoliciesInput{UserName: &name})
	if err != nil {
		return t, err
	}
	for _, p := range attached.AttachedPolicies {
		arn := code(p.PolicyArn)
		t.Rows = append(t.Rows, row{Cells: []cell{text(p.PolicyName), arn}, Buttons: []button{{Text: "Detach", Action: Path + "users/detach", Hidden: map[string]string{"user": name, "policy": arn.Text}}}})
	}
	own, err := call[iamtypes.ListUserPoliciesOutput](ctx, r, "ListUserPolicies", &iamtypes.ListUserPoliciesInput{UserName: &name})
	if err != nil {
		return t, err
	}
	for _, p := range own.PolicyNames {
		t.Rows = append(t.Rows, row{Cells: []cell{{Text: p}, {Kind: mutedText, Text: "the user's own"}}})
	}
	return t, nil
}

func userKeys(ctx context.Context, r *request, name string) (table, error) {
	t := table{
		ID: "user-keys", Title: "Access keys", Columns: []column{{Title: "Access key"}, {Title: "State"}, {Title: "Made", Wide: true}}, Empty: "Without an access key the user cannot sign in.",
		Forms: []form{{Title: "Create access key", Action: Path + "users/keys/create?user=" + url.QueryEscape(name), Submit: "Create and download", Help: "The secret is downloaded now, and cannot be had again."}},
	}
	out, err := call[iamtypes.ListAccessKeysOutput](ctx, r, "ListAccessKeys", &iamtypes.ListAccessKeysInput{UserName: &name})
	if err != nil {
		return t, err
	}
	for _, k := range out.AccessKeyMetadata {
		id, status := code(k.AccessKeyId), cell{Kind: stateText, Text: "active"}
		toggle := button{Text: "Deactivate", Action: Path + "users/keys/status", Hidden: map[string]string{"user": name, "key": id.Text, "status": iamtypes.StatusTypeInactive}}
		if k.Status == nil || *k.Status != iamtypes.StatusTypeActive {
			status.Text, toggle.Text = "inactive", "Activate"
			toggle.Hidden["status"] = iamtypes.StatusTypeActive
		}
		t.Rows = append(t.Rows, row{ID: id.Text, Cells: []cell{id, status, when(k.CreateDate)}, Buttons: []button{toggle, {Text: "Delete", Action: Path + "users/keys/delete", Hidden: map[string]string{"user": name, "key": id.Text}, Danger: "Programs that use the key get no more answers."}}})
	}
	return t, nil
}

func createUser(ctx context.Context, r *request) (next, done string, err error) {
	name := filled(r.FormValue("name"))
	if err := act(ctx, r, "CreateUser", &iamtypes.CreateUserInput{UserName: name}); err != nil {
		return "", "", err
	}
	return userOf(*name), "Create an access key for " + *name + " to sign in with", act(ctx, r, "AttachUserPolicy", &iamtypes.AttachUserPolicyInput{UserName: name, PolicyArn: filled(r.FormValue("policy"))})
}

// deleteUser takes what a user has away first: a user who has something is not deleted.
func deleteUser(ctx context.Context, r *request) (next, done string, err error) {
	name := r.FormValue("user")
	keys, err := call[iamtypes.ListAccessKeysOutput](ctx, r, "ListAccessKeys", &iamtypes.ListAccessKeysInput{UserName: &name})
	if err != nil {
		return "", "", err
	}
	for _, k := range keys.AccessKeyMetadata {
		if err := act(ctx, r, "DeleteAccessKey", &iamtypes.DeleteAccessKeyInput{UserName: &name, AccessKeyId: k.AccessKeyId}); err != nil {
			return "", "", err
		}
	}
	attached, err := call[iamtypes.ListAttachedUserPoliciesOutput](ctx, r, "ListAttachedUserPolicies", &iamtypes.ListAttachedUserPoliciesInput{UserName: &name})
	if err != nil {
		return "", "", err
	}
	for _, p := range attached.AttachedPolicies {
		if err := act(ctx, r, "DetachUserPolicy", &iamtypes.DetachUserPolicyInput{UserName: &name, PolicyArn: p.PolicyArn}); err != nil {
			return "", "", err
		}
	}
	own, err := call[iamtypes.ListUserPoliciesOutput](ctx, r, "ListUserPolicies", &iamtypes.ListUserPoliciesInput{UserName: &name})
	if err != nil {
		return "", "", err
	}
	for _, p := range own.PolicyNames {
		if err := act(ctx, r, "DeleteUserPolicy", &iamtypes.DeleteUserPolicyInput{UserName: &name, PolicyName: &p}); err != nil {
			return "", "", err
		}
	}
	return Path + "account", "Deleted " + name, act(ctx, r, "DeleteUser", &iamtypes.DeleteUserInput{UserName: &name})
}

func attachPolicy(ctx context.Context, r *request) (next, done string, err error) {
	return back(r), "", act(ctx, r, "AttachUserPolicy", &iamtypes.AttachUserPolicyInput{UserName: filled(r.FormValue("user")), PolicyArn: filled(r.FormValue("policy"))})
}

func detachPolicy(ctx context.Context, r *request) (next, done string, err error) {
	return back(r), "", act(ctx, r, "DetachUserPolicy", &iamtypes.DetachUserPolicyInput{UserName: filled(r.FormValue("user")), PolicyArn: filled(r.FormValue("policy"))})
}

func createAccessKey(ctx context.Context, r *request) (next, done string, err error) {
	name := filled(r.FormValue("user"))
	if name == nil {
		return "", "", missing("which user")
	}
	out, err := call[iamtypes.CreateAccessKeyOutput](ctx, r, "CreateAccessKey", &iamtypes.CreateAccessKeyInput{UserName: name})
	if err != nil {
		return "", "", err
	}
	return "", "", accessKeyFile(*name, *out.AccessKey.AccessKeyId, *out.AccessKey.SecretAccessKey)
}

// accessKeyFile is an access key as EC2's console hands it out.
func accessKeyFile(name, id, secret string) *download {
	return &download{name: fileName(name) + "_accessKeys.csv", content: []byte("Access key ID,Secret access key\r\n" + id + "," + secret + "\r\n")}
}

func setAccessKey(ctx context.Context, r *request) (next, done string, err error) {
	return back(r), "", act(ctx, r, "UpdateAccessKey", &iamtypes.UpdateAccessKeyInput{UserName: filled(r.FormValue("user")), AccessKeyId: filled(r.FormValue("key")), Status: filled(r.FormValue("status"))})
}

func deleteAccessKey(ctx context.Context, r *request) (next, done string, err error) {
	return back(r), "", act(ctx, r, "DeleteAccessKey", &iamtypes.DeleteAccessKeyInput{UserName: filled(r.FormValue("user")), AccessKeyId: filled(r.FormValue("key"))})
}

func createAccount(ctx context.Context, r *request) (next, done string, err error) {
	name := strings.TrimSpace(r.FormValue("name"))
	out, err := call[bundttypes.CreateAccountOutput](ctx, r, "CreateAccount", &bundttypes.CreateAccountInput{Name: &name})
	if err != nil {
		return "", "", err
	}
	return "", "", accessKeyFile(name, out.AccessKeyId, out.SecretAccessKey)
}
