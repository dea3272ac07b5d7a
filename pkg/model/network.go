package model

import "time"

// VPC is a virtual network: one layer-3 domain with a range of private addresses.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Vpc.html
type VPC struct {
	ID            string    `json:"id"`
	OwnerID       string    `json:"ownerID"`
	CIDR          string    `json:"cidr"`
	CIDRAssocID   string    `json:"cidrAssocID"` // EC2's id of the range in the VPC
	More          []Range   `json:"more,omitempty"`
	CIDRv6        string    `json:"cidrV6,omitempty"`
	CIDRv6AssocID string    `json:"cidrV6AssocID,omitempty"`
	Default       bool      `json:"default,omitempty"`
	DHCPOptionsID string    `json:"dhcpOptionsID"` // "default" for none
	DNSSupport    bool      `json:"dnsSupport"`    // the VPC has a name server
	DNSHostnames  bool      `json:"dnsHostnames"`  // public addresses have DNS names
	UsageMetrics  bool      `json:"usageMetrics,omitempty"`
	Created       time.Time `json:"created"`
	Tags          Tags      `json:"tags,omitempty"`
}

// Range is a further range of a VPC's addresses of IPv4, with EC2's id of it there.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcCidrBlockAssociation.html
type Range struct {
	CIDR    string `json:"cidr"`
	AssocID string `json:"assocID"`
}

// Ranges are all of a VPC's ranges of IPv4, the first one first.
func (v *VPC) Ranges() []Range {
	return append([]Range{{v.CIDR, v.CIDRAssocID}}, v.More...)
}

// Subnet is a part of a VPC's ranges of addresses.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Subnet.html
type Subnet struct {
	ID            string    `json:"id"`
	OwnerID       string    `json:"ownerID"`
	VPCID         string    `json:"vpcID"`
	CIDR          string    `json:"cidr"`
	Default       bool      `json:"default,omitempty"`     // the zone's default subnet
	MapPublicIP   bool      `json:"mapPublicIP,omitempty"` // instances get a public address
	CIDRv6        string    `json:"cidrV6,omitempty"`      // a /64 of the VPC's
	CIDRv6AssocID string    `json:"cidrV6AssocID,omitempty"`
	AssignIPv6    bool      `json:"assignIPv6,omitempty"` // interfaces get an IPv6 address
	ACLID         string    `json:"aclID,omitempty"`      // its network ACL; "" is the VPC's default one
	ACLAssocID    string    `json:"aclAssocID"`           // EC2's id of its tie to its network ACL
	Created       time.Time `json:"created"`
	Tags          Tags      `json:"tags,omitempty"`
}

// SecurityGroup is a set of rules that say what may reach the interfaces in it
// and what they may reach. Traffic that no rule allows is dropped; replies to
// allowed traffic always pass.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SecurityGroup.html
type SecurityGroup struct {
	ID          string              `json:"id"`
	OwnerID     string              `json:"ownerID"`
	VPCID       string              `json:"vpcID"`
	Name        string              `json:"name"` // unique in the VPC, never changes
	Description string              `json:"description"`
	Rules       []SecurityGroupRule `json:"rules,omitempty"`
	Created     time.Time           `json:"created"`
	Tags        Tags                `json:"tags,omitempty"`
}

// SecurityGroupRule allows traffic with one peer: exactly one of CIDR, CIDRv6
// and GroupID is set.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SecurityGroupRule.html
type SecurityGroupRule struct {
	ID          string `json:"id"`
	Egress      bool   `json:"egress,omitempty"`
	Protocol    string `json:"protocol"` // "tcp", "udp", "icmp", "icmpv6", another protocol's number, "-1" for all
	FromPort    int    `json:"fromPort"` // the ICMP type for ICMP; -1 for all
	ToPort      int    `json:"toPort"`   // the ICMP code for ICMP; -1 for all
	CIDR        string `json:"cidr,omitempty"`
	CIDRv6      string `json:"cidrv6,omitempty"`
	GroupID     string `json:"groupID,omitempty"`
	Description string `json:"description,omitempty"`
	Tags        Tags   `json:"tags,omitempty"`
}

// Allows reports whether two rules allow the same traffic with the same peer.
func (r *SecurityGroupRule) Allows(o *SecurityGroupRule) bool {
	return r.Egress == o.Egress && r.Protocol == o.Protocol && r.FromPort == o.FromPort && r.ToPort == o.ToPort &&
		r.CIDR == o.CIDR && r.CIDRv6 == o.CIDRv6 && r.GroupID == o.GroupID
}

// InternetGateway joins a VPC to what is outside of it.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InternetGateway.html
type InternetGateway struct {
	ID      string `json:"id"`
	OwnerID string `json:"ownerID"`
	VPCID   string `json:"vpcID,omitempty"` // none while it is detached
	Tags    Tags   `json:"tags,omitempty"`
}

// RouteTable says where the packets of its subnets go. The route to the VPC
// itself is in every table and not listed in Routes.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RouteTable.html
type RouteTable struct {
	ID           string             `json:"id"`
	OwnerID      string             `json:"ownerID"`
	VPCID        string             `json:"vpcID"`
	Routes       []Route            `json:"routes,omitempty"`
	Associations []RouteAssociation `json:"associations,omitempty"`
	Created      time.Time          `json:"created"`
	Tags         Tags               `json:"tags,omitempty"`
}

// Main reports whether the table is for subnets that have none of their own.
func (t *RouteTable) Main() bool {
	for _, a := range t.Associations {
		if a.SubnetID == "" {
			return true
		}
	}
	return false
}

// Route leads from a route table to an internet gateway or, for IPv6, an
// egress-only one; or to a network interface of the VPC. It is a black hole while the
// gateway is not attached to the table's VPC, or the interface to a running instance.
type Route struct {
	CIDR        string `json:"cidr"` // of IPv4 or IPv6
	GatewayID   string `json:"gatewayID,omitempty"`
	InterfaceID string `json:"interfaceID,omitempty"`
	Via         string `json:"via,omitempty"` // the interface's primary private address; "" once it is deleted
}

// EgressOnlyGateway lets the IPv6 of a VPC out, and only answers in.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EgressOnlyInternetGateway.html
type EgressOnlyGateway struct {
	ID      string `json:"id"`
	OwnerID string `json:"ownerID"`
	VPCID   string `json:"vpcID"`
	Tags    Tags   `json:"tags,omitempty"`
}

// Owner is the account that the egress-only internet gateway belongs to.
func (g *EgressOnlyGateway) Owner() string { return g.OwnerID }

// RouteAssociation ties a subnet to a route table; without a subnet the table is
// the VPC's main one.
type RouteAssociation struct {
	ID       string `json:"id"`
	SubnetID string `json:"subnetID,omitempty"`
}

// NetworkACL judges the packets that enter and leave its subnets. Every VPC has a
// default one, whose subnets are those that have no other.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkAcl.html
type NetworkACL struct {
	ID      string `json:"id"`
	OwnerID string `json:"ownerID"`
	VPCID   string `json:"vpcID"`
	// Custom is not the VPC's default one.
	Custom bool `json:"custom,omitempty"`
	// Edited is a default one whose entries are Entries, and not those that it began
	// with: they let everything pass, IPv6 as soon as the VPC has it.
	Edited  bool       `json:"edited,omitempty"`
	Entries []ACLEntry `json:"entries,omitempty"` // by direction and number
	Tags    Tags       `json:"tags,omitempty"`
}

// ACLEntry allows or denies packets in one direction. The first one that fits, by
// rising numbers, decides.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkAclEntry.html
type ACLEntry struct {
	Number   int    `json:"number"` // 1 to 32766, one of each direction
	Egress   bool   `json:"egress,omitempty"`
	Allow    bool   `json:"allow,omitempty"`
	Protocol string `json:"protocol"` // IP's number, or "-1" for all
	CIDR     string `json:"cidr"`     // of IPv4 or IPv6
	FromPort int    `json:"fromPort"` // that packets of TCP and UDP are for
	ToPort   int    `json:"toPort"`
	ICMPType int    `json:"icmpType"` // of ICMP and ICMPv6; -1 is any
	ICMPCode int    `json:"icmpCode"`
}

// The numbers of the entries that let everything pass in a new default network ACL.
const (
	ACLAllowNumber   = 100
	ACLAllowV6Number = 101
)

// All are the entries of a network ACL in effect, of a VPC with IPv6 or without it.
func (a *NetworkACL) All(ipv6 bool) []ACLEntry {
	if a.Custom || a.Edited {
		return a.Entries
	}
	var out []ACLEntry
	for _, egress := range []bool{false, true} {
		out = append(out, ACLEntry{Number: ACLAllowNumber, Egress: egress, Allow: true, Protocol: "-1", CIDR: "0.0.0.0/0"})
		if ipv6 {
			out = append(out, ACLEntry{Number: ACLAllowV6Number, Egress: egress, Allow: true, Protocol: "-1", CIDR: "::/0"})
		}
	}
	return out
}

// DHCPOptions is what a VPC's DHCP server tells guests.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DhcpOptions.html
type DHCPOptions struct {
	ID      string       `json:"id"`
	OwnerID string       `json:"ownerID"`
	Options []DHCPOption `json:"options"`
	Tags    Tags         `json:"tags,omitempty"`
}

// DHCPOption is one option by EC2's name, like "domain-name-servers".
type DHCPOption struct {
	Key    string   `json:"key"`
	Values []string `json:"values"`
}

// Values returns the values of an option, nil if it is not set.
func (d *DHCPOptions) Values(key string) []string {
	for _, o := range d.Options {
		if o.Key == key {
			return o.Values
		}
	}
	return nil
}

// ElasticAddress is a public address that belongs to an account and can move
// between its interfaces.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Address.html
type ElasticAddress struct {
	ID            string    `json:"id"` // the allocation's
	OwnerID       string    `json:"ownerID"`
	PublicIP      string    `json:"publicIP"`
	AssociationID string    `json:"associationID,omitempty"`
	InterfaceID   string    `json:"interfaceID,omitempty"`
	PrivateIP     string    `json:"privateIP,omitempty"`
	DomainName    string    `json:"domainName,omitempty"` // that reverse lookups give, with the dot at its end
	Created       time.Time `json:"created"`
	Tags          Tags      `json:"tags,omitempty"`
}

// InterfaceAttachment ties a network interface to an instance.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterfaceAttachment.html
type InterfaceAttachment struct {
	ID                  string    `json:"id"`
	InstanceID          string    `json:"instanceID"`
	DeviceIndex         int       `json:"deviceIndex"`
	DeleteOnTermination bool      `json:"deleteOnTermination"`
	Attached            time.Time `json:"attached"`
	// State is Attached if it is empty, and never Busy.
	State AttachmentState `json:"state,omitempty"`
	// Force takes the interface away though its guest holds it.
	Force bool `json:"force,omitempty"`
}

// PrivateAddress is a secondary private address of an interface, and the elastic
// address that leads to it, if any.
type PrivateAddress struct {
	IP            string `json:"ip"`
	PublicIP      string `json:"publicIP,omitempty"`
	AllocationID  string `json:"allocationID,omitempty"`
	AssociationID string `json:"associationID,omitempty"`
}

// SigningKey signs instance identity documents.
type SigningKey struct {
	Key         []byte `json:"key"`         // private, PKCS #8
	Certificate []byte `json:"certificate"` // X.509, DER
}

// InterfaceNames are names that an interface's ids stand for. They are not kept
// with it: pkg/cloud fills them in when it hands an interface out.
type InterfaceNames struct {
	Groups []string // names of the security groups, in the order of their ids
	Public bool     // the VPC gives public DNS names
}

// Owner is the account that the VPC belongs to.
func (v *VPC) Owner() string { return v.OwnerID }

// Owner is the account that the subnet belongs to.
func (s *Subnet) Owner() string { return s.OwnerID }

// Owner is the account that the security group belongs to.
func (g *SecurityGroup) Owner() string { return g.OwnerID }

// Owner is the account that the internet gateway belongs to.
func (g *InternetGateway) Owner() string { return g.OwnerID }

// Owner is the account that the route table belongs to.
func (t *RouteTable) Owner() string { return t.OwnerID }

// Owner is the account that the network ACL belongs to.
func (a *NetworkACL) Owner() string { return a.OwnerID }

// Owner is the account that the DHCP options belong to.
func (d *DHCPOptions) Owner() string { return d.OwnerID }

// Owner is the account that the interface belongs to.
func (n *NetworkInterface) Owner() string { return n.OwnerID }

// Owner is the account that the address belongs to.
func (a *ElasticAddress) Owner() string { return a.OwnerID }
