package conformance

import "regexp"

func id(prefix string) *regexp.Regexp { return regexp.MustCompile(`^` + prefix + `-[0-9a-f]{17}$`) }

var account = regexp.MustCompile(`^(\d{12}|amazon|aws-marketplace|amazon-elb)$`)

// forms are those of values that the model calls strings, by their member's name.
var forms = map[string]*regexp.Regexp{
	"AllocationId":        id("eipalloc"),
	"AssociationId":       id("(eip|rtb|acl|vpc-cidr-|iip-)assoc"),
	"AttachmentId":        id("eni-attach"),
	"DhcpOptionsId":       regexp.MustCompile(`^(dopt-[0-9a-f]{17}|default)$`),
	"GroupId":             id("sg"),
	"GroupOwnerId":        account,
	"ImageId":             regexp.MustCompile(`^(ami-[0-9a-f]{17}|resolve:ssm:.+)$`), // templates have aliases
	"InstanceId":          id("i"),
	"InternetGatewayId":   id("igw"),
	"KeyPairId":           id("key"),
	"LaunchTemplateId":    id("lt"),
	"MacAddress":          regexp.MustCompile(`^([0-9a-f]{2}:){5}[0-9a-f]{2}$`),
	"NetworkAclId":        id("acl"),
	"NetworkInterfaceId":  id("eni"),
	"OwnerId":             account,
	"ReservationId":       id("r"),
	"RouteTableId":        id("rtb"),
	"SecurityGroupRuleId": id("sgr"),
	"SnapshotId":          id("snap"),
	"SourceInstanceId":    id("i"),
	"SubnetId":            id("subnet"),
	"VolumeId":            regexp.MustCompile(`^(vol-[0-9a-f]{17}|vol-ffffffff)$`), // the latter of a snapshot of no volume
	"VpcId":               id("vpc"),
}

// beyond are values that EC2 gives and its model does not know, by their enum.
var beyond = map[string][]string{
	"AttachmentStatus": {"available"}, // of an internet gateway to its VPC
}

// always are members that EC2 always shows, and that clients read without asking,
// by their structure. The model itself requires hardly any.
var always = map[string][]string{
	"Address":                  {"AllocationId", "Domain", "PublicIp"},
	"AvailabilityZone":         {"RegionName", "State", "ZoneId", "ZoneName", "ZoneType"},
	"DhcpOptions":              {"DhcpConfigurations", "DhcpOptionsId", "OwnerId"},
	"EbsInstanceBlockDevice":   {"AttachTime", "DeleteOnTermination", "Status", "VolumeId"},
	"Image":                    {"Architecture", "BlockDeviceMappings", "CreationDate", "Hypervisor", "ImageId", "ImageType", "Name", "OwnerId", "Public", "RootDeviceName", "RootDeviceType", "State", "VirtualizationType"},
	"Instance":                 {"AmiLaunchIndex", "Architecture", "BlockDeviceMappings", "EbsOptimized", "Hypervisor", "ImageId", "InstanceId", "InstanceType", "LaunchTime", "Monitoring", "NetworkInterfaces", "Placement", "RootDeviceName", "RootDeviceType", "SecurityGroups", "State", "VirtualizationType"},
	"InstanceNetworkInterface": {"Attachment", "Groups", "MacAddress", "NetworkInterfaceId", "OwnerId", "PrivateIpAddress", "PrivateIpAddresses", "SourceDestCheck", "Status", "SubnetId", "VpcId"},
	"InstanceState":            {"Code", "Name"},
	"InstanceStateChange":      {"CurrentState", "InstanceId", "PreviousState"},
	"InstanceTypeInfo":         {"CurrentGeneration", "Hypervisor", "InstanceType", "MemoryInfo", "ProcessorInfo", "SupportedRootDeviceTypes", "VCpuInfo"},
	"InternetGateway":          {"Attachments", "InternetGatewayId", "OwnerId"},
	"KeyPairInfo":              {"KeyFingerprint", "KeyName", "KeyPairId", "KeyType"},
	"NetworkAcl":               {"Associations", "Entries", "IsDefault", "NetworkAclId", "OwnerId", "VpcId"},
	"NetworkInterface":         {"AvailabilityZone", "Groups", "InterfaceType", "MacAddress", "NetworkInterfaceId", "OwnerId", "PrivateIpAddress", "PrivateIpAddresses", "SourceDestCheck", "Status", "SubnetId", "VpcId"},
	"Placement":                {"AvailabilityZone", "Tenancy"},
	"Region":                   {"Endpoint", "OptInStatus", "RegionName"},
	"Reservation":              {"Instances", "OwnerId", "ReservationId"},
	"RouteTable":               {"Associations", "OwnerId", "RouteTableId", "Routes", "VpcId"},
	"SecurityGroup":            {"Description", "GroupId", "GroupName", "IpPermissions", "IpPermissionsEgress", "OwnerId", "VpcId"},
	"SecurityGroupRule":        {"GroupId", "GroupOwnerId", "IpProtocol", "IsEgress", "SecurityGroupRuleId"},
	"Snapshot":                 {"Encrypted", "OwnerId", "Progress", "SnapshotId", "StartTime", "State", "VolumeId", "VolumeSize"},
	"Subnet":                   {"AvailabilityZone", "AvailableIpAddressCount", "CidrBlock", "DefaultForAz", "MapPublicIpOnLaunch", "OwnerId", "State", "SubnetArn", "SubnetId", "VpcId"},
	"Volume":                   {"Attachments", "AvailabilityZone", "CreateTime", "Encrypted", "MultiAttachEnabled", "Size", "State", "VolumeId", "VolumeType"},
	"VolumeAttachment":         {"AttachTime", "Device", "InstanceId", "State", "VolumeId"},
	"Vpc":                      {"CidrBlock", "DhcpOptionsId", "InstanceTenancy", "IsDefault", "OwnerId", "State", "VpcId"},
}
