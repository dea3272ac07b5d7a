package authz

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/auth/policy"
	"github.com/bundt/bundt/pkg/model"
)

// refusal is what sts:DecodeAuthorizationMessage shows, in AWS's form.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html
type refusal struct {
	Allowed           bool             `json:"allowed"`
	ExplicitDeny      bool             `json:"explicitDeny"`
	MatchedStatements items[statement] `json:"matchedStatements"`
	Failures          items[any]       `json:"failures"`
	Context           refusedContext   `json:"context"`
}

type items[T any] struct {
	Items []T `json:"items"`
}

type value struct {
	Value string `json:"value"`
}

type statement struct {
	StatementID string         `json:"statementId"`
	Policy      string         `json:"policy"` // which policy it is in; AWS does not say
	Effect      string         `json:"effect"`
	Principals  items[value]   `json:"principals"`
	Actions     items[value]   `json:"actions"`
	Resources   items[value]   `json:"resources"`
	Conditions  items[keyItem] `json:"conditions"`
}

type keyItem struct {
	Key    string       `json:"key"`
	Values items[value] `json:"values"`
}

type refusedContext struct {
	Principal struct {
		ID   string `json:"id"`
		Name string `json:"name,omitempty"`
		ARN  string `json:"arn"`
	} `json:"principal"`
	Action     string         `json:"action"`
	Resource   string         `json:"resource"`
	Conditions items[keyItem] `json:"conditions"`
}

func valuesOf(texts []string) items[value] {
	out := items[value]{Items: []value{}}
	for _, t := range texts {
		out.Items = append(out.Items, value{t})
	}
	return out
}

// refuse makes the error of a call that is not allowed.
func (a *Authorizer) refuse(c *check, id model.Identity, decision policy.Decision, matched []auth.Matched) error {
	who := "User: " + id.ARN() + " is not authorized to perform: " + c.action
	why := "because no identity-based policy allows the " + c.action + " action"
	if decision == policy.ExplicitDeny {
		why = "with an explicit deny in an identity-based policy"
	}
	service := cmp.Or(c.service, ServiceOf(c.action))
	if service != "ec2" && service != "bundt" {
		return model.Errorf(auth.CodeAccessDenied, "%s on resource: %s %s", who, c.resource, why)
	}
	message, err := a.directory.EncodeMessage(describeRefusal(c, id, decision, matched))
	if err != nil {
		return fmt.Errorf("encoding the reason of a refusal: %w", err)
	}
	return model.Errorf(api.CodeUnauthorizedOperation, "You are not authorized to perform this operation. %s on resource: %s %s. Encoded authorization failure message: %s", who, c.resource, why, message).
		WithHint("bundt policy simulate shows what is allowed")
}

func describeRefusal(c *check, id model.Identity, decision policy.Decision, matched []auth.Matched) refusal {
	r := refusal{ExplicitDeny: decision == policy.ExplicitDeny}
	r.MatchedStatements.Items, r.Failures.Items = []statement{}, []any{}
	for _, m := range matched {
		if m.Allow {
			continue // what allowed did not decide
		}
		r.MatchedStatements.Items = append(r.MatchedStatements.Items, statement{
			StatementID: m.Sid, Policy: m.ID, Effect: "DENY", Principals: valuesOf([]string{id.UserID()}),
			Actions: valuesOf(m.Actions), Resources: valuesOf(m.Resources), Conditions: items[keyItem]{Items: []keyItem{}},
		})
	}
	r.Context.Principal.ID, r.Context.Principal.ARN = id.UserID(), id.ARN()
	r.Context.Principal.Name = strings.Trim(id.User+id.Session, " ")
	r.Context.Action, r.Context.Resource = c.action, c.resource
	r.Context.Conditions.Items = []keyItem{}
	for _, k := range c.shown {
		r.Context.Conditions.Items = append(r.Context.Conditions.Items, keyItem{k.name, valuesOf(k.values)})
	}
	return r
}
