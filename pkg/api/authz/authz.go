// Package authz owns the authorisation of calls: which action on which resources
// a call is, under which condition keys, and how a refusal is told. Whether
// policies allow that is pkg/auth's; what a resource is like, pkg/cloud's.
//
// The actions, resources and condition keys are those of AWS's service
// authorization reference, so that policies written for AWS mean the same here:
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
//
// It may import pkg/api, pkg/auth, pkg/cloud and pkg/model, and is imported by
// pkg/daemon only.
package authz

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/auth/policy"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

// Objects knows the attributes of an account's objects.
type Objects func(ctx context.Context, account, ref string) (cloud.Attributes, bool, error)

// Authorizer decides about calls.
type Authorizer struct {
	directory *auth.Directory
	objects   Objects
}

// New returns an Authorizer of the identities in a directory.
func New(d *auth.Directory, objects Objects) *Authorizer { return &Authorizer{d, objects} }

// adminOnly are actions on what is not an account's: no policy of another account
// than the admin's can allow them.
var adminOnly = []string{
	"bundt:CreateAccount", "bundt:DeleteAccount", "bundt:ModifyAccountQuotas", "bundt:DescribeHost", "bundt:DescribeInventory", "bundt:AdoptDomain",
	"bundt:AddPublisher", "bundt:RefreshPublisher", "bundt:RemovePublisher",
	"bundt:PreviewLan", "bundt:AttachLan", "bundt:ConfirmLan", "bundt:DetachLan",
}

// unconditional are actions that every identity may use, whatever its policies say:
// who it is, and where it is to be told.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
var unconditional = []string{"sts:GetCallerIdentity", "bundt:DescribeEndpoint", "bundt:GetInstanceIdentityCertificate"}

// Authorize returns nil if the call's principal may make it; else the error that
// the service's clients know: UnauthorizedOperation of EC2, AccessDenied of others.
func (a *Authorizer) Authorize(ctx context.Context, call *api.Call) error {
	id, action := call.Principal.Identity, ActionOf(call)
	if id.AccountID == "" {
		return a.refuse(&check{action: action, resource: "*"}, id, policy.ImplicitDeny, nil)
	}
	if slices.Contains(adminOnly, action) && id.AccountID != a.directory.AdminAccount() {
		return a.refuse(&check{action: action, resource: "*"}, id, policy.ImplicitDeny, nil)
	}
	permissions, err := a.directory.Policies(ctx, id)
	if model.CodeOf(err) == auth.CodeNoSuchEntity {
		return model.Errorf(model.CodeAuthFailure, "The account, user or role that signed the request does not exist")
	}
	if err != nil {
		return fmt.Errorf("reading the policies of %s: %w", id.ARN(), err)
	}
	if id.AccessKeyID != "" {
		a.directory.Used(id.AccessKeyID, ServiceOf(action))
	}
	if action == "sts:AssumeRole" {
		return a.mayAssume(ctx, call, &permissions)
	}
	if permissions.Root || slices.Contains(unconditional, action) {
		return nil
	}
	for _, c := range a.checks(ctx, call, action) {
		keys := a.keys(ctx, call, &c)
		decision, matched := permissions.Decide(policy.Request{Action: c.action, Resource: c.resource, Keys: keys.lookup})
		if keys.err != nil {
			return fmt.Errorf("reading the attributes of %s: %w", c.resource, keys.err)
		}
		if decision == policy.Allowed || (c.mayBeSilent && decision == policy.ImplicitDeny) {
			continue
		}
		c.shown = keys.shown()
		return a.refuse(&c, id, decision, matched)
	}
	return nil
}

// mayAssume decides with the caller's policies and with the role's own.
func (a *Authorizer) mayAssume(ctx context.Context, call *api.Call, permissions *auth.Permissions) error {
	id := call.Principal.Identity
	c := check{action: "sts:AssumeRole", resource: text(call.Input, "RoleArn")}
	for member, key := range map[string]string{"ExternalId": "sts:ExternalId", "RoleSessionName": "sts:RoleSessionName"} {
		if v := text(call.Input, member); v != "" {
			c.extra = append(c.extra, conditionKey{key, []string{v}})
		}
	}
	if permissions.Root {
		return model.Errorf(auth.CodeAccessDenied, "Roles may not be assumed by root accounts.")
	}
	keys := a.keys(ctx, call, &c)
	decision, matched := permissions.Decide(policy.Request{Action: c.action, Resource: c.resource, Keys: keys.lookup})
	if decision == policy.ExplicitDeny {
		return a.refuse(&c, id, decision, matched)
	}
	return a.directory.MayAssume(ctx, id, c.resource, decision == policy.Allowed, keys.lookup)
}

// check is one question that a call asks of the policies.
type check struct {
	action   string
	resource string
	ref      string // id of the resource, or name of a key pair; "" if it is yet to be made
	kind     string // type of the resource: "instance"
	// extra are the condition keys that this check has besides those of all.
	extra []conditionKey
	// service is the one that was called, if it is not the action's.
	service string
	// mayBeSilent: only an explicit deny refuses; the rest is decided elsewhere.
	mayBeSilent bool
	shown       []conditionKey
}

// ActionOf is a call's action as policies name it: "ec2:RunInstances". The
// service is that of the types that the call's input is of.
func ActionOf(call *api.Call) string {
	service := "bundt"
	if t := reflect.TypeOf(call.Input); t != nil && t.Kind() == reflect.Pointer {
		path := t.Elem().PkgPath()
		path = path[strings.LastIndexByte(path, '/')+1:]
		if name, ok := strings.CutSuffix(path, "types"); ok {
			service = name
		}
		if service == "monitoring" { // as CloudWatch's requests are signed for, not as policies call it
			service = "cloudwatch"
		}
	}
	return service + ":" + call.Action
}

// ServiceOf is the service of an action: "ec2".
func ServiceOf(action string) string {
	service, _, _ := strings.Cut(action, ":")
	return service
}
