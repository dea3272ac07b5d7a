package user

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

// publicListeners are the TCP ports of a port's public address that the host
// listens on: those that the ingress rules open to somebody on this host.
type publicListeners struct {
	mu        sync.Mutex
	closed    bool
	listeners map[netip.AddrPort]*publicListener
	problems  map[string]string
	retries   bool // a problem may have gone away
	serving   sync.WaitGroup
}

// publicPorts returns what to open, and for ranges that are too large the
// reason why not.
func publicPorts(c *portConfig) (map[netip.AddrPort]bool, map[string]string) {
	ports, problems := map[netip.AddrPort]bool{}, map[string]string{}
	for _, public := range c.publicAddresses() {
		for _, r := range c.ingress {
			if (r.proto == protoTCP || r.all) && slices.ContainsFunc(r.peers, loopbackNet.Overlaps) {
				openRange(public, r, ports, problems)
			}
		}
	}
	return ports, problems
}

// openRange adds the ports of a rule.
func openRange(public netip.Addr, r rule, ports map[netip.AddrPort]bool, problems map[string]string) {
	from, to := int(r.from), int(r.to)
	if r.all {
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

func (c *portConfig) publicAddresses() (out []netip.Addr) {
	if c.PublicIP.IsValid() {
		out = append(out, c.PublicIP)
	}
	for _, f := range c.Forwards {
		out = append(out, f.PublicIP)
	}
	return out
}

// behind is the private address that a public one leads to.
func (c *portConfig) behind(public netip.Addr) (netip.Addr, bool) {
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

// publicListener is one open address and port.
type publicListener struct {
	net.Listener
	done chan struct{} // closed when nothing holds the address any more
}

func (l *publicListener) end() {
	l.Close()
	<-l.done
}

// giveUp closes what c does not have. An address that moves to another port is
// free when it returns.
func (l *publicListeners) giveUp(c *portConfig) {
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

// reconcile opens and closes listeners until they are those of the port's rules.
func (l *publicListeners) reconcile(p *port) {
	c := p.config.Load()
	l.giveUp(c)
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
			p.servePublic(ln, ap)
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

// retry tries again to open what failed.
func (l *publicListeners) retry(p *port) {
	l.mu.Lock()
	again := l.retries
	l.mu.Unlock()
	if again {
		l.reconcile(p)
	}
}

func (l *publicListeners) close() {
	l.mu.Lock()
	l.closed = true
	for _, ln := range l.listeners {
		ln.Close()
	}
	l.listeners = nil
	l.mu.Unlock()
	l.serving.Wait()
}

func (l *publicListeners) status() ([]netip.AddrPort, map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.SortedFunc(maps.Keys(l.listeners), netip.AddrPort.Compare), maps.Clone(l.problems)
}

// servePublic gives each connection to the guest.
func (p *port) servePublic(ln net.Listener, at netip.AddrPort) {
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, or the client is gone already
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go p.forwardPublic(c.(*net.TCPConn), at)
	}
}

// forwardPublic connects a client with the guest, who sees the client's own
// address; one of the host's loopback could not be answered, so these become
// the gateway. A client that gets no further sees a reset.
func (p *port) forwardPublic(c *net.TCPConn, at netip.AddrPort) {
	client := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	config := p.config.Load()
	private, ok := config.behind(at.Addr())
	if !ok || !config.ingress.allow(protoTCP, client.As4(), at.Port()) || !p.conns.add(c) {
		reset(c)
		return
	}
	defer p.conns.remove(c)
	if client.IsLoopback() {
		client = gatewayOf(p.subnet)
	}
	ctx, cancel := context.WithTimeout(context.Background(), publicTimeout)
	defer cancel()
	guest, err := p.dialGuest(ctx, client, private, at.Port())
	if err != nil {
		reset(c)
		return
	}
	p.splice(guest, c)
}
