package auth

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/auth/policy"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// Acting is the identity of a user of an account, given by its id or name; of the
// account's root for user "", and in the admin account for account "".
func (d *Directory) Acting(ctx context.Context, account, user string) (model.Identity, error) {
	id := model.Identity{AccountID: d.AdminAccount()}
	if account != "" {
		a, err := d.Account(ctx, account)
		if err != nil {
			return id, err
		}
		id.AccountID = a.ID
	}
	if user == "" {
		return id, nil
	}
	u, err := d.User(ctx, id.AccountID, user)
	id.User, id.Path, id.ID = u.Name, u.Path, u.ID
	return id, err
}

// Key is what is needed to verify a signature, and whose it then is.
type Key struct {
	Secret   string
	Identity model.Identity
}

// Key returns the access key of that id. Temporary keys need their session token,
// others have none. The error is a *model.Error of the code InvalidClientTokenId
// or ExpiredToken if the key signs nothing, whatever the reason.
func (d *Directory) Key(ctx context.Context, id, token string) (Key, error) {
	switch {
	case !keyID.MatchString(id):
		return Key{}, invalidKey()
	case strings.HasPrefix(id, model.SessionKeyIDPrefix):
		return d.sessionKey(ctx, id, token)
	case token != "":
		return Key{}, invalidKey()
	}
	return remembered(d, cacheKey{"key", "", id}, func() (Key, error) { return d.loadKey(ctx, id) })
}

func invalidKey() *model.Error {
	return model.Errorf(CodeInvalidClientTokenID, "The security token included in the request is invalid.").
		WithHint("bundt access-key ls shows the access keys there are")
}

func (d *Directory) loadKey(ctx context.Context, id string) (Key, error) {
	return view(ctx, d, func(tx *store.Tx) (Key, error) {
		k, err := records.AccessKeys.Get(tx, id)
		if errors.Is(err, store.ErrNotFound) || (err == nil && !k.Active) {
			return Key{}, invalidKey()
		}
		if err != nil {
			return Key{}, err
		}
		key := Key{Identity: model.Identity{AccountID: k.AccountID, AccessKeyID: k.ID}}
		if k.UserName != "" {
			u, err := getUser(tx, k.AccountID, k.UserName)
			if err != nil {
				return Key{}, err
			}
			key.Identity.User, key.Identity.Path, key.Identity.ID = u.Name, u.Path, u.ID
		}
		key.Secret, err = d.unsealKey(k.ID, k.Secret)
		return key, err
	})
}

// sessionKey returns the key of temporary credentials, unless whose they are is gone.
func (d *Directory) sessionKey(ctx context.Context, id, token string) (Key, error) {
	body, err := d.openSession(id, token)
	if err != nil {
		return Key{}, err
	}
	if _, err := d.Policies(ctx, body.Identity); err != nil {
		if model.CodeOf(err) == CodeNoSuchEntity {
			return Key{}, invalidKey()
		}
		return Key{}, err
	}
	return Key(body), nil
}

// Source is a policy that decides about an identity.
type Source struct {
	ID       string // ARN of a managed policy, name of another
	Type     string // as the policy simulator names it
	Document *policy.Document
}

// Permissions are the policies of an identity.
type Permissions struct {
	Root    bool     // of an account: everything in it
	Sources []Source // any of them may allow
	Session *Source  // must allow as well, if there is one
}

// Policies returns what decides about an identity; a NoSuchEntity error if its
// account, user or role is gone, even if another of that name was made since.
func (d *Directory) Policies(ctx context.Context, id model.Identity) (Permissions, error) {
	kind, name := "root", ""
	switch {
	case id.User != "":
		kind, name = "user", id.User
	case id.Role != "":
		kind, name = "role", id.Role
	}
	got, err := remembered(d, cacheKey{kind, id.AccountID, name + "\x00" + id.ID}, func() (Permissions, error) { return d.loadPolicies(ctx, id) })
	if err != nil || id.SessionPolicy == "" {
		return got, err
	}
	document, err := policy.Parse([]byte(id.SessionPolicy), policy.Identity)
	got.Session = &Source{ID: "SessionPolicy", Type: "none", Document: document}
	return got, err
}

func (d *Directory) loadPolicies(ctx context.Context, id model.Identity) (Permissions, error) {
	return view(ctx, d, func(tx *store.Tx) (Permissions, error) {
		if _, err := account(tx, id.AccountID); err != nil {
			return Permissions{}, err
		}
		if id.IsRoot() {
			return Permissions{Root: true}, nil
		}
		if id.User != "" {
			u, err := getUser(tx, id.AccountID, id.User)
			if err == nil && u.ID != id.ID {
				err = noSuch("user", id.User)
			}
			if err != nil {
				return Permissions{}, err
			}
			return sources(tx, id.AccountID, "user", &u.Policies)
		}
		r, err := getRole(tx, id.AccountID, id.Role)
		if err == nil && r.ID != id.ID {
			err = noSuch("role", id.Role)
		}
		if err != nil {
			return Permissions{}, err
		}
		return sources(tx, id.AccountID, "role", &r.Policies)
	})
}

// sources parses the policies of a user or role.
func sources(tx *store.Tx, account, kind string, p *model.Policies) (out Permissions, err error) {
	names := make([]string, 0, len(p.Inline))
	for name := range p.Inline {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := out.add(name, kind, p.Inline[name]); err != nil {
			return out, err
		}
	}
	for _, arn := range p.Attached {
		m, err := managed(tx, account, arn)
		if err != nil {
			return out, err
		}
		kind := "user-managed"
		if m.AccountID == AWSAccount {
			kind = "aws-managed"
		}
		v, _ := m.Version("")
		if err := out.add(arn, kind, v.Document); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (p *Permissions) add(id, kind, document string) error {
	d, err := policy.Parse([]byte(document), policy.Identity)
	if err == nil {
		p.Sources = append(p.Sources, Source{id, kind, d})
	}
	return err
}

// Matched is a statement that decided.
type Matched struct {
	Source
	*policy.Statement
}

// Decide decides whether an identity with these permissions may do what a request
// asks for, and says which statements applied. It has no exceptions for roots.
func (p *Permissions) Decide(r policy.Request) (policy.Decision, []Matched) {
	documents := make([]*policy.Document, len(p.Sources))
	for i := range p.Sources {
		documents[i] = p.Sources[i].Document
	}
	decision, matches := policy.Evaluate(documents, r)
	out := make([]Matched, len(matches))
	for i, m := range matches {
		out[i] = Matched{p.Sources[m.Document], m.Statement}
	}
	if p.Session == nil || decision == policy.ExplicitDeny {
		return decision, out
	}
	session, matches := policy.Evaluate([]*policy.Document{p.Session.Document}, r)
	for _, m := range matches {
		out = append(out, Matched{*p.Session, m.Statement})
	}
	if session == policy.Allowed {
		return decision, out
	}
	return session, out
}
