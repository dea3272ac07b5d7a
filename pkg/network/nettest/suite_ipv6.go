package nettest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/miekg/dns"

	"github.com/bundt/bundt/pkg/network"
)

var (
	anywhereV6 = []netip.Prefix{netip.MustParsePrefix("::/0")}
	allowAllV6 = network.Rule{Protocol: "-1", Peers: anywhereV6}
)

// ipv6 gives VPC i (of the configuration) and all its ports IPv6: the addresses
// end as their IPv4 ones do.
func (n *lab) ipv6(i int) {
	v := &n.config.VPCs[i]
	v.CIDRv6 = netip.MustParsePrefix("fd12:3456:789a::/56")
	for k := range v.Subnets {
		v.Subnets[k].CIDRv6 = netip.MustParsePrefix(fmt.Sprintf("fd12:3456:789a:%x::/64", k))
	}
	for k := range n.config.Ports {
		p := &n.config.Ports[k]
		if p.VPCID != v.ID {
			continue
		}
		host := p.PrivateIP.As4()
		p.IPv6 = []netip.Addr{netip.MustParseAddr(fmt.Sprintf("fd12:3456:789a:%x::%x", host[2]-1, host[3]))}
		p.Egress = append(p.Egress[:len(p.Egress):len(p.Egress)], allowAllV6)
		p.Routes = append(p.Routes[:len(p.Routes):len(p.Routes)], network.Route{CIDR: anywhereV6[0]})
	}
}

// dual attaches a guest with addresses of both kinds.
func (n *lab) dual(t *testing.T, i int) *Guest {
	t.Helper()
	g := n.guest(t, i)
	g.LeaseV6(t)
	return g
}

// pairV6 is two guests with IPv6 in one subnet, the second behind ingress.
func (n *lab) pairV6(t *testing.T, ingress ...network.Rule) (*Guest, *Guest) {
	t.Helper()
	n.vpc("vpc-1")
	n.port("vpc-1", "10.0.1.10")
	n.port("vpc-1", "10.0.1.11", ingress...)
	n.ipv6(0)
	n.apply(t)
	return n.dual(t, 0), n.dual(t, 1)
}

const prefixA = "fd12:3456:789a::"

var gatewayV6 = netip.MustParseAddr(prefixA + "1")

func testLeaseV6(t *testing.T, n *lab) {
	n.vpc("vpc-1")
	n.port("vpc-1", "10.0.1.10")
	n.ipv6(0)
	n.config.Ports[0].IPv6 = append(n.config.Ports[0].IPv6, netip.MustParseAddr(prefixA+"77"))
	n.apply(t)
	g := n.guest(t, 0)
	tap := g.Tap(t)
	reply := g.LeaseV6(t)
	var got []string
	for _, a := range reply.Options.OneIANA().Options.Addresses() {
		got = append(got, a.IPv6Addr.String())
	}
	if want := prefixA + "a " + prefixA + "77"; strings.Join(got, " ") != want {
		t.Errorf("addresses are %q, want %q", got, want)
	}
	if s := reply.Options.DNS(); len(s) != 1 || s[0].String() != "fd00:ec2::253" {
		t.Errorf("name servers are %v", s)
	}
	if d := reply.Options.DomainSearchList(); d == nil || strings.Join(d.Labels, " ") != "ec2.internal" {
		t.Errorf("domains are %v", d)
	}
	checkAdvertisement(t, tap)
	g.ndp.mu.Lock()
	for _, a := range g.ndp.autoGen {
		if !netip.AddrFrom16(a.Address.As16()).IsLinkLocalUnicast() {
			t.Errorf("the guest gave itself the address %s", a)
		}
	}
	g.ndp.mu.Unlock()
	for _, c := range []struct {
		kind dhcpv6.MessageType
		want bool
	}{{dhcpv6.MessageTypeRenew, true}, {dhcpv6.MessageTypeRebind, true}, {dhcpv6.MessageTypeConfirm, true}, {dhcpv6.MessageTypeRelease, true}, {dhcpv6.MessageTypeInformationRequest, true}, {dhcpv6.MessageTypeAdvertise, false}} {
		m, err := dhcpv6.NewRequestFromAdvertise(asAdvertise(reply))
		if err != nil {
			t.Fatal(err)
		}
		m.MessageType = c.kind
		if r := g.TryDHCPv6(t, m, 300*time.Millisecond); (r != nil) != c.want {
			t.Errorf("%s was answered: %v", c.kind, r != nil)
		}
	}
	rapid, err := dhcpv6.NewSolicit(g.MAC, dhcpv6.WithRapidCommit)
	if err != nil {
		t.Fatal(err)
	}
	if r := g.ExchangeV6(t, rapid); r.MessageType != dhcpv6.MessageTypeReply || r.GetOneOption(dhcpv6.OptionRapidCommit) == nil {
		t.Errorf("a rapid solicitation got %s", r.MessageType)
	}
}

func asAdvertise(m *dhcpv6.Message) *dhcpv6.Message {
	a := *m
	a.MessageType = dhcpv6.MessageTypeAdvertise
	return &a
}

// checkAdvertisement: addresses come by DHCPv6, the MTU is the VPC's.
func checkAdvertisement(t *testing.T, tap <-chan []byte) {
	for {
		select {
		case f := <-tap:
			if len(f) < 70 || f[12] != 0x86 || f[54] != 134 {
				continue
			}
			if f[21] != 255 || f[59] != 0xc0 || f[60] == 0 && f[61] == 0 {
				t.Errorf("advertisement: hop limit %d, flags %#x, lifetime %d", f[21], f[59], int(f[60])<<8|int(f[61]))
			}
			if !bytes.Contains(f[70:], []byte{5, 1, 0, 0, 0, 0, 1500 >> 8, 1500 & 0xff}) {
				t.Errorf("advertisement without the MTU: %x", f[70:])
			}
			return
		default:
			t.Error("no advertisement was seen")
			return
		}
	}
}

func testNeighbors(t *testing.T, n *lab) {
	a, b := n.pairV6(t)
	n.port("vpc-1", "10.0.2.20")
	n.ipv6(0)
	n.apply(t)
	router, _ := a.ndp.learned()
	gw := a.Neighbor(t, gatewayV6, patience)
	if gw == nil {
		t.Fatal("the gateway does not answer")
	}
	none := net.HardwareAddr(nil)
	for _, c := range []struct {
		from, target string
		want         net.HardwareAddr
	}{
		{a.IPv6.String(), b.IPv6.String(), n.seen(b.MAC, gw)},
		{a.IPv6.String(), router.String(), gw},
		{a.LinkLocal().String(), router.String(), gw},
		{a.IPv6.String(), "fd00:ec2::254", gw},
		{a.IPv6.String(), "fd12:3456:789a:1::14", gw},
		{a.IPv6.String(), prefixA + "99", none},
		{a.IPv6.String(), b.LinkLocal().String(), none},
		{a.IPv6.String(), "2001:db8::1", none},
		{"::", a.IPv6.String(), none}, // duplicate address detection of its own
		{"::", b.IPv6.String(), n.seen(b.MAC, gw)},
	} {
		wait := patience
		if c.want == nil {
			wait = 100 * time.Millisecond
		}
		if got := a.neighbor(t, netip.MustParseAddr(c.from), netip.MustParseAddr(c.target), wait); !bytes.Equal(got, c.want) {
			t.Errorf("%s asks for %s: at %v, want %v", c.from, c.target, got, c.want)
		}
	}
}

func testReachV6(t *testing.T, n *lab) {
	echo := uint8(128)
	n.config.Groups = map[string][]netip.Addr{"sg-1": {netip.MustParseAddr("10.0.1.10"), netip.MustParseAddr(prefixA + "a")}}
	a, b := n.pairV6(t, allow("tcp", 80, 90, "::/0"), allow("tcp", 22, 22, prefixA+"a/128"), allow("tcp", 23, 23, "0.0.0.0/0"),
		allow("udp", 53, 53, "::/0"), network.Rule{Protocol: "tcp", FromPort: 100, ToPort: 100, Group: "sg-1"},
		network.Rule{Protocol: "icmpv6", ICMPType: &echo, Peers: anywhereV6})
	n.port("vpc-1", "10.0.2.20", allow("tcp", 80, 80, prefixA+"/64"))
	n.ipv6(0)
	n.apply(t)
	c := n.dual(t, 2)
	for _, g := range []*Guest{a, b, c} {
		for _, port := range []uint16{22, 23, 80, 91, 100} {
			go Echo(g.ListenTCP(t, port))
		}
	}
	for _, m := range []struct {
		name     string
		from, to *Guest
		port     uint16
		want     bool
	}{
		{"by port", a, b, 80, true}, {"beyond the range", a, b, 91, false}, {"by peer", a, b, 22, true}, {"by a rule of IPv4", a, b, 23, false},
		{"by group", a, b, 100, true}, {"not of the group", c, b, 100, false}, {"default deny", b, a, 80, false}, {"other subnet", a, c, 80, true},
		{"other subnet, other way", c, b, 80, true}, {"by another peer", c, b, 22, false},
	} {
		wait := patience
		if !m.want {
			wait = 300 * time.Millisecond
		}
		conn, err := m.from.DialTCP(within(t, wait), netip.AddrPortFrom(m.to.IPv6, m.port))
		if (err == nil) != m.want {
			t.Errorf("%s: %v, want reachable %v", m.name, err, m.want)
		}
		n.agrees(t, m.from, netip.AddrPortFrom(m.to.IPv6, m.port), err == nil)
		if err == nil {
			if err := RoundTrip(conn, bytes.Repeat([]byte("x"), 100_000)); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
			conn.Close()
		}
	}
	gw := a.Neighbor(t, gatewayV6, patience)
	for _, p := range []struct {
		from *Guest
		to   netip.Addr
		want bool
	}{{a, gatewayV6, true}, {a, b.IPv6, true}, {b, a.IPv6, false}, {a, netip.MustParseAddr("2001:db8::1"), false}} {
		wait := patience
		if !p.want {
			wait = 200 * time.Millisecond
		}
		if got := p.from.PingV6(t, gw, p.to, wait); got != p.want {
			t.Errorf("ping %s -> %s: %v", p.from.IPv6, p.to, got)
		}
	}
	testUDPReachV6(t, a, b)
}

// testUDPReachV6: small and fragmented datagrams, and their answers.
func testUDPReachV6(t *testing.T, a, b *Guest) {
	open, from := b.UDPv6(t, 53), a.UDPv6(t, 600)
	buf := make([]byte, 4000)
	for _, body := range [][]byte{[]byte("hello"), bytes.Repeat([]byte("f"), 3000)} {
		_, _ = from.WriteTo(body, &net.UDPAddr{IP: b.IPv6.AsSlice(), Port: 53})
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
	shut := b.UDPv6(t, 54)
	_, _ = from.WriteTo([]byte("hello"), &net.UDPAddr{IP: b.IPv6.AsSlice(), Port: 54})
	_ = shut.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, _, err := shut.ReadFrom(buf); err == nil {
		t.Error("UDP passed to a port that no rule opens")
	}
}

func testSpoofingV6(t *testing.T, n *lab) {
	a, b := n.pairV6(t, allowAllV6)
	gw := a.Neighbor(t, gatewayV6, patience)
	router, _ := a.ndp.learned()
	gatewayLL := netip.AddrFrom16(router.As16())
	tap := b.Tap(t)
	forged := netip.MustParseAddr(prefixA + "50")
	otherMAC := net.HardwareAddr{2, 0, 0, 0, 0, 0x66}
	allNodes := netip.MustParseAddr("ff02::1")
	marker := []byte("forged-frame-marker-0123456789")
	target := func(a netip.Addr, options ...byte) []byte {
		return append(append(make([]byte, 8), a.AsSlice()...), options...)
	}
	advertise, err := dhcpv6.NewMessage()
	if err != nil {
		t.Fatal(err)
	}
	advertise.MessageType = dhcpv6.MessageTypeAdvertise
	for name, f := range map[string][]byte{
		"IP address":          UDPv6Frame(a.MAC, b.MAC, forged, b.IPv6, 1, 2, marker),
		"another's address":   UDPv6Frame(a.MAC, b.MAC, b.IPv6, b.IPv6, 1, 2, marker),
		"link address":        UDPv6Frame(otherMAC, b.MAC, a.IPv6, b.IPv6, 1, 2, marker),
		"IMDS address":        UDPv6Frame(a.MAC, b.MAC, netip.MustParseAddr("fd00:ec2::254"), b.IPv6, 80, 2, marker),
		"solicitation source": ICMPv6Frame(a.MAC, b.MAC, forged, b.IPv6, target(b.IPv6), 135),
		"solicitation link":   ICMPv6Frame(a.MAC, b.MAC, a.IPv6, b.IPv6, target(b.IPv6, linkOption(1, otherMAC)...), 135),
		"solicitation short":  ICMPv6Frame(a.MAC, b.MAC, a.IPv6, b.IPv6, make([]byte, 10), 135),
		"option of length 0":  ICMPv6Frame(a.MAC, b.MAC, a.IPv6, b.IPv6, target(b.IPv6, make([]byte, 8)...), 135),
		"advertisement":       ICMPv6Frame(a.MAC, b.MAC, a.IPv6, b.IPv6, target(gatewayV6, linkOption(2, a.MAC)...), 136),
		"advertisement link":  ICMPv6Frame(a.MAC, b.MAC, a.IPv6, b.IPv6, target(a.IPv6, linkOption(2, otherMAC)...), 136),
		"router":              ICMPv6Frame(a.MAC, multicastMAC(allNodes), a.LinkLocal(), allNodes, make([]byte, 16), 134),
		"redirect":            ICMPv6Frame(a.MAC, b.MAC, gatewayLL, b.IPv6, make([]byte, 40), 137),
		"DHCPv6 server":       UDPv6Frame(a.MAC, b.MAC, a.LinkLocal(), b.LinkLocal(), 547, 546, advertise.ToBytes()),
		"DHCPv6 source":       UDPv6Frame(a.MAC, gw, a.IPv6, dhcpServers, 546, 547, advertise.ToBytes()),
		"IPv4 mapped":         UDPv6Frame(a.MAC, b.MAC, netip.AddrFrom16(b.IP.As16()), b.IPv6, 1, 2, marker),
	} {
		before := n.status(t, 0).Spoofed
		if err := a.Send(f); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" is counted as spoofed", func() bool { return n.status(t, 0).Spoofed == before+1 })
	}
	// These are nobody's, and go nowhere.
	for _, f := range [][]byte{
		UDPv6Frame(a.MAC, b.MAC, a.LinkLocal(), b.LinkLocal(), 1, 2, marker),
		UDPv6Frame(a.MAC, b.MAC, a.LinkLocal(), b.IPv6, 1, 2, marker),
		UDPv6Frame(a.MAC, multicastMAC(allNodes), a.IPv6, allNodes, 1, 2, marker),
		UDPv6Frame(a.MAC, b.MAC, netip.IPv6Unspecified(), b.IPv6, 1, 2, marker),
		IPv6Frame(a.MAC, b.MAC, a.IPv6, b.IPv6, 43, append([]byte{17, 2, 0, 1, 0, 0, 0, 0}, make([]byte, 40)...)), // a routing header
		UDPFrame(a.MAC, b.MAC, a.IP, b.IP, 1, 2, marker)[:20],
	} {
		if err := a.Send(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Send(UDPv6Frame(a.MAC, b.MAC, a.IPv6, b.IPv6, 1, 2, []byte("good"))); err != nil {
		t.Fatal(err)
	}
	for {
		select {
		case f := <-tap:
			if bytes.HasSuffix(f, []byte("good")) {
				return
			}
			if len(f) < 62 || f[20] != 58 || f[54] != 136 { // an answer to its own neighbour discovery
				t.Errorf("a forged frame reached the other guest: %x", f)
			}
		case <-time.After(patience):
			t.Fatal("the good frame did not pass")
		}
	}
}

// httpV6 returns a client that connects from the guest to the metadata service by IPv6.
func (g *Guest) httpV6(wait time.Duration) *http.Client {
	return &http.Client{Timeout: wait, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return g.DialTCP(ctx, netip.MustParseAddrPort("[fd00:ec2::254]:80"))
	}, DisableKeepAlives: true}}
}

func testServicesV6(t *testing.T, n *lab) {
	a, b := n.pairV6(t)
	n.config.Ports[1].Names = append(n.config.Ports[1].Names, "web", "ip-10-0-1-11", "i-1")
	n.config.Ports[0].NamesV6 = []string{"i-0"}
	n.config.Ports[0].Metadata.Options.IPv6 = true
	n.apply(t)
	tap := a.Tap(t)
	code, token := fetch(t, a.httpV6(patience), "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	if code != 200 {
		t.Fatalf("token: %d", code)
	}
	for limited := false; !limited; {
		f := <-tap
		if limited = bytes.Contains(f, []byte(token)); limited && f[21] != 1 {
			t.Errorf("the token was sent with a hop limit of %d", f[21])
		}
	}
	if code, id := fetch(t, a.httpV6(patience), "GET", "/latest/meta-data/instance-id", "X-aws-ec2-metadata-token", token); code != 200 || id != "i-0" {
		t.Errorf("metadata by IPv6: %d %q", code, id)
	}
	if r, err := b.httpV6(300 * time.Millisecond).Get(imds + "/latest/"); err == nil {
		r.Body.Close()
		t.Error("the IPv6 endpoint answers an instance that has it disabled")
	}
	for g, reached := range map[*Guest]bool{a: true, b: false} {
		n.agrees(t, g, netip.MustParseAddrPort("[fd00:ec2::254]:80"), reached)
	}
	for _, transport := range []string{"udp", "tcp"} {
		for _, server := range []string{"fd00:ec2::253", "10.0.1.2"} {
			for _, c := range []struct {
				name string
				kind uint16
				want string
			}{
				{"web.bundt.internal.", dns.TypeAAAA, prefixA + "b"},
				{"web.ec2.internal.", dns.TypeA, "10.0.1.11"},
				{"ip-10-0-1-11.ec2.internal.", dns.TypeA, "10.0.1.11"},
				{"ip-10-0-1-11.ec2.internal.", dns.TypeAAAA, ""}, // as on EC2: it names the IPv4 address
				{"i-1.ec2.internal.", dns.TypeA, "10.0.1.11"},    // resource names: records as asked for
				{"i-1.ec2.internal.", dns.TypeAAAA, ""},
				{"i-0.ec2.internal.", dns.TypeAAAA, prefixA + "a"},
				{"i-0.ec2.internal.", dns.TypeA, ""},
				{"b.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa.", dns.TypePTR, "ip-10-0-1-11.ec2.internal."},
			} {
				m := ask(t, a, transport, server, c.name, c.kind)
				got := ""
				for _, rr := range m.Answer {
					got += strings.TrimPrefix(rr.String(), rr.Header().String())
				}
				if m.Rcode != dns.RcodeSuccess || got != c.want {
					t.Errorf("%s %s at %s by %s: %s %q", dns.TypeToString[c.kind], c.name, server, transport, dns.RcodeToString[m.Rcode], got)
				}
			}
		}
	}
}

// testEgressV6: nothing of the host can be reached by IPv6.
func testEgressV6(t *testing.T, n *lab) {
	a, _ := n.pairV6(t)
	l, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	seen := make(chan net.Addr, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			seen <- c.RemoteAddr()
			c.Close()
		}
	}()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	refused := []string{"::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::1", "fd00:ec2::254", gatewayV6.String()}
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, own := range list {
		if ip := own.(*net.IPNet).IP; ip.To4() == nil && !ip.IsLinkLocalUnicast() {
			refused = append(refused, ip.String())
		}
	}
	for _, dst := range refused {
		if c, err := a.DialTCP(within(t, 300*time.Millisecond), netip.AddrPortFrom(netip.MustParseAddr(dst), port)); err == nil {
			c.Close()
			t.Errorf("the guest reached %s", dst)
		}
	}
	select {
	case from := <-seen:
		t.Errorf("the host's listener was reached from %s", from)
	default:
	}
}

// testLateV6: a VPC gets IPv6 and loses it while its guests run and talk.
func testLateV6(t *testing.T, n *lab) {
	a, b := n.pair(t, allow("tcp", 80, 80), allow("tcp", 80, 80, "::/0"))
	go Echo(b.ListenTCP(t, 80))
	c, err := a.DialTCP(within(t, patience), netip.AddrPortFrom(b.IP, 80))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	chat{c}.say(t, "before")
	before := n.config
	n.config.VPCs = append([]network.VPC{}, before.VPCs...)
	n.config.VPCs[0].Subnets = append([]network.Subnet{}, before.VPCs[0].Subnets...)
	n.config.Ports = append([]network.Port{}, before.Ports...)
	n.ipv6(0)
	n.apply(t)
	chat{c}.say(t, "with")
	a.LeaseV6(t)
	b.LeaseV6(t)
	v6, err := a.DialTCP(within(t, patience), netip.AddrPortFrom(b.IPv6, 80))
	if err != nil {
		t.Fatal(err)
	}
	defer v6.Close()
	chat{v6}.say(t, "by IPv6")
	n.config = before
	n.apply(t)
	chat{c}.say(t, "after")
	if _, err := a.DialTCP(within(t, 300*time.Millisecond), netip.AddrPortFrom(b.IPv6, 80)); err == nil {
		t.Error("the VPC still carries IPv6")
	}
	bad := n.config
	bad.Ports = append([]network.Port{}, n.config.Ports...)
	bad.Ports[0].IPv6 = []netip.Addr{netip.MustParseAddr(prefixA + "a")}
	if err := n.Datapath.Apply(t.Context(), bad); err == nil {
		t.Error("an address outside of every subnet was accepted")
	}
}
