package actions

import (
	"cmp"
	"context"
	"strconv"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

var interfaceKind = objectKind[model.NetworkInterface]{func(n *model.NetworkInterface) string { return n.ID }, isID(model.InterfacePrefix), "InvalidNetworkInterfaceId.Malformed", "InvalidNetworkInterfaceID.NotFound", "networkInterface ID"}

func (a *Actions) registerInterfaces(t *api.Table) {
	api.Register(t, api.Action[ec2types.CreateNetworkInterfaceInput, ec2types.CreateNetworkInterfaceOutput]{
		Name: "CreateNetworkInterface", Handler: a.createNetworkInterface,
		Acts: []string{
			"SubnetId", "Groups", "Description", "PrivateIpAddress", "PrivateIpAddresses", "SecondaryPrivateIpAddressCount",
			"Ipv6Addresses.Ipv6Address", "Ipv6AddressCount", "InterfaceType=interface", "ClientToken", "TagSpecifications",
		},
	})
	api.Register(t, api.Action[ec2types.DeleteNetworkInterfaceInput, ec2types.DeleteNetworkInterfaceOutput]{
		Name: "DeleteNetworkInterface", Acts: []string{"NetworkInterfaceId"},
		Handler: func(ctx context.Context, in *ec2types.DeleteNetworkInterfaceInput) (*ec2types.DeleteNetworkInterfaceOutput, error) {
			return &ec2types.DeleteNetworkInterfaceOutput{}, a.account(ctx).DeleteNetworkInterface(ctx, ec2types.Value(in.NetworkInterfaceId))
		},
	})
	api.Register(t, api.Action[ec2types.DescribeNetworkInterfacesInput, ec2types.DescribeNetworkInterfacesOutput]{
		Name: "DescribeNetworkInterfaces", Handler: a.describeNetworkInterfaces, Acts: []string{"NetworkInterfaceIds", "Filters", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.AttachNetworkInterfaceInput, ec2types.AttachNetworkInterfaceOutput]{
		Name: "AttachNetworkInterface", Acts: []string{"NetworkInterfaceId", "InstanceId", "DeviceIndex", "NetworkCardIndex=0"},
		Handler: func(ctx context.Context, in *ec2types.AttachNetworkInterfaceInput) (*ec2types.AttachNetworkInterfaceOutput, error) {
			id, err := a.account(ctx).AttachNetworkInterface(ctx, ec2types.Value(in.NetworkInterfaceId), ec2types.Value(in.InstanceId), int(ec2types.Value(in.DeviceIndex)))
			if err != nil {
				return nil, err
			}
			return &ec2types.AttachNetworkInterfaceOutput{AttachmentId: ptr(id), NetworkCardIndex: ptr(int32(0))}, nil
		},
	})
	api.Register(t, api.Action[ec2types.DetachNetworkInterfaceInput, ec2types.DetachNetworkInterfaceOutput]{
		Name: "DetachNetworkInterface", Acts: []string{"AttachmentId", "Force"},
		Handler: func(ctx context.Context, in *ec2types.DetachNetworkInterfaceInput) (*ec2types.DetachNetworkInterfaceOutput, error) {
			return &ec2types.DetachNetworkInterfaceOutput{}, a.account(ctx).DetachNetworkInterface(ctx, ec2types.Value(in.AttachmentId), ec2types.Value(in.Force))
		},
	})
	api.Register(t, api.Action[ec2types.DescribeNetworkInterfaceAttributeInput, ec2types.DescribeNetworkInterfaceAttributeOutput]{
		Name: "DescribeNetworkInterfaceAttribute", Handler: a.describeNetworkInterfaceAttribute, Acts: []string{"NetworkInterfaceId", "Attribute"},
	})
	api.Register(t, api.Action[ec2types.ModifyNetworkInterfaceAttributeInput, ec2types.ModifyNetworkInterfaceAttributeOutput]{
		Name: "ModifyNetworkInterfaceAttribute", Handler: a.modifyNetworkInterfaceAttribute, KeepEmpty: []string{"Description.Value"},
		Acts: []string{"NetworkInterfaceId", "Description", "Groups", "Attachment.AttachmentId", "Attachment.DeleteOnTermination", "SourceDestCheck", "AssociatePublicIpAddress"},
	})
	api.Register(t, api.Action[ec2types.ResetNetworkInterfaceAttributeInput, ec2types.ResetNetworkInterfaceAttributeOutput]{
		Name: "ResetNetworkInterfaceAttribute", Acts: []string{"NetworkInterfaceId", "SourceDestCheck"},
		Handler: func(ctx context.Context, in *ec2types.ResetNetworkInterfaceAttributeInput) (*ec2types.ResetNetworkInterfaceAttributeOutput, error) {
			var ch cloud.InterfaceChange
			if in.SourceDestCheck != nil { // a string, of which EC2 does not say which; it is the attribute's name
				ch.SourceDestCheck = ptr(true)
			}
			return &ec2types.ResetNetworkInterfaceAttributeOutput{}, a.account(ctx).ModifyNetworkInterface(ctx, ec2types.Value(in.NetworkInterfaceId), ch)
		},
	})
	api.Register(t, api.Action[ec2types.AssignPrivateIpAddressesInput, ec2types.AssignPrivateIpAddressesOutput]{
		Name: "AssignPrivateIpAddresses", Handler: a.assignPrivateIpAddresses,
		Acts: []string{"NetworkInterfaceId", "PrivateIpAddresses", "SecondaryPrivateIpAddressCount", "AllowReassignment"},
	})
	api.Register(t, api.Action[ec2types.UnassignPrivateIpAddressesInput, ec2types.UnassignPrivateIpAddressesOutput]{
		Name: "UnassignPrivateIpAddresses", Acts: []string{"NetworkInterfaceId", "PrivateIpAddresses"},
		Handler: func(ctx context.Context, in *ec2types.UnassignPrivateIpAddressesInput) (*ec2types.UnassignPrivateIpAddressesOutput, error) {
			return &ec2types.UnassignPrivateIpAddressesOutput{}, a.account(ctx).UnassignPrivateAddresses(ctx, ec2types.Value(in.NetworkInterfaceId), in.PrivateIpAddresses)
		},
	})
}

func (a *Actions) createNetworkInterface(ctx context.Context, in *ec2types.CreateNetworkInterfaceInput) (*ec2types.CreateNetworkInterfaceOutput, error) {
	tags, err := oneTagSet(in.TagSpecifications, "network-interface")
	if err != nil {
		return nil, err
	}
	spec, err := interfaceSpec(in.SubnetId, in.PrivateIpAddress, in.PrivateIpAddresses, in.SecondaryPrivateIpAddressCount)
	if err != nil {
		return nil, err
	}
	if err := addV6(&spec, in.Ipv6Addresses, in.Ipv6AddressCount); err != nil {
		return nil, err
	}
	spec.GroupIDs, spec.Description = in.Groups, ec2types.Value(in.Description)
	n, err := a.account(ctx).CreateNetworkInterface(ctx, spec, ec2types.Value(in.ClientToken), tags)
	if err != nil {
		return nil, err
	}
	return &ec2types.CreateNetworkInterfaceOutput{ClientToken: in.ClientToken, NetworkInterface: ptr(a.interfaceOf(&n))}, nil
}

func (a *Actions) interfaceOf(n *model.NetworkInterface) ec2types.NetworkInterface {
	private := ptr(a.privateName(n.PrivateIP))
	out := ec2types.NetworkInterface{
		Association: a.association(n, n.PublicIP, n.AllocationID, n.AssociationID), AvailabilityZone: ptr(a.cloud.Zone()), Description: ptr(n.Description),
		Groups: groupsOf(n), InterfaceType: ptr("interface"), MacAddress: ptr(n.MAC), NetworkInterfaceId: ptr(n.ID), OwnerId: ptr(n.OwnerID),
		PrivateDnsName: private, PrivateIpAddress: ptr(n.PrivateIP), RequesterManaged: ptr(false), SourceDestCheck: ptr(!n.NoSourceDestCheck), Status: ptr("available"),
		SubnetId: ptr(n.SubnetID), VpcId: ptr(n.VPCID), TagSet: tagsOf(n.Tags), Attachment: interfaceAttachmentOf(n),
		PrivateIpAddresses: []ec2types.NetworkInterfacePrivateIpAddress{{
			Association: a.association(n, n.PublicIP, n.AllocationID, n.AssociationID), Primary: ptr(true), PrivateDnsName: private, PrivateIpAddress: ptr(n.PrivateIP),
		}},
	}
	if n.Attachment != nil {
		out.Status = ptr(interfaceStatus(n.Attachment))
	}
	for i, ip := range n.IPv6 {
		if i == 0 {
			out.Ipv6Address = ptr(ip)
		}
		out.Ipv6Addresses = append(out.Ipv6Addresses, ec2types.NetworkInterfaceIpv6Address{Ipv6Address: ptr(ip), IsPrimaryIpv6: ptr(false)})
	}
	for _, p := range n.Secondary {
		out.PrivateIpAddresses = append(out.PrivateIpAddresses, ec2types.NetworkInterfacePrivateIpAddress{
			Association: a.association(n, p.PublicIP, p.AllocationID, p.AssociationID), Primary: ptr(false),
			PrivateDnsName: ptr(a.privateName(p.IP)), PrivateIpAddress: ptr(p.IP),
		})
	}
	return out
}

func (a *Actions) association(n *model.NetworkInterface, public, allocation, id string) *ec2types.NetworkInterfaceAssociation {
	if public == "" {
		return nil
	}
	return &ec2types.NetworkInterfaceAssociation{
		AllocationId: str(allocation), AssociationId: str(id), IpOwnerId: ptr(ipOwner(n, allocation)), PublicIp: ptr(public), PublicDnsName: ptr(a.publicName(n, public)),
	}
}

func interfaceAttachmentOf(n *model.NetworkInterface) *ec2types.NetworkInterfaceAttachment {
	at := n.Attachment
	if at == nil {
		return nil
	}
	return &ec2types.NetworkInterfaceAttachment{
		AttachTime: ptr(at.Attached), AttachmentId: ptr(at.ID), DeleteOnTermination: ptr(at.DeleteOnTermination), DeviceIndex: ptr(int32(at.DeviceIndex)),
		InstanceId: ptr(at.InstanceID), InstanceOwnerId: ptr(n.OwnerID), NetworkCardIndex: ptr(int32(0)), Status: ptr(attachmentStatus(at)),
	}
}

func attachmentStatus(at *model.InterfaceAttachment) string {
	return string(cmp.Or(at.State, model.Attached))
}

// interfaceStatus is an attached interface's.
func interfaceStatus(at *model.InterfaceAttachment) string {
	if s := attachmentStatus(at); s != string(model.Attached) {
		return s
	}
	return "in-use"
}

// placed is one private address of an interface, with the public one that leads to it.
type placed struct {
	model.PrivateAddress
	primary bool
}

func placedOf(n *model.NetworkInterface) []placed {
	out := []placed{{model.PrivateAddress{IP: n.PrivateIP, PublicIP: n.PublicIP, AllocationID: n.AllocationID, AssociationID: n.AssociationID}, true}}
	for _, p := range n.Secondary {
		out = append(out, placed{p, false})
	}
	return out
}

func (a *Actions) interfaceFields() map[string]func(*model.NetworkInterface) []string {
	attached := func(get func(*model.InterfaceAttachment) string) func(*model.NetworkInterface) []string {
		return func(n *model.NetworkInterface) []string {
			if n.Attachment == nil {
				return nil
			}
			return []string{get(n.Attachment)}
		}
	}
	public := each(placedOf, func(p *placed) string { return p.PublicIP })
	return map[string]func(*model.NetworkInterface) []string{
		"addresses.association.owner-id": func(n *model.NetworkInterface) (out []string) {
			for _, p := range placedOf(n) {
				if p.PublicIP != "" {
					out = append(out, ipOwner(n, p.AllocationID))
				}
			}
			return out
		},
		"addresses.association.public-ip":  public,
		"addresses.primary":                each(placedOf, func(p *placed) string { return yesNo(p.primary) }),
		"addresses.private-ip-address":     each(placedOf, func(p *placed) string { return p.IP }),
		"association.allocation-id":        each(placedOf, func(p *placed) string { return p.AllocationID }),
		"association.association-id":       each(placedOf, func(p *placed) string { return p.AssociationID }),
		"association.public-ip":            public,
		"attachment.attachment-id":         attached(func(at *model.InterfaceAttachment) string { return at.ID }),
		"attachment.attach-time":           attached(func(at *model.InterfaceAttachment) string { return timeFilter(at.Attached)[0] }),
		"attachment.delete-on-termination": attached(func(at *model.InterfaceAttachment) string { return yesNo(at.DeleteOnTermination) }),
		"attachment.device-index":          attached(func(at *model.InterfaceAttachment) string { return strconv.Itoa(at.DeviceIndex) }),
		"attachment.instance-id":           attached(func(at *model.InterfaceAttachment) string { return at.InstanceID }),
		"attachment.instance-owner-id": func(n *model.NetworkInterface) []string {
			if n.Attachment == nil {
				return nil
			}
			return []string{n.OwnerID}
		},
		"attachment.status":           attached(attachmentStatus),
		"availability-zone":           one(func(*model.NetworkInterface) string { return a.cloud.Zone() }),
		"description":                 one(func(n *model.NetworkInterface) string { return n.Description }),
		"group-id":                    func(n *model.NetworkInterface) []string { return n.Groups },
		"group-name":                  func(n *model.NetworkInterface) []string { return n.Names.Groups },
		"interface-type":              one(func(*model.NetworkInterface) string { return "interface" }),
		"ipv6-addresses.ipv6-address": func(n *model.NetworkInterface) []string { return n.IPv6 },
		"mac-address":                 one(func(n *model.NetworkInterface) string { return n.MAC }),
		"network-interface-id":        one(func(n *model.NetworkInterface) string { return n.ID }),
		"owner-id":                    one(func(n *model.NetworkInterface) string { return n.OwnerID }),
		"private-dns-name":            one(func(n *model.NetworkInterface) string { return a.privateName(n.PrivateIP) }),
		"private-ip-address":          one(func(n *model.NetworkInterface) string { return n.PrivateIP }),
		"requester-managed":           one(func(*model.NetworkInterface) string { return "false" }),
		"source-dest-check":           one(func(n *model.NetworkInterface) string { return yesNo(!n.NoSourceDestCheck) }),
		"status":                      one(func(n *model.NetworkInterface) string { return *a.interfaceOf(n).Status }),
		"subnet-id":                   one(func(n *model.NetworkInterface) string { return n.SubnetID }),
		"vpc-id":                      one(func(n *model.NetworkInterface) string { return n.VPCID }),
	}
}

func (a *Actions) describeNetworkInterfaces(ctx context.Context, in *ec2types.DescribeNetworkInterfacesInput) (*ec2types.DescribeNetworkInterfacesOutput, error) {
	found, err := a.account(ctx).FindInterfaces(ctx, in.NetworkInterfaceIds)
	if err != nil {
		return nil, err
	}
	if len(in.Filters) > 0 { // some are about names
		if found, err = a.account(ctx).NamedInterfaces(ctx, found); err != nil {
			return nil, err
		}
	}
	page, next, err := describe(a, query[model.NetworkInterface]{
		action: "DescribeNetworkInterfaces", sorted: found, ids: in.NetworkInterfaceIds, kind: interfaceKind, filters: in.Filters, fields: a.interfaceFields(),
		tags: func(n *model.NetworkInterface) model.Tags { return n.Tags }, max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	named, err := a.account(ctx).NamedInterfaces(ctx, pointers(page))
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeNetworkInterfacesOutput{NextToken: next}
	for _, n := range named {
		out.NetworkInterfaces = append(out.NetworkInterfaces, a.interfaceOf(n))
	}
	return out, nil
}

func (a *Actions) oneInterface(ctx context.Context, id string) (*model.NetworkInterface, error) {
	found, err := a.account(ctx).FindInterfaces(ctx, []string{id})
	if err != nil {
		return nil, err
	}
	if err := interfaceKind.check([]string{id}, func(string) bool { return len(found) > 0 }); err != nil {
		return nil, err
	}
	if found, err = a.account(ctx).NamedInterfaces(ctx, found); err != nil {
		return nil, err
	}
	return found[0], nil
}

func (a *Actions) describeNetworkInterfaceAttribute(ctx context.Context, in *ec2types.DescribeNetworkInterfaceAttributeInput) (*ec2types.DescribeNetworkInterfaceAttributeOutput, error) {
	n, err := a.oneInterface(ctx, ec2types.Value(in.NetworkInterfaceId))
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeNetworkInterfaceAttributeOutput{NetworkInterfaceId: ptr(n.ID)}
	switch ec2types.Value(in.Attribute) {
	case "":
		return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter attribute")
	case "description":
		out.Description = &ec2types.AttributeValue{Value: ptr(n.Description)}
	case "groupSet":
		out.Groups = groupsOf(n)
	case "sourceDestCheck":
		out.SourceDestCheck = &ec2types.AttributeBooleanValue{Value: ptr(!n.NoSourceDestCheck)}
	case "attachment":
		out.Attachment = interfaceAttachmentOf(n)
	case "associatePublicIpAddress":
		out.AssociatePublicIpAddress = ptr(n.AutoPublic)
	}
	return out, nil
}

func (a *Actions) modifyNetworkInterfaceAttribute(ctx context.Context, in *ec2types.ModifyNetworkInterfaceAttributeInput) (*ec2types.ModifyNetworkInterfaceAttributeOutput, error) {
	ch := cloud.InterfaceChange{GroupIDs: in.Groups, AssociatePublic: in.AssociatePublicIpAddress}
	if in.Description != nil {
		ch.Description = in.Description.Value
	}
	if in.SourceDestCheck != nil {
		ch.SourceDestCheck = in.SourceDestCheck.Value
	}
	if at := in.Attachment; at != nil {
		ch.AttachmentID, ch.DeleteOnTermination = ec2types.Value(at.AttachmentId), at.DeleteOnTermination
	}
	return &ec2types.ModifyNetworkInterfaceAttributeOutput{}, a.account(ctx).ModifyNetworkInterface(ctx, ec2types.Value(in.NetworkInterfaceId), ch)
}

func (a *Actions) assignPrivateIpAddresses(ctx context.Context, in *ec2types.AssignPrivateIpAddressesInput) (*ec2types.AssignPrivateIpAddressesOutput, error) {
	more := int(ec2types.Value(in.SecondaryPrivateIpAddressCount))
	if more < 0 {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "Value (%d) for parameter secondaryPrivateIpAddressCount is invalid", more)
	}
	ips, err := a.account(ctx).AssignPrivateAddresses(ctx, ec2types.Value(in.NetworkInterfaceId), in.PrivateIpAddresses, more, ec2types.Value(in.AllowReassignment))
	if err != nil {
		return nil, err
	}
	out := &ec2types.AssignPrivateIpAddressesOutput{NetworkInterfaceId: in.NetworkInterfaceId}
	for _, ip := range ips {
		out.AssignedPrivateIpAddresses = append(out.AssignedPrivateIpAddresses, ec2types.AssignedPrivateIpAddress{PrivateIpAddress: ptr(ip)})
	}
	return out, nil
}
