// Package network owns the contract between the node and a datapath that makes
// VPCs, interfaces and addresses real. Datapaths are in user/ (a userspace
// switch, no root) and later kernel/, and pass the one conformance suite in
// nettest/. It may import pkg/model and pkg/metadata only.
package network

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/metadata"
	"github.com/bundt/bundt/pkg/model"
)

// Errors that every datapath returns for these conditions.
var (
	// ErrNoSuchPort: no interface of that id is configured.
	ErrNoSuchPort = errors.New("no such network interface")
	// ErrUnreachable: the guest does not answer on that address and port.
	ErrUnreachable = errors.New("guest does not answer")
)

// ConfigError is what is wrong with a Config; nothing has been changed.
type ConfigError struct{ Problem string }

func (e *ConfigError) Error() string { return "network configuration: " + e.Problem }

// Datapath makes a Config real. It is declarative: the node gives the whole
// wanted configuration, the datapath finds the difference. It goes on working
// while the daemon is down.
type Datapath interface {
	// Apply makes exactly cfg real. Idempotent; established flows of ports that
	// stay are not disturbed.
	Apply(ctx context.Context, cfg Config) error
	// Status reports those of these interfaces that are configured; all, if none
	// is named.
	Status(ctx context.Context, interfaceIDs ...string) (Status, error)
	// Dial opens a TCP connection from the VPC's gateway to a port's guest.
	Dial(ctx context.Context, interfaceID string, port uint16) (net.Conn, error)
	// Stop ends the datapath with everything it holds on the host (used when the
	// node is removed; an ordinary end of the daemon leaves it running).
	Stop(ctx context.Context) error
}

// Attacher is the capability of datapaths that guests are attached to by an open
// file and not by a socket of QEMU's: of a tap device, for -netdev tap,fd=. The
// port must have been configured, without a Socket.
type Attacher interface {
	Attach(ctx context.Context, interfaceID string) (*os.File, error)
}

// Config is everything the datapath of this node has to be.
type Config struct {
	Region string `json:"region"`
	VPCs   []VPC  `json:"vpcs"`
	Ports  []Port `json:"ports"`
	// Groups are the addresses of the members of the security groups that rules
	// name, those on other nodes included.
	Groups map[string][]netip.Addr `json:"groups,omitempty"`
	// Signing is the key of instance identity documents; without it they are
	// not signed.
	Signing *model.SigningKey `json:"signing,omitempty"`
}

// VPC is one layer-3 domain; CIDRs of different VPCs may overlap.
type VPC struct {
	ID   string       `json:"id"`
	CIDR netip.Prefix `json:"cidr"`
	// More are further ranges of IPv4, which may come and go while guests run.
	More       []netip.Prefix `json:"more,omitempty"`
	CIDRv6     netip.Prefix   `json:"cidrV6,omitzero"` // zero for none; it may come and go while guests run
	Subnets    []Subnet       `json:"subnets"`
	MTU        int            `json:"mtu"`
	DomainName string         `json:"domainName"` // of private names, "ec2.internal" or "<region>.compute.internal"
	// NoDNS leaves the VPC without a name server.
	NoDNS bool `json:"noDNS,omitempty"`
	// DHCP is what guests are told beside their address; nil is DomainName and
	// the VPC's name server.
	DHCP *DHCP `json:"dhcp,omitempty"`
	// Reverse are names that the name server gives for public addresses, of
	// whatever VPC, with the dot at their end.
	Reverse map[netip.Addr]string `json:"reverse,omitempty"`
}

// Ranges are the VPC's ranges of IPv4, the first one first.
func (v *VPC) Ranges() []netip.Prefix { return append([]netip.Prefix{v.CIDR}, v.More...) }

// Contains says if an address is of one of the VPC's ranges.
func (v *VPC) Contains(a netip.Addr) bool {
	return v.CIDR.Contains(a) || v.CIDRv6.Contains(a) || slices.ContainsFunc(v.More, func(p netip.Prefix) bool { return p.Contains(a) })
}

// DHCP is what the VPC's DHCP server tells guests.
type DHCP struct {
	Domain      string       `json:"domain,omitempty"`
	OwnDNS      bool         `json:"ownDNS,omitempty"` // the VPC's name server, before the others
	NameServers []netip.Addr `json:"nameServers,omitempty"`
	NTPServers  []netip.Addr `json:"ntpServers,omitempty"`
}

// Subnet is part of a VPC. As on EC2, its base address + 1 is the gateway, + 2 the DNS server.
type Subnet struct {
	ID     string       `json:"id"`
	CIDR   netip.Prefix `json:"cidr"`
	CIDRv6 netip.Prefix `json:"cidrV6,omitzero"` // a /64, zero for none
	// ACL is what may cross the subnet's edge; nil is everything.
	ACL *ACL `json:"acl,omitempty"`
}

// ACL is a network ACL: it judges every packet that enters or leaves its subnets,
// answers too. What stays within a subnet, and what is between a guest and the
// services of its VPC, does not meet it.
type ACL struct {
	ID      string     `json:"id"`
	Ingress []ACLEntry `json:"ingress,omitempty"`
	Egress  []ACLEntry `json:"egress,omitempty"`
}

// ACLEntry allows or denies packets; the first that fits, by rising numbers,
// decides. What none fits is denied. It has one peer prefix, no group, and ports
// are those that packets are for.
type ACLEntry struct {
	Number int  `json:"number"`
	Allow  bool `json:"allow"`
	Rule
}

// Port is an instance's interface.
type Port struct {
	ID         string            `json:"id"` // interface id
	InstanceID string            `json:"instanceID"`
	VPCID      string            `json:"vpcID"`
	SubnetID   string            `json:"subnetID"`
	MAC        string            `json:"mac"`
	PrivateIP  netip.Addr        `json:"privateIP"`
	PublicIP   netip.Addr        `json:"publicIP,omitzero"` // address of the host to listen on, one of its loopback if others shall not get there; zero for none
	Names      []string          `json:"names"`             // DNS names without the domain: host name, Name tag
	NamesV6    []string          `json:"namesV6,omitempty"` // those of its IPv6 address alone
	Socket     string            `json:"socket"`            // unix stream socket on which QEMU listens; "" for an Attacher
	Ingress    []Rule            `json:"ingress"`           // what may reach the guest; nothing else may
	Egress     []Rule            `json:"egress"`            // what the guest may reach
	Metadata   metadata.Document `json:"metadata"`
	// Secondary are further private addresses, which the guest sets up itself.
	Secondary []netip.Addr `json:"secondary,omitempty"`
	// IPv6 are addresses of the subnet's CIDRv6, which the guest gets by DHCPv6.
	IPv6 []netip.Addr `json:"ipv6,omitempty"`
	// Forwards are public addresses that lead to secondary private ones.
	Forwards []Forward `json:"forwards,omitempty"`
	// AnySource lets the guest send packets of other senders into its VPC, as one
	// that forwards them does. The datapath's services and what is beyond the VPC
	// are still reached from the port's own addresses only.
	AnySource bool `json:"anySource,omitempty"`
	// Routes say what the guest reaches beyond its VPC, by IPv4 and IPv6: nothing,
	// if there are none. The longest prefix decides.
	Routes []Route `json:"routes,omitempty"`
}

// Forward is a public address of a port's secondary private address.
type Forward struct {
	PublicIP  netip.Addr `json:"publicIP"`
	PrivateIP netip.Addr `json:"privateIP"`
}

// Route leads out of the VPC, to a guest that forwards, or into a black hole.
type Route struct {
	CIDR      netip.Prefix `json:"cidr"`
	Blackhole bool         `json:"blackhole,omitempty"`
	// Via is the primary private address of the port that gets the packets: one with
	// AnySource, else they are dropped, as they are if no port has the address.
	Via netip.Addr `json:"via,omitzero"`
}

// Rule allows traffic with peers in one of the prefixes or in the group.
type Rule struct {
	ID       string         `json:"id,omitempty"` // the security group rule's, for traces
	Protocol string         `json:"protocol"`     // "tcp", "udp", "icmp", "icmpv6", another protocol's number, or "-1" for all
	FromPort uint16         `json:"fromPort"`
	ToPort   uint16         `json:"toPort"`
	Peers    []netip.Prefix `json:"peers,omitempty"`
	// Group is a key of Config.Groups; "" is none. A group is named and not
	// resolved in each rule, or a group of n members that talk to each other would
	// need n*n addresses.
	Group string `json:"group,omitempty"`
	// ICMPType and ICMPCode limit a rule for "icmp" or "icmpv6"; nil is any.
	ICMPType *uint8 `json:"icmpType,omitempty"`
	ICMPCode *uint8 `json:"icmpCode,omitempty"`
}

// Status is what the datapath knows of its ports.
type Status struct {
	Ports map[string]PortStatus `json:"ports"` // by interface id
}

// Select makes the Status of those interfaces of ports that are named, of all
// if none is.
func Select[P any](ports map[string]P, ids []string, status func(P) PortStatus) Status {
	if len(ids) == 0 {
		ids = slices.Collect(maps.Keys(ports))
	}
	s := Status{Ports: make(map[string]PortStatus, len(ids))}
	for _, id := range ids {
		if p, ok := ports[id]; ok {
			s.Ports[id] = status(p)
		}
	}
	return s
}

// PortStatus is one port's state.
type PortStatus struct {
	Connected bool      `json:"connected"`         // the switch holds QEMU's socket
	LeasedAt  time.Time `json:"leasedAt,omitzero"` // the guest took its address by DHCP
	LastSeen  time.Time `json:"lastSeen,omitzero"` // last frame from the guest
	Dropped   uint64    `json:"dropped"`           // frames the guest did not take in time
	Spoofed   uint64    `json:"spoofed"`           // frames refused for a forged source
	Sent      Traffic   `json:"sent"`              // by the guest, since the port was made
	Received  Traffic   `json:"received"`          // by the guest
	// Refused are packets that security groups' rules and network ACLs did not let
	// pass; nil if the datapath does not count them.
	Refused      *Refused          `json:"refused,omitempty"`
	Listening    []netip.AddrPort  `json:"listening"` // public address and TCP ports open on the host
	ListeningUDP []netip.AddrPort  `json:"listeningUDP,omitempty"`
	Problems     map[string]string `json:"problems,omitempty"` // address:port -> why it could not be opened
}

// Traffic is how much has passed a port in one direction. Bytes are those of
// Ethernet frames.
type Traffic struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Refused are packets that rules did not let pass.
type Refused struct {
	Egress  uint64 `json:"egress"`
	Ingress uint64 `json:"ingress"` // of other guests of the VPC, and by network ACLs
}
