package nettest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/network"
)

func testPausedGuest(t *testing.T, n *lab) {
	a, b := n.pair(t, allow("-1", 0, 0))
	n.port("vpc-1", "10.0.1.12", allow("-1", 0, 0))
	n.apply(t)
	c := n.guest(t, 2)
	go Echo(c.ListenTCP(t, 80))
	b.Pause()
	for range 3000 { // more than any queue and socket buffer
		if err := a.Send(UDPFrame(a.MAC, b.MAC, a.IP, b.IP, 1, 2, make([]byte, 1400))); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := a.DialTCP(within(t, patience), netip.AddrPortFrom(c.IP, 80))
	if err != nil {
		t.Fatal("a paused guest stalls another: ", err)
	}
	defer conn.Close()
	if err := RoundTrip(conn, bytes.Repeat([]byte("p"), 1<<20)); err != nil {
		t.Error(err)
	}
	if n.status(t, 1).Dropped == 0 {
		t.Error("no drops were counted for the paused guest")
	}
	b.Resume()
	gw := a.ARP(t, gatewayA, patience)
	eventually(t, "the guest is there again", func() bool { return a.Ping(t, gw, b.IP, time.Second) })
}

// testFlood: a guest that floods another with flows without number stalls no
// third one.
func testFlood(t *testing.T, n *lab) {
	a, b := n.pair(t, allow("-1", 0, 0))
	n.port("vpc-1", "10.0.1.12", allow("tcp", 80, 80))
	n.port("vpc-1", "10.0.1.13")
	n.apply(t)
	c, d := n.guest(t, 2), n.guest(t, 3)
	go Echo(c.ListenTCP(t, 80))
	stop := make(chan struct{})
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_ = a.Send(UDPFrame(a.MAC, b.MAC, a.IP, b.IP, uint16(i), uint16(i>>16+1), []byte("flood")))
			}
		}
	}()
	defer func() { close(stop); <-flooded }()
	conn, err := d.DialTCP(within(t, patience), netip.AddrPortFrom(c.IP, 80))
	if err != nil {
		t.Fatal("a flood stalls another guest: ", err)
	}
	defer conn.Close()
	if err := RoundTrip(conn, bytes.Repeat([]byte("q"), 1<<18)); err != nil {
		t.Error(err)
	}
}

// chat keeps one connection and proves that it still moves bytes.
type chat struct{ net.Conn }

func (c chat) say(t *testing.T, text string) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(2 * patience))
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatalf("saying %q: %v", text, err)
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != text {
		t.Fatalf("said %q, heard %q: %v", text, b, err)
	}
}

func testKill(t *testing.T, n *lab) {
	a, b := n.pair(t, allow("tcp", 80, 80))
	go Echo(b.ListenTCP(t, 80))
	c, err := a.DialTCP(within(t, patience), netip.AddrPortFrom(b.IP, 80))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	chat{c}.say(t, "before")
	leased := n.status(t, 0).LeasedAt
	n.apply(t) // remembers the lease
	n.Kill(t)
	chat{c}.say(t, "after") // between guests nothing is lost but frames
	if got := n.status(t, 0).LeasedAt; !got.Equal(leased) {
		t.Errorf("leased at %s before and %s after", leased, got)
	}
	d, err := n.Datapath.Dial(within(t, patience), n.config.Ports[1].ID, 80)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	chat{d}.say(t, "again")
}

func testReopen(t *testing.T, n *lab) {
	a, b := n.pair(t, allow("tcp", 18090, 18090))
	n.config.Ports[1].PublicIP = netip.MustParseAddr("127.77.3.6")
	n.apply(t)
	go Echo(b.ListenTCP(t, 18090))
	inner, err := a.DialTCP(within(t, patience), netip.AddrPortFrom(b.IP, 18090))
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	outer, err := net.Dial("tcp", "127.77.3.6:18090")
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Close()
	chat{inner}.say(t, "one")
	chat{outer}.say(t, "one")
	n.Datapath = n.Reopen(t)
	chat{outer}.say(t, "two")
	n.apply(t)
	chat{inner}.say(t, "three")
	chat{outer}.say(t, "three")
}

func testReconnect(t *testing.T, n *lab) {
	a, b := n.pair(t, allow("tcp", 80, 80))
	go Echo(b.ListenTCP(t, 80))
	b.Disconnect()
	eventually(t, "the guest is attached again", func() bool { return n.status(t, 1).Connected })
	eventually(t, "the guest is reachable again", func() bool {
		c, err := a.DialTCP(within(t, time.Second), netip.AddrPortFrom(b.IP, 80))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// testGuestDies: connections to a guest whose QEMU ends are over at once, and do
// not wait for an answer that cannot come. Others go on.
func testGuestDies(t *testing.T, n *lab) {
	a, b := n.pair(t, allow("tcp", 18092, 18092))
	n.config.Ports[0].Ingress = allowAll
	n.config.Ports[1].PublicIP = netip.MustParseAddr("127.77.3.8")
	n.apply(t)
	go Echo(a.ListenTCP(t, 80))
	go Echo(b.ListenTCP(t, 18092))
	dialed, err := n.Datapath.Dial(within(t, patience), n.config.Ports[1].ID, 18092)
	if err != nil {
		t.Fatal(err)
	}
	defer dialed.Close()
	public, err := net.Dial("tcp", "127.77.3.8:18092")
	if err != nil {
		t.Fatal(err)
	}
	defer public.Close()
	other, err := n.Datapath.Dial(within(t, patience), n.config.Ports[0].ID, 80)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, c := range []net.Conn{dialed, public, other} {
		chat{c}.say(t, "alive")
	}
	b.Disconnect()
	for name, c := range map[string]net.Conn{"dialed": dialed, "public": public} {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, errTimeout(err)) {
			t.Errorf("the %s connection outlived its guest: %v", name, err)
		} else if name == "public" && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client takes the end of the guest for the end of the content: %v", err)
		}
	}
	chat{other}.say(t, "still alive")
	eventually(t, "the next guest is reachable", func() bool {
		c, err := n.Datapath.Dial(within(t, time.Second), n.config.Ports[1].ID, 18092)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// testEgress: nothing of the host can be reached, whatever the rules allow. The
// listeners are real; they must see nobody.
func testEgress(t *testing.T, n *lab) {
	a, _ := n.pair(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	seen := make(chan net.Addr, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			seen <- c.RemoteAddr()
			c.Close()
		}
	}()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	tcpPort := uint16(l.Addr().(*net.TCPAddr).Port)
	udpPort := pc.LocalAddr().(*net.UDPAddr).Port
	refused := []string{"127.0.0.1", "127.77.3.5", "0.0.0.0", "169.254.1.1", "10.0.1.1"}
	for _, own := range ownAddresses(t) {
		refused = append(refused, own.String())
	}
	for _, dst := range refused {
		if c, err := a.DialTCP(within(t, 300*time.Millisecond), netip.AddrPortFrom(netip.MustParseAddr(dst), tcpPort)); err == nil {
			c.Close()
			t.Errorf("the guest reached %s", dst)
		}
	}
	gw := a.ARP(t, gatewayA, patience)
	frame := UDPFrame(a.MAC, gw, a.IP, netip.MustParseAddr("127.0.0.1"), 999, uint16(udpPort), []byte("x"))
	if err := a.Send(frame); err != nil {
		t.Fatal(err)
	}
	_ = pc.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, from, err := pc.ReadFrom(make([]byte, 10)); err == nil {
		t.Errorf("the host's UDP socket got a datagram from %s", from)
	}
	select {
	case from := <-seen:
		t.Errorf("the host's listener was reached from %s", from)
	default:
	}
}

// ownAddresses returns the host's other IPv4 addresses.
func ownAddresses(t *testing.T) []netip.Addr {
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var own []netip.Addr
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			own = append(own, mustAddr(n.IP))
		}
	}
	return own
}

func testOverlappingVPCs(t *testing.T, n *lab) {
	for _, id := range []string{"vpc-1", "vpc-2"} {
		n.vpc(id)
		n.port(id, "10.0.1.10")
		n.port(id, "10.0.1.11", allow("tcp", 80, 80))
	}
	n.apply(t)
	for i, name := range []string{"one", "two"} {
		a, b := n.guest(t, 2*i), n.guest(t, 2*i+1)
		l := b.ListenTCP(t, 80)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(name))
				c.Close()
			}
		}()
		c, err := a.DialTCP(within(t, patience), netip.AddrPortFrom(b.IP, 80))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(struct{ io.Reader }{c})
		c.Close()
		if string(got) != name || err != nil {
			t.Errorf("VPC %s answered %q: %v", name, got, err)
		}
		if code, id := fetch(t, a.http(), "GET", "/latest/meta-data/instance-id"); code != 200 || id != n.config.Ports[2*i].InstanceID {
			t.Errorf("metadata in VPC %s: %d %q", name, code, id)
		}
	}
}

func testIdempotent(t *testing.T, n *lab) {
	a, b := n.pair(t, allow("tcp", 80, 80))
	go Echo(b.ListenTCP(t, 80))
	c, err := a.DialTCP(within(t, patience), netip.AddrPortFrom(b.IP, 80))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 5 {
		n.apply(t)
		chat{c}.say(t, "same")
	}
	// A rule that goes stops new flows, not established ones.
	n.config.Ports[1].Ingress = nil
	n.apply(t)
	chat{c}.say(t, "established")
	if _, err := a.DialTCP(within(t, 300*time.Millisecond), netip.AddrPortFrom(b.IP, 80)); err == nil {
		t.Error("a new flow passed without a rule")
	}
}

func testRemovePort(t *testing.T, n *lab) {
	_, b := n.pair(t, allow("tcp", 18091, 18091))
	n.config.Ports[1].PublicIP = netip.MustParseAddr("127.77.3.7")
	n.apply(t)
	go Echo(b.ListenTCP(t, 18091))
	c, err := net.Dial("tcp", "127.77.3.7:18091")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	chat{c}.say(t, "open")
	gone := n.config.Ports[1]
	n.config.Ports = n.config.Ports[:1]
	n.apply(t)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, errTimeout(err)) {
		t.Errorf("the connection outlived the port: %v", err)
	}
	if _, err := n.Datapath.Dial(within(t, patience), gone.ID, 18091); !errors.Is(err, network.ErrNoSuchPort) {
		t.Errorf("dialing a removed port: %v", err)
	}
	// It may come back, as another guest.
	n.config.Ports = append(n.config.Ports, gone)
	n.apply(t)
	eventually(t, "the port is attached again", func() bool { return n.status(t, 1).Connected })
}

// errTimeout returns err if it is a timeout.
func errTimeout(err error) error {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return err
	}
	return errors.New("not a timeout")
}
