package kernel

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/bundt/bundt/pkg/network/gateway"
)

// span is a range, both ends included.
type span struct{ from, to uint32 }

// box is a part of the traffic: of one protocol, or of any in a family of rules
// without ports, between two numbers, with peers between two addresses.
type box struct {
	proto byte
	x     span // ports; of ICMP, type and code in one number; or protocols
	peers span
}

// admission is what the rules of one direction admit, in disjoint boxes: sets
// of ranges do not take overlapping ones, so what overlaps is in different layers.
type admission struct {
	// exact has single ports, and the first address of their peers, by the length of
	// the peers' prefix: a hash finds them and takes them much faster than ranges.
	exact     map[int][]box
	ports     [][]box        // TCP and UDP by port, ICMP by type and code
	protocols [][]box        // whole protocols
	groups    []gateway.Rule // of other groups' members
}

// compile brings rules into the fewest layers.
func compile(rules gateway.Rules) admission {
	a := admission{exact: map[int][]box{}}
	ports := map[byte]map[span][]span{}
	protocols := map[span][]span{}
	for _, r := range rules {
		if r.Group != "" {
			a.groups = append(a.groups, r)
		}
		peers := ranges(r.Peers)
		switch {
		case r.All:
			protocols[span{0, 255}] = append(protocols[span{0, 255}], peers...)
		case r.Ports() || r.Proto == gateway.ICMP:
			if ports[r.Proto] == nil {
				ports[r.Proto] = map[span][]span{}
			}
			x := numbers(&r)
			if x.from == x.to {
				a.addExact(r.Proto, x, r.Peers)
				continue
			}
			ports[r.Proto][x] = append(ports[r.Proto][x], peers...)
		default:
			x := span{uint32(r.Proto), uint32(r.Proto)}
			protocols[x] = append(protocols[x], peers...)
		}
	}
	for proto, of := range ports {
		for i, layer := range layers(proto, of) {
			if i == len(a.ports) {
				a.ports = append(a.ports, nil)
			}
			a.ports[i] = append(a.ports[i], layer...)
		}
	}
	a.protocols = layers(0, protocols)
	return a
}

func (a *admission) addExact(proto byte, x span, peers []netip.Prefix) {
	for _, p := range peers {
		if p.Addr().Is4() {
			first := number(p.Masked().Addr())
			a.exact[p.Bits()] = append(a.exact[p.Bits()], box{proto: proto, x: x, peers: span{first, first}})
		}
	}
}

// numbers are the ports of a rule, or its ICMP messages.
func numbers(r *gateway.Rule) span {
	if r.Ports() {
		return span{uint32(r.From), uint32(r.To)}
	}
	x := span{0, 1<<16 - 1}
	if r.Type != nil {
		x = span{uint32(*r.Type) << 8, uint32(*r.Type)<<8 | 255}
		if r.Code != nil {
			x.from |= uint32(*r.Code)
			x.to = x.from
		}
	}
	return x
}

// layers distributes rules so that within a layer no two overlap: as few layers
// as rules overlap at one number.
func layers(proto byte, rules map[span][]span) (out [][]box) {
	xs := make([]span, 0, len(rules))
	for x, peers := range rules {
		if len(peers) > 0 {
			xs = append(xs, x)
		}
	}
	slices.SortFunc(xs, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	var ends []uint32 // of each layer
	for _, x := range xs {
		i := slices.IndexFunc(ends, func(end uint32) bool { return end < x.from })
		if i < 0 {
			i = len(ends)
			ends, out = append(ends, 0), append(out, nil)
		}
		ends[i] = x.to
		for _, peers := range merge(rules[x]) {
			out[i] = append(out[i], box{proto: proto, x: x, peers: peers})
		}
	}
	return out
}

// ranges are the IPv4 prefixes among them; there is no other traffic.
func ranges(prefixes []netip.Prefix) (out []span) {
	for _, p := range prefixes {
		if !p.Addr().Is4() {
			continue
		}
		from := number(p.Masked().Addr())
		out = append(out, span{from, from | uint32(1<<(32-p.Bits())-1)})
	}
	return out
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// merge sorts ranges and joins those that touch.
func merge(in []span) (out []span) {
	in = slices.Clone(in)
	slices.SortFunc(in, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for _, s := range in {
		if n := len(out); n > 0 && uint64(s.from) <= uint64(out[n-1].to)+1 {
			out[n-1].to = max(out[n-1].to, s.to)
			continue
		}
		out = append(out, s)
	}
	return out
}
