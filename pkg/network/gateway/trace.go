package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/bundt/bundt/pkg/network"
)

// Way is where a packet that a guest sends goes.
type Way int

// The ways of packets.
const (
	Forged    Way = iota // nowhere: the sender is not the guest
	ToService            // to the gateway, the name server or the metadata service
	ToVPC                // to another guest of the VPC, if one has the address
	Unrouted             // nowhere: no route leads out of the VPC to it
	ToRouter             // to a guest of the VPC that a route leads to
	Outside              // out of the VPC
)

// Scene is a datapath as a trace sees it. It answers with what its packets meet.
type Scene interface {
	// Port is the interface of that id, nil if there is none.
	Port(id string) *Port
	// PortAt is the one that has the address in a VPC, nil if none has.
	PortAt(vpcID string, a netip.Addr) *Port
	// PortOf is the one that a public address leads to, nil if none has it.
	PortOf(public netip.Addr) *Port
	// Connected says if a machine is on the other side of the port.
	Connected(id string) bool
	// Way says where a packet of a guest goes.
	Way(p *Port, src, dst netip.Addr) Way
	// Refuses says why a packet does not go on from the host to dst, "" if it does.
	Refuses(protocol uint8, dst netip.Addr) string
	// Published is what of a port is open on the host by a protocol, and why
	// something is not.
	Published(id string, proto uint8) (open []netip.AddrPort, problems map[string]string)
}

// Trace follows a packet through a scene.
func Trace(s Scene, probe network.Probe) (network.Trace, error) {
	t := &tracer{scene: s, Probe: probe}
	if probe.From == "" {
		t.fromOutside()
		return t.trace, nil
	}
	p := s.Port(probe.From)
	if p == nil {
		return network.Trace{}, fmt.Errorf("%w: %s", network.ErrNoSuchPort, probe.From)
	}
	t.fromGuest(p)
	return t.trace, nil
}

type tracer struct {
	scene Scene
	network.Probe
	trace network.Trace
}

// step notes the judgement of a place, and returns it.
func (t *tracer) step(s network.TraceStep) bool {
	t.trace.Steps = append(t.trace.Steps, s)
	return s.Passes
}

func (t *tracer) fromGuest(p *Port) {
	if !t.attached(p, network.PlaceSender) {
		return
	}
	way := t.scene.Way(p, t.Source, t.Destination)
	if way == Forged {
		t.step(network.TraceStep{Place: network.PlaceSender, On: p.ID, Why: fmt.Sprintf("%s is no address of the interface, whose source check drops what other senders send", t.Source)})
		return
	}
	t.step(network.TraceStep{Place: network.PlaceSender, On: p.ID, Passes: true, Why: fmt.Sprintf("the guest may send from %s", t.Source)})
	switch way {
	case ToService:
		t.toService(p)
	case ToVPC:
		t.toVPC(p)
	case Unrouted:
		t.route(p)
	case ToRouter:
		if t.route(p) && t.rules(network.PlaceEgress, p, p.Out, t.Destination) {
			t.toRouter(p)
		}
	case Outside:
		if t.route(p) && t.rules(network.PlaceEgress, p, p.Out, t.Destination) && t.acl(p, leaving, t.Destination) && t.answers(p, entering, t.Destination) {
			why := t.scene.Refuses(t.Protocol, t.Destination)
			passes := why == ""
			if passes {
				why = fmt.Sprintf("it goes on to %s as the host's own", t.Destination)
			}
			t.step(network.TraceStep{Place: network.PlaceHost, Passes: passes, Why: why})
		}
	}
}

// attached says if the port's machine is there to send, or to receive.
func (t *tracer) attached(p *Port, place network.Place) bool {
	if t.scene.Connected(p.ID) {
		return true
	}
	return t.step(network.TraceStep{Place: place, On: p.ID, Why: "no machine is attached to the interface: it does not run"})
}

// toService: which of them there are.
func (t *tracer) toService(p *Port) {
	s := network.TraceStep{Place: network.PlaceService, On: p.VPCID, Passes: true}
	icmp := t.Protocol == ICMP || t.Protocol == ICMPv6
	metadata := t.Destination == MetadataAddr || t.Destination == MetadataAddrV6
	gateway := t.Destination == Address(p.Subnet) || (p.SubnetV6.IsValid() && t.Destination == Address(p.SubnetV6))
	switch {
	case icmp:
		s.Why = "the VPC's gateway answers itself"
	case metadata && t.Protocol == TCP && t.Port == 80:
		s.Why = "the metadata service; security groups do not apply to it"
		switch o := p.Metadata.Options; {
		case o.Disabled:
			s.Passes, s.Why = false, "the instance's metadata service is turned off"
		case t.Destination == MetadataAddrV6 && !o.IPv6:
			s.Passes, s.Why = false, "the instance's metadata service has its IPv6 address turned off (HttpProtocolIpv6)"
		}
	case !metadata && !gateway && t.Port == 53 && (t.Protocol == TCP || t.Protocol == UDP):
		s.Why = "the VPC's name server; security groups do not apply to it"
	default:
		s.Passes, s.Why = false, fmt.Sprintf("%s is an address of the VPC's gateway, which has no service on %s", t.Destination, t.traffic())
	}
	t.step(s)
}

// toVPC goes to another guest: its own route is the VPC's, which is always there.
func (t *tracer) toVPC(p *Port) {
	to := t.scene.PortAt(p.VPCID, t.Destination)
	switch to {
	case nil:
		t.step(network.TraceStep{Place: network.PlaceVPC, On: p.VPCID, Why: fmt.Sprintf("no interface of a running instance has %s in the VPC", t.Destination)})
		return
	case p:
		t.step(network.TraceStep{Place: network.PlaceVPC, On: p.VPCID, Why: fmt.Sprintf("%s is the sender's own address", t.Destination)})
		return
	}
	apart := !p.Neighbors(to)
	if !t.rules(network.PlaceEgress, p, p.Out, t.Destination) || (apart && !t.acl(p, leaving, t.Destination)) {
		return
	}
	t.step(network.TraceStep{Place: network.PlaceVPC, On: p.VPCID, Passes: true, Why: fmt.Sprintf("%s has %s; the VPC's own addresses always have a route", to.ID, t.Destination)})
	if apart && !t.acl(to, entering, t.Source) {
		return
	}
	t.arrive(to, func() bool {
		return !apart || (t.answers(to, leaving, t.Source) && t.answers(p, entering, t.Destination))
	})
}

// toRouter goes to the guest that a route leads to.
func (t *tracer) toRouter(p *Port) {
	via := p.Route(t.Destination).Via
	to := t.scene.PortAt(p.VPCID, via)
	s := network.TraceStep{Place: network.PlaceVPC, On: p.VPCID}
	switch {
	case to == nil:
		s.Why = fmt.Sprintf("no interface of a running instance has %s, which the route leads to", via)
	case to.ID == p.ID:
		s.Why = "the route leads to the sender itself"
	case !to.AnySource:
		s.On, s.Why = to.ID, "the route leads to it, and its destination check drops what is for others"
	default:
		s.Passes, s.Why = true, fmt.Sprintf("the route leads to %s, which takes what is for others", to.ID)
	}
	switch {
	case to == nil || p.Neighbors(to):
	case !t.acl(p, leaving, t.Destination):
		return
	}
	if t.step(s) && (p.Neighbors(to) || t.acl(to, entering, t.Source)) {
		t.arrive(to, func() bool { return true }) // which way answers take is up to the router
	}
}

// arrive judges a packet for a guest, and the answers to it.
func (t *tracer) arrive(to *Port, answers func() bool) {
	if t.rules(network.PlaceIngress, to, to.In, t.Source) && answers() && t.attached(to, network.PlaceGuest) {
		t.step(network.TraceStep{Place: network.PlaceGuest, On: to.ID, Passes: true, Why: fmt.Sprintf("the guest gets it; whether it answers on %s is up to it", t.traffic())})
	}
}

func (t *tracer) route(p *Port) bool {
	s := network.TraceStep{Place: network.PlaceRoute, On: p.ID}
	switch r := p.Route(t.Destination); {
	case r == nil:
		s.Why = fmt.Sprintf("no route leads out of the VPC to %s", t.Destination)
	case r.Via.IsValid():
		s.Rule, s.Passes, s.Why = r.CIDR.String(), true, fmt.Sprintf("the route %s leads to %s", r.CIDR, r.Via)
	case r.Blackhole:
		s.Rule, s.Why = r.CIDR.String(), "the route's target is gone: it is a black hole"
	default:
		s.Rule, s.Passes, s.Why = r.CIDR.String(), true, fmt.Sprintf("the route %s leads out of the VPC", r.CIDR)
	}
	return t.step(s)
}

// rules judges by the security groups of a port, as packets are judged.
func (t *tracer) rules(place network.Place, p *Port, rules Rules, peer netip.Addr) bool {
	var r *Rule
	if t.Protocol == ICMP || t.Protocol == ICMPv6 {
		r = rules.MatchICMP(t.Protocol, t.Type, t.Code, peer)
	} else {
		r = rules.Match(t.Protocol, peer, t.Port)
	}
	words := map[network.Place]string{network.PlaceEgress: "to", network.PlaceIngress: "from"}
	s := network.TraceStep{Place: place, On: p.ID, Passes: r != nil, Why: fmt.Sprintf("no rule for %s %s %s", t.traffic(), words[place], peer)}
	if r != nil {
		s.Rule, s.Why = r.ID, fmt.Sprintf("a rule allows %s %s %s", t.traffic(), words[place], peer)
	}
	return t.step(s)
}

// edge is a direction in which packets cross the edge of a subnet.
type edge string

const (
	leaving  edge = "to"
	entering edge = "from"
)

func (a *ACL) entries(e edge) []ACLEntry {
	if e == leaving {
		return a.Out
	}
	return a.In
}

// acl judges the packet at the edge of a port's subnet. Without an ACL that could
// deny something there is nothing to tell.
func (t *tracer) acl(p *Port, e edge, peer netip.Addr) bool {
	if p.ACL == nil {
		return true
	}
	k := Kind{Proto: t.Protocol, Port: t.Port, Type: t.Type, Code: t.Code}
	return t.judged(p, decide(p.ACL.entries(e), k, peer), fmt.Sprintf("%s %s %s", t.traffic(), e, peer))
}

func (t *tracer) judged(p *Port, by *ACLEntry, what string) bool {
	s := network.TraceStep{Place: network.PlaceACL, On: p.ACL.ID, Why: fmt.Sprintf("no entry for %s at the edge of %s, which denies it", what, p.SubnetID)}
	if by != nil {
		s.Rule, s.Passes = strconv.Itoa(by.Number), by.Allow
		s.Why = fmt.Sprintf("entry %d denies %s at the edge of %s", by.Number, what, p.SubnetID)
		if by.Allow {
			s.Why = fmt.Sprintf("entry %d allows %s at the edge of %s", by.Number, what, p.SubnetID)
		}
	}
	return t.step(s)
}

// answers judges what comes back: network ACLs do not know whose answer a packet is.
// Which port of the peer's answers are for is not known.
func (t *tracer) answers(p *Port, e edge, peer netip.Addr) bool {
	if p.ACL == nil {
		return true
	}
	entries := p.ACL.entries(e)
	switch t.Protocol {
	case TCP, UDP:
		name := map[uint8]string{TCP: "tcp", UDP: "udp"}[t.Protocol]
		denied, by, ok := answers(entries, t.Protocol, peer)
		if !ok {
			return t.judged(p, by, fmt.Sprintf("answers by %s/%d %s %s", name, denied, e, peer))
		}
		return t.step(network.TraceStep{Place: network.PlaceACL, On: p.ACL.ID, Passes: true, Why: fmt.Sprintf("it allows answers by %s/%d-%d %s %s", name, Ephemeral[0], Ephemeral[1], e, peer)})
	case ICMP, ICMPv6:
		reply, ok := map[[2]uint8]uint8{{ICMP, 8}: 0, {ICMPv6, 128}: 129}[[2]uint8{t.Protocol, t.Type}]
		if !ok {
			return true // it gets no answer
		}
		return t.judged(p, decide(entries, Kind{Proto: t.Protocol, Type: reply}, peer), fmt.Sprintf("the echo reply %s %s", e, peer))
	}
	return t.judged(p, decide(entries, Kind{Proto: t.Protocol}, peer), fmt.Sprintf("answers of %s %s %s", t.traffic(), e, peer))
}

// fromOutside goes to a public address.
func (t *tracer) fromOutside() {
	to := t.scene.PortOf(t.Destination)
	if to == nil {
		t.step(network.TraceStep{Place: network.PlacePublic, Why: fmt.Sprintf("no interface of a running instance has the public address %s, or its subnet has no route to an internet gateway", t.Destination)})
		return
	}
	if t.Destination.IsLoopback() && !t.Source.IsLoopback() {
		t.step(network.TraceStep{Place: network.PlaceHost, Why: fmt.Sprintf("%s is an address of the host's loopback: only programs of this host get there, and they come from 127.0.0.0/8", t.Destination)})
		return
	}
	private, _ := to.behind(t.Destination)
	if t.Protocol != TCP && t.Protocol != UDP {
		t.step(network.TraceStep{Place: network.PlacePublic, On: to.ID, Why: "public addresses carry TCP and UDP only"})
		return
	}
	if !t.step(network.TraceStep{Place: network.PlacePublic, On: to.ID, Passes: true, Why: fmt.Sprintf("%s leads to %s of %s", t.Destination, private, to.ID)}) ||
		!t.acl(to, entering, t.Source) || !t.rules(network.PlaceIngress, to, to.In, t.Source) || !t.answers(to, leaving, t.Source) || !t.published(to) || !t.attached(to, network.PlaceGuest) {
		return
	}
	t.step(network.TraceStep{Place: network.PlaceGuest, On: to.ID, Passes: true, Why: fmt.Sprintf("the guest gets it; whether it answers on %s is up to it", t.traffic())})
}

// published says if the host listens for the packet.
func (t *tracer) published(to *Port) bool {
	at := netip.AddrPortFrom(t.Destination, t.Port)
	open, problems := t.scene.Published(to.ID, t.Protocol)
	if slices.Contains(open, at) {
		return t.step(network.TraceStep{Place: network.PlaceHost, Passes: true, Why: fmt.Sprintf("the host listens on %s", at)})
	}
	why := problems[at.String()]
	for where, problem := range problems {
		if inRange(where, at) {
			why = problem
		}
	}
	if why == "" {
		why = "no rule opens the port to the host's loopback"
	}
	return t.step(network.TraceStep{Place: network.PlaceHost, Why: fmt.Sprintf("the host does not listen on %s: %s", at, why)})
}

// inRange says if a problem of a range, ADDRESS:FIRST-LAST, is about at.
func inRange(where string, at netip.AddrPort) bool {
	var first, last int
	prefix := at.Addr().String() + ":"
	if len(where) <= len(prefix) || where[:len(prefix)] != prefix {
		return false
	}
	if n, err := fmt.Sscanf(where[len(prefix):], "%d-%d", &first, &last); n != 2 || err != nil {
		return false
	}
	return first <= int(at.Port()) && int(at.Port()) <= last
}

// traffic is what the packet is, as security groups' rules are written.
func (t *tracer) traffic() string {
	switch t.Protocol {
	case TCP:
		return "tcp/" + strconv.Itoa(int(t.Port))
	case UDP:
		return "udp/" + strconv.Itoa(int(t.Port))
	case ICMP:
		return fmt.Sprintf("icmp/%d/%d", t.Type, t.Code)
	case ICMPv6:
		return fmt.Sprintf("icmpv6/%d/%d", t.Type, t.Code)
	}
	return "protocol " + strconv.Itoa(int(t.Protocol))
}
