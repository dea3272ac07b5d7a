package network

import (
	"context"
	"net/netip"
)

// Tracer is the capability of datapaths that tell what they would do with a
// packet, and why.
type Tracer interface {
	// Trace follows the first packet of a flow. ErrNoSuchPort if Probe.From is not
	// configured.
	Trace(ctx context.Context, p Probe) (Trace, error)
}

// Probe is the first packet of a flow that could be.
type Probe struct {
	From        string     `json:"from,omitempty"` // interface that sends it; "" is a client beyond the VPCs
	Source      netip.Addr `json:"source"`
	Destination netip.Addr `json:"destination"`
	Protocol    uint8      `json:"protocol"` // IP's number
	Port        uint16     `json:"port,omitempty"`
	Type        uint8      `json:"type,omitempty"` // of ICMP
	Code        uint8      `json:"code,omitempty"`
}

// Trace is the way of a packet: each place that judged it, in their order. The
// last one decided.
type Trace struct {
	Steps []TraceStep `json:"steps"`
}

// Passes says if the packet arrives.
func (t *Trace) Passes() bool { return len(t.Steps) > 0 && t.Steps[len(t.Steps)-1].Passes }

// Place is what judges packets.
type Place string

// The places on a packet's way.
const (
	PlaceSender  Place = "sender"      // who may send what the packet says
	PlaceEgress  Place = "egress"      // the sender's security groups
	PlaceACL     Place = "acl"         // a network ACL, at the edge of a subnet
	PlaceRoute   Place = "route"       // the routes of the sender's subnet
	PlaceService Place = "service"     // the VPC's gateway, name server or metadata service
	PlaceVPC     Place = "vpc"         // who has the address in the VPC
	PlaceHost    Place = "host"        // what is beyond the VPC
	PlacePublic  Place = "public"      // the public address
	PlaceIngress Place = "ingress"     // the receiver's security groups
	PlaceGuest   Place = "destination" // the receiver's machine
)

// TraceStep is the judgement of one place.
type TraceStep struct {
	Place  Place  `json:"place"`
	On     string `json:"on,omitempty"`   // interface, VPC or network ACL whose place it is
	Rule   string `json:"rule,omitempty"` // that decided: a security group rule's id, a route's CIDR, or an ACL entry's number
	Passes bool   `json:"passes"`
	Why    string `json:"why"`
}
