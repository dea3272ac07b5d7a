package user

import (
	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/bundt/bundt/pkg/network/gateway"
)

// inputDHCPv6 answers DHCPv6 and says if the packet was of that.
func (p *port) inputDHCPv6(pkt *packet) bool {
	if pkt.proto != protoUDP || pkt.offset > 0 {
		return false
	}
	if pkt.sport == gateway.DHCPv6Server { // a guest that plays the server
		p.spoofed.Add(1)
		return true
	}
	if dst := addr(pkt.dst); pkt.dport != gateway.DHCPv6Server || (dst != gateway.DHCPv6Servers && dst != gateway.LinkLocal) {
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
		p.sendV6(gateway.PacketDHCPv6(p.Config(), addr(pkt.src), reply))
	}
	return true
}
