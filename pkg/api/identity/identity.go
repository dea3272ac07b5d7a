// Package identity owns the actions of STS and IAM, and bundt's own on accounts:
// each turns a request's shape into a use case of pkg/auth and its result back. It
// may import pkg/api, pkg/auth and pkg/model.
package identity

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/model"
)

// Actions are the handlers, on one directory.
type Actions struct {
	directory *auth.Directory
	pager     *api.Pager
}

// New returns the actions on a directory; secret is the cloud's, for markers.
func New(d *auth.Directory, secret []byte) *Actions {
	return &Actions{directory: d, pager: api.NewPager(secret)}
}

// add registers an action. Tags may have empty values.
func add[I, O any](t *api.Table, name string, handler func(context.Context, *I) (*O, error), acts ...string) {
	var keep []string
	if slices.Contains(acts, "Tags") {
		keep = []string{"Tags.Value"}
	}
	addKeeping(t, name, handler, keep, acts...)
}

// addKeeping registers an action that tells some empty parameters from absent ones.
func addKeeping[I, O any](t *api.Table, name string, handler func(context.Context, *I) (*O, error), keep []string, acts ...string) {
	api.Register(t, api.Action[I, O]{Name: name, Handler: handler, Acts: acts, KeepEmpty: keep})
}

// do is a handler of an action whose answer is empty.
func do[I, O any](f func(ctx context.Context, account string, in *I) error) func(context.Context, *I) (*O, error) {
	return func(ctx context.Context, in *I) (*O, error) { return new(O), f(ctx, caller(ctx).AccountID, in) }
}

func caller(ctx context.Context) model.Identity { return api.PrincipalFrom(ctx).Identity }

func value[T any](p *T) T { return ec2types.Value(p) }

// str is nil for an empty string, which responses leave out.
func str(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// escaped is a policy's document as IAM answers with it: percent-encoded.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetPolicyVersion.html
func escaped(document string) *string {
	return new(strings.ReplaceAll(url.QueryEscape(document), "+", "%20"))
}

// IAM's sizes of pages.
const (
	defaultPage = 100
	maxPage     = 1000
)

// listing is what a request says about pages, and what it lists of.
type listing struct {
	action string
	marker *string
	max    *int32
	of     any // what selects objects
}

// page returns the part of all that a request asks for, in the order of keys.
func page[T any](a *Actions, l listing, all []T, key func(T) string) (part []T, truncated *bool, marker *string, err error) {
	size := l.max
	if size == nil {
		size = new(int32(defaultPage))
	}
	part, marker, err = api.Paginate(a.pager, api.PageRequest{
		Action: l.action, NextToken: l.marker, MaxResults: size, Query: l.of, Min: 1, Max: maxPage,
	}, all, key)
	if model.CodeOf(err) == model.CodeInvalidNextToken {
		err = model.Errorf(auth.CodeInvalidInput, "Invalid Marker.")
	}
	return part, new(marker != nil), marker, err
}

func itself(s string) string { return s }

// userOf is the user that a request is about: the one it names, else the caller;
// "" is the account's root.
func userOf(ctx context.Context, name *string) (string, error) {
	id := caller(ctx)
	if name == nil && id.Role != "" {
		return "", model.Errorf(auth.CodeValidationError, "Must specify userName when calling with non-User credentials")
	}
	if name == nil {
		return id.User, nil
	}
	return *name, nil
}

func tagsFrom(tags []iamtypes.Tag) (model.Tags, error) {
	out := model.Tags{}
	for _, t := range tags {
		if _, twice := out[value(t.Key)]; twice {
			return nil, model.Errorf(auth.CodeInvalidInput, "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		out[value(t.Key)] = value(t.Value)
	}
	return out, nil
}

func tagsOf(tags model.Tags) (out []iamtypes.Tag) {
	for k, v := range tags {
		out = append(out, iamtypes.Tag{Key: &k, Value: &v})
	}
	slices.SortFunc(out, func(a, b iamtypes.Tag) int { return strings.Compare(*a.Key, *b.Key) })
	return out
}

func userShape(u *model.User) *iamtypes.User {
	return &iamtypes.User{Arn: new(u.ARN()), CreateDate: &u.Created, Path: &u.Path, UserId: &u.ID, UserName: &u.Name, Tags: tagsOf(u.Tags)}
}

func roleShape(r *model.Role) *iamtypes.Role {
	return &iamtypes.Role{
		Arn: new(r.ARN()), AssumeRolePolicyDocument: escaped(r.Trust), CreateDate: &r.Created, Description: str(r.Description),
		MaxSessionDuration: new(int32(r.MaxSession / time.Second)), Path: &r.Path, RoleId: &r.ID, RoleName: &r.Name, Tags: tagsOf(r.Tags),
	}
}

func policyShape(p *model.ManagedPolicy, attachments int) *iamtypes.Policy {
	return &iamtypes.Policy{
		Arn: new(p.ARN()), AttachmentCount: new(int32(attachments)), CreateDate: &p.Created, DefaultVersionId: &p.Default, Description: str(p.Description),
		IsAttachable: new(true), Path: &p.Path, PermissionsBoundaryUsageCount: new(int32(0)), PolicyId: &p.ID, PolicyName: &p.Name,
		Tags: tagsOf(p.Tags), UpdateDate: &p.Updated,
	}
}

func versionShape(p *model.ManagedPolicy, v *model.PolicyVersion, document bool) iamtypes.PolicyVersion {
	out := iamtypes.PolicyVersion{CreateDate: &v.Created, IsDefaultVersion: new(v.ID == p.Default), VersionId: &v.ID}
	if document {
		out.Document = escaped(v.Document)
	}
	return out
}
