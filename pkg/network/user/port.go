package user

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/gateway"
)

const (
	queueFrames = 512 // waiting for one guest; what comes above is dropped
	writeBatch  = 64
	readBuffer  = 64 << 10

	// QEMU's socket appears a few milliseconds after its start, so look often
	// at first, and seldom once the guest is likely to be stopped.
	dialFirst = 5 * time.Millisecond
	dialFast  = 50 * time.Millisecond
	dialSlow  = time.Second
	dialEager = 10 * time.Second
)

// port is a guest's interface: the connection to its QEMU, its queue, its
// filter and everything that is open on its behalf.
type port struct {
	vpc    *vpc
	id     string
	mac    mac
	ip     address // the primary private one
	subnet netip.Prefix
	socket string

	config atomic.Pointer[portConfig] // what may change while the port stays
	flows  *flowTable
	queue  chan *frame

	conns  *gateway.ConnSet // host sockets and stack connections of this guest
	public gateway.PublicListeners

	connected        atomic.Bool
	lastSeen         atomic.Int64 // Unix nanoseconds
	leasedAt         atomic.Int64
	dropped, spoofed atomic.Uint64
	sent, received   counter
	refused          struct{ egress, ingress atomic.Uint64 }
	queries          gateway.Gate // of names
	dialing          gateway.Gate
	advertised       atomic.Int64 // the last router advertisement, Unix nanoseconds
	onLease          func()
	cancel           context.CancelFunc
	running          sync.WaitGroup
}

// portConfig is the changeable part of a port.
type portConfig struct {
	*gateway.Port
	others []address // secondary ones, and those of IPv6
}

func newPortConfig(p *gateway.Port) *portConfig {
	c := &portConfig{Port: p}
	for _, a := range slices.Concat(p.Secondary, p.IPv6) {
		c.others = append(c.others, a.As16())
	}
	return c
}

// Config is the port's configuration of now.
func (p *port) Config() *gateway.Port { return p.config.Load().Port }

// Conns holds what is open with the guest.
func (p *port) Conns() *gateway.ConnSet { return p.conns }

// owns says if an address is the port's.
func (p *port) owns(a address) bool {
	return a == p.ip || slices.Contains(p.config.Load().others, a)
}

// onLink says if the guest finds an address without the gateway.
func (p *port) onLink(a netip.Addr) bool {
	return p.subnet.Contains(a) || p.Config().SubnetV6.Contains(a)
}

// sameAttachment says if the port can go on with a new config.
func (p *port) sameAttachment(n *gateway.Port, v *vpc) bool {
	return p.vpc == v && p.mac == n.HW && p.ip == n.PrivateIP.As16() && p.subnet == n.Subnet && p.socket == n.Socket
}

func (p *port) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.running.Add(2)
	go func() { defer p.running.Done(); p.run(ctx) }()
	go func() { defer p.running.Done(); p.tend(ctx) }()
}

// stop ends everything of the port and returns when its goroutines have ended.
func (p *port) stop() {
	p.cancel()
	p.public.Close()
	p.conns.CloseAll()
	p.running.Wait()
}

// tend does what is due from time to time.
func (p *port) tend(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.flows.sweep()
			p.advertiseSometimes()
			p.public.Retry(p)
		}
	}
}

// run keeps the connection to QEMU: as its client, since QEMU can be made to
// accept again but not to connect again.
func (p *port) run(ctx context.Context) {
	var d net.Dialer
	wait, since := dialFirst, time.Now()
	for {
		c, err := d.DialContext(ctx, "unix", p.socket)
		if err == nil {
			connectedAt := time.Now()
			p.attach(ctx, c)
			if time.Since(connectedAt) > time.Second {
				wait, since = dialFirst, time.Now()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		limit := dialFast
		if time.Since(since) > dialEager {
			limit = dialSlow
		}
		wait = min(wait*2, limit)
	}
}

// attach moves frames until the connection ends.
func (p *port) attach(ctx context.Context, c net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { c.Close() })
	p.connected.Store(true)
	var writer sync.WaitGroup
	writer.Add(1)
	go func() {
		defer writer.Done()
		defer cancel()
		p.write(ctx, c)
	}()
	p.read(c)
	p.connected.Store(false)
	p.conns.AbortAll() // the guest's side of every connection ended with its QEMU
	cancel()
	stop()
	c.Close()
	writer.Wait()
	p.drain()
}

// write sends the queue, as many frames at a time as are waiting.
func (p *port) write(ctx context.Context, c net.Conn) {
	frames := make([]*frame, 0, writeBatch)
	bufs := make(net.Buffers, 0, writeBatch)
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-p.queue:
			frames = append(frames[:0], f)
		}
	more:
		for len(frames) < writeBatch {
			select {
			case f := <-p.queue:
				frames = append(frames, f)
			default:
				break more
			}
		}
		batch := bufs[:0]
		for _, f := range frames {
			batch = append(batch, f.b)
		}
		n, err := batch.WriteTo(c)
		for _, f := range frames {
			p.vpc.frames.put(f)
		}
		if err == nil {
			p.received.add(len(frames), int(n)-len(frames)*lengthPrefix)
		}
		if err != nil {
			return
		}
	}
}

func (p *port) drain() {
	for {
		select {
		case f := <-p.queue:
			p.vpc.frames.put(f)
			p.dropped.Add(1)
		default:
			return
		}
	}
}

// enqueue never waits: a guest that takes nothing loses only its own frames.
func (p *port) enqueue(f *frame) {
	if !p.connected.Load() {
		p.vpc.frames.put(f)
		return
	}
	select {
	case p.queue <- f:
	default:
		p.vpc.frames.put(f)
		p.dropped.Add(1)
	}
}

func (p *port) read(c net.Conn) {
	r := bufio.NewReaderSize(c, readBuffer)
	for {
		head, err := r.Peek(lengthPrefix)
		if err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(head))
		if n > readBuffer-lengthPrefix || n == 0 {
			return // no QEMU speaks so: the framing is lost
		}
		b, err := r.Peek(lengthPrefix + n)
		if err != nil {
			return
		}
		if n >= ethernetSize && n <= ethernetSize+p.vpc.mtu {
			p.lastSeen.Store(time.Now().UnixNano())
			p.sent.add(1, n)
			p.input(b[lengthPrefix:])
		}
		if _, err := io.CopyN(io.Discard, r, int64(lengthPrefix+n)); err != nil {
			return
		}
	}
}

// input takes one Ethernet frame from the guest; it is not kept.
func (p *port) input(eth []byte) {
	if mac(eth[6:12]) != p.mac {
		p.spoofed.Add(1)
		return
	}
	switch binary.BigEndian.Uint16(eth[12:]) {
	case etherARP:
		p.inputARP(eth[ethernetSize:])
	case etherIPv4:
		if pkt, ok := parseIP(eth[ethernetSize:]); ok && !pkt.v6 {
			p.inputIPv4(&pkt)
		}
	case etherIPv6:
		if pkt, ok := parseIP(eth[ethernetSize:]); ok && pkt.v6 {
			p.inputIPv6(&pkt)
		}
	}
}

func (p *port) inputIPv4(pkt *packet) {
	if pkt.proto == protoUDP && pkt.offset == 0 && p.inputDHCP(pkt) {
		return
	}
	p.forward(pkt)
}

// inputIPv6 takes what is between the guest and its router first. There is
// nothing else for multicast, nor between link-local addresses.
func (p *port) inputIPv6(pkt *packet) {
	if !p.Config().SubnetV6.IsValid() || p.inputND(pkt) || p.inputDHCPv6(pkt) {
		return
	}
	if src := addr(pkt.src); src.IsLinkLocalUnicast() || src.IsUnspecified() {
		return
	}
	if addr(pkt.dst) == gateway.MetadataAddrV6 && !p.Config().Metadata.Options.IPv6 {
		return
	}
	p.forward(pkt)
}

// way says where a packet of the guest goes.
func (p *port) way(src, dst address) gateway.Way {
	to := addr(dst)
	switch {
	case !p.owns(src) && !p.forwards(src, dst):
		return gateway.Forged
	case p.vpc.isService(dst):
		return gateway.ToService
	case p.vpc.contains(to):
		return gateway.ToVPC
	}
	return p.Config().WayTo(to)
}

// forward checks the sender and the way, then the filter.
func (p *port) forward(pkt *packet) {
	switch p.way(pkt.src, pkt.dst) {
	case gateway.Forged:
		p.spoofed.Add(1)
	case gateway.ToService:
		p.flows.admit(pkt, false, nil, false) // a reply to the gateway must find its flow
		p.vpc.link.inject(pkt.b)
	case gateway.ToVPC:
		if to := p.vpc.portOf(pkt.dst); to != nil && to != p && p.crosses(to, pkt) && p.admitOut(pkt) {
			to.fromGuest(p, pkt)
		}
	case gateway.ToRouter:
		via := p.Config().Route(addr(pkt.dst)).Via
		if to := p.vpc.portOf(via.As16()); to != nil && to != p && to.Config().AnySource && p.crosses(to, pkt) && p.admitOut(pkt) {
			to.fromGuest(p, pkt)
		}
	case gateway.Outside:
		if carriesOutside(pkt.proto) && p.leaves(pkt) && p.admitOut(pkt) {
			p.vpc.link.inject(pkt.b)
		}
	}
}

// carriesOutside says if the protocol goes out by a host socket.
func carriesOutside(proto byte) bool { return proto == protoTCP || proto == protoUDP }

// forwards says if the guest may send another sender's packet. The services know
// guests by their addresses, and no other addresses lead out of the VPC.
func (p *port) forwards(from, to address) bool {
	src := addr(from)
	return p.config.Load().AnySource && p.vpc.contains(addr(to)) && !p.vpc.isService(to) && !p.vpc.isService(from) &&
		!src.IsUnspecified() && !src.IsMulticast() && !src.IsLoopback() && !src.IsLinkLocalUnicast()
}

// crosses says if a packet passes the network ACLs on its way to another guest.
func (p *port) crosses(to *port, pkt *packet) bool {
	return p.Config().Neighbors(to.Config()) || p.leaves(pkt) && to.enters(pkt)
}

// leaves says if a packet of the guest may leave its subnet. That a fragment may is
// known from the first one.
func (p *port) leaves(pkt *packet) bool {
	ok := pkt.offset > 0 || p.Config().Leaves(pkt.kind(), addr(pkt.dst))
	if !ok {
		p.refused.egress.Add(1)
	}
	return ok
}

// enters says if a packet for the guest may enter its subnet.
func (p *port) enters(pkt *packet) bool {
	ok := pkt.offset > 0 || p.Config().Enters(pkt.kind(), addr(pkt.src))
	if !ok {
		p.refused.ingress.Add(1)
	}
	return ok
}

func (p *port) admitOut(pkt *packet) bool {
	ok := p.flows.admit(pkt, false, p.Config().Out, true)
	if !ok {
		p.refused.egress.Add(1)
	}
	return ok
}

// fromGuest takes a packet of another guest of the VPC.
func (p *port) fromGuest(from *port, pkt *packet) {
	if !p.flows.admit(pkt, true, p.Config().In, true) {
		p.refused.ingress.Add(1)
		return
	}
	src := gateway.HardwareAddr
	if p.neighbor(from, pkt.v6) {
		src = from.mac
	}
	f := p.vpc.frames.get(p.mac, src, etherType(pkt.v6), len(pkt.b))
	if f == nil {
		return
	}
	copy(f.payload(), pkt.b)
	p.enqueue(f)
}

// neighbor says if the guest finds the other's without the gateway.
func (p *port) neighbor(other *port, v6 bool) bool {
	if v6 {
		return p.Config().SubnetV6 == other.Config().SubnetV6
	}
	return p.subnet == other.subnet
}

// fromStack takes a packet of the VPC's own stack, which has been judged: it is
// of a service, of a flow that the guest began, or of a connection that was
// checked before it was opened. Network ACLs judge each packet from outside.
func (p *port) fromStack(f *frame) {
	if pkt, ok := parseIP(f.payload()); ok {
		if !p.vpc.isService(pkt.src) && !p.enters(&pkt) {
			p.vpc.frames.put(f)
			return
		}
		p.flows.admit(&pkt, true, nil, false)
	}
	p.enqueue(f)
}

func (p *port) status() network.PortStatus {
	s := network.PortStatus{
		Connected: p.connected.Load(),
		LeasedAt:  unixNano(p.leasedAt.Load()),
		LastSeen:  unixNano(p.lastSeen.Load()),
		Dropped:   p.dropped.Load(),
		Spoofed:   p.spoofed.Load(),
		Sent:      p.sent.traffic(),
		Received:  p.received.traffic(),
		Refused:   &network.Refused{Egress: p.refused.egress.Load(), Ingress: p.refused.ingress.Load()},
	}
	s.Listening, s.ListeningUDP, s.Problems = p.public.Status()
	return s
}

// counter counts frames in one direction.
type counter struct{ packets, bytes atomic.Uint64 }

func (c *counter) add(packets, bytes int) {
	c.packets.Add(uint64(packets))
	c.bytes.Add(uint64(bytes))
}

func (c *counter) traffic() network.Traffic {
	return network.Traffic{Packets: c.packets.Load(), Bytes: c.bytes.Load()}
}

func unixNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}
