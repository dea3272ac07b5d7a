package user

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/metadata"
	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/gateway"
	"github.com/bundt/bundt/pkg/network/nettest"
)

// FuzzParse: whatever is read lies in the packet.
func FuzzParse(f *testing.F) {
	a, b := netip.MustParseAddr("10.0.1.10"), netip.MustParseAddr("10.0.1.11")
	a6, b6 := netip.MustParseAddr("fd12:3456:789a::a"), netip.MustParseAddr("fd12:3456:789a::b")
	hw := make([]byte, 6)
	for _, frame := range [][]byte{
		nettest.UDPFrame(hw, hw, a, b, 1, 2, []byte("body")), nettest.IPv4Frame(hw, hw, a, b, 6, make([]byte, 20)), nettest.IPv4Frame(hw, hw, a, b, 1, make([]byte, 40)),
		nettest.UDPv6Frame(hw, hw, a6, b6, 1, 2, []byte("body")), nettest.ICMPv6Frame(hw, hw, a6, b6, make([]byte, 60), 1),
		nettest.IPv6Frame(hw, hw, a6, b6, nextFragment, append([]byte{17, 0, 0, 1, 0, 0, 0, 9}, make([]byte, 8)...)),
		nettest.IPv6Frame(hw, hw, a6, b6, nextHopByHop, append([]byte{nextDestination, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 8)...)),
	} {
		f.Add(frame[ethernetSize:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := parseIP(b)
		if !ok {
			return
		}
		if len(p.b) > len(b) || p.headerLen > len(p.b) || p.headerLen < 20 || p.offset < 0 || p.v6 != (b[0]>>4 == 6) {
			t.Fatalf("%d bytes were read as %+v", len(b), p)
		}
		if p.offset == 0 && (p.proto == protoTCP || p.proto == protoUDP) && p.dport != binary.BigEndian.Uint16(p.b[p.headerLen+2:]) {
			t.Fatalf("the port is read as %d", p.dport)
		}
		if addr(p.src).Is4() == p.v6 && !bytes.Equal(b[8:24], p.src[:]) {
			t.Fatalf("the source is read as %s", addr(p.src))
		}
		p.icmpError()
		newFlowTable().admit(&p, true, nil, true)
	})
}

// hostile is two VPCs of two guests each, in this process, without their QEMUs.
type hostile struct {
	fabric *fabric
	ports  []*port
}

func newHostile(t testing.TB) *hostile {
	h := &hostile{fabric: newFabric(&shared{resolver: gateway.Resolver{Path: "/nonexistent"}, secret: make([]byte, 32)}, slog.New(slog.DiscardHandler), func() {})}
	c := network.Config{Region: "local-1"}
	any4, any6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	all := []network.Rule{{Protocol: "-1", Peers: []netip.Prefix{any4, any6}}}
	for v := range 2 {
		id := fmt.Sprintf("vpc-%d", v)
		c.VPCs = append(c.VPCs, network.VPC{
			ID: id, CIDR: netip.MustParsePrefix("10.0.0.0/16"), CIDRv6: netip.MustParsePrefix("fd12:3456:789a::/56"),
			Subnets: []network.Subnet{{ID: id + "-a", CIDR: netip.MustParsePrefix("10.0.1.0/24"), CIDRv6: netip.MustParsePrefix("fd12:3456:789a::/64")}},
		})
		for k := range 2 {
			n := 10 + 2*v + k
			c.Ports = append(c.Ports, network.Port{
				ID: fmt.Sprintf("eni-%d", n), VPCID: id, SubnetID: id + "-a", MAC: fmt.Sprintf("0a:00:00:00:00:%02x", n), Socket: fmt.Sprintf("/nonexistent/%d", n),
				PrivateIP: netip.AddrFrom4([4]byte{10, 0, 1, byte(n)}), IPv6: []netip.Addr{netip.MustParseAddr(fmt.Sprintf("fd12:3456:789a::%x", n))},
				Ingress: all, Egress: all, Metadata: metadata.Document{InstanceID: fmt.Sprintf("i-%d", n)},
			})
		}
	}
	if err := h.fabric.Apply(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.fabric.Close(true) })
	for _, p := range c.Ports {
		h.ports = append(h.ports, h.fabric.ports[p.ID])
	}
	for _, p := range h.ports {
		p.advertised.Store(time.Now().Add(time.Hour).UnixNano()) // or each hears of its own router now and then
		p.connected.Store(true)
	}
	return h
}

// FuzzFrames: a guest that sends anything gets nothing into another VPC, and into
// its own only packets that say truly whom they are from.
func FuzzFrames(f *testing.F) {
	h := newHostile(f)
	from := h.ports[0]
	self, other := from.mac[:], h.ports[1].mac[:]
	a, b := netip.MustParseAddr("10.0.1.10"), netip.MustParseAddr("10.0.1.11")
	a6, b6 := netip.MustParseAddr("fd12:3456:789a::a"), netip.MustParseAddr("fd12:3456:789a::b")
	ll := netip.MustParseAddr("fe80::1")
	for _, frame := range [][]byte{
		nettest.UDPFrame(self, other, a, b, 1, 2, []byte("body")), nettest.ARPFrame(self, 1, self, a, b),
		nettest.UDPFrame(self, other, netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255}), 68, 67, make([]byte, 240)),
		nettest.UDPFrame(self, other, a, gateway.Address(from.subnet), 1, 53, make([]byte, 12)),
		nettest.UDPv6Frame(self, other, a6, b6, 1, 2, []byte("body")), nettest.ICMPv6Frame(self, other, a6, b6, make([]byte, 32), 135),
		nettest.ICMPv6Frame(self, other, ll, netip.MustParseAddr("ff02::2"), make([]byte, 8), 133),
		nettest.UDPv6Frame(self, other, ll, gateway.DHCPv6Servers, 546, 547, []byte{1, 0, 0, 1}),
		nettest.UDPv6Frame(self, other, a6, gateway.NamesAddrV6, 1, 53, make([]byte, 12)),
	} {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < ethernetSize || len(frame) > ethernetSize+1500 {
			return
		}
		copy(frame[6:12], from.mac[:]) // another one is dropped at once
		from.input(frame)
		for i, p := range h.ports {
			for drained := false; !drained; {
				select {
				case out := <-p.queue:
					if i >= 2 {
						t.Fatalf("a frame of another VPC: %x", out.b)
					}
					if i == 1 {
						checkTruth(t, from, out.payload())
					}
					p.vpc.frames.put(out)
				default:
					drained = true
				}
			}
		}
	})
}

// checkTruth: what came to the neighbour is the guest's own, or the router's.
func checkTruth(t *testing.T, from *port, b []byte) {
	t.Helper()
	p, ok := parseIP(b)
	if !ok {
		t.Fatalf("the neighbour got what cannot be read: %x", b)
	}
	if !from.owns(p.src) && !from.vpc.isService(p.src) {
		t.Fatalf("the neighbour got a packet from %s", addr(p.src))
	}
}
