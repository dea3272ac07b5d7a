package cloud

import (
	"context"
	"slices"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// EgressOnlyGateways returns the account's egress-only internet gateways.
func (c *Account) EgressOnlyGateways(ctx context.Context) ([]model.EgressOnlyGateway, error) {
	return networkObjects(ctx, c, records.EgressOnlyGateways)
}

// CreateEgressOnlyGateway makes a way out of a VPC for IPv6 alone.
func (c *Account) CreateEgressOnlyGateway(ctx context.Context, vpcID, token string, tags model.Tags) (g model.EgressOnlyGateway, err error) {
	if err := checkTags(tags); err != nil {
		return g, err
	}
	hash, err := paramsHash([]any{vpcID, tags})
	if err != nil {
		return g, err
	}
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		ids, err := c.idempotent(tx, "CreateEgressOnlyInternetGateway", token, hash, func() ([]string, error) {
			v, err := c.vpc(tx, vpcID)
			if err != nil {
				return nil, err
			}
			all, err := records.EgressOnlyGateways.List(tx)
			if err != nil {
				return nil, err
			}
			if count(all, func(g model.EgressOnlyGateway) bool { return g.OwnerID == c.id }) >= maxVPCs {
				return nil, model.Errorf("EgressOnlyInternetGatewayLimitExceeded", "The maximum number of egress-only internet gateways (%d) has been reached.", maxVPCs)
			}
			made := model.EgressOnlyGateway{ID: model.NewID(model.EgressGatewayPrefix), OwnerID: c.id, VPCID: v.ID, Tags: tags}
			return []string{made.ID}, records.EgressOnlyGateways.Put(tx, &made)
		})
		if err != nil {
			return err
		}
		g, err = c.egressGateway(tx, ids[0])
		return err
	})
	return g, err
}

// DeleteEgressOnlyGateway removes one that no route leads to.
func (c *Account) DeleteEgressOnlyGateway(ctx context.Context, id string) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		g, err := c.egressGateway(tx, id)
		if err != nil {
			return err
		}
		tables, err := records.RouteTables.List(tx)
		if err != nil {
			return err
		}
		for _, t := range tables {
			if slices.ContainsFunc(t.Routes, func(r model.Route) bool { return r.GatewayID == g.ID }) {
				return model.Errorf(codeDependency, "The egressOnlyInternetGateway '%s' has dependencies and cannot be deleted.", g.ID).WithHint("a route of %s leads to it", t.ID)
			}
		}
		return records.EgressOnlyGateways.Delete(tx, g.ID)
	})
}

func (c *Account) egressGateway(tx *store.Tx, id string) (model.EgressOnlyGateway, error) {
	if model.CheckID(model.EgressGatewayPrefix, id) != nil {
		return model.EgressOnlyGateway{}, model.Errorf("InvalidEgressOnlyInternetGatewayId.Malformed", "Invalid id: \"%s\" (expecting \"eigw-...\")", id)
	}
	return own(c, tx, records.EgressOnlyGateways, id, egressGatewayNotFound(id))
}

func egressGatewayNotFound(id string) *model.Error {
	return model.Errorf("InvalidEgressOnlyInternetGatewayId.NotFound", "The eigw ID '%s' does not exist", id)
}
