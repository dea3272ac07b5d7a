package gateway

import (
	"encoding/binary"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/bundt/bundt/pkg/network"
)

// Neighbour discovery (RFC 4861) is between a guest and its router alone, like
// ARP: guests never see each other's, so none can be poisoned.

const (
	// HopLimitND is of packets that no router has passed on.
	HopLimitND = 255

	ipv6Header = 40

	ndRouterSolicit    = 133
	ndNeighborSolicit  = 135
	ndNeighborAdvert   = 136
	ndRedirect         = 137
	ndTargetLink       = 2
	ndFromRouter       = 0x80
	ndSolicited        = 0x40
	ndOverride         = 0x20
	ndNeighborBodySize = 24
)

// Ports and the servers' address of DHCPv6 (RFC 8415).
const (
	DHCPv6Client = 546
	DHCPv6Server = 547
)

var (
	// DHCPv6Servers is the group that clients ask.
	DHCPv6Servers = netip.MustParseAddr("ff02::1:2")
	allNodes      = netip.MustParseAddr("ff02::1")
)

// PacketV6 is for a guest, from its router's or a neighbour's link address.
type PacketV6 struct {
	To MAC
	By MAC
	B  []byte // the IPv6 datagram
}

// IsND says if an ICMPv6 type is neighbour discovery's.
func IsND(typ byte) bool { return typ >= ndRouterSolicit && typ <= ndRedirect }

// AnswerND answers neighbour discovery of a port's guest, nil for no answer. body
// is the ICMPv6 message of a packet with HopLimitND and no extension headers
// (RFC 6980). forged: it speaks for somebody else. resolve tells the link address
// behind which the guest finds an address.
func AnswerND(v *network.VPC, p *Port, src netip.Addr, body []byte, resolve func(netip.Addr) (MAC, bool)) (answer *PacketV6, forged bool) {
	if len(body) < 8 || !p.validND(src, body) {
		return nil, true
	}
	switch body[0] {
	case ndRouterSolicit:
		if src.IsUnspecified() {
			src = allNodes
		}
		return p.advertisement(v, src), false
	case ndNeighborSolicit:
		return p.neighbor(src, netip.AddrFrom16([16]byte(body[8:24])), resolve), false
	}
	return nil, false
}

// validND refuses what only routers send, and what speaks for somebody else.
func (p *Port) validND(src netip.Addr, b []byte) bool {
	options := 8
	switch b[0] {
	case routerAdvertisement, ndRedirect:
		return false
	case ndNeighborSolicit, ndNeighborAdvert:
		if options = ndNeighborBodySize; len(b) < options {
			return false
		}
	}
	if !src.IsUnspecified() && !src.IsLinkLocalUnicast() && !p.Owns(src) {
		return false
	}
	if b[0] == ndNeighborAdvert {
		if target := netip.AddrFrom16([16]byte(b[8:24])); !target.IsLinkLocalUnicast() && !p.Owns(target) {
			return false
		}
	}
	for o := b[options:]; len(o) > 0; {
		if len(o) < 8 || o[1] == 0 || int(o[1])*8 > len(o) {
			return false
		}
		if (o[0] == ndSourceLink || o[0] == ndTargetLink) && MAC(o[2:8]) != p.HW {
			return false
		}
		o = o[int(o[1])*8:]
	}
	return true
}

// neighbor says where an address is. To a guest that looks whether an address is
// free (its source is unspecified) its own is, and no other's.
func (p *Port) neighbor(src, target netip.Addr, resolve func(netip.Addr) (MAC, bool)) *PacketV6 {
	if p.Owns(target) {
		return nil
	}
	owner, ok := HardwareAddr, target == LinkLocal
	if !ok {
		owner, ok = resolve(target)
	}
	if !ok {
		return nil
	}
	to, flags := src, byte(ndOverride|ndSolicited)
	if to.IsUnspecified() {
		to, flags = allNodes, ndOverride
	}
	if owner == HardwareAddr {
		flags |= ndFromRouter
	}
	b := make([]byte, 32)
	b[0], b[4] = ndNeighborAdvert, flags
	copy(b[8:], target.AsSlice())
	b[24], b[25] = ndTargetLink, 1
	copy(b[26:], owner[:])
	return p.icmpV6(target, to, owner, b)
}

// Advertisement tells all that is behind the port its router, unasked.
func Advertisement(v *network.VPC, p *Port) *PacketV6 { return p.advertisement(v, allNodes) }

func (p *Port) advertisement(v *network.VPC, to netip.Addr) *PacketV6 {
	return p.icmpV6(LinkLocal, to, HardwareAddr, RouterAdvertisement(v, p))
}

// icmpV6 makes a message as from src at the link address by.
func (p *Port) icmpV6(src, dst netip.Addr, by MAC, body []byte) *PacketV6 {
	b := packetV6(ICMPv6, src, dst, body)
	m := header.ICMPv6(b[ipv6Header:])
	m.SetChecksum(0)
	m.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: m, Src: tcpip.AddrFrom16(src.As16()), Dst: tcpip.AddrFrom16(dst.As16())}))
	to := p.HW
	if dst == allNodes {
		to = MAC{0x33, 0x33, 0, 0, 0, 1}
	}
	return &PacketV6{To: to, By: by, B: b}
}

// PacketDHCPv6 is the server's message to the guest's link-local address.
func PacketDHCPv6(p *Port, to netip.Addr, m *dhcpv6.Message) *PacketV6 {
	body := m.ToBytes()
	u := header.UDP(make([]byte, 8+len(body)))
	u.Encode(&header.UDPFields{SrcPort: DHCPv6Server, DstPort: DHCPv6Client, Length: uint16(len(u))})
	copy(u.Payload(), body)
	sum := header.PseudoHeaderChecksum(UDP, tcpip.AddrFrom16(LinkLocal.As16()), tcpip.AddrFrom16(to.As16()), uint16(len(u)))
	u.SetChecksum(^u.CalculateChecksum(checksum.Checksum(body, sum)))
	return &PacketV6{To: p.HW, By: HardwareAddr, B: packetV6(UDP, LinkLocal, to, u)}
}

func packetV6(proto byte, src, dst netip.Addr, body []byte) []byte {
	b := make([]byte, ipv6Header, ipv6Header+len(body))
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], uint16(len(body)))
	b[6], b[7] = proto, HopLimitND
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	return append(b, body...)
}
