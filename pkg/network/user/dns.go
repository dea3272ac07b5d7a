package user

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	ipv4proto "gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

const (
	localZone       = "bundt.internal."
	dnsTTL          = 60
	maxDNSQueries   = 32 // at once from one guest
	upstreamTimeout = 3 * time.Second
	resolvConfTTL   = 5 * time.Second
)

// ipName is the name that EC2 gives an address.
func ipName(a ipv4) string { return fmt.Sprintf("ip-%d-%d-%d-%d", a[0], a[1], a[2], a[3]) }

// serveDNS runs the VPC's name server at a, by UDP and TCP.
func (v *vpc) serveDNS(a netip.Addr) ([]closer, error) {
	full := fullAddress(a, 53)
	pc, err := gonet.DialUDP(v.stack, &full, nil, ipv4proto.ProtocolNumber)
	if err != nil {
		return nil, err
	}
	l, err := v.listenTCP(a, 53)
	if err != nil {
		pc.Close()
		return nil, err
	}
	handler := dns.HandlerFunc(v.answerDNS)
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: handler}, {Listener: l, Handler: handler}} {
		v.serving.Add(1)
		go func() {
			defer v.serving.Done()
			_ = s.ActivateAndServe() // ends when its socket is closed
		}()
	}
	return []closer{pc, l}, nil
}

func (v *vpc) answerDNS(w dns.ResponseWriter, q *dns.Msg) {
	p := v.portOf(remoteIPv4(w.RemoteAddr()))
	if p == nil || p.dnsQueries.Add(1) > maxDNSQueries {
		if p != nil {
			p.dnsQueries.Add(-1)
		}
		return // the client asks again
	}
	defer p.dnsQueries.Add(-1)
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	m := v.resolveDNS(q, udp)
	if udp {
		m.Truncate(udpSize(q))
	}
	_ = w.WriteMsg(m)
}

func remoteIPv4(a net.Addr) ipv4 {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil || !ap.Addr().Unmap().Is4() {
		return ipv4{}
	}
	return ap.Addr().Unmap().As4()
}

func udpSize(q *dns.Msg) int {
	if o := q.IsEdns0(); o != nil {
		return int(max(o.UDPSize(), dns.MinMsgSize))
	}
	return dns.MinMsgSize
}

// resolveDNS answers for the VPC's own names and asks the host's resolver for
// all others.
func (v *vpc) resolveDNS(q *dns.Msg, udp bool) *dns.Msg {
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
	case v.ownZone(name):
		m.Authoritative = true
		v.answerName(m, question, name)
	case v.ownReverse(name):
		m.Authoritative = true
		v.answerAddress(m, question, name)
	case v.reverseName(name) != "":
		m.Authoritative = true
		answerReverse(m, question, v.reverseName(name))
	default:
		return v.shared.resolver.forward(q, udp)
	}
	return m
}

func (v *vpc) zones() []string {
	zones := []string{localZone}
	if d := v.domain(); d != "" {
		zones = append(zones, strings.ToLower(dns.Fqdn(d)))
	}
	return zones
}

func (v *vpc) ownZone(name string) bool {
	for _, z := range v.zones() {
		if dns.IsSubDomain(z, name) {
			return true
		}
	}
	return false
}

// answerName answers for a name in one of the VPC's zones.
func (v *vpc) answerName(m *dns.Msg, q dns.Question, name string) {
	var found []ipv4
	for _, z := range v.zones() {
		if host, ok := strings.CutSuffix(name, "."+z); ok {
			found = append(found, v.named(host)...)
		} else if name == z {
			return // the zone itself has no records
		}
	}
	if len(found) == 0 {
		m.Rcode = dns.RcodeNameError
		return
	}
	if q.Qtype != dns.TypeA && q.Qtype != dns.TypeANY {
		return
	}
	for _, a := range found {
		m.Answer = append(m.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: dnsTTL},
			A:   net.IP(a[:]),
		})
	}
}

// named returns the addresses with this name; several ports may have one Name tag.
func (v *vpc) named(host string) []ipv4 {
	var found []ipv4
	for a, p := range *v.ports.Load() {
		if host == ipName(a) {
			found = append(found, a)
			continue
		}
		if a != p.ip {
			continue // names lead to the primary address
		}
		for _, n := range p.config.Load().Names {
			if strings.EqualFold(n, host) {
				found = append(found, a)
				break
			}
		}
	}
	return found
}

const reverseZone = ".in-addr.arpa."

// ownReverse says if name is the reverse name of an address of the VPC.
func (v *vpc) ownReverse(name string) bool {
	a, ok := reverseAddress(name)
	return ok && v.cidr.Contains(addr(a))
}

func reverseAddress(name string) (ipv4, bool) {
	rest, ok := strings.CutSuffix(name, reverseZone)
	if !ok {
		return ipv4{}, false
	}
	a, err := netip.ParseAddr(rest)
	if err != nil || !a.Is4() {
		return ipv4{}, false
	}
	b := a.As4()
	return ipv4{b[3], b[2], b[1], b[0]}, true
}

func (v *vpc) answerAddress(m *dns.Msg, q dns.Question, name string) {
	a, _ := reverseAddress(name)
	p := v.portOf(a)
	if p == nil {
		m.Rcode = dns.RcodeNameError
		return
	}
	domain := v.domain()
	if domain == "" {
		domain = localZone
	}
	answerReverse(m, q, dns.Fqdn(p.hostName()+"."+domain))
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
func (v *vpc) reverseName(name string) string {
	a, ok := reverseAddress(name)
	if !ok {
		return ""
	}
	return v.config.Load().Reverse[addr(a)]
}

// resolver asks the name servers that the host itself uses. They may be at the
// host's loopback: it is the switch that asks, and only for names.
type resolver struct {
	path string // resolv.conf

	mu      sync.Mutex
	read    time.Time
	servers []string
}

func (r *resolver) upstream() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.read) < resolvConfTTL {
		return r.servers
	}
	r.read, r.servers = time.Now(), nil
	f, err := os.Open(r.path)
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
func (r *resolver) forward(q *dns.Msg, udp bool) *dns.Msg {
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
