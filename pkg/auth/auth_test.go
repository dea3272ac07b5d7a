package auth_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/auth/policy"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

const admin = "111122223333"

// world is a directory in a data directory of its own, with a clock that tests move.
type world struct {
	dir   string
	store *store.Store
	auth  *auth.Directory
	now   time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	var err error
	if w.store, err = store.Open(t.Context(), store.Options{Dir: filepath.Join(w.dir, "etcd"), Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	w.open(t)
	return w
}

// open opens the directory, again after the first time.
func (w *world) open(t *testing.T) {
	t.Helper()
	d, err := w.tryOpen(t)
	if err != nil {
		t.Fatal(err)
	}
	w.auth = d
}

func (w *world) tryOpen(t *testing.T) (*auth.Directory, error) {
	return auth.Open(t.Context(), auth.Options{
		Store: w.store, Dir: w.dir, Now: func() time.Time { return w.now },
		Cloud: records.Cloud{AccountID: admin, Region: "test-1", Secret: bytes.Repeat([]byte{7}, 32)},
	})
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if model.CodeOf(err) != code {
		t.Fatalf("got %v, want %q", err, code)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// credentials reads the file that the first start wrote.
func (w *world) credentials(t *testing.T) (id, secret string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, "credentials"))
	must(t, err)
	lines := strings.Split(string(data), "\n")
	if lines[0] != "[bundt]" {
		t.Fatalf("credentials: %q", data)
	}
	return strings.TrimPrefix(lines[1], "aws_access_key_id = "), strings.TrimPrefix(lines[2], "aws_secret_access_key = ")
}

func TestFounding(t *testing.T) {
	w := newWorld(t)
	id, secret := w.credentials(t)
	if len(id) != 20 || len(secret) != 40 {
		t.Fatalf("key %q with a secret of %d characters", id, len(secret))
	}
	for _, name := range []string{"credentials", "secret.key"} {
		info, err := os.Stat(filepath.Join(w.dir, name))
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	key, err := w.auth.Key(t.Context(), id, "")
	must(t, err)
	if key.Secret != secret || key.Identity.ARN() != "arn:aws:iam::"+admin+":root" {
		t.Fatalf("key %+v", key)
	}
	// Nothing in the store shows the secret.
	must(t, w.store.View(t.Context(), func(tx *store.Tx) error {
		k, err := records.AccessKeys.Get(tx, id)
		if bytes.Contains(k.Secret, []byte(secret)) {
			t.Error("the secret is kept in plain")
		}
		return err
	}))
	// A second start makes nothing, and does not bring a file back that was removed.
	must(t, os.Remove(filepath.Join(w.dir, "credentials")))
	w.open(t)
	if _, err := os.Stat(filepath.Join(w.dir, "credentials")); err == nil {
		t.Error("the credentials were written again")
	}
	keys, err := w.auth.AccessKeys(t.Context(), admin, "")
	must(t, err)
	if len(keys) != 1 {
		t.Errorf("%d keys", len(keys))
	}
}

// TestFoundingInterrupted: the daemon died between the record and the file.
func TestFoundingInterrupted(t *testing.T) {
	w := newWorld(t)
	id, secret := w.credentials(t)
	must(t, os.Remove(filepath.Join(w.dir, "credentials")))
	must(t, w.store.Update(t.Context(), func(tx *store.Tx) error {
		a, err := records.Accounts.Get(tx, admin)
		a.CredentialsDue = true
		if err != nil {
			return err
		}
		return records.Accounts.Put(tx, &a)
	}))
	w.open(t)
	if i, s := w.credentials(t); i != id || s != secret {
		t.Error("other credentials were written")
	}
}

func TestKeyFile(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(w.dir, "secret.key")
	key, err := os.ReadFile(path)
	must(t, err)
	refused := func(what, reason string) {
		t.Helper()
		if _, err := w.tryOpen(t); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, os.Remove(path))
	refused("missing", "missing")
	must(t, os.WriteFile(path, key[1:], 0o600))
	refused("too short", "31 bytes")
	must(t, os.WriteFile(path, key, 0o600))
	must(t, os.Chmod(path, 0o640))
	refused("readable by others", "others")
	must(t, os.Chmod(path, 0o600))
	must(t, os.WriteFile(path, bytes.Repeat([]byte{1}, 32), 0o600))
	w.open(t) // it cannot know yet
	keys, err := w.auth.AccessKeys(t.Context(), admin, "")
	must(t, err)
	if _, err := w.auth.Key(t.Context(), keys[0].ID, ""); err == nil || model.CodeOf(err) != "" {
		t.Errorf("a key of another cloud opens secrets: %v", err)
	}
}

func TestAccessKeyLife(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, err := w.auth.CreateUser(ctx, admin, "alice", "/team/", nil)
	must(t, err)
	_, err = w.auth.CreateUser(ctx, admin, "ALICE", "", nil)
	wantCode(t, err, auth.CodeEntityAlreadyExists)
	first, secret, err := w.auth.CreateAccessKey(ctx, admin, "Alice") // names have no case
	must(t, err)
	key, err := w.auth.Key(ctx, first.ID, "")
	must(t, err)
	if key.Secret != secret || key.Identity.ARN() != "arn:aws:iam::"+admin+":user/team/alice" {
		t.Fatalf("%+v", key)
	}
	// Rotation: a second one, both sign; the old one is disabled, then deleted.
	second, _, err := w.auth.CreateAccessKey(ctx, admin, "alice")
	must(t, err)
	_, _, err = w.auth.CreateAccessKey(ctx, admin, "alice")
	wantCode(t, err, auth.CodeLimitExceeded)
	must(t, w.auth.SetAccessKeyActive(ctx, admin, "alice", first.ID, false))
	_, err = w.auth.Key(ctx, first.ID, "")
	wantCode(t, err, auth.CodeInvalidClientTokenID)
	_, err = w.auth.Key(ctx, second.ID, "")
	must(t, err)
	must(t, w.auth.SetAccessKeyActive(ctx, admin, "alice", first.ID, true))
	_, err = w.auth.Key(ctx, first.ID, "")
	must(t, err)
	wantCode(t, w.auth.DeleteAccessKey(ctx, admin, "", first.ID), auth.CodeNoSuchEntity) // not the root's
	wantCode(t, w.auth.DeleteUser(ctx, admin, "alice"), auth.CodeDeleteConflict)
	for _, k := range []string{first.ID, second.ID} {
		must(t, w.auth.DeleteAccessKey(ctx, admin, "alice", k))
		_, err = w.auth.Key(ctx, k, "")
		wantCode(t, err, auth.CodeInvalidClientTokenID)
	}
	must(t, w.auth.DeleteUser(ctx, admin, "alice"))
	for _, bad := range []string{"", "AKIA", "AKIAAAAAAAAAAAAAAAAA", "ASIAAAAAAAAAAAAAAAAA", "AKIA\x00", strings.Repeat("A", 4096)} {
		_, err = w.auth.Key(ctx, bad, "")
		wantCode(t, err, auth.CodeInvalidClientTokenID)
	}
	_, err = w.auth.Key(ctx, second.ID, "a token it does not have")
	wantCode(t, err, auth.CodeInvalidClientTokenID)
}

func TestSessions(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	u, err := w.auth.CreateUser(ctx, admin, "alice", "", nil)
	must(t, err)
	c, err := w.auth.NewSession(model.Identity{AccountID: admin, User: "alice", Path: "/", ID: u.ID}, time.Hour)
	must(t, err)
	if !strings.HasPrefix(c.AccessKeyID, "ASIA") || !c.Expires.Equal(w.now.Add(time.Hour)) {
		t.Fatalf("%+v", c)
	}
	key, err := w.auth.Key(ctx, c.AccessKeyID, c.Token)
	must(t, err)
	if key.Secret != c.Secret || key.Identity.ARN() != u.ARN() {
		t.Fatalf("%+v", key)
	}
	other, err := w.auth.NewSession(key.Identity, time.Hour)
	must(t, err)
	for what, token := range map[string]string{
		"none": "", "another's": other.Token, "changed": "A" + c.Token[1:], "cut": c.Token[:len(c.Token)-2], "garbage": "???",
	} {
		if _, err := w.auth.Key(ctx, c.AccessKeyID, token); model.CodeOf(err) != auth.CodeInvalidClientTokenID {
			t.Errorf("token %s: %v", what, err)
		}
	}
	w.now = w.now.Add(time.Hour - time.Second)
	_, err = w.auth.Key(ctx, c.AccessKeyID, c.Token)
	must(t, err)
	w.now = w.now.Add(time.Second)
	_, err = w.auth.Key(ctx, c.AccessKeyID, c.Token)
	wantCode(t, err, auth.CodeExpiredToken)

	// Another user of the same name does not inherit sessions.
	c, err = w.auth.NewSession(key.Identity, time.Hour)
	must(t, err)
	must(t, w.auth.DeleteUser(ctx, admin, "alice"))
	_, err = w.auth.Key(ctx, c.AccessKeyID, c.Token)
	wantCode(t, err, auth.CodeInvalidClientTokenID)
	_, err = w.auth.CreateUser(ctx, admin, "alice", "", nil)
	must(t, err)
	_, err = w.auth.Key(ctx, c.AccessKeyID, c.Token)
	wantCode(t, err, auth.CodeInvalidClientTokenID)
}

func TestAccounts(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	a, key, secret, err := w.auth.CreateAccount(ctx, "dev", map[model.Quota]int64{model.QuotaInstances: 3})
	must(t, err)
	k, err := w.auth.Key(ctx, key.ID, "")
	must(t, err)
	if k.Secret != secret || k.Identity.AccountID != a.ID || !k.Identity.IsRoot() {
		t.Fatalf("%+v", k)
	}
	_, _, _, err = w.auth.CreateAccount(ctx, "dev", nil)
	wantCode(t, err, auth.CodeEntityAlreadyExists)
	for _, bad := range []string{"", "123456789012", "-x", strings.Repeat("x", 51), "a\nb"} {
		_, _, _, err = w.auth.CreateAccount(ctx, bad, nil)
		wantCode(t, err, auth.CodeValidationError)
	}
	got, err := w.auth.SetQuotas(ctx, "dev", map[model.Quota]int64{model.QuotaVCPUs: 8}, []model.Quota{model.QuotaInstances})
	must(t, err)
	if len(got.Quotas) != 1 || got.Quotas[model.QuotaVCPUs] != 8 {
		t.Fatalf("quotas %v", got.Quotas)
	}
	_, err = w.auth.SetQuotas(ctx, "dev", map[model.Quota]int64{"cakes": 8}, nil)
	wantCode(t, err, auth.CodeValidationError)
	_, err = w.auth.SetQuotas(ctx, "dev", map[model.Quota]int64{model.QuotaVCPUs: -1}, nil)
	wantCode(t, err, auth.CodeValidationError)

	must(t, w.auth.SetAlias(ctx, a.ID, "dev-cakes"))
	wantCode(t, w.auth.SetAlias(ctx, admin, "dev-cakes"), auth.CodeEntityAlreadyExists)
	wantCode(t, w.auth.SetAlias(ctx, admin, "Dev--"), auth.CodeValidationError)
	wantCode(t, w.auth.DeleteAlias(ctx, admin, "dev-cakes"), auth.CodeNoSuchEntity)

	owns := "an instance"
	what := func(*store.Tx, string) (string, error) { return owns, nil }
	_, err = w.auth.CreateUser(ctx, a.ID, "bob", "", nil)
	must(t, err)
	wantCode(t, w.auth.DeleteAccount(ctx, "dev", what), auth.CodeDeleteConflict)
	owns = ""
	wantCode(t, w.auth.DeleteAccount(ctx, admin, what), auth.CodeDeleteConflict)
	must(t, w.auth.DeleteAccount(ctx, "dev", what))
	_, err = w.auth.Key(ctx, key.ID, "")
	wantCode(t, err, auth.CodeInvalidClientTokenID)
	_, err = w.auth.User(ctx, a.ID, "bob")
	wantCode(t, err, auth.CodeNoSuchEntity)
}

func TestPoliciesOfIdentities(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	u, err := w.auth.CreateUser(ctx, admin, "alice", "", nil)
	must(t, err)
	id := model.Identity{AccountID: admin, User: "alice", Path: "/", ID: u.ID}
	decide := func(id model.Identity, action string) policy.Decision {
		t.Helper()
		p, err := w.auth.Policies(ctx, id)
		must(t, err)
		d, _ := p.Decide(policy.Request{Action: action, Resource: "*", Keys: policy.NoKeys})
		return d
	}
	want := func(action string, want policy.Decision) {
		t.Helper()
		if got := decide(id, action); got != want {
			t.Errorf("%s: %v, want %v", action, got, want)
		}
	}
	document := func(effect, action string) string {
		return `{"Version": "2012-10-17", "Statement": {"Effect": "` + effect + `", "Action": "` + action + `", "Resource": "*"}}`
	}
	want("ec2:DescribeImages", policy.ImplicitDeny)
	wantCode(t, w.auth.PutUserPolicy(ctx, admin, "alice", "p", `{"Statement": {}}`), auth.CodeMalformedPolicyDocument)
	must(t, w.auth.PutUserPolicy(ctx, admin, "alice", "p", document("Allow", "ec2:Describe*")))
	want("ec2:DescribeImages", policy.Allowed) // at once, although it was cached
	wantCode(t, w.auth.AttachUserPolicy(ctx, admin, "alice", "arn:aws:iam::aws:policy/Nonsense"), auth.CodeNoSuchEntity)
	must(t, w.auth.AttachUserPolicy(ctx, admin, "alice", "arn:aws:iam::aws:policy/AdministratorAccess"))
	want("iam:CreateUser", policy.Allowed)
	p, err := w.auth.CreatePolicy(ctx, admin, "no-iam", "/", "", document("Deny", "iam:*"), nil)
	must(t, err)
	must(t, w.auth.AttachUserPolicy(ctx, admin, "alice", p.ARN()))
	want("iam:CreateUser", policy.ExplicitDeny)
	v, err := w.auth.AddPolicyVersion(ctx, admin, p.ARN(), document("Deny", "ec2:*"), false)
	must(t, err)
	want("ec2:DescribeImages", policy.Allowed)
	must(t, w.auth.SetDefaultPolicyVersion(ctx, admin, p.ARN(), v.ID))
	want("ec2:DescribeImages", policy.ExplicitDeny)
	want("iam:CreateUser", policy.Allowed)
	wantCode(t, w.auth.DeletePolicy(ctx, admin, p.ARN()), auth.CodeDeleteConflict)
	wantCode(t, w.auth.DeletePolicyVersion(ctx, admin, p.ARN(), v.ID), auth.CodeDeleteConflict)
	must(t, w.auth.DeletePolicyVersion(ctx, admin, p.ARN(), "v1"))
	must(t, w.auth.DetachUserPolicy(ctx, admin, "alice", p.ARN()))
	wantCode(t, w.auth.DetachUserPolicy(ctx, admin, "alice", p.ARN()), auth.CodeNoSuchEntity)
	must(t, w.auth.DeletePolicy(ctx, admin, p.ARN()))
	wantCode(t, w.auth.DeletePolicy(ctx, admin, "arn:aws:iam::aws:policy/ReadOnlyAccess"), auth.CodeAccessDenied)

	big := strings.Repeat(`"ec2:DescribeImages", `, 150) + `"ec2:X"`
	wantCode(t, w.auth.PutUserPolicy(ctx, admin, "alice", "q", document("Allow", "ec2:X")[:60]+strings.Repeat(" ", 9000)), auth.CodeMalformedPolicyDocument)
	wantCode(t, w.auth.PutUserPolicy(ctx, admin, "alice", "q", `{"Statement": {"Effect": "Allow", "Action": [`+big+`], "Resource": "*"}}`), auth.CodeLimitExceeded)
}

// assume asks whether the caller may, and then does.
func (w *world) assume(ctx context.Context, caller model.Identity, arn, session, sessionPolicy string, lifetime time.Duration, allowed bool, keys policy.Lookup) (auth.Credentials, model.Identity, error) {
	if err := w.auth.MayAssume(ctx, caller, arn, allowed, keys); err != nil {
		return auth.Credentials{}, model.Identity{}, err
	}
	return w.auth.Assume(ctx, arn, session, sessionPolicy, lifetime)
}

func TestAssume(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	u, err := w.auth.CreateUser(ctx, admin, "alice", "", nil)
	must(t, err)
	other, _, _, err := w.auth.CreateAccount(ctx, "other", nil)
	must(t, err)
	trust := func(principal string) string {
		return `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": "` + principal + `"}, "Action": "sts:AssumeRole"}}`
	}
	_, err = w.auth.CreateRole(ctx, admin, model.Role{Name: "ghost", Trust: trust("arn:aws:iam::" + admin + ":user/nobody")})
	wantCode(t, err, auth.CodeMalformedPolicyDocument)
	named, err := w.auth.CreateRole(ctx, admin, model.Role{Name: "named", Path: "/x/", Trust: trust(u.ARN())})
	must(t, err)
	byAccount, err := w.auth.CreateRole(ctx, admin, model.Role{Name: "by-account", Trust: trust(admin)})
	must(t, err)
	foreign, err := w.auth.CreateRole(ctx, other.ID, model.Role{Name: "foreign", Trust: trust(u.ARN())})
	must(t, err)
	alice := model.Identity{AccountID: admin, User: "alice", Path: "/", ID: u.ID}
	for _, c := range []struct {
		role    model.Role
		allowed bool
		code    string
	}{
		{named, false, ""}, // naming the user is enough in its own account
		{named, true, ""},
		{byAccount, false, auth.CodeAccessDenied},
		{byAccount, true, ""},
		{foreign, false, auth.CodeAccessDenied}, // between accounts both must agree
		{foreign, true, ""},
		{model.Role{AccountID: admin, Path: "/", Name: "none"}, true, auth.CodeAccessDenied},
		{model.Role{AccountID: admin, Path: "/", Name: "named"}, true, auth.CodeAccessDenied}, // another path
	} {
		creds, id, err := w.assume(ctx, alice, c.role.ARN(), "session", "", time.Hour, c.allowed, policy.NoKeys)
		if model.CodeOf(err) != c.code {
			t.Errorf("%s, allowed %v: %v", c.role.Name, c.allowed, err)
		}
		if err != nil {
			continue
		}
		key, err := w.auth.Key(ctx, creds.AccessKeyID, creds.Token)
		must(t, err)
		if want := "arn:aws:sts::" + c.role.AccountID + ":assumed-role/" + c.role.Name + "/session"; key.Identity.ARN() != want || id.ARN() != want {
			t.Errorf("%s, want %s", key.Identity.ARN(), want)
		}
	}
	_, _, err = w.assume(ctx, alice, named.ARN(), "session", "", 2*time.Hour, true, policy.NoKeys)
	wantCode(t, err, auth.CodeValidationError)
	_, _, err = w.assume(ctx, alice, named.ARN(), "s s", "", time.Hour, true, policy.NoKeys)
	wantCode(t, err, auth.CodeValidationError)

	// A session policy narrows what the role may do.
	must(t, w.auth.AttachRolePolicy(ctx, admin, "named", "arn:aws:iam::aws:policy/AmazonEC2FullAccess"))
	_, id, err := w.assume(ctx, alice, named.ARN(), "session", `{"Statement": {"Effect": "Allow", "Action": ["ec2:Describe*", "iam:*"], "Resource": "*"}}`, time.Hour, true, policy.NoKeys)
	must(t, err)
	p, err := w.auth.Policies(ctx, id)
	must(t, err)
	for action, want := range map[string]policy.Decision{"ec2:DescribeImages": policy.Allowed, "ec2:RunInstances": policy.ImplicitDeny, "iam:GetUser": policy.ImplicitDeny} {
		if got, _ := p.Decide(policy.Request{Action: action, Resource: "*", Keys: policy.NoKeys}); got != want {
			t.Errorf("%s: %v", action, got)
		}
	}
}

func TestInstanceProfiles(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, err := w.auth.CreateRole(ctx, admin, model.Role{Name: "web", Trust: `{"Statement": {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}}`})
	must(t, err)
	_, err = w.auth.CreateProfile(ctx, admin, "web", "", nil)
	must(t, err)
	_, err = w.auth.CreateProfile(ctx, admin, "web", "", nil)
	wantCode(t, err, auth.CodeEntityAlreadyExists)
	wantCode(t, w.auth.AddRole(ctx, admin, "web", "none"), auth.CodeNoSuchEntity)
	must(t, w.auth.AddRole(ctx, admin, "web", "web"))
	wantCode(t, w.auth.AddRole(ctx, admin, "web", "web"), auth.CodeLimitExceeded)
	wantCode(t, w.auth.DeleteProfile(ctx, admin, "web"), auth.CodeDeleteConflict)
	wantCode(t, w.auth.DeleteRole(ctx, admin, "web"), auth.CodeDeleteConflict)
	must(t, w.auth.RemoveRole(ctx, admin, "web", "web"))
	wantCode(t, w.auth.RemoveRole(ctx, admin, "web", "web"), auth.CodeNoSuchEntity)
	must(t, w.auth.DeleteRole(ctx, admin, "web"))
	must(t, w.auth.DeleteProfile(ctx, admin, "web"))
}

func TestMessages(t *testing.T) {
	w := newWorld(t)
	encoded, err := w.auth.EncodeMessage(map[string]any{"allowed": false})
	must(t, err)
	text, err := w.auth.DecodeMessage(encoded)
	must(t, err)
	if text != `{"allowed":false}` || strings.Contains(encoded, "allowed") {
		t.Errorf("%q from %q", text, encoded)
	}
	for _, bad := range []string{"", "x", encoded[1:], encoded + "A"} {
		_, err = w.auth.DecodeMessage(bad)
		wantCode(t, err, auth.CodeInvalidMessage)
	}
}

// TestOthersChanges: what another daemon changes in a shared store is noticed.
func TestOthersChanges(t *testing.T) {
	w := newWorld(t)
	id, _ := w.credentials(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.auth.Run(ctx) }()
	defer func() { cancel(); <-done }()
	_, err := w.auth.Key(ctx, id, "")
	must(t, err)
	must(t, w.store.Update(ctx, func(tx *store.Tx) error {
		k, err := records.AccessKeys.Get(tx, id)
		if err != nil {
			return err
		}
		k.Active = false
		return records.AccessKeys.Put(tx, &k)
	}))
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := w.auth.Key(ctx, id, ""); err != nil {
			wantCode(t, err, auth.CodeInvalidClientTokenID)
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the disabled key still signs")
		}
	}
}
