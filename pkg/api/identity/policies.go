package identity

import (
	"context"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerPolicies(t *api.Table) {
	add(t, "CreatePolicy", a.createPolicy, "PolicyName", "Path", "Description", "PolicyDocument", "Tags")
	add(t, "GetPolicy", a.getPolicy, "PolicyArn")
	add(t, "GetPolicyVersion", a.getPolicyVersion, "PolicyArn", "VersionId")
	add(t, "ListPolicyVersions", a.listPolicyVersions, "PolicyArn", "Marker", "MaxItems")
	add(t, "ListPolicies", a.listPolicies, "Scope", "OnlyAttached", "PathPrefix", "PolicyUsageFilter=PermissionsPolicy", "Marker", "MaxItems")
	add(t, "DeletePolicy", do[iamtypes.DeletePolicyInput, iamtypes.DeletePolicyOutput](func(ctx context.Context, account string, in *iamtypes.DeletePolicyInput) error {
		return a.directory.DeletePolicy(ctx, account, value(in.PolicyArn))
	}), "PolicyArn")
	add(t, "CreatePolicyVersion", a.createPolicyVersion, "PolicyArn", "PolicyDocument", "SetAsDefault")
	add(t, "DeletePolicyVersion", do[iamtypes.DeletePolicyVersionInput, iamtypes.DeletePolicyVersionOutput](func(ctx context.Context, account string, in *iamtypes.DeletePolicyVersionInput) error {
		return a.directory.DeletePolicyVersion(ctx, account, value(in.PolicyArn), value(in.VersionId))
	}), "PolicyArn", "VersionId")
	add(t, "SetDefaultPolicyVersion", do[iamtypes.SetDefaultPolicyVersionInput, iamtypes.SetDefaultPolicyVersionOutput](func(ctx context.Context, account string, in *iamtypes.SetDefaultPolicyVersionInput) error {
		return a.directory.SetDefaultPolicyVersion(ctx, account, value(in.PolicyArn), value(in.VersionId))
	}), "PolicyArn", "VersionId")
	add(t, "SimulatePrincipalPolicy", a.simulate, "PolicySourceArn", "PolicyInputList", "ActionNames", "ResourceArns", "ContextEntries", "Marker", "MaxItems")
}

func (a *Actions) createPolicy(ctx context.Context, in *iamtypes.CreatePolicyInput) (*iamtypes.CreatePolicyOutput, error) {
	tags, err := tagsFrom(in.Tags)
	if err != nil {
		return nil, err
	}
	p, err := a.directory.CreatePolicy(ctx, caller(ctx).AccountID, value(in.PolicyName), value(in.Path), value(in.Description), value(in.PolicyDocument), tags)
	return &iamtypes.CreatePolicyOutput{Policy: policyShape(&p, 0)}, err
}

func (a *Actions) getPolicy(ctx context.Context, in *iamtypes.GetPolicyInput) (*iamtypes.GetPolicyOutput, error) {
	account := caller(ctx).AccountID
	p, err := a.directory.Policy(ctx, account, value(in.PolicyArn))
	if err != nil {
		return nil, err
	}
	_, attachments, err := a.directory.ManagedPolicies(ctx, account)
	return &iamtypes.GetPolicyOutput{Policy: policyShape(&p, attachments[p.ARN()])}, err
}

func (a *Actions) getPolicyVersion(ctx context.Context, in *iamtypes.GetPolicyVersionInput) (*iamtypes.GetPolicyVersionOutput, error) {
	p, v, err := a.directory.PolicyVersion(ctx, caller(ctx).AccountID, value(in.PolicyArn), value(in.VersionId))
	if err != nil {
		return nil, err
	}
	return &iamtypes.GetPolicyVersionOutput{PolicyVersion: new(versionShape(&p, &v, true))}, nil
}

func (a *Actions) createPolicyVersion(ctx context.Context, in *iamtypes.CreatePolicyVersionInput) (*iamtypes.CreatePolicyVersionOutput, error) {
	account, asDefault := caller(ctx).AccountID, value(in.SetAsDefault)
	v, err := a.directory.AddPolicyVersion(ctx, account, value(in.PolicyArn), value(in.PolicyDocument), asDefault)
	return &iamtypes.CreatePolicyVersionOutput{PolicyVersion: &iamtypes.PolicyVersion{CreateDate: &v.Created, IsDefaultVersion: &asDefault, VersionId: &v.ID}}, err
}

func (a *Actions) listPolicyVersions(ctx context.Context, in *iamtypes.ListPolicyVersionsInput) (*iamtypes.ListPolicyVersionsOutput, error) {
	p, err := a.directory.Policy(ctx, caller(ctx).AccountID, value(in.PolicyArn))
	if err != nil {
		return nil, err
	}
	part, truncated, marker, err := page(a, listing{"ListPolicyVersions", in.Marker, in.MaxItems, in.PolicyArn}, p.Versions, func(v model.PolicyVersion) string { return v.ID })
	out := &iamtypes.ListPolicyVersionsOutput{IsTruncated: truncated, Marker: marker}
	for i := range part {
		out.Versions = append(out.Versions, versionShape(&p, &part[i], false))
	}
	return out, err
}

func (a *Actions) listPolicies(ctx context.Context, in *iamtypes.ListPoliciesInput) (*iamtypes.ListPoliciesOutput, error) {
	all, attachments, err := a.directory.ManagedPolicies(ctx, caller(ctx).AccountID)
	if err != nil {
		return nil, err
	}
	var kept []model.ManagedPolicy
	for _, p := range all {
		builtIn := p.AccountID == auth.AWSAccount
		inScope := value(in.Scope) == "" || value(in.Scope) == iamtypes.PolicyScopeTypeAll || (value(in.Scope) == iamtypes.PolicyScopeTypeAWS) == builtIn
		if inScope && strings.HasPrefix(p.Path, value(in.PathPrefix)) && (!value(in.OnlyAttached) || attachments[p.ARN()] > 0) {
			kept = append(kept, p)
		}
	}
	part, truncated, marker, err := page(a, listing{"ListPolicies", in.Marker, in.MaxItems, []any{in.Scope, in.OnlyAttached, in.PathPrefix}}, kept, func(p model.ManagedPolicy) string { return p.ARN() })
	out := &iamtypes.ListPoliciesOutput{IsTruncated: truncated, Marker: marker}
	for i := range part {
		out.Policies = append(out.Policies, *policyShape(&part[i], attachments[part[i].ARN()]))
	}
	return out, err
}

// attachedWith returns the ARNs of attached policies whose path begins with a prefix.
func attachedWith(p *model.Policies, pathPrefix string) (arns []string) {
	for _, arn := range p.Attached {
		if _, _, path, _, err := auth.SplitARN(arn); err == nil && strings.HasPrefix(path, pathPrefix) {
			arns = append(arns, arn)
		}
	}
	return arns
}

func attachedShape(arns []string) (out []iamtypes.AttachedPolicy) {
	for _, arn := range arns {
		_, _, _, name, _ := auth.SplitARN(arn) // it was attached, so it is one
		out = append(out, iamtypes.AttachedPolicy{PolicyArn: &arn, PolicyName: &name})
	}
	return out
}
