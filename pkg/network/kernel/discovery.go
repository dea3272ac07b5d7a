package kernel

import (
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/network/gateway"
)

const (
	ethernetSize        = 14
	ipv6Size            = 40
	advertisingInterval = 5 * time.Minute
)

// discovery answers guests' neighbour discovery and DHCPv6: a packet socket on
// all taps of a VPC, which sees frames before the guards drop these.
type discovery struct {
	vpc  *vpc
	file *os.File
	conn interface {
		Read(func(fd uintptr) bool) error
		Write(func(fd uintptr) bool) error
	}
}

// Offsets in a frame with an IPv6 header and no extensions.
const (
	atEtherType  = 12
	atNextHeader = ethernetSize + 6
	atHopLimit   = ethernetSize + 7
	atSource     = ethernetSize + 8
	atTransport  = ethernetSize + ipv6Size
)

// wanted lets the kernel give us only what is discovery's, and guests'.
var wanted = []bpf.Instruction{
	bpf.LoadExtension{Num: bpf.ExtType},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 11},
	bpf.LoadAbsolute{Off: atEtherType, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherIPv6, SkipTrue: 9},
	bpf.LoadAbsolute{Off: atNextHeader, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: gateway.UDP, SkipTrue: 3},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: gateway.ICMPv6, SkipTrue: 6},
	bpf.LoadAbsolute{Off: atTransport, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: 133, SkipTrue: 3, SkipFalse: 4},
	bpf.LoadAbsolute{Off: atTransport, Size: 4}, // both ports
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: gateway.DHCPv6Client<<16 | gateway.DHCPv6Server, SkipTrue: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: gateway.DHCPv6Server<<16 | gateway.DHCPv6Client, SkipFalse: 1},
	bpf.RetConstant{Val: 1 << 16},
	bpf.RetConstant{Val: 0},
}

// discover has it or has it not.
func (v *vpc) discover(wanted bool) error {
	switch now := v.nd.Load(); {
	case wanted && now == nil:
		d, err := v.newDiscovery()
		if err != nil {
			return fmt.Errorf("answering neighbour discovery of %s: %w", v.id, err)
		}
		v.nd.Store(d)
		v.serving.Go(d.serve)
	case !wanted && now != nil:
		v.nd.Store(nil)
		now.file.Close()
	}
	return nil
}

func (v *vpc) newDiscovery() (*discovery, error) {
	program, err := bpf.Assemble(wanted)
	if err != nil {
		return nil, err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, p := range program {
		filter[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	d := &discovery{vpc: v}
	err = v.ns.do(func() error {
		// Of no protocol at first: nothing is to come in before the filter.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		d.file = os.NewFile(uintptr(fd), "discovery")
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swapped(unix.ETH_P_ALL)})
	})
	if err == nil {
		d.conn, err = d.file.SyscallConn()
	}
	if err != nil && d.file != nil {
		d.file.Close()
	}
	return d, err
}

// swapped is a number of 16 bits in the network's order.
func swapped(n uint16) uint16 { return n<<8 | n>>8 }

// serve answers until the socket is closed.
func (d *discovery) serve() {
	buf := make([]byte, 1<<16)
	for {
		var n int
		var from unix.Sockaddr
		var err error
		closed := d.conn.Read(func(fd uintptr) bool {
			n, from, err = unix.Recvfrom(int(fd), buf, 0)
			return err != unix.EAGAIN
		})
		if closed != nil {
			return
		}
		if at, ok := from.(*unix.SockaddrLinklayer); ok && err == nil {
			d.answer(at.Ifindex, buf[:n])
		}
	}
}

func (d *discovery) answer(device int, frame []byte) {
	p := d.vpc.portAt(device)
	if p == nil || len(frame) < atTransport+8 || !p.Config().SubnetV6.IsValid() || gateway.MAC(frame[6:12]) != p.Config().HW {
		return // the guard has counted it, if it is forged
	}
	src := netip.AddrFrom16([16]byte(frame[atSource:]))
	size := atTransport + int(frame[ethernetSize+4])<<8 + int(frame[ethernetSize+5])
	if size > len(frame) || size < atTransport+8 {
		return
	}
	body := frame[atTransport:size]
	if frame[atNextHeader] == gateway.UDP {
		d.dhcp(p, src, body)
		return
	}
	if !gateway.IsND(body[0]) || body[1] != 0 || frame[atHopLimit] != gateway.HopLimitND {
		return // RFC 4861: a router has passed it on
	}
	answer, forged := gateway.AnswerND(d.vpc.config.Load(), p.Config(), src, body, d.vpc.resolveV6)
	if forged {
		p.forged.Add(1)
	}
	d.send(p, answer)
}

func (d *discovery) dhcp(p *port, src netip.Addr, udp []byte) {
	if !src.IsLinkLocalUnicast() || udp[1] == gateway.DHCPv6Server&0xff { // a guest that plays the server
		p.forged.Add(1)
		return
	}
	m, err := dhcpv6.MessageFromBytes(udp[8:])
	if err != nil {
		return
	}
	if reply := gateway.AnswerDHCPv6(d.vpc.config.Load(), p.Config(), m); reply != nil {
		d.send(p, gateway.PacketDHCPv6(p.Config(), src, reply))
	}
}

// send gives a packet to the guest, past the kernel's network; nil is none.
func (d *discovery) send(p *port, pkt *gateway.PacketV6) {
	if pkt == nil {
		return
	}
	frame := append(append(make([]byte, 0, ethernetSize+len(pkt.B)), pkt.To[:]...), pkt.By[:]...)
	frame = append(append(frame, be16(etherIPv6)...), pkt.B...)
	_ = d.conn.Write(func(fd uintptr) bool { // a guest without an answer asks again
		_ = unix.Sendto(int(fd), frame, 0, &unix.SockaddrLinklayer{Protocol: swapped(etherIPv6), Ifindex: int(p.index.Load()), Halen: 6, Addr: [8]byte(append(append([]byte{}, pkt.To[:]...), 0, 0))})
		return true
	})
}

// resolveV6 returns the link address behind which guests find target.
func (v *vpc) resolveV6(target netip.Addr) (gateway.MAC, bool) {
	c := v.config.Load()
	known := target == gateway.MetadataAddrV6 || (target == gateway.NamesAddrV6 && !c.NoDNS) || v.portOf(target) != nil
	for _, s := range c.Subnets {
		known = known || (s.CIDRv6.IsValid() && target == gateway.Address(s.CIDRv6))
	}
	return gateway.HardwareAddr, known
}

// advertiseSometimes renews what the guest knows before its lifetime ends, and
// tells guests of IPv6 that their subnet got while they ran.
func (p *port) advertiseSometimes() {
	if !p.connected.Load() || !p.Config().SubnetV6.IsValid() || time.Since(unixNano(p.advertised.Load())) <= advertisingInterval {
		return
	}
	if d := p.vpc.nd.Load(); d != nil {
		p.advertised.Store(time.Now().UnixNano())
		d.send(p, gateway.Advertisement(p.vpc.config.Load(), p.Config()))
	}
}
