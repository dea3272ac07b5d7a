package actions

import (
	"context"
	"slices"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerVPCs(t *api.Table) {
	api.Register(t, api.Action[ec2types.CreateVpcInput, ec2types.CreateVpcOutput]{
		Name: "CreateVpc", Acts: []string{"CidrBlock", "InstanceTenancy=default", "AmazonProvidedIpv6CidrBlock", "TagSpecifications"},
		Handler: a.createVpc,
	})
	api.Register(t, api.Action[ec2types.CreateDefaultVpcInput, ec2types.CreateDefaultVpcOutput]{
		Name: "CreateDefaultVpc",
		Handler: func(ctx context.Context, _ *ec2types.CreateDefaultVpcInput) (*ec2types.CreateDefaultVpcOutput, error) {
			v, err := a.account(ctx).CreateDefaultVPC(ctx)
			if err != nil {
				return nil, err
			}
			return &ec2types.CreateDefaultVpcOutput{Vpc: ptr(a.vpcOf(&v))}, nil
		},
	})
	api.Register(t, api.Action[ec2types.DeleteVpcInput, ec2types.DeleteVpcOutput]{
		Name: "DeleteVpc", Acts: []string{"VpcId"},
		Handler: func(ctx context.Context, in *ec2types.DeleteVpcInput) (*ec2types.DeleteVpcOutput, error) {
			return &ec2types.DeleteVpcOutput{}, a.account(ctx).DeleteVPC(ctx, ec2types.Value(in.VpcId))
		},
	})
	api.Register(t, api.Action[ec2types.DescribeVpcsInput, ec2types.DescribeVpcsOutput]{
		Name: "DescribeVpcs", Handler: a.describeVpcs, Acts: []string{"VpcIds", "Filters", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.DescribeVpcAttributeInput, ec2types.DescribeVpcAttributeOutput]{
		Name: "DescribeVpcAttribute", Handler: a.describeVpcAttribute, Acts: []string{"VpcId", "Attribute"},
	})
	api.Register(t, api.Action[ec2types.ModifyVpcAttributeInput, ec2types.ModifyVpcAttributeOutput]{
		Name: "ModifyVpcAttribute", Handler: a.modifyVpcAttribute,
		Acts: []string{"VpcId", "EnableDnsHostnames", "EnableDnsSupport", "EnableNetworkAddressUsageMetrics.Value=false"},
	})
}

func (a *Actions) createVpc(ctx context.Context, in *ec2types.CreateVpcInput) (*ec2types.CreateVpcOutput, error) {
	tags, err := oneTagSet(in.TagSpecifications, "vpc")
	if err != nil {
		return nil, err
	}
	if in.CidrBlock == nil {
		return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter cidrBlock")
	}
	v, err := a.account(ctx).CreateVPC(ctx, *in.CidrBlock, ec2types.Value(in.AmazonProvidedIpv6CidrBlock), tags)
	if err != nil {
		return nil, err
	}
	out := a.vpcOf(&v)
	out.State = ptr("pending") // what EC2 says of a VPC that it has just made
	for i := range out.Ipv6CidrBlockAssociationSet {
		out.Ipv6CidrBlockAssociationSet[i].Ipv6CidrBlockState.State = ptr("associating")
	}
	return &ec2types.CreateVpcOutput{Vpc: &out}, nil
}

func (a *Actions) vpcOf(v *model.VPC) ec2types.Vpc {
	out := ec2types.Vpc{
		CidrBlock: ptr(v.CIDR), DhcpOptionsId: ptr(v.DHCPOptionsID), InstanceTenancy: ptr("default"), IsDefault: ptr(v.Default),
		OwnerId: ptr(v.OwnerID), State: ptr("available"), VpcId: ptr(v.ID), Tags: tagsOf(v.Tags),
	}
	for _, r := range v.Ranges() {
		out.CidrBlockAssociationSet = append(out.CidrBlockAssociationSet, vpcRangeOf(r, "associated"))
	}
	if v.CIDRv6 != "" {
		out.Ipv6CidrBlockAssociationSet = []ec2types.VpcIpv6CidrBlockAssociation{a.vpcRangeV6(v, "associated")}
	}
	return out
}

func (a *Actions) describeVpcs(ctx context.Context, in *ec2types.DescribeVpcsInput) (*ec2types.DescribeVpcsOutput, error) {
	all, err := a.account(ctx).VPCs(ctx)
	if err != nil {
		return nil, err
	}
	cidr := one(func(v *model.VPC) string { return v.CIDR })
	ranges := func(v *model.VPC) []model.Range { return v.Ranges() }
	page, next, err := describe(a, query[model.VPC]{
		action: "DescribeVpcs", all: all, ids: in.VpcIds, kind: vpcKind, filters: in.Filters,
		fields: map[string]func(*model.VPC) []string{
			"cidr":                                        cidr,
			"cidr-block-association.cidr-block":           each(ranges, func(r *model.Range) string { return r.CIDR }),
			"cidr-block-association.association-id":       each(ranges, func(r *model.Range) string { return r.AssocID }),
			"cidr-block-association.state":                one(func(*model.VPC) string { return "associated" }),
			"dhcp-options-id":                             one(func(v *model.VPC) string { return v.DHCPOptionsID }),
			"ipv6-cidr-block-association.ipv6-cidr-block": optional(func(v *model.VPC) string { return v.CIDRv6 }),
			"ipv6-cidr-block-association.ipv6-pool":       optional(func(v *model.VPC) string { return ifThere(v.CIDRv6, "Amazon") }),
			"ipv6-cidr-block-association.association-id":  optional(func(v *model.VPC) string { return v.CIDRv6AssocID }),
			"ipv6-cidr-block-association.state":           optional(func(v *model.VPC) string { return ifThere(v.CIDRv6, "associated") }),
			"is-default":                                  one(func(v *model.VPC) string { return yesNo(v.Default) }),
			"isDefault":                                   one(func(v *model.VPC) string { return yesNo(v.Default) }),
			"owner-id":                                    one(func(v *model.VPC) string { return v.OwnerID }),
			"state":                                       one(func(*model.VPC) string { return "available" }),
			"vpc-id":                                      one(func(v *model.VPC) string { return v.ID }),
		},
		tags: func(v *model.VPC) model.Tags { return v.Tags }, max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeVpcsOutput{NextToken: next}
	for i := range page {
		out.Vpcs = append(out.Vpcs, a.vpcOf(&page[i]))
	}
	return out, nil
}

func (a *Actions) describeVpcAttribute(ctx context.Context, in *ec2types.DescribeVpcAttributeInput) (*ec2types.DescribeVpcAttributeOutput, error) {
	all, err := a.account(ctx).VPCs(ctx)
	if err != nil {
		return nil, err
	}
	id := ec2types.Value(in.VpcId)
	i := slices.IndexFunc(all, func(v model.VPC) bool { return v.ID == id })
	if err := vpcKind.check([]string{id}, func(string) bool { return i >= 0 }); err != nil {
		return nil, err
	}
	out := &ec2types.DescribeVpcAttributeOutput{VpcId: ptr(id)}
	boolean := func(v bool) *ec2types.AttributeBooleanValue { return &ec2types.AttributeBooleanValue{Value: ptr(v)} }
	switch *in.Attribute { // the dispatcher has checked the enum
	case "enableDnsSupport":
		out.EnableDnsSupport = boolean(all[i].DNSSupport)
	case "enableDnsHostnames":
		out.EnableDnsHostnames = boolean(all[i].DNSHostnames)
	case "enableNetworkAddressUsageMetrics":
		out.EnableNetworkAddressUsageMetrics = boolean(all[i].UsageMetrics)
	}
	return out, nil
}

func (a *Actions) modifyVpcAttribute(ctx context.Context, in *ec2types.ModifyVpcAttributeInput) (*ec2types.ModifyVpcAttributeOutput, error) {
	return &ec2types.ModifyVpcAttributeOutput{}, a.account(ctx).EditVPC(ctx, ec2types.Value(in.VpcId), func(v *model.VPC) error {
		given := 0
		for _, v := range []*ec2types.AttributeBooleanValue{in.EnableDnsHostnames, in.EnableDnsSupport, in.EnableNetworkAddressUsageMetrics} {
			if v != nil {
				given++
			}
		}
		if given != 1 {
			return model.Errorf(model.CodeInvalidParameterCombination, "Exactly one attribute can be changed by a request; this has %d", given)
		}
		switch {
		case in.EnableDnsHostnames != nil:
			v.DNSHostnames = ec2types.Value(in.EnableDnsHostnames.Value)
		case in.EnableDnsSupport != nil:
			v.DNSSupport = ec2types.Value(in.EnableDnsSupport.Value)
		}
		return nil
	})
}
