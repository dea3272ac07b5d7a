package actions

import (
	"context"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerGateways(t *api.Table) {
	api.Register(t, api.Action[ec2types.CreateInternetGatewayInput, ec2types.CreateInternetGatewayOutput]{
		Name: "CreateInternetGateway", Acts: []string{"TagSpecifications"},
		Handler: func(ctx context.Context, in *ec2types.CreateInternetGatewayInput) (*ec2types.CreateInternetGatewayOutput, error) {
			tags, err := oneTagSet(in.TagSpecifications, "internet-gateway")
			if err != nil {
				return nil, err
			}
			g, err := a.account(ctx).CreateInternetGateway(ctx, tags)
			if err != nil {
				return nil, err
			}
			return &ec2types.CreateInternetGatewayOutput{InternetGateway: ptr(gatewayOf(&g))}, nil
		},
	})
	api.Register(t, api.Action[ec2types.DeleteInternetGatewayInput, ec2types.DeleteInternetGatewayOutput]{
		Name: "DeleteInternetGateway", Acts: []string{"InternetGatewayId"},
		Handler: func(ctx context.Context, in *ec2types.DeleteInternetGatewayInput) (*ec2types.DeleteInternetGatewayOutput, error) {
			return &ec2types.DeleteInternetGatewayOutput{}, a.account(ctx).DeleteInternetGateway(ctx, ec2types.Value(in.InternetGatewayId))
		},
	})
	api.Register(t, api.Action[ec2types.AttachInternetGatewayInput, ec2types.AttachInternetGatewayOutput]{
		Name: "AttachInternetGateway", Acts: []string{"InternetGatewayId", "VpcId"},
		Handler: func(ctx context.Context, in *ec2types.AttachInternetGatewayInput) (*ec2types.AttachInternetGatewayOutput, error) {
			return &ec2types.AttachInternetGatewayOutput{}, a.account(ctx).AttachInternetGateway(ctx, ec2types.Value(in.InternetGatewayId), ec2types.Value(in.VpcId))
		},
	})
	api.Register(t, api.Action[ec2types.DetachInternetGatewayInput, ec2types.DetachInternetGatewayOutput]{
		Name: "DetachInternetGateway", Acts: []string{"InternetGatewayId", "VpcId"},
		Handler: func(ctx context.Context, in *ec2types.DetachInternetGatewayInput) (*ec2types.DetachInternetGatewayOutput, error) {
			return &ec2types.DetachInternetGatewayOutput{}, a.account(ctx).DetachInternetGateway(ctx, ec2types.Value(in.InternetGatewayId), ec2types.Value(in.VpcId))
		},
	})
	api.Register(t, api.Action[ec2types.DescribeInternetGatewaysInput, ec2types.DescribeInternetGatewaysOutput]{
		Name: "DescribeInternetGateways", Handler: a.describeInternetGateways, Acts: []string{"InternetGatewayIds", "Filters", "MaxResults", "NextToken"},
	})
}

func gatewayOf(g *model.InternetGateway) ec2types.InternetGateway {
	out := ec2types.InternetGateway{InternetGatewayId: ptr(g.ID), OwnerId: ptr(g.OwnerID), Tags: tagsOf(g.Tags), Attachments: []ec2types.InternetGatewayAttachment{}}
	if g.VPCID != "" {
		out.Attachments = append(out.Attachments, ec2types.InternetGatewayAttachment{State: ptr("available"), VpcId: ptr(g.VPCID)})
	}
	return out
}

func (a *Actions) describeInternetGateways(ctx context.Context, in *ec2types.DescribeInternetGatewaysInput) (*ec2types.DescribeInternetGatewaysOutput, error) {
	all, err := a.account(ctx).InternetGateways(ctx)
	if err != nil {
		return nil, err
	}
	attached := func(value func(*model.InternetGateway) string) func(*model.InternetGateway) []string {
		return func(g *model.InternetGateway) []string {
			if g.VPCID == "" {
				return nil
			}
			return []string{value(g)}
		}
	}
	page, next, err := describe(a, query[model.InternetGateway]{
		action: "DescribeInternetGateways", all: all, ids: in.InternetGatewayIds, kind: gatewayKind, filters: in.Filters,
		fields: map[string]func(*model.InternetGateway) []string{
			"attachment.state":    attached(func(*model.InternetGateway) string { return "available" }),
			"attachment.vpc-id":   attached(func(g *model.InternetGateway) string { return g.VPCID }),
			"internet-gateway-id": one(func(g *model.InternetGateway) string { return g.ID }),
			"owner-id":            one(func(g *model.InternetGateway) string { return g.OwnerID }),
		},
		tags: func(g *model.InternetGateway) model.Tags { return g.Tags }, max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeInternetGatewaysOutput{NextToken: next}
	for i := range page {
		out.InternetGateways = append(out.InternetGateways, gatewayOf(&page[i]))
	}
	return out, nil
}

func (a *Actions) registerDHCPOptions(t *api.Table) {
	api.Register(t, api.Action[ec2types.CreateDhcpOptionsInput, ec2types.CreateDhcpOptionsOutput]{
		Name: "CreateDhcpOptions", Handler: a.createDhcpOptions, Acts: []string{"DhcpConfigurations", "TagSpecifications"},
	})
	api.Register(t, api.Action[ec2types.DeleteDhcpOptionsInput, ec2types.DeleteDhcpOptionsOutput]{
		Name: "DeleteDhcpOptions", Acts: []string{"DhcpOptionsId"},
		Handler: func(ctx context.Context, in *ec2types.DeleteDhcpOptionsInput) (*ec2types.DeleteDhcpOptionsOutput, error) {
			return &ec2types.DeleteDhcpOptionsOutput{}, a.account(ctx).DeleteDHCPOptions(ctx, ec2types.Value(in.DhcpOptionsId))
		},
	})
	api.Register(t, api.Action[ec2types.AssociateDhcpOptionsInput, ec2types.AssociateDhcpOptionsOutput]{
		Name: "AssociateDhcpOptions", Acts: []string{"DhcpOptionsId", "VpcId"},
		Handler: func(ctx context.Context, in *ec2types.AssociateDhcpOptionsInput) (*ec2types.AssociateDhcpOptionsOutput, error) {
			return &ec2types.AssociateDhcpOptionsOutput{}, a.account(ctx).AssociateDHCPOptions(ctx, ec2types.Value(in.DhcpOptionsId), ec2types.Value(in.VpcId))
		},
	})
	api.Register(t, api.Action[ec2types.DescribeDhcpOptionsInput, ec2types.DescribeDhcpOptionsOutput]{
		Name: "DescribeDhcpOptions", Handler: a.describeDhcpOptions, Acts: []string{"DhcpOptionsIds", "Filters", "MaxResults", "NextToken"},
	})
}

func (a *Actions) createDhcpOptions(ctx context.Context, in *ec2types.CreateDhcpOptionsInput) (*ec2types.CreateDhcpOptionsOutput, error) {
	tags, err := oneTagSet(in.TagSpecifications, "dhcp-options")
	if err != nil {
		return nil, err
	}
	var options []model.DHCPOption
	for _, c := range in.DhcpConfigurations {
		options = append(options, model.DHCPOption{Key: ec2types.Value(c.Key), Values: c.Values})
	}
	d, err := a.account(ctx).CreateDHCPOptions(ctx, options, tags)
	if err != nil {
		return nil, err
	}
	return &ec2types.CreateDhcpOptionsOutput{DhcpOptions: ptr(dhcpOptionsOf(&d))}, nil
}

func dhcpOptionsOf(d *model.DHCPOptions) ec2types.DhcpOptions {
	out := ec2types.DhcpOptions{DhcpOptionsId: ptr(d.ID), OwnerId: ptr(d.OwnerID), Tags: tagsOf(d.Tags)}
	for _, o := range d.Options {
		c := ec2types.DhcpConfiguration{Key: ptr(o.Key)}
		for _, v := range o.Values {
			c.Values = append(c.Values, ec2types.AttributeValue{Value: ptr(v)})
		}
		out.DhcpConfigurations = append(out.DhcpConfigurations, c)
	}
	return out
}

func (a *Actions) describeDhcpOptions(ctx context.Context, in *ec2types.DescribeDhcpOptionsInput) (*ec2types.DescribeDhcpOptionsOutput, error) {
	all, err := a.account(ctx).DHCPOptions(ctx)
	if err != nil {
		return nil, err
	}
	options := func(d *model.DHCPOptions) []model.DHCPOption { return d.Options }
	page, next, err := describe(a, query[model.DHCPOptions]{
		action: "DescribeDhcpOptions", all: all, ids: in.DhcpOptionsIds, kind: dhcpKind, filters: in.Filters,
		fields: map[string]func(*model.DHCPOptions) []string{
			"dhcp-options-id": one(func(d *model.DHCPOptions) string { return d.ID }),
			"key":             each(options, func(o *model.DHCPOption) string { return o.Key }),
			"owner-id":        one(func(d *model.DHCPOptions) string { return d.OwnerID }),
			"value": func(d *model.DHCPOptions) (out []string) {
				for _, o := range d.Options {
					out = append(out, o.Values...)
				}
				return out
			},
		},
		tags: func(d *model.DHCPOptions) model.Tags { return d.Tags }, max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeDhcpOptionsOutput{NextToken: next}
	for i := range page {
		out.DhcpOptions = append(out.DhcpOptions, dhcpOptionsOf(&page[i]))
	}
	return out, nil
}
