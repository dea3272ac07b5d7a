package gateway

import (
	"context"
	"errors"
	"fmt"
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
}

// PublicListeners are the TCP ports of a port's public address that the host
// listens on: those that the ingress rules open to somebody on this host.
type PublicListeners struct {
	mu        sync.Mutex
	closed    bool
	listeners map[netip.AddrPort]*publicListener
	problems  map[string]string
	retries   bool // a problem may have gone away
	serving   sync.WaitGroup
}

// publicPorts returns what to open, and for ranges that are too large the
// reason why not.
func publicPorts(c *Port) (map[netip.AddrPort]bool, map[string]string) {
	ports, problems := map[netip.AddrPort]bool{}, map[string]string{}
	for _, public := range c.publicAddresses() {
		for _, r := range c.In {
			if (r.Proto == TCP || r.All) && slices.ContainsFunc(r.Peers, loopbackNet.Overlaps) {
				openRange(public, r, ports, problems)
			}
		}
	}
	return ports, problems
}

// openRange adds the ports of a rule.
func openRange(public netip.Addr, r Rule, ports map[netip.AddrPort]bool, problems map[string]string) {
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
		ports[netip.AddrPortFrom(public, uint16(n))] = true
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
	net.Listener
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
	for ap, ln := range l.listeners {
		if !want[ap] {
			ln.end()
			delete(l.listeners, ap)
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
		l.listeners = map[netip.AddrPort]*publicListener{}
	}
	l.retries = false
	for ap := range want {
		if l.listeners[ap] != nil {
			continue
		}
		tcp, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(ap))
		if err != nil {
			problems[ap.String()] = publicProblem(ap, err)
			l.retries = true
			continue
		}
		ln := &publicListener{tcp, make(chan struct{})}
		l.listeners[ap] = ln
		l.serving.Add(1)
		go func() {
			defer l.serving.Done()
			defer close(ln.done)
			servePublic(p, ln, ap)
		}()
	}
	l.problems = problems
}

// publicProblem says why an address could not be opened and what to do.
func publicProblem(ap netip.AddrPort, err error) string {
	switch {
	case errors.Is(err, syscall.EACCES):
		return fmt.Sprintf("this user may not listen on ports below the host's limit; allow it with: sysctl net.ipv4.ip_unprivileged_port_start=%d", ap.Port())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("the host has no address %s; give it one with: ip address add %s/8 dev lo", ap.Addr(), ap.Addr())
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("another program listens on %s; find it with: ss -ltnp 'sport = :%s'", ap, strconv.Itoa(int(ap.Port())))
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

// Status tells what is open, and why something is not.
func (l *PublicListeners) Status() ([]netip.AddrPort, map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.SortedFunc(maps.Keys(l.listeners), netip.AddrPort.Compare), maps.Clone(l.problems)
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
	client := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	config := p.Config()
	private, ok := config.behind(at.Addr())
	if !ok || !config.In.Allow(TCP, client, at.Port()) || !p.Conns().Add(c) {
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
