package auth

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/auth/policy"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// How long a role's session may last.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html
const (
	minMaxSession = time.Hour
	maxMaxSession = 12 * time.Hour
)

func getRole(tx *store.Tx, account, name string) (model.Role, error) {
	return named(tx, records.Roles, "role", account, name)
}

// CreateRole makes a role that may do nothing yet. Its ID, AccountID and Created
// are filled in; MaxSession is an hour if it is zero.
func (d *Directory) CreateRole(ctx context.Context, account string, r model.Role) (model.Role, error) {
	if err := errors.Join(checkName("roleName", r.Name, maxRoleName), checkTags(r.Tags)); err != nil {
		return r, err
	}
	var err error
	if r.Path, err = checkPath(r.Path); err != nil {
		return r, err
	}
	if r.MaxSession == 0 {
		r.MaxSession = minMaxSession
	}
	if err := checkRole(&r); err != nil {
		return r, err
	}
	trust, err := checkDocument(r.Trust, policy.Trust, maxTrust)
	if err != nil {
		return r, err
	}
	r.ID, r.AccountID, r.Created = model.NewIAMID(model.RoleIDPrefix), account, d.Now()
	return r, d.update(ctx, func(tx *store.Tx) error {
		if err := principalsExist(tx, trust); err != nil {
			return err
		}
		return add(tx, records.Roles, "Role", account, r.Name, &r)
	})
}

// checkRole checks what a role says of itself.
func checkRole(r *model.Role) error {
	if len(r.Description) > maxDescription {
		return model.Errorf(CodeValidationError, "The specified value for description has more than %d characters", maxDescription)
	}
	if r.MaxSession < minMaxSession || r.MaxSession > maxMaxSession {
		return model.Errorf(CodeValidationError, "MaxSessionDuration must be from %d to %d seconds", int(minMaxSession.Seconds()), int(maxMaxSession.Seconds()))
	}
	return nil
}

// DescribeRole changes a role's description and how long its sessions may last;
// nil leaves either as it is.
func (d *Directory) DescribeRole(ctx context.Context, account, name string, description *string, maxSession *time.Duration) error {
	return d.ChangeRole(ctx, account, name, func(_ *store.Tx, r *model.Role) error {
		if description != nil {
			r.Description = *description
		}
		if maxSession != nil {
			r.MaxSession = *maxSession
		}
		return checkRole(r)
	})
}

// principalsExist refuses a trust policy that names users or roles that do not exist.
func principalsExist(tx *store.Tx, trust *policy.Document) error {
	for _, arn := range trust.PrincipalARNs() {
		if err := principalExists(tx, arn); err != nil {
			if model.CodeOf(err) == CodeNoSuchEntity {
				return model.Errorf(CodeMalformedPolicyDocument, "Invalid principal in policy: \"AWS\":%q", arn)
			}
			return err
		}
	}
	return nil
}

func principalExists(tx *store.Tx, arn string) error {
	account, kind, path, name, err := SplitARN(arn)
	if err != nil {
		return err
	}
	var same bool
	if kind == "user" {
		u, e := getUser(tx, account, name)
		same, err = u.Path == path, e
	} else {
		r, e := getRole(tx, account, name)
		same, err = r.Path == path, e
	}
	if err == nil && !same {
		err = noSuch(kind, name)
	}
	return err
}

// SplitARN takes the ARN of one of IAM's objects apart.
func SplitARN(arn string) (account, kind, path, name string, err error) {
	fields := strings.SplitN(arn, ":", 6)
	if len(fields) != 6 || fields[0] != "arn" || fields[1] != "aws" || fields[2] != "iam" || fields[3] != "" {
		return "", "", "", "", model.Errorf(CodeInvalidInput, "ARN %s is not valid.", arn)
	}
	kind, rest, ok := strings.Cut(fields[5], "/")
	rest = "/" + rest
	slash := strings.LastIndexByte(rest, '/')
	if path, name = rest[:slash+1], rest[slash+1:]; !ok || name == "" {
		return "", "", "", "", model.Errorf(CodeInvalidInput, "ARN %s is not valid.", arn)
	}
	return fields[4], kind, path, name, nil
}

// Role returns a role.
func (d *Directory) Role(ctx context.Context, account, name string) (model.Role, error) {
	return view(ctx, d, func(tx *store.Tx) (model.Role, error) { return getRole(tx, account, name) })
}

// Roles returns an account's roles whose path begins with a prefix, by name.
func (d *Directory) Roles(ctx context.Context, account, pathPrefix string) ([]model.Role, error) {
	return listIAM(ctx, d, records.Roles, account, func(r *model.Role) bool { return strings.HasPrefix(r.Path, pathPrefix) })
}

// ChangeRole changes a role in one transaction.
func (d *Directory) ChangeRole(ctx context.Context, account, name string, change func(tx *store.Tx, r *model.Role) error) error {
	return d.update(ctx, func(tx *store.Tx) error {
		r, err := getRole(tx, account, name)
		if err != nil {
			return err
		}
		if err := change(tx, &r); err != nil {
			return err
		}
		return records.Roles.Put(tx, &r)
	})
}

// DeleteRole deletes a role that has no policies and is in no instance profile.
func (d *Directory) DeleteRole(ctx context.Context, account, name string) error {
	return d.update(ctx, func(tx *store.Tx) error {
		r, err := getRole(tx, account, name)
		if err != nil {
			return err
		}
		profiles, err := profilesWith(tx, account, r.Name)
		switch {
		case err != nil:
			return err
		case len(profiles) > 0:
			return model.Errorf(CodeDeleteConflict, "Cannot delete entity, must remove roles from instance profile first.")
		case len(r.Policies.Inline) > 0:
			return model.Errorf(CodeDeleteConflict, "Cannot delete entity, must delete policies first.")
		case len(r.Policies.Attached) > 0:
			return model.Errorf(CodeDeleteConflict, "Cannot delete entity, must detach all policies first.")
		}
		return records.Roles.Delete(tx, records.IAMKey(account, r.Name))
	})
}

// SetTrust says anew who may assume a role. Its sessions go on.
func (d *Directory) SetTrust(ctx context.Context, account, role, document string) error {
	trust, err := checkDocument(document, policy.Trust, maxTrust)
	if err != nil {
		return err
	}
	return d.ChangeRole(ctx, account, role, func(tx *store.Tx, r *model.Role) error {
		r.Trust = document
		return principalsExist(tx, trust)
	})
}

// PutRolePolicy adds or replaces an inline policy of a role.
func (d *Directory) PutRolePolicy(ctx context.Context, account, role, name, document string) error {
	return d.ChangeRole(ctx, account, role, func(_ *store.Tx, r *model.Role) error {
		return putInline(&r.Policies, name, document, maxRoleInline)
	})
}

// RolePolicy returns the document of an inline policy of a role.
func (d *Directory) RolePolicy(ctx context.Context, account, role, name string) (string, error) {
	r, err := d.Role(ctx, account, role)
	if err != nil {
		return "", err
	}
	return inline(&r.Policies, "role", role, name)
}

// DeleteRolePolicy deletes an inline policy of a role.
func (d *Directory) DeleteRolePolicy(ctx context.Context, account, role, name string) error {
	return d.ChangeRole(ctx, account, role, func(_ *store.Tx, r *model.Role) error {
		_, err := inline(&r.Policies, "role", role, name)
		delete(r.Policies.Inline, name)
		return err
	})
}

// AttachRolePolicy gives a role the permissions of a managed policy.
func (d *Directory) AttachRolePolicy(ctx context.Context, account, role, arn string) error {
	return d.ChangeRole(ctx, account, role, func(tx *store.Tx, r *model.Role) error {
		if _, err := managed(tx, account, arn); err != nil {
			return err
		}
		return attached(&r.Policies, arn)
	})
}

// DetachRolePolicy takes the permissions of a managed policy from a role.
func (d *Directory) DetachRolePolicy(ctx context.Context, account, role, arn string) error {
	return d.ChangeRole(ctx, account, role, func(_ *store.Tx, r *model.Role) error { return detached(&r.Policies, arn) })
}

// roleByARN returns the role of an ARN; NoSuchEntity if there is none.
func (d *Directory) roleByARN(ctx context.Context, arn string) (model.Role, error) {
	account, kind, path, name, err := SplitARN(arn)
	if err != nil || kind != "role" {
		return model.Role{}, model.Errorf(CodeValidationError, "%s is invalid", arn)
	}
	r, err := d.Role(ctx, account, name)
	if err == nil && r.Path != path {
		err = noSuch("role", name)
	}
	return r, err
}

// MayAssume returns nil if a role's trust policy names the caller, or names the
// caller's account and the caller's own policies allow it, which is what allowed
// says; from another account both are needed. keys are the request's condition keys.
// Whether a role exists is told to nobody who may not assume it.
func (d *Directory) MayAssume(ctx context.Context, caller model.Identity, arn string, allowed bool, keys policy.Lookup) error {
	refused := model.Errorf(CodeAccessDenied, "User: %s is not authorized to perform: sts:AssumeRole on resource: %s", caller.ARN(), arn)
	r, err := d.roleByARN(ctx, arn)
	if code := model.CodeOf(err); code == CodeNoSuchEntity || (err == nil && !d.trusts(&r, caller, allowed, keys)) {
		return refused
	}
	return err
}

// Assume makes a session of a role. Whether the caller may is MayAssume's.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func (d *Directory) Assume(ctx context.Context, arn, session, sessionPolicy string, lifetime time.Duration) (Credentials, model.Identity, error) {
	var id model.Identity
	if err := checkSession(session, sessionPolicy); err != nil {
		return Credentials{}, id, err
	}
	r, err := d.roleByARN(ctx, arn)
	if err != nil {
		return Credentials{}, id, err
	}
	if lifetime > r.MaxSession {
		return Credentials{}, id, model.Errorf(CodeValidationError, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	id = model.Identity{AccountID: r.AccountID, Role: r.Name, Session: session, Path: r.Path, ID: r.ID, SessionPolicy: sessionPolicy}
	c, err := d.NewSession(id, lifetime)
	return c, id, err
}

func checkSession(session, sessionPolicy string) error {
	if len(session) < 2 || len(session) > 64 || !iamName.MatchString(session) {
		return model.Errorf(CodeValidationError, "RoleSessionName must be 2 to 64 alphanumeric characters or +=,.@_-")
	}
	if sessionPolicy == "" {
		return nil
	}
	_, err := checkDocument(sessionPolicy, policy.Identity, maxSessionSize)
	return err
}

// trusts reports whether a role may be assumed by a caller.
func (d *Directory) trusts(r *model.Role, caller model.Identity, allowed bool, keys policy.Lookup) bool {
	trust, err := policy.Parse([]byte(r.Trust), policy.Trust)
	if err != nil {
		d.log.Error("a role's trust policy does not parse", "role", r.ARN(), "error", err)
		return false
	}
	who := policy.Caller{Account: caller.AccountID, ARNs: []string{caller.ARN(), caller.PrincipalARN()}}
	switch trust.Trusts(who, policy.Request{Action: "sts:AssumeRole", Resource: r.ARN(), Keys: keys}) {
	case policy.TrustsAccount:
		return allowed
	case policy.TrustsCaller:
		return allowed || caller.AccountID == r.AccountID
	}
	return false
}
