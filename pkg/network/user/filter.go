package user

import (
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/network/gateway"
)

// Lives of tracked flows, as EC2's connection tracking has them.
const (
	lifeOpening     = 60 * time.Second
	lifeEstablished = 5 * 24 * time.Hour
	lifeClosing     = 10 * time.Second
	lifeOnce        = gateway.LifeOnce // ICMP and others too
	lifeStream      = gateway.LifeStream
	lifeFragment    = 5 * time.Second

	maxFlows     = 8192 // per port
	maxFragments = 256  // datagrams in pieces per port
	evictSample  = 16
)

// allowPacket judges the first packet of a flow by the peer and what it is.
func allowPacket(rs gateway.Rules, p *packet, peer address) bool {
	k := p.kind()
	if p.icmp() {
		return rs.AllowICMP(k.Proto, k.Type, k.Code, addr(peer))
	}
	return rs.Allow(k.Proto, addr(peer), k.Port)
}

// kind is what rules judge a packet by; of a fragment only that of the first.
func (p *packet) kind() gateway.Kind {
	if p.icmp() {
		return gateway.Kind{Proto: p.proto, Type: p.b[p.headerLen], Code: p.b[p.headerLen+1]}
	}
	return gateway.Kind{Proto: p.proto, Port: p.dport}
}

// flowKey is a flow as the guest sees it.
type flowKey struct {
	local        address
	remote       address
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
	src, dst address
	id       uint32
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
func (t *flowTable) admit(p *packet, inbound bool, allow gateway.Rules, judge bool) bool {
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

func (t *flowTable) admitHead(p *packet, inbound bool, allow gateway.Rules, judge bool, now time.Duration) bool {
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
		if judge && !allowPacket(allow, p, k.remote) {
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
