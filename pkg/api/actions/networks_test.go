package actions_test

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/actions"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/store"
)

// lab is a cloud without nodes behind the dispatcher, as one account sees it.
type lab struct {
	t       *testing.T
	d       *api.Dispatcher
	account string
	cloud   *cloud.Cloud
}

func newLab(t *testing.T) *lab {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: filepath.Join(t.TempDir(), "etcd"), Migrations: cloud.Migrations()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	c, err := cloud.New(t.Context(), cloud.Options{Store: s, Region: "test-1", PublicPool: netip.MustParsePrefix("127.77.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	table := api.NewTable()
	actions.Register(table, c, nil)
	d, err := api.NewDispatcher(table, api.Options{Authorize: func(context.Context, *api.Call) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return &lab{t: t, d: d, account: c.Info().AccountID, cloud: c}
}

// as is the lab of another account.
func (l *lab) as(account string) *lab {
	other := *l
	other.account = account
	return &other
}

// try makes a call.
func try[O any](l *lab, action string, in any) (*O, error) {
	l.t.Helper()
	out, err := l.d.Call(l.t.Context(), &api.Call{Action: action, Input: in, Principal: api.Principal{AccountID: l.account}})
	if err != nil {
		return nil, err
	}
	return out.(*O), nil
}

// do makes a call that must succeed.
func do[O any](l *lab, action string, in any) *O {
	l.t.Helper()
	out, err := try[O](l, action, in)
	if err != nil {
		l.t.Fatalf("%s: %v", action, err)
	}
	return out
}

// refuse makes a call that must fail with this code.
func (l *lab) refuse(code, action string, in any) {
	l.t.Helper()
	_, err := l.d.Call(l.t.Context(), &api.Call{Action: action, Input: in, Principal: api.Principal{AccountID: l.account}})
	if model.CodeOf(err) != code {
		l.t.Errorf("%s answers %v, want %s", action, err, code)
	}
}

func ptr[T any](v T) *T { return &v }

func filter(name string, values ...string) []ec2types.Filter {
	return []ec2types.Filter{{Name: ptr(name), Values: values}}
}

func (l *lab) vpc(cidr string) string {
	l.t.Helper()
	return *do[ec2types.CreateVpcOutput](l, "CreateVpc", &ec2types.CreateVpcInput{CidrBlock: &cidr}).Vpc.VpcId
}

func (l *lab) subnet(vpc, cidr string) string {
	l.t.Helper()
	return *do[ec2types.CreateSubnetOutput](l, "CreateSubnet", &ec2types.CreateSubnetInput{VpcId: &vpc, CidrBlock: &cidr}).Subnet.SubnetId
}

func (l *lab) group(vpc, name string) string {
	l.t.Helper()
	in := &ec2types.CreateSecurityGroupInput{GroupName: &name, Description: ptr("for tests")}
	if vpc != "" {
		in.VpcId = &vpc
	}
	return *do[ec2types.CreateSecurityGroupOutput](l, "CreateSecurityGroup", in).GroupId
}

func (l *lab) describeGroup(id string) ec2types.SecurityGroup {
	l.t.Helper()
	return do[ec2types.DescribeSecurityGroupsOutput](l, "DescribeSecurityGroups", &ec2types.DescribeSecurityGroupsInput{GroupIds: []string{id}}).SecurityGroups[0]
}

func (l *lab) defaults() (vpc ec2types.Vpc, subnet ec2types.Subnet, group ec2types.SecurityGroup) {
	l.t.Helper()
	vpc = do[ec2types.DescribeVpcsOutput](l, "DescribeVpcs", &ec2types.DescribeVpcsInput{Filters: filter("is-default", "true")}).Vpcs[0]
	subnet = do[ec2types.DescribeSubnetsOutput](l, "DescribeSubnets", &ec2types.DescribeSubnetsInput{Filters: filter("default-for-az", "true")}).Subnets[0]
	group = do[ec2types.DescribeSecurityGroupsOutput](l, "DescribeSecurityGroups", &ec2types.DescribeSecurityGroupsInput{GroupNames: []string{"default"}}).SecurityGroups[0]
	return vpc, subnet, group
}

// permission is one of tcp ports from a CIDR.
func permission(protocol string, from, to int32, cidrs ...string) ec2types.IpPermission {
	p := ec2types.IpPermission{IpProtocol: &protocol, FromPort: &from, ToPort: &to}
	for _, c := range cidrs {
		if strings.Contains(c, ":") {
			p.Ipv6Ranges = append(p.Ipv6Ranges, ec2types.Ipv6Range{CidrIpv6: &c})
		} else {
			p.IpRanges = append(p.IpRanges, ec2types.IpRange{CidrIp: &c})
		}
	}
	return p
}

// Every account gets EC2's default network, once.
func TestDefaultNetwork(t *testing.T) {
	l := newLab(t)
	vpc, subnet, group := l.defaults()
	if *vpc.VpcId != l.cloud.Info().VPCID || *subnet.SubnetId != l.cloud.Info().SubnetID || *group.GroupId != l.cloud.Info().GroupID {
		t.Errorf("the admin's default network is %s, %s, %s, not that of the cloud's record %+v", *vpc.VpcId, *subnet.SubnetId, *group.GroupId, l.cloud.Info())
	}
	other := l.as("111122223333")
	vpc2, subnet2, _ := other.defaults()
	if *vpc2.VpcId == *vpc.VpcId || *vpc2.CidrBlock != "172.31.0.0/16" || *subnet2.CidrBlock != "172.31.0.0/20" || *subnet2.AvailableIpAddressCount != 4091 {
		t.Errorf("another account has %s with %s (%d addresses)", *vpc2.VpcId, *subnet2.CidrBlock, *subnet2.AvailableIpAddressCount)
	}
	other.refuse("InvalidVpcID.NotFound", "DeleteVpc", &ec2types.DeleteVpcInput{VpcId: vpc.VpcId})

	open := map[int32]bool{}
	for _, p := range group.IpPermissions {
		if *p.IpProtocol == "tcp" && *p.IpRanges[0].CidrIp == "0.0.0.0/0" && *p.FromPort == *p.ToPort {
			open[*p.FromPort] = true
		}
	}
	if len(open) != 4 || !open[22] || !open[80] || !open[443] || !open[8080] {
		t.Errorf("the default group shows %v as open", open)
	}
	tables := do[ec2types.DescribeRouteTablesOutput](l, "DescribeRouteTables", &ec2types.DescribeRouteTablesInput{Filters: filter("association.main", "true")}).RouteTables
	if len(tables) != 1 || len(tables[0].Routes) != 2 || *tables[0].Routes[0].GatewayId != "local" || *tables[0].Routes[1].State != "active" {
		t.Errorf("the main route table is %+v", tables)
	}
	acls := do[ec2types.DescribeNetworkAclsOutput](l, "DescribeNetworkAcls", &ec2types.DescribeNetworkAclsInput{}).NetworkAcls
	if len(acls) != 1 || len(acls[0].Entries) != 4 || *acls[0].Associations[0].SubnetId != *subnet.SubnetId {
		t.Errorf("the network ACLs are %+v", acls)
	}
	l.refuse("DefaultVpcAlreadyExists", "CreateDefaultVpc", &ec2types.CreateDefaultVpcInput{})
}

func TestSecurityGroups(t *testing.T) {
	l := newLab(t)
	web := l.group("", "web")
	l.refuse("InvalidGroup.Duplicate", "CreateSecurityGroup", &ec2types.CreateSecurityGroupInput{GroupName: ptr("web"), Description: ptr("x")})
	l.refuse("InvalidParameterValue", "CreateSecurityGroup", &ec2types.CreateSecurityGroupInput{GroupName: ptr("sg-x"), Description: ptr("x")})
	l.refuse("InvalidParameterValue", "CreateSecurityGroup", &ec2types.CreateSecurityGroupInput{GroupName: ptr("default"), Description: ptr("x")})
	l.refuse("InvalidParameterValue", "CreateSecurityGroup", &ec2types.CreateSecurityGroupInput{GroupName: ptr("ok"), Description: ptr("naïve")})
	l.group(l.vpc("10.0.0.0/16"), "web") // names are unique in their VPC only

	authorize := func(p ...ec2types.IpPermission) *ec2types.AuthorizeSecurityGroupIngressInput {
		return &ec2types.AuthorizeSecurityGroupIngressInput{GroupId: &web, IpPermissions: p}
	}
	added := do[ec2types.AuthorizeSecurityGroupIngressOutput](l, "AuthorizeSecurityGroupIngress", authorize(permission("6", 80, 80, "10.1.2.3/8", "2001:db8::/32"))).SecurityGroupRules
	if len(added) != 2 || *added[0].CidrIpv4 != "10.0.0.0/8" || *added[0].IpProtocol != "tcp" || *added[1].CidrIpv6 != "2001:db8::/32" {
		t.Errorf("the rules added are %+v", added)
	}
	for code, p := range map[string][]ec2types.IpPermission{
		"InvalidPermission.Duplicate": {permission("tcp", 80, 80, "10.0.0.0/8")},
		"InvalidGroup.NotFound":       {{IpProtocol: ptr("-1"), UserIdGroupPairs: []ec2types.UserIdGroupPair{{GroupName: ptr("nobody")}}}},
		"MissingParameter":            {{IpProtocol: ptr("-1")}},
	} {
		l.refuse(code, "AuthorizeSecurityGroupIngress", authorize(p...))
	}
	for _, p := range []ec2types.IpPermission{
		permission("tcp", 90, 80, "10.0.0.0/8"), permission("tcp", -1, 80, "10.0.0.0/8"), permission("tcp", 1, 65536, "10.0.0.0/8"),
		permission("tcp", 1, 2, "10.0.0.0"), permission("tcp", 1, 2, "10.0.0.0/33"), permission("icmp", 256, 0, "10.0.0.0/8"),
		permission("icmp", -1, 0, "10.0.0.0/8"), permission("256", 0, 0, "10.0.0.0/8"), permission("sctp", 0, 0, "10.0.0.0/8"),
		permission("tcp", 5, 5, "10.0.0.0/8", "10.2.0.0/8"), {IpProtocol: ptr("udp"), IpRanges: []ec2types.IpRange{{CidrIp: ptr("10.0.0.0/8")}}},
	} {
		l.refuse("InvalidParameterValue", "AuthorizeSecurityGroupIngress", authorize(p))
	}
	// All or none: the first of these is fine.
	l.refuse("InvalidPermission.Duplicate", "AuthorizeSecurityGroupIngress", authorize(permission("tcp", 443, 443, "10.0.0.0/8"), permission("tcp", 80, 80, "10.0.0.0/8")))
	if g := l.describeGroup(web); len(g.IpPermissions) != 1 || len(g.IpPermissionsEgress) != 1 {
		t.Errorf("after refusals the group is %+v", g)
	}

	// The older form, and sources by name.
	do[ec2types.AuthorizeSecurityGroupIngressOutput](l, "AuthorizeSecurityGroupIngress", &ec2types.AuthorizeSecurityGroupIngressInput{
		GroupName: ptr("web"), IpProtocol: ptr("tcp"), FromPort: ptr(int32(22)), ToPort: ptr(int32(22)), CidrIp: ptr("0.0.0.0/0"),
	})
	do[ec2types.AuthorizeSecurityGroupIngressOutput](l, "AuthorizeSecurityGroupIngress", &ec2types.AuthorizeSecurityGroupIngressInput{
		GroupName: ptr("web"), SourceSecurityGroupName: ptr("default"),
	})
	_, _, def := l.defaults()
	g := l.describeGroup(web)
	if len(g.IpPermissions) != 3 || *g.IpPermissions[0].UserIdGroupPairs[0].GroupId != *def.GroupId || g.IpPermissions[0].FromPort != nil {
		t.Errorf("the group is %+v", g)
	}
	found := do[ec2types.DescribeSecurityGroupsOutput](l, "DescribeSecurityGroups", &ec2types.DescribeSecurityGroupsInput{Filters: filter("ip-permission.group-name", "def*")}).SecurityGroups
	if len(found) != 3 { // web and two default groups, which name themselves
		t.Errorf("%d groups name a default group", len(found))
	}
}

func TestRevokeAndModifyRules(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc("10.0.0.0/16")
	g := l.group(vpc, "web")
	rules := do[ec2types.AuthorizeSecurityGroupIngressOutput](l, "AuthorizeSecurityGroupIngress", &ec2types.AuthorizeSecurityGroupIngressInput{
		GroupId: &g, IpPermissions: []ec2types.IpPermission{permission("tcp", 80, 80, "10.0.0.0/8"), permission("tcp", 22, 22, "10.0.0.0/8")},
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ptr("security-group-rule"), Tags: []ec2types.Tag{{Key: ptr("k"), Value: ptr("v")}}}},
	}).SecurityGroupRules

	do[ec2types.ModifySecurityGroupRulesOutput](l, "ModifySecurityGroupRules", &ec2types.ModifySecurityGroupRulesInput{GroupId: &g, SecurityGroupRules: []ec2types.SecurityGroupRuleUpdate{{
		SecurityGroupRuleId: rules[0].SecurityGroupRuleId,
		SecurityGroupRule:   &ec2types.SecurityGroupRuleRequest{IpProtocol: ptr("tcp"), FromPort: ptr(int32(81)), ToPort: ptr(int32(82)), CidrIpv4: ptr("10.0.0.0/8"), Description: ptr("now 81")},
	}}})
	l.refuse("InvalidPermission.Duplicate", "ModifySecurityGroupRules", &ec2types.ModifySecurityGroupRulesInput{GroupId: &g, SecurityGroupRules: []ec2types.SecurityGroupRuleUpdate{{
		SecurityGroupRuleId: rules[0].SecurityGroupRuleId,
		SecurityGroupRule:   &ec2types.SecurityGroupRuleRequest{IpProtocol: ptr("tcp"), FromPort: ptr(int32(22)), ToPort: ptr(int32(22)), CidrIpv4: ptr("10.0.0.0/8")},
	}}})
	do[ec2types.UpdateSecurityGroupRuleDescriptionsIngressOutput](l, "UpdateSecurityGroupRuleDescriptionsIngress", &ec2types.UpdateSecurityGroupRuleDescriptionsIngressInput{
		GroupId: &g, SecurityGroupRuleDescriptions: []ec2types.SecurityGroupRuleDescription{{SecurityGroupRuleId: rules[1].SecurityGroupRuleId, Description: ptr("shell")}},
	})
	l.refuse("InvalidSecurityGroupRuleId.NotFound", "UpdateSecurityGroupRuleDescriptionsEgress", &ec2types.UpdateSecurityGroupRuleDescriptionsEgressInput{
		GroupId: &g, SecurityGroupRuleDescriptions: []ec2types.SecurityGroupRuleDescription{{SecurityGroupRuleId: rules[1].SecurityGroupRuleId, Description: ptr("shell")}},
	})
	shown := do[ec2types.DescribeSecurityGroupRulesOutput](l, "DescribeSecurityGroupRules", &ec2types.DescribeSecurityGroupRulesInput{Filters: filter("tag:k", "v")}).SecurityGroupRules
	if len(shown) != 2 || *shown[0].Description == "" || *shown[0].GroupId != g {
		t.Errorf("the rules are %+v", shown)
	}
	do[ec2types.CreateTagsOutput](l, "CreateTags", &ec2types.CreateTagsInput{Resources: []string{*rules[0].SecurityGroupRuleId}, Tags: []ec2types.Tag{{Key: ptr("k"), Value: ptr("w")}}})
	if n := len(do[ec2types.DescribeSecurityGroupRulesOutput](l, "DescribeSecurityGroupRules", &ec2types.DescribeSecurityGroupRulesInput{Filters: filter("tag:k", "w")}).SecurityGroupRules); n != 1 {
		t.Errorf("%d rules have the new tag", n)
	}

	l.refuse("InvalidPermission.NotFound", "RevokeSecurityGroupIngress", &ec2types.RevokeSecurityGroupIngressInput{GroupId: &g, IpPermissions: []ec2types.IpPermission{permission("tcp", 80, 80, "10.0.0.0/8")}})
	do[ec2types.RevokeSecurityGroupIngressOutput](l, "RevokeSecurityGroupIngress", &ec2types.RevokeSecurityGroupIngressInput{GroupId: &g, IpPermissions: []ec2types.IpPermission{permission("tcp", 81, 82, "10.0.0.0/8")}})
	do[ec2types.RevokeSecurityGroupIngressOutput](l, "RevokeSecurityGroupIngress", &ec2types.RevokeSecurityGroupIngressInput{GroupId: &g, SecurityGroupRuleIds: []string{*rules[1].SecurityGroupRuleId}})
	do[ec2types.RevokeSecurityGroupEgressOutput](l, "RevokeSecurityGroupEgress", &ec2types.RevokeSecurityGroupEgressInput{GroupId: &g, IpPermissions: []ec2types.IpPermission{{IpProtocol: ptr("-1"), IpRanges: []ec2types.IpRange{{CidrIp: ptr("0.0.0.0/0")}}}}})
	if left := l.describeGroup(g); len(left.IpPermissions)+len(left.IpPermissionsEgress) != 0 {
		t.Errorf("after revoking everything the group is %+v", left)
	}
	// In the default VPC what is not there is told, not refused.
	_, _, def := l.defaults()
	unknown := do[ec2types.RevokeSecurityGroupIngressOutput](l, "RevokeSecurityGroupIngress", &ec2types.RevokeSecurityGroupIngressInput{GroupId: def.GroupId, IpPermissions: []ec2types.IpPermission{permission("tcp", 9, 9, "10.0.0.0/8")}}).UnknownIpPermissions
	if len(unknown) != 1 || *unknown[0].FromPort != 9 {
		t.Errorf("the unknown permissions are %+v", unknown)
	}
}

func TestDeleteSecurityGroup(t *testing.T) {
	l := newLab(t)
	a, b := l.group("", "a"), l.group("", "b")
	_, _, def := l.defaults()
	l.refuse("CannotDelete", "DeleteSecurityGroup", &ec2types.DeleteSecurityGroupInput{GroupId: def.GroupId})
	do[ec2types.AuthorizeSecurityGroupIngressOutput](l, "AuthorizeSecurityGroupIngress", &ec2types.AuthorizeSecurityGroupIngressInput{
		GroupId: &a, IpPermissions: []ec2types.IpPermission{{IpProtocol: ptr("-1"), UserIdGroupPairs: []ec2types.UserIdGroupPair{{GroupId: &b}}}},
	})
	l.refuse("DependencyViolation", "DeleteSecurityGroup", &ec2types.DeleteSecurityGroupInput{GroupId: &b})
	do[ec2types.DeleteSecurityGroupOutput](l, "DeleteSecurityGroup", &ec2types.DeleteSecurityGroupInput{GroupName: ptr("a")})
	do[ec2types.DeleteSecurityGroupOutput](l, "DeleteSecurityGroup", &ec2types.DeleteSecurityGroupInput{GroupId: &b})
	l.refuse("InvalidGroup.NotFound", "DeleteSecurityGroup", &ec2types.DeleteSecurityGroupInput{GroupId: &b})
	l.group("", "b") // the name is free again
}
