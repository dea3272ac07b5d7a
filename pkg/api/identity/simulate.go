package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/auth/policy"
	"github.com/bundt/bundt/pkg/model"
)

// simulate says what a user's or role's policies, and others beside them, would
// decide about actions on resources.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
func (a *Actions) simulate(ctx context.Context, in *iamtypes.SimulatePrincipalPolicyInput) (*iamtypes.SimulatePrincipalPolicyOutput, error) {
	permissions, err := a.permissionsOf(ctx, value(in.PolicySourceArn))
	if err != nil {
		return nil, err
	}
	permissions.Sources = slices.Clone(permissions.Sources) // those are shared
	for i, text := range in.PolicyInputList {
		d, err := policy.Parse([]byte(text), policy.Identity)
		if err != nil {
			return nil, model.Errorf(auth.CodeInvalidInput, "Invalid policy %d: %v", i+1, err)
		}
		permissions.Sources = append(permissions.Sources, auth.Source{ID: fmt.Sprintf("PolicyInputList.%d", i+1), Type: "none", Document: d})
	}
	keys := map[string][]string{}
	for _, e := range in.ContextEntries {
		keys[strings.ToLower(value(e.ContextKeyName))] = e.ContextKeyValues
	}
	resources := in.ResourceArns
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	var all []iamtypes.EvaluationResult
	for _, action := range in.ActionNames {
		for _, resource := range resources {
			all = append(all, evaluate(&permissions, action, resource, keys))
		}
	}
	// Results have no order of their own but that of the request.
	index := map[*string]string{}
	for i := range all {
		index[all[i].EvalActionName] = fmt.Sprintf("%06d", i)
	}
	of := []any{in.PolicySourceArn, in.PolicyInputList, in.ActionNames, in.ResourceArns, in.ContextEntries}
	part, truncated, marker, err := page(a, listing{"SimulatePrincipalPolicy", in.Marker, in.MaxItems, of}, all, func(r iamtypes.EvaluationResult) string { return index[r.EvalActionName] })
	return &iamtypes.SimulatePrincipalPolicyOutput{EvaluationResults: part, IsTruncated: truncated, Marker: marker}, err
}

// permissionsOf returns the policies of a user or role of the caller's account.
func (a *Actions) permissionsOf(ctx context.Context, arn string) (auth.Permissions, error) {
	account, kind, path, name, err := auth.SplitARN(arn)
	id := model.Identity{AccountID: account, Path: path}
	switch {
	case err != nil || account != caller(ctx).AccountID:
		return auth.Permissions{}, model.Errorf(auth.CodeInvalidInput, "Invalid Entity Arn: %s does not clearly define entity type and name of this account.", arn)
	case kind == "user":
		u, err := a.directory.User(ctx, account, name)
		if err != nil {
			return auth.Permissions{}, err
		}
		id.User, id.ID = u.Name, u.ID
	case kind == "role":
		r, err := a.directory.Role(ctx, account, name)
		if err != nil {
			return auth.Permissions{}, err
		}
		id.Role, id.ID = r.Name, r.ID
	default:
		return auth.Permissions{}, model.Errorf(auth.CodeInvalidInput, "Invalid Entity Arn: %s is neither a user nor a role.", arn)
	}
	return a.directory.Policies(ctx, id)
}

func evaluate(p *auth.Permissions, action, resource string, keys map[string][]string) iamtypes.EvaluationResult {
	lookup := func(key string) ([]string, bool) { v, ok := keys[key]; return v, ok }
	decision, matched := p.Decide(policy.Request{Action: action, Resource: resource, Keys: lookup})
	r := iamtypes.EvaluationResult{EvalActionName: &action, EvalResourceName: &resource, EvalDecision: new(decision.String())}
	for _, m := range matched {
		r.MatchedStatements = append(r.MatchedStatements, iamtypes.Statement{
			SourcePolicyId: &m.ID, SourcePolicyType: &m.Type, StartPosition: positionShape(m.Start), EndPosition: positionShape(m.End),
		})
	}
	for _, s := range p.Sources {
		for _, key := range s.Document.ConditionKeys() {
			if _, given := keys[key]; !given && !slices.Contains(r.MissingContextValues, key) {
				r.MissingContextValues = append(r.MissingContextValues, key)
			}
		}
	}
	return r
}

func positionShape(p policy.Position) *iamtypes.Position {
	return &iamtypes.Position{Line: new(int32(p.Line)), Column: new(int32(p.Column))}
}
