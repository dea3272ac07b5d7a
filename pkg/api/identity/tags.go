package identity

import (
	"context"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/model"
)

// tagger changes the tags of what has a name, or an ARN.
type tagger func(ctx context.Context, account, name string, ch auth.TagChange) error

func (t tagger) set(ctx context.Context, account string, name *string, tags []iamtypes.Tag) error {
	set, err := tagsFrom(tags)
	if err != nil {
		return err
	}
	return t(ctx, account, value(name), auth.TagChange{Set: set})
}

func (t tagger) remove(ctx context.Context, account string, name *string, keys []string) error {
	return t(ctx, account, value(name), auth.TagChange{Remove: keys})
}

func (a *Actions) registerTags(t *api.Table) {
	user, role, profile, policy := tagger(a.directory.TagUser), tagger(a.directory.TagRole), tagger(a.directory.TagProfile), tagger(a.directory.TagPolicy)
	add(t, "TagUser", do[iamtypes.TagUserInput, iamtypes.TagUserOutput](func(ctx context.Context, account string, in *iamtypes.TagUserInput) error {
		return user.set(ctx, account, in.UserName, in.Tags)
	}), "UserName", "Tags")
	add(t, "UntagUser", do[iamtypes.UntagUserInput, iamtypes.UntagUserOutput](func(ctx context.Context, account string, in *iamtypes.UntagUserInput) error {
		return user.remove(ctx, account, in.UserName, in.TagKeys)
	}), "UserName", "TagKeys")
	add(t, "ListUserTags", a.listUserTags, "UserName", "Marker", "MaxItems")
	add(t, "TagRole", do[iamtypes.TagRoleInput, iamtypes.TagRoleOutput](func(ctx context.Context, account string, in *iamtypes.TagRoleInput) error {
		return role.set(ctx, account, in.RoleName, in.Tags)
	}), "RoleName", "Tags")
	add(t, "UntagRole", do[iamtypes.UntagRoleInput, iamtypes.UntagRoleOutput](func(ctx context.Context, account string, in *iamtypes.UntagRoleInput) error {
		return role.remove(ctx, account, in.RoleName, in.TagKeys)
	}), "RoleName", "TagKeys")
	add(t, "ListRoleTags", a.listRoleTags, "RoleName", "Marker", "MaxItems")
	add(t, "TagInstanceProfile", do[iamtypes.TagInstanceProfileInput, iamtypes.TagInstanceProfileOutput](func(ctx context.Context, account string, in *iamtypes.TagInstanceProfileInput) error {
		return profile.set(ctx, account, in.InstanceProfileName, in.Tags)
	}), "InstanceProfileName", "Tags")
	add(t, "UntagInstanceProfile", do[iamtypes.UntagInstanceProfileInput, iamtypes.UntagInstanceProfileOutput](func(ctx context.Context, account string, in *iamtypes.UntagInstanceProfileInput) error {
		return profile.remove(ctx, account, in.InstanceProfileName, in.TagKeys)
	}), "InstanceProfileName", "TagKeys")
	add(t, "ListInstanceProfileTags", a.listProfileTags, "InstanceProfileName", "Marker", "MaxItems")
	add(t, "TagPolicy", do[iamtypes.TagPolicyInput, iamtypes.TagPolicyOutput](func(ctx context.Context, account string, in *iamtypes.TagPolicyInput) error {
		return policy.set(ctx, account, in.PolicyArn, in.Tags)
	}), "PolicyArn", "Tags")
	add(t, "UntagPolicy", do[iamtypes.UntagPolicyInput, iamtypes.UntagPolicyOutput](func(ctx context.Context, account string, in *iamtypes.UntagPolicyInput) error {
		return policy.remove(ctx, account, in.PolicyArn, in.TagKeys)
	}), "PolicyArn", "TagKeys")
	add(t, "ListPolicyTags", a.listPolicyTags, "PolicyArn", "Marker", "MaxItems")
}

// tagPage is a part of an object's tags, in the order of their keys.
func (a *Actions) tagPage(l listing, tags model.Tags) ([]iamtypes.Tag, *bool, *string, error) {
	return page(a, l, tagsOf(tags), func(t iamtypes.Tag) string { return *t.Key })
}

func (a *Actions) listUserTags(ctx context.Context, in *iamtypes.ListUserTagsInput) (*iamtypes.ListUserTagsOutput, error) {
	u, err := a.directory.User(ctx, caller(ctx).AccountID, value(in.UserName))
	if err != nil {
		return nil, err
	}
	part, truncated, marker, err := a.tagPage(listing{"ListUserTags", in.Marker, in.MaxItems, in.UserName}, u.Tags)
	return &iamtypes.ListUserTagsOutput{Tags: part, IsTruncated: truncated, Marker: marker}, err
}

func (a *Actions) listRoleTags(ctx context.Context, in *iamtypes.ListRoleTagsInput) (*iamtypes.ListRoleTagsOutput, error) {
	r, err := a.directory.Role(ctx, caller(ctx).AccountID, value(in.RoleName))
	if err != nil {
		return nil, err
	}
	part, truncated, marker, err := a.tagPage(listing{"ListRoleTags", in.Marker, in.MaxItems, in.RoleName}, r.Tags)
	return &iamtypes.ListRoleTagsOutput{Tags: part, IsTruncated: truncated, Marker: marker}, err
}

func (a *Actions) listProfileTags(ctx context.Context, in *iamtypes.ListInstanceProfileTagsInput) (*iamtypes.ListInstanceProfileTagsOutput, error) {
	p, err := a.directory.Profile(ctx, caller(ctx).AccountID, value(in.InstanceProfileName))
	if err != nil {
		return nil, err
	}
	part, truncated, marker, err := a.tagPage(listing{"ListInstanceProfileTags", in.Marker, in.MaxItems, in.InstanceProfileName}, p.Tags)
	return &iamtypes.ListInstanceProfileTagsOutput{Tags: part, IsTruncated: truncated, Marker: marker}, err
}

func (a *Actions) listPolicyTags(ctx context.Context, in *iamtypes.ListPolicyTagsInput) (*iamtypes.ListPolicyTagsOutput, error) {
	p, err := a.directory.Policy(ctx, caller(ctx).AccountID, value(in.PolicyArn))
	if err != nil {
		return nil, err
	}
	part, truncated, marker, err := a.tagPage(listing{"ListPolicyTags", in.Marker, in.MaxItems, in.PolicyArn}, p.Tags)
	return &iamtypes.ListPolicyTagsOutput{Tags: part, IsTruncated: truncated, Marker: marker}, err
}
