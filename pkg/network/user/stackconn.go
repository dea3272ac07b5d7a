package user

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	ipv4proto "gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	ipv6proto "gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/gateway"
)

const serviceBacklog = 128

func stackError(doing string, err tcpip.Error) error {
	return fmt.Errorf("%s: %s", doing, err)
}

func fullAddress(a netip.Addr, port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: stackAddress(a), Port: port}
}

// stackAddress is the address as the stack has it.
func stackAddress(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

// fromStackAddress is the address as the switch has it.
func fromStackAddress(a tcpip.Address) address { return mapped(a.AsSlice()) }

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4proto.ProtocolNumber
	}
	return ipv6proto.ProtocolNumber
}

func etherType(v6 bool) uint16 {
	if v6 {
		return etherIPv6
	}
	return etherIPv4
}

// guestConn is a connection of a service with a guest: one that knows the port
// it came in by and closes with it.
type guestConn struct {
	*gonet.TCPConn
	endpoint tcpip.Endpoint
	v6       bool
	port     *port
	once     sync.Once
}

func (c *guestConn) Close() error {
	c.once.Do(func() { c.port.conns.Remove(c) })
	return c.TCPConn.Close()
}

// limitHops sets the TTL, of IPv6 the hop limit, of what is sent from now on.
func (c *guestConn) limitHops(n int) {
	option := tcpip.IPv4TTLOption
	if c.v6 {
		option = tcpip.IPv6HopLimitOption
	}
	c.endpoint.SetSockOptInt(option, n) // any 1..255 is taken
}

// guestListener accepts connections of guests at an address of the stack. It is
// ours instead of gonet's for the guest's port and the endpoint of each.
type guestListener struct {
	vpc      *vpc
	endpoint tcpip.Endpoint
	wq       waiter.Queue
	address  net.Addr
	done     chan struct{}
	once     sync.Once
}

func (v *vpc) listenTCP(a netip.Addr, port uint16) (*guestListener, error) {
	l := &guestListener{vpc: v, done: make(chan struct{}), address: net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, port))}
	ep, err := v.stack.NewEndpoint(tcp.ProtocolNumber, protocolOf(a), &l.wq)
	if err != nil {
		return nil, stackError("making an endpoint", err)
	}
	l.endpoint = ep
	if err := ep.Bind(fullAddress(a, port)); err != nil {
		ep.Close()
		return nil, stackError("binding", err)
	}
	if err := ep.Listen(serviceBacklog); err != nil {
		ep.Close()
		return nil, stackError("listening", err)
	}
	return l, nil
}

// Accept returns the next connection of a guest that has not too many of them.
func (l *guestListener) Accept() (net.Conn, error) {
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents)
	l.wq.EventRegister(&entry)
	defer l.wq.EventUnregister(&entry)
	for {
		ep, wq, err := l.endpoint.Accept(nil)
		if err == nil {
			if c := l.own(ep, wq); c != nil {
				return c, nil
			}
			continue
		}
		if _, wait := err.(*tcpip.ErrWouldBlock); !wait {
			return nil, net.ErrClosed
		}
		select {
		case <-l.done:
			return nil, net.ErrClosed
		case <-readable:
		}
	}
}

// own finds the guest by the address, which anti-spoofing has made sure of.
func (l *guestListener) own(ep tcpip.Endpoint, wq *waiter.Queue) net.Conn {
	remote, err := ep.GetRemoteAddress()
	if err != nil {
		ep.Close()
		return nil
	}
	p := l.vpc.portOf(fromStackAddress(remote.Addr))
	if p == nil {
		ep.Abort()
		return nil
	}
	c := &guestConn{TCPConn: gonet.NewTCPConn(wq, ep), endpoint: ep, v6: remote.Addr.Len() == 16, port: p}
	if !p.conns.Add(c) {
		ep.Abort()
		return nil
	}
	return c
}

func (l *guestListener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.endpoint.Close()
	})
	return nil
}

func (l *guestListener) Addr() net.Addr { return l.address }

// DialGuestUDP is for datagrams with one of the guest's addresses under the address from.
func (p *port) DialGuestUDP(from, guest netip.Addr, to uint16) (net.Conn, error) {
	local, remote := fullAddress(from, 0), fullAddress(guest, to)
	return gonet.DialUDP(p.vpc.stack, &local, &remote, protocolOf(guest))
}

// DialGuest opens a connection to one of the guest's addresses under the address from.
func (p *port) DialGuest(ctx context.Context, from, guest netip.Addr, to uint16) (gateway.HalfCloser, error) {
	c, err := gonet.DialTCPWithBind(ctx, p.vpc.stack, fullAddress(from, 0), fullAddress(guest, to), protocolOf(guest))
	if err == nil {
		return c, nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("%w: no answer from %s port %d in time; is the guest up, and does its own firewall let the port through?",
			network.ErrUnreachable, guest, to)
	}
	return nil, fmt.Errorf("%w: connecting to %s port %d: %w", network.ErrUnreachable, guest, to, err)
}
