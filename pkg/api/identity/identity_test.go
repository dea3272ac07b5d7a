package identity_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/authz"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/api/identity"
	"github.com/bundt/bundt/pkg/api/ststypes"
	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

const admin = "111122223333"

// world is the actions on identities behind the real dispatcher and authoriser.
type world struct {
	auth       *auth.Directory
	dispatcher *api.Dispatcher
	now        time.Time
	owns       string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	dir := t.TempDir()
	s, err := store.Open(t.Context(), store.Options{Dir: filepath.Join(dir, "etcd"), Logger: slog.New(slog.DiscardHandler)})
	check(t, err)
	t.Cleanup(func() { s.Close() })
	secret := bytes.Repeat([]byte{7}, 32)
	w.auth, err = auth.Open(t.Context(), auth.Options{Store: s, Dir: dir, Now: func() time.Time { return w.now }, Cloud: records.Cloud{AccountID: admin, Region: "test-1", Secret: secret}})
	check(t, err)
	table := api.NewTable()
	actions := identity.New(w.auth, secret)
	actions.RegisterIAM(table)
	actions.RegisterSTS(table)
	actions.RegisterAccounts(table, func(*store.Tx, string) (string, error) { return w.owns, nil })
	objects := func(context.Context, string, string) (cloud.Attributes, bool, error) {
		return cloud.Attributes{}, false, nil
	}
	w.dispatcher, err = api.NewDispatcher(table, api.Options{Authorize: authz.New(w.auth, objects).Authorize, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	check(t, err)
	return w
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// call makes a call; input is JSON.
func (w *world) call(t *testing.T, id model.Identity, action, input string) (any, error) {
	t.Helper()
	in, err := w.dispatcher.NewInput(action)
	check(t, err)
	check(t, json.Unmarshal([]byte(input), in))
	return w.dispatcher.Call(t.Context(), &api.Call{Action: action, Input: in, Principal: api.Principal{AccountID: id.AccountID, Identity: id}})
}

func must[O any](t *testing.T, w *world, id model.Identity, action, input string) *O {
	t.Helper()
	out, err := w.call(t, id, action, input)
	if err != nil {
		t.Fatalf("%s %s: %v", action, input, err)
	}
	if o, ok := out.(*O); ok {
		return o
	}
	return nil // whose output nobody wants: O is any
}

func (w *world) fails(t *testing.T, id model.Identity, action, input, code string) {
	t.Helper()
	if _, err := w.call(t, id, action, input); model.CodeOf(err) != code {
		t.Errorf("%s %s: %v, want %q", action, input, err, code)
	}
}

var root = model.Identity{AccountID: admin}

func quoted(text string) string {
	b, _ := json.Marshal(text)
	return string(b)
}

const readOnly = `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}}`

// user makes a user and returns the identity that signs as it.
func (w *world) user(t *testing.T, name string) model.Identity {
	t.Helper()
	must[iamtypes.CreateUserOutput](t, w, root, "CreateUser", `{"UserName": "`+name+`"}`)
	k := must[iamtypes.CreateAccessKeyOutput](t, w, root, "CreateAccessKey", `{"UserName": "`+name+`"}`)
	key, err := w.auth.Key(t.Context(), *k.AccessKey.AccessKeyId, "")
	check(t, err)
	if key.Secret != *k.AccessKey.SecretAccessKey {
		t.Fatal("another secret")
	}
	return key.Identity
}

func TestUsers(t *testing.T) {
	w := newWorld(t)
	u := must[iamtypes.CreateUserOutput](t, w, root, "CreateUser", `{"UserName": "alice", "Path": "/team/", "Tags": [{"Key": "a", "Value": "b"}]}`).User
	if *u.Arn != "arn:aws:iam::"+admin+":user/team/alice" || !strings.HasPrefix(*u.UserId, "AIDA") || len(u.Tags) != 1 {
		t.Errorf("%+v", u)
	}
	w.fails(t, root, "CreateUser", `{"UserName": "alice"}`, "EntityAlreadyExists")
	w.fails(t, root, "CreateUser", `{"UserName": "a b"}`, "ValidationError")
	w.fails(t, root, "CreateUser", `{"UserName": "bob", "Path": "x"}`, "ValidationError")
	w.fails(t, root, "CreateUser", `{"UserName": "bob", "PermissionsBoundary": "x"}`, model.CodeUnsupportedOperation)
	w.fails(t, root, "CreateUser", `{}`, model.CodeMissingParameter)
	w.fails(t, root, "GetUser", `{"UserName": "bob"}`, "NoSuchEntity")
	if got := must[iamtypes.GetUserOutput](t, w, root, "GetUser", `{}`).User; *got.Arn != "arn:aws:iam::"+admin+":root" || *got.UserId != admin {
		t.Errorf("the root: %+v", got)
	}
	must[iamtypes.PutUserPolicyOutput](t, w, root, "PutUserPolicy", `{"UserName": "alice", "PolicyName": "p", "PolicyDocument": `+quoted(readOnly)+`}`)
	w.fails(t, root, "PutUserPolicy", `{"UserName": "alice", "PolicyName": "q", "PolicyDocument": "{}"}`, "MalformedPolicyDocument")
	got := must[iamtypes.GetUserPolicyOutput](t, w, root, "GetUserPolicy", `{"UserName": "alice", "PolicyName": "p"}`)
	if text, err := url.PathUnescape(*got.PolicyDocument); err != nil || text != readOnly || strings.ContainsAny(*got.PolicyDocument, " +{") {
		t.Errorf("%q", *got.PolicyDocument)
	}
	w.fails(t, root, "DeleteUser", `{"UserName": "alice"}`, "DeleteConflict")
	if names := must[iamtypes.ListUserPoliciesOutput](t, w, root, "ListUserPolicies", `{"UserName": "alice"}`).PolicyNames; len(names) != 1 || names[0] != "p" {
		t.Errorf("%v", names)
	}
	must[iamtypes.DeleteUserPolicyOutput](t, w, root, "DeleteUserPolicy", `{"UserName": "alice", "PolicyName": "p"}`)
	w.fails(t, root, "DeleteUserPolicy", `{"UserName": "alice", "PolicyName": "p"}`, "NoSuchEntity")
	must[iamtypes.DeleteUserOutput](t, w, root, "DeleteUser", `{"UserName": "alice"}`)
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"c", "a", "e", "b", "d"} {
		must[iamtypes.CreateUserOutput](t, w, root, "CreateUser", `{"UserName": "`+name+`"}`)
	}
	var names string
	marker := ""
	for range 5 {
		out := must[iamtypes.ListUsersOutput](t, w, root, "ListUsers", `{"MaxItems": 2`+marker+`}`)
		for _, u := range out.Users {
			names += *u.UserName
		}
		if !*out.IsTruncated {
			if out.Marker != nil {
				t.Error("a marker after the last page")
			}
			break
		}
		marker = `, "Marker": ` + quoted(*out.Marker)
	}
	if names != "abcde" {
		t.Errorf("%q", names)
	}
	w.fails(t, root, "ListUsers", `{"Marker": "x"}`, "InvalidInput")
	w.fails(t, root, "ListUsers", `{"MaxItems": 0}`, model.CodeInvalidParameterValue)
}

// TestAsUser: a user reaches what the policies say, and its own keys only by them.
func TestAsUser(t *testing.T) {
	w := newWorld(t)
	alice := w.user(t, "alice")
	must[ststypes.GetCallerIdentityOutput](t, w, alice, "GetCallerIdentity", `{}`) // needs no permission
	w.fails(t, alice, "ListAccessKeys", `{}`, "AccessDenied")
	own := `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iam:*AccessKey*", "Resource": "arn:aws:iam::*:user/${aws:username}"}}`
	must[iamtypes.PutUserPolicyOutput](t, w, root, "PutUserPolicy", `{"UserName": "alice", "PolicyName": "own", "PolicyDocument": `+quoted(own)+`}`)
	keys := must[iamtypes.ListAccessKeysOutput](t, w, alice, "ListAccessKeys", `{}`).AccessKeyMetadata
	if len(keys) != 1 || *keys[0].UserName != "alice" || *keys[0].Status != "Active" {
		t.Fatalf("%+v", keys)
	}
	w.user(t, "bob")
	w.fails(t, alice, "ListAccessKeys", `{"UserName": "bob"}`, "AccessDenied")
	w.fails(t, alice, "CreateUser", `{"UserName": "carol"}`, "AccessDenied")
	w.fails(t, alice, "CreateAccount", `{"Name": "x"}`, api.CodeUnauthorizedOperation)
	w.fails(t, alice, "UpdateAccessKey", `{"AccessKeyId": "`+*keys[0].AccessKeyId+`", "Status": "inactive"}`, model.CodeInvalidParameterValue)
	must[iamtypes.UpdateAccessKeyOutput](t, w, alice, "UpdateAccessKey", `{"AccessKeyId": "`+*keys[0].AccessKeyId+`", "Status": "Inactive"}`)
	if _, err := w.auth.Key(t.Context(), *keys[0].AccessKeyId, ""); model.CodeOf(err) != "InvalidClientTokenId" {
		t.Errorf("disabled: %v", err)
	}
	used := must[iamtypes.GetAccessKeyLastUsedOutput](t, w, root, "GetAccessKeyLastUsed", `{"AccessKeyId": "`+*keys[0].AccessKeyId+`"}`)
	if *used.UserName != "alice" || *used.AccessKeyLastUsed.ServiceName != "iam" {
		t.Errorf("%+v", used.AccessKeyLastUsed)
	}
	w.fails(t, root, "GetAccessKeyLastUsed", `{"AccessKeyId": "AKIAAAAAAAAAAAAAAAAA"}`, "AccessDenied")
}

func TestManagedPolicies(t *testing.T) {
	w := newWorld(t)
	w.user(t, "alice")
	p := must[iamtypes.CreatePolicyOutput](t, w, root, "CreatePolicy", `{"PolicyName": "read", "PolicyDocument": `+quoted(readOnly)+`}`).Policy
	arn := `"` + *p.Arn + `"`
	w.fails(t, root, "CreatePolicy", `{"PolicyName": "read", "PolicyDocument": `+quoted(readOnly)+`}`, "EntityAlreadyExists")
	must[iamtypes.AttachUserPolicyOutput](t, w, root, "AttachUserPolicy", `{"UserName": "alice", "PolicyArn": `+arn+`}`)
	must[iamtypes.AttachUserPolicyOutput](t, w, root, "AttachUserPolicy", `{"UserName": "alice", "PolicyArn": "arn:aws:iam::aws:policy/IAMReadOnlyAccess"}`)
	w.fails(t, root, "DeletePolicy", `{"PolicyArn": `+arn+`}`, "DeleteConflict")
	w.fails(t, root, "GetPolicy", `{"PolicyArn": "arn:aws:iam::999999999999:policy/read"}`, "NoSuchEntity")
	w.fails(t, root, "GetPolicy", `{"PolicyArn": "read"}`, "InvalidInput")
	if got := must[iamtypes.GetPolicyOutput](t, w, root, "GetPolicy", `{"PolicyArn": `+arn+`}`).Policy; *got.AttachmentCount != 1 || *got.DefaultVersionId != "v1" {
		t.Errorf("%+v", got)
	}
	v := must[iamtypes.GetPolicyVersionOutput](t, w, root, "GetPolicyVersion", `{"PolicyArn": `+arn+`, "VersionId": "v1"}`).PolicyVersion
	if text, _ := url.PathUnescape(*v.Document); text != readOnly || !*v.IsDefaultVersion {
		t.Errorf("%+v", v)
	}
	if got := must[iamtypes.ListPoliciesOutput](t, w, root, "ListPolicies", `{"Scope": "Local"}`).Policies; len(got) != 1 {
		t.Errorf("%d local policies", len(got))
	}
	if got := must[iamtypes.ListPoliciesOutput](t, w, root, "ListPolicies", `{"OnlyAttached": true}`).Policies; len(got) != 2 {
		t.Errorf("%d attached policies", len(got))
	}
	if got := must[iamtypes.ListAttachedUserPoliciesOutput](t, w, root, "ListAttachedUserPolicies", `{"UserName": "alice"}`).AttachedPolicies; len(got) != 2 || *got[0].PolicyName != "read" {
		t.Errorf("%+v", got)
	}

	// Versions: at most five, one in force.
	all := quoted(strings.ReplaceAll(readOnly, "Describe*", "*"))
	v2 := must[iamtypes.CreatePolicyVersionOutput](t, w, root, "CreatePolicyVersion", `{"PolicyArn": `+arn+`, "PolicyDocument": `+all+`}`).PolicyVersion
	if *v2.VersionId != "v2" || *v2.IsDefaultVersion {
		t.Errorf("%+v", v2)
	}
	w.fails(t, root, "CreatePolicyVersion", `{"PolicyArn": `+arn+`, "PolicyDocument": "{}"}`, "MalformedPolicyDocument")
	w.fails(t, root, "CreatePolicyVersion", `{"PolicyArn": "arn:aws:iam::aws:policy/IAMReadOnlyAccess", "PolicyDocument": `+all+`}`, "AccessDenied")
	w.fails(t, root, "DeletePolicyVersion", `{"PolicyArn": `+arn+`, "VersionId": "v1"}`, "DeleteConflict")
	must[iamtypes.SetDefaultPolicyVersionOutput](t, w, root, "SetDefaultPolicyVersion", `{"PolicyArn": `+arn+`, "VersionId": "v2"}`)
	must[iamtypes.DeletePolicyVersionOutput](t, w, root, "DeletePolicyVersion", `{"PolicyArn": `+arn+`, "VersionId": "v1"}`)
	w.fails(t, root, "SetDefaultPolicyVersion", `{"PolicyArn": `+arn+`, "VersionId": "v1"}`, "NoSuchEntity")
	v3 := must[iamtypes.CreatePolicyVersionOutput](t, w, root, "CreatePolicyVersion", `{"PolicyArn": `+arn+`, "SetAsDefault": true, "PolicyDocument": `+quoted(readOnly)+`}`).PolicyVersion
	if *v3.VersionId != "v3" || !*v3.IsDefaultVersion {
		t.Errorf("%+v", v3)
	}
	if got := must[iamtypes.ListPolicyVersionsOutput](t, w, root, "ListPolicyVersions", `{"PolicyArn": `+arn+`}`).Versions; len(got) != 2 {
		t.Errorf("%+v", got)
	}

	// The simulator says what each would decide, and by which statement.
	out := must[iamtypes.SimulatePrincipalPolicyOutput](t, w, root, "SimulatePrincipalPolicy", `{"PolicySourceArn": "arn:aws:iam::`+admin+`:user/alice",
		"ActionNames": ["ec2:DescribeImages", "ec2:RunInstances", "iam:GetUser"],
		"PolicyInputList": [`+quoted(`{"Statement": {"Effect": "Deny", "Action": "iam:GetUser", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": false}}}}`)+`],
		"ContextEntries": [{"ContextKeyName": "aws:SecureTransport", "ContextKeyType": "boolean", "ContextKeyValues": ["false"]}]}`)
	for i, want := range []string{"allowed", "implicitDeny", "explicitDeny"} {
		if got := out.EvaluationResults[i]; *got.EvalDecision != want {
			t.Errorf("%s: %s, want %s", *got.EvalActionName, *got.EvalDecision, want)
		}
	}
	if m := out.EvaluationResults[0].MatchedStatements[0]; *m.SourcePolicyId != *p.Arn || *m.SourcePolicyType != "user-managed" || *m.StartPosition.Line != 1 || *m.StartPosition.Column != 40 {
		t.Errorf("%+v %+v", m, m.StartPosition)
	}
}

func TestRolesAndSessions(t *testing.T) {
	w := newWorld(t)
	alice := w.user(t, "alice")
	trust := `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": "` + alice.ARN() + `"}, "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"sts:ExternalId": "x-1"}}}}`
	must[iamtypes.CreateRoleOutput](t, w, root, "CreateRole", `{"RoleName": "reader", "AssumeRolePolicyDocument": `+quoted(trust)+`}`)
	must[iamtypes.AttachRolePolicyOutput](t, w, root, "AttachRolePolicy", `{"RoleName": "reader", "PolicyArn": "arn:aws:iam::aws:policy/IAMReadOnlyAccess"}`)
	assume := func(external string) string {
		return `{"RoleArn": "arn:aws:iam::` + admin + `:role/reader", "RoleSessionName": "work"` + external + `}`
	}
	w.fails(t, alice, "AssumeRole", assume(""), "AccessDenied")
	w.fails(t, root, "AssumeRole", assume(`, "ExternalId": "x-1"`), "AccessDenied")
	out := must[ststypes.AssumeRoleOutput](t, w, alice, "AssumeRole", assume(`, "ExternalId": "x-1"`))
	key, err := w.auth.Key(t.Context(), *out.Credentials.AccessKeyId, *out.Credentials.SessionToken)
	check(t, err)
	who := must[ststypes.GetCallerIdentityOutput](t, w, key.Identity, "GetCallerIdentity", `{}`)
	if *who.Arn != "arn:aws:sts::"+admin+":assumed-role/reader/work" || *who.Arn != *out.AssumedRoleUser.Arn || !strings.HasSuffix(*who.UserId, ":work") {
		t.Errorf("%+v", who)
	}
	must[iamtypes.ListUsersOutput](t, w, key.Identity, "ListUsers", `{}`)
	w.fails(t, key.Identity, "CreateUser", `{"UserName": "x"}`, "AccessDenied")
	w.fails(t, key.Identity, "GetSessionToken", `{}`, "AccessDenied")
	w.fails(t, root, "DeleteRole", `{"RoleName": "reader"}`, "DeleteConflict")

	// Who may assume it can be said anew.
	w.fails(t, root, "UpdateAssumeRolePolicy", `{"RoleName": "reader", "PolicyDocument": `+quoted(readOnly)+`}`, "MalformedPolicyDocument")
	w.fails(t, root, "UpdateAssumeRolePolicy", `{"RoleName": "nobody", "PolicyDocument": `+quoted(trust)+`}`, "NoSuchEntity")
	w.fails(t, root, "UpdateAssumeRolePolicy", `{"RoleName": "reader", "PolicyDocument": `+quoted(strings.ReplaceAll(trust, "user/alice", "user/bob"))+`}`, "MalformedPolicyDocument")
	must[iamtypes.UpdateAssumeRolePolicyOutput](t, w, root, "UpdateAssumeRolePolicy", `{"RoleName": "reader", "PolicyDocument": `+quoted(strings.ReplaceAll(trust, "x-1", "x-2"))+`}`)
	w.fails(t, alice, "AssumeRole", assume(`, "ExternalId": "x-1"`), "AccessDenied")
	must[ststypes.AssumeRoleOutput](t, w, alice, "AssumeRole", assume(`, "ExternalId": "x-2"`))

	session := must[ststypes.GetSessionTokenOutput](t, w, alice, "GetSessionToken", `{"DurationSeconds": 900}`).Credentials
	if !session.Expiration.Equal(w.now.Add(15 * time.Minute)) {
		t.Errorf("expires %v", session.Expiration)
	}
	w.fails(t, alice, "GetSessionToken", `{"DurationSeconds": 60}`, model.CodeInvalidParameterValue)
	if c := must[ststypes.GetSessionTokenOutput](t, w, root, "GetSessionToken", `{}`).Credentials; !c.Expiration.Equal(w.now.Add(time.Hour)) {
		t.Errorf("of the root: %v", c.Expiration)
	}
	w.now = w.now.Add(16 * time.Minute)
	if _, err := w.auth.Key(t.Context(), *session.AccessKeyId, *session.SessionToken); model.CodeOf(err) != "ExpiredToken" {
		t.Errorf("expired: %v", err)
	}
	must[iamtypes.CreateInstanceProfileOutput](t, w, root, "CreateInstanceProfile", `{"InstanceProfileName": "web"}`)
	must[iamtypes.AddRoleToInstanceProfileOutput](t, w, root, "AddRoleToInstanceProfile", `{"InstanceProfileName": "web", "RoleName": "reader"}`)
	if p := must[iamtypes.ListInstanceProfilesForRoleOutput](t, w, root, "ListInstanceProfilesForRole", `{"RoleName": "reader"}`).InstanceProfiles; len(p) != 1 || *p[0].Roles[0].RoleName != "reader" {
		t.Errorf("%+v", p)
	}
}

// TestTags sets, replaces, lists and removes tags of all that has them.
func TestTags(t *testing.T) {
	w := newWorld(t)
	w.user(t, "alice")
	trust := quoted(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}`)
	must[iamtypes.CreateRoleOutput](t, w, root, "CreateRole", `{"RoleName": "app", "AssumeRolePolicyDocument": `+trust+`}`)
	must[iamtypes.CreateInstanceProfileOutput](t, w, root, "CreateInstanceProfile", `{"InstanceProfileName": "app"}`)
	p := must[iamtypes.CreatePolicyOutput](t, w, root, "CreatePolicy", `{"PolicyName": "read", "PolicyDocument": `+quoted(readOnly)+`}`)
	for kind, name := range map[string]string{
		"User": `"UserName": "alice"`, "Role": `"RoleName": "app"`, "InstanceProfile": `"InstanceProfileName": "app"`, "Policy": `"PolicyArn": "` + *p.Policy.Arn + `"`,
	} {
		list := func(more string) (tags map[string]string, marker string) {
			t.Helper()
			out, err := w.call(t, root, "List"+kind+"Tags", `{`+name+more+`}`)
			check(t, err)
			text, err := json.Marshal(out)
			check(t, err)
			var answer struct {
				Tags   []iamtypes.Tag
				Marker string
			}
			check(t, json.Unmarshal(text, &answer))
			tags = map[string]string{}
			for _, tag := range answer.Tags {
				tags[*tag.Key] = *tag.Value
			}
			return tags, answer.Marker
		}
		must[any](t, w, root, "Tag"+kind, `{`+name+`, "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]}`)
		must[any](t, w, root, "Tag"+kind, `{`+name+`, "Tags": [{"Key": "b", "Value": "3"}, {"Key": "c", "Value": ""}]}`)
		if got, _ := list(""); !maps.Equal(got, map[string]string{"a": "1", "b": "3", "c": ""}) {
			t.Errorf("%s has the tags %v", kind, got)
		}
		if got, marker := list(`, "MaxItems": 2`); len(got) != 2 || marker == "" {
			t.Errorf("a page of the tags of %s is %v, then %q", kind, got, marker)
		}
		must[any](t, w, root, "Untag"+kind, `{`+name+`, "TagKeys": ["a", "none"]}`)
		if got, _ := list(""); !maps.Equal(got, map[string]string{"b": "3", "c": ""}) {
			t.Errorf("then %s has the tags %v", kind, got)
		}
		w.fails(t, root, "Tag"+kind, `{`+name+`, "Tags": [{"Key": "aws:x", "Value": "1"}]}`, auth.CodeInvalidInput)
		if got, _ := list(""); len(got) != 2 {
			t.Errorf("a refused change left %s the tags %v", kind, got)
		}
	}
	w.fails(t, root, "TagRole", `{"RoleName": "none", "Tags": [{"Key": "a", "Value": "1"}]}`, auth.CodeNoSuchEntity)
	w.fails(t, root, "TagPolicy", `{"PolicyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess", "Tags": [{"Key": "a", "Value": "1"}]}`, auth.CodeAccessDenied)
}

func TestUpdateRole(t *testing.T) {
	w := newWorld(t)
	trust := quoted(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}`)
	must[iamtypes.CreateRoleOutput](t, w, root, "CreateRole", `{"RoleName": "app", "Description": "old", "AssumeRolePolicyDocument": `+trust+`}`)
	role := func(description string, session int32) {
		t.Helper()
		if r := must[iamtypes.GetRoleOutput](t, w, root, "GetRole", `{"RoleName": "app"}`).Role; *r.Description != description || *r.MaxSessionDuration != session {
			t.Errorf("the role is %q for %d s, want %q for %d s", *r.Description, *r.MaxSessionDuration, description, session)
		}
	}
	must[iamtypes.UpdateRoleOutput](t, w, root, "UpdateRole", `{"RoleName": "app", "MaxSessionDuration": 7200}`)
	role("old", 7200)
	must[iamtypes.UpdateRoleOutput](t, w, root, "UpdateRole", `{"RoleName": "app", "Description": "new"}`)
	role("new", 7200)
	out := must[iamtypes.UpdateRoleDescriptionOutput](t, w, root, "UpdateRoleDescription", `{"RoleName": "app", "Description": "newer"}`)
	if *out.Role.Description != "newer" {
		t.Errorf("the answer has %q", *out.Role.Description)
	}
	role("newer", 7200)
	must[iamtypes.UpdateRoleOutput](t, w, root, "UpdateRole", `{"RoleName": "app", "Description": ""}`)
	if r := must[iamtypes.GetRoleOutput](t, w, root, "GetRole", `{"RoleName": "app"}`).Role; r.Description != nil {
		t.Errorf("the description is still %q", *r.Description)
	}
	must[iamtypes.UpdateRoleDescriptionOutput](t, w, root, "UpdateRoleDescription", `{"RoleName": "app", "Description": "newer"}`)
	w.fails(t, root, "UpdateRole", `{"RoleName": "app", "Description": "`+strings.Repeat("x", 1001)+`"}`, auth.CodeValidationError)
	w.fails(t, root, "UpdateRole", `{"RoleName": "none"}`, auth.CodeNoSuchEntity)
	role("newer", 7200)
}

func TestMessageIsDecoded(t *testing.T) {
	w := newWorld(t)
	encoded, err := w.auth.EncodeMessage(map[string]bool{"allowed": false})
	check(t, err)
	if got := must[ststypes.DecodeAuthorizationMessageOutput](t, w, root, "DecodeAuthorizationMessage", `{"EncodedMessage": "`+encoded+`"}`); *got.DecodedMessage != `{"allowed":false}` {
		t.Errorf("%s", *got.DecodedMessage)
	}
	w.fails(t, root, "DecodeAuthorizationMessage", `{"EncodedMessage": "x"}`, "InvalidAuthorizationMessageException")
	alice := w.user(t, "alice")
	w.fails(t, alice, "DecodeAuthorizationMessage", `{"EncodedMessage": "`+encoded+`"}`, "AccessDenied")
}

func TestActing(t *testing.T) {
	w := newWorld(t)
	alice := w.user(t, "alice")
	dev := must[bundttypes.CreateAccountOutput](t, w, root, "CreateAccount", `{"Name": "dev"}`).Account.AccountId
	for _, c := range []struct{ account, user, arn, code string }{
		{"", "", "arn:aws:iam::" + admin + ":root", ""},
		{"dev", "", "arn:aws:iam::" + dev + ":root", ""},
		{dev, "", "arn:aws:iam::" + dev + ":root", ""},
		{"", "alice", alice.ARN(), ""},
		{"admin", "ALICE", alice.ARN(), ""},
		{"dev", "alice", "", "NoSuchEntity"},
		{"nobody", "", "", "NoSuchEntity"},
	} {
		id, err := w.auth.Acting(t.Context(), c.account, c.user)
		if model.CodeOf(err) != c.code || err == nil && id.ARN() != c.arn {
			t.Errorf("%s/%s: %s, %v", c.account, c.user, id.ARN(), err)
		}
	}
}

func TestAccounts(t *testing.T) {
	w := newWorld(t)
	dev := must[bundttypes.CreateAccountOutput](t, w, root, "CreateAccount", `{"Name": "dev", "Quotas": [{"Name": "instances", "Value": 2}]}`)
	other := model.Identity{AccountID: dev.Account.AccountId}
	all := must[bundttypes.DescribeAccountsOutput](t, w, root, "DescribeAccounts", `{}`).Accounts
	slices.SortFunc(all, func(a, b bundttypes.Account) int { return strings.Compare(a.Name, b.Name) }) // ids are drawn
	if len(all) != 2 || all[1].Name != "dev" || *all[1].Quotas[0].Value != 2 {
		t.Errorf("%+v", all)
	}
	if got := must[bundttypes.DescribeAccountsOutput](t, w, other, "DescribeAccounts", `{}`).Accounts; len(got) != 1 || got[0].Name != "dev" {
		t.Errorf("%+v", got)
	}
	w.fails(t, other, "DescribeAccounts", `{"Accounts": ["admin"]}`, "NoSuchEntity")
	w.fails(t, other, "ModifyAccountQuotas", `{"Account": "dev", "Remove": ["instances"]}`, api.CodeUnauthorizedOperation)
	w.fails(t, other, "DeleteAccount", `{"Account": "dev"}`, api.CodeUnauthorizedOperation)
	w.fails(t, root, "ModifyAccountQuotas", `{"Account": "dev", "Remove": ["cakes"]}`, "ValidationError")
	if got := must[bundttypes.ModifyAccountQuotasOutput](t, w, root, "ModifyAccountQuotas", `{"Account": "dev", "Remove": ["instances"], "Quotas": [{"Name": "vcpus", "Value": 4}]}`).Account; len(got.Quotas) != 1 || *got.Quotas[0].Name != "vcpus" {
		t.Errorf("%+v", got)
	}
	// What is of one account is not there for another.
	must[iamtypes.CreateUserOutput](t, w, other, "CreateUser", `{"UserName": "bob"}`)
	w.fails(t, root, "GetUser", `{"UserName": "bob"}`, "NoSuchEntity")
	must[iamtypes.CreateAccountAliasOutput](t, w, other, "CreateAccountAlias", `{"AccountAlias": "dev-cakes"}`)
	if got := must[iamtypes.ListAccountAliasesOutput](t, w, other, "ListAccountAliases", `{}`).AccountAliases; len(got) != 1 || got[0] != "dev-cakes" {
		t.Errorf("%v", got)
	}
	if got := must[iamtypes.GetAccountSummaryOutput](t, w, other, "GetAccountSummary", `{}`).SummaryMap; got["Users"] != 1 || got["AccountAccessKeysPresent"] != 1 {
		t.Errorf("%v", got)
	}
	w.owns = "the instance i-1"
	w.fails(t, root, "DeleteAccount", `{"Account": "dev"}`, "DeleteConflict")
	w.owns = ""
	must[bundttypes.DeleteAccountOutput](t, w, root, "DeleteAccount", `{"Account": "dev"}`)
	w.fails(t, other, "ListUsers", `{}`, model.CodeAuthFailure)
}
