package actions

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerGroups(t *api.Table) {
	api.Register(t, api.Action[ec2types.CreateSecurityGroupInput, ec2types.CreateSecurityGroupOutput]{
		Name: "CreateSecurityGroup", Handler: a.createSecurityGroup, Acts: []string{"GroupName", "Description", "VpcId", "TagSpecifications"},
	})
	api.Register(t, api.Action[ec2types.DeleteSecurityGroupInput, ec2types.DeleteSecurityGroupOutput]{
		Name: "DeleteSecurityGroup", Acts: []string{"GroupId", "GroupName"},
		Handler: func(ctx context.Context, in *ec2types.DeleteSecurityGroupInput) (*ec2types.DeleteSecurityGroupOutput, error) {
			_, err := a.account(ctx).DeleteSecurityGroup(ctx, groupRef(in.GroupId, in.GroupName))
			return &ec2types.DeleteSecurityGroupOutput{}, err
		},
	})
	api.Register(t, api.Action[ec2types.DescribeSecurityGroupsInput, ec2types.DescribeSecurityGroupsOutput]{
		Name: "DescribeSecurityGroups", Handler: a.describeSecurityGroups,
		Acts: []string{"GroupIds", "GroupNames", "Filters", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.DescribeSecurityGroupReferencesInput, ec2types.DescribeSecurityGroupReferencesOutput]{
		Name: "DescribeSecurityGroupReferences", Handler: a.describeSecurityGroupReferences, Acts: []string{"GroupId"},
	})
}

func groupRef(id, name *string) cloud.GroupRef {
	return cloud.GroupRef{ID: ec2types.Value(id), Name: ec2types.Value(name)}
}

func (a *Actions) createSecurityGroup(ctx context.Context, in *ec2types.CreateSecurityGroupInput) (*ec2types.CreateSecurityGroupOutput, error) {
	tags, err := oneTagSet(in.TagSpecifications, "security-group")
	if err != nil {
		return nil, err
	}
	g, err := a.account(ctx).CreateSecurityGroup(ctx, ec2types.Value(in.VpcId), ec2types.Value(in.GroupName), ec2types.Value(in.Description), tags)
	if err != nil {
		return nil, err
	}
	return &ec2types.CreateSecurityGroupOutput{GroupId: ptr(g.ID), Tags: tagsOf(g.Tags)}, nil
}

func (a *Actions) describeSecurityGroups(ctx context.Context, in *ec2types.DescribeSecurityGroupsInput) (*ec2types.DescribeSecurityGroupsOutput, error) {
	all, err := a.account(ctx).SecurityGroups(ctx)
	if err != nil {
		return nil, err
	}
	ids, err := a.groupIDs(ctx, all, in)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for i := range all {
		names[all[i].ID] = all[i].Name
	}
	page, next, err := describe(a, query[model.SecurityGroup]{
		action: "DescribeSecurityGroups", all: all, ids: ids, kind: groupKind, filters: in.Filters, fields: groupFields(names),
		tags: func(g *model.SecurityGroup) model.Tags { return g.Tags }, max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeSecurityGroupsOutput{NextToken: next}
	for i := range page {
		out.SecurityGroups = append(out.SecurityGroups, a.groupOf(&page[i]))
	}
	return out, nil
}

// groupIDs adds the ids of the groups that are asked for by name, which is of
// the default VPC.
func (a *Actions) groupIDs(ctx context.Context, all []model.SecurityGroup, in *ec2types.DescribeSecurityGroupsInput) ([]string, error) {
	ids := slices.Clone(in.GroupIds)
	if len(in.GroupNames) == 0 {
		return ids, nil
	}
	vpcs, err := a.account(ctx).VPCs(ctx)
	if err != nil {
		return nil, err
	}
	var vpc string
	for i := range vpcs {
		if vpcs[i].Default {
			vpc = vpcs[i].ID
		}
	}
	for _, name := range in.GroupNames {
		i := slices.IndexFunc(all, func(g model.SecurityGroup) bool { return g.VPCID == vpc && g.Name == name })
		if i < 0 {
			return nil, model.Errorf("InvalidGroup.NotFound", "The security group '%s' does not exist in default VPC '%s'", name, vpc)
		}
		ids = append(ids, all[i].ID)
	}
	return ids, nil
}

func groupFields(names map[string]string) map[string]func(*model.SecurityGroup) []string {
	fields := map[string]func(*model.SecurityGroup) []string{
		"description": one(func(g *model.SecurityGroup) string { return g.Description }),
		"group-id":    one(func(g *model.SecurityGroup) string { return g.ID }),
		"group-name":  one(func(g *model.SecurityGroup) string { return g.Name }),
		"owner-id":    one(func(g *model.SecurityGroup) string { return g.OwnerID }),
		"vpc-id":      one(func(g *model.SecurityGroup) string { return g.VPCID }),
	}
	for name, value := range map[string]func(*model.SecurityGroupRule) string{
		"cidr":       func(r *model.SecurityGroupRule) string { return r.CIDR },
		"from-port":  func(r *model.SecurityGroupRule) string { return strconv.Itoa(r.FromPort) },
		"group-id":   func(r *model.SecurityGroupRule) string { return r.GroupID },
		"group-name": func(r *model.SecurityGroupRule) string { return names[r.GroupID] },
		"ipv6-cidr":  func(r *model.SecurityGroupRule) string { return r.CIDRv6 },
		"protocol":   func(r *model.SecurityGroupRule) string { return r.Protocol },
		"to-port":    func(r *model.SecurityGroupRule) string { return strconv.Itoa(r.ToPort) },
	} {
		fields["ip-permission."+name] = each(func(g *model.SecurityGroup) []model.SecurityGroupRule { return direction(g, false) }, value)
		fields["egress.ip-permission."+name] = each(func(g *model.SecurityGroup) []model.SecurityGroupRule { return direction(g, true) }, value)
	}
	user := func(egress bool) func(*model.SecurityGroup) []string {
		return func(g *model.SecurityGroup) []string {
			if slices.ContainsFunc(direction(g, egress), func(r model.SecurityGroupRule) bool { return r.GroupID != "" }) {
				return []string{g.OwnerID}
			}
			return nil
		}
	}
	fields["ip-permission.user-id"], fields["egress.ip-permission.user-id"] = user(false), user(true)
	return fields
}

func direction(g *model.SecurityGroup, egress bool) []model.SecurityGroupRule {
	var out []model.SecurityGroupRule
	for _, r := range g.Rules {
		if r.Egress == egress {
			out = append(out, r)
		}
	}
	return out
}

func (a *Actions) groupOf(g *model.SecurityGroup) ec2types.SecurityGroup {
	return ec2types.SecurityGroup{
		Description: ptr(g.Description), GroupId: ptr(g.ID), GroupName: ptr(g.Name), OwnerId: ptr(g.OwnerID), VpcId: ptr(g.VPCID),
		IpPermissions:       permissionsOf(g.OwnerID, direction(g, false)),
		IpPermissionsEgress: permissionsOf(g.OwnerID, direction(g, true)), Tags: tagsOf(g.Tags),
	}
}

// permissionsOf joins rules of one protocol and one range of ports, as EC2 does.
func permissionsOf(owner string, rules []model.SecurityGroupRule) []ec2types.IpPermission {
	rules = slices.Clone(rules)
	slices.SortStableFunc(rules, func(x, y model.SecurityGroupRule) int {
		return cmp.Or(cmp.Compare(x.Protocol, y.Protocol), cmp.Compare(x.FromPort, y.FromPort), cmp.Compare(x.ToPort, y.ToPort))
	})
	out := []ec2types.IpPermission{}
	for i := range rules {
		r := &rules[i]
		if i == 0 || r.Protocol != rules[i-1].Protocol || r.FromPort != rules[i-1].FromPort || r.ToPort != rules[i-1].ToPort {
			p := ec2types.IpPermission{
				IpProtocol: ptr(r.Protocol), IpRanges: []ec2types.IpRange{}, Ipv6Ranges: []ec2types.Ipv6Range{},
				PrefixListIds: []ec2types.PrefixListId{}, UserIdGroupPairs: []ec2types.UserIdGroupPair{},
			}
			if r.Protocol != "-1" {
				p.FromPort, p.ToPort = ptr(int32(r.FromPort)), ptr(int32(r.ToPort))
			}
			out = append(out, p)
		}
		p := &out[len(out)-1]
		switch {
		case r.CIDR != "":
			p.IpRanges = append(p.IpRanges, ec2types.IpRange{CidrIp: ptr(r.CIDR), Description: str(r.Description)})
		case r.CIDRv6 != "":
			p.Ipv6Ranges = append(p.Ipv6Ranges, ec2types.Ipv6Range{CidrIpv6: ptr(r.CIDRv6), Description: str(r.Description)})
		default:
			p.UserIdGroupPairs = append(p.UserIdGroupPairs, ec2types.UserIdGroupPair{GroupId: ptr(r.GroupID), UserId: ptr(owner), Description: str(r.Description)})
		}
	}
	return out
}

// describeSecurityGroupReferences finds groups of peered VPCs that name these:
// there is no peering, so there are none.
func (a *Actions) describeSecurityGroupReferences(ctx context.Context, in *ec2types.DescribeSecurityGroupReferencesInput) (*ec2types.DescribeSecurityGroupReferencesOutput, error) {
	all, err := a.account(ctx).SecurityGroups(ctx)
	if err != nil {
		return nil, err
	}
	return &ec2types.DescribeSecurityGroupReferencesOutput{}, groupKind.check(in.GroupId, func(id string) bool {
		return slices.ContainsFunc(all, func(g model.SecurityGroup) bool { return g.ID == id })
	})
}
