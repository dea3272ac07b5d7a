package actions

import (
	"context"
	"slices"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

var addressKind = objectKind[placedAddress]{func(e *placedAddress) string { return e.ID }, isID(model.AllocationPrefix), "InvalidAllocationID.Malformed", "InvalidAllocationID.NotFound", "allocation ID"}

func (a *Actions) registerAddresses(t *api.Table) {
	api.Register(t, api.Action[ec2types.AllocateAddressInput, ec2types.AllocateAddressOutput]{
		Name: "AllocateAddress", Handler: a.allocateAddress, Acts: []string{"Address", "Domain=vpc", "PublicIpv4Pool=amazon", "TagSpecifications"},
	})
	api.Register(t, api.Action[ec2types.ReleaseAddressInput, ec2types.ReleaseAddressOutput]{
		Name: "ReleaseAddress", Acts: []string{"AllocationId", "PublicIp"},
		Handler: func(ctx context.Context, in *ec2types.ReleaseAddressInput) (*ec2types.ReleaseAddressOutput, error) {
			return &ec2types.ReleaseAddressOutput{}, a.account(ctx).ReleaseAddress(ctx, addressRef(in.AllocationId, in.PublicIp))
		},
	})
	api.Register(t, api.Action[ec2types.AssociateAddressInput, ec2types.AssociateAddressOutput]{
		Name: "AssociateAddress", Handler: a.associateAddress,
		Acts: []string{"AllocationId", "PublicIp", "InstanceId", "NetworkInterfaceId", "PrivateIpAddress", "AllowReassociation"},
	})
	api.Register(t, api.Action[ec2types.DisassociateAddressInput, ec2types.DisassociateAddressOutput]{
		Name: "DisassociateAddress", Acts: []string{"AssociationId", "PublicIp"},
		Handler: func(ctx context.Context, in *ec2types.DisassociateAddressInput) (*ec2types.DisassociateAddressOutput, error) {
			return &ec2types.DisassociateAddressOutput{}, a.account(ctx).DisassociateAddress(ctx, ec2types.Value(in.AssociationId), ec2types.Value(in.PublicIp))
		},
	})
	api.Register(t, api.Action[ec2types.DescribeAddressesInput, ec2types.DescribeAddressesOutput]{
		Name: "DescribeAddresses", Handler: a.describeAddresses, Acts: []string{"AllocationIds", "PublicIps", "Filters"},
	})
	api.Register(t, api.Action[ec2types.DescribeAddressesAttributeInput, ec2types.DescribeAddressesAttributeOutput]{
		Name: "DescribeAddressesAttribute", Handler: a.describeAddressesAttribute, Acts: []string{"AllocationIds", "Attribute", "MaxResults", "NextToken"},
	})
}

func addressRef(id, ip *string) cloud.AddressRef {
	return cloud.AddressRef{AllocationID: ec2types.Value(id), PublicIP: ec2types.Value(ip)}
}

func (a *Actions) allocateAddress(ctx context.Context, in *ec2types.AllocateAddressInput) (*ec2types.AllocateAddressOutput, error) {
	tags, err := oneTagSet(in.TagSpecifications, "elastic-ip")
	if err != nil {
		return nil, err
	}
	e, err := a.account(ctx).AllocateAddress(ctx, ec2types.Value(in.Address), tags)
	if err != nil {
		return nil, err
	}
	return &ec2types.AllocateAddressOutput{
		AllocationId: ptr(e.ID), Domain: ptr("vpc"), NetworkBorderGroup: ptr(a.cloud.Info().Region), PublicIp: ptr(e.PublicIP), PublicIpv4Pool: ptr("amazon"),
	}, nil
}

func (a *Actions) associateAddress(ctx context.Context, in *ec2types.AssociateAddressInput) (*ec2types.AssociateAddressOutput, error) {
	id, err := a.account(ctx).AssociateAddress(ctx, addressRef(in.AllocationId, in.PublicIp), cloud.Association{
		InstanceID: ec2types.Value(in.InstanceId), InterfaceID: ec2types.Value(in.NetworkInterfaceId), PrivateIP: ec2types.Value(in.PrivateIpAddress),
		NoReassociation: in.AllowReassociation != nil && !*in.AllowReassociation,
	})
	if err != nil {
		return nil, err
	}
	return &ec2types.AssociateAddressOutput{AssociationId: ptr(id)}, nil
}

// placedAddress is an elastic address with the instance that it leads to.
type placedAddress struct {
	model.ElasticAddress
	instance string
}

func (a *Actions) placedAddresses(ctx context.Context) ([]placedAddress, error) {
	all, err := a.account(ctx).Addresses(ctx)
	if err != nil {
		return nil, err
	}
	nics, err := a.account(ctx).FindInterfaces(ctx, nil)
	if err != nil {
		return nil, err
	}
	instances := map[string]string{}
	for _, n := range nics {
		if at := n.Attachment; at != nil {
			instances[n.ID] = at.InstanceID
		}
	}
	out := make([]placedAddress, len(all))
	for i, e := range all {
		out[i] = placedAddress{e, instances[e.InterfaceID]}
	}
	return out, nil
}

func (a *Actions) describeAddresses(ctx context.Context, in *ec2types.DescribeAddressesInput) (*ec2types.DescribeAddressesOutput, error) {
	all, err := a.placedAddresses(ctx)
	if err != nil {
		return nil, err
	}
	ids := slices.Clone(in.AllocationIds)
	for _, ip := range in.PublicIps {
		i := slices.IndexFunc(all, func(e placedAddress) bool { return e.PublicIP == ip })
		if i < 0 {
			return nil, model.Errorf("InvalidAddress.NotFound", "Address '%s' not found.", ip)
		}
		ids = append(ids, all[i].ID)
	}
	some := func(get func(*placedAddress) string) func(*placedAddress) []string {
		return func(e *placedAddress) []string {
			if v := get(e); v != "" {
				return []string{v}
			}
			return nil
		}
	}
	page, _, err := describe(a, query[placedAddress]{
		action: "DescribeAddresses", all: all, ids: ids, kind: addressKind, filters: in.Filters,
		fields: map[string]func(*placedAddress) []string{
			"allocation-id":        one(func(e *placedAddress) string { return e.ID }),
			"association-id":       some(func(e *placedAddress) string { return e.AssociationID }),
			"domain":               one(func(*placedAddress) string { return "vpc" }),
			"instance-id":          some(func(e *placedAddress) string { return e.instance }),
			"network-border-group": one(func(*placedAddress) string { return a.cloud.Info().Region }),
			"network-interface-id": some(func(e *placedAddress) string { return e.InterfaceID }),
			"network-interface-owner-id": func(e *placedAddress) []string {
				if e.InterfaceID == "" {
					return nil
				}
				return []string{e.OwnerID}
			},
			"private-ip-address": some(func(e *placedAddress) string { return e.PrivateIP }),
			"public-ip":          one(func(e *placedAddress) string { return e.PublicIP }),
		},
		tags: func(e *placedAddress) model.Tags { return e.Tags },
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeAddressesOutput{}
	for i := range page {
		out.Addresses = append(out.Addresses, a.addressOf(&page[i]))
	}
	return out, nil
}

func (a *Actions) addressOf(e *placedAddress) ec2types.Address {
	out := ec2types.Address{
		AllocationId: ptr(e.ID), AssociationId: str(e.AssociationID), Domain: ptr("vpc"), InstanceId: str(e.instance), NetworkBorderGroup: ptr(a.cloud.Info().Region),
		NetworkInterfaceId: str(e.InterfaceID), PrivateIpAddress: str(e.PrivateIP), PublicIp: ptr(e.PublicIP), PublicIpv4Pool: ptr("amazon"), Tags: tagsOf(e.Tags),
	}
	if e.InterfaceID != "" {
		out.NetworkInterfaceOwnerId = ptr(e.OwnerID)
	}
	return out
}

// describeAddressesAttribute shows addresses with the attribute that is asked
// for: their reverse names.
func (a *Actions) describeAddressesAttribute(ctx context.Context, in *ec2types.DescribeAddressesAttributeInput) (*ec2types.DescribeAddressesAttributeOutput, error) {
	all, err := a.placedAddresses(ctx)
	if err != nil {
		return nil, err
	}
	page, next, err := describe(a, query[placedAddress]{
		action: "DescribeAddressesAttribute", all: all, ids: in.AllocationIds, kind: addressKind, max: in.MaxResults, token: in.NextToken, least: 1, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeAddressesAttributeOutput{NextToken: next}
	for i := range page {
		shown := addressAttributeOf(&page[i].ElasticAddress)
		if in.Attribute == nil { // there is one attribute, which the dispatcher has checked
			shown.PtrRecord = nil
		}
		out.Addresses = append(out.Addresses, shown)
	}
	return out, nil
}

func addressAttributeOf(e *model.ElasticAddress) ec2types.AddressAttribute {
	return ec2types.AddressAttribute{AllocationId: ptr(e.ID), PublicIp: ptr(e.PublicIP), PtrRecord: str(e.DomainName)}
}

func (a *Actions) registerAddressNames(t *api.Table) {
	api.Register(t, api.Action[ec2types.ModifyAddressAttributeInput, ec2types.ModifyAddressAttributeOutput]{
		Name: "ModifyAddressAttribute", Acts: []string{"AllocationId", "DomainName"},
		Handler: func(ctx context.Context, in *ec2types.ModifyAddressAttributeInput) (*ec2types.ModifyAddressAttributeOutput, error) {
			if in.DomainName == nil {
				return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter domainName")
			}
			e, err := a.account(ctx).NameAddress(ctx, ec2types.Value(in.AllocationId), *in.DomainName)
			if err != nil {
				return nil, err
			}
			return &ec2types.ModifyAddressAttributeOutput{Address: ptr(addressAttributeOf(&e))}, nil
		},
	})
	api.Register(t, api.Action[ec2types.ResetAddressAttributeInput, ec2types.ResetAddressAttributeOutput]{
		Name: "ResetAddressAttribute", Acts: []string{"AllocationId", "Attribute"},
		Handler: func(ctx context.Context, in *ec2types.ResetAddressAttributeInput) (*ec2types.ResetAddressAttributeOutput, error) {
			e, err := a.account(ctx).NameAddress(ctx, ec2types.Value(in.AllocationId), "")
			if err != nil {
				return nil, err
			}
			return &ec2types.ResetAddressAttributeOutput{Address: ptr(addressAttributeOf(&e))}, nil
		},
	})
}
