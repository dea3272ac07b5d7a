package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/nettest"
)

const (
	connections = 300      // of N4
	bulk        = 48 << 20 // bytes of N5
	benchMTU    = 1500
	servicePort = 8080
)

var (
	publicAddress = netip.MustParseAddr("127.77.9.9")
	hostBeyond    = netip.MustParseAddr("192.0.2.1") // the host in the network that beyond is in
	beyond        = netip.MustParseAddrPort("192.0.2.2:8080")
)

// station is a guest that has a service, and who reaches it from the host how.
type station struct {
	guest *nettest.Guest
	port  uint16                                  // that it used last
	dial  func(context.Context) (net.Conn, error) // to the guest's service
	close func()
}

// traffic is N4 and N5: connections and bytes into a guest from the host, and out of
// it to a machine beyond, against QEMU's slirp and against a bare tap with a route. The
// guests are the same, and no virtual machines.
func (b *bench) traffic(ctx context.Context, labs []*lab) (err error) {
	serve, err := outerNet()
	if err != nil {
		return fmt.Errorf("making a network beyond the host: %w", err)
	}
	defer func() { err = errors.Join(err, serve()) }()
	for _, l := range labs {
		ours, err := l.station(ctx)
		if err != nil {
			return fmt.Errorf("%s network: %w", l.name, err)
		}
		make, what := b.slirp, "slirp"
		if l.name == "kernel" {
			make, what = bareStation, "a bare tap"
		}
		floor, err := make(ctx)
		if err != nil {
			ours.close()
			return fmt.Errorf("%s: %w", what, err)
		}
		err = b.compare(ctx, l.name, what, ours, floor)
		floor.close()
		ours.close()
		if err := errors.Join(err, l.client.Apply(ctx, l.config)); err != nil { // the next one gets the public address
			return fmt.Errorf("%s network: %w", l.name, err)
		}
	}
	return nil
}

func (b *bench) compare(ctx context.Context, name, what string, ours, floor *station) error {
	for _, m := range []struct {
		goal, what string
		wanted     float64
		do         func(*station) error
	}{ // what comes in passes a process of ours, which has another connection with the guest
		{"N4", fmt.Sprintf("%d connections in", connections), 3, func(s *station) error { return connect(ctx, s.dial) }},
		{"N4", fmt.Sprintf("%d connections out", connections), 2, func(s *station) error { return connect(ctx, s.out) }},
		{"N5", fmt.Sprintf("%d MiB to a client", bulk>>20), 3, func(s *station) error { return fetch(ctx, s.dial) }},
		{"N5", fmt.Sprintf("%d MiB from outside", bulk>>20), 1.5, func(s *station) error { return fetch(ctx, s.out) }},
	} {
		var times [2][]float64
		for round := range b.rounds + 1 {
			for i, s := range []*station{ours, floor} {
				t, err := timed(func() error { return m.do(s) })
				if err != nil {
					return fmt.Errorf("%s, %s: %w", m.what, []string{"ours", what}[i], err)
				}
				if round > 0 { // the first one warms up
					times[i] = append(times[i], t)
				}
			}
		}
		b.add(m.goal, fmt.Sprintf("%s network: %s / %s", name, m.what, what), m.wanted, times[0], times[1])
	}
	return nil
}

// out connects from the guest to the machine beyond, each time from another port:
// slirp refuses connections from ports that have just been used.
func (s *station) out(ctx context.Context) (net.Conn, error) {
	s.port = max(s.port, 10_000) + 1
	return s.guest.DialTCPFrom(ctx, s.port, beyond)
}

// answer serves: for a byte 'c' one byte, for another one bulk of them.
func answer(l net.Listener) {
	block := make([]byte, 64<<10)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			ask := make([]byte, 1)
			if _, err := io.ReadFull(c, ask); err != nil {
				return
			}
			if ask[0] == 'c' {
				_, _ = c.Write(ask)
				return
			}
			for sent := 0; sent < bulk; sent += len(block) {
				if _, err := c.Write(block); err != nil {
					return
				}
			}
		}()
	}
}

func connect(ctx context.Context, dial func(context.Context) (net.Conn, error)) error {
	for range connections {
		if _, err := ask(ctx, dial, 'c'); err != nil {
			return err
		}
	}
	return nil
}

func fetch(ctx context.Context, dial func(context.Context) (net.Conn, error)) error {
	n, err := ask(ctx, dial, 'b')
	if err == nil && n != bulk {
		err = fmt.Errorf("%d bytes of %d came", n, bulk)
	}
	return err
}

func ask(ctx context.Context, dial func(context.Context) (net.Conn, error), what byte) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := dial(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return 0, err
	}
	if _, err := c.Write([]byte{what}); err != nil {
		return 0, err
	}
	return io.Copy(io.Discard, c)
}

// serving makes a station of a guest on the card.
func serving(ctx context.Context, card nettest.Card, hw net.HardwareAddr, ip netip.Prefix, gateway netip.Addr, to string) (*station, error) {
	g, end, err := nettest.Start(card, hw, benchMTU)
	if err != nil {
		return nil, err
	}
	s := &station{guest: g, close: end, dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", to)
	}}
	if err := g.SetAddress(ip, gateway); err != nil {
		end()
		return nil, err
	}
	l, err := g.Listen(servicePort)
	if err != nil {
		end()
		return nil, err
	}
	go answer(l)
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		short, cancel := context.WithTimeout(ctx, time.Second)
		_, err := ask(short, s.dial, 'c')
		cancel()
		if err == nil {
			return s, nil
		}
		if time.Now().After(until) {
			end()
			return nil, fmt.Errorf("reaching the guest: %w", err)
		}
	}
}

func (l *lab) station(ctx context.Context) (*station, error) {
	c := l.config
	c.Ports = append([]network.Port(nil), c.Ports[:1]...)
	p := &c.Ports[0]
	any := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	p.PublicIP, p.Routes = publicAddress, []network.Route{{CIDR: any[0]}}
	p.Ingress, p.Egress = []network.Rule{{Protocol: "tcp", FromPort: servicePort, ToPort: servicePort, Peers: any}}, []network.Rule{{Protocol: "-1", Peers: any}}
	if err := l.client.Apply(ctx, c); err != nil {
		return nil, err
	}
	card, err := l.card(ctx, *p)
	if err != nil {
		return nil, err
	}
	subnet := c.VPCs[0].Subnets[0].CIDR
	return serving(ctx, card, flowMAC(0), netip.PrefixFrom(flowIP(0), subnet.Bits()), subnet.Addr().Next(), netip.AddrPortFrom(publicAddress, servicePort).String())
}

// slirp is a guest behind QEMU's user network, which forwards a port of the host's to
// it. QEMU has no machine, only the network.
func (b *bench) slirp(ctx context.Context) (*station, error) {
	path := filepath.Join(b.daemon.Run(), "slirp")
	card, err := nettest.ListenSocket(path)
	if err != nil {
		return nil, err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	at := free.Addr().String()
	free.Close()
	cmd := exec.Command("qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none",
		"-netdev", fmt.Sprintf("user,id=u,hostfwd=tcp:%s-10.0.2.15:%d", at, servicePort), "-netdev", "stream,id=s,server=off,addr.type=unix,addr.path="+path,
		"-netdev", "hubport,id=hu,hubid=0,netdev=u", "-netdev", "hubport,id=hs,hubid=0,netdev=s")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting QEMU: %w", err)
	}
	stop := func() { _, _ = cmd.Process.Kill(), cmd.Wait(); _ = os.Remove(path) }
	s, err := serving(ctx, card, flowMAC(2), netip.MustParsePrefix("10.0.2.15/24"), netip.MustParseAddr("10.0.2.2"), at)
	if err != nil {
		stop()
		return nil, err
	}
	end := s.close
	s.close = func() { stop(); end() }
	return s, nil
}

// bareStation is a guest on a tap to which the host has a route, and no rules.
func bareStation(ctx context.Context) (*station, error) {
	const name, host, guest = "bareout", "198.51.100.1", "198.51.100.2"
	f, link, err := openTap(name)
	if err != nil {
		return nil, err
	}
	net4 := func(cidr string) *net.IPNet { _, n, _ := net.ParseCIDR(cidr); return n }
	err = errors.Join(
		netlink.AddrReplace(link, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(host), Mask: net4(host + "/24").Mask}}), netlink.LinkSetUp(link),
	)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("setting up a tap: %w", err)
	}
	return serving(ctx, newTapCard(f), flowMAC(3), netip.MustParsePrefix(guest+"/24"), netip.MustParseAddr(host), fmt.Sprintf("%s:%d", guest, servicePort))
}

// tapCard is a card on an open tap.
type tapCard struct {
	wire *tapWire
	once sync.Once
	gone chan struct{}
	used chan struct{}
}

func newTapCard(f *os.File) *tapCard {
	return &tapCard{wire: newTapWire(f), gone: make(chan struct{}), used: make(chan struct{}, 1)}
}

// Attach gives the tap once.
func (c *tapCard) Attach() (nettest.Wire, error) {
	select {
	case c.used <- struct{}{}:
		return c.wire, nil
	case <-c.gone:
		return nil, net.ErrClosed
	}
}

// Close ends the tap.
func (c *tapCard) Close() error {
	c.once.Do(func() { close(c.gone) })
	return c.wire.Close()
}

// Send is of nettest.Wire.
func (w *tapWire) Send(frame []byte) error { return w.send(frame) }

// Receive is of nettest.Wire.
func (w *tapWire) Receive() ([]byte, error) {
	for {
		n, err := w.f.Read(w.b)
		if err != nil {
			return nil, err
		}
		if n > virtioHeader {
			return append([]byte(nil), w.b[virtioHeader:n]...), nil
		}
	}
}

// outerNet makes a network in which the host is one machine, and another one has the
// service; done ends it.
func outerNet() (done func() error, err error) {
	type made struct {
		l   net.Listener
		err error
	}
	host, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	defer host.Close()
	ready := make(chan made)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends, and the namespace with its last socket
		l, err := beyondHost(int(host.Fd()))
		ready <- made{l, err}
	}()
	m := <-ready
	if m.err != nil {
		return nil, m.err
	}
	link, err := netlink.LinkByName("outer")
	if err == nil {
		err = errors.Join(
			netlink.AddrReplace(link, &netlink.Addr{IPNet: &net.IPNet{IP: hostBeyond.AsSlice(), Mask: net.CIDRMask(24, 32)}}), netlink.LinkSetUp(link),
			os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0), // the bench's own namespace
		)
	}
	if err != nil {
		m.l.Close()
		return nil, err
	}
	go answer(m.l)
	return func() error { return errors.Join(m.l.Close(), netlink.LinkDel(link)) }, nil
}

// beyondHost makes the other machine in a namespace of the thread's own.
func beyondHost(host int) (net.Listener, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("making a network namespace: %w", err)
	}
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "inner"}, PeerName: "outer", PeerNamespace: netlink.NsFd(host)}
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("making a pair of devices: %w", err)
	}
	link, err := netlink.LinkByName("inner")
	if err != nil {
		return nil, err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		netlink.LinkSetUp(lo), netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: beyond.Addr().AsSlice(), Mask: net.CIDRMask(24, 32)}}), netlink.LinkSetUp(link),
	)
	if err != nil {
		return nil, err
	}
	err = netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: hostBeyond.AsSlice()})
	if err != nil && !errors.Is(err, syscall.EEXIST) {
		return nil, fmt.Errorf("routing back: %w", err)
	}
	return net.Listen("tcp", beyond.String())
}
