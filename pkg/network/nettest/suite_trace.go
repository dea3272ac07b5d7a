package nettest

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/bundt/bundt/pkg/network"
)

// trace follows a packet; the datapath must be a Tracer.
func (n *lab) trace(t *testing.T, p network.Probe) network.Trace {
	t.Helper()
	tracer, ok := n.Datapath.(network.Tracer)
	if !ok {
		t.Fatal("the datapath traces nothing")
	}
	got, err := tracer.Trace(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// agrees fails the test if a trace says otherwise than what came of a guest's
// connection.
func (n *lab) agrees(t *testing.T, from *Guest, to netip.AddrPort, reached bool) {
	t.Helper()
	for _, p := range n.config.Ports {
		if p.PrivateIP != from.IP {
			continue
		}
		source := from.IP
		if to.Addr().Is6() {
			source = from.IPv6
		}
		got := n.trace(t, network.Probe{From: p.ID, Source: source, Destination: to.Addr(), Protocol: 6, Port: to.Port()})
		if got.Passes() != reached {
			t.Errorf("%s -> %s: the trace says %v, the guests %v: %+v", source, to, got.Passes(), reached, got.Steps)
		}
		return
	}
	t.Errorf("no port has %s", from.IP)
}

// testTrace: which place decides, and by which rule. That the verdict is the
// packets' own is testReach's.
func testTrace(t *testing.T, n *lab) {
	n.vpc("vpc-1")
	web := allow("tcp", 80, 80, "127.0.0.0/8", "10.0.0.0/16")
	web.ID = "sgr-web"
	ping := network.Rule{ID: "sgr-ping", Protocol: "icmp", Group: "sg-a", ICMPType: new(uint8(8))}
	n.port("vpc-1", "10.0.1.10")
	b := n.port("vpc-1", "10.0.1.11", web, ping)
	b.PublicIP = netip.MustParseAddr("127.78.0.11")
	c := n.port("vpc-1", "10.0.2.12", allow("tcp", 80, 80))
	c.PublicIP = netip.MustParseAddr("127.78.0.12")
	n.config.Groups = map[string][]netip.Addr{"sg-a": {netip.MustParseAddr("10.0.1.10")}}
	out := allow("tcp", 1, 1000)
	out.ID = "sgr-out"
	n.config.Ports[0].Egress = []network.Rule{out, {ID: "sgr-all", Protocol: "icmp", Peers: anywhere}}
	n.config.Ports[0].Routes = []network.Route{{CIDR: anywhere[0]}, {CIDR: netip.MustParsePrefix("198.51.100.0/24"), Blackhole: true}}
	n.config.Ports[1].Routes = nil
	n.apply(t)
	n.guest(t, 0)
	n.guest(t, 1)
	eventually(t, "both guests are attached", func() bool { return n.status(t, 0).Connected && n.status(t, 1).Connected })
	for _, m := range []struct {
		name   string
		from   string
		src    string
		dst    string
		proto  uint8
		port   uint16
		place  network.Place
		rule   string
		passes bool
	}{
		{"by a rule", "eni-0", "10.0.1.10", "10.0.1.11", 6, 80, network.PlaceGuest, "sgr-web", true},
		{"by a group's rule", "eni-0", "10.0.1.10", "10.0.1.11", 1, 0, network.PlaceGuest, "sgr-ping", true},
		{"no rule in", "eni-0", "10.0.1.10", "10.0.1.11", 6, 81, network.PlaceIngress, "", false},
		{"no rule out", "eni-0", "10.0.1.10", "10.0.1.11", 6, 2000, network.PlaceEgress, "", false},
		{"not the peer's group", "eni-1", "10.0.1.11", "10.0.1.10", 1, 0, network.PlaceIngress, "", false},
		{"nobody's address", "eni-0", "10.0.1.10", "10.0.1.77", 6, 80, network.PlaceVPC, "", false},
		{"nobody attached", "eni-0", "10.0.1.10", "10.0.2.12", 6, 80, network.PlaceGuest, "", false},
		{"nobody sends", "eni-2", "10.0.2.12", "10.0.1.11", 6, 80, network.PlaceSender, "", false},
		{"forged", "eni-0", "10.0.1.99", "10.0.1.11", 6, 80, network.PlaceSender, "", false},
		{"metadata", "eni-0", "10.0.1.10", "169.254.169.254", 6, 80, network.PlaceService, "", true},
		{"names", "eni-0", "10.0.1.10", "10.0.1.2", 17, 53, network.PlaceService, "", true},
		{"no service", "eni-0", "10.0.1.10", "10.0.1.1", 6, 22, network.PlaceService, "", false},
		{"no route", "eni-1", "10.0.1.11", "192.0.2.1", 6, 443, network.PlaceRoute, "", false},
		{"black hole", "eni-0", "10.0.1.10", "198.51.100.7", 6, 443, network.PlaceRoute, "198.51.100.0/24", false},
		{"the host", "eni-0", "10.0.1.10", "127.0.0.1", 6, 443, network.PlaceHost, "", false},
		{"no rule outside", "eni-0", "10.0.1.10", "192.0.2.1", 17, 53, network.PlaceEgress, "", false},
		{"ping outside", "eni-0", "10.0.1.10", "192.0.2.1", 1, 0, network.PlaceHost, "", false},
		{"public", "", "127.0.0.1", "127.78.0.11", 6, 80, network.PlaceGuest, "sgr-web", true},
		{"public, no rule", "", "127.0.0.1", "127.78.0.11", 6, 22, network.PlaceIngress, "", false},
		{"public, not from this host", "", "203.0.113.9", "127.78.0.11", 6, 80, network.PlaceHost, "", false},
		{"public, UDP", "", "127.0.0.1", "127.78.0.11", 17, 80, network.PlaceIngress, "", false},
		{"public, ICMP", "", "127.0.0.1", "127.78.0.11", 1, 0, network.PlacePublic, "", false},
		{"nobody's public", "", "127.0.0.1", "127.78.0.99", 6, 80, network.PlacePublic, "", false},
		{"public, nobody attached", "", "127.0.0.1", "127.78.0.12", 6, 80, network.PlaceGuest, "", false},
	} {
		p := network.Probe{From: m.from, Source: netip.MustParseAddr(m.src), Destination: netip.MustParseAddr(m.dst), Protocol: m.proto, Port: m.port}
		if m.proto == 1 {
			p.Type = 8
		}
		got := n.trace(t, p)
		last := got.Steps[len(got.Steps)-1]
		if got.Passes() != m.passes || last.Place != m.place || last.Why == "" {
			t.Errorf("%s: %+v, want %s, %v", m.name, got.Steps, m.place, m.passes)
		}
		found := m.rule == ""
		for _, s := range got.Steps {
			found = found || s.Rule == m.rule
		}
		if !found {
			t.Errorf("%s: %+v name no rule %s", m.name, got.Steps, m.rule)
		}
	}
	if _, err := n.Datapath.(network.Tracer).Trace(t.Context(), network.Probe{From: "eni-9"}); !errors.Is(err, network.ErrNoSuchPort) {
		t.Errorf("of an interface that is not there: %v", err)
	}
}
