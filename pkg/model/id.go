package model

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
)

// IDPrefix names what kind of object an id belongs to, as EC2's ids do.
type IDPrefix string

// The prefixes of ids. Those that EC2 has are EC2's; Layer, Build, Pipeline, PipelineRun, RegistryTask, Publisher, LAN and Set are bundt's own.
const (
	ImagePrefix           IDPrefix = "ami"
	InstancePrefix        IDPrefix = "i"
	VolumePrefix          IDPrefix = "vol"
	SnapshotPrefix        IDPrefix = "snap"
	KeyPairPrefix         IDPrefix = "key"
	ReservationPrefix     IDPrefix = "r"
	InterfacePrefix       IDPrefix = "eni"
	LayerPrefix           IDPrefix = "layer"
	DataKeyPrefix         IDPrefix = "datakey"
	BuildPrefix           IDPrefix = "build"
	ImportPrefix          IDPrefix = "import-ami"
	ExportPrefix          IDPrefix = "export-ami"
	RegistryTaskPrefix    IDPrefix = "registry-task"
	PipelinePrefix        IDPrefix = "pipeline"
	PipelineRunPrefix     IDPrefix = "pipeline-run"
	PublisherPrefix       IDPrefix = "publisher"
	LANPrefix             IDPrefix = "lan"
	SetPrefix             IDPrefix = "set"
	VPCPrefix             IDPrefix = "vpc"
	SubnetPrefix          IDPrefix = "subnet"
	GroupPrefix           IDPrefix = "sg"
	RulePrefix            IDPrefix = "sgr"
	GatewayPrefix         IDPrefix = "igw"
	RouteTablePrefix      IDPrefix = "rtb"
	RouteAssocPrefix      IDPrefix = "rtbassoc"
	ACLPrefix             IDPrefix = "acl"
	ACLAssocPrefix        IDPrefix = "aclassoc"
	DHCPOptionsPrefix     IDPrefix = "dopt"
	CIDRAssocPrefix       IDPrefix = "vpc-cidr-assoc"
	SubnetCIDRAssocPrefix IDPrefix = "subnet-cidr-assoc"
	EgressGatewayPrefix   IDPrefix = "eigw"
	AttachmentPrefix      IDPrefix = "eni-attach"
	AllocationPrefix      IDPrefix = "eipalloc"
	AddrAssocPrefix       IDPrefix = "eipassoc"
	ProfAssocPrefix       IDPrefix = "iip-assoc" // of an instance profile with an instance

	LaunchTemplatePrefix IDPrefix = "lt"
)

// ResourceType is EC2's name of the kind of object, as in tag specifications.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TagSpecification.html
func (p IDPrefix) ResourceType() string { return resourceTypes[p] }

var resourceTypes = map[IDPrefix]string{
	ImagePrefix: "image", InstancePrefix: "instance", VolumePrefix: "volume", SnapshotPrefix: "snapshot", KeyPairPrefix: "key-pair",
	InterfacePrefix: "network-interface", VPCPrefix: "vpc", SubnetPrefix: "subnet", GroupPrefix: "security-group", LaunchTemplatePrefix: "launch-template",
	"acl": "network-acl", "dopt": "dhcp-options", "eipalloc": "elastic-ip", "igw": "internet-gateway", "eigw": "egress-only-internet-gateway", "rtb": "route-table", "sgr": "security-group-rule",
	"import-ami": "import-image-task", "export-ami": "export-image-task",
}

var idPattern = regexp.MustCompile(`^[a-z]+(-[a-z]+)*-[0-9a-f]{17}$`)

// NewID returns a fresh id: the prefix and 17 hexadecimal digits (68 random
// bits), EC2's long format.
func NewID(p IDPrefix) string {
	var b [9]byte
	// crypto/rand.Read never fails: it ends the program if the system has no randomness.
	_, _ = rand.Read(b[:])
	return string(p) + "-" + hex.EncodeToString(b[:])[:17]
}

// CheckID returns InvalidID.Malformed-style information: nil if id is a
// well-formed id of kind p.
func CheckID(p IDPrefix, id string) error {
	if !idPattern.MatchString(id) || id[:len(id)-18] != string(p) {
		return fmt.Errorf("%q is not an id of the form %s-<17 hexadecimal digits>", id, p)
	}
	return nil
}
