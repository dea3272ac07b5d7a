package actions

import (
	"context"
	"strconv"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerSubnets(t *api.Table) {
	api.Register(t, api.Action[ec2types.CreateSubnetInput, ec2types.CreateSubnetOutput]{
		Name: "CreateSubnet", Handler: a.createSubnet, Acts: []string{"VpcId", "CidrBlock", "Ipv6CidrBlock", "AvailabilityZone", "AvailabilityZoneId", "Ipv6Native=false", "TagSpecifications"},
	})
	api.Register(t, api.Action[ec2types.CreateDefaultSubnetInput, ec2types.CreateDefaultSubnetOutput]{
		Name: "CreateDefaultSubnet", Acts: []string{"AvailabilityZone", "Ipv6Native=false"},
		Handler: func(ctx context.Context, in *ec2types.CreateDefaultSubnetInput) (*ec2types.CreateDefaultSubnetOutput, error) {
			if err := a.checkZone(in.AvailabilityZone, nil); err != nil {
				return nil, err
			}
			s, err := a.account(ctx).CreateDefaultSubnet(ctx)
			if err != nil {
				return nil, err
			}
			return &ec2types.CreateDefaultSubnetOutput{Subnet: ptr(a.subnetOf(&s))}, nil
		},
	})
	api.Register(t, api.Action[ec2types.DeleteSubnetInput, ec2types.DeleteSubnetOutput]{
		Name: "DeleteSubnet", Acts: []string{"SubnetId"},
		Handler: func(ctx context.Context, in *ec2types.DeleteSubnetInput) (*ec2types.DeleteSubnetOutput, error) {
			return &ec2types.DeleteSubnetOutput{}, a.account(ctx).DeleteSubnet(ctx, ec2types.Value(in.SubnetId))
		},
	})
	api.Register(t, api.Action[ec2types.DescribeSubnetsInput, ec2types.DescribeSubnetsOutput]{
		Name: "DescribeSubnets", Handler: a.describeSubnets, Acts: []string{"SubnetIds", "Filters", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.ModifySubnetAttributeInput, ec2types.ModifySubnetAttributeOutput]{
		Name: "ModifySubnetAttribute", Handler: a.modifySubnetAttribute,
		Acts: []string{
			"SubnetId", "MapPublicIpOnLaunch", "AssignIpv6AddressOnCreation", "EnableDns64.Value=false",
			"EnableResourceNameDnsAAAARecordOnLaunch.Value=false", "EnableResourceNameDnsARecordOnLaunch.Value=false",
			"MapCustomerOwnedIpOnLaunch.Value=false", "PrivateDnsHostnameTypeOnLaunch=ip-name",
		},
	})
}

// checkZone accepts the one availability zone by its name or id.
func (a *Actions) checkZone(name, id *string) error {
	if n := ec2types.Value(name); n != "" && n != a.cloud.Zone() {
		return model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: %s.", n, a.cloud.Zone())
	}
	if i := ec2types.Value(id); i != "" && i != a.zoneID() {
		return model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter availabilityZoneId is invalid. Subnets can currently only be created in the following availability zones: %s.", i, a.zoneID())
	}
	return nil
}

func (a *Actions) createSubnet(ctx context.Context, in *ec2types.CreateSubnetInput) (*ec2types.CreateSubnetOutput, error) {
	tags, err := oneTagSet(in.TagSpecifications, "subnet")
	if err != nil {
		return nil, err
	}
	if in.CidrBlock == nil {
		return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter cidrBlock")
	}
	if err := a.checkZone(in.AvailabilityZone, in.AvailabilityZoneId); err != nil {
		return nil, err
	}
	s, err := a.account(ctx).CreateSubnet(ctx, ec2types.Value(in.VpcId), *in.CidrBlock, ec2types.Value(in.Ipv6CidrBlock), tags)
	if err != nil {
		return nil, err
	}
	return &ec2types.CreateSubnetOutput{Subnet: ptr(a.subnetOf(&s))}, nil
}

func (a *Actions) subnetOf(s *cloud.Subnet) ec2types.Subnet {
	out := ec2types.Subnet{
		AssignIpv6AddressOnCreation: ptr(s.AssignIPv6), AvailabilityZone: ptr(a.cloud.Zone()), AvailabilityZoneId: ptr(a.zoneID()),
		AvailableIpAddressCount: ptr(s.Available), CidrBlock: ptr(s.CIDR), DefaultForAz: ptr(s.Default), EnableDns64: ptr(false), Ipv6Native: ptr(false),
		MapCustomerOwnedIpOnLaunch: ptr(false), MapPublicIpOnLaunch: ptr(s.MapPublicIP), OwnerId: ptr(s.OwnerID), State: ptr("available"),
		SubnetArn: ptr(a.subnetARN(s)), SubnetId: ptr(s.ID), VpcId: ptr(s.VPCID), Tags: tagsOf(s.Tags),
		PrivateDnsNameOptionsOnLaunch: &ec2types.PrivateDnsNameOptionsOnLaunch{
			EnableResourceNameDnsAAAARecord: ptr(false), EnableResourceNameDnsARecord: ptr(false), HostnameType: ptr("ip-name"),
		},
		Ipv6CidrBlockAssociationSet: []ec2types.SubnetIpv6CidrBlockAssociation{},
	}
	if s.CIDRv6 != "" {
		out.Ipv6CidrBlockAssociationSet = append(out.Ipv6CidrBlockAssociationSet, subnetRangeV6(&s.Subnet, "associated"))
	}
	return out
}

func (a *Actions) subnetARN(s *cloud.Subnet) string {
	return "arn:aws:ec2:" + a.cloud.Info().Region + ":" + s.OwnerID + ":subnet/" + s.ID
}

func (a *Actions) describeSubnets(ctx context.Context, in *ec2types.DescribeSubnetsInput) (*ec2types.DescribeSubnetsOutput, error) {
	all, err := a.account(ctx).Subnets(ctx)
	if err != nil {
		return nil, err
	}
	zone, zoneID := one(func(*cloud.Subnet) string { return a.cloud.Zone() }), one(func(*cloud.Subnet) string { return a.zoneID() })
	cidr := one(func(s *cloud.Subnet) string { return s.CIDR })
	isDefault := one(func(s *cloud.Subnet) string { return yesNo(s.Default) })
	page, next, err := describe(a, query[cloud.Subnet]{
		action: "DescribeSubnets", all: all, ids: in.SubnetIds, kind: subnetKind, filters: in.Filters,
		fields: map[string]func(*cloud.Subnet) []string{
			"availability-zone": zone, "availabilityZone": zone, "availability-zone-id": zoneID, "availabilityZoneId": zoneID,
			"available-ip-address-count": one(func(s *cloud.Subnet) string { return strconv.Itoa(int(s.Available)) }),
			"cidr":                       cidr, "cidr-block": cidr, "cidrBlock": cidr,
			"default-for-az": isDefault, "defaultForAz": isDefault,
			"ipv6-cidr-block-association.ipv6-cidr-block": optional(func(s *cloud.Subnet) string { return s.CIDRv6 }),
			"ipv6-cidr-block-association.association-id":  optional(func(s *cloud.Subnet) string { return s.CIDRv6AssocID }),
			"ipv6-cidr-block-association.state":           optional(func(s *cloud.Subnet) string { return ifThere(s.CIDRv6, "associated") }),
			"ipv6-native":                                 one(func(*cloud.Subnet) string { return "false" }),
			"map-public-ip-on-launch":                     one(func(s *cloud.Subnet) string { return yesNo(s.MapPublicIP) }),
			"owner-id":                                    one(func(s *cloud.Subnet) string { return s.OwnerID }),
			"state":                                       one(func(*cloud.Subnet) string { return "available" }),
			"subnet-arn":                                  one(a.subnetARN),
			"subnet-id":                                   one(func(s *cloud.Subnet) string { return s.ID }),
			"vpc-id":                                      one(func(s *cloud.Subnet) string { return s.VPCID }),
		},
		tags: func(s *cloud.Subnet) model.Tags { return s.Tags }, max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeSubnetsOutput{NextToken: next}
	for i := range page {
		out.Subnets = append(out.Subnets, a.subnetOf(&page[i]))
	}
	return out, nil
}

func (a *Actions) modifySubnetAttribute(ctx context.Context, in *ec2types.ModifySubnetAttributeInput) (*ec2types.ModifySubnetAttributeOutput, error) {
	return &ec2types.ModifySubnetAttributeOutput{}, a.account(ctx).EditSubnet(ctx, ec2types.Value(in.SubnetId), func(s *model.Subnet) error {
		if in.MapPublicIpOnLaunch != nil {
			s.MapPublicIP = ec2types.Value(in.MapPublicIpOnLaunch.Value)
		}
		if assign := in.AssignIpv6AddressOnCreation; assign != nil {
			s.AssignIPv6 = ec2types.Value(assign.Value)
			if s.AssignIPv6 && s.CIDRv6 == "" {
				return model.Errorf(model.CodeInvalidParameterValue, "Invalid value 'true' for assignIpv6AddressOnCreation. The subnet %s has no IPv6 CIDR block", s.ID)
			}
		}
		return nil
	})
}
