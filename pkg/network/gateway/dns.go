package gateway

import (
	"context"
	"iter"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/bundt/bundt/pkg/network"
)

const (
	localZone       = "bundt.internal."
	dnsTTL          = 60
	upstreamTimeout = 3 * time.Second
	resolvConfTTL   = 5 * time.Second
)

// ipName is the name that EC2 gives an IPv4 address.
func ipName(a netip.Addr) string { return "ip-" + strings.ReplaceAll(a.String(), ".", "-") }

// MaxQueries are those that one guest may have asked at once.
const MaxQueries = 32

// Directory knows the guests of a VPC.
type Directory interface {
	VPC() *network.VPC
	// Addresses are all that guests have, with their ports.
	Addresses() iter.Seq2[netip.Addr, *Port]
	// Port is the one that has the address, nil for none.
	Port(netip.Addr) *Port
	// AcquireQuery says if the guest may ask once more; then release is to be
	// called when it has its answer.
	AcquireQuery(netip.Addr) (release func(), ok bool)
}

// NameServer is a VPC's: it answers for the VPC's own names and asks the host's
// resolver for all others.
type NameServer struct {
	Directory Directory
	Resolver  *Resolver
}

// Serve answers on both until they are closed; running counts it.
func (s *NameServer) Serve(pc net.PacketConn, l net.Listener, running *sync.WaitGroup) {
	for _, server := range []*dns.Server{{PacketConn: pc, Handler: s}, {Listener: l, Handler: s}} {
		running.Go(func() { _ = server.ActivateAndServe() }) // ends when its socket is closed
	}
}

// ServeDNS answers one query.
func (s *NameServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	release, ok := s.Directory.AcquireQuery(remoteIP(w.RemoteAddr()))
	if !ok {
		return // the client asks again
	}
	defer release()
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	m := s.resolve(q, udp)
	if udp {
		m.Truncate(udpSize(q))
	}
	_ = w.WriteMsg(m)
}

func remoteIP(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

func udpSize(q *dns.Msg) int {
	if o := q.IsEdns0(); o != nil {
		return int(max(o.UDPSize(), dns.MinMsgSize))
	}
	return dns.MinMsgSize
}

func (s *NameServer) resolve(q *dns.Msg, udp bool) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	if q.Opcode != dns.OpcodeQuery || len(q.Question) != 1 {
		m.Rcode = dns.RcodeNotImplemented
		return m
	}
	question := q.Question[0]
	name := strings.ToLower(question.Name)
	switch {
	case question.Qclass != dns.ClassINET:
		m.Rcode = dns.RcodeRefused
	case s.ownZone(name):
		m.Authoritative = true
		s.answerName(m, question, name)
	case s.ownReverse(name):
		m.Authoritative = true
		s.answerAddress(m, question, name)
	case s.reverseName(name) != "":
		m.Authoritative = true
		answerReverse(m, question, s.reverseName(name))
	default:
		return s.Resolver.forward(q, udp)
	}
	return m
}

func (s *NameServer) zones() []string {
	zones := []string{localZone}
	if d := s.Directory.VPC().DomainName; d != "" {
		zones = append(zones, strings.ToLower(dns.Fqdn(d)))
	}
	return zones
}

func (s *NameServer) ownZone(name string) bool {
	for _, z := range s.zones() {
		if dns.IsSubDomain(z, name) {
			return true
		}
	}
	return false
}

// answerName answers for a name in one of the VPC's zones.
func (s *NameServer) answerName(m *dns.Msg, q dns.Question, name string) {
	var found []netip.Addr
	for _, z := range s.zones() {
		if host, ok := strings.CutSuffix(name, "."+z); ok {
			found = append(found, s.named(host)...)
		} else if name == z {
			return // the zone itself has no records
		}
	}
	if len(found) == 0 {
		m.Rcode = dns.RcodeNameError
		return
	}
	for _, a := range found {
		header := dns.RR_Header{Name: q.Name, Class: dns.ClassINET, Ttl: dnsTTL}
		switch {
		case a.Is4() && (q.Qtype == dns.TypeA || q.Qtype == dns.TypeANY):
			header.Rrtype = dns.TypeA
			m.Answer = append(m.Answer, &dns.A{Hdr: header, A: a.AsSlice()})
		case a.Is6() && (q.Qtype == dns.TypeAAAA || q.Qtype == dns.TypeANY):
			header.Rrtype = dns.TypeAAAA
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: header, AAAA: a.AsSlice()})
		}
	}
}

// named returns the addresses with this name; several ports may have one Name
// tag. Names that are made of an IPv4 address or of an instance's id are of the
// kinds of address that the configuration says, as on EC2.
func (s *NameServer) named(host string) (found []netip.Addr) {
	for a, p := range s.Directory.Addresses() {
		if host == ipName(a) {
			found = append(found, a)
			continue
		}
		if a != p.PrivateIP {
			continue // names lead to the first address of each kind
		}
		is := func(n string) bool { return strings.EqualFold(n, host) }
		v4 := slices.ContainsFunc(p.Names, is)
		if v4 {
			found = append(found, a)
		}
		v6 := v4 && !strings.EqualFold(host, p.InstanceID) || slices.ContainsFunc(p.NamesV6, is)
		if v6 && len(p.IPv6) > 0 {
			found = append(found, p.IPv6[0])
		}
	}
	return found
}

const (
	reverseZone   = ".in-addr.arpa."
	reverseZoneV6 = ".ip6.arpa."
)

// ownReverse says if name is the reverse name of an address of the VPC.
func (s *NameServer) ownReverse(name string) bool {
	a, ok := reverseAddress(name)
	v := s.Directory.VPC()
	return ok && v.Contains(a)
}

func reverseAddress(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, reverseZoneV6); ok {
		return reverseAddressV6(rest)
	}
	rest, ok := strings.CutSuffix(name, reverseZone)
	if !ok {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(rest)
	if err != nil || !a.Is4() {
		return netip.Addr{}, false
	}
	b := a.As4()
	return netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}), true
}

// reverseAddressV6 reads 32 digits, the last one first.
func reverseAddressV6(digits string) (netip.Addr, bool) {
	all := strings.Split(digits, ".")
	if len(all) != 32 {
		return netip.Addr{}, false
	}
	var a [16]byte
	for i, d := range all {
		n, err := strconv.ParseUint(d, 16, 4)
		if err != nil || len(d) != 1 {
			return netip.Addr{}, false
		}
		a[15-i/2] |= byte(n) << (4 * (i % 2))
	}
	return netip.AddrFrom16(a), true
}

func (s *NameServer) answerAddress(m *dns.Msg, q dns.Question, name string) {
	a, _ := reverseAddress(name)
	p := s.Directory.Port(a)
	if p == nil {
		m.Rcode = dns.RcodeNameError
		return
	}
	domain := s.Directory.VPC().DomainName
	if domain == "" {
		domain = localZone
	}
	answerReverse(m, q, dns.Fqdn(p.HostName()+"."+domain))
}

func answerReverse(m *dns.Msg, q dns.Question, name string) {
	if q.Qtype != dns.TypePTR && q.Qtype != dns.TypeANY {
		return
	}
	m.Answer = append(m.Answer, &dns.PTR{
		Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: dnsTTL}, Ptr: name,
	})
}

// reverseName is the name that a public address was given, "" for none.
func (s *NameServer) reverseName(name string) string {
	a, ok := reverseAddress(name)
	if !ok {
		return ""
	}
	return s.Directory.VPC().Reverse[a]
}

// Resolver asks the name servers that the host itself uses. They may be at the
// host's loopback: it is the switch that asks, and only for names.
type Resolver struct {
	Path string // resolv.conf

	mu      sync.Mutex
	read    time.Time
	servers []string
}

func (r *Resolver) upstream() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.read) < resolvConfTTL {
		return r.servers
	}
	r.read, r.servers = time.Now(), nil
	f, err := os.Open(r.Path)
	if err != nil {
		return nil // a host without a resolver: guests get SERVFAIL
	}
	defer f.Close()
	c, err := dns.ClientConfigFromReader(f)
	if err != nil {
		return nil
	}
	for _, s := range c.Servers {
		r.servers = append(r.servers, net.JoinHostPort(s, c.Port))
	}
	return r.servers
}

// forward asks each server in turn and returns the first answer, SERVFAIL if
// there is none.
func (r *Resolver) forward(q *dns.Msg, udp bool) *dns.Msg {
	client := &dns.Client{Net: "udp", Timeout: upstreamTimeout, UDPSize: 4096}
	if !udp {
		client.Net = "tcp"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*upstreamTimeout)
	defer cancel()
	for _, s := range r.upstream() {
		m, _, err := client.ExchangeContext(ctx, q.Copy(), s)
		if err == nil {
			m.Id = q.Id
			return m
		}
	}
	return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
}
