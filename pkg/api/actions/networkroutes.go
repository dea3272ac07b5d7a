package actions

import (
	"context"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerRoutes(t *api.Table) {
	api.Register(t, api.Action[ec2types.CreateRouteTableInput, ec2types.CreateRouteTableOutput]{
		Name: "CreateRouteTable", Handler: a.createRouteTable, Acts: []string{"VpcId", "ClientToken", "TagSpecifications"},
	})
	api.Register(t, api.Action[ec2types.DeleteRouteTableInput, ec2types.DeleteRouteTableOutput]{
		Name: "DeleteRouteTable", Acts: []string{"RouteTableId"},
		Handler: func(ctx context.Context, in *ec2types.DeleteRouteTableInput) (*ec2types.DeleteRouteTableOutput, error) {
			return &ec2types.DeleteRouteTableOutput{}, a.account(ctx).DeleteRouteTable(ctx, ec2types.Value(in.RouteTableId))
		},
	})
	api.Register(t, api.Action[ec2types.DescribeRouteTablesInput, ec2types.DescribeRouteTablesOutput]{
		Name: "DescribeRouteTables", Handler: a.describeRouteTables, Acts: []string{"RouteTableIds", "Filters", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.CreateRouteInput, ec2types.CreateRouteOutput]{
		Name: "CreateRoute", Acts: []string{"RouteTableId", "DestinationCidrBlock", "DestinationIpv6CidrBlock", "GatewayId", "EgressOnlyInternetGatewayId", "NetworkInterfaceId", "InstanceId"},
		Handler: func(ctx context.Context, in *ec2types.CreateRouteInput) (*ec2types.CreateRouteOutput, error) {
			err := a.addRoute(ctx, in.RouteTableId, destination{in.DestinationCidrBlock, in.DestinationIpv6CidrBlock}, target{in.GatewayId, in.EgressOnlyInternetGatewayId, in.NetworkInterfaceId, in.InstanceId}, false)
			return &ec2types.CreateRouteOutput{Return: ptr(err == nil)}, err
		},
	})
	api.Register(t, api.Action[ec2types.ReplaceRouteInput, ec2types.ReplaceRouteOutput]{
		Name: "ReplaceRoute", Acts: []string{"RouteTableId", "DestinationCidrBlock", "DestinationIpv6CidrBlock", "GatewayId", "EgressOnlyInternetGatewayId", "NetworkInterfaceId", "InstanceId", "LocalTarget=false"},
		Handler: func(ctx context.Context, in *ec2types.ReplaceRouteInput) (*ec2types.ReplaceRouteOutput, error) {
			return &ec2types.ReplaceRouteOutput{}, a.addRoute(ctx, in.RouteTableId, destination{in.DestinationCidrBlock, in.DestinationIpv6CidrBlock}, target{in.GatewayId, in.EgressOnlyInternetGatewayId, in.NetworkInterfaceId, in.InstanceId}, true)
		},
	})
	api.Register(t, api.Action[ec2types.DeleteRouteInput, ec2types.DeleteRouteOutput]{
		Name: "DeleteRoute", Acts: []string{"RouteTableId", "DestinationCidrBlock", "DestinationIpv6CidrBlock"},
		Handler: func(ctx context.Context, in *ec2types.DeleteRouteInput) (*ec2types.DeleteRouteOutput, error) {
			cidr, err := destination{in.DestinationCidrBlock, in.DestinationIpv6CidrBlock}.cidr()
			if err != nil {
				return nil, err
			}
			return &ec2types.DeleteRouteOutput{}, a.account(ctx).DeleteRoute(ctx, ec2types.Value(in.RouteTableId), cidr)
		},
	})
	api.Register(t, api.Action[ec2types.AssociateRouteTableInput, ec2types.AssociateRouteTableOutput]{
		Name: "AssociateRouteTable", Acts: []string{"RouteTableId", "SubnetId"},
		Handler: func(ctx context.Context, in *ec2types.AssociateRouteTableInput) (*ec2types.AssociateRouteTableOutput, error) {
			if in.SubnetId == nil {
				return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter subnetId")
			}
			id, err := a.account(ctx).AssociateRouteTable(ctx, ec2types.Value(in.RouteTableId), *in.SubnetId)
			if err != nil {
				return nil, err
			}
			return &ec2types.AssociateRouteTableOutput{AssociationId: ptr(id), AssociationState: associated()}, nil
		},
	})
	api.Register(t, api.Action[ec2types.DisassociateRouteTableInput, ec2types.DisassociateRouteTableOutput]{
		Name: "DisassociateRouteTable", Acts: []string{"AssociationId"},
		Handler: func(ctx context.Context, in *ec2types.DisassociateRouteTableInput) (*ec2types.DisassociateRouteTableOutput, error) {
			return &ec2types.DisassociateRouteTableOutput{}, a.account(ctx).DisassociateRouteTable(ctx, ec2types.Value(in.AssociationId))
		},
	})
	api.Register(t, api.Action[ec2types.ReplaceRouteTableAssociationInput, ec2types.ReplaceRouteTableAssociationOutput]{
		Name: "ReplaceRouteTableAssociation", Acts: []string{"AssociationId", "RouteTableId"},
		Handler: func(ctx context.Context, in *ec2types.ReplaceRouteTableAssociationInput) (*ec2types.ReplaceRouteTableAssociationOutput, error) {
			as, err := a.account(ctx).ReplaceRouteTableAssociation(ctx, ec2types.Value(in.AssociationId), ec2types.Value(in.RouteTableId))
			if err != nil {
				return nil, err
			}
			return &ec2types.ReplaceRouteTableAssociationOutput{NewAssociationId: ptr(as.ID), AssociationState: associated()}, nil
		},
	})
}

func associated() *ec2types.RouteTableAssociationState {
	return &ec2types.RouteTableAssociationState{State: ptr("associated")}
}

// destination is a route's, in one of the two members for it.
type destination struct{ v4, v6 *string }

func (d destination) cidr() (string, error) {
	switch {
	case d.v4 != nil && d.v6 != nil:
		return "", model.Errorf(model.CodeInvalidParameterCombination, "The parameters destinationCidrBlock and destinationIpv6CidrBlock cannot be used together")
	case d.v4 == nil && d.v6 == nil:
		return "", model.Errorf(model.CodeMissingParameter, "The request must contain the parameter destinationCidrBlock or destinationIpv6CidrBlock")
	case d.v4 != nil:
		if strings.Contains(*d.v4, ":") {
			return "", model.Errorf(model.CodeInvalidParameterValue, "CIDR block %s is malformed", *d.v4)
		}
		return *d.v4, nil
	}
	if !strings.Contains(*d.v6, ":") {
		return "", model.Errorf(model.CodeInvalidParameterValue, "CIDR block %s is malformed", *d.v6)
	}
	return *d.v6, nil
}

// target is where a route leads, in one of the members for it.
type target struct{ gateway, egressOnly, nic, instance *string }

func (t target) parse() (to cloud.RouteTarget, err error) {
	given := 0
	for _, m := range []*string{t.gateway, t.egressOnly, t.nic, t.instance} {
		if m != nil {
			given++
		}
	}
	switch {
	case given > 1:
		return to, model.Errorf(model.CodeInvalidParameterCombination, "Of the parameters gatewayId, egressOnlyInternetGatewayId, networkInterfaceId and instanceId only one can be used")
	case t.gateway != nil:
		if strings.HasPrefix(*t.gateway, string(model.EgressGatewayPrefix)) {
			return to, model.Errorf("InvalidInternetGatewayId.Malformed", "Invalid id: \"%s\" (expecting \"igw-...\")", *t.gateway)
		}
		return cloud.RouteTarget{GatewayID: *t.gateway}, nil
	case t.egressOnly != nil:
		if !isID(model.EgressGatewayPrefix)(*t.egressOnly) {
			return to, model.Errorf("InvalidEgressOnlyInternetGatewayId.Malformed", "Invalid id: \"%s\" (expecting \"eigw-...\")", *t.egressOnly)
		}
		return cloud.RouteTarget{GatewayID: *t.egressOnly}, nil
	case t.nic != nil:
		return cloud.RouteTarget{InterfaceID: *t.nic}, nil
	case t.instance != nil:
		return cloud.RouteTarget{InstanceID: *t.instance}, nil
	}
	return to, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter gatewayId, egressOnlyInternetGatewayId, networkInterfaceId or instanceId")
}

func (a *Actions) addRoute(ctx context.Context, table *string, d destination, t target, replace bool) error {
	cidr, err := d.cidr()
	if err != nil {
		return err
	}
	to, err := t.parse()
	if err != nil {
		return err
	}
	return a.account(ctx).AddRoute(ctx, ec2types.Value(table), cidr, to, replace)
}

func (a *Actions) createRouteTable(ctx context.Context, in *ec2types.CreateRouteTableInput) (*ec2types.CreateRouteTableOutput, error) {
	tags, err := oneTagSet(in.TagSpecifications, "route-table")
	if err != nil {
		return nil, err
	}
	t, err := a.account(ctx).CreateRouteTable(ctx, ec2types.Value(in.VpcId), ec2types.Value(in.ClientToken), tags)
	if err != nil {
		return nil, err
	}
	all, err := a.routeTables(ctx)
	if err != nil {
		return nil, err
	}
	out := &ec2types.CreateRouteTableOutput{ClientToken: in.ClientToken}
	for i := range all {
		if all[i].ID == t.ID {
			out.RouteTable = ptr(tableOf(&all[i]))
		}
	}
	return out, nil
}

// routeTable is a route table with all of its routes.
type routeTable struct {
	model.RouteTable
	routes []ec2types.Route
}

// routeTables returns the account's tables, with the route to the VPC itself.
func (a *Actions) routeTables(ctx context.Context) ([]routeTable, error) {
	tables, err := a.account(ctx).RouteTables(ctx)
	if err != nil {
		return nil, err
	}
	vpcs, err := a.account(ctx).VPCs(ctx)
	if err != nil {
		return nil, err
	}
	gateways, err := a.account(ctx).InternetGateways(ctx)
	if err != nil {
		return nil, err
	}
	egress, err := a.account(ctx).EgressOnlyGateways(ctx)
	if err != nil {
		return nil, err
	}
	of, attached := map[string]*model.VPC{}, map[string]string{}
	for i := range vpcs {
		of[vpcs[i].ID] = &vpcs[i]
	}
	for i := range egress {
		attached[egress[i].ID] = egress[i].VPCID
	}
	for i := range gateways {
		attached[gateways[i].ID] = gateways[i].VPCID
	}
	running, err := a.routers(ctx, tables)
	if err != nil {
		return nil, err
	}
	out := make([]routeTable, len(tables))
	for i, t := range tables {
		out[i] = routeTable{t, localRoutes(of[t.VPCID])}
		for k := range t.Routes {
			out[i].routes = append(out[i].routes, routeOf(&t.Routes[k], attached[t.Routes[k].GatewayID] == t.VPCID, running))
		}
	}
	return out, nil
}

// routers are the instances that routes lead to, by their interfaces, as long as
// they run.
func (a *Actions) routers(ctx context.Context, tables []model.RouteTable) (map[string]*model.Instance, error) {
	if !slices.ContainsFunc(tables, func(t model.RouteTable) bool {
		return slices.ContainsFunc(t.Routes, func(r model.Route) bool { return r.InterfaceID != "" })
	}) {
		return nil, nil
	}
	all, err := a.account(ctx).FindInstances(ctx, nil)
	if err != nil {
		return nil, err
	}
	out := map[string]*model.Instance{}
	for _, i := range all {
		if i.State != model.InstancePending && i.State != model.InstanceRunning {
			continue
		}
		for _, n := range i.Interfaces() {
			out[n.ID] = i
		}
	}
	return out, nil
}

// routeOf is a route in EC2's shape.
func routeOf(r *model.Route, attached bool, running map[string]*model.Instance) ec2types.Route {
	out := ec2types.Route{Origin: ptr("CreateRoute"), State: ptr("blackhole")}
	out.DestinationCidrBlock, out.DestinationIpv6CidrBlock = byFamily(r.CIDR)
	switch {
	case r.InterfaceID != "":
		out.NetworkInterfaceId = ptr(r.InterfaceID)
		if inst := running[r.InterfaceID]; inst != nil {
			out.InstanceId, out.InstanceOwnerId, attached = ptr(inst.ID), ptr(inst.OwnerID), true
		}
	case isID(model.EgressGatewayPrefix)(r.GatewayID):
		out.EgressOnlyInternetGatewayId = ptr(r.GatewayID)
	default:
		out.GatewayId = ptr(r.GatewayID)
	}
	if attached {
		out.State = ptr("active")
	}
	return out
}

// localRoutes lead to the VPC itself; nil is a VPC that has just gone.
func localRoutes(v *model.VPC) (out []ec2types.Route) {
	if v == nil {
		return nil
	}
	for _, own := range append(v.Ranges(), model.Range{CIDR: v.CIDRv6}) {
		if own.CIDR != "" {
			r := ec2types.Route{GatewayId: ptr("local"), Origin: ptr("CreateRouteTable"), State: ptr("active")}
			r.DestinationCidrBlock, r.DestinationIpv6CidrBlock = byFamily(own.CIDR)
			out = append(out, r)
		}
	}
	return out
}

// byFamily puts a destination into the member that EC2 has for its kind.
func byFamily(cidr string) (v4, v6 *string) {
	if strings.Contains(cidr, ":") {
		return nil, &cidr
	}
	return &cidr, nil
}

func tableOf(t *routeTable) ec2types.RouteTable {
	out := ec2types.RouteTable{
		OwnerId: ptr(t.OwnerID), RouteTableId: ptr(t.ID), VpcId: ptr(t.VPCID), Routes: t.routes, Tags: tagsOf(t.Tags),
		Associations: []ec2types.RouteTableAssociation{}, PropagatingVgws: []ec2types.PropagatingVgw{},
	}
	for _, as := range t.Associations {
		out.Associations = append(out.Associations, ec2types.RouteTableAssociation{
			AssociationState: associated(), Main: ptr(as.SubnetID == ""), RouteTableAssociationId: ptr(as.ID), RouteTableId: ptr(t.ID), SubnetId: str(as.SubnetID),
		})
	}
	return out
}

func (a *Actions) describeRouteTables(ctx context.Context, in *ec2types.DescribeRouteTablesInput) (*ec2types.DescribeRouteTablesOutput, error) {
	all, err := a.routeTables(ctx)
	if err != nil {
		return nil, err
	}
	associations := func(t *routeTable) []model.RouteAssociation { return t.Associations }
	routes := func(t *routeTable) []ec2types.Route { return t.routes }
	page, next, err := describe(a, query[routeTable]{
		action: "DescribeRouteTables", all: all, ids: in.RouteTableIds, kind: tableKind, filters: in.Filters,
		fields: map[string]func(*routeTable) []string{
			"association.main":                       each(associations, func(as *model.RouteAssociation) string { return yesNo(as.SubnetID == "") }),
			"association.route-table-association-id": each(associations, func(as *model.RouteAssociation) string { return as.ID }),
			"association.route-table-id": func(t *routeTable) []string {
				return each(associations, func(*model.RouteAssociation) string { return t.ID })(t)
			},
			"association.subnet-id":                 each(associations, func(as *model.RouteAssociation) string { return as.SubnetID }),
			"owner-id":                              one(func(t *routeTable) string { return t.OwnerID }),
			"route-table-id":                        one(func(t *routeTable) string { return t.ID }),
			"route.destination-cidr-block":          each(routes, func(r *ec2types.Route) string { return ec2types.Value(r.DestinationCidrBlock) }),
			"route.destination-ipv6-cidr-block":     each(routes, func(r *ec2types.Route) string { return ec2types.Value(r.DestinationIpv6CidrBlock) }),
			"route.egress-only-internet-gateway-id": each(routes, func(r *ec2types.Route) string { return ec2types.Value(r.EgressOnlyInternetGatewayId) }),
			"route.gateway-id":                      each(routes, func(r *ec2types.Route) string { return ec2types.Value(r.GatewayId) }),
			"route.instance-id":                     each(routes, func(r *ec2types.Route) string { return ec2types.Value(r.InstanceId) }),
			"route.origin":                          each(routes, func(r *ec2types.Route) string { return *r.Origin }),
			"route.state":                           each(routes, func(r *ec2types.Route) string { return *r.State }),
			"vpc-id":                                one(func(t *routeTable) string { return t.VPCID }),
		},
		tags: func(t *routeTable) model.Tags { return t.Tags }, max: in.MaxResults, token: in.NextToken, least: 5, most: 100,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeRouteTablesOutput{NextToken: next}
	for i := range page {
		out.RouteTables = append(out.RouteTables, tableOf(&page[i]))
	}
	return out, nil
}
