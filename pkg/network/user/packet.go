package user

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"github.com/bundt/bundt/pkg/network/gateway"
)

// Sizes and numbers of the headers that the switch reads itself.
const (
	lengthPrefix = 4 // QEMU's stream socket: 32-bit big-endian length, then the frame
	ethernetSize = 14
	frameHeader  = lengthPrefix + ethernetSize

	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	ipv6Size = 40

	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58

	// IPv6 extension headers.
	nextHopByHop    = 0
	nextRouting     = 43
	nextFragment    = 44
	nextDestination = 60
	maxExtensions   = 8 // of one packet; nobody sends as many

	tcpFIN = 0x01
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpACK = 0x10
)

// address is an IP address as maps have it: an IPv4 one is mapped (::ffff:a.b.c.d).
type address = [16]byte

type mac = gateway.MAC

func addr(a address) netip.Addr { return netip.AddrFrom16(a).Unmap() }

// mapped is the address of four or sixteen bytes.
func mapped(b []byte) address {
	if len(b) == 16 {
		return address(b)
	}
	a := address{10: 0xff, 11: 0xff}
	copy(a[12:], b)
	return a
}

// packet is the IP datagram of a frame with what filters need of it. It points
// into the frame.
type packet struct {
	b            []byte // the datagram without padding
	v6           bool
	headerLen    int // up to what proto says, extension headers included
	proto        byte
	src, dst     address
	sport, dport uint16 // of ICMP: the echo identifier, in both
	flags        byte   // of TCP
	id           uint32
	offset       int // of a fragment, in bytes
	more         bool
}

// parseIP reads b. It refuses what cannot be judged: bad lengths, and fragments
// that hide the ports (RFC 1858).
func parseIP(b []byte) (packet, bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		return parseIPv4(b)
	case len(b) >= ipv6Size && b[0]>>4 == 6:
		return parseIPv6(b)
	}
	return packet{}, false
}

func parseIPv4(b []byte) (packet, bool) {
	p := packet{headerLen: int(b[0]&15) * 4, proto: b[9], src: mapped(b[12:16]), dst: mapped(b[16:20])}
	total := int(binary.BigEndian.Uint16(b[2:]))
	if p.headerLen < 20 || total < p.headerLen || total > len(b) {
		return packet{}, false
	}
	p.b = b[:total]
	p.id = uint32(binary.BigEndian.Uint16(b[4:]))
	frag := binary.BigEndian.Uint16(b[6:])
	p.offset, p.more = int(frag&0x1fff)*8, frag&0x2000 != 0
	return p.complete()
}

func parseIPv6(b []byte) (packet, bool) {
	p := packet{v6: true, src: address(b[8:24]), dst: address(b[24:40])}
	total := ipv6Size + int(binary.BigEndian.Uint16(b[4:]))
	if total > len(b) {
		return packet{}, false
	}
	p.b = b[:total]
	if !p.skipExtensions() {
		return packet{}, false
	}
	return p.complete()
}

// skipExtensions finds the transport header of an IPv6 datagram. What would make
// the ports or the destination doubtful is refused: routing headers that still
// lead somewhere (RFC 5095), and headers behind that of a fragment (RFC 7112).
func (p *packet) skipExtensions() bool {
	next, fragment := p.b[6], false
	p.headerLen = ipv6Size
	for range maxExtensions {
		switch next {
		case nextHopByHop, nextRouting, nextDestination, nextFragment:
		default:
			p.proto = next
			return true
		}
		h := p.b[p.headerLen:]
		if len(h) < 8 || fragment || (next == nextHopByHop && p.headerLen != ipv6Size) || (next == nextRouting && h[3] != 0) {
			return false
		}
		size := 8
		if next == nextFragment {
			fragment = true
			at := binary.BigEndian.Uint16(h[2:])
			p.offset, p.more, p.id = int(at&^7), at&1 != 0, binary.BigEndian.Uint32(h[4:])
		} else {
			size += int(h[1]) * 8
		}
		if size > len(h) {
			return false
		}
		next = h[0]
		p.headerLen += size
	}
	return false
}

// complete reads the transport header, which a later fragment has not.
func (p packet) complete() (packet, bool) {
	if p.offset > 0 {
		return p, p.proto != protoTCP || p.offset >= 20
	}
	return p, p.parseTransport()
}

func (p *packet) icmp() bool { return p.proto == protoICMP || p.proto == protoICMPv6 }

func (p *packet) parseTransport() bool {
	t := p.b[p.headerLen:]
	switch p.proto {
	case protoTCP:
		if len(t) < 20 {
			return false
		}
		p.flags = t[13]
	case protoUDP, protoICMP, protoICMPv6:
		if len(t) < 8 {
			return false
		}
	default:
		return true
	}
	p.readPorts(t)
	return true
}

// readPorts takes the ports from the first eight bytes of a transport header.
func (p *packet) readPorts(t []byte) {
	if p.icmp() {
		p.sport = binary.BigEndian.Uint16(t[4:])
		p.dport = p.sport
		return
	}
	p.sport, p.dport = binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
}

// icmpError returns the datagram that an ICMP error speaks of.
func (p *packet) icmpError() (packet, bool) {
	if !p.icmp() || p.offset > 0 {
		return packet{}, false
	}
	switch typ := p.b[p.headerLen]; {
	case p.proto == protoICMP && (typ == 3 || typ == 4 || typ == 11 || typ == 12): // unreachable, source quench, time exceeded, parameter problem
	case p.proto == protoICMPv6 && typ >= 1 && typ <= 4: // unreachable, too big, time exceeded, parameter problem
	default:
		return packet{}, false
	}
	b := p.b[p.headerLen+8:]
	var in packet
	switch {
	case len(b) >= 28 && b[0]>>4 == 4:
		in = packet{b: b, headerLen: int(b[0]&15) * 4, proto: b[9], src: mapped(b[12:16]), dst: mapped(b[16:20])}
	case len(b) >= ipv6Size+8 && b[0]>>4 == 6:
		in = packet{b: b, v6: true, src: address(b[8:24]), dst: address(b[24:40])}
		if !in.skipExtensions() || in.offset > 0 {
			return packet{}, false
		}
	default:
		return packet{}, false
	}
	if in.headerLen < 20 || len(b) < in.headerLen+8 { // the 8 bytes that RFC 792 promises
		return packet{}, false
	}
	in.readPorts(b[in.headerLen:])
	return in, true
}

// frame is a frame on its way to a guest, with room for the length in front.
type frame struct{ b []byte }

// framePool recycles frames of one VPC, all of its MTU.
type framePool struct{ pool sync.Pool }

func newFramePool(mtu int) *framePool {
	return &framePool{pool: sync.Pool{New: func() any {
		return &frame{b: make([]byte, 0, frameHeader+mtu)}
	}}}
}

// get returns a frame for size bytes of payload with its Ethernet header set,
// nil if it does not fit the MTU.
func (fp *framePool) get(dst, src mac, etherType uint16, size int) *frame {
	f := fp.pool.Get().(*frame)
	if frameHeader+size > cap(f.b) {
		fp.pool.Put(f)
		return nil
	}
	f.b = f.b[:frameHeader+size]
	binary.BigEndian.PutUint32(f.b, uint32(ethernetSize+size))
	copy(f.b[4:], dst[:])
	copy(f.b[10:], src[:])
	binary.BigEndian.PutUint16(f.b[16:], etherType)
	return f
}

func (fp *framePool) put(f *frame) { fp.pool.Put(f) }

func (f *frame) payload() []byte { return f.b[frameHeader:] }
