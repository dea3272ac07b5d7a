package iam

import (
	"context"
	"strings"

	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/client"
)

const (
	userKind = "user"
	roleKind = "role"
)

// target is a user or role, whom policies are of.
type target struct{ kind, name string }

// parseTarget takes "NAME", "user/NAME" or "role/NAME" apart.
func parseTarget(text string) (target, error) {
	kind, name, ok := strings.Cut(text, "/")
	if !ok {
		kind, name = userKind, text
	}
	if kind != userKind && kind != roleKind || name == "" || strings.Contains(name, "/") {
		return target{}, failure.Usagef("%q is neither a user (NAME) nor a role (role/NAME)", text)
	}
	return target{kind, name}, nil
}

// arn returns the target's ARN.
func (t target) arn(ctx context.Context, c *client.Client) (*string, error) {
	if t.kind == roleKind {
		out, err := c.GetRole(ctx, &iamtypes.GetRoleInput{RoleName: &t.name})
		if err != nil {
			return nil, err
		}
		return out.Role.Arn, nil
	}
	out, err := c.GetUser(ctx, &iamtypes.GetUserInput{UserName: &t.name})
	if err != nil {
		return nil, err
	}
	return out.User.Arn, nil
}

// attached returns the managed policies that the target is attached to.
func (t target) attached(ctx context.Context, c *client.Client) ([]iamtypes.AttachedPolicy, error) {
	all := []iamtypes.AttachedPolicy{}
	if t.kind == roleKind {
		for page, err := range c.ListAttachedRolePoliciesPages(ctx, &iamtypes.ListAttachedRolePoliciesInput{RoleName: &t.name}) {
			if err != nil {
				return nil, err
			}
			all = append(all, page.AttachedPolicies...)
		}
		return all, nil
	}
	for page, err := range c.ListAttachedUserPoliciesPages(ctx, &iamtypes.ListAttachedUserPoliciesInput{UserName: &t.name}) {
		if err != nil {
			return nil, err
		}
		all = append(all, page.AttachedPolicies...)
	}
	return all, nil
}

// inline returns the names of the target's inline policies.
func (t target) inline(ctx context.Context, c *client.Client) ([]string, error) {
	all := []string{}
	if t.kind == roleKind {
		for page, err := range c.ListRolePoliciesPages(ctx, &iamtypes.ListRolePoliciesInput{RoleName: &t.name}) {
			if err != nil {
				return nil, err
			}
			all = append(all, page.PolicyNames...)
		}
		return all, nil
	}
	for page, err := range c.ListUserPoliciesPages(ctx, &iamtypes.ListUserPoliciesInput{UserName: &t.name}) {
		if err != nil {
			return nil, err
		}
		all = append(all, page.PolicyNames...)
	}
	return all, nil
}

// document returns an inline policy's document, as IAM answers with it.
func (t target) document(ctx context.Context, c *client.Client, policy *string) (*string, error) {
	if t.kind == roleKind {
		out, err := c.GetRolePolicy(ctx, &iamtypes.GetRolePolicyInput{RoleName: &t.name, PolicyName: policy})
		if err != nil {
			return nil, err
		}
		return out.PolicyDocument, nil
	}
	out, err := c.GetUserPolicy(ctx, &iamtypes.GetUserPolicyInput{UserName: &t.name, PolicyName: policy})
	if err != nil {
		return nil, err
	}
	return out.PolicyDocument, nil
}

func (t target) putInline(ctx context.Context, c *client.Client, policy, document *string) (err error) {
	if t.kind == roleKind {
		_, err = c.PutRolePolicy(ctx, &iamtypes.PutRolePolicyInput{RoleName: &t.name, PolicyName: policy, PolicyDocument: document})
	} else {
		_, err = c.PutUserPolicy(ctx, &iamtypes.PutUserPolicyInput{UserName: &t.name, PolicyName: policy, PolicyDocument: document})
	}
	return err
}

func (t target) deleteInline(ctx context.Context, c *client.Client, policy *string) (err error) {
	if t.kind == roleKind {
		_, err = c.DeleteRolePolicy(ctx, &iamtypes.DeleteRolePolicyInput{RoleName: &t.name, PolicyName: policy})
	} else {
		_, err = c.DeleteUserPolicy(ctx, &iamtypes.DeleteUserPolicyInput{UserName: &t.name, PolicyName: policy})
	}
	return err
}

func (t target) attach(ctx context.Context, c *client.Client, arn *string) (err error) {
	if t.kind == roleKind {
		_, err = c.AttachRolePolicy(ctx, &iamtypes.AttachRolePolicyInput{RoleName: &t.name, PolicyArn: arn})
	} else {
		_, err = c.AttachUserPolicy(ctx, &iamtypes.AttachUserPolicyInput{UserName: &t.name, PolicyArn: arn})
	}
	return err
}

func (t target) detach(ctx context.Context, c *client.Client, arn *string) (err error) {
	if t.kind == roleKind {
		_, err = c.DetachRolePolicy(ctx, &iamtypes.DetachRolePolicyInput{RoleName: &t.name, PolicyArn: arn})
	} else {
		_, err = c.DetachUserPolicy(ctx, &iamtypes.DetachUserPolicyInput{UserName: &t.name, PolicyArn: arn})
	}
	return err
}

// strip takes the target's policies away.
func (t target) strip(ctx context.Context, c *client.Client) error {
	attached, err := t.attached(ctx, c)
	if err != nil {
		return err
	}
	for _, p := range attached {
		if err := t.detach(ctx, c, p.PolicyArn); err != nil {
			return err
		}
	}
	inline, err := t.inline(ctx, c)
	if err != nil {
		return err
	}
	for _, policy := range inline {
		if err := t.deleteInline(ctx, c, &policy); err != nil {
			return err
		}
	}
	return nil
}

// parseTags takes tags, each KEY=VALUE, apart.
func parseTags(texts []string) (tags []iamtypes.Tag, err error) {
	for _, text := range texts {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, failure.Usagef("%q is no tag: KEY=VALUE", text)
		}
		tags = append(tags, iamtypes.Tag{Key: &key, Value: &value})
	}
	return tags, nil
}
