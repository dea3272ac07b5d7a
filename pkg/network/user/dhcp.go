package user

import (
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/bundt/bundt/pkg/network"
)

const (
	dhcpServer = 67
	dhcpClient = 68
	leaseTime  = time.Hour
)

// inputDHCP answers DHCP (RFC 2131) and says if the packet was of that. The
// lease is a matter of configuration: one address per link address, whatever
// client identifier is sent, since clones of one image send the same.
func (p *port) inputDHCP(pkt *packet) bool {
	if pkt.sport == dhcpServer { // a guest that plays the server
		p.spoofed.Add(1)
		return true
	}
	if pkt.dport != dhcpServer {
		return false
	}
	broadcast := pkt.dst == ipv4{255, 255, 255, 255}
	if !broadcast && !p.vpc.isService(pkt.dst) {
		return false
	}
	if (pkt.src != ipv4{} && pkt.src != p.ip) || pkt.more {
		p.spoofed.Add(1)
		return true
	}
	m, err := dhcpv4.FromBytes(pkt.b[pkt.headerLen+8:])
	if err != nil || m.OpCode != dhcpv4.OpcodeBootRequest {
		return true
	}
	if len(m.ClientHWAddr) != 6 || mac(m.ClientHWAddr) != p.mac {
		p.spoofed.Add(1)
		return true
	}
	if reply := p.answerDHCP(m); reply != nil {
		p.sendDHCP(m, reply)
	}
	return true
}

// answerDHCP returns the reply to a client's message, nil for none.
func (p *port) answerDHCP(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	gateway := gatewayOf(p.subnet)
	var kind dhcpv4.MessageType
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		kind = dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeInform:
		kind = dhcpv4.MessageTypeAck
	case dhcpv4.MessageTypeRequest:
		if id := m.ServerIdentifier(); id != nil && !id.Equal(net.IP(gateway.AsSlice())) {
			return nil // it took the offer of somebody else, who cannot be
		}
		kind = dhcpv4.MessageTypeAck
		if !p.ownAddress(m) {
			kind = dhcpv4.MessageTypeNak
		}
	default: // release, decline: the address stays the interface's
		return nil
	}
	options := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(gateway.AsSlice())),
	}
	if kind != dhcpv4.MessageTypeNak {
		options = append(options, p.leaseOptions(gateway)...)
		if m.MessageType() != dhcpv4.MessageTypeInform { // RFC 2131, 4.3.5: neither address nor time
			options = append(options, dhcpv4.WithYourIP(p.ip[:]), dhcpv4.WithLeaseTime(uint32(leaseTime/time.Second)))
		}
	}
	reply, err := dhcpv4.NewReplyFromRequest(m, options...)
	if err != nil {
		return nil
	}
	if kind == dhcpv4.MessageTypeAck {
		p.leasedAt.Store(time.Now().UnixNano())
		p.onLease()
	}
	return reply
}

// ownAddress says if a request is for the port's address, in either of the
// places where clients name it.
func (p *port) ownAddress(m *dhcpv4.DHCPv4) bool {
	want := m.RequestedIPAddress()
	if want == nil || want.IsUnspecified() {
		want = m.ClientIPAddr
	}
	return want.Equal(net.IP(p.ip[:]))
}

func (p *port) leaseOptions(gateway netip.Addr) []dhcpv4.Modifier {
	via := net.IP(gateway.AsSlice())
	route := func(prefix netip.Prefix) *dhcpv4.Route {
		return &dhcpv4.Route{Dest: ipNet(prefix), Router: via}
	}
	options := []dhcpv4.Modifier{
		dhcpv4.WithNetmask(ipNet(p.subnet).Mask),
		dhcpv4.WithRouter(via),
		dhcpv4.WithOption(dhcpv4.OptHostName(p.hostName())),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, dhcpv4.Uint16(p.vpc.mtu).ToBytes())),
		// A client that reads this option ignores the router option (RFC 3442).
		dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(
			route(netip.PrefixFrom(netip.IPv4Unspecified(), 0)),
			route(netip.PrefixFrom(imdsAddr, 32)),
			route(netip.PrefixFrom(linkLocalDNS, 32)),
		)),
	}
	return append(options, p.nameOptions()...)
}

// nameOptions are what the VPC's DHCP options say.
func (p *port) nameOptions() (options []dhcpv4.Modifier) {
	c := p.vpc.config.Load()
	d := c.DHCP
	if d == nil {
		d = &network.DHCP{Domain: c.DomainName, OwnDNS: true}
	}
	servers := ips(d.NameServers)
	if d.OwnDNS && !c.NoDNS {
		servers = append([]net.IP{dnsOf(p.subnet).AsSlice(), linkLocalDNS.AsSlice()}, servers...)
	}
	if len(servers) > 0 {
		options = append(options, dhcpv4.WithDNS(servers...))
	}
	if d.Domain != "" {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptDomainName(d.Domain)))
	}
	if len(d.NTPServers) > 0 {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptNTPServers(ips(d.NTPServers)...)))
	}
	return options
}

func ips(in []netip.Addr) []net.IP {
	out := make([]net.IP, len(in))
	for i, a := range in {
		out[i] = a.AsSlice()
	}
	return out
}

// hostName is the instance's host name without its domain.
func (p *port) hostName() string {
	name, _, _ := strings.Cut(p.config.Load().Metadata.Hostname, ".")
	if name == "" {
		name = ipName(p.ip)
	}
	return name
}

// sendDHCP sends the reply to the address that RFC 2131, 4.1 says.
func (p *port) sendDHCP(request, reply *dhcpv4.DHCPv4) {
	dst := ipv4{255, 255, 255, 255}
	if c := request.ClientIPAddr.To4(); c != nil && ipv4(c) == p.ip && reply.MessageType() != dhcpv4.MessageTypeNak {
		dst = p.ip
	}
	body := reply.ToBytes()
	f := p.vpc.frames.get(p.mac, gatewayMAC, etherIPv4, 28+len(body))
	if f == nil {
		return
	}
	ip := header.IPv4(f.payload())
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(28 + len(body)), TTL: 64, Protocol: protoUDP,
		SrcAddr: tcpip.AddrFrom4(gatewayOf(p.subnet).As4()), DstAddr: tcpip.AddrFrom4(dst),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	u := header.UDP(ip[20:])
	u.Encode(&header.UDPFields{SrcPort: dhcpServer, DstPort: dhcpClient, Length: uint16(8 + len(body))})
	copy(u.Payload(), body)
	sum := header.PseudoHeaderChecksum(protoUDP, ip.SourceAddress(), ip.DestinationAddress(), uint16(8+len(body)))
	u.SetChecksum(^u.CalculateChecksum(checksum.Checksum(body, sum)))
	p.enqueue(f)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}
