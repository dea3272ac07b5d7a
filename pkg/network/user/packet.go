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

	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17

	tcpFIN = 0x01
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpACK = 0x10
)

type ipv4 = [4]byte

type mac = gateway.MAC

func addr(a ipv4) netip.Addr { return netip.AddrFrom4(a) }

// packet is the IPv4 datagram of a frame with what filters need of it. It
// points into the frame.
type packet struct {
	b            []byte // the datagram without padding
	headerLen    int
	proto        byte
	src, dst     ipv4
	sport, dport uint16 // of ICMP: the echo identifier, in both
	flags        byte   // of TCP
	id           uint16
	offset       int // of a fragment, in bytes
	more         bool
}

// parseIPv4 reads b. It refuses what cannot be judged: bad lengths, and
// fragments that hide the ports (RFC 1858).
func parseIPv4(b []byte) (packet, bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return packet{}, false
	}
	p := packet{headerLen: int(b[0]&15) * 4, proto: b[9], src: ipv4(b[12:16]), dst: ipv4(b[16:20])}
	total := int(binary.BigEndian.Uint16(b[2:]))
	if p.headerLen < 20 || total < p.headerLen || total > len(b) {
		return packet{}, false
	}
	p.b = b[:total]
	p.id = binary.BigEndian.Uint16(b[4:])
	frag := binary.BigEndian.Uint16(b[6:])
	p.offset, p.more = int(frag&0x1fff)*8, frag&0x2000 != 0
	if p.offset > 0 {
		return p, p.proto != protoTCP || p.offset >= 20
	}
	return p, p.parseTransport()
}

func (p *packet) parseTransport() bool {
	t := p.b[p.headerLen:]
	switch p.proto {
	case protoTCP:
		if len(t) < 20 {
			return false
		}
		p.flags = t[13]
	case protoUDP, protoICMP:
		if len(t) < 8 {
			return false
		}
	default:
		return true
	}
	if p.proto == protoICMP {
		p.sport = binary.BigEndian.Uint16(t[4:])
		p.dport = p.sport
		return true
	}
	p.sport, p.dport = binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
	return true
}

// icmpError returns the datagram that an ICMP error speaks of.
func (p *packet) icmpError() (packet, bool) {
	if p.proto != protoICMP || p.offset > 0 {
		return packet{}, false
	}
	switch p.b[p.headerLen] {
	case 3, 4, 11, 12: // unreachable, source quench, time exceeded, parameter problem
	default:
		return packet{}, false
	}
	b := p.b[p.headerLen+8:]
	if len(b) < 28 || b[0]>>4 != 4 {
		return packet{}, false
	}
	in := packet{headerLen: int(b[0]&15) * 4, proto: b[9], src: ipv4(b[12:16]), dst: ipv4(b[16:20])}
	if in.headerLen < 20 || len(b) < in.headerLen+8 {
		return packet{}, false
	}
	t := b[in.headerLen:] // at least the 8 bytes that RFC 792 promises
	in.sport, in.dport = binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
	if in.proto == protoICMP {
		in.sport = binary.BigEndian.Uint16(t[4:])
		in.dport = in.sport
	}
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
