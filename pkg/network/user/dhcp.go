package user

import (
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/bundt/bundt/pkg/network/gateway"
)

const (
	dhcpServer = 67
	dhcpClient = 68
)

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// inputDHCP answers DHCP and says if the packet was of that.
func (p *port) inputDHCP(pkt *packet) bool {
	if pkt.sport == dhcpServer { // a guest that plays the server
		p.spoofed.Add(1)
		return true
	}
	if pkt.dport != dhcpServer {
		return false
	}
	broadcast := addr(pkt.dst) == limitedBroadcast
	if !broadcast && !p.vpc.isService(pkt.dst) {
		return false
	}
	if (!addr(pkt.src).IsUnspecified() && pkt.src != p.ip) || pkt.more {
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
	reply := gateway.AnswerDHCP(p.vpc.config.Load(), p.config.Load().Port, m)
	if reply == nil {
		return true
	}
	if reply.MessageType() == dhcpv4.MessageTypeAck {
		p.leasedAt.Store(time.Now().UnixNano())
		p.onLease()
	}
	p.sendDHCP(m, reply)
	return true
}

// sendDHCP sends the reply to the address that RFC 2131, 4.1 says.
func (p *port) sendDHCP(request, reply *dhcpv4.DHCPv4) {
	dst := limitedBroadcast
	if c := request.ClientIPAddr.To4(); c != nil && mapped(c) == p.ip && reply.MessageType() != dhcpv4.MessageTypeNak {
		dst = addr(p.ip)
	}
	body := reply.ToBytes()
	f := p.vpc.frames.get(p.mac, gateway.HardwareAddr, etherIPv4, 28+len(body))
	if f == nil {
		return
	}
	ip := header.IPv4(f.payload())
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(28 + len(body)), TTL: 64, Protocol: protoUDP,
		SrcAddr: stackAddress(gateway.Address(p.subnet)), DstAddr: stackAddress(dst),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	u := header.UDP(ip[20:])
	u.Encode(&header.UDPFields{SrcPort: dhcpServer, DstPort: dhcpClient, Length: uint16(8 + len(body))})
	copy(u.Payload(), body)
	sum := header.PseudoHeaderChecksum(protoUDP, ip.SourceAddress(), ip.DestinationAddress(), uint16(8+len(body)))
	u.SetChecksum(^u.CalculateChecksum(checksum.Checksum(body, sum)))
	p.enqueue(f)
}
