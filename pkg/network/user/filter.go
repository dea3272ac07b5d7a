package user

import (
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/network"
)

// Lives of tracked flows, as EC2's connection tracking has them.
const (
	lifeOpening     = 60 * time.Second
	lifeEstablished = 5 * 24 * time.Hour
	lifeClosing     = 10 * time.Second
	lifeOnce        = 30 * time.Second  // UDP or ICMP seen in one direction
	lifeStream      = 180 * time.Second // and in both
	lifeFragment    = 5 * time.Second

	maxFlows     = 8192 // per port
	maxFragments = 256  // datagrams in pieces per port
	evictSample  = 16
)

// rules are what may pass in one direction.
type rules []rule

type rule struct {
	all        bool // protocols
	proto      byte
	from, to   uint16
	peers      []netip.Prefix
	members    members // peers as well
	icmp, code *uint8  // type and code; nil: any
}

// members are the addresses of a security group, shared by all rules that name it.
type members map[ipv4]struct{}

func compileGroups(in map[string][]netip.Addr) (map[string]members, error) {
	out := make(map[string]members, len(in))
	for id, addresses := range in {
		m := make(members, len(addresses))
		for _, a := range addresses {
			if !a.Is4() {
				return nil, invalid("%s: member %s is not an IPv4 address", id, a)
			}
			m[a.As4()] = struct{}{}
		}
		out[id] = m
	}
	return out, nil
}

func compileRules(in []network.Rule, groups map[string]members) (rules, error) {
	out := make(rules, 0, len(in))
	for _, r := range in {
		c := rule{from: r.FromPort, to: r.ToPort, peers: r.Peers, icmp: r.ICMPType, code: r.ICMPCode}
		if r.Group != "" {
			var known bool
			if c.members, known = groups[r.Group]; !known {
				return nil, invalid("rule of the group %s, whose members are not given", r.Group)
			}
		}
		switch r.Protocol {
		case "-1":
			c.all = true
		case "tcp":
			c.proto = protoTCP
		case "udp":
			c.proto = protoUDP
		case "icmp":
			c.proto = protoICMP
		default:
			n, err := strconv.ParseUint(r.Protocol, 10, 8)
			if err != nil {
				return nil, invalid("rule of unknown protocol %s: want tcp, udp, icmp, a number or -1", r.Protocol)
			}
			c.proto = byte(n)
		}
		if c.ports() && c.from > c.to {
			return nil, invalid("rule with its first port above its last")
		}
		out = append(out, c)
	}
	return out, nil
}

// ports says if the rule is for ports.
func (r *rule) ports() bool { return !r.all && (r.proto == protoTCP || r.proto == protoUDP) }

// allow judges the first packet of a flow to a port.
func (rs rules) allow(proto byte, peer ipv4, dport uint16) bool {
	return rs.admit(func(r *rule) bool {
		return r.all || (r.proto == proto && (!r.ports() || (r.from <= dport && dport <= r.to)))
	}, peer)
}

// allowPacket judges the first packet of a flow by the peer and what it is.
func (rs rules) allowPacket(p *packet, peer ipv4) bool {
	if p.proto != protoICMP {
		return rs.allow(p.proto, peer, p.dport)
	}
	typ, code := p.b[p.headerLen], p.b[p.headerLen+1]
	return rs.admit(func(r *rule) bool {
		return r.all || (r.proto == protoICMP && (r.icmp == nil || *r.icmp == typ) && (r.code == nil || *r.code == code))
	}, peer)
}

func (rs rules) admit(fits func(*rule) bool, peer ipv4) bool {
	for i := range rs {
		if !fits(&rs[i]) {
			continue
		}
		if _, member := rs[i].members[peer]; member {
			return true
		}
		for _, p := range rs[i].peers {
			if p.Contains(addr(peer)) {
				return true
			}
		}
	}
	return false
}

// flowKey is a flow as the guest sees it.
type flowKey struct {
	local        ipv4
	remote       ipv4
	lport, rport uint16
	proto        byte
}

func (p *packet) key(inbound bool) flowKey {
	if inbound {
		return flowKey{local: p.dst, remote: p.src, lport: p.dport, rport: p.sport, proto: p.proto}
	}
	return flowKey{local: p.src, remote: p.dst, lport: p.sport, rport: p.dport, proto: p.proto}
}

type flow struct {
	expires time.Duration // on the table's clock
	inbound bool          // who began
	replied bool
	finIn   bool
	finOut  bool
	reset   bool
}

func (f *flow) closing() bool { return f.reset || (f.finIn && f.finOut) }

type fragmentKey struct {
	src, dst ipv4
	id       uint16
	proto    byte
}

// flowTable tracks a port's flows, so that replies pass whatever the rules say.
// It is bounded: when full, of a sample the flow nearest to its end goes, which
// is one that never got an answer if there is any.
type flowTable struct {
	mu        sync.Mutex
	start     time.Time
	flows     map[flowKey]flow
	fragments map[fragmentKey]time.Duration
}

func newFlowTable() *flowTable {
	return &flowTable{start: time.Now(), flows: map[flowKey]flow{}, fragments: map[fragmentKey]time.Duration{}}
}

// admit says if p may pass and tracks it. A nil allow admits whatever begins a
// flow: for packets of the VPC's own stack, which has judged already.
func (t *flowTable) admit(p *packet, inbound bool, allow rules, judge bool) bool {
	now := time.Since(t.start)
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.offset > 0 {
		until, ok := t.fragments[fragmentKey{p.src, p.dst, p.id, p.proto}]
		return ok && until > now
	}
	ok := t.admitHead(p, inbound, allow, judge, now)
	if ok && p.more {
		t.expectFragments(p, now)
	}
	return ok
}

func (t *flowTable) admitHead(p *packet, inbound bool, allow rules, judge bool, now time.Duration) bool {
	if in, isError := p.icmpError(); isError {
		// It answers a packet of the other direction.
		f, known := t.flows[in.key(!inbound)]
		return known && f.expires > now
	}
	k := p.key(inbound)
	f, known := t.flows[k]
	known = known && f.expires > now
	if known && p.proto == protoTCP && p.flags&(tcpSYN|tcpACK) == tcpSYN && f.closing() {
		known = false // the ports are used again: judge anew
	}
	if !known {
		if judge && !allow.allowPacket(p, k.remote) {
			return false
		}
		f = flow{inbound: inbound}
	}
	f.advance(p, inbound, now)
	if !known && len(t.flows) >= maxFlows {
		t.evict()
	}
	t.flows[k] = f
	return true
}

// advance moves the flow's state by one packet and gives it its next life.
func (f *flow) advance(p *packet, inbound bool, now time.Duration) {
	f.replied = f.replied || inbound != f.inbound
	life := lifeOnce
	switch {
	case p.proto == protoTCP:
		f.reset = f.reset || p.flags&tcpRST != 0
		if p.flags&tcpFIN != 0 {
			f.finIn, f.finOut = f.finIn || inbound, f.finOut || !inbound
		}
		life = lifeOpening
		if f.closing() {
			life = lifeClosing
		} else if f.replied {
			life = lifeEstablished
		}
	case f.replied:
		life = lifeStream
	}
	f.expires = now + life
}

func (t *flowTable) evict() {
	var victim flowKey
	var soonest time.Duration
	n := 0
	for k, f := range t.flows { // the order of a map is a fair enough sample
		if n == 0 || f.expires < soonest {
			victim, soonest = k, f.expires
		}
		if n++; n == evictSample {
			break
		}
	}
	delete(t.flows, victim)
}

func (t *flowTable) expectFragments(p *packet, now time.Duration) {
	if len(t.fragments) >= maxFragments {
		for k, until := range t.fragments {
			if until <= now {
				delete(t.fragments, k)
			}
		}
		if len(t.fragments) >= maxFragments {
			return // the datagram will not be complete; TCP does without, UDP must
		}
	}
	t.fragments[fragmentKey{p.src, p.dst, p.id, p.proto}] = now + lifeFragment
}

// sweep forgets what has expired.
func (t *flowTable) sweep() {
	now := time.Since(t.start)
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, f := range t.flows {
		if f.expires <= now {
			delete(t.flows, k)
		}
	}
	for k, until := range t.fragments {
		if until <= now {
			delete(t.fragments, k)
		}
	}
}
