package kernel

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/bundt/bundt/pkg/network/gateway"
)

// span is a range of numbers, both ends included.
type span struct{ from, to uint32 }

// block is a range of addresses of one family, both ends included.
type block struct{ from, to netip.Addr }

// box is a part of the traffic: of one protocol, or of any in a family of rules
// without ports, between two numbers, with peers between two addresses.
type box struct {
	proto byte
	x     span // ports; of ICMP, type and code in one number; or protocols
	peers block
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

// compile brings rules into the fewest layers, for the traffic of one family.
func compile(f *family, rules gateway.Rules) admission {
	a := admission{exact: map[int][]box{}}
	ports := map[byte]map[span][]block{}
	protocols := map[span][]block{}
	for _, r := range rules {
		if r.Group != "" {
			a.groups = append(a.groups, r)
		}
		peers := f.blocks(r.Peers)
		switch {
		case r.All:
			protocols[span{0, 255}] = append(protocols[span{0, 255}], peers...)
		case r.Ports() || r.Proto == f.icmp:
			if ports[r.Proto] == nil {
				ports[r.Proto] = map[span][]block{}
			}
			x := numbers(&r)
			if x.from == x.to {
				a.addExact(f, r.Proto, x, r.Peers)
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

func (a *admission) addExact(f *family, proto byte, x span, peers []netip.Prefix) {
	for _, p := range peers {
		if f.has(p.Addr()) {
			first := p.Masked().Addr()
			a.exact[p.Bits()] = append(a.exact[p.Bits()], box{proto: proto, x: x, peers: block{first, first}})
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
func layers(proto byte, rules map[span][]block) (out [][]box) {
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

// blocks are the prefixes of the family among them.
func (f *family) blocks(prefixes []netip.Prefix) (out []block) {
	for _, p := range prefixes {
		if f.has(p.Addr()) {
			out = append(out, block{p.Masked().Addr(), last(p)})
		}
	}
	return out
}

// last is the prefix's last address.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b) // of a valid length
	return a
}

// merge sorts blocks and joins those that touch.
func merge(in []block) (out []block) {
	in = slices.Clone(in)
	slices.SortFunc(in, func(a, b block) int { return a.from.Compare(b.from) })
	for _, s := range in {
		if n := len(out); n > 0 && (s.from.Compare(out[n-1].to) <= 0 || s.from == out[n-1].to.Next()) {
			if s.to.Compare(out[n-1].to) > 0 {
				out[n-1].to = s.to
			}
			continue
		}
		out = append(out, s)
	}
	return out
}
