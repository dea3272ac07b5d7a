package user

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	ipv4proto "gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	ipv6proto "gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/gateway"
)

const (
	nic = 1
	// Connections being opened to the outside, all guests of the VPC together;
	// each has a smaller share (maxDialing).
	maxForwarding = 1024
	timeWait      = 50 * time.Millisecond // instead of TCP's minute
)

// vpc is one layer-3 domain: a stack that is its router, name server and
// metadata service, and the guests' ports.
type vpc struct {
	id     string
	cidr   netip.Prefix
	mtu    int
	shared *shared
	stack  *stack.Stack
	link   *link
	frames *framePool

	mu       sync.Mutex // serialises changes
	config   atomic.Pointer[network.VPC]
	ports    atomic.Pointer[map[address]*port]
	services atomic.Pointer[map[address]bool] // addresses that the stack answers for
	servers  map[address][]closer             // what runs on them
	serving  sync.WaitGroup
}

type closer interface{ Close() error }

func newVPC(c network.VPC, sh *shared) (*vpc, error) {
	v := &vpc{id: c.ID, cidr: c.CIDR.Masked(), mtu: gateway.MTU(c), shared: sh, servers: map[address][]closer{}}
	v.frames = newFramePool(v.mtu)
	v.link = &link{mtu: uint32(v.mtu), output: v.output}
	v.ports.Store(&map[address]*port{})
	v.services.Store(&map[address]bool{})
	v.config.Store(&c)
	v.stack = stack.New(stack.Options{
		// Without options IPv6 has no neighbour discovery of its own: the ports do that.
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4proto.NewProtocol, ipv6proto.NewProtocolWithOptions(ipv6proto.Options{})},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	if err := v.setUpStack(); err != nil {
		v.close()
		return nil, fmt.Errorf("setting up the stack of %s: %s", c.ID, err)
	}
	if err := v.update(c); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

func (v *vpc) setUpStack() tcpip.Error {
	sack := tcpip.TCPSACKEnabled(true)
	// Round trips are well below a millisecond: small windows fill the link,
	// and bound the memory that one connection can hold.
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: 256 << 10, Max: 1 << 20}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 256 << 10, Max: 1 << 20}
	// A guest that begins a connection from a port that it used just before would find
	// the stack still waiting for the old one's packets, and not answering: only
	// listeners take such a one over, and nobody listens for what leads outside. Frames
	// do not overtake each other here, so none is late.
	wait := tcpip.TCPTimeWaitTimeoutOption(timeWait)
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &receive, &send, &wait} {
		if err := v.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return err
		}
	}
	if err := v.stack.CreateNIC(nic, v.link); err != nil {
		return err
	}
	// The stack ends the guests' connections to any address, and begins those
	// of the outside under the client's own address.
	if err := v.stack.SetPromiscuousMode(nic, true); err != nil {
		return err
	}
	if err := v.stack.SetSpoofing(nic, true); err != nil {
		return err
	}
	v.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}, {Destination: header.IPv6EmptySubnet, NIC: nic}})
	v.stack.SetTransportProtocolHandler(tcp.ProtocolNumber,
		tcp.NewForwarder(v.stack, 0, maxForwarding, v.forwardTCP).HandlePacket)
	v.stack.SetTransportProtocolHandler(udp.ProtocolNumber,
		udp.NewForwarder(v.stack, v.forwardUDP).HandlePacket)
	return nil
}

// sameDomain says if c can be reached from the vpc by update.
func (v *vpc) sameDomain(c network.VPC) bool {
	return v.cidr == c.CIDR.Masked() && v.mtu == gateway.MTU(c)
}

// update makes the subnets' gateway and name server addresses, and the
// link-local services, exactly those of c.
func (v *vpc) update(c network.VPC) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.config.Store(&c)
	type service func(netip.Addr) ([]closer, error)
	want := map[address]service{gateway.MetadataAddr.As16(): v.serveMetadata}
	if !c.NoDNS {
		want[gateway.NamesAddr.As16()] = v.serveDNS
	}
	if c.CIDRv6.IsValid() {
		want[gateway.MetadataAddrV6.As16()] = v.serveMetadata
		if !c.NoDNS {
			want[gateway.NamesAddrV6.As16()] = v.serveDNS
		}
	}
	for _, s := range c.Subnets {
		if s.CIDRv6.IsValid() {
			want[gateway.Address(s.CIDRv6).As16()] = func(netip.Addr) ([]closer, error) { return nil, nil }
		}
		want[gateway.Address(s.CIDR).As16()] = func(netip.Addr) ([]closer, error) { return nil, nil }
		if !c.NoDNS {
			want[gateway.NamesOf(s.CIDR).As16()] = v.serveDNS
		}
	}
	now := maps.Clone(*v.services.Load())
	for a := range now {
		if want[a] == nil {
			v.removeService(a)
			delete(now, a)
		}
	}
	for a, serve := range want {
		if now[a] {
			continue
		}
		if err := v.addService(a, serve); err != nil {
			return fmt.Errorf("serving %s in %s: %w", addr(a), v.id, err)
		}
		now[a] = true
	}
	v.services.Store(&now)
	return nil
}

func (v *vpc) addService(a address, serve func(netip.Addr) ([]closer, error)) error {
	err := v.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
		Protocol: protocolOf(addr(a)), AddressWithPrefix: stackAddress(addr(a)).WithPrefix(),
	}, stack.AddressProperties{})
	if err != nil {
		return stackError("adding the address", err)
	}
	servers, serveErr := serve(addr(a))
	v.servers[a] = servers
	return serveErr
}

func (v *vpc) removeService(a address) {
	for _, s := range v.servers[a] {
		s.Close()
	}
	delete(v.servers, a)
	v.stack.RemoveAddress(nic, stackAddress(addr(a))) // it was added
}

// close ends the stack; its ports must have been removed.
func (v *vpc) close() {
	v.mu.Lock()
	for a := range v.servers {
		v.removeService(a)
	}
	v.mu.Unlock()
	v.serving.Wait()
	v.stack.Destroy()
}

// contains says if an address is of the VPC's ranges.
func (v *vpc) contains(a netip.Addr) bool {
	return v.config.Load().Contains(a)
}

func (v *vpc) isService(a address) bool { return (*v.services.Load())[a] }

func (v *vpc) portOf(a address) *port { return (*v.ports.Load())[a] }

func (v *vpc) addPort(p *port) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.place(p)
	p.start()
}

// place makes the port the one of exactly its addresses. mu is held.
func (v *vpc) place(p *port) {
	ports := maps.Clone(*v.ports.Load())
	maps.DeleteFunc(ports, func(_ address, o *port) bool { return o == p })
	ports[p.ip] = p
	for _, a := range p.config.Load().others {
		ports[a] = p
	}
	v.ports.Store(&ports)
}

// configure gives a port of the vpc another configuration.
func (v *vpc) configure(p *port, c *portConfig) {
	v.mu.Lock()
	defer v.mu.Unlock()
	moved := !slices.Equal(p.config.Load().others, c.others)
	p.config.Store(c)
	if moved {
		v.place(p)
	}
}

func (v *vpc) removePort(p *port) {
	v.mu.Lock()
	ports := maps.Clone(*v.ports.Load())
	maps.DeleteFunc(ports, func(_ address, o *port) bool { return o == p })
	v.ports.Store(&ports)
	v.mu.Unlock()
	p.stop()
}

// output takes a packet of the stack to the guest that it is for.
func (v *vpc) output(pkt *stack.PacketBuffer) {
	n := pkt.NetworkHeader().Slice()
	v6 := pkt.NetworkProtocolNumber == ipv6proto.ProtocolNumber
	var dst address
	switch {
	case v6 && len(n) >= ipv6Size:
		dst = address(n[24:40])
	case !v6 && len(n) >= 20:
		dst = mapped(n[16:20])
	}
	to := v.portOf(dst)
	if to == nil {
		return
	}
	f := v.frames.get(to.mac, gateway.HardwareAddr, etherType(v6), pkt.Size())
	if f == nil {
		return
	}
	b := f.payload()
	for _, s := range pkt.AsSlices() {
		b = b[copy(b, s):]
	}
	to.fromStack(f)
}
