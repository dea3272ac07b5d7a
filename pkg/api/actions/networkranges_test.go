package actions_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

// A VPC of several ranges has subnets and local routes in each of them.
func TestRanges(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc("10.0.0.0/16")
	add := func(cidr string) *ec2types.AssociateVpcCidrBlockInput {
		return &ec2types.AssociateVpcCidrBlockInput{VpcId: &vpc, CidrBlock: &cidr}
	}
	table := l.tableOf(vpc)
	igw := do[ec2types.CreateInternetGatewayOutput](l, "CreateInternetGateway", &ec2types.CreateInternetGatewayInput{}).InternetGateway
	do[ec2types.AttachInternetGatewayOutput](l, "AttachInternetGateway", &ec2types.AttachInternetGatewayInput{InternetGatewayId: igw.InternetGatewayId, VpcId: &vpc})
	do[ec2types.CreateRouteOutput](l, "CreateRoute", &ec2types.CreateRouteInput{RouteTableId: &table, DestinationCidrBlock: ptr("10.200.1.0/24"), GatewayId: igw.InternetGatewayId})
	for cidr, code := range map[string]string{
		"10.0.128.0/17": "CidrConflict", "10.200.0.0/16": "CidrConflict", "10.0.0.0/8": "InvalidVpc.Range", "10.1.0.0/29": "InvalidVpc.Range",
		"127.1.0.0/16": "InvalidVpc.Range", "fd00::/56": "InvalidParameterValue", "10.1": "InvalidParameterValue",
	} {
		l.refuse(code, "AssociateVpcCidrBlock", add(cidr))
	}
	as := do[ec2types.AssociateVpcCidrBlockOutput](l, "AssociateVpcCidrBlock", add("192.168.9.77/24")).CidrBlockAssociation
	if *as.CidrBlock != "192.168.9.0/24" || *as.CidrBlockState.State != "associating" {
		t.Errorf("the association is %+v", as)
	}
	l.refuse("CidrConflict", "AssociateVpcCidrBlock", add("192.168.0.0/16"))
	for n := range 3 {
		do[ec2types.AssociateVpcCidrBlockOutput](l, "AssociateVpcCidrBlock", add(fmt.Sprintf("10.%d.0.0/16", n+1)))
	}
	l.refuse("CidrLimitExceeded", "AssociateVpcCidrBlock", add("10.9.0.0/16"))
	l.refuse("InvalidSubnet.Range", "CreateSubnet", &ec2types.CreateSubnetInput{VpcId: &vpc, CidrBlock: ptr("192.168.8.0/23")})
	s := do[ec2types.CreateSubnetOutput](l, "CreateSubnet", &ec2types.CreateSubnetInput{VpcId: &vpc, CidrBlock: ptr("192.168.9.0/25")}).Subnet
	nic := do[ec2types.CreateNetworkInterfaceOutput](l, "CreateNetworkInterface", &ec2types.CreateNetworkInterfaceInput{SubnetId: s.SubnetId, PrivateIpAddress: ptr("192.168.9.9")}).NetworkInterface
	found := do[ec2types.DescribeVpcsOutput](l, "DescribeVpcs", &ec2types.DescribeVpcsInput{Filters: filter("cidr-block-association.cidr-block", "192.168.9.0/24")}).Vpcs
	if len(found) != 1 || len(found[0].CidrBlockAssociationSet) != 5 || *found[0].CidrBlock != "10.0.0.0/16" || *found[0].CidrBlockAssociationSet[1].AssociationId != *as.AssociationId {
		t.Errorf("found by its second range: %+v", found)
	}
	tables := do[ec2types.DescribeRouteTablesOutput](l, "DescribeRouteTables", &ec2types.DescribeRouteTablesInput{RouteTableIds: []string{table}}).RouteTables
	local := 0
	for _, r := range tables[0].Routes {
		if ec2types.Value(r.GatewayId) == "local" {
			local++
		}
	}
	if local != 5 {
		t.Errorf("%d local routes, want 5: %+v", local, tables[0].Routes)
	}
	l.refuse("InvalidParameterValue", "CreateRoute", &ec2types.CreateRouteInput{RouteTableId: &table, DestinationCidrBlock: ptr("192.168.9.0/26"), GatewayId: igw.InternetGatewayId})

	remove := &ec2types.DisassociateVpcCidrBlockInput{AssociationId: as.AssociationId}
	l.refuse("InvalidCidrBlock.InUse", "DisassociateVpcCidrBlock", remove)
	l.refuse("OperationNotPermitted", "DisassociateVpcCidrBlock", &ec2types.DisassociateVpcCidrBlockInput{AssociationId: found[0].CidrBlockAssociationSet[0].AssociationId})
	do[ec2types.DeleteNetworkInterfaceOutput](l, "DeleteNetworkInterface", &ec2types.DeleteNetworkInterfaceInput{NetworkInterfaceId: nic.NetworkInterfaceId})
	do[ec2types.DeleteSubnetOutput](l, "DeleteSubnet", &ec2types.DeleteSubnetInput{SubnetId: s.SubnetId})
	gone := do[ec2types.DisassociateVpcCidrBlockOutput](l, "DisassociateVpcCidrBlock", remove)
	if gone.CidrBlockAssociation == nil || *gone.CidrBlockAssociation.CidrBlock != "192.168.9.0/24" || gone.Ipv6CidrBlockAssociation != nil {
		t.Errorf("the end of the association is %+v", gone)
	}
	l.refuse("InvalidVpcCidrBlockAssociationID.NotFound", "DisassociateVpcCidrBlock", remove)
	left := do[ec2types.DescribeVpcsOutput](l, "DescribeVpcs", &ec2types.DescribeVpcsInput{VpcIds: []string{vpc}}).Vpcs[0].CidrBlockAssociationSet
	if slices.ContainsFunc(left, func(a ec2types.VpcCidrBlockAssociation) bool { return *a.CidrBlock == "192.168.9.0/24" }) || len(left) != 4 {
		t.Errorf("left are %+v", left)
	}
}

// tableOf is the main route table of a VPC.
func (l *lab) tableOf(vpc string) string {
	l.t.Helper()
	return *do[ec2types.DescribeRouteTablesOutput](l, "DescribeRouteTables", &ec2types.DescribeRouteTablesInput{Filters: filter("vpc-id", vpc)}).RouteTables[0].RouteTableId
}
