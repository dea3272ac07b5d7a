package actions

import (
	"context"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

var egressGatewayKind = objectKind[model.EgressOnlyGateway]{
	func(g *model.EgressOnlyGateway) string { return g.ID }, isID(model.EgressGatewayPrefix),
	"InvalidEgressOnlyInternetGatewayId.Malformed", "InvalidEgressOnlyInternetGatewayId.NotFound", "eigw ID",
}

func (a *Actions) registerEgressGateways(t *api.Table) {
	api.Register(t, api.Action[ec2types.CreateEgressOnlyInternetGatewayInput, ec2types.CreateEgressOnlyInternetGatewayOutput]{
		Name: "CreateEgressOnlyInternetGateway", Acts: []string{"VpcId", "ClientToken", "TagSpecifications"},
		Handler: func(ctx context.Context, in *ec2types.CreateEgressOnlyInternetGatewayInput) (*ec2types.CreateEgressOnlyInternetGatewayOutput, error) {
			tags, err := oneTagSet(in.TagSpecifications, "egress-only-internet-gateway")
			if err != nil {
				return nil, err
			}
			g, err := a.account(ctx).CreateEgressOnlyGateway(ctx, ec2types.Value(in.VpcId), ec2types.Value(in.ClientToken), tags)
			if err != nil {
				return nil, err
			}
			return &ec2types.CreateEgressOnlyInternetGatewayOutput{ClientToken: in.ClientToken, EgressOnlyInternetGateway: ptr(egressGatewayOf(&g))}, nil
		},
	})
	api.Register(t, api.Action[ec2types.DeleteEgressOnlyInternetGatewayInput, ec2types.DeleteEgressOnlyInternetGatewayOutput]{
		Name: "DeleteEgressOnlyInternetGateway", Acts: []string{"EgressOnlyInternetGatewayId"},
		Handler: func(ctx context.Context, in *ec2types.DeleteEgressOnlyInternetGatewayInput) (*ec2types.DeleteEgressOnlyInternetGatewayOutput, error) {
			err := a.account(ctx).DeleteEgressOnlyGateway(ctx, ec2types.Value(in.EgressOnlyInternetGatewayId))
			return &ec2types.DeleteEgressOnlyInternetGatewayOutput{ReturnCode: ptr(err == nil)}, err
		},
	})
	api.Register(t, api.Action[ec2types.DescribeEgressOnlyInternetGatewaysInput, ec2types.DescribeEgressOnlyInternetGatewaysOutput]{
		Name: "DescribeEgressOnlyInternetGateways", Handler: a.describeEgressOnlyInternetGateways,
		Acts: []string{"EgressOnlyInternetGatewayIds", "Filters", "MaxResults", "NextToken"},
	})
}

func egressGatewayOf(g *model.EgressOnlyGateway) ec2types.EgressOnlyInternetGateway {
	return ec2types.EgressOnlyInternetGateway{
		EgressOnlyInternetGatewayId: ptr(g.ID), Tags: tagsOf(g.Tags),
		Attachments: []ec2types.InternetGatewayAttachment{{State: ptr("attached"), VpcId: ptr(g.VPCID)}},
	}
}

func (a *Actions) describeEgressOnlyInternetGateways(ctx context.Context, in *ec2types.DescribeEgressOnlyInternetGatewaysInput) (*ec2types.DescribeEgressOnlyInternetGatewaysOutput, error) {
	all, err := a.account(ctx).EgressOnlyGateways(ctx)
	if err != nil {
		return nil, err
	}
	page, next, err := describe(a, query[model.EgressOnlyGateway]{
		action: "DescribeEgressOnlyInternetGateways", all: all, ids: in.EgressOnlyInternetGatewayIds, kind: egressGatewayKind, filters: in.Filters,
		fields: map[string]func(*model.EgressOnlyGateway) []string{},
		tags:   func(g *model.EgressOnlyGateway) model.Tags { return g.Tags }, max: in.MaxResults, token: in.NextToken, least: 5, most: 255,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeEgressOnlyInternetGatewaysOutput{NextToken: next}
	for i := range page {
		out.EgressOnlyInternetGateways = append(out.EgressOnlyInternetGateways, egressGatewayOf(&page[i]))
	}
	return out, nil
}
