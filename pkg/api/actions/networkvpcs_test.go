package actions_test

import (
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

func TestVPCsAndSubnets(t *testing.T) {
	l := newLab(t)
	create := func(cidr string) *ec2types.CreateVpcInput { return &ec2types.CreateVpcInput{CidrBlock: &cidr} }
	l.refuse("InvalidVpc.Range", "CreateVpc", create("10.0.0.0/15"))
	l.refuse("InvalidVpc.Range", "CreateVpc", create("10.0.0.0/29"))
	l.refuse("InvalidVpc.Range", "CreateVpc", create("127.1.0.0/16"))
	l.refuse("InvalidParameterValue", "CreateVpc", create("10.0.0.0"))
	l.refuse("UnsupportedOperation", "CreateVpc", &ec2types.CreateVpcInput{CidrBlock: ptr("10.0.0.0/16"), InstanceTenancy: ptr("dedicated")})
	vpc := l.vpc("10.0.0.0/16")
	l.vpc("10.0.0.0/16") // ranges of two VPCs may overlap

	subnet := l.subnet(vpc, "10.0.1.0/28")
	for code, cidr := range map[string]string{"InvalidSubnet.Conflict": "10.0.0.0/23", "InvalidSubnet.Range": "10.1.0.0/24", "InvalidParameterValue": "x"} {
		l.refuse(code, "CreateSubnet", &ec2types.CreateSubnetInput{VpcId: &vpc, CidrBlock: &cidr})
	}
	l.refuse("InvalidParameterValue", "CreateSubnet", &ec2types.CreateSubnetInput{VpcId: &vpc, CidrBlock: ptr("10.0.2.0/24"), AvailabilityZone: ptr("test-1b")})
	do[ec2types.ModifySubnetAttributeOutput](l, "ModifySubnetAttribute", &ec2types.ModifySubnetAttributeInput{SubnetId: &subnet, MapPublicIpOnLaunch: &ec2types.AttributeBooleanValue{Value: ptr(true)}})

	// All eleven addresses can be had, and not one more.
	var nics []string
	for range 11 {
		nics = append(nics, *do[ec2types.CreateNetworkInterfaceOutput](l, "CreateNetworkInterface", &ec2types.CreateNetworkInterfaceInput{SubnetId: &subnet}).NetworkInterface.NetworkInterfaceId)
	}
	l.refuse("InsufficientFreeAddressesInSubnet", "CreateNetworkInterface", &ec2types.CreateNetworkInterfaceInput{SubnetId: &subnet})
	shown := do[ec2types.DescribeSubnetsOutput](l, "DescribeSubnets", &ec2types.DescribeSubnetsInput{SubnetIds: []string{subnet}}).Subnets[0]
	if *shown.AvailableIpAddressCount != 0 || !*shown.MapPublicIpOnLaunch {
		t.Errorf("the full subnet is %+v", shown)
	}
	l.refuse("DependencyViolation", "DeleteSubnet", &ec2types.DeleteSubnetInput{SubnetId: &subnet})
	for _, n := range nics {
		do[ec2types.DeleteNetworkInterfaceOutput](l, "DeleteNetworkInterface", &ec2types.DeleteNetworkInterfaceInput{NetworkInterfaceId: &n})
	}
	l.refuse("DependencyViolation", "DeleteVpc", &ec2types.DeleteVpcInput{VpcId: &vpc})
	do[ec2types.DeleteSubnetOutput](l, "DeleteSubnet", &ec2types.DeleteSubnetInput{SubnetId: &subnet})
	do[ec2types.DeleteVpcOutput](l, "DeleteVpc", &ec2types.DeleteVpcInput{VpcId: &vpc})
	l.refuse("InvalidVpcID.NotFound", "DeleteVpc", &ec2types.DeleteVpcInput{VpcId: &vpc})
	if left := do[ec2types.DescribeRouteTablesOutput](l, "DescribeRouteTables", &ec2types.DescribeRouteTablesInput{Filters: filter("vpc-id", vpc)}).RouteTables; len(left) != 0 {
		t.Errorf("of the deleted VPC there is %+v", left)
	}
}

func TestVPCAttributes(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc("10.0.0.0/16")
	get := func(name string) *ec2types.DescribeVpcAttributeOutput {
		return do[ec2types.DescribeVpcAttributeOutput](l, "DescribeVpcAttribute", &ec2types.DescribeVpcAttributeInput{VpcId: &vpc, Attribute: &name})
	}
	if !*get("enableDnsSupport").EnableDnsSupport.Value || *get("enableDnsHostnames").EnableDnsHostnames.Value || *get("enableNetworkAddressUsageMetrics").EnableNetworkAddressUsageMetrics.Value {
		t.Error("a new VPC has other attributes than EC2's")
	}
	on := &ec2types.AttributeBooleanValue{Value: ptr(true)}
	do[ec2types.ModifyVpcAttributeOutput](l, "ModifyVpcAttribute", &ec2types.ModifyVpcAttributeInput{VpcId: &vpc, EnableDnsHostnames: on})
	if !*get("enableDnsHostnames").EnableDnsHostnames.Value {
		t.Error("the attribute has not changed")
	}
	l.refuse("InvalidParameterCombination", "ModifyVpcAttribute", &ec2types.ModifyVpcAttributeInput{VpcId: &vpc, EnableDnsHostnames: on, EnableDnsSupport: on})
	l.refuse("UnsupportedOperation", "ModifyVpcAttribute", &ec2types.ModifyVpcAttributeInput{VpcId: &vpc, EnableNetworkAddressUsageMetrics: on})
}

func TestDefaultVPCAnew(t *testing.T) {
	l := newLab(t)
	vpc, subnet, _ := l.defaults()
	do[ec2types.DeleteSubnetOutput](l, "DeleteSubnet", &ec2types.DeleteSubnetInput{SubnetId: subnet.SubnetId})
	do[ec2types.CreateDefaultSubnetOutput](l, "CreateDefaultSubnet", &ec2types.CreateDefaultSubnetInput{AvailabilityZone: ptr("test-1a")})
	l.refuse("DefaultSubnetAlreadyExistsInAvailabilityZone", "CreateDefaultSubnet", &ec2types.CreateDefaultSubnetInput{AvailabilityZone: ptr("test-1a")})
	_, subnet, _ = l.defaults()
	do[ec2types.DeleteSubnetOutput](l, "DeleteSubnet", &ec2types.DeleteSubnetInput{SubnetId: subnet.SubnetId})
	gateway := do[ec2types.DescribeInternetGatewaysOutput](l, "DescribeInternetGateways", &ec2types.DescribeInternetGatewaysInput{Filters: filter("attachment.vpc-id", *vpc.VpcId)}).InternetGateways[0].InternetGatewayId
	l.refuse("DependencyViolation", "DeleteInternetGateway", &ec2types.DeleteInternetGatewayInput{InternetGatewayId: gateway})
	do[ec2types.DetachInternetGatewayOutput](l, "DetachInternetGateway", &ec2types.DetachInternetGatewayInput{InternetGatewayId: gateway, VpcId: vpc.VpcId})
	l.refuse("Gateway.NotAttached", "DetachInternetGateway", &ec2types.DetachInternetGatewayInput{InternetGatewayId: gateway, VpcId: vpc.VpcId})
	do[ec2types.DeleteVpcOutput](l, "DeleteVpc", &ec2types.DeleteVpcInput{VpcId: vpc.VpcId})
	l.refuse("VPCIdNotSpecified", "CreateSecurityGroup", &ec2types.CreateSecurityGroupInput{GroupName: ptr("x"), Description: ptr("x")})
	l.refuse("DefaultVpcDoesNotExist", "CreateDefaultSubnet", &ec2types.CreateDefaultSubnetInput{AvailabilityZone: ptr("test-1a")})
	do[ec2types.CreateDefaultVpcOutput](l, "CreateDefaultVpc", &ec2types.CreateDefaultVpcInput{})
	if again, _, _ := l.defaults(); *again.VpcId == *vpc.VpcId {
		t.Error("the deleted VPC is back")
	}
}

func TestRoutesToInterfaces(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc("10.0.0.0/16")
	subnet, foreign := l.subnet(vpc, "10.0.1.0/24"), l.subnet(l.vpc("10.0.0.0/16"), "10.0.1.0/24")
	nic := func(subnet string) *string {
		return do[ec2types.CreateNetworkInterfaceOutput](l, "CreateNetworkInterface", &ec2types.CreateNetworkInterfaceInput{SubnetId: &subnet}).NetworkInterface.NetworkInterfaceId
	}
	router, stranger := nic(subnet), nic(foreign)
	table := *do[ec2types.CreateRouteTableOutput](l, "CreateRouteTable", &ec2types.CreateRouteTableInput{VpcId: &vpc}).RouteTable.RouteTableId
	route := func(cidr string, nic, instance *string) *ec2types.CreateRouteInput {
		return &ec2types.CreateRouteInput{RouteTableId: &table, DestinationCidrBlock: &cidr, NetworkInterfaceId: nic, InstanceId: instance}
	}
	do[ec2types.CreateRouteOutput](l, "CreateRoute", route("0.0.0.0/0", router, nil))
	l.refuse("RouteAlreadyExists", "CreateRoute", route("0.0.0.0/0", router, nil))
	l.refuse("InvalidParameterValue", "CreateRoute", route("9.0.0.0/8", stranger, nil))
	l.refuse("UnsupportedOperation", "CreateRoute", route("10.0.2.0/24", router, nil))
	l.refuse("InvalidNetworkInterfaceID.NotFound", "CreateRoute", route("9.0.0.0/8", ptr("eni-0123456789abcdef0"), nil))
	l.refuse("InvalidNetworkInterfaceId.Malformed", "CreateRoute", route("9.0.0.0/8", ptr("i-0123456789abcdef0"), nil))
	l.refuse("InvalidInstanceID.NotFound", "CreateRoute", route("9.0.0.0/8", nil, ptr("i-0123456789abcdef0")))
	l.refuse("InvalidParameterCombination", "CreateRoute", route("9.0.0.0/8", router, ptr("i-0123456789abcdef0")))
	do[ec2types.ReplaceRouteOutput](l, "ReplaceRoute", &ec2types.ReplaceRouteInput{RouteTableId: &table, DestinationCidrBlock: ptr("0.0.0.0/0"), NetworkInterfaceId: nic(subnet)})
	do[ec2types.ReplaceRouteOutput](l, "ReplaceRoute", &ec2types.ReplaceRouteInput{RouteTableId: &table, DestinationCidrBlock: ptr("0.0.0.0/0"), NetworkInterfaceId: router})
	check := func() {
		t.Helper()
		routes := do[ec2types.DescribeRouteTablesOutput](l, "DescribeRouteTables", &ec2types.DescribeRouteTablesInput{RouteTableIds: []string{table}}).RouteTables[0].Routes
		if r := routes[1]; *r.NetworkInterfaceId != *router || *r.State != "blackhole" || r.InstanceId != nil || r.GatewayId != nil { // no instance has it
			t.Errorf("%+v", r)
		}
	}
	check()
	do[ec2types.DeleteNetworkInterfaceOutput](l, "DeleteNetworkInterface", &ec2types.DeleteNetworkInterfaceInput{NetworkInterfaceId: router})
	check()
}

func TestRoutes(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc("10.0.0.0/16")
	subnet := l.subnet(vpc, "10.0.1.0/24")
	gateway := *do[ec2types.CreateInternetGatewayOutput](l, "CreateInternetGateway", &ec2types.CreateInternetGatewayInput{}).InternetGateway.InternetGatewayId
	table := *do[ec2types.CreateRouteTableOutput](l, "CreateRouteTable", &ec2types.CreateRouteTableInput{VpcId: &vpc, ClientToken: ptr("t")}).RouteTable.RouteTableId
	if again := *do[ec2types.CreateRouteTableOutput](l, "CreateRouteTable", &ec2types.CreateRouteTableInput{VpcId: &vpc, ClientToken: ptr("t")}).RouteTable.RouteTableId; again != table {
		t.Errorf("a repeated request made %s beside %s", again, table)
	}
	route := &ec2types.CreateRouteInput{RouteTableId: &table, DestinationCidrBlock: ptr("0.0.0.0/0"), GatewayId: &gateway}
	l.refuse("InvalidParameterValue", "CreateRoute", route) // the gateway is not the VPC's
	do[ec2types.AttachInternetGatewayOutput](l, "AttachInternetGateway", &ec2types.AttachInternetGatewayInput{InternetGatewayId: &gateway, VpcId: &vpc})
	l.refuse("Resource.AlreadyAssociated", "AttachInternetGateway", &ec2types.AttachInternetGatewayInput{InternetGatewayId: &gateway, VpcId: &vpc})
	do[ec2types.CreateRouteOutput](l, "CreateRoute", route)
	l.refuse("RouteAlreadyExists", "CreateRoute", route)
	l.refuse("InvalidParameterValue", "CreateRoute", &ec2types.CreateRouteInput{RouteTableId: &table, DestinationCidrBlock: ptr("10.0.4.0/24"), GatewayId: &gateway})
	l.refuse("UnsupportedOperation", "CreateRoute", &ec2types.CreateRouteInput{RouteTableId: &table, DestinationCidrBlock: ptr("1.0.0.0/8"), NatGatewayId: ptr("nat-1")})
	l.refuse("InvalidRoute.NotFound", "ReplaceRoute", &ec2types.ReplaceRouteInput{RouteTableId: &table, DestinationCidrBlock: ptr("9.0.0.0/8"), GatewayId: &gateway})
	l.refuse("InvalidParameterValue", "DeleteRoute", &ec2types.DeleteRouteInput{RouteTableId: &table, DestinationCidrBlock: ptr("10.0.0.0/16")})

	association := do[ec2types.AssociateRouteTableOutput](l, "AssociateRouteTable", &ec2types.AssociateRouteTableInput{RouteTableId: &table, SubnetId: &subnet}).AssociationId
	l.refuse("DependencyViolation", "DeleteRouteTable", &ec2types.DeleteRouteTableInput{RouteTableId: &table})
	do[ec2types.DetachInternetGatewayOutput](l, "DetachInternetGateway", &ec2types.DetachInternetGatewayInput{InternetGatewayId: &gateway, VpcId: &vpc})
	shown := do[ec2types.DescribeRouteTablesOutput](l, "DescribeRouteTables", &ec2types.DescribeRouteTablesInput{Filters: filter("association.subnet-id", subnet)}).RouteTables[0]
	if *shown.Routes[1].State != "blackhole" || *shown.Associations[0].Main {
		t.Errorf("the table is %+v", shown)
	}
	do[ec2types.DisassociateRouteTableOutput](l, "DisassociateRouteTable", &ec2types.DisassociateRouteTableInput{AssociationId: association})
	l.refuse("InvalidAssociationID.NotFound", "DisassociateRouteTable", &ec2types.DisassociateRouteTableInput{AssociationId: association})

	main := do[ec2types.DescribeRouteTablesOutput](l, "DescribeRouteTables", &ec2types.DescribeRouteTablesInput{Filters: append(filter("vpc-id", vpc), filter("association.main", "true")...)}).RouteTables[0]
	l.refuse("InvalidParameterValue", "DisassociateRouteTable", &ec2types.DisassociateRouteTableInput{AssociationId: main.Associations[0].RouteTableAssociationId})
	do[ec2types.ReplaceRouteTableAssociationOutput](l, "ReplaceRouteTableAssociation", &ec2types.ReplaceRouteTableAssociationInput{AssociationId: main.Associations[0].RouteTableAssociationId, RouteTableId: &table})
	do[ec2types.DeleteRouteTableOutput](l, "DeleteRouteTable", &ec2types.DeleteRouteTableInput{RouteTableId: main.RouteTableId})
}

func TestDHCPOptions(t *testing.T) {
	l := newLab(t)
	vpc := l.vpc("10.0.0.0/16")
	create := func(key string, values ...string) *ec2types.CreateDhcpOptionsInput {
		return &ec2types.CreateDhcpOptionsInput{DhcpConfigurations: []ec2types.NewDhcpConfiguration{{Key: &key, Values: values}}}
	}
	l.refuse("InvalidParameterValue", "CreateDhcpOptions", create("no-such-option", "x"))
	l.refuse("InvalidParameterValue", "CreateDhcpOptions", create("ntp-servers", "AmazonProvidedDNS"))
	l.refuse("UnsupportedOperation", "CreateDhcpOptions", create("netbios-node-type", "2"))
	made := do[ec2types.CreateDhcpOptionsOutput](l, "CreateDhcpOptions", create("domain-name-servers", "10.0.0.9, AmazonProvidedDNS")).DhcpOptions
	if len(made.DhcpConfigurations[0].Values) != 2 {
		t.Errorf("the options are %+v", made)
	}
	do[ec2types.AssociateDhcpOptionsOutput](l, "AssociateDhcpOptions", &ec2types.AssociateDhcpOptionsInput{DhcpOptionsId: made.DhcpOptionsId, VpcId: &vpc})
	l.refuse("DependencyViolation", "DeleteDhcpOptions", &ec2types.DeleteDhcpOptionsInput{DhcpOptionsId: made.DhcpOptionsId})
	do[ec2types.AssociateDhcpOptionsOutput](l, "AssociateDhcpOptions", &ec2types.AssociateDhcpOptionsInput{DhcpOptionsId: ptr("default"), VpcId: &vpc})
	do[ec2types.DeleteDhcpOptionsOutput](l, "DeleteDhcpOptions", &ec2types.DeleteDhcpOptionsInput{DhcpOptionsId: made.DhcpOptionsId})
}

func TestInterfacesAndAddresses(t *testing.T) {
	l := newLab(t)
	_, subnet, group := l.defaults()
	nic := func(in ec2types.CreateNetworkInterfaceInput) *ec2types.NetworkInterface {
		in.SubnetId = subnet.SubnetId
		return do[ec2types.CreateNetworkInterfaceOutput](l, "CreateNetworkInterface", &in).NetworkInterface
	}
	a := nic(ec2types.CreateNetworkInterfaceInput{PrivateIpAddress: ptr("172.31.0.9"), Description: ptr("a")})
	for code, ip := range map[string]string{"InvalidIPAddress.InUse": "172.31.0.9", "InvalidParameterValue": "172.31.0.3"} {
		l.refuse(code, "CreateNetworkInterface", &ec2types.CreateNetworkInterfaceInput{SubnetId: subnet.SubnetId, PrivateIpAddress: &ip})
	}
	foreign := l.group(l.vpc("10.0.0.0/16"), "foreign")
	l.refuse("InvalidParameter", "CreateNetworkInterface", &ec2types.CreateNetworkInterfaceInput{SubnetId: subnet.SubnetId, Groups: []string{foreign}})
	if *a.Groups[0].GroupId != *group.GroupId || *a.Groups[0].GroupName != "default" || *a.Status != "available" || *a.PrivateDnsName != "ip-172-31-0-9.test-1.compute.internal" {
		t.Errorf("the interface is %+v", a)
	}
	web := l.group("", "web")
	do[ec2types.ModifyNetworkInterfaceAttributeOutput](l, "ModifyNetworkInterfaceAttribute", &ec2types.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: a.NetworkInterfaceId, Groups: []string{web}})
	l.refuse("DependencyViolation", "DeleteSecurityGroup", &ec2types.DeleteSecurityGroupInput{GroupId: &web})

	more := do[ec2types.AssignPrivateIpAddressesOutput](l, "AssignPrivateIpAddresses", &ec2types.AssignPrivateIpAddressesInput{NetworkInterfaceId: a.NetworkInterfaceId, SecondaryPrivateIpAddressCount: ptr(int32(2))}).AssignedPrivateIpAddresses
	b := nic(ec2types.CreateNetworkInterfaceInput{})
	taken := []string{*more[0].PrivateIpAddress}
	l.refuse("InvalidIPAddress.InUse", "AssignPrivateIpAddresses", &ec2types.AssignPrivateIpAddressesInput{NetworkInterfaceId: b.NetworkInterfaceId, PrivateIpAddresses: taken})
	do[ec2types.AssignPrivateIpAddressesOutput](l, "AssignPrivateIpAddresses", &ec2types.AssignPrivateIpAddressesInput{NetworkInterfaceId: b.NetworkInterfaceId, PrivateIpAddresses: taken, AllowReassignment: ptr(true)})
	l.refuse("InvalidParameterValue", "UnassignPrivateIpAddresses", &ec2types.UnassignPrivateIpAddressesInput{NetworkInterfaceId: a.NetworkInterfaceId, PrivateIpAddresses: taken})

	address := do[ec2types.AllocateAddressOutput](l, "AllocateAddress", &ec2types.AllocateAddressInput{Domain: ptr("vpc")})
	associate := func(in ec2types.AssociateAddressInput) string {
		in.AllocationId = address.AllocationId
		return *do[ec2types.AssociateAddressOutput](l, "AssociateAddress", &in).AssociationId
	}
	first := associate(ec2types.AssociateAddressInput{NetworkInterfaceId: a.NetworkInterfaceId})
	l.refuse("Resource.AlreadyAssociated", "AssociateAddress", &ec2types.AssociateAddressInput{AllocationId: address.AllocationId, NetworkInterfaceId: b.NetworkInterfaceId, AllowReassociation: ptr(false)})
	second := associate(ec2types.AssociateAddressInput{NetworkInterfaceId: b.NetworkInterfaceId, PrivateIpAddress: &taken[0]})
	nics := do[ec2types.DescribeNetworkInterfacesOutput](l, "DescribeNetworkInterfaces", &ec2types.DescribeNetworkInterfacesInput{Filters: filter("association.public-ip", *address.PublicIp)}).NetworkInterfaces
	if len(nics) != 1 || *nics[0].NetworkInterfaceId != *b.NetworkInterfaceId || nics[0].Association != nil || *nics[0].PrivateIpAddresses[1].Association.AssociationId != second || first == second {
		t.Errorf("the address leads to %+v", nics)
	}
	l.refuse("InvalidIPAddress.InUse", "ReleaseAddress", &ec2types.ReleaseAddressInput{AllocationId: address.AllocationId})
	do[ec2types.DisassociateAddressOutput](l, "DisassociateAddress", &ec2types.DisassociateAddressInput{AssociationId: &second})
	do[ec2types.ReleaseAddressOutput](l, "ReleaseAddress", &ec2types.ReleaseAddressInput{PublicIp: address.PublicIp})
	l.refuse("InvalidAllocationID.NotFound", "ReleaseAddress", &ec2types.ReleaseAddressInput{AllocationId: address.AllocationId})

	// An interface's end takes its elastic address off, and leaves it the account's.
	kept := do[ec2types.AllocateAddressOutput](l, "AllocateAddress", &ec2types.AllocateAddressInput{})
	do[ec2types.AssociateAddressOutput](l, "AssociateAddress", &ec2types.AssociateAddressInput{PublicIp: kept.PublicIp, NetworkInterfaceId: a.NetworkInterfaceId})
	do[ec2types.DeleteNetworkInterfaceOutput](l, "DeleteNetworkInterface", &ec2types.DeleteNetworkInterfaceInput{NetworkInterfaceId: a.NetworkInterfaceId})
	left := do[ec2types.DescribeAddressesOutput](l, "DescribeAddresses", &ec2types.DescribeAddressesInput{}).Addresses
	if len(left) != 1 || left[0].AssociationId != nil || *left[0].PublicIp != *kept.PublicIp {
		t.Errorf("the addresses are %+v", left)
	}
}
