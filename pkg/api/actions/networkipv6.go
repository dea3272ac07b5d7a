package actions

import (
	"context"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerIPv6(t *api.Table) {
	api.Register(t, api.Action[ec2types.AssociateVpcCidrBlockInput, ec2types.AssociateVpcCidrBlockOutput]{
		Name: "AssociateVpcCidrBlock", Handler: a.associateVpcCidrBlock, Acts: []string{"VpcId", "AmazonProvidedIpv6CidrBlock", "CidrBlock"},
	})
	api.Register(t, api.Action[ec2types.DisassociateVpcCidrBlockInput, ec2types.DisassociateVpcCidrBlockOutput]{
		Name: "DisassociateVpcCidrBlock", Acts: []string{"AssociationId"},
		Handler: a.disassociateVpcCidrBlock,
	})
	api.Register(t, api.Action[ec2types.AssociateSubnetCidrBlockInput, ec2types.AssociateSubnetCidrBlockOutput]{
		Name: "AssociateSubnetCidrBlock", Handler: a.associateSubnetCidrBlock, Acts: []string{"SubnetId", "Ipv6CidrBlock"},
	})
	api.Register(t, api.Action[ec2types.DisassociateSubnetCidrBlockInput, ec2types.DisassociateSubnetCidrBlockOutput]{
		Name: "DisassociateSubnetCidrBlock", Acts: []string{"AssociationId"},
		Handler: func(ctx context.Context, in *ec2types.DisassociateSubnetCidrBlockInput) (*ec2types.DisassociateSubnetCidrBlockOutput, error) {
			s, err := a.account(ctx).DisassociateSubnetRangeV6(ctx, ec2types.Value(in.AssociationId))
			if err != nil {
				return nil, err
			}
			return &ec2types.DisassociateSubnetCidrBlockOutput{SubnetId: ptr(s.ID), Ipv6CidrBlockAssociation: ptr(subnetRangeV6(&s, "disassociating"))}, nil
		},
	})
	api.Register(t, api.Action[ec2types.AssignIpv6AddressesInput, ec2types.AssignIpv6AddressesOutput]{
		Name: "AssignIpv6Addresses", Handler: a.assignIpv6Addresses, Acts: []string{"NetworkInterfaceId", "Ipv6Addresses", "Ipv6AddressCount"},
	})
	api.Register(t, api.Action[ec2types.UnassignIpv6AddressesInput, ec2types.UnassignIpv6AddressesOutput]{
		Name: "UnassignIpv6Addresses", Acts: []string{"NetworkInterfaceId", "Ipv6Addresses"},
		Handler: func(ctx context.Context, in *ec2types.UnassignIpv6AddressesInput) (*ec2types.UnassignIpv6AddressesOutput, error) {
			ips, err := a.account(ctx).UnassignIPv6(ctx, ec2types.Value(in.NetworkInterfaceId), in.Ipv6Addresses)
			if err != nil {
				return nil, err
			}
			return &ec2types.UnassignIpv6AddressesOutput{NetworkInterfaceId: in.NetworkInterfaceId, UnassignedIpv6Addresses: ips}, nil
		},
	})
}

func (a *Actions) associateVpcCidrBlock(ctx context.Context, in *ec2types.AssociateVpcCidrBlockInput) (*ec2types.AssociateVpcCidrBlockOutput, error) {
	switch v6 := ec2types.Value(in.AmazonProvidedIpv6CidrBlock); {
	case in.CidrBlock == nil && !v6:
		return nil, model.Errorf(model.CodeMissingParameter, "Either 'cidrBlock' or 'amazonProvidedIpv6CidrBlock' should be provided.")
	case in.CidrBlock != nil && v6:
		return nil, model.Errorf(model.CodeInvalidParameterCombination, "Only one of 'cidrBlock' and 'amazonProvidedIpv6CidrBlock' can be provided.")
	case in.CidrBlock != nil:
		r, err := a.account(ctx).AddRange(ctx, ec2types.Value(in.VpcId), *in.CidrBlock)
		if err != nil {
			return nil, err
		}
		return &ec2types.AssociateVpcCidrBlockOutput{VpcId: in.VpcId, CidrBlockAssociation: ptr(vpcRangeOf(r, "associating"))}, nil
	}
	v, err := a.account(ctx).AssociateVPCRangeV6(ctx, ec2types.Value(in.VpcId))
	if err != nil {
		return nil, err
	}
	return &ec2types.AssociateVpcCidrBlockOutput{VpcId: ptr(v.ID), Ipv6CidrBlockAssociation: ptr(a.vpcRangeV6(&v, "associating"))}, nil
}

func (a *Actions) disassociateVpcCidrBlock(ctx context.Context, in *ec2types.DisassociateVpcCidrBlockInput) (*ec2types.DisassociateVpcCidrBlockOutput, error) {
	v, err := a.account(ctx).RemoveRange(ctx, ec2types.Value(in.AssociationId))
	if err != nil {
		return nil, err
	}
	out := &ec2types.DisassociateVpcCidrBlockOutput{VpcId: ptr(v.ID)}
	if v.CIDRv6AssocID == *in.AssociationId {
		out.Ipv6CidrBlockAssociation = ptr(a.vpcRangeV6(&v, "disassociating"))
	}
	for _, r := range v.More {
		if r.AssocID == *in.AssociationId {
			out.CidrBlockAssociation = ptr(vpcRangeOf(r, "disassociating"))
		}
	}
	return out, nil
}

func vpcRangeOf(r model.Range, state string) ec2types.VpcCidrBlockAssociation {
	return ec2types.VpcCidrBlockAssociation{
		AssociationId: ptr(r.AssocID), CidrBlock: ptr(r.CIDR), CidrBlockState: &ec2types.VpcCidrBlockState{State: &state},
	}
}

func (a *Actions) associateSubnetCidrBlock(ctx context.Context, in *ec2types.AssociateSubnetCidrBlockInput) (*ec2types.AssociateSubnetCidrBlockOutput, error) {
	if in.Ipv6CidrBlock == nil {
		return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter ipv6CidrBlock")
	}
	s, err := a.account(ctx).AssociateSubnetRangeV6(ctx, ec2types.Value(in.SubnetId), *in.Ipv6CidrBlock)
	if err != nil {
		return nil, err
	}
	return &ec2types.AssociateSubnetCidrBlockOutput{SubnetId: ptr(s.ID), Ipv6CidrBlockAssociation: ptr(subnetRangeV6(&s, "associating"))}, nil
}

func (a *Actions) assignIpv6Addresses(ctx context.Context, in *ec2types.AssignIpv6AddressesInput) (*ec2types.AssignIpv6AddressesOutput, error) {
	more, err := countV6(in.Ipv6AddressCount)
	if err != nil {
		return nil, err
	}
	ips, err := a.account(ctx).AssignIPv6(ctx, ec2types.Value(in.NetworkInterfaceId), in.Ipv6Addresses, ec2types.Value(more))
	if err != nil {
		return nil, err
	}
	return &ec2types.AssignIpv6AddressesOutput{NetworkInterfaceId: in.NetworkInterfaceId, AssignedIpv6Addresses: ips}, nil
}

func countV6(n *int32) (*int, error) {
	if n == nil {
		return nil, nil
	}
	if *n < 0 {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "Value (%d) for parameter ipv6AddressCount is invalid", *n)
	}
	return ptr(int(*n)), nil
}

// addV6 adds to a new interface's specification the IPv6 addresses that it is to have.
func addV6(s *cloud.InterfaceSpec, list []ec2types.InstanceIpv6Address, more *int32) (err error) {
	for _, a := range list {
		ip := ec2types.Value(a.Ipv6Address)
		if ip == "" {
			return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter Ipv6Addresses.Ipv6Address")
		}
		s.IPv6 = append(s.IPv6, ip)
	}
	if s.IPv6Count, err = countV6(more); err == nil && s.IPv6Count != nil && len(s.IPv6) > 0 {
		err = model.Errorf(model.CodeInvalidParameterCombination, "Ipv6Addresses and Ipv6AddressCount cannot be used together")
	}
	return err
}

func (a *Actions) vpcRangeV6(v *model.VPC, state string) ec2types.VpcIpv6CidrBlockAssociation {
	return ec2types.VpcIpv6CidrBlockAssociation{
		AssociationId: ptr(v.CIDRv6AssocID), Ipv6CidrBlock: ptr(v.CIDRv6), Ipv6CidrBlockState: &ec2types.VpcCidrBlockState{State: ptr(state)},
		Ipv6Pool: ptr("Amazon"), NetworkBorderGroup: ptr(a.cloud.Info().Region),
	}
}

func subnetRangeV6(s *model.Subnet, state string) ec2types.SubnetIpv6CidrBlockAssociation {
	return ec2types.SubnetIpv6CidrBlockAssociation{
		AssociationId: ptr(s.CIDRv6AssocID), Ipv6CidrBlock: ptr(s.CIDRv6), Ipv6CidrBlockState: &ec2types.SubnetCidrBlockState{State: ptr(state)},
	}
}

// optional makes a filter's values of what an object may not have: "" is not there.
func optional[T any](get func(*T) string) func(*T) []string {
	return func(o *T) []string {
		if v := get(o); v != "" {
			return []string{v}
		}
		return nil
	}
}

// ifThere is a value of what has a range, "" of what has none.
func ifThere(cidr, value string) string {
	if cidr == "" {
		return ""
	}
	return value
}
