package authz

import (
	"context"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/ssmtypes"
	"github.com/bundt/bundt/pkg/cloud"
)

// iamCheck finds the resource of one of IAM's actions: the user, role, policy or
// instance profile that it names; the caller for one that names no user where it
// could; "*" for the rest.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html
func (a *Authorizer) iamCheck(ctx context.Context, call *api.Call, action string) check {
	id := call.Principal.Identity
	c := check{action: action, resource: "*"}
	path := func(got string, err error) string {
		switch {
		case err == nil && got != "":
			return got
		case text(call.Input, "Path") != "": // of what is to be made
			return text(call.Input, "Path")
		}
		return "/"
	}
	arn := func(kind, path, name string) string { return "arn:aws:iam::" + id.AccountID + ":" + kind + path + name }
	user, role, profile, policyARN := text(call.Input, "UserName"), text(call.Input, "RoleName"), text(call.Input, "InstanceProfileName"), text(call.Input, "PolicyArn")
	switch {
	case profile != "":
		p, err := a.directory.Profile(ctx, id.AccountID, profile)
		c.resource = arn("instance-profile", path(p.Path, err), profile)
	case user != "":
		u, err := a.directory.User(ctx, id.AccountID, user)
		c.resource = arn("user", path(u.Path, err), user)
	case role != "":
		r, err := a.directory.Role(ctx, id.AccountID, role)
		c.resource = arn("role", path(r.Path, err), role)
	case policyARN != "":
		c.resource = policyARN
	case call.Action == "CreatePolicy":
		c.resource = arn("policy", path("", nil), text(call.Input, "PolicyName"))
	case text(call.Input, "PolicySourceArn") != "":
		c.resource = text(call.Input, "PolicySourceArn")
	case member(call.Input, "UserName").IsValid() && id.User != "":
		c.resource = id.ARN()
	}
	if policyARN != "" && c.resource != policyARN {
		c.extra = []conditionKey{{"iam:PolicyARN", []string{policyARN}}}
	}
	return c
}

// stsChecks: GetSessionToken needs no permission; an explicit deny refuses it.
func stsChecks(call *api.Call, action string) []check {
	return []check{{action: action, resource: "*", mayBeSilent: call.Action == "GetSessionToken"}}
}

// ssmChecks has one check for each parameter. Public parameters have no account.
func ssmChecks(region string, call *api.Call, action string) (out []check) {
	names := []string{text(call.Input, "Name") + text(call.Input, "Path")}
	if in, ok := call.Input.(*ssmtypes.GetParametersInput); ok {
		names = in.Names
	}
	for _, name := range names {
		out = append(out, parameterCheck(region, action, name))
	}
	return out
}

func parameterCheck(region, action, text string) check {
	name, _ := cloud.ParameterName(text)
	return check{action: action, resource: "arn:aws:ssm:" + region + "::parameter/" + strings.TrimPrefix(name, "/")}
}

// aliasChecks ask whether the caller may read the parameter that a launch names
// its image by.
func (a *Authorizer) aliasChecks(call *api.Call) []check {
	in, ok := call.Asked.(*ec2types.RunInstancesInput)
	if !ok {
		return nil
	}
	name, ok := strings.CutPrefix(ec2types.Value(in.ImageId), cloud.AliasPrefix)
	if !ok {
		return nil
	}
	c := parameterCheck(a.directory.Region(), "ssm:GetParameters", name)
	c.service = "ec2"
	return []check{c}
}
