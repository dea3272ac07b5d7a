package kernel

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/bundt/bundt/pkg/network/gateway"
)

// In thousands of random rules and packets the boxes admit exactly what the rules
// do, and no two of a layer overlap: the kernel would refuse them.
func TestCompile(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 5))
	address := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(2)), byte(r.IntN(256))}) }
	octet := func() *uint8 {
		if r.IntN(2) == 0 {
			return nil
		}
		n := uint8(r.IntN(3))
		return &n
	}
	protocols := []byte{gateway.TCP, gateway.UDP, gateway.ICMP, 50, 132}
	admitted := 0
	for range 300 {
		var rules gateway.Rules
		for range r.IntN(12) {
			rule := gateway.Rule{All: r.IntN(12) == 0, Proto: protocols[r.IntN(len(protocols))]}
			if rule.Ports() {
				rule.From = uint16(r.IntN(50))
				rule.To = rule.From + uint16(r.IntN(20))
			} else {
				rule.Type, rule.Code = octet(), octet()
				if rule.Proto != gateway.ICMP {
					rule.Type, rule.Code = nil, nil
				}
				if rule.Type == nil {
					rule.Code = nil // as on EC2, a code is of a type
				}
			}
			for range r.IntN(3) {
				rule.Peers = append(rule.Peers, netip.PrefixFrom(address(), 20+r.IntN(13)))
			}
			if r.IntN(10) == 0 {
				rule.Peers = append(rule.Peers, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"))
			}
			rules = append(rules, rule)
		}
		a := compile(ipv4Family, rules)
		disjoint(t, a.ports)
		disjoint(t, a.protocols)
		for range 200 {
			proto, peer, port := protocols[r.IntN(len(protocols))], address(), uint16(r.IntN(80))
			want := rules.Allow(proto, peer, port)
			x := uint32(port)
			if proto == gateway.ICMP {
				typ, code := uint8(r.IntN(4)), uint8(r.IntN(4))
				want = rules.AllowICMP(proto, typ, code, peer)
				x = uint32(typ)<<8 | uint32(code)
			}
			got := within(a.protocols, 0, uint32(proto), peer) ||
				(proto == gateway.TCP || proto == gateway.UDP || proto == gateway.ICMP) && (within(a.ports, proto, x, peer) || a.hashed(proto, x, peer))
			if got != want {
				t.Fatalf("protocol %d, %s, %d: %v, want %v by %+v", proto, peer, x, got, want, rules)
			}
			if got {
				admitted++
			}
		}
	}
	if admitted < 1000 {
		t.Errorf("only %d packets were admitted at all", admitted)
	}
}

func (s span) has(n uint32) bool { return s.from <= n && n <= s.to }

func (a *admission) hashed(proto byte, x uint32, peer netip.Addr) bool {
	for bits, boxes := range a.exact {
		for _, b := range boxes {
			if b.proto == proto && b.x.has(x) && netip.PrefixFrom(b.peers.from, bits).Contains(peer) {
				return true
			}
		}
	}
	return false
}

func within(layers [][]box, proto byte, x uint32, peer netip.Addr) bool {
	for _, layer := range layers {
		for _, b := range layer {
			if b.proto == proto && b.x.has(x) && b.peers.from.Compare(peer) <= 0 && peer.Compare(b.peers.to) <= 0 {
				return true
			}
		}
	}
	return false
}

func disjoint(t *testing.T, layers [][]box) {
	t.Helper()
	for _, layer := range layers {
		for i, a := range layer {
			for _, b := range layer[:i] {
				if a.proto == b.proto && a.x.from <= b.x.to && b.x.from <= a.x.to && a.peers.from.Compare(b.peers.to) <= 0 && b.peers.from.Compare(a.peers.to) <= 0 {
					t.Fatalf("%+v and %+v overlap", a, b)
				}
			}
		}
	}
}
