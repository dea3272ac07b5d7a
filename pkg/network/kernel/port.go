package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	api "github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/gateway"
)

const (
	noForwarding   = "the host forwards no packets, so nothing comes back from outside; allow it with: sysctl net.ipv4.ip_forward=1"
	noForwardingV6 = "the host forwards no packets of IPv6, so nothing comes back from outside; allow it with: sysctl net.ipv6.conf.all.forwarding=1"
)

const (
	maxConns    = 1024 // open with one guest, of any kind
	dialTimeout = 10 * time.Second
)

// port is a guest's interface: its tap, and everything that is open on its behalf.
type port struct {
	vpc *vpc
	id  string
	tap string

	config atomic.Pointer[gateway.Port]
	guard  atomic.Pointer[guard] // installed
	index  atomic.Int64          // of the device
	conns  *gateway.ConnSet
	public gateway.PublicListeners

	connected atomic.Bool
	leasedAt  atomic.Int64 // Unix nanoseconds
	lastSeen  atomic.Int64
	received  atomic.Uint64 // frames from the guest, when it was looked at last
	queries   gateway.Gate  // of names

	forged     atomic.Uint64 // messages of neighbour discovery and DHCPv6 for somebody else
	advertised atomic.Int64  // Unix nanoseconds
}

func newPort(v *vpc, c *gateway.Port) *port {
	p := &port{vpc: v, id: c.ID, tap: tapName(c.ID), conns: gateway.NewConnSet(maxConns), queries: make(gateway.Gate, gateway.MaxQueries)}
	p.config.Store(c)
	return p
}

// Config is the port's configuration of now.
func (p *port) Config() *gateway.Port { return p.config.Load() }

// Conns holds what is open with the guest.
func (p *port) Conns() *gateway.ConnSet { return p.conns }

func (p *port) addresses() []netip.Addr {
	c := p.Config()
	return append(append([]netip.Addr{c.PrivateIP}, c.Secondary...), c.IPv6...)
}

// setConnected notes if a machine has the tap open. Connections of one that
// has not are over: its guest is gone, another may come.
func (p *port) setConnected(now bool) {
	if p.connected.Swap(now) && !now {
		p.conns.AbortAll()
	}
}

// ensure makes the tap that the configuration wants, with its guard, and the
// guest's addresses found there and nowhere else.
func (p *port) ensure(services []netip.Addr) error {
	c, v := p.Config(), p.vpc.config.Load()
	link, err := p.vpc.ns.ensureTap(p.tap, p.id, gateway.MTU(*v), gateway.HardwareAddr[:])
	if err != nil {
		return err
	}
	p.index.Store(int64(link.Attrs().Index))
	if err := p.ensureGuard(c, v, services); err != nil {
		return err
	}
	gone, err := p.ensureRoutes(link, c)
	if err != nil {
		return err
	}
	p.setConnected(carrier(link))
	return p.vpc.forget(gone)
}

func (p *port) ensureGuard(c *gateway.Port, v *api.VPC, services []netip.Addr) error {
	g := &guard{
		tap: p.tap, hw: c.HW, primary: c.PrivateIP, own: p.addresses(), gateway: services, networks: p.vpc.ns.file,
		cidrs: v.Ranges(), any: c.AnySource,
		askable: append(v.Ranges(), netip.PrefixFrom(gateway.MetadataAddr, 32), netip.PrefixFrom(gateway.NamesAddr, 32)),
	}
	if c.SubnetV6.IsValid() && hasIPv6() {
		g.v6, g.meta6, g.cidrs = true, c.Metadata.Options.IPv6, append(g.cidrs, v.CIDRv6)
	}
	if old := p.guard.Load(); old != nil && old.same(g) {
		return nil
	}
	var err error
	if g.spoofed, err = g.count(); err != nil {
		g.spoofed = 0 // no guard was there
	}
	if err := g.install(); err != nil {
		return fmt.Errorf("guarding %s: %w", p.id, err)
	}
	p.guard.Store(g)
	return nil
}

func (g *guard) same(o *guard) bool {
	return g.hw == o.hw && g.any == o.any && g.v6 == o.v6 && g.meta6 == o.meta6 && slices.Equal(g.cidrs, o.cidrs) && g.primary == o.primary && slices.Equal(g.own, o.own) && slices.Equal(g.gateway, o.gateway) && slices.Equal(g.askable, o.askable)
}

// ensureRoutes leads the guest's addresses to the tap and returns those that no
// longer lead there.
func (p *port) ensureRoutes(link netlink.Link, c *gateway.Port) (gone []netip.Addr, err error) {
	h, index := p.vpc.ns.link, link.Attrs().Index
	neighbours, err := h.NeighList(index, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("listing the neighbours of %s: %w", p.id, err)
	}
	known := map[netip.Addr]bool{}
	for i := range neighbours {
		a, _ := netip.AddrFromSlice(neighbours[i].IP)
		a = a.Unmap()
		switch {
		case neighbours[i].State&netlink.NUD_PERMANENT == 0:
		case !c.Owns(a):
			gone = append(gone, a)
			err = errors.Join(h.NeighDel(&neighbours[i]), h.RouteDel(&netlink.Route{LinkIndex: index, Dst: ipNet(netip.PrefixFrom(a, a.BitLen()))}))
			if err != nil {
				return nil, fmt.Errorf("taking %s from %s: %w", a, p.id, err)
			}
		default:
			known[a] = string(neighbours[i].HardwareAddr) == string(c.HW[:])
		}
	}
	for _, a := range p.addresses() {
		if known[a] || (a.Is6() && !hasIPv6()) {
			continue
		}
		err := errors.Join(
			h.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: c.HW[:]}),
			h.RouteReplace(&netlink.Route{LinkIndex: index, Scope: netlink.SCOPE_LINK, Dst: ipNet(netip.PrefixFrom(a, a.BitLen()))}),
		)
		if err != nil {
			return nil, fmt.Errorf("leading %s to %s: %w", a, p.id, err)
		}
	}
	return gone, nil
}

// close ends everything of the port but its tap.
func (p *port) close() {
	p.public.Close()
	p.conns.CloseAll()
}

// remove takes the tap away with all that is known of its guest. What is known
// goes by itself with the whole VPC.
func (p *port) remove(withVPC bool) error {
	p.close()
	err := p.vpc.ns.removeTap(p.tap)
	if withVPC {
		return err
	}
	if g := p.guard.Load(); g != nil {
		err = errors.Join(err, g.remove())
	}
	return errors.Join(err, p.vpc.forget(p.addresses()))
}

func (n *namespace) removeTap(name string) error {
	link, err := n.link.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = n.link.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("removing %s: %w", name, err)
	}
	return nil
}

// DialGuest opens a connection to one of the guest's addresses under the address from.
func (p *port) DialGuest(ctx context.Context, from, guest netip.Addr, to uint16) (gateway.HalfCloser, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}, Control: transparent}
	var conn net.Conn
	err := p.vpc.ns.do(func() (err error) {
		conn, err = d.DialContext(ctx, "tcp4", netip.AddrPortFrom(guest, to).String())
		return err
	})
	switch {
	case err == nil:
		return conn.(*net.TCPConn), nil
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, unix.ETIMEDOUT):
		return nil, fmt.Errorf("%w: no answer from %s port %d in time; is the guest up, and does its own firewall let the port through?",
			api.ErrUnreachable, guest, to)
	}
	return nil, fmt.Errorf("%w: connecting to %s port %d: %w", api.ErrUnreachable, guest, to, err)
}

// transparent lets a socket have an address that is not the host's.
func transparent(_, _ string, c syscall.RawConn) (err error) {
	e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1) })
	return errors.Join(e, err)
}

// DialGuestUDP is for datagrams with one of the guest's addresses under the address from.
func (p *port) DialGuestUDP(from, guest netip.Addr, to uint16) (conn net.Conn, err error) {
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: from.AsSlice()}, Control: transparent}
	err = p.vpc.ns.do(func() (err error) {
		conn, err = d.Dial("udp4", netip.AddrPortFrom(guest, to).String())
		return err
	})
	return conn, err
}

// look brings what is known of the device up to now.
func (p *port) look(link netlink.Link) {
	p.setConnected(carrier(link))
	if s := link.Attrs().Statistics; s != nil && p.received.Swap(s.RxPackets) != s.RxPackets {
		p.lastSeen.Store(time.Now().UnixNano())
	}
}

func (p *port) status(link netlink.Link) (api.PortStatus, error) {
	s := api.PortStatus{LeasedAt: unixNano(p.leasedAt.Load())}
	s.Listening, s.ListeningUDP, s.Problems = p.public.Status()
	if s.Problems == nil {
		s.Problems = map[string]string{}
	}
	if len(p.Config().IPv6) > 0 && !hasIPv6() {
		s.Problems["IPv6"] = "the kernel has no IPv6, so the guest gets no address of it"
	}
	if leadsOutBy(p.Config(), ipv4Family) && !HostForwards() {
		s.Problems["internet"] = noForwarding
	}
	if hasIPv6() && leadsOutBy(p.Config(), ipv6Family) && !hostForwardsV6() {
		s.Problems["internet by IPv6"] = noForwardingV6
	}
	var err error
	if link != nil {
		p.look(link)
		n := link.Attrs().Statistics // of the host's side: it receives what the guest sends
		s.Dropped = n.TxDropped
		s.Sent, s.Received = api.Traffic{Packets: n.RxPackets, Bytes: n.RxBytes}, api.Traffic{Packets: n.TxPackets, Bytes: n.TxBytes}
	}
	if g := p.guard.Load(); g != nil {
		s.Spoofed, err = g.count()
		s.Spoofed += p.forged.Load()
	}
	s.Connected, s.LastSeen = p.connected.Load(), unixNano(p.lastSeen.Load())
	return s, err
}

func unixNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}
