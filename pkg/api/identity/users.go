package identity

import (
	"context"
	"slices"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/model"
)

// RegisterIAM adds IAM's actions to a table.
func (a *Actions) RegisterIAM(t *api.Table) {
	a.registerUsers(t)
	a.registerAccessKeys(t)
	a.registerPolicies(t)
	a.registerRoles(t)
	a.registerProfiles(t)
	a.registerTags(t)
	a.registerAccount(t)
}

func (a *Actions) registerUsers(t *api.Table) {
	d := a.directory
	add(t, "CreateUser", a.createUser, "UserName", "Path", "Tags")
	add(t, "GetUser", a.getUser, "UserName")
	add(t, "ListUsers", a.listUsers, "PathPrefix", "Marker", "MaxItems")
	add(t, "DeleteUser", do[iamtypes.DeleteUserInput, iamtypes.DeleteUserOutput](func(ctx context.Context, account string, in *iamtypes.DeleteUserInput) error {
		return d.DeleteUser(ctx, account, value(in.UserName))
	}), "UserName")
	add(t, "PutUserPolicy", do[iamtypes.PutUserPolicyInput, iamtypes.PutUserPolicyOutput](func(ctx context.Context, account string, in *iamtypes.PutUserPolicyInput) error {
		return d.PutUserPolicy(ctx, account, value(in.UserName), value(in.PolicyName), value(in.PolicyDocument))
	}), "UserName", "PolicyName", "PolicyDocument")
	add(t, "GetUserPolicy", a.getUserPolicy, "UserName", "PolicyName")
	add(t, "DeleteUserPolicy", do[iamtypes.DeleteUserPolicyInput, iamtypes.DeleteUserPolicyOutput](func(ctx context.Context, account string, in *iamtypes.DeleteUserPolicyInput) error {
		return d.DeleteUserPolicy(ctx, account, value(in.UserName), value(in.PolicyName))
	}), "UserName", "PolicyName")
	add(t, "AttachUserPolicy", do[iamtypes.AttachUserPolicyInput, iamtypes.AttachUserPolicyOutput](func(ctx context.Context, account string, in *iamtypes.AttachUserPolicyInput) error {
		return d.AttachUserPolicy(ctx, account, value(in.UserName), value(in.PolicyArn))
	}), "UserName", "PolicyArn")
	add(t, "DetachUserPolicy", do[iamtypes.DetachUserPolicyInput, iamtypes.DetachUserPolicyOutput](func(ctx context.Context, account string, in *iamtypes.DetachUserPolicyInput) error {
		return d.DetachUserPolicy(ctx, account, value(in.UserName), value(in.PolicyArn))
	}), "UserName", "PolicyArn")
	add(t, "ListUserPolicies", a.listUserPolicies, "UserName", "Marker", "MaxItems")
	add(t, "ListAttachedUserPolicies", a.listAttachedUserPolicies, "UserName", "PathPrefix", "Marker", "MaxItems")
}

func (a *Actions) createUser(ctx context.Context, in *iamtypes.CreateUserInput) (*iamtypes.CreateUserOutput, error) {
	tags, err := tagsFrom(in.Tags)
	if err != nil {
		return nil, err
	}
	u, err := a.directory.CreateUser(ctx, caller(ctx).AccountID, value(in.UserName), value(in.Path), tags)
	return &iamtypes.CreateUserOutput{User: userShape(&u)}, err
}

func (a *Actions) getUser(ctx context.Context, in *iamtypes.GetUserInput) (*iamtypes.GetUserOutput, error) {
	id := caller(ctx)
	name, err := userOf(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	if name == "" { // the root, who has no name
		account, err := a.directory.Account(ctx, id.AccountID)
		return &iamtypes.GetUserOutput{User: &iamtypes.User{Arn: new(id.ARN()), CreateDate: &account.Created, UserId: &account.ID}}, err
	}
	u, err := a.directory.User(ctx, id.AccountID, name)
	return &iamtypes.GetUserOutput{User: userShape(&u)}, err
}

func (a *Actions) listUsers(ctx context.Context, in *iamtypes.ListUsersInput) (*iamtypes.ListUsersOutput, error) {
	all, err := a.directory.Users(ctx, caller(ctx).AccountID, value(in.PathPrefix))
	if err != nil {
		return nil, err
	}
	part, truncated, marker, err := page(a, listing{"ListUsers", in.Marker, in.MaxItems, in.PathPrefix}, all, func(u model.User) string { return u.Name })
	out := &iamtypes.ListUsersOutput{IsTruncated: truncated, Marker: marker}
	for i := range part {
		out.Users = append(out.Users, *userShape(&part[i]))
	}
	return out, err
}

func (a *Actions) getUserPolicy(ctx context.Context, in *iamtypes.GetUserPolicyInput) (*iamtypes.GetUserPolicyOutput, error) {
	document, err := a.directory.UserPolicy(ctx, caller(ctx).AccountID, value(in.UserName), value(in.PolicyName))
	return &iamtypes.GetUserPolicyOutput{PolicyDocument: escaped(document), PolicyName: in.PolicyName, UserName: in.UserName}, err
}

func (a *Actions) listUserPolicies(ctx context.Context, in *iamtypes.ListUserPoliciesInput) (*iamtypes.ListUserPoliciesOutput, error) {
	u, err := a.directory.User(ctx, caller(ctx).AccountID, value(in.UserName))
	if err != nil {
		return nil, err
	}
	part, truncated, marker, err := page(a, listing{"ListUserPolicies", in.Marker, in.MaxItems, in.UserName}, inlineNames(&u.Policies), itself)
	return &iamtypes.ListUserPoliciesOutput{PolicyNames: part, IsTruncated: truncated, Marker: marker}, err
}

func (a *Actions) listAttachedUserPolicies(ctx context.Context, in *iamtypes.ListAttachedUserPoliciesInput) (*iamtypes.ListAttachedUserPoliciesOutput, error) {
	u, err := a.directory.User(ctx, caller(ctx).AccountID, value(in.UserName))
	if err != nil {
		return nil, err
	}
	part, truncated, marker, err := page(a, listing{"ListAttachedUserPolicies", in.Marker, in.MaxItems, []*string{in.UserName, in.PathPrefix}}, attachedWith(&u.Policies, value(in.PathPrefix)), itself)
	return &iamtypes.ListAttachedUserPoliciesOutput{AttachedPolicies: attachedShape(part), IsTruncated: truncated, Marker: marker}, err
}

func inlineNames(p *model.Policies) []string {
	names := make([]string, 0, len(p.Inline))
	for name := range p.Inline {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
