package nettest

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/network"
)

// testICMPTypes: a rule of one type lets no other in.
func testICMPTypes(t *testing.T, n *lab) {
	echo, timestamp := uint8(8), uint8(13)
	a, b := n.pair(t, network.Rule{Protocol: "icmp", ICMPType: &timestamp, Peers: anywhere})
	gw := a.ARP(t, b.IP, patience)
	if a.Ping(t, gw, b.IP, 200*time.Millisecond) {
		t.Error("an echo request passed a rule for timestamps")
	}
	n.config.Ports[1].Ingress[0].ICMPType = &echo
	n.apply(t)
	if !a.Ping(t, gw, b.IP, patience) {
		t.Error("an echo request did not pass its rule")
	}
}

// testGroups: a rule that names a group lets its members in and nobody else, and
// follows who is a member.
func testGroups(t *testing.T, n *lab) {
	n.config.Groups = map[string][]netip.Addr{"sg-1": {netip.MustParseAddr("10.0.1.99")}}
	a, b := n.pair(t, network.Rule{Protocol: "icmp", Group: "sg-1"})
	gw := a.ARP(t, b.IP, patience)
	if a.Ping(t, gw, b.IP, 200*time.Millisecond) {
		t.Error("who is not in the group passed its rule")
	}
	n.config.Groups["sg-1"] = append(n.config.Groups["sg-1"], a.IP)
	n.apply(t)
	if !a.Ping(t, gw, b.IP, patience) {
		t.Error("a new member of the group did not pass its rule")
	}
	n.config.Groups = nil
	if err := n.Datapath.Apply(t.Context(), n.config); err == nil {
		t.Error("a rule of a group without members given was accepted")
	}
}

// testSecondary: a guest may use its secondary addresses, and no others; a public
// address of one leads there and moves to another interface at once.
func testSecondary(t *testing.T, n *lab) {
	public := netip.MustParseAddr("127.77.9.9")
	second := netip.MustParseAddr("10.0.1.40")
	n.vpc("vpc-1")
	n.port("vpc-1", "10.0.1.10")
	n.port("vpc-1", "10.0.1.11", allow("tcp", 8081, 8081))
	n.port("vpc-1", "10.0.1.12", allow("tcp", 8081, 8081))
	n.config.Ports[1].Secondary = []netip.Addr{second}
	n.config.Ports[1].Forwards = []network.Forward{{PublicIP: public, PrivateIP: second}}
	n.apply(t)
	a, b, c := n.guest(t, 0), n.guest(t, 1), n.guest(t, 2)
	if got, want := a.ARP(t, second, patience), n.seen(b.MAC, a.ARP(t, gatewayA, patience)); got.String() != want.String() {
		t.Errorf("%s is at %s, want %s", second, got, want)
	}
	spoofed := n.status(t, 1).Spoofed
	gw := b.ARP(t, gatewayA, patience)
	for ip, bad := range map[string]uint64{"10.0.1.40": 0, "10.0.1.41": 1} {
		if err := b.Send(UDPFrame(b.MAC, gw, netip.MustParseAddr(ip), a.IP, 999, 999, []byte("x"))); err != nil {
			t.Fatal(err)
		}
		if bad == 1 {
			eventually(t, "a foreign source is refused", func() bool { return n.status(t, 1).Spoofed == spoofed+1 })
		}
	}
	go say(c.ListenTCP(t, 8081), "third")
	n.config.Ports[1].Forwards = nil
	n.config.Ports[2].PublicIP = public
	n.apply(t)
	conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(public, 8081).String(), patience)
	if err != nil {
		t.Fatalf("the address that moved does not answer: %v", err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if got, _ := io.ReadAll(conn); string(got) != "third" {
		t.Errorf("behind the address that moved is %q", got)
	}
}

// testAnySource has a guest forward packets, which only a port may that is set so.
func testAnySource(t *testing.T, n *lab) {
	a, b := n.pair(t, allow("-1", 0, 0))
	gw, tap := a.ARP(t, gatewayA, patience), b.Tap(t)
	forged := netip.MustParseAddr("192.0.2.7")
	send := func(from, to, link string, dst netip.Addr, payload string) {
		t.Helper()
		hw := b.MAC
		if link == "gateway" {
			hw = gw
		}
		if err := a.Send(UDPFrame(a.MAC, hw, netip.MustParseAddr(from), dst, 7, 7, []byte(payload))); err != nil {
			t.Fatal(err, to)
		}
	}
	before := n.status(t, 0).Spoofed
	send(forged.String(), "guest", "", b.IP, "too early")
	eventually(t, "a foreign source is refused", func() bool { return n.status(t, 0).Spoofed == before+1 })
	n.config.Ports[0].AnySource = true
	n.apply(t)
	send(forged.String(), "guest", "", b.IP, "forwarded")
	select {
	case f := <-tap:
		if !strings.HasSuffix(string(f), "forwarded") || !bytes.Equal(f[26:30], forged.AsSlice()) {
			t.Errorf("the other guest got %x", f)
		}
	case <-time.After(patience):
		t.Error("a forwarded packet did not pass")
	}
	before = n.status(t, 0).Spoofed
	send(forged.String(), "name server", "gateway", gatewayA, "x")
	send("169.254.169.254", "guest", "", b.IP, "x")
	send(gatewayA.String(), "guest", "", b.IP, "x")
	send(forged.String(), "outside", "gateway", netip.MustParseAddr("203.0.113.1"), "x")
	eventually(t, "what may not be forwarded is refused", func() bool { return n.status(t, 0).Spoofed == before+4 })
}

// testRanges: a VPC of several ranges is one network, and they come and go.
func testRanges(t *testing.T, n *lab) {
	a, _ := n.pair(t, allow("tcp", 1, 65535))
	v := &n.config.VPCs[0]
	v.More = []netip.Prefix{netip.MustParsePrefix("192.168.8.0/22"), netip.MustParsePrefix("100.64.0.0/28")}
	v.Subnets = append(v.Subnets, network.Subnet{ID: "vpc-1-c", CIDR: netip.MustParsePrefix("192.168.9.0/24")})
	p := n.port("vpc-1", "192.168.9.7", allow("tcp", 80, 80))
	p.SubnetID = "vpc-1-c"
	n.apply(t)
	c := n.guest(t, 2)
	if c.IP != p.PrivateIP {
		t.Fatalf("the guest of the second range has %s", c.IP)
	}
	go Echo(c.ListenTCP(t, 80))
	conn, err := a.DialTCP(within(t, patience), netip.AddrPortFrom(c.IP, 80))
	if err != nil {
		t.Fatal(err)
	}
	n.agrees(t, a, netip.AddrPortFrom(c.IP, 80), true)
	where := func(to string) network.Place {
		t.Helper()
		trace := n.trace(t, network.Probe{From: "eni-0", Source: a.IP, Destination: netip.MustParseAddr(to), Protocol: 6, Port: 80})
		return trace.Steps[len(trace.Steps)-1].Place
	}
	if got := where("100.64.0.9"); got != network.PlaceVPC {
		t.Errorf("who has no address of the third range is looked for at %s", got)
	}
	if got := where("192.168.9.2"); got != network.PlaceService {
		t.Errorf("the name server of the second range is looked for at %s", got)
	}
	// The range of nobody goes, and what is open stays.
	v.More = v.More[:1]
	n.apply(t)
	if got := where("100.64.0.9"); got == network.PlaceVPC {
		t.Error("a range that is gone is the VPC's")
	}
	if err := RoundTrip(conn, bytes.Repeat([]byte("r"), 10_000)); err != nil {
		t.Errorf("a connection ended with another range: %v", err)
	}
	for _, bad := range [][]netip.Prefix{{netip.MustParsePrefix("10.0.0.0/20")}, {v.More[0], v.More[0]}, {netip.MustParsePrefix("fd00::/64")}} {
		wrong := n.config
		wrong.VPCs = slices.Clone(n.config.VPCs)
		wrong.VPCs[0].More = bad
		if err := n.Datapath.Apply(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), "apart from the others") {
			t.Errorf("ranges %s: %v", bad, err)
		}
	}
}

// say greets each client and ends the connection.
func say(l net.Listener, greeting string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Write([]byte(greeting))
		c.Close()
	}
}
