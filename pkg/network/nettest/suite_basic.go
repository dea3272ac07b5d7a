package nettest

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/bundt/bundt/pkg/network"
)

var gatewayA = netip.MustParseAddr("10.0.1.1")

func testDHCP(t *testing.T, n *lab) {
	n.vpc("vpc-1")
	n.port("vpc-1", "10.0.2.7")
	n.apply(t)
	g := n.unleased(t, 0)
	before := time.Now()
	ack := g.Lease(t)
	for what, c := range map[string][2]string{
		"address":     {ack.YourIPAddr.String(), "10.0.2.7"},
		"mask":        {net.IP(ack.SubnetMask()).String(), "255.255.255.0"},
		"router":      {ack.Router()[0].String(), "10.0.2.1"},
		"server":      {ack.ServerIdentifier().String(), "10.0.2.1"},
		"name server": {ack.DNS()[0].String(), "10.0.2.2"},
		"second":      {ack.DNS()[1].String(), "169.254.169.253"},
		"domain":      {ack.DomainName(), "ec2.internal"},
		"host name":   {ack.HostName(), "ip-10-0-2-7"},
	} {
		if c[0] != c[1] {
			t.Errorf("%s is %q, want %q", what, c[0], c[1])
		}
	}
	if mtu := ack.Options.Get(dhcpv4.OptionInterfaceMTU); !bytes.Equal(mtu, []byte{1500 >> 8, 1500 & 0xff}) {
		t.Errorf("MTU option is %v", mtu)
	}
	var routes []string
	for _, r := range ack.ClasslessStaticRoute() {
		routes = append(routes, r.Dest.String()+" "+r.Router.String())
	}
	want := []string{"0.0.0.0/0 10.0.2.1", "169.254.169.254/32 10.0.2.1", "169.254.169.253/32 10.0.2.1"}
	if !slices.Equal(routes, want) {
		t.Errorf("routes are %q, want %q", routes, want)
	}
	if ack.IPAddressLeaseTime(0) < time.Minute {
		t.Errorf("lease time is %s", ack.IPAddressLeaseTime(0))
	}
	s := n.status(t, 0)
	if !s.Connected || s.LeasedAt.Before(before) || s.LastSeen.Before(before) {
		t.Errorf("status after the lease: %+v", s)
	}
	testForeignAddress(t, g)
}

// testForeignAddress: who asks for another address than its own is refused.
func testForeignAddress(t *testing.T, g *Guest) {
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(g.MAC), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IPv4(10, 0, 2, 99))))
	if err != nil {
		t.Fatal(err)
	}
	if r := g.Exchange(t, m); r.MessageType() != dhcpv4.MessageTypeNak {
		t.Errorf("a foreign address got %s", r.MessageType())
	}
}

func testARP(t *testing.T, n *lab) {
	a, b := n.pair(t)
	n.port("vpc-1", "10.0.2.20")
	n.apply(t)
	gw := a.ARP(t, gatewayA, patience)
	if gw == nil {
		t.Fatal("the gateway does not answer")
	}
	for _, c := range []struct {
		target string
		want   net.HardwareAddr
	}{
		{b.IP.String(), n.seen(b.MAC, gw)},
		{"10.0.1.2", gw},
		{"169.254.169.254", gw},
		{"169.254.169.253", gw},
		{"10.0.2.20", gw},
		{"10.0.1.77", nil},
		{a.IP.String(), nil}, // or duplicate address detection would fail
		{"192.0.2.1", nil},
	} {
		wait := patience
		if c.want == nil {
			wait = 100 * time.Millisecond
		}
		if got := a.ARP(t, netip.MustParseAddr(c.target), wait); !bytes.Equal(got, c.want) {
			t.Errorf("%s is at %v, want %v", c.target, got, c.want)
		}
	}
}

func testReach(t *testing.T, n *lab) {
	a, b := n.pair(t, allow("tcp", 80, 90), allow("tcp", 22, 22, "10.0.1.10/32"), allow("tcp", 23, 23, "10.0.1.99/32"), allow("udp", 53, 53))
	n.port("vpc-1", "10.0.2.20", allow("tcp", 80, 80, "10.0.1.0/24"))
	n.config.Ports[0].Egress = []network.Rule{allow("tcp", 1, 1000, "10.0.0.0/16"), allow("udp", 1, 1000)}
	n.apply(t)
	c := n.guest(t, 2)
	for _, g := range []*Guest{a, b, c} {
		for _, port := range []uint16{22, 23, 80, 90, 91, 2000} {
			go Echo(g.ListenTCP(t, port))
		}
	}
	for _, m := range []struct {
		name     string
		from, to *Guest
		port     uint16
		want     bool
	}{
		{"allowed by port", a, b, 80, true},
		{"last of the range", a, b, 90, true},
		{"beyond the range", a, b, 91, false},
		{"allowed by peer", a, b, 22, true},
		{"denied by peer", a, b, 23, false},
		{"denied by egress", a, b, 2000, false},
		{"default deny", b, a, 80, false},
		{"other subnet", a, c, 80, true},
		{"other subnet, denied", b, c, 22, false},
		{"other subnet, other way", c, b, 80, true},
	} {
		t.Run(m.name, func(t *testing.T) {
			wait := patience
			if !m.want {
				wait = 300 * time.Millisecond
			}
			conn, err := m.from.DialTCP(within(t, wait), netip.AddrPortFrom(m.to.IP, m.port))
			if (err == nil) != m.want {
				t.Fatalf("%s -> %s:%d: %v, want reachable %v", m.from.IP, m.to.IP, m.port, err, m.want)
			}
			n.agrees(t, m.from, netip.AddrPortFrom(m.to.IP, m.port), err == nil)
			if err == nil {
				defer conn.Close()
				if err := RoundTrip(conn, bytes.Repeat([]byte("x"), 100_000)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	testUDPReach(t, a, b)
	n.counted(t)
}

// counted: what testReach sent has been counted, and what was refused.
func (n *lab) counted(t *testing.T) {
	t.Helper()
	a, b := n.status(t, 0), n.status(t, 1)
	for what, c := range map[string]network.Traffic{"a sent": a.Sent, "a received": a.Received, "b sent": b.Sent, "b received": b.Received} {
		// Three times 100,000 bytes there and back.
		if c.Packets < 100 || c.Bytes < 300_000 || c.Bytes > 100_000_000 || c.Bytes < c.Packets*42 {
			t.Errorf("%s %d packets, %d bytes", what, c.Packets, c.Bytes)
		}
	}
	if a.Refused == nil || b.Refused == nil || a.Refused.Egress == 0 || b.Refused.Ingress == 0 {
		t.Errorf("refused: %+v by a, %+v by b", a.Refused, b.Refused)
	}
}

// testUDPReach: what a allowed port gets can be answered, and nothing else passes.
func testUDPReach(t *testing.T, a, b *Guest) {
	open, shut := b.UDP(t, 53), b.UDP(t, 54)
	from := a.UDP(t, 600)
	to := func(g *Guest, port int) net.Addr { return &net.UDPAddr{IP: g.IP.AsSlice(), Port: port} }
	buf := make([]byte, 2000)
	big := bytes.Repeat([]byte("f"), 1900) // in two fragments
	for _, body := range [][]byte{[]byte("hello"), big} {
		_, _ = from.WriteTo(body, to(b, 53))
		_ = open.SetReadDeadline(time.Now().Add(patience))
		got, who, err := open.ReadFrom(buf)
		if err != nil || !bytes.Equal(buf[:got], body) {
			t.Fatalf("UDP of %d bytes to an open port: %d, %v", len(body), got, err)
		}
		_, _ = open.WriteTo([]byte("reply"), who)
		_ = from.SetReadDeadline(time.Now().Add(patience))
		if got, _, err := from.ReadFrom(buf); err != nil || string(buf[:got]) != "reply" {
			t.Errorf("the reply did not pass: %v", err)
		}
	}
	_, _ = from.WriteTo([]byte("hello"), to(b, 54))
	_ = shut.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, _, err := shut.ReadFrom(buf); err == nil {
		t.Error("UDP passed to a port that no rule opens")
	}
	_, _ = open.WriteTo([]byte("unasked"), to(a, 601))
	other := a.UDP(t, 601)
	_ = other.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, _, err := other.ReadFrom(buf); err == nil {
		t.Error("UDP passed to a guest with no ingress rule")
	}
}

func testICMP(t *testing.T, n *lab) {
	a, b := n.pair(t, allow("icmp", 0, 0, "10.0.1.10/32"))
	gw := a.ARP(t, gatewayA, patience)
	for _, c := range []struct {
		from *Guest
		to   string
		want bool
	}{
		{a, "10.0.1.1", true},
		{a, "10.0.1.11", true},
		{b, "10.0.1.10", false},
		{a, "198.51.100.1", false}, // nobody may answer for the outside
	} {
		wait := patience
		if !c.want {
			wait = 200 * time.Millisecond
		}
		if got := c.from.Ping(t, gw, netip.MustParseAddr(c.to), wait); got != c.want {
			t.Errorf("ping %s -> %s: %v, want %v", c.from.IP, c.to, got, c.want)
		}
	}
}

func testSpoofing(t *testing.T, n *lab) {
	a, b := n.pair(t, allow("-1", 0, 0))
	gw := a.ARP(t, gatewayA, patience)
	tap := b.Tap(t)
	forged := netip.MustParseAddr("10.0.1.50")
	otherMAC := net.HardwareAddr{2, 0, 0, 0, 0, 0x66}
	marker := []byte("forged-frame-marker-0123456789")
	offer, err := dhcpv4.New(dhcpv4.WithHwAddr(b.MAC), dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer))
	if err != nil {
		t.Fatal(err)
	}
	discover, err := dhcpv4.NewDiscovery(otherMAC)
	if err != nil {
		t.Fatal(err)
	}
	limited := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	for name, f := range map[string][]byte{
		"link address":  UDPFrame(otherMAC, b.MAC, a.IP, b.IP, 1, 2, marker),
		"IP address":    UDPFrame(a.MAC, b.MAC, forged, b.IP, 1, 2, marker),
		"IMDS address":  UDPFrame(a.MAC, b.MAC, netip.MustParseAddr("169.254.169.254"), b.IP, 80, 2, marker),
		"ARP sender":    ARPFrame(a.MAC, 1, a.MAC, forged, b.IP),
		"ARP link":      ARPFrame(a.MAC, 1, otherMAC, a.IP, b.IP),
		"ARP reply":     ARPFrame(a.MAC, 2, a.MAC, gatewayA, b.IP),
		"DHCP server":   UDPFrame(a.MAC, b.MAC, a.IP, b.IP, 67, 68, offer.ToBytes()),
		"DHCP client":   UDPFrame(a.MAC, Broadcast, netip.IPv4Unspecified(), limited, 68, 67, discover.ToBytes()),
		"source zero":   UDPFrame(a.MAC, b.MAC, netip.IPv4Unspecified(), b.IP, 1, 2, marker),
		"IP to gateway": UDPFrame(a.MAC, gw, forged, gatewayA, 1, 53, marker),
	} {
		before := n.status(t, 0).Spoofed
		if err := a.Send(f); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" is counted as spoofed", func() bool { return n.status(t, 0).Spoofed == before+1 })
	}
	// A good one comes through, and is the first to.
	if err := a.Send(UDPFrame(a.MAC, b.MAC, a.IP, b.IP, 1, 2, []byte("good"))); err != nil {
		t.Fatal(err)
	}
	select {
	case f := <-tap:
		if !strings.HasSuffix(string(f), "good") {
			t.Errorf("a forged frame reached the other guest: %x", f)
		}
	case <-time.After(patience):
		t.Error("the good frame did not pass")
	}
}

func testBadConfig(t *testing.T, n *lab) {
	a, b := n.pair(t, allow("tcp", 80, 80))
	go Echo(b.ListenTCP(t, 80))
	for name, spoil := range map[string]func(p *network.Port){
		"protocol": func(p *network.Port) { p.Ingress = []network.Rule{{Protocol: "sctp"}} },
		"MAC":      func(p *network.Port) { p.MAC = "nonsense" },
		"twin":     func(p *network.Port) { p.PrivateIP = netip.MustParseAddr("10.0.1.10") },
		"gateway":  func(p *network.Port) { p.PrivateIP = gatewayA },
		"subnet":   func(p *network.Port) { p.SubnetID = "subnet-none" },
		"VPC":      func(p *network.Port) { p.VPCID = "vpc-none" },
		"public":   func(p *network.Port) { p.PublicIP = netip.MustParseAddr("224.0.0.1") },
		"outside":  func(p *network.Port) { p.PrivateIP = netip.MustParseAddr("10.0.2.11") },
	} {
		bad := n.config
		bad.Ports = slices.Clone(n.config.Ports)
		spoil(&bad.Ports[1])
		if err := n.Datapath.Apply(t.Context(), bad); err == nil {
			t.Errorf("%s: a bad configuration was applied", name)
		}
	}
	c, err := a.DialTCP(within(t, patience), netip.AddrPortFrom(b.IP, 80))
	if err != nil {
		t.Fatal("bad configurations changed something: ", err)
	}
	defer c.Close()
	if err := RoundTrip(c, []byte("still")); err != nil {
		t.Error(err)
	}
}

func testDial(t *testing.T, n *lab) {
	_, b := n.pair(t)
	go Echo(b.ListenTCP(t, 22))
	c, err := n.Datapath.Dial(within(t, patience), n.config.Ports[1].ID, 22)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := RoundTrip(c, bytes.Repeat([]byte("d"), 1<<20)); err != nil {
		t.Error(err)
	}
	if _, err := n.Datapath.Dial(within(t, patience), "eni-none", 22); !errors.Is(err, network.ErrNoSuchPort) {
		t.Errorf("dialing no port: %v", err)
	}
	if _, err := n.Datapath.Dial(within(t, patience), n.config.Ports[1].ID, 23); !errors.Is(err, network.ErrUnreachable) {
		t.Errorf("dialing a closed port: %v", err)
	}
}
