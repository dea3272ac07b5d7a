package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// maxPublicRange is the most ports of one rule that are opened on the host.
	maxPublicRange = 64
	publicTimeout  = 10 * time.Second
)

var loopbackNet = netip.MustParsePrefix("127.0.0.0/8")

// PublicPort is a port whose guest is to be reached by its public addresses.
type PublicPort interface {
	Config() *Port
	// Conns holds what is open with the guest.
	Conns() *ConnSet
	// DialGuest opens a connection to one of the guest's addresses under the
	// address from.
	DialGuest(ctx context.Context, from, guest netip.Addr, to uint16) (HalfCloser, error)
	// DialGuestUDP is for datagrams, with a port of its own at from. It does not wait.
	DialGuestUDP(from, guest netip.Addr, to uint16) (net.Conn, error)
}

// PublicListeners are the TCP and UDP ports of a port's public address that the
// host listens on: those that the ingress rules open to somebody who can reach it.
type PublicListeners struct {
	mu        sync.Mutex
	closed    bool
	listeners map[endpoint]*publicListener
	problems  map[string]string
	retries   bool // a problem may have gone away
	serving   sync.WaitGroup
}

// endpoint is a port of a public address.
type endpoint struct {
	proto byte // TCP or UDP
	netip.AddrPort
}

// publicPorts returns what to open, and for ranges that are too large the
// reason why not.
func publicPorts(c *Port) (map[endpoint]bool, map[string]string) {
	ports, problems := map[endpoint]bool{}, map[string]string{}
	for _, public := range c.publicAddresses() {
		for _, r := range c.In {
			if (r.Ports() || r.All) && slices.ContainsFunc(r.Peers, func(peer netip.Prefix) bool { return reaches(peer, public) }) {
				openRange(public, r, ports, problems)
			}
		}
	}
	return ports, problems
}

// reaches reports whether some of peer's addresses can be a client's of a public
// address: of one of the host's loopback only those of that.
func reaches(peer netip.Prefix, public netip.Addr) bool {
	return peer.Addr().Is4() && (!public.IsLoopback() || loopbackNet.Overlaps(peer))
}

// openRange adds the ports of a rule.
func openRange(public netip.Addr, r Rule, ports map[endpoint]bool, problems map[string]string) {
	from, to := int(r.From), int(r.To)
	if r.All {
		from, to = 1, 65535
	}
	from = max(from, 1)
	if n := to - from + 1; n > maxPublicRange {
		problems[fmt.Sprintf("%s:%d-%d", public, from, to)] = fmt.Sprintf(
			"a rule opens %d ports; at most %d of a rule are opened on the public address: authorize the ones you need one by one", n, maxPublicRange)
		return
	}
	for n := from; n <= to; n++ {
		ports[endpoint{r.Proto, netip.AddrPortFrom(public, uint16(n))}] = true
	}
}

func (c *Port) publicAddresses() (out []netip.Addr) {
	if c.PublicIP.IsValid() {
		out = append(out, c.PublicIP)
	}
	for _, f := range c.Forwards {
		out = append(out, f.PublicIP)
	}
	return out
}

// behind is the private address that a public one leads to.
func (c *Port) behind(public netip.Addr) (netip.Addr, bool) {
	if public == c.PublicIP {
		return c.PrivateIP, true
	}
	for _, f := range c.Forwards {
		if f.PublicIP == public {
			return f.PrivateIP, true
		}
	}
	return netip.Addr{}, false
}

// LeadsTo says if a public address is the port's.
func (c *Port) LeadsTo(public netip.Addr) bool {
	_, ok := c.behind(public)
	return ok
}

// publicListener is one open address and port.
type publicListener struct {
	io.Closer
	done chan struct{} // closed when nothing holds the address any more
}

func (l *publicListener) end() {
	l.Close()
	<-l.done
}

// GiveUp closes what c does not have. An address that moves to another port is
// free when it returns.
func (l *PublicListeners) GiveUp(c *Port) {
	want, _ := publicPorts(c)
	l.mu.Lock()
	defer l.mu.Unlock()
	for at, ln := range l.listeners {
		if !want[at] {
			ln.end()
			delete(l.listeners, at)
		}
	}
}

// Reconcile opens and closes listeners until they are those of the port's rules.
func (l *PublicListeners) Reconcile(p PublicPort) {
	c := p.Config()
	l.GiveUp(c)
	want, problems := publicPorts(c)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if l.listeners == nil {
		l.listeners = map[endpoint]*publicListener{}
	}
	l.retries = false
	for at := range want {
		if l.listeners[at] != nil {
			continue
		}
		open, serve, err := openPublic(p, at)
		if err != nil {
			problems[at.String()] = publicProblem(at, err)
			l.retries = true
			continue
		}
		ln := &publicListener{open, make(chan struct{})}
		l.listeners[at] = ln
		l.serving.Go(func() {
			defer close(ln.done)
			serve()
		})
	}
	l.problems = problems
}

// openPublic opens an address and port, and returns what serves it.
func openPublic(p PublicPort, at endpoint) (open io.Closer, serve func(), err error) {
	if at.proto == UDP {
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at.AddrPort))
		if err != nil {
			return nil, nil, err
		}
		u := &publicUDP{port: p, conn: conn, at: at.AddrPort, flows: map[netip.AddrPort]*publicFlow{}}
		return conn, u.serve, nil
	}
	ln, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at.AddrPort))
	if err != nil {
		return nil, nil, err
	}
	return ln, func() { servePublic(p, ln, at.AddrPort) }, nil
}

// publicProblem says why an address could not be opened and what to do.
func publicProblem(at endpoint, err error) string {
	ap, list := at.AddrPort, "ss -ltnp"
	if at.proto == UDP {
		list = "ss -lunp"
	}
	switch {
	case errors.Is(err, syscall.EACCES):
		return fmt.Sprintf("this user may not listen on ports below the host's limit; allow it with: sysctl net.ipv4.ip_unprivileged_port_start=%d", ap.Port())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("the host has no address %s; give it one with: ip address add %s/8 dev lo", ap.Addr(), ap.Addr())
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("another program listens on %s; find it with: %s 'sport = :%s'", ap, list, strconv.Itoa(int(ap.Port())))
	}
	return err.Error()
}

// Retry tries again to open what failed.
func (l *PublicListeners) Retry(p PublicPort) {
	l.mu.Lock()
	again := l.retries
	l.mu.Unlock()
	if again {
		l.Reconcile(p)
	}
}

// Close ends all of them for good.
func (l *PublicListeners) Close() {
	l.mu.Lock()
	l.closed = true
	for _, ln := range l.listeners {
		ln.Close()
	}
	l.listeners = nil
	l.mu.Unlock()
	l.serving.Wait()
}

// Published tells what is open by TCP or UDP, and why something is not.
func (l *PublicListeners) Published(proto uint8) ([]netip.AddrPort, map[string]string) {
	tcp, udp, problems := l.Status()
	if proto == UDP {
		return udp, problems
	}
	return tcp, problems
}

// Status tells what is open, by TCP and by UDP, and why something is not.
func (l *PublicListeners) Status() (tcp, udp []netip.AddrPort, problems map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at := range l.listeners {
		if at.proto == UDP {
			udp = append(udp, at.AddrPort)
		} else {
			tcp = append(tcp, at.AddrPort)
		}
	}
	slices.SortFunc(tcp, netip.AddrPort.Compare)
	slices.SortFunc(udp, netip.AddrPort.Compare)
	return tcp, udp, maps.Clone(l.problems)
}

// servePublic gives each connection to the guest.
func servePublic(p PublicPort, ln net.Listener, at netip.AddrPort) {
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, or the client is gone already
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go forwardPublic(p, c.(*net.TCPConn), at)
	}
}

// forwardPublic connects a client with the guest, who sees the client's own
// address; one of the host's loopback could not be answered, so these become
// the gateway. A client that gets no further sees a reset.
func forwardPublic(p PublicPort, c *net.TCPConn, at netip.AddrPort) {
	remote := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	client := remote.Addr().Unmap()
	config := p.Config()
	private, ok := config.behind(at.Addr())
	if !ok || !config.AllowClient(TCP, netip.AddrPortFrom(client, remote.Port()), at.Port()) || !p.Conns().Add(c) {
		reset(c)
		return
	}
	defer p.Conns().Remove(c)
	if client.IsLoopback() {
		client = Address(config.Subnet)
	}
	ctx, cancel := context.WithTimeout(context.Background(), publicTimeout)
	defer cancel()
	guest, err := p.DialGuest(ctx, client, private, at.Port())
	if err != nil {
		reset(c)
		return
	}
	p.Conns().Splice(guest, c)
}
