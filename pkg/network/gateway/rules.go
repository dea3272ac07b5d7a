package gateway

import (
	"net/netip"
	"strconv"

	"github.com/bundt/bundt/pkg/network"
)

// Protocol numbers that rules name.
const (
	ICMP = 1
	TCP  = 6
	UDP  = 17

	ICMPv6 = 58
)

// Rules are what may pass in one direction.
type Rules []Rule

// Rule is a network.Rule made ready.
type Rule struct {
	ID         string
	All        bool // protocols
	Proto      byte
	From, To   uint16
	Peers      []netip.Prefix
	Group      string // whose members are peers as well; "" for none
	Members    Members
	Type, Code *uint8 // of ICMP; nil: any
}

// Members are the addresses of a security group, shared by all rules that name it.
type Members map[netip.Addr]struct{}

func compileGroups(in map[string][]netip.Addr) (map[string]Members, error) {
	out := make(map[string]Members, len(in))
	for id, addresses := range in {
		m := make(Members, len(addresses))
		for _, a := range addresses {
			if !a.IsValid() || a.Zone() != "" {
				return nil, invalid("%s: member %q is not an address", id, a)
			}
			m[a.Unmap()] = struct{}{}
		}
		out[id] = m
	}
	return out, nil
}

func compileRules(in []network.Rule, groups map[string]Members) (Rules, error) {
	out := make(Rules, 0, len(in))
	for _, r := range in {
		c := Rule{ID: r.ID, From: r.FromPort, To: r.ToPort, Peers: r.Peers, Group: r.Group, Type: r.ICMPType, Code: r.ICMPCode}
		if r.Group != "" {
			var known bool
			if c.Members, known = groups[r.Group]; !known {
				return nil, invalid("rule of the group %s, whose members are not given", r.Group)
			}
		}
		switch r.Protocol {
		case "-1":
			c.All = true
		case "tcp":
			c.Proto = TCP
		case "udp":
			c.Proto = UDP
		case "icmp":
			c.Proto = ICMP
		case "icmpv6":
			c.Proto = ICMPv6
		default:
			n, err := strconv.ParseUint(r.Protocol, 10, 8)
			if err != nil {
				return nil, invalid("rule of unknown protocol %s: want tcp, udp, icmp, icmpv6, a number or -1", r.Protocol)
			}
			c.Proto = byte(n)
		}
		if c.Ports() && c.From > c.To {
			return nil, invalid("rule with its first port above its last")
		}
		out = append(out, c)
	}
	return out, nil
}

// Kind is what a packet is, as rules have it.
type Kind struct {
	Proto      byte
	Port       uint16 // that it is for, of TCP and UDP
	Type, Code uint8  // of ICMP and ICMPv6
}

// Covers says if the rule is for packets of that kind.
func (r *Rule) Covers(k Kind) bool {
	switch {
	case r.All:
		return true
	case r.Proto != k.Proto:
		return false
	case r.Ports():
		return r.From <= k.Port && k.Port <= r.To
	}
	return (r.Type == nil || *r.Type == k.Type) && (r.Code == nil || *r.Code == k.Code)
}

// Ports says if the rule is for ports.
func (r *Rule) Ports() bool { return !r.All && (r.Proto == TCP || r.Proto == UDP) }

// Allow judges the first packet of a flow to a port.
func (rs Rules) Allow(proto byte, peer netip.Addr, dport uint16) bool {
	return rs.Match(proto, peer, dport) != nil
}

// Match returns the rule that lets the first packet of a flow to a port pass, nil
// if none does.
func (rs Rules) Match(proto byte, peer netip.Addr, dport uint16) *Rule {
	return rs.match(Kind{Proto: proto, Port: dport}, peer)
}

// AllowICMP judges a message of ICMP or ICMPv6 that begins a flow.
func (rs Rules) AllowICMP(proto byte, typ, code uint8, peer netip.Addr) bool {
	return rs.MatchICMP(proto, typ, code, peer) != nil
}

// MatchICMP returns the rule that lets a message of ICMP or ICMPv6 that begins a
// flow pass, nil if none does.
func (rs Rules) MatchICMP(proto byte, typ, code uint8, peer netip.Addr) *Rule {
	return rs.match(Kind{Proto: proto, Type: typ, Code: code}, peer)
}

func (rs Rules) match(k Kind, peer netip.Addr) *Rule {
	for i := range rs {
		if !rs[i].Covers(k) {
			continue
		}
		if _, member := rs[i].Members[peer]; member {
			return &rs[i]
		}
		for _, p := range rs[i].Peers {
			if p.Contains(peer) {
				return &rs[i]
			}
		}
	}
	return nil
}
