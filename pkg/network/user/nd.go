package user

import (
	"encoding/binary"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/bundt/bundt/pkg/network/gateway"
)

// Neighbour discovery (RFC 4861) is between a guest and its router alone, like
// ARP: guests never see each other's, so none can be poisoned.

const (
	hopLimitND = 255 // of packets that no router has passed on

	ndRouterSolicit     = 133
	ndRouterAdvert      = 134
	ndNeighborSolicit   = 135
	ndNeighborAdvert    = 136
	ndRedirect          = 137
	ndOptionSourceLink  = 1
	ndOptionTargetLink  = 2
	ndFromRouter        = 0x80
	ndSolicited         = 0x40
	ndOverride          = 0x20
	advertisingInterval = 5 * time.Minute
)

var allNodes = netip.MustParseAddr("ff02::1")

// inputND answers neighbour discovery and says if the packet was of that. Reports
// of multicast listeners (MLD) need no answer: nothing is sent to groups.
func (p *port) inputND(pkt *packet) bool {
	if pkt.proto != protoICMPv6 || pkt.offset > 0 {
		return false
	}
	b := pkt.b[pkt.headerLen:]
	switch b[0] {
	case 130, 131, 132, 143:
		return true
	case ndRouterSolicit, ndRouterAdvert, ndNeighborSolicit, ndNeighborAdvert, ndRedirect:
	default:
		return false
	}
	if pkt.more || pkt.headerLen != ipv6Size || pkt.b[7] != hopLimitND || b[1] != 0 {
		return true // RFC 6980, RFC 4861
	}
	if !p.validND(pkt, b) {
		p.spoofed.Add(1)
		return true
	}
	switch b[0] {
	case ndRouterSolicit:
		to := addr(pkt.src)
		if to.IsUnspecified() {
			to = allNodes
		}
		p.advertise(to)
	case ndNeighborSolicit:
		p.answerNeighbor(pkt, address(b[8:24]))
	}
	return true
}

// validND refuses what only routers send, and what speaks for somebody else.
func (p *port) validND(pkt *packet, b []byte) bool {
	options := 8
	src := addr(pkt.src)
	switch b[0] {
	case ndRouterAdvert, ndRedirect:
		return false
	case ndNeighborSolicit, ndNeighborAdvert:
		if options = 24; len(b) < options {
			return false
		}
	}
	if !src.IsUnspecified() && !src.IsLinkLocalUnicast() && !p.owns(pkt.src) {
		return false
	}
	if b[0] == ndNeighborAdvert {
		if target := address(b[8:24]); !addr(target).IsLinkLocalUnicast() && !p.owns(target) {
			return false
		}
	}
	for o := b[options:]; len(o) > 0; {
		if len(o) < 8 || o[1] == 0 || int(o[1])*8 > len(o) {
			return false
		}
		if (o[0] == ndOptionSourceLink || o[0] == ndOptionTargetLink) && mac(o[2:8]) != p.mac {
			return false
		}
		o = o[int(o[1])*8:]
	}
	return true
}

// answerNeighbor says where an address is. To a guest that looks whether an
// address is free (its source is unspecified) its own is, and no other's.
func (p *port) answerNeighbor(pkt *packet, target address) {
	if p.owns(target) {
		return
	}
	owner, ok := gateway.HardwareAddr, addr(target) == gateway.LinkLocal
	if !ok {
		owner, ok = p.resolve(target)
	}
	if !ok {
		return
	}
	to, flags := addr(pkt.src), byte(ndOverride|ndSolicited)
	if to.IsUnspecified() {
		to, flags = allNodes, ndOverride
	}
	if owner == gateway.HardwareAddr {
		flags |= ndFromRouter
	}
	b := make([]byte, 32)
	b[0], b[4] = ndNeighborAdvert, flags
	copy(b[8:], target[:])
	b[24], b[25] = ndOptionTargetLink, 1
	copy(b[26:], owner[:])
	p.sendICMPv6(addr(target), to, owner, b)
}

// advertise tells the guest its router: addresses come by DHCPv6.
func (p *port) advertise(to netip.Addr) {
	p.advertised.Store(time.Now().UnixNano())
	p.sendICMPv6(gateway.LinkLocal, to, gateway.HardwareAddr, gateway.RouterAdvertisement(p.vpc.config.Load(), p.Config()))
}

// advertiseSometimes renews what the guest knows before its lifetime ends, and
// tells guests of IPv6 that their subnet got while they ran.
func (p *port) advertiseSometimes() {
	if p.connected.Load() && p.Config().SubnetV6.IsValid() && time.Since(unixNano(p.advertised.Load())) > advertisingInterval {
		p.advertise(allNodes)
	}
}

// sendICMPv6 sends the guest a message as from src at the link address by.
func (p *port) sendICMPv6(src, dst netip.Addr, by mac, body []byte) {
	to := p.mac
	if dst == allNodes {
		to = mac{0x33, 0x33, 0, 0, 0, 1}
	}
	f := p.vpc.frames.get(to, by, etherIPv6, ipv6Size+len(body))
	if f == nil {
		return
	}
	b := f.payload()
	encodeIPv6(b, protoICMPv6, src, dst, len(body))
	copy(b[ipv6Size:], body)
	m := header.ICMPv6(b[ipv6Size:])
	m.SetChecksum(0)
	m.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: m, Src: stackAddress(src), Dst: stackAddress(dst)}))
	p.enqueue(f)
}

func encodeIPv6(b []byte, proto byte, src, dst netip.Addr, size int) {
	clear(b[:ipv6Size])
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], uint16(size))
	b[6], b[7] = proto, hopLimitND
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
}
