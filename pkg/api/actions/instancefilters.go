package actions

import (
	"fmt"
	"path"
	"time"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

// instanceFilter gets the values that a filter of DescribeInstances compares.
type instanceFilter = func(*shownInstance) []string

// instanceFilters are the filters of DescribeInstances.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
func (a *Actions) instanceFilters() map[string]instanceFilter {
	filters := map[string]instanceFilter{
		"owner-id":             func(s *shownInstance) []string { return []string{s.record.OwnerID} },
		"reservation-id":       func(s *shownInstance) []string { return []string{s.record.ReservationID} },
		"availability-zone-id": func(*shownInstance) []string { return []string{a.zoneID()} },
	}
	for name, get := range shapeFilters() {
		filters[name] = func(s *shownInstance) []string { return get(s.shape()) }
	}
	for name, get := range interfaceFilters() {
		filters["network-interface."+name] = func(s *shownInstance) []string {
			return over(s.shape().NetworkInterfaces, get)
		}
	}
	for name, get := range map[string]func(*ec2types.InstanceNetworkInterfaceAttachment) []string{
		"attach-time":           func(n *ec2types.InstanceNetworkInterfaceAttachment) []string { return value(n.AttachTime) },
		"attachment-id":         func(n *ec2types.InstanceNetworkInterfaceAttachment) []string { return value(n.AttachmentId) },
		"delete-on-termination": func(n *ec2types.InstanceNetworkInterfaceAttachment) []string { return value(n.DeleteOnTermination) },
		"device-index":          func(n *ec2types.InstanceNetworkInterfaceAttachment) []string { return value(n.DeviceIndex) },
		"network-card-index":    func(n *ec2types.InstanceNetworkInterfaceAttachment) []string { return value(n.NetworkCardIndex) },
		"status":                func(n *ec2types.InstanceNetworkInterfaceAttachment) []string { return value(n.Status) },
	} {
		filters["network-interface.attachment."+name] = func(s *shownInstance) []string {
			return over(s.shape().NetworkInterfaces, func(n *ec2types.InstanceNetworkInterface) []string { return inside(n.Attachment, get) })
		}
	}
	return filters
}

// shapeFilters look at the instance's own members.
//
//nolint:funlen // a table
func shapeFilters() map[string]func(*ec2types.Instance) []string {
	type shape = ec2types.Instance
	return map[string]func(*shape) []string{
		"affinity":                         func(i *shape) []string { return value(i.Placement.Affinity) },
		"architecture":                     func(i *shape) []string { return value(i.Architecture) },
		"availability-zone":                func(i *shape) []string { return value(i.Placement.AvailabilityZone) },
		"block-device-mapping.attach-time": devices(func(d *ec2types.EbsInstanceBlockDevice) []string { return value(d.AttachTime) }),
		"block-device-mapping.delete-on-termination": devices(func(d *ec2types.EbsInstanceBlockDevice) []string { return value(d.DeleteOnTermination) }),
		"block-device-mapping.device-name": func(i *shape) []string {
			return over(i.BlockDeviceMappings, func(d *ec2types.InstanceBlockDeviceMapping) []string { return value(d.DeviceName) })
		},
		"block-device-mapping.status":    devices(func(d *ec2types.EbsInstanceBlockDevice) []string { return value(d.Status) }),
		"block-device-mapping.volume-id": devices(func(d *ec2types.EbsInstanceBlockDevice) []string { return value(d.VolumeId) }),
		"boot-mode":                      func(i *shape) []string { return value(i.BootMode) },
		"client-token":                   func(i *shape) []string { return value(i.ClientToken) },
		"current-instance-boot-mode":     func(i *shape) []string { return value(i.CurrentInstanceBootMode) },
		"dns-name":                       func(i *shape) []string { return value(i.PublicDnsName) },
		"ebs-optimized":                  func(i *shape) []string { return value(i.EbsOptimized) },
		"ena-support":                    func(i *shape) []string { return value(i.EnaSupport) },
		"enclave-options.enabled":        func(i *shape) []string { return value(i.EnclaveOptions.Enabled) },
		"hibernation-options.configured": func(i *shape) []string { return value(i.HibernationOptions.Configured) },
		"hypervisor":                     func(i *shape) []string { return value(i.Hypervisor) },
		"iam-instance-profile.arn": func(i *shape) []string {
			return inside(i.IamInstanceProfile, func(p *ec2types.IamInstanceProfile) []string { return value(p.Arn) })
		},
		"iam-instance-profile.id": func(i *shape) []string {
			return inside(i.IamInstanceProfile, func(p *ec2types.IamInstanceProfile) []string { return value(p.Id) })
		},
		"iam-instance-profile.name": func(i *shape) []string {
			return inside(i.IamInstanceProfile, func(p *ec2types.IamInstanceProfile) []string {
				return []string{path.Base(*p.Arn)}
			})
		},
		"image-id":                            func(i *shape) []string { return value(i.ImageId) },
		"instance-id":                         func(i *shape) []string { return value(i.InstanceId) },
		"instance-lifecycle":                  func(i *shape) []string { return value(i.InstanceLifecycle) },
		"instance-state-code":                 func(i *shape) []string { return value(i.State.Code) },
		"instance-state-name":                 func(i *shape) []string { return value(i.State.Name) },
		"instance-type":                       func(i *shape) []string { return value(i.InstanceType) },
		"instance.group-id":                   func(i *shape) []string { return over(i.SecurityGroups, groupID) },
		"instance.group-name":                 func(i *shape) []string { return over(i.SecurityGroups, groupName) },
		"ip-address":                          func(i *shape) []string { return value(i.PublicIpAddress) },
		"ipv6-address":                        func(i *shape) []string { return value(i.Ipv6Address) },
		"kernel-id":                           func(i *shape) []string { return value(i.KernelId) },
		"key-name":                            func(i *shape) []string { return value(i.KeyName) },
		"launch-index":                        func(i *shape) []string { return value(i.AmiLaunchIndex) },
		"launch-time":                         func(i *shape) []string { return value(i.LaunchTime) },
		"maintenance-options.auto-recovery":   func(i *shape) []string { return value(i.MaintenanceOptions.AutoRecovery) },
		"metadata-options.http-endpoint":      func(i *shape) []string { return value(i.MetadataOptions.HttpEndpoint) },
		"metadata-options.http-protocol-ipv6": func(i *shape) []string { return value(i.MetadataOptions.HttpProtocolIpv6) },
		"metadata-options.http-put-response-hop-limit": func(i *shape) []string { return value(i.MetadataOptions.HttpPutResponseHopLimit) },
		"metadata-options.http-tokens":                 func(i *shape) []string { return value(i.MetadataOptions.HttpTokens) },
		"metadata-options.instance-metadata-tags":      func(i *shape) []string { return value(i.MetadataOptions.InstanceMetadataTags) },
		"monitoring-state":                             func(i *shape) []string { return value(i.Monitoring.State) },
		"placement-group-name":                         func(i *shape) []string { return value(i.Placement.GroupName) },
		"placement-partition-number":                   func(i *shape) []string { return value(i.Placement.PartitionNumber) },
		"platform":                                     func(i *shape) []string { return value(i.Platform) },
		"platform-details":                             func(i *shape) []string { return value(i.PlatformDetails) },
		"private-dns-name":                             func(i *shape) []string { return value(i.PrivateDnsName) },
		"private-dns-name-options.enable-resource-name-dns-a-record":    func(i *shape) []string { return value(i.PrivateDnsNameOptions.EnableResourceNameDnsARecord) },
		"private-dns-name-options.enable-resource-name-dns-aaaa-record": func(i *shape) []string { return value(i.PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord) },
		"private-dns-name-options.hostname-type":                        func(i *shape) []string { return value(i.PrivateDnsNameOptions.HostnameType) },
		"private-ip-address":                                            func(i *shape) []string { return value(i.PrivateIpAddress) },
		"product-code": func(i *shape) []string {
			return over(i.ProductCodes, func(p *ec2types.ProductCode) []string { return value(p.ProductCodeId) })
		},
		"product-code.type": func(i *shape) []string {
			return over(i.ProductCodes, func(p *ec2types.ProductCode) []string { return value(p.ProductCodeType) })
		},
		"ramdisk-id":               func(i *shape) []string { return value(i.RamdiskId) },
		"reason":                   func(i *shape) []string { return value(i.StateTransitionReason) },
		"root-device-name":         func(i *shape) []string { return value(i.RootDeviceName) },
		"root-device-type":         func(i *shape) []string { return value(i.RootDeviceType) },
		"source-dest-check":        func(i *shape) []string { return value(i.SourceDestCheck) },
		"spot-instance-request-id": func(i *shape) []string { return value(i.SpotInstanceRequestId) },
		"state-reason-code": func(i *shape) []string {
			return inside(i.StateReason, func(r *ec2types.StateReason) []string { return value(r.Code) })
		},
		"state-reason-message": func(i *shape) []string {
			return inside(i.StateReason, func(r *ec2types.StateReason) []string { return value(r.Message) })
		},
		"subnet-id":                   func(i *shape) []string { return value(i.SubnetId) },
		"tenancy":                     func(i *shape) []string { return value(i.Placement.Tenancy) },
		"tpm-support":                 func(i *shape) []string { return value(i.TpmSupport) },
		"usage-operation":             func(i *shape) []string { return value(i.UsageOperation) },
		"usage-operation-update-time": func(i *shape) []string { return value(i.UsageOperationUpdateTime) },
		"virtualization-type":         func(i *shape) []string { return value(i.VirtualizationType) },
		"vpc-id":                      func(i *shape) []string { return value(i.VpcId) },
	}
}

// interfaceFilters look at each of the instance's network interfaces.
func interfaceFilters() map[string]func(*ec2types.InstanceNetworkInterface) []string {
	type nic = ec2types.InstanceNetworkInterface
	type address = ec2types.InstancePrivateIpAddress
	addresses := func(get func(*address) []string) func(*nic) []string {
		return func(n *nic) []string { return over(n.PrivateIpAddresses, get) }
	}
	ownerOf := func(as *ec2types.InstanceNetworkInterfaceAssociation) []string { return value(as.IpOwnerId) }
	publicIP := func(as *ec2types.InstanceNetworkInterfaceAssociation) []string { return value(as.PublicIp) }
	return map[string]func(*nic) []string{
		"addresses.association.ip-owner-id": addresses(func(p *address) []string { return inside(p.Association, ownerOf) }),
		"addresses.association.public-ip":   addresses(func(p *address) []string { return inside(p.Association, publicIP) }),
		"addresses.primary":                 addresses(func(p *address) []string { return value(p.Primary) }),
		"addresses.private-ip-address":      addresses(func(p *address) []string { return value(p.PrivateIpAddress) }),
		"association.ip-owner-id":           func(n *nic) []string { return inside(n.Association, ownerOf) },
		"association.public-ip":             func(n *nic) []string { return inside(n.Association, publicIP) },
		"description":                       func(n *nic) []string { return value(n.Description) },
		"group-id":                          func(n *nic) []string { return over(n.Groups, groupID) },
		"group-name":                        func(n *nic) []string { return over(n.Groups, groupName) },
		"mac-address":                       func(n *nic) []string { return value(n.MacAddress) },
		"network-interface-id":              func(n *nic) []string { return value(n.NetworkInterfaceId) },
		"owner-id":                          func(n *nic) []string { return value(n.OwnerId) },
		"private-dns-name":                  func(n *nic) []string { return value(n.PrivateDnsName) },
		"private-ip-address":                func(n *nic) []string { return value(n.PrivateIpAddress) },
		"source-dest-check":                 func(n *nic) []string { return value(n.SourceDestCheck) },
		"status":                            func(n *nic) []string { return value(n.Status) },
		"subnet-id":                         func(n *nic) []string { return value(n.SubnetId) },
		"vpc-id":                            func(n *nic) []string { return value(n.VpcId) },
	}
}

func groupID(g *ec2types.GroupIdentifier) []string   { return value(g.GroupId) }
func groupName(g *ec2types.GroupIdentifier) []string { return value(g.GroupName) }

// devices looks at each EBS volume of the mapping.
func devices(get func(*ec2types.EbsInstanceBlockDevice) []string) func(*ec2types.Instance) []string {
	return func(i *ec2types.Instance) []string {
		return over(i.BlockDeviceMappings, func(d *ec2types.InstanceBlockDeviceMapping) []string { return inside(d.Ebs, get) })
	}
}

// value is a member as filters compare it: nothing if it is absent.
func value[T any](p *T) []string {
	if p == nil {
		return nil
	}
	if t, ok := any(*p).(time.Time); ok {
		return timeFilter(t)
	}
	return []string{fmt.Sprint(*p)}
}

// inside gets values of a structure that may be absent.
func inside[T any](p *T, get func(*T) []string) []string {
	if p == nil {
		return nil
	}
	return get(p)
}

// over gets the values of all members of a list.
func over[T any](list []T, get func(*T) []string) (out []string) {
	for i := range list {
		out = append(out, get(&list[i])...)
	}
	return out
}
