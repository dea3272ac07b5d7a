package identity

import (
	"context"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerRoles(t *api.Table) {
	d := a.directory
	add(t, "CreateRole", a.createRole, "RoleName", "Path", "Description", "AssumeRolePolicyDocument", "MaxSessionDuration", "Tags")
	add(t, "GetRole", a.getRole, "RoleName")
	add(t, "ListRoles", a.listRoles, "PathPrefix", "Marker", "MaxItems")
	add(t, "DeleteRole", do[iamtypes.DeleteRoleInput, iamtypes.DeleteRoleOutput](func(ctx context.Context, account string, in *iamtypes.DeleteRoleInput) error {
		return d.DeleteRole(ctx, account, value(in.RoleName))
	}), "RoleName")
	add(t, "UpdateAssumeRolePolicy", do[iamtypes.UpdateAssumeRolePolicyInput, iamtypes.UpdateAssumeRolePolicyOutput](func(ctx context.Context, account string, in *iamtypes.UpdateAssumeRolePolicyInput) error {
		return d.SetTrust(ctx, account, value(in.RoleName), value(in.PolicyDocument))
	}), "RoleName", "PolicyDocument")
	addKeeping(t, "UpdateRole", do[iamtypes.UpdateRoleInput, iamtypes.UpdateRoleOutput](func(ctx context.Context, account string, in *iamtypes.UpdateRoleInput) error {
		var session *time.Duration
		if in.MaxSessionDuration != nil {
			session = new(time.Duration(*in.MaxSessionDuration) * time.Second)
		}
		return d.DescribeRole(ctx, account, value(in.RoleName), in.Description, session)
	}), []string{"Description"}, "RoleName", "Description", "MaxSessionDuration")
	addKeeping(t, "UpdateRoleDescription", a.updateRoleDescription, []string{"Description"}, "RoleName", "Description")
	add(t, "PutRolePolicy", do[iamtypes.PutRolePolicyInput, iamtypes.PutRolePolicyOutput](func(ctx context.Context, account string, in *iamtypes.PutRolePolicyInput) error {
		return d.PutRolePolicy(ctx, account, value(in.RoleName), value(in.PolicyName), value(in.PolicyDocument))
	}), "RoleName", "PolicyName", "PolicyDocument")
	add(t, "GetRolePolicy", a.getRolePolicy, "RoleName", "PolicyName")
	add(t, "DeleteRolePolicy", do[iamtypes.DeleteRolePolicyInput, iamtypes.DeleteRolePolicyOutput](func(ctx context.Context, account string, in *iamtypes.DeleteRolePolicyInput) error {
		return d.DeleteRolePolicy(ctx, account, value(in.RoleName), value(in.PolicyName))
	}), "RoleName", "PolicyName")
	add(t, "AttachRolePolicy", do[iamtypes.AttachRolePolicyInput, iamtypes.AttachRolePolicyOutput](func(ctx context.Context, account string, in *iamtypes.AttachRolePolicyInput) error {
		return d.AttachRolePolicy(ctx, account, value(in.RoleName), value(in.PolicyArn))
	}), "RoleName", "PolicyArn")
	add(t, "DetachRolePolicy", do[iamtypes.DetachRolePolicyInput, iamtypes.DetachRolePolicyOutput](func(ctx context.Context, account string, in *iamtypes.DetachRolePolicyInput) error {
		return d.DetachRolePolicy(ctx, account, value(in.RoleName), value(in.PolicyArn))
	}), "RoleName", "PolicyArn")
	add(t, "ListRolePolicies", a.listRolePolicies, "RoleName", "Marker", "MaxItems")
	add(t, "ListAttachedRolePolicies", a.listAttachedRolePolicies, "RoleName", "PathPrefix", "Marker", "MaxItems")
}

func (a *Actions) createRole(ctx context.Context, in *iamtypes.CreateRoleInput) (*iamtypes.CreateRoleOutput, error) {
	tags, err := tagsFrom(in.Tags)
	if err != nil {
		return nil, err
	}
	r, err := a.directory.CreateRole(ctx, caller(ctx).AccountID, model.Role{
		Name: value(in.RoleName), Path: value(in.Path), Description: value(in.Description), Trust: value(in.AssumeRolePolicyDocument),
		MaxSession: time.Duration(value(in.MaxSessionDuration)) * time.Second, Tags: tags,
	})
	return &iamtypes.CreateRoleOutput{Role: roleShape(&r)}, err
}

func (a *Actions) getRole(ctx context.Context, in *iamtypes.GetRoleInput) (*iamtypes.GetRoleOutput, error) {
	r, err := a.directory.Role(ctx, caller(ctx).AccountID, value(in.RoleName))
	return &iamtypes.GetRoleOutput{Role: roleShape(&r)}, err
}

func (a *Actions) updateRoleDescription(ctx context.Context, in *iamtypes.UpdateRoleDescriptionInput) (*iamtypes.UpdateRoleDescriptionOutput, error) {
	account := caller(ctx).AccountID
	if err := a.directory.DescribeRole(ctx, account, value(in.RoleName), in.Description, nil); err != nil {
		return nil, err
	}
	r, err := a.directory.Role(ctx, account, value(in.RoleName))
	return &iamtypes.UpdateRoleDescriptionOutput{Role: roleShape(&r)}, err
}

func (a *Actions) listRoles(ctx context.Context, in *iamtypes.ListRolesInput) (*iamtypes.ListRolesOutput, error) {
	all, err := a.directory.Roles(ctx, caller(ctx).AccountID, value(in.PathPrefix))
	if err != nil {
		return nil, err
	}
	part, truncated, marker, err := page(a, listing{"ListRoles", in.Marker, in.MaxItems, in.PathPrefix}, all, func(r model.Role) string { return r.Name })
	out := &iamtypes.ListRolesOutput{IsTruncated: truncated, Marker: marker}
	for i := range part {
		out.Roles = append(out.Roles, *roleShape(&part[i]))
	}
	return out, err
}

func (a *Actions) getRolePolicy(ctx context.Context, in *iamtypes.GetRolePolicyInput) (*iamtypes.GetRolePolicyOutput, error) {
	document, err := a.directory.RolePolicy(ctx, caller(ctx).AccountID, value(in.RoleName), value(in.PolicyName))
	return &iamtypes.GetRolePolicyOutput{PolicyDocument: escaped(document), PolicyName: in.PolicyName, RoleName: in.RoleName}, err
}

func (a *Actions) listRolePolicies(ctx context.Context, in *iamtypes.ListRolePoliciesInput) (*iamtypes.ListRolePoliciesOutput, error) {
	r, err := a.directory.Role(ctx, caller(ctx).AccountID, value(in.RoleName))
	if err != nil {
		return nil, err
	}
	part, truncated, marker, err := page(a, listing{"ListRolePolicies", in.Marker, in.MaxItems, in.RoleName}, inlineNames(&r.Policies), itself)
	return &iamtypes.ListRolePoliciesOutput{PolicyNames: part, IsTruncated: truncated, Marker: marker}, err
}

func (a *Actions) listAttachedRolePolicies(ctx context.Context, in *iamtypes.ListAttachedRolePoliciesInput) (*iamtypes.ListAttachedRolePoliciesOutput, error) {
	r, err := a.directory.Role(ctx, caller(ctx).AccountID, value(in.RoleName))
	if err != nil {
		return nil, err
	}
	part, truncated, marker, err := page(a, listing{"ListAttachedRolePolicies", in.Marker, in.MaxItems, []*string{in.RoleName, in.PathPrefix}}, attachedWith(&r.Policies, value(in.PathPrefix)), itself)
	return &iamtypes.ListAttachedRolePoliciesOutput{AttachedPolicies: attachedShape(part), IsTruncated: truncated, Marker: marker}, err
}

func (a *Actions) registerProfiles(t *api.Table) {
	d := a.directory
	add(t, "CreateInstanceProfile", a.createProfile, "InstanceProfileName", "Path", "Tags")
	add(t, "GetInstanceProfile", a.getProfile, "InstanceProfileName")
	add(t, "ListInstanceProfiles", a.listProfiles, "PathPrefix", "Marker", "MaxItems")
	add(t, "ListInstanceProfilesForRole", a.listProfilesForRole, "RoleName", "Marker", "MaxItems")
	add(t, "DeleteInstanceProfile", do[iamtypes.DeleteInstanceProfileInput, iamtypes.DeleteInstanceProfileOutput](func(ctx context.Context, account string, in *iamtypes.DeleteInstanceProfileInput) error {
		return d.DeleteProfile(ctx, account, value(in.InstanceProfileName))
	}), "InstanceProfileName")
	add(t, "AddRoleToInstanceProfile", do[iamtypes.AddRoleToInstanceProfileInput, iamtypes.AddRoleToInstanceProfileOutput](func(ctx context.Context, account string, in *iamtypes.AddRoleToInstanceProfileInput) error {
		return d.AddRole(ctx, account, value(in.InstanceProfileName), value(in.RoleName))
	}), "InstanceProfileName", "RoleName")
	add(t, "RemoveRoleFromInstanceProfile", do[iamtypes.RemoveRoleFromInstanceProfileInput, iamtypes.RemoveRoleFromInstanceProfileOutput](func(ctx context.Context, account string, in *iamtypes.RemoveRoleFromInstanceProfileInput) error {
		return d.RemoveRole(ctx, account, value(in.InstanceProfileName), value(in.RoleName))
	}), "InstanceProfileName", "RoleName")
}

// profileShape shows a profile with its role.
func (a *Actions) profileShape(ctx context.Context, p *model.InstanceProfile) (iamtypes.InstanceProfile, error) {
	out := iamtypes.InstanceProfile{
		Arn: new(p.ARN()), CreateDate: &p.Created, InstanceProfileId: &p.ID, InstanceProfileName: &p.Name, Path: &p.Path, Roles: []iamtypes.Role{}, Tags: tagsOf(p.Tags),
	}
	if p.Role == "" {
		return out, nil
	}
	r, err := a.directory.Role(ctx, p.AccountID, p.Role)
	if model.CodeOf(err) == auth.CodeNoSuchEntity {
		return out, nil // deleted since
	}
	out.Roles = append(out.Roles, *roleShape(&r))
	return out, err
}

func (a *Actions) profileShapes(ctx context.Context, all []model.InstanceProfile) ([]iamtypes.InstanceProfile, error) {
	var out []iamtypes.InstanceProfile
	for i := range all {
		p, err := a.profileShape(ctx, &all[i])
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (a *Actions) createProfile(ctx context.Context, in *iamtypes.CreateInstanceProfileInput) (*iamtypes.CreateInstanceProfileOutput, error) {
	tags, err := tagsFrom(in.Tags)
	if err != nil {
		return nil, err
	}
	p, err := a.directory.CreateProfile(ctx, caller(ctx).AccountID, value(in.InstanceProfileName), value(in.Path), tags)
	if err != nil {
		return nil, err
	}
	shape, err := a.profileShape(ctx, &p)
	return &iamtypes.CreateInstanceProfileOutput{InstanceProfile: &shape}, err
}

func (a *Actions) getProfile(ctx context.Context, in *iamtypes.GetInstanceProfileInput) (*iamtypes.GetInstanceProfileOutput, error) {
	p, err := a.directory.Profile(ctx, caller(ctx).AccountID, value(in.InstanceProfileName))
	if err != nil {
		return nil, err
	}
	shape, err := a.profileShape(ctx, &p)
	return &iamtypes.GetInstanceProfileOutput{InstanceProfile: &shape}, err
}

func (a *Actions) listProfiles(ctx context.Context, in *iamtypes.ListInstanceProfilesInput) (*iamtypes.ListInstanceProfilesOutput, error) {
	all, err := a.directory.Profiles(ctx, caller(ctx).AccountID, value(in.PathPrefix))
	if err != nil {
		return nil, err
	}
	part, truncated, marker, err := page(a, listing{"ListInstanceProfiles", in.Marker, in.MaxItems, in.PathPrefix}, all, func(p model.InstanceProfile) string { return p.Name })
	if err != nil {
		return nil, err
	}
	shapes, err := a.profileShapes(ctx, part)
	return &iamtypes.ListInstanceProfilesOutput{InstanceProfiles: shapes, IsTruncated: truncated, Marker: marker}, err
}

func (a *Actions) listProfilesForRole(ctx context.Context, in *iamtypes.ListInstanceProfilesForRoleInput) (*iamtypes.ListInstanceProfilesForRoleOutput, error) {
	all, err := a.directory.ProfilesForRole(ctx, caller(ctx).AccountID, value(in.RoleName))
	if err != nil {
		return nil, err
	}
	part, truncated, marker, err := page(a, listing{"ListInstanceProfilesForRole", in.Marker, in.MaxItems, in.RoleName}, all, func(p model.InstanceProfile) string { return p.Name })
	if err != nil {
		return nil, err
	}
	shapes, err := a.profileShapes(ctx, part)
	return &iamtypes.ListInstanceProfilesForRoleOutput{InstanceProfiles: shapes, IsTruncated: truncated, Marker: marker}, err
}
