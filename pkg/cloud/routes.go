package cloud

import (
	"context"
	"net/netip"
	"slices"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

const (
	maxRouteTables = 200 // of a VPC
	maxRoutes      = 500 // of a table
)

// RouteTables returns the account's route tables.
func (c *Account) RouteTables(ctx context.Context) ([]model.RouteTable, error) {
	return networkObjects(ctx, c, records.RouteTables)
}

// CreateRouteTable makes a table with the route to the VPC itself.
func (c *Account) CreateRouteTable(ctx context.Context, vpcID, token string, tags model.Tags) (t model.RouteTable, err error) {
	if err := checkTags(tags); err != nil {
		return t, err
	}
	hash, err := paramsHash([]any{vpcID, tags})
	if err != nil {
		return t, err
	}
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		ids, err := c.idempotent(tx, "CreateRouteTable", token, hash, func() ([]string, error) {
			id, err := c.newRouteTable(tx, vpcID, tags)
			return []string{id}, err
		})
		if err != nil {
			return err
		}
		t, err = c.routeTable(tx, ids[0])
		return err
	})
	return t, err
}

func (c *Account) newRouteTable(tx *store.Tx, vpcID string, tags model.Tags) (string, error) {
	v, err := c.vpc(tx, vpcID)
	if err != nil {
		return "", err
	}
	all, err := records.RouteTables.List(tx)
	if err != nil {
		return "", err
	}
	if count(all, func(t model.RouteTable) bool { return t.VPCID == v.ID }) >= maxRouteTables {
		return "", model.Errorf("RouteTableLimitExceeded", "The maximum number of route tables (%d) in %s has been reached.", maxRouteTables, v.ID)
	}
	t := model.RouteTable{ID: model.NewID(model.RouteTablePrefix), OwnerID: c.id, VPCID: v.ID, Created: c.Now(), Tags: tags}
	return t.ID, records.RouteTables.Put(tx, &t)
}

// DeleteRouteTable removes a table that is neither the main one nor a subnet's.
func (c *Account) DeleteRouteTable(ctx context.Context, id string) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		t, err := c.routeTable(tx, id)
		if err != nil {
			return err
		}
		if len(t.Associations) > 0 {
			return model.Errorf(codeDependency, "The routeTable '%s' has dependencies and cannot be deleted.", id).
				WithHint("it is the main one of its VPC, or that of a subnet")
		}
		return records.RouteTables.Delete(tx, id)
	})
}

// RouteTarget is where a route leads: one of them is set.
type RouteTarget struct {
	GatewayID   string // an internet gateway, or for IPv6 an egress-only one
	InterfaceID string
	InstanceID  string // which has one interface
}

// AddRoute adds a route; with replace it changes the one that there is.
func (c *Account) AddRoute(ctx context.Context, tableID, cidr string, to RouteTarget, replace bool) error {
	cidr, err := routeCIDR(cidr)
	if err != nil {
		return err
	}
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		t, err := c.routeTable(tx, tableID)
		if err != nil {
			return err
		}
		route, err := c.routeTo(tx, &t, cidr, to)
		if err != nil {
			return err
		}
		v, err := records.VPCs.Get(tx, t.VPCID)
		if err != nil {
			return err
		}
		switch {
		case !partOfVPC(&v, cidr):
		case route.InterfaceID != "":
			return model.Errorf(model.CodeUnsupportedOperation, "The destination CIDR block %s is part of this VPC: what its own addresses send to each other goes directly, and by no route", cidr)
		default:
			return model.Errorf(model.CodeInvalidParameterValue, "The destination CIDR block %s is equal to or more specific than one of this VPC's CIDR blocks. This route can target only an interface or an instance.", cidr)
		}
		i := slices.IndexFunc(t.Routes, func(r model.Route) bool { return r.CIDR == cidr })
		switch {
		case replace && i < 0:
			return routeNotFound(t.ID, cidr)
		case replace:
			t.Routes[i] = route
		case i >= 0:
			return model.Errorf("RouteAlreadyExists", "The route identified by %s already exists.", cidr)
		case len(t.Routes) >= maxRoutes:
			return model.Errorf("RouteLimitExceeded", "The maximum number of routes (%d) has been reached.", maxRoutes)
		default:
			t.Routes = append(t.Routes, route)
		}
		return records.RouteTables.Put(tx, &t)
	})
}

// routeCIDR is the canonical form of a route's destination, of IPv4 or IPv6.
func routeCIDR(cidr string) (string, error) {
	p, err := netip.ParsePrefix(cidr)
	return canonicalCIDR(cidr, err != nil || p.Addr().Is4())
}

// routeTo makes the route to a target, and notes that the interface is one.
func (c *Account) routeTo(tx *store.Tx, t *model.RouteTable, cidr string, to RouteTarget) (model.Route, error) {
	route := model.Route{CIDR: cidr, GatewayID: to.GatewayID}
	if to.GatewayID != "" {
		return route, c.checkTarget(tx, t, cidr, to.GatewayID)
	}
	id := to.InterfaceID
	if to.InstanceID != "" {
		inst, err := c.instance(tx, to.InstanceID)
		if err != nil {
			return route, err
		}
		all := inst.Interfaces()
		if len(all) != 1 {
			return route, model.Errorf("InvalidInstanceID", "There are %d interfaces attached to instance '%s'. Please specify an interface ID for the operation instead.", len(all), inst.ID)
		}
		id = all[0].ID
	}
	n, err := c.networkInterface(tx, id)
	if err != nil {
		return route, err
	}
	if n.VPCID != t.VPCID {
		return route, model.Errorf(model.CodeInvalidParameterValue, "route table %s and interface %s belong to different networks", t.ID, n.ID)
	}
	route.InterfaceID, route.Via = n.ID, n.PrivateIP
	if n.Routed {
		return route, nil
	}
	n.Routed = true
	return route, records.PutInterface(tx, &n)
}

// checkTarget refuses a gateway that a route of the table cannot lead to.
func (c *Account) checkTarget(tx *store.Tx, t *model.RouteTable, cidr, gatewayID string) error {
	var vpc string
	if model.CheckID(model.EgressGatewayPrefix, gatewayID) == nil {
		g, err := c.egressGateway(tx, gatewayID)
		if err != nil {
			return err
		}
		if netip.MustParsePrefix(cidr).Addr().Is4() {
			return model.Errorf(model.CodeInvalidParameterValue, "An egress-only internet gateway is for IPv6: %s cannot lead to %s", cidr, g.ID)
		}
		vpc = g.VPCID
	} else {
		g, err := c.gateway(tx, gatewayID)
		if err != nil {
			return err
		}
		vpc = g.VPCID
	}
	if vpc != t.VPCID {
		return model.Errorf(model.CodeInvalidParameterValue, "route table %s and network gateway %s belong to different networks", t.ID, gatewayID)
	}
	return nil
}

// partOfVPC says if a route's destination is in one of the VPC's own ranges.
func partOfVPC(v *model.VPC, cidr string) bool {
	p := netip.MustParsePrefix(cidr) // it is canonical
	for _, own := range append(v.Ranges(), model.Range{CIDR: v.CIDRv6}) {
		if o, err := netip.ParsePrefix(own.CIDR); err == nil && p.Overlaps(o) && p.Bits() >= o.Bits() {
			return true
		}
	}
	return false
}

// DeleteRoute removes a route. Those to the VPC itself stay.
func (c *Account) DeleteRoute(ctx context.Context, tableID, cidr string) error {
	cidr, err := routeCIDR(cidr)
	if err != nil {
		return err
	}
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		t, err := c.routeTable(tx, tableID)
		if err != nil {
			return err
		}
		v, err := records.VPCs.Get(tx, t.VPCID)
		if err != nil {
			return err
		}
		if v.CIDR == cidr || v.CIDRv6 == cidr {
			return model.Errorf(model.CodeInvalidParameterValue, "cannot remove local route %s in route table %s", cidr, t.ID)
		}
		n := len(t.Routes)
		t.Routes = slices.DeleteFunc(t.Routes, func(r model.Route) bool { return r.CIDR == cidr })
		if len(t.Routes) == n {
			return routeNotFound(t.ID, cidr)
		}
		return records.RouteTables.Put(tx, &t)
	})
}

func routeNotFound(table, cidr string) error {
	return model.Errorf("InvalidRoute.NotFound", "no route with destination-cidr-block %s in route table %s", cidr, table)
}

// AssociateRouteTable ties a subnet to a table in place of the main one.
func (c *Account) AssociateRouteTable(ctx context.Context, tableID, subnetID string) (id string, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		t, err := c.routeTable(tx, tableID)
		if err != nil {
			return err
		}
		s, err := c.subnet(tx, subnetID)
		if err != nil {
			return err
		}
		if s.VPCID != t.VPCID {
			return model.Errorf(model.CodeInvalidParameterValue, "Route table %s and subnet %s belong to different networks", t.ID, s.ID)
		}
		old, i, err := associationOf(tx, func(a model.RouteAssociation) bool { return a.SubnetID == s.ID })
		if err != nil {
			return err
		}
		if i >= 0 && old.ID == t.ID {
			id = old.Associations[i].ID
			return nil
		}
		if i >= 0 {
			return model.Errorf("Resource.AlreadyAssociated", "the specified association for route table %s conflicts with an existing association", old.ID)
		}
		id = model.NewID(model.RouteAssocPrefix)
		t.Associations = append(t.Associations, model.RouteAssociation{ID: id, SubnetID: s.ID})
		return records.RouteTables.Put(tx, &t)
	})
	return id, err
}

// DisassociateRouteTable gives a subnet back to the VPC's main table.
func (c *Account) DisassociateRouteTable(ctx context.Context, associationID string) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		t, i, err := c.association(tx, associationID)
		if err != nil {
			return err
		}
		if t.Associations[i].SubnetID == "" {
			return model.Errorf(model.CodeInvalidParameterValue, "cannot disassociate the main route table association %s", associationID)
		}
		t.Associations = slices.Delete(t.Associations, i, i+1)
		return records.RouteTables.Put(tx, &t)
	})
}

// ReplaceRouteTableAssociation moves a subnet, or the role of the main table, to
// another table. It returns the new association.
func (c *Account) ReplaceRouteTableAssociation(ctx context.Context, associationID, tableID string) (out model.RouteAssociation, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		t, err := c.routeTable(tx, tableID)
		if err != nil {
			return err
		}
		old, i, err := c.association(tx, associationID)
		if err != nil {
			return err
		}
		if t.VPCID != old.VPCID {
			return model.Errorf(model.CodeInvalidParameterValue, "Route table %s and association %s belong to different networks", t.ID, associationID)
		}
		if t.ID == old.ID {
			out = old.Associations[i]
			return nil
		}
		out = model.RouteAssociation{ID: model.NewID(model.RouteAssocPrefix), SubnetID: old.Associations[i].SubnetID}
		old.Associations = slices.Delete(old.Associations, i, i+1)
		t.Associations = append(t.Associations, out)
		if err := records.RouteTables.Put(tx, &old); err != nil {
			return err
		}
		return records.RouteTables.Put(tx, &t)
	})
	return out, err
}

func (c *Account) association(tx *store.Tx, id string) (model.RouteTable, int, error) {
	t, i, err := associationOf(tx, func(a model.RouteAssociation) bool { return a.ID == id })
	if err == nil && (i < 0 || t.OwnerID != c.id) {
		err = model.Errorf("InvalidAssociationID.NotFound", "The association ID '%s' does not exist", id)
	}
	return t, i, err
}

// associationOf finds an association in its table; the index is -1 if there is none.
func associationOf(tx *store.Tx, is func(model.RouteAssociation) bool) (model.RouteTable, int, error) {
	all, err := records.RouteTables.List(tx)
	if err != nil {
		return model.RouteTable{}, -1, err
	}
	for _, t := range all {
		if i := slices.IndexFunc(t.Associations, is); i >= 0 {
			return t, i, nil
		}
	}
	return model.RouteTable{}, -1, nil
}

// dropAssociation forgets which table a subnet has that is being deleted.
func dropAssociation(tx *store.Tx, s *model.Subnet) error {
	t, i, err := associationOf(tx, func(a model.RouteAssociation) bool { return a.SubnetID == s.ID })
	if err != nil || i < 0 {
		return err
	}
	t.Associations = slices.Delete(t.Associations, i, i+1)
	return records.RouteTables.Put(tx, &t)
}

func (c *Account) routeTable(tx *store.Tx, id string) (model.RouteTable, error) {
	if model.CheckID(model.RouteTablePrefix, id) != nil {
		return model.RouteTable{}, model.Errorf("InvalidRouteTableId.Malformed", "Invalid id: \"%s\" (expecting \"rtb-...\")", id)
	}
	return own(c, tx, records.RouteTables, id, routeTableNotFound(id))
}

func routeTableNotFound(id string) *model.Error {
	return model.Errorf("InvalidRouteTableID.NotFound", "The routeTable ID '%s' does not exist", id)
}

// InternetGateways returns the account's internet gateways.
func (c *Account) InternetGateways(ctx context.Context) ([]model.InternetGateway, error) {
	return networkObjects(ctx, c, records.Gateways)
}

// CreateInternetGateway makes a gateway that is attached to nothing.
func (c *Account) CreateInternetGateway(ctx context.Context, tags model.Tags) (g model.InternetGateway, err error) {
	if err := checkTags(tags); err != nil {
		return g, err
	}
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		all, err := records.Gateways.List(tx)
		if err != nil {
			return err
		}
		if count(all, func(g model.InternetGateway) bool { return g.OwnerID == c.id }) >= maxVPCs {
			return model.Errorf("InternetGatewayLimitExceeded", "The maximum number of internet gateways (%d) has been reached.", maxVPCs)
		}
		g = model.InternetGateway{ID: model.NewID(model.GatewayPrefix), OwnerID: c.id, Tags: tags}
		return records.Gateways.Put(tx, &g)
	})
	return g, err
}

// AttachInternetGateway joins a VPC to the outside.
func (c *Account) AttachInternetGateway(ctx context.Context, id, vpcID string) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		g, err := c.gateway(tx, id)
		if err != nil {
			return err
		}
		v, err := c.vpc(tx, vpcID)
		if err != nil {
			return err
		}
		if g.VPCID != "" {
			return model.Errorf("Resource.AlreadyAssociated", "resource %s is already attached to network %s", g.ID, g.VPCID)
		}
		all, err := records.Gateways.List(tx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(all, func(o model.InternetGateway) bool { return o.VPCID == v.ID }) {
			return model.Errorf(model.CodeInvalidParameterValue, "Network %s already has an internet gateway attached", v.ID)
		}
		g.VPCID = v.ID
		return records.Gateways.Put(tx, &g)
	})
}

// DetachInternetGateway cuts a VPC off. Its routes to the gateway become black
// holes. It is refused while an interface of the VPC has a public address.
func (c *Account) DetachInternetGateway(ctx context.Context, id, vpcID string) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		g, err := c.gateway(tx, id)
		if err != nil {
			return err
		}
		v, err := c.vpc(tx, vpcID)
		if err != nil {
			return err
		}
		if g.VPCID != v.ID {
			return model.Errorf("Gateway.NotAttached", "resource %s is not attached to network %s", g.ID, v.ID)
		}
		nics, err := records.Interfaces.List(tx)
		if err != nil {
			return err
		}
		for _, n := range nics {
			if n.VPCID == v.ID && n.PublicIP != "" {
				return model.Errorf(codeDependency, "Network %s has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.", v.ID).
					WithHint("%s has %s", n.ID, n.PublicIP)
			}
		}
		g.VPCID = ""
		return records.Gateways.Put(tx, &g)
	})
}

// DeleteInternetGateway removes a gateway that is attached to nothing.
func (c *Account) DeleteInternetGateway(ctx context.Context, id string) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		g, err := c.gateway(tx, id)
		if err != nil {
			return err
		}
		if g.VPCID != "" {
			return model.Errorf(codeDependency, "The internetGateway '%s' has dependencies and cannot be deleted.", id).WithHint("detach it from %s first", g.VPCID)
		}
		return records.Gateways.Delete(tx, id)
	})
}

func (c *Account) gateway(tx *store.Tx, id string) (model.InternetGateway, error) {
	if model.CheckID(model.GatewayPrefix, id) != nil {
		return model.InternetGateway{}, model.Errorf("InvalidInternetGatewayId.Malformed", "Invalid id: \"%s\" (expecting \"igw-...\")", id)
	}
	return own(c, tx, records.Gateways, id, gatewayNotFound(id))
}

func gatewayNotFound(id string) *model.Error {
	return model.Errorf("InvalidInternetGatewayID.NotFound", "The internetGateway ID '%s' does not exist", id)
}
