package nettest

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/network"
)

// testRouter has a guest get what a route leads to it, and answer for those behind it.
func testRouter(t *testing.T, n *lab) {
	behind := netip.MustParseAddr("198.51.100.7")
	n.vpc("vpc-1")
	n.port("vpc-1", "10.0.1.10")
	n.port("vpc-1", "10.0.2.20", allow("udp", 7, 7))
	n.port("vpc-1", "10.0.1.11", allow("udp", 7, 7))
	via := n.config.Ports[1].PrivateIP
	n.config.Ports[0].Routes = []network.Route{
		{CIDR: netip.MustParsePrefix("198.51.100.0/24"), Via: via}, {CIDR: netip.MustParsePrefix("198.51.100.64/26"), Blackhole: true},
		{CIDR: netip.MustParsePrefix("0.0.0.0/0"), Via: via},
	}
	n.config.Ports[0].Egress = []network.Rule{allow("udp", 1, 99)}
	n.apply(t)
	a, r, other := n.guest(t, 0), n.guest(t, 1), n.guest(t, 2)
	gw, back := a.ARP(t, gatewayA, patience), r.ARP(t, netip.MustParseAddr("10.0.2.1"), patience)
	atA, atR, atOther := a.Tap(t), r.Tap(t), other.Tap(t)
	send := func(dst netip.Addr, port uint16, text string) {
		t.Helper()
		if err := a.Send(UDPFrame(a.MAC, gw, a.IP, dst, 7, port, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	// arrives waits for a datagram; nothing that came before it may be what was refused.
	arrives := func(at <-chan []byte, want string) []byte {
		t.Helper()
		for end := time.After(patience); ; {
			select {
			case f := <-at:
				if strings.HasSuffix(string(f), "refused") {
					t.Errorf("what is refused arrived: %x", f)
				}
				if strings.HasSuffix(string(f), want) {
					return f
				}
			case <-end:
				t.Fatalf("%q did not arrive", want)
			}
		}
	}
	send(behind, 7, "refused") // its destination check is on
	send(other.IP, 7, "to a neighbour")
	arrives(atOther, "to a neighbour")
	n.config.Ports[1].AnySource = true
	n.apply(t)
	send(behind, 8, "refused")                                 // by the router's group
	send(behind, 100, "refused")                               // by the sender's
	send(netip.MustParseAddr("198.51.100.65"), 7, "refused")   // into a black hole
	send(netip.MustParseAddr("255.255.255.255"), 7, "refused") // nobody forwards this
	send(other.IP, 7, "inside as before")
	arrives(atOther, "inside as before")
	send(behind, 7, "to the router")
	f := arrives(atR, "to the router")
	if !bytes.Equal(f[:6], r.MAC) || !bytes.Equal(f[26:30], a.IP.AsSlice()) || !bytes.Equal(f[30:34], behind.AsSlice()) {
		t.Errorf("the router got %x", f)
	}
	send(netip.MustParseAddr("203.0.113.9"), 7, "by the default route")
	arrives(atR, "by the default route")
	// The answer finds the flow: the sender's group lets nothing in.
	if err := r.Send(UDPFrame(r.MAC, back, behind, a.IP, 7, 7, []byte("the answer"))); err != nil {
		t.Fatal(err)
	}
	arrives(atA, "the answer")
	if err := r.Send(UDPFrame(r.MAC, back, netip.MustParseAddr("198.51.100.9"), a.IP, 7, 7, []byte("refused"))); err != nil {
		t.Fatal(err)
	}
	trace := n.trace(t, network.Probe{From: "eni-0", Source: a.IP, Destination: behind, Protocol: 17, Port: 7})
	if last := trace.Steps[len(trace.Steps)-1]; !last.Passes || last.On != "eni-1" {
		t.Errorf("the trace ends at %+v", last)
	}

	n.config.Ports[0].Routes = nil
	n.apply(t)
	send(behind, 9, "refused")
	send(other.IP, 7, "without routes")
	arrives(atOther, "without routes")
	if err := r.Send(UDPFrame(r.MAC, back, r.IP, a.IP, 7, 7, []byte("refused"))); err != nil {
		t.Fatal(err)
	}
	send(r.IP, 7, "to the router itself")
	arrives(atR, "to the router itself")
}
