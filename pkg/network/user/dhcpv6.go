package user

import (
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/bundt/bundt/pkg/network/gateway"
)

const (
	dhcpV6Client = 546
	dhcpV6Server = 547
)

var dhcpV6Servers = netip.MustParseAddr("ff02::1:2")

// inputDHCPv6 answers DHCPv6 and says if the packet was of that.
func (p *port) inputDHCPv6(pkt *packet) bool {
	if pkt.proto != protoUDP || pkt.offset > 0 {
		return false
	}
	if pkt.sport == dhcpV6Server { // a guest that plays the server
		p.spoofed.Add(1)
		return true
	}
	if dst := addr(pkt.dst); pkt.dport != dhcpV6Server || (dst != dhcpV6Servers && dst != gateway.LinkLocal) {
		return false
	}
	if !addr(pkt.src).IsLinkLocalUnicast() || pkt.more {
		p.spoofed.Add(1)
		return true
	}
	m, err := dhcpv6.MessageFromBytes(pkt.b[pkt.headerLen+8:])
	if err != nil {
		return true
	}
	if reply := gateway.AnswerDHCPv6(p.vpc.config.Load(), p.Config(), m); reply != nil {
		p.sendDHCPv6(addr(pkt.src), reply)
	}
	return true
}

func (p *port) sendDHCPv6(to netip.Addr, m *dhcpv6.Message) {
	body := m.ToBytes()
	size := 8 + len(body)
	f := p.vpc.frames.get(p.mac, gateway.HardwareAddr, etherIPv6, ipv6Size+size)
	if f == nil {
		return
	}
	b := f.payload()
	encodeIPv6(b, protoUDP, gateway.LinkLocal, to, size)
	u := header.UDP(b[ipv6Size:])
	u.Encode(&header.UDPFields{SrcPort: dhcpV6Server, DstPort: dhcpV6Client, Length: uint16(size)})
	copy(u.Payload(), body)
	sum := header.PseudoHeaderChecksum(protoUDP, stackAddress(gateway.LinkLocal), stackAddress(to), uint16(size))
	u.SetChecksum(^u.CalculateChecksum(checksum.Checksum(body, sum)))
	p.enqueue(f)
}
