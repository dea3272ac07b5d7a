package nettest

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// ndp learns what a guest's own neighbour discovery finds out.
type ndp struct {
	mu      sync.Mutex
	router  tcpip.Address
	prefix  tcpip.Subnet
	autoGen []tcpip.AddressWithPrefix
}

func (n *ndp) options() ipv6.Options {
	return ipv6.Options{
		AutoGenLinkLocal: true,
		NDPConfigs: ipv6.NDPConfigurations{
			HandleRAs: ipv6.HandlingRAsAlwaysEnabled, DiscoverDefaultRouters: true, DiscoverOnLinkPrefixes: true, AutoGenGlobalAddresses: true,
		},
		NDPDisp: n,
	}
}

func (n *ndp) OnOffLinkRouteUpdated(_ tcpip.NICID, _ tcpip.Subnet, router tcpip.Address, _ header.NDPRoutePreference) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.router = router
}

func (n *ndp) OnOnLinkPrefixDiscovered(_ tcpip.NICID, prefix tcpip.Subnet) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.prefix = prefix
}

// OnAutoGenAddress notes addresses that the guest gives itself; the link-local one
// is expected.
func (n *ndp) OnAutoGenAddress(_ tcpip.NICID, a tcpip.AddressWithPrefix) stack.AddressDispatcher {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.autoGen = append(n.autoGen, a)
	return nil
}

func (*ndp) OnDuplicateAddressDetectionResult(tcpip.NICID, tcpip.Address, stack.DADResult) {}
func (*ndp) OnOffLinkRouteInvalidated(tcpip.NICID, tcpip.Subnet, tcpip.Address)            {}
func (*ndp) OnOnLinkPrefixInvalidated(tcpip.NICID, tcpip.Subnet)                           {}
func (*ndp) OnAutoGenAddressDeprecated(tcpip.NICID, tcpip.AddressWithPrefix)               {}
func (*ndp) OnAutoGenAddressInvalidated(tcpip.NICID, tcpip.AddressWithPrefix)              {}
func (*ndp) OnRecursiveDNSServerOption(tcpip.NICID, []tcpip.Address, time.Duration)        {}
func (*ndp) OnDNSSearchListOption(tcpip.NICID, []string, time.Duration)                    {}
func (*ndp) OnDHCPv6Configuration(tcpip.NICID, ipv6.DHCPv6ConfigurationFromNDPRA)          {}

func (n *ndp) learned() (router tcpip.Address, prefix tcpip.Subnet) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.router, n.prefix
}

// LinkLocal is the guest's own link-local address.
func (g *Guest) LinkLocal() netip.Addr {
	return netip.AddrFrom16(header.LinkLocalAddr(tcpip.LinkAddress(g.MAC)).As16())
}

var (
	allRouters  = netip.MustParseAddr("ff02::2")
	dhcpServers = netip.MustParseAddr("ff02::1:2")
)

// LeaseV6 looks for a router, takes addresses by DHCPv6 and configures them. It
// asks until the switch is there to answer, and returns DHCPv6's last reply.
func (g *Guest) LeaseV6(t testing.TB) *dhcpv6.Message {
	t.Helper()
	var router tcpip.Address
	var prefix tcpip.Subnet
	for end := time.Now().Add(patience); router.Len() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no router advertises itself")
		}
		_ = g.Send(ICMPv6Frame(g.MAC, multicastMAC(allRouters), g.LinkLocal(), allRouters, append(make([]byte, 8), linkOption(1, g.MAC)...), 133))
		router, prefix = g.ndp.learned()
	}
	solicit, err := dhcpv6.NewSolicit(g.MAC)
	if err != nil {
		t.Fatal(err)
	}
	advertise := g.ExchangeV6(t, solicit)
	request, err := dhcpv6.NewRequestFromAdvertise(advertise)
	if err != nil {
		t.Fatal(err)
	}
	reply := g.ExchangeV6(t, request)
	for i, a := range reply.Options.OneIANA().Options.Addresses() {
		ip := tcpip.AddrFromSlice(a.IPv6Addr)
		if err := g.stack.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: ipv6.ProtocolNumber, AddressWithPrefix: ip.WithPrefix()}, stack.AddressProperties{}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			g.IPv6 = netip.AddrFrom16(ip.As16())
		}
	}
	g.stack.AddRoute(tcpip.Route{Destination: prefix, NIC: 1})
	g.stack.AddRoute(tcpip.Route{Destination: header.IPv6EmptySubnet, Gateway: router, NIC: 1})
	return reply
}

// ExchangeV6 sends a DHCPv6 message, again and again, until it is answered.
func (g *Guest) ExchangeV6(t testing.TB, m *dhcpv6.Message) *dhcpv6.Message {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if reply := g.TryDHCPv6(t, m, 200*time.Millisecond); reply != nil {
			return reply
		}
	}
	t.Fatalf("no answer to DHCPv6 %s", m.MessageType)
	return nil
}

// TryDHCPv6 sends a DHCPv6 message once and returns the answer, nil if none came.
func (g *Guest) TryDHCPv6(t testing.TB, m *dhcpv6.Message, wait time.Duration) *dhcpv6.Message {
	t.Helper()
	tap := g.Tap(t)
	if g.Send(UDPv6Frame(g.MAC, multicastMAC(dhcpServers), g.LinkLocal(), dhcpServers, 546, 547, m.ToBytes())) != nil {
		time.Sleep(5 * time.Millisecond) // not attached yet
		return nil
	}
	timeout := time.After(wait)
	for {
		select {
		case f := <-tap:
			if len(f) < 62 || f[12] != 0x86 || f[20] != 17 || binary.BigEndian.Uint16(f[56:]) != 546 {
				continue
			}
			if r, err := dhcpv6.MessageFromBytes(f[62:]); err == nil && r.TransactionID == m.TransactionID {
				return r
			}
		case <-timeout:
			return nil
		}
	}
}

// PingV6 sends an ICMPv6 echo request and says if it was answered.
func (g *Guest) PingV6(t testing.TB, gatewayMAC net.HardwareAddr, to netip.Addr, wait time.Duration) bool {
	t.Helper()
	tap := g.Tap(t)
	echo := make([]byte, 16)
	binary.BigEndian.PutUint16(echo[4:], uint16(time.Now().UnixNano()))
	if err := g.Send(ICMPv6Frame(g.MAC, gatewayMAC, g.IPv6, to, echo, 128)); err != nil {
		t.Fatal(err)
	}
	timeout := time.After(wait)
	for {
		select {
		case f := <-tap:
			if len(f) >= 62 && f[12] == 0x86 && f[20] == 58 && f[54] == 129 && bytes.Equal(f[22:38], to.AsSlice()) && bytes.Equal(f[58:60], echo[4:6]) {
				return true
			}
		case <-timeout:
			return false
		}
	}
}

// Neighbor asks for the link address of target by neighbour discovery; nil if
// nobody answers.
func (g *Guest) Neighbor(t testing.TB, target netip.Addr, wait time.Duration) net.HardwareAddr {
	t.Helper()
	return g.neighbor(t, g.IPv6, target, wait)
}

func (g *Guest) neighbor(t testing.TB, from, target netip.Addr, wait time.Duration) net.HardwareAddr {
	t.Helper()
	tap := g.Tap(t)
	body := append(make([]byte, 8), target.AsSlice()...)
	if !from.IsUnspecified() {
		body = append(body, linkOption(1, g.MAC)...)
	}
	group := netip.AddrFrom16(header.SolicitedNodeAddr(tcpip.AddrFromSlice(target.AsSlice())).As16())
	if err := g.Send(ICMPv6Frame(g.MAC, multicastMAC(group), from, group, body, 135)); err != nil {
		t.Fatal(err)
	}
	timeout := time.After(wait)
	for {
		select {
		case f := <-tap:
			if len(f) >= 86 && f[12] == 0x86 && f[20] == 58 && f[54] == 136 && bytes.Equal(f[62:78], target.AsSlice()) {
				return net.HardwareAddr(f[80:86])
			}
		case <-timeout:
			return nil
		}
	}
}

// UDPv6 binds a port in the guest.
func (g *Guest) UDPv6(t testing.TB, port uint16) *gonet.UDPConn {
	t.Helper()
	c, err := gonet.DialUDP(g.stack, &tcpip.FullAddress{NIC: 1, Port: port}, nil, ipv6.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func multicastMAC(group netip.Addr) net.HardwareAddr {
	a := group.As16()
	return append(net.HardwareAddr{0x33, 0x33}, a[12:]...)
}

// linkOption is a neighbour discovery option with a link address.
func linkOption(kind byte, hw net.HardwareAddr) []byte { return append([]byte{kind, 1}, hw...) }

// IPv6Frame makes a frame with an IPv6 datagram of hop limit 255.
func IPv6Frame(ethSrc, ethDst net.HardwareAddr, src, dst netip.Addr, proto byte, body []byte) []byte {
	f := append(append(append([]byte{}, ethDst...), ethSrc...), 0x86, 0xdd)
	ip := make([]byte, 40)
	ip[0], ip[6], ip[7] = 0x60, proto, 255
	binary.BigEndian.PutUint16(ip[4:], uint16(len(body)))
	copy(ip[8:], src.AsSlice())
	copy(ip[24:], dst.AsSlice())
	return append(append(f, ip...), body...)
}

// UDPv6Frame makes a frame with a UDP datagram.
func UDPv6Frame(ethSrc, ethDst net.HardwareAddr, src, dst netip.Addr, sport, dport uint16, body []byte) []byte {
	u := header.UDP(make([]byte, 8+len(body)))
	u.Encode(&header.UDPFields{SrcPort: sport, DstPort: dport, Length: uint16(len(u))})
	copy(u.Payload(), body)
	sum := header.PseudoHeaderChecksum(17, tcpip.AddrFrom16(src.As16()), tcpip.AddrFrom16(dst.As16()), uint16(len(u)))
	u.SetChecksum(^u.CalculateChecksum(checksum.Checksum(body, sum)))
	return IPv6Frame(ethSrc, ethDst, src, dst, 17, u)
}

// ICMPv6Frame makes a frame with an ICMPv6 message, whose type and checksum are
// filled into body.
func ICMPv6Frame(ethSrc, ethDst net.HardwareAddr, src, dst netip.Addr, body []byte, kind byte) []byte {
	m := header.ICMPv6(bytes.Clone(body))
	m[0] = kind
	m.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: m, Src: tcpip.AddrFrom16(src.As16()), Dst: tcpip.AddrFrom16(dst.As16())}))
	return IPv6Frame(ethSrc, ethDst, src, dst, 58, m)
}
