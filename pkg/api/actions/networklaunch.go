package actions

import (
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

// launchNetworkActs are the members of RunInstances that launchInterfaces acts on.
var launchNetworkActs = []string{
	"SubnetId", "SecurityGroupIds", "SecurityGroups", "PrivateIpAddress", "Ipv6Addresses.Ipv6Address", "Ipv6AddressCount",
	"NetworkInterfaces.Ipv6Addresses.Ipv6Address", "NetworkInterfaces.Ipv6AddressCount",
	"NetworkInterfaces.DeviceIndex", "NetworkInterfaces.NetworkInterfaceId", "NetworkInterfaces.SubnetId", "NetworkInterfaces.Groups",
	"NetworkInterfaces.PrivateIpAddress", "NetworkInterfaces.PrivateIpAddresses", "NetworkInterfaces.SecondaryPrivateIpAddressCount",
	"NetworkInterfaces.Description", "NetworkInterfaces.AssociatePublicIpAddress", "NetworkInterfaces.DeleteOnTermination",
	"NetworkInterfaces.InterfaceType=interface", "NetworkInterfaces.NetworkCardIndex=0",
}

// launchInterfaces are the network interfaces that a launch asks for, in either
// of the two ways.
func launchInterfaces(in *ec2types.RunInstancesInput) ([]cloud.LaunchInterface, error) {
	top := cloud.InterfaceSpec{
		SubnetID: ec2types.Value(in.SubnetId), GroupIDs: in.SecurityGroupIds, GroupNames: in.SecurityGroups, PrivateIP: ec2types.Value(in.PrivateIpAddress),
	}
	if err := addV6(&top, in.Ipv6Addresses, in.Ipv6AddressCount); err != nil {
		return nil, err
	}
	if len(in.NetworkInterfaces) == 0 {
		return []cloud.LaunchInterface{{InterfaceSpec: top}}, nil
	}
	for name, given := range map[string]bool{
		"subnet ID": top.SubnetID != "", "security groups": len(top.GroupIDs)+len(top.GroupNames) > 0, "private address": top.PrivateIP != "",
		"IPv6 address": len(top.IPv6) > 0 || top.IPv6Count != nil,
	} {
		if given {
			return nil, model.Errorf(model.CodeInvalidParameterCombination, "Network interfaces and an instance-level %s may not be specified on the same request", name)
		}
	}
	var out []cloud.LaunchInterface
	for i := range in.NetworkInterfaces {
		n := &in.NetworkInterfaces[i]
		if n.DeviceIndex == nil {
			return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter NetworkInterfaces.%d.DeviceIndex", i+1)
		}
		spec, err := interfaceSpec(n.SubnetId, n.PrivateIpAddress, n.PrivateIpAddresses, n.SecondaryPrivateIpAddressCount)
		if err != nil {
			return nil, err
		}
		if err := addV6(&spec, n.Ipv6Addresses, n.Ipv6AddressCount); err != nil {
			return nil, err
		}
		spec.GroupIDs, spec.Description = n.Groups, ec2types.Value(n.Description)
		out = append(out, cloud.LaunchInterface{
			InterfaceSpec: spec, DeviceIndex: int(*n.DeviceIndex), InterfaceID: ec2types.Value(n.NetworkInterfaceId),
			AssociatePublic: n.AssociatePublicIpAddress, DeleteOnTermination: n.DeleteOnTermination,
		})
	}
	return out, nil
}

// interfaceSpec joins the ways in which an interface's private addresses are given.
func interfaceSpec(subnet, private *string, list []ec2types.PrivateIpAddressSpecification, more *int32) (cloud.InterfaceSpec, error) {
	s := cloud.InterfaceSpec{SubnetID: ec2types.Value(subnet), PrivateIP: ec2types.Value(private), SecondaryCount: int(ec2types.Value(more))}
	if s.SecondaryCount < 0 {
		return s, model.Errorf(model.CodeInvalidParameterValue, "Value (%d) for parameter secondaryPrivateIpAddressCount is invalid", s.SecondaryCount)
	}
	for _, p := range list {
		ip := ec2types.Value(p.PrivateIpAddress)
		switch {
		case ip == "":
			return s, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter PrivateIpAddresses.PrivateIpAddress")
		case !ec2types.Value(p.Primary):
			s.Secondary = append(s.Secondary, ip)
		case s.PrivateIP != "" && s.PrivateIP != ip:
			return s, model.Errorf(model.CodeInvalidParameterCombination, "Only one primary private IP address can be specified.")
		default:
			s.PrivateIP = ip
		}
	}
	return s, nil
}

// addNetwork shows an instance's place in the network.
func (a *Actions) addNetwork(out *ec2types.Instance, i *model.Instance) {
	n := &i.Interface
	out.PrivateIpAddress, out.PrivateDnsName = &n.PrivateIP, ptr(i.Hostname()+"."+a.domain())
	out.PublicIpAddress, out.PublicDnsName = str(n.PublicIP), ptr(a.publicName(n, n.PublicIP))
	out.SubnetId, out.VpcId, out.SecurityGroups, out.SourceDestCheck = &n.SubnetID, &n.VPCID, groupsOf(n), ptr(!n.NoSourceDestCheck)
	if len(n.IPv6) > 0 {
		out.Ipv6Address = &n.IPv6[0]
	}
	nics := i.Interfaces()
	out.NetworkInterfaces = make([]ec2types.InstanceNetworkInterface, len(nics))
	for k := range nics {
		out.NetworkInterfaces[k] = a.instanceInterfaceOf(&nics[k])
	}
}

func (a *Actions) instanceInterfaceOf(n *model.NetworkInterface) ec2types.InstanceNetworkInterface {
	name, association := ptr(a.privateName(n.PrivateIP)), a.instanceAssociation(n, n.PublicIP, n.AllocationID)
	out := ec2types.InstanceNetworkInterface{
		Description: &n.Description, Groups: groupsOf(n), InterfaceType: ptr("interface"), MacAddress: &n.MAC, NetworkInterfaceId: &n.ID,
		OwnerId: &n.OwnerID, PrivateDnsName: name, PrivateIpAddress: &n.PrivateIP, SourceDestCheck: ptr(!n.NoSourceDestCheck),
		Status: ptr("in-use"), SubnetId: &n.SubnetID, VpcId: &n.VPCID, Association: association,
		PrivateIpAddresses: []ec2types.InstancePrivateIpAddress{{
			Primary: ptr(true), PrivateIpAddress: &n.PrivateIP, PrivateDnsName: name, Association: association,
		}},
	}
	if at := n.Attachment; at != nil {
		out.Status = ptr(interfaceStatus(at))
		out.Attachment = &ec2types.InstanceNetworkInterfaceAttachment{
			AttachTime: &at.Attached, AttachmentId: &at.ID, DeleteOnTermination: &at.DeleteOnTermination,
			DeviceIndex: ptr(int32(at.DeviceIndex)), NetworkCardIndex: ptr(int32(0)), Status: ptr(attachmentStatus(at)),
		}
	}
	for _, ip := range n.IPv6 {
		out.Ipv6Addresses = append(out.Ipv6Addresses, ec2types.InstanceIpv6Address{Ipv6Address: ptr(ip), IsPrimaryIpv6: ptr(false)})
	}
	for _, p := range n.Secondary {
		out.PrivateIpAddresses = append(out.PrivateIpAddresses, ec2types.InstancePrivateIpAddress{
			Primary: ptr(false), PrivateIpAddress: ptr(p.IP), PrivateDnsName: ptr(a.privateName(p.IP)),
			Association: a.instanceAssociation(n, p.PublicIP, p.AllocationID),
		})
	}
	return out
}

func (a *Actions) instanceAssociation(n *model.NetworkInterface, public, allocation string) *ec2types.InstanceNetworkInterfaceAssociation {
	if public == "" {
		return nil
	}
	return &ec2types.InstanceNetworkInterfaceAssociation{
		IpOwnerId: ptr(ipOwner(n, allocation)), PublicIp: ptr(public), PublicDnsName: ptr(a.publicName(n, public)),
	}
}

// ipOwner is whose a public address is: EC2's own, unless it is an elastic one.
func ipOwner(n *model.NetworkInterface, allocation string) string {
	if allocation == "" {
		return "amazon"
	}
	return n.OwnerID
}

func (a *Actions) privateName(ip string) string { return model.HostnameFor(ip) + "." + a.domain() }

func (a *Actions) publicName(n *model.NetworkInterface, ip string) string {
	return n.PublicDNSName(ip, a.cloud.Info().Region)
}

// groupsOf are the interface's security groups.
func groupsOf(n *model.NetworkInterface) []ec2types.GroupIdentifier {
	var out []ec2types.GroupIdentifier
	for i, id := range n.Groups {
		g := ec2types.GroupIdentifier{GroupId: ptr(id)}
		if i < len(n.Names.Groups) {
			g.GroupName = ptr(n.Names.Groups[i])
		}
		out = append(out, g)
	}
	return out
}
