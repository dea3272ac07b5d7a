package nettest

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/bundt/bundt/pkg/metadata"
	"github.com/bundt/bundt/pkg/model"
)

// http returns a client that connects from the guest.
func (g *Guest) http() *http.Client {
	return &http.Client{
		Timeout: patience,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return g.DialTCP(ctx, netip.MustParseAddrPort(address))
		}, DisableKeepAlives: true},
	}
}

const imds = "http://169.254.169.254"

func fetch(t *testing.T, c *http.Client, method, path string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, imds+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func testMetadata(t *testing.T, n *lab) {
	n.vpc("vpc-1")
	n.port("vpc-1", "10.0.1.10")
	n.port("vpc-1", "10.0.1.11")
	n.config.Ports[1].Metadata.Options = metadata.Options{TokensRequired: true}
	n.apply(t)
	a, b := n.guest(t, 0), n.guest(t, 1)
	if code, id := fetch(t, a.http(), "GET", "/latest/meta-data/instance-id"); code != 200 || id != "i-0" {
		t.Errorf("first guest: %d %q", code, id)
	}
	if code, _ := fetch(t, b.http(), "GET", "/latest/meta-data/instance-id"); code != 401 {
		t.Errorf("second guest without a token: %d", code)
	}
	tap := b.Tap(t)
	code, token := fetch(t, b.http(), "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	if code != 200 {
		t.Fatalf("token: %d", code)
	}
	if !hopLimited(tap, token) {
		t.Error("the token was not sent with a TTL of 1")
	}
	if code, id := fetch(t, b.http(), "GET", "/latest/meta-data/instance-id", "X-aws-ec2-metadata-token", token); code != 200 || id != "i-1" {
		t.Errorf("second guest: %d %q", code, id)
	}
	if code, _ := fetch(t, a.http(), "GET", "/latest/meta-data/instance-id", "X-aws-ec2-metadata-token", token); code != 401 {
		t.Errorf("another's token: %d", code)
	}
	n.config.Ports[0].Metadata.UserData = []byte("#!/bin/sh\n")
	n.apply(t)
	if code, data := fetch(t, a.http(), "GET", "/latest/user-data"); code != 200 || data != "#!/bin/sh\n" {
		t.Errorf("changed user data: %d %q", code, data)
	}
	n.Kill(t)
	eventually(t, "the guest is attached again", func() bool { return n.status(t, 1).Connected })
	if code, id := fetch(t, b.http(), "GET", "/latest/meta-data/instance-id", "X-aws-ec2-metadata-token", token); code != 200 || id != "i-1" {
		t.Errorf("token after a restart: %d %q", code, id)
	}
}

// testIdentity: documents are signed once there is a key, and a bad key is refused.
func testIdentity(t *testing.T, n *lab) {
	a, _ := n.pair(t)
	const path = "/latest/dynamic/instance-identity/"
	if code, _ := fetch(t, a.http(), "GET", path+"signature"); code != 404 {
		t.Errorf("a signature without a key: %d", code)
	}
	key, err := metadata.NewSigningKey("local-1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	n.config.Signing = &key
	n.apply(t)
	certificate, err := x509.ParseCertificate(key.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	_, document := fetch(t, a.http(), "GET", path+"document")
	_, text := fetch(t, a.http(), "GET", path+"signature")
	signature, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := certificate.CheckSignature(x509.SHA256WithRSA, []byte(document), signature); err != nil {
		t.Errorf("the document's signature: %v", err)
	}
	n.config.Signing = &model.SigningKey{Key: key.Key}
	if err := n.Datapath.Apply(t.Context(), n.config); err == nil {
		t.Error("a key without a certificate was accepted")
	}
}

// hopLimited says if the frame that brought the token may go no further.
func hopLimited(tap <-chan []byte, token string) bool {
	for {
		select {
		case f := <-tap:
			if bytes.Contains(f, []byte(token)) {
				return f[22] == 1
			}
		default:
			return false
		}
	}
}

func testDNS(t *testing.T, n *lab) {
	a, _ := n.pair(t)
	n.config.Ports[1].Names = append(n.config.Ports[1].Names, "Web")
	n.config.VPCs[0].Reverse = map[netip.Addr]string{netip.MustParseAddr("127.77.1.2"): "mail.example.com."}
	n.apply(t)
	for _, transport := range []string{"udp", "tcp"} {
		for _, server := range []string{"10.0.1.2", "169.254.169.253"} {
			for _, c := range []struct {
				name  string
				kind  uint16
				rcode int
				want  string
			}{
				{"ip-10-0-1-11.ec2.internal.", dns.TypeA, dns.RcodeSuccess, "10.0.1.11"},
				{"host-1.ec2.internal.", dns.TypeA, dns.RcodeSuccess, "10.0.1.11"},
				{"WEB.bundt.internal.", dns.TypeA, dns.RcodeSuccess, "10.0.1.11"},
				{"web.bundt.internal.", dns.TypeAAAA, dns.RcodeSuccess, ""},
				{"none.bundt.internal.", dns.TypeA, dns.RcodeNameError, ""},
				{"11.1.0.10.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, "ip-10-0-1-11.ec2.internal."},
				{"99.1.0.10.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, ""},
				{"2.1.77.127.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, "mail.example.com."},
				{"2.1.77.127.in-addr.arpa.", dns.TypeA, dns.RcodeSuccess, ""},
				// The environment gives no resolver for these.
				{"3.1.77.127.in-addr.arpa.", dns.TypePTR, dns.RcodeServerFailure, ""},
				{"example.com.", dns.TypeA, dns.RcodeServerFailure, ""},
			} {
				m := ask(t, a, transport, server, c.name, c.kind)
				got := ""
				for _, rr := range m.Answer {
					got += strings.TrimPrefix(rr.String(), rr.Header().String())
				}
				if m.Rcode != c.rcode || got != c.want {
					t.Errorf("%s %s at %s by %s: %s %q", dns.TypeToString[c.kind], c.name, server, transport, dns.RcodeToString[m.Rcode], got)
				}
			}
		}
	}
}

// ask queries the server from the guest.
func ask(t *testing.T, g *Guest, transport, server, name string, kind uint16) *dns.Msg {
	t.Helper()
	q := new(dns.Msg).SetQuestion(name, kind)
	var c net.Conn
	to := netip.AddrPortFrom(netip.MustParseAddr(server), 53)
	if transport == "tcp" {
		conn, err := g.DialTCP(within(t, patience), to)
		if err != nil {
			t.Fatal(err)
		}
		c = conn
	} else if to.Addr().Is6() {
		c = connected{g.UDPv6(t, 0), net.UDPAddrFromAddrPort(to)}
	} else {
		c = connected{g.UDP(t, 0), net.UDPAddrFromAddrPort(to)}
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	conn := &dns.Conn{Conn: c, UDPSize: 4096}
	if err := conn.WriteMsg(q); err != nil {
		t.Fatal(err)
	}
	m, err := conn.ReadMsg()
	if err != nil {
		t.Fatalf("%s at %s by %s: %v", name, server, transport, err)
	}
	return m
}

// connected is a packet connection with a fixed peer.
type connected struct {
	packetConn
	to net.Addr
}

type packetConn interface {
	net.Conn
	net.PacketConn
}

func (c connected) Write(b []byte) (int, error) { return c.WriteTo(b, c.to) }

func testPublic(t *testing.T, n *lab) {
	public := netip.MustParseAddr("127.77.3.5")
	n.vpc("vpc-1")
	n.port("vpc-1", "10.0.1.10", allow("tcp", 18080, 18080), allow("tcp", 18081, 18081, "10.0.0.0/8"),
		allow("tcp", 20000, 30000), allow("tcp", 18082, 18082, "127.0.0.9/32"))
	n.config.Ports[0].PublicIP = public
	n.apply(t)
	g := n.guest(t, 0)
	go Echo(g.ListenTCP(t, 18080))
	s := n.status(t, 0)
	want := []netip.AddrPort{netip.AddrPortFrom(public, 18080), netip.AddrPortFrom(public, 18082)}
	if len(s.Listening) != 2 || s.Listening[0] != want[0] || s.Listening[1] != want[1] {
		t.Errorf("listening on %v, want %v", s.Listening, want)
	}
	if s.Problems["127.77.3.5:20000-30000"] == "" {
		t.Errorf("no word about the large range: %v", s.Problems)
	}
	c, err := net.Dial("tcp", want[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := RoundTrip(c, bytes.Repeat([]byte("0123456789abcdef"), 1<<16)); err != nil {
		t.Error(err)
	}
	testPublicRefusals(t, n, g, public)
	n.config.Ports[0].Ingress = nil
	n.apply(t)
	if c, err := net.DialTimeout("tcp", want[0].String(), time.Second); err == nil {
		c.Close()
		t.Error("the port is still open after its rule is gone")
	}
}

// answerUDP answers each datagram.
func answerUDP(service net.PacketConn) {
	buf := make([]byte, 2000)
	for {
		k, who, err := service.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = service.WriteTo(append([]byte("re: "), buf[:k]...), who)
	}
}

// testPublicUDP: datagrams of each client get to the guest and back to that client,
// if a rule lets it; a service that answers nobody else hears from nobody else.
func testPublicUDP(t *testing.T, n *lab) {
	public := netip.MustParseAddr("127.77.3.6")
	n.vpc("vpc-1")
	n.port("vpc-1", "10.0.1.10", allow("udp", 18090, 18090), allow("udp", 18091, 18091, "127.0.0.9/32"), allow("tcp", 18092, 18092))
	n.config.Ports[0].PublicIP = public
	n.apply(t)
	g := n.guest(t, 0)
	want := []netip.AddrPort{netip.AddrPortFrom(public, 18090), netip.AddrPortFrom(public, 18091)}
	if s := n.status(t, 0); !slices.Equal(s.ListeningUDP, want) || len(s.Listening) != 1 {
		t.Errorf("listening by UDP on %v, by TCP on %v", s.ListeningUDP, s.Listening)
	}
	for _, port := range []uint16{18090, 18091} {
		go answerUDP(g.UDP(t, port))
	}
	ask := func(from string, port uint16, wait time.Duration) string {
		c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(public, port)))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		buf := make([]byte, 2000)
		text := c.LocalAddr().String()
		for end := time.Now().Add(wait); time.Now().Before(end); {
			_, _ = c.Write([]byte(text))
			_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if k, err := c.Read(buf); err == nil {
				return strings.TrimSuffix(string(buf[:k]), text)
			}
		}
		return ""
	}
	for range 3 { // clients do not get each other's
		if got := ask("127.0.0.1", 18090, patience); got != "re: " {
			t.Errorf("the open port answers %q", got)
		}
	}
	if got := ask("127.0.0.1", 18091, 300*time.Millisecond); got != "" {
		t.Errorf("a client outside the rule got %q", got)
	}
	if got := ask("127.0.0.9", 18091, patience); got != "re: " {
		t.Errorf("the client of the rule got %q", got)
	}
	n.config.Ports[0].Ingress = nil
	n.apply(t)
	if got := ask("127.0.0.1", 18090, 300*time.Millisecond); got != "" {
		t.Errorf("the port answers %q after its rule is gone", got)
	}
	// Nothing holds the address any more.
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(want[0]))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func testPublicRefusals(t *testing.T, n *lab, g *Guest, public netip.Addr) {
	// 18082 is open to 127.0.0.9 alone, and nobody else gets through to the guest.
	var reached atomic.Int32
	l := g.ListenTCP(t, 18082)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			reached.Add(1)
			_, _ = c.Write([]byte("hello"))
			c.Close()
		}
	}()
	try := func(from string) error {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
		c, err := d.Dial("tcp", netip.AddrPortFrom(public, 18082).String())
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 1))
		return err
	}
	if err := try("127.0.0.1"); err == nil || reached.Load() != 0 {
		t.Errorf("a client outside the rule: %v, reached %d", err, reached.Load())
	}
	if err := try("127.0.0.9"); err != nil {
		t.Errorf("the client of the rule: %v", err)
	}
}
