package actions

import (
	"context"
	"strconv"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

// permissionActs are the members of an IpPermission that rules are made of.
func permissionActs(more ...string) []string {
	return append([]string{
		"GroupId", "IpPermissions.IpProtocol", "IpPermissions.FromPort", "IpPermissions.ToPort", "IpPermissions.IpRanges", "IpPermissions.Ipv6Ranges",
		"IpPermissions.UserIdGroupPairs.GroupId", "IpPermissions.UserIdGroupPairs.GroupName", "IpPermissions.UserIdGroupPairs.UserId",
		"IpPermissions.UserIdGroupPairs.VpcId", "IpPermissions.UserIdGroupPairs.Description",
	}, more...)
}

// flatActs are the older form of one rule.
var flatActs = []string{"IpProtocol", "FromPort", "ToPort", "CidrIp", "SourceSecurityGroupName", "SourceSecurityGroupOwnerId"}

func (a *Actions) registerGroupRules(t *api.Table) {
	api.Register(t, api.Action[ec2types.AuthorizeSecurityGroupIngressInput, ec2types.AuthorizeSecurityGroupIngressOutput]{
		Name: "AuthorizeSecurityGroupIngress", Acts: permissionActs(append(flatActs, "GroupName", "TagSpecifications")...),
		Handler: func(ctx context.Context, in *ec2types.AuthorizeSecurityGroupIngressInput) (*ec2types.AuthorizeSecurityGroupIngressOutput, error) {
			flat := flatRule{in.IpProtocol, in.FromPort, in.ToPort, in.CidrIp, in.SourceSecurityGroupName, in.SourceSecurityGroupOwnerId}
			rules, err := a.authorize(ctx, groupRef(in.GroupId, in.GroupName), false, in.IpPermissions, flat, in.TagSpecifications)
			if err != nil {
				return nil, err
			}
			return &ec2types.AuthorizeSecurityGroupIngressOutput{Return: ptr(true), SecurityGroupRules: rules}, nil
		},
	})
	api.Register(t, api.Action[ec2types.AuthorizeSecurityGroupEgressInput, ec2types.AuthorizeSecurityGroupEgressOutput]{
		Name: "AuthorizeSecurityGroupEgress", Acts: permissionActs("TagSpecifications"),
		Handler: func(ctx context.Context, in *ec2types.AuthorizeSecurityGroupEgressInput) (*ec2types.AuthorizeSecurityGroupEgressOutput, error) {
			rules, err := a.authorize(ctx, groupRef(in.GroupId, nil), true, in.IpPermissions, flatRule{}, in.TagSpecifications)
			if err != nil {
				return nil, err
			}
			return &ec2types.AuthorizeSecurityGroupEgressOutput{Return: ptr(true), SecurityGroupRules: rules}, nil
		},
	})
	api.Register(t, api.Action[ec2types.RevokeSecurityGroupIngressInput, ec2types.RevokeSecurityGroupIngressOutput]{
		Name: "RevokeSecurityGroupIngress", Acts: permissionActs(append(flatActs, "GroupName", "SecurityGroupRuleIds")...),
		Handler: func(ctx context.Context, in *ec2types.RevokeSecurityGroupIngressInput) (*ec2types.RevokeSecurityGroupIngressOutput, error) {
			flat := flatRule{in.IpProtocol, in.FromPort, in.ToPort, in.CidrIp, in.SourceSecurityGroupName, in.SourceSecurityGroupOwnerId}
			unknown, err := a.revoke(ctx, groupRef(in.GroupId, in.GroupName), false, in.SecurityGroupRuleIds, in.IpPermissions, flat)
			if err != nil {
				return nil, err
			}
			return &ec2types.RevokeSecurityGroupIngressOutput{Return: ptr(true), UnknownIpPermissions: unknown}, nil
		},
	})
	api.Register(t, api.Action[ec2types.RevokeSecurityGroupEgressInput, ec2types.RevokeSecurityGroupEgressOutput]{
		Name: "RevokeSecurityGroupEgress", Acts: permissionActs("SecurityGroupRuleIds"),
		Handler: func(ctx context.Context, in *ec2types.RevokeSecurityGroupEgressInput) (*ec2types.RevokeSecurityGroupEgressOutput, error) {
			unknown, err := a.revoke(ctx, groupRef(in.GroupId, nil), true, in.SecurityGroupRuleIds, in.IpPermissions, flatRule{})
			if err != nil {
				return nil, err
			}
			return &ec2types.RevokeSecurityGroupEgressOutput{Return: ptr(true), UnknownIpPermissions: unknown}, nil
		},
	})
	api.Register(t, api.Action[ec2types.ModifySecurityGroupRulesInput, ec2types.ModifySecurityGroupRulesOutput]{
		Name: "ModifySecurityGroupRules", Handler: a.modifySecurityGroupRules,
		Acts: []string{
			"GroupId", "SecurityGroupRules.SecurityGroupRuleId", "SecurityGroupRules.SecurityGroupRule.IpProtocol",
			"SecurityGroupRules.SecurityGroupRule.FromPort", "SecurityGroupRules.SecurityGroupRule.ToPort", "SecurityGroupRules.SecurityGroupRule.CidrIpv4",
			"SecurityGroupRules.SecurityGroupRule.CidrIpv6", "SecurityGroupRules.SecurityGroupRule.ReferencedGroupId", "SecurityGroupRules.SecurityGroupRule.Description",
		},
	})
	api.Register(t, api.Action[ec2types.UpdateSecurityGroupRuleDescriptionsIngressInput, ec2types.UpdateSecurityGroupRuleDescriptionsIngressOutput]{
		Name: "UpdateSecurityGroupRuleDescriptionsIngress", Acts: permissionActs("GroupName", "SecurityGroupRuleDescriptions"),
		Handler: func(ctx context.Context, in *ec2types.UpdateSecurityGroupRuleDescriptionsIngressInput) (*ec2types.UpdateSecurityGroupRuleDescriptionsIngressOutput, error) {
			err := a.updateDescriptions(ctx, groupRef(in.GroupId, in.GroupName), false, in.SecurityGroupRuleDescriptions, in.IpPermissions)
			return &ec2types.UpdateSecurityGroupRuleDescriptionsIngressOutput{Return: ptr(err == nil)}, err
		},
	})
	api.Register(t, api.Action[ec2types.UpdateSecurityGroupRuleDescriptionsEgressInput, ec2types.UpdateSecurityGroupRuleDescriptionsEgressOutput]{
		Name: "UpdateSecurityGroupRuleDescriptionsEgress", Acts: permissionActs("GroupName", "SecurityGroupRuleDescriptions"),
		Handler: func(ctx context.Context, in *ec2types.UpdateSecurityGroupRuleDescriptionsEgressInput) (*ec2types.UpdateSecurityGroupRuleDescriptionsEgressOutput, error) {
			err := a.updateDescriptions(ctx, groupRef(in.GroupId, in.GroupName), true, in.SecurityGroupRuleDescriptions, in.IpPermissions)
			return &ec2types.UpdateSecurityGroupRuleDescriptionsEgressOutput{Return: ptr(err == nil)}, err
		},
	})
	api.Register(t, api.Action[ec2types.DescribeSecurityGroupRulesInput, ec2types.DescribeSecurityGroupRulesOutput]{
		Name: "DescribeSecurityGroupRules", Handler: a.describeSecurityGroupRules, Acts: []string{"SecurityGroupRuleIds", "Filters", "MaxResults", "NextToken"},
	})
}

// flatRule is one rule in the older form of the requests.
type flatRule struct {
	protocol         *string
	from, to         *int32
	cidr             *string
	group, groupUser *string
}

func (f flatRule) empty() bool { return f == flatRule{} }

// specs are the rules that a request gives, in either form.
func specs(permissions []ec2types.IpPermission, flat flatRule) ([]cloud.RuleSpec, error) {
	var out []cloud.RuleSpec
	if !flat.empty() {
		if len(permissions) > 0 {
			return nil, model.Errorf(model.CodeInvalidParameterCombination, "The parameter ipPermissions cannot be used together with ipProtocol, fromPort, toPort, cidrIp or a source security group")
		}
		s := cloud.RuleSpec{Protocol: ec2types.Value(flat.protocol), FromPort: flat.from, ToPort: flat.to, CIDR: ec2types.Value(flat.cidr)}
		s.Group.Name, s.GroupOwner = ec2types.Value(flat.group), ec2types.Value(flat.groupUser)
		if s.Group.Name != "" && s.Protocol == "" {
			s.Protocol = "-1" // a source group alone stands for all traffic
		}
		return append(out, s), nil
	}
	for i := range permissions {
		p := &permissions[i]
		base := cloud.RuleSpec{Protocol: ec2types.Value(p.IpProtocol), FromPort: p.FromPort, ToPort: p.ToPort}
		if len(p.IpRanges)+len(p.Ipv6Ranges)+len(p.UserIdGroupPairs) == 0 {
			return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter IpPermissions.%d.IpRanges, Ipv6Ranges or UserIdGroupPairs", i+1)
		}
		for _, r := range p.IpRanges {
			s := base
			s.CIDR, s.Description = ec2types.Value(r.CidrIp), ec2types.Value(r.Description)
			out = append(out, s)
		}
		for _, r := range p.Ipv6Ranges {
			s := base
			s.CIDRv6, s.Description = ec2types.Value(r.CidrIpv6), ec2types.Value(r.Description)
			out = append(out, s)
		}
		for _, g := range p.UserIdGroupPairs {
			s := base
			s.Group, s.GroupOwner, s.Description = groupRef(g.GroupId, g.GroupName), ec2types.Value(g.UserId), ec2types.Value(g.Description)
			s.GroupVPC = ec2types.Value(g.VpcId)
			out = append(out, s)
		}
	}
	return out, nil
}

func (a *Actions) authorize(ctx context.Context, ref cloud.GroupRef, egress bool, permissions []ec2types.IpPermission, flat flatRule, tagSpecs []ec2types.TagSpecification) ([]ec2types.SecurityGroupRule, error) {
	tags, err := oneTagSet(tagSpecs, "security-group-rule")
	if err != nil {
		return nil, err
	}
	wanted, err := specs(permissions, flat)
	if err != nil {
		return nil, err
	}
	rules, g, err := a.account(ctx).AuthorizeRules(ctx, ref, egress, wanted, tags)
	if err != nil {
		return nil, err
	}
	var out []ec2types.SecurityGroupRule
	for i := range rules {
		out = append(out, ruleOf(&groupRule{rules[i], &g}))
	}
	return out, nil
}

func (a *Actions) revoke(ctx context.Context, ref cloud.GroupRef, egress bool, ids []string, permissions []ec2types.IpPermission, flat flatRule) ([]ec2types.IpPermission, error) {
	wanted, err := specs(permissions, flat)
	if err != nil {
		return nil, err
	}
	r, err := a.account(ctx).RevokeRules(ctx, ref, egress, ids, wanted)
	if err != nil {
		return nil, err
	}
	return permissionsOf(r.Group.OwnerID, r.Unknown), nil
}

func (a *Actions) updateDescriptions(ctx context.Context, ref cloud.GroupRef, egress bool, byID []ec2types.SecurityGroupRuleDescription, permissions []ec2types.IpPermission) error {
	if len(byID) > 0 && len(permissions) > 0 {
		return model.Errorf(model.CodeInvalidParameterCombination, "The parameter ipPermissions cannot be used together with securityGroupRuleDescriptions")
	}
	wanted, err := specs(permissions, flatRule{})
	if err != nil {
		return err
	}
	texts := map[string]string{}
	for _, d := range byID {
		texts[ec2types.Value(d.SecurityGroupRuleId)] = ec2types.Value(d.Description)
	}
	return a.account(ctx).DescribeRules(ctx, ref, egress, texts, wanted)
}

func (a *Actions) modifySecurityGroupRules(ctx context.Context, in *ec2types.ModifySecurityGroupRulesInput) (*ec2types.ModifySecurityGroupRulesOutput, error) {
	var changes []cloud.RuleChange
	for _, u := range in.SecurityGroupRules {
		r := u.SecurityGroupRule
		if r == nil {
			r = &ec2types.SecurityGroupRuleRequest{} // which lacks the protocol, an error
		}
		changes = append(changes, cloud.RuleChange{ID: ec2types.Value(u.SecurityGroupRuleId), Spec: cloud.RuleSpec{
			Protocol: ec2types.Value(r.IpProtocol), FromPort: r.FromPort, ToPort: r.ToPort, CIDR: ec2types.Value(r.CidrIpv4),
			CIDRv6: ec2types.Value(r.CidrIpv6), Group: groupRef(r.ReferencedGroupId, nil), Description: ec2types.Value(r.Description),
		}})
	}
	err := a.account(ctx).ModifyRules(ctx, ec2types.Value(in.GroupId), changes)
	return &ec2types.ModifySecurityGroupRulesOutput{Return: ptr(err == nil)}, err
}

// groupRule is a rule with its group.
type groupRule struct {
	model.SecurityGroupRule
	group *model.SecurityGroup
}

func (a *Actions) describeSecurityGroupRules(ctx context.Context, in *ec2types.DescribeSecurityGroupRulesInput) (*ec2types.DescribeSecurityGroupRulesOutput, error) {
	groups, err := a.account(ctx).SecurityGroups(ctx)
	if err != nil {
		return nil, err
	}
	var all []groupRule
	for i := range groups {
		for _, r := range groups[i].Rules {
			all = append(all, groupRule{r, &groups[i]})
		}
	}
	page, next, err := describe(a, query[groupRule]{
		action: "DescribeSecurityGroupRules", all: all, ids: in.SecurityGroupRuleIds, kind: ruleKind, filters: in.Filters,
		fields: map[string]func(*groupRule) []string{
			"group-id":               one(func(r *groupRule) string { return r.group.ID }),
			"is-egress":              one(func(r *groupRule) string { return strconv.FormatBool(r.Egress) }),
			"security-group-rule-id": one(func(r *groupRule) string { return r.ID }),
		},
		tags: func(r *groupRule) model.Tags { return r.Tags }, max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeSecurityGroupRulesOutput{NextToken: next}
	for i := range page {
		out.SecurityGroupRules = append(out.SecurityGroupRules, ruleOf(&page[i]))
	}
	return out, nil
}

func ruleOf(r *groupRule) ec2types.SecurityGroupRule {
	out := ec2types.SecurityGroupRule{
		CidrIpv4: str(r.CIDR), CidrIpv6: str(r.CIDRv6), Description: str(r.Description), FromPort: ptr(int32(r.FromPort)), ToPort: ptr(int32(r.ToPort)),
		GroupId: ptr(r.group.ID), GroupOwnerId: ptr(r.group.OwnerID), IpProtocol: ptr(r.Protocol), IsEgress: ptr(r.Egress),
		SecurityGroupRuleId: ptr(r.ID), Tags: tagsOf(r.Tags),
	}
	if r.GroupID != "" {
		out.ReferencedGroupInfo = &ec2types.ReferencedSecurityGroup{GroupId: ptr(r.GroupID), UserId: ptr(r.group.OwnerID), VpcId: ptr(r.group.VPCID)}
	}
	return out
}
