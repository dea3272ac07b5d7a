// Package nettest is the conformance suite of datapaths, and the guests that it
// attaches: not virtual machines, but TCP/IP stacks and hand-made frames behind
// QEMU's stream protocol. It may import pkg/network and pkg/metadata; never a
// datapath.
package nettest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const patience = 10 * time.Second

// Guest plays QEMU and the guest in it: it has one network card.
type Guest struct {
	MAC net.HardwareAddr
	IP  netip.Addr
	// IPv6 is the first address by LeaseV6.
	IPv6 netip.Addr

	card  Card
	link  *channel.Endpoint
	stack *stack.Stack
	ndp   ndp
	deaf  atomic.Bool

	mu     sync.Mutex
	conn   Wire
	taps   map[chan []byte]bool
	paused *sync.Cond
	pause  bool
}

// NewGuest attaches a guest to the card, without an address as yet, until the test
// ends. mtu is the card's, in bytes.
func NewGuest(t testing.TB, card Card, mac string, mtu int) *Guest {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	g, closeGuest, err := Start(card, hw, mtu)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeGuest)
	return g
}

// Start is NewGuest for who is no test: end ends the guest, and closes the card.
func Start(card Card, hw net.HardwareAddr, mtu int) (g *Guest, end func(), err error) {
	g = &Guest{MAC: hw, card: card, taps: map[chan []byte]bool{}, link: channel.New(4096, uint32(mtu), tcpip.LinkAddress(hw))}
	g.paused = sync.NewCond(&g.mu)
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol, ipv6.NewProtocolWithOptions(g.ndp.options())},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	if err := g.stack.CreateNIC(1, ethernet.New(g.link)); err != nil {
		return nil, nil, fmt.Errorf("giving the guest its card: %s", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Add(2)
	go func() { defer running.Done(); g.accept() }()
	go func() { defer running.Done(); g.transmit(ctx) }()
	return g, func() {
		card.Close()
		g.Resume()
		g.Disconnect()
		cancel()
		running.Wait()
		g.stack.Destroy()
	}, nil
}

// accept serves one connection after another, as QEMU does.
func (g *Guest) accept() {
	for {
		c, err := g.card.Attach()
		if err != nil {
			return
		}
		g.mu.Lock()
		g.conn = c
		g.mu.Unlock()
		g.receive(c)
		c.Close()
	}
}

// Disconnect breaks the connection to the datapath, as a QEMU that ends does.
func (g *Guest) Disconnect() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conn != nil {
		g.conn.Close()
	}
}

func (g *Guest) receive(c Wire) {
	for {
		g.mu.Lock()
		for g.pause {
			g.paused.Wait()
		}
		g.mu.Unlock()
		f, err := c.Receive()
		if err != nil {
			return
		}
		g.mu.Lock()
		for tap := range g.taps {
			select {
			case tap <- f:
			default:
			}
		}
		g.mu.Unlock()
		if g.deaf.Load() {
			continue
		}
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(f)})
		g.link.InjectInbound(0, pkt) // the Ethernet header tells the protocol
		pkt.DecRef()
	}
}

func (g *Guest) transmit(ctx context.Context) {
	for {
		pkt := g.link.ReadContext(ctx)
		if pkt == nil {
			return
		}
		v := pkt.ToView()
		_ = g.Send(v.AsSlice())
		v.Release()
		pkt.DecRef()
	}
}

// Send puts a frame on the wire as it is.
func (g *Guest) Send(f []byte) error {
	g.mu.Lock()
	c := g.conn
	g.mu.Unlock()
	if c == nil {
		return errors.New("not connected")
	}
	return c.Send(f)
}

// Pause stops taking frames, as a guest does whose processors stand still.
func (g *Guest) Pause() { g.setPause(true) }

// Resume ends a pause.
func (g *Guest) Resume() { g.setPause(false) }

func (g *Guest) setPause(p bool) {
	g.mu.Lock()
	g.pause = p
	g.mu.Unlock()
	g.paused.Broadcast()
}

// Deafen makes the guest answer nothing from now on; its taps go on.
func (g *Guest) Deafen() { g.deaf.Store(true) }

// Tap returns the frames that come in from now on.
func (g *Guest) Tap(t testing.TB) <-chan []byte {
	tap := make(chan []byte, 1024)
	g.mu.Lock()
	g.taps[tap] = true
	g.mu.Unlock()
	t.Cleanup(func() {
		g.mu.Lock()
		delete(g.taps, tap)
		g.mu.Unlock()
	})
	return tap
}

// Configure gives the guest its address.
func (g *Guest) Configure(t testing.TB, ip netip.Prefix, gateway netip.Addr) {
	t.Helper()
	if err := g.SetAddress(ip, gateway); err != nil {
		t.Fatal(err)
	}
}

// SetAddress is Configure for who is no test.
func (g *Guest) SetAddress(ip netip.Prefix, gateway netip.Addr) error {
	g.IP = ip.Addr()
	a := tcpip.AddrFrom4(ip.Addr().As4())
	if err := g.stack.AddProtocolAddress(1, tcpip.ProtocolAddress{
		Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{Address: a, PrefixLen: ip.Bits()},
	}, stack.AddressProperties{}); err != nil {
		return fmt.Errorf("giving the guest %s: %s", ip, err)
	}
	g.stack.AddRoute(tcpip.Route{Destination: tcpip.AddressWithPrefix{Address: a, PrefixLen: ip.Bits()}.Subnet(), NIC: 1})
	g.stack.AddRoute(tcpip.Route{Destination: header.IPv4EmptySubnet, Gateway: tcpip.AddrFrom4(gateway.As4()), NIC: 1})
	return nil
}

// Lease takes an address by DHCP and configures it. It asks until the switch
// is there to answer.
func (g *Guest) Lease(t testing.TB) *dhcpv4.DHCPv4 {
	t.Helper()
	discover, err := dhcpv4.NewDiscovery(g.MAC)
	if err != nil {
		t.Fatal(err)
	}
	offer := g.Exchange(t, discover)
	request, err := dhcpv4.NewRequestFromOffer(offer)
	if err != nil {
		t.Fatal(err)
	}
	ack := g.Exchange(t, request)
	if ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck {
		t.Fatalf("no DHCP acknowledgement: %v", ack)
	}
	ones, _ := ack.SubnetMask().Size()
	g.Configure(t, netip.PrefixFrom(mustAddr(ack.YourIPAddr), ones), mustAddr(ack.Router()[0]))
	return ack
}

func mustAddr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip.To4())
	return a
}

// Exchange sends a DHCP message, again and again, until it is answered.
func (g *Guest) Exchange(t testing.TB, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if reply := g.TryDHCP(t, m, 200*time.Millisecond); reply != nil {
			return reply
		}
	}
	t.Fatalf("no answer to DHCP %s", m.MessageType())
	return nil
}

// TryDHCP sends a DHCP message once and returns the answer, nil if none came.
func (g *Guest) TryDHCP(t testing.TB, m *dhcpv4.DHCPv4, wait time.Duration) *dhcpv4.DHCPv4 {
	t.Helper()
	tap := g.Tap(t)
	f := UDPFrame(g.MAC, Broadcast, netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255}), 68, 67, m.ToBytes())
	if g.Send(f) != nil {
		time.Sleep(5 * time.Millisecond) // not attached yet
		return nil
	}
	timeout := time.After(wait)
	for {
		select {
		case f := <-tap:
			if len(f) < 42 || f[23] != 17 || binary.BigEndian.Uint16(f[36:]) != 68 {
				continue
			}
			if r, err := dhcpv4.FromBytes(f[42:]); err == nil && r.TransactionID == m.TransactionID {
				return r
			}
		case <-timeout:
			return nil
		}
	}
}

// DialTCP connects from the guest.
func (g *Guest) DialTCP(ctx context.Context, to netip.AddrPort) (*gonet.TCPConn, error) {
	return gonet.DialContextTCP(ctx, g.stack, full(to), protocolOf(to.Addr()))
}

// DialTCPFrom connects from a port of the guest.
func (g *Guest) DialTCPFrom(ctx context.Context, port uint16, to netip.AddrPort) (*gonet.TCPConn, error) {
	return gonet.DialTCPWithBind(ctx, g.stack, tcpip.FullAddress{NIC: 1, Port: port}, full(to), protocolOf(to.Addr()))
}

// ListenTCP listens in the guest, by IPv4 and IPv6.
func (g *Guest) ListenTCP(t testing.TB, port uint16) net.Listener {
	t.Helper()
	l, err := g.Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Shutdown(); l.Close() })
	return l
}

// Listen is ListenTCP for who is no test.
func (g *Guest) Listen(port uint16) (*gonet.TCPListener, error) {
	return gonet.ListenTCP(g.stack, tcpip.FullAddress{NIC: 1, Port: port}, ipv6.ProtocolNumber)
}

// UDP binds a port in the guest.
func (g *Guest) UDP(t testing.TB, port uint16) *gonet.UDPConn {
	t.Helper()
	c, err := gonet.DialUDP(g.stack, &tcpip.FullAddress{NIC: 1, Port: port}, nil, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func full(ap netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(ap.Addr().AsSlice()), Port: ap.Port()}
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// Ping sends an ICMP echo request and says if it was answered.
func (g *Guest) Ping(t testing.TB, gatewayMAC net.HardwareAddr, to netip.Addr, wait time.Duration) bool {
	t.Helper()
	tap := g.Tap(t)
	echo := header.ICMPv4(make([]byte, 16))
	echo.SetType(header.ICMPv4Echo)
	echo.SetIdent(uint16(time.Now().UnixNano()))
	echo.SetChecksum(header.ICMPv4Checksum(echo, 0))
	if err := g.Send(IPv4Frame(g.MAC, gatewayMAC, g.IP, to, 1, echo)); err != nil {
		t.Fatal(err)
	}
	timeout := time.After(wait)
	for {
		select {
		case f := <-tap:
			if len(f) >= 42 && f[23] == 1 && header.ICMPv4(f[34:]).Type() == header.ICMPv4EchoReply &&
				bytes.Equal(f[26:30], to.AsSlice()) && header.ICMPv4(f[34:]).Ident() == echo.Ident() {
				return true
			}
		case <-timeout:
			return false
		}
	}
}

// ARP asks for the link address of target; nil if nobody answers.
func (g *Guest) ARP(t testing.TB, target netip.Addr, wait time.Duration) net.HardwareAddr {
	t.Helper()
	tap := g.Tap(t)
	if err := g.Send(ARPFrame(g.MAC, 1, g.MAC, g.IP, target)); err != nil {
		t.Fatal(err)
	}
	timeout := time.After(wait)
	for {
		select {
		case f := <-tap:
			if len(f) >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 2 && bytes.Equal(f[28:32], target.AsSlice()) {
				return net.HardwareAddr(f[22:28])
			}
		case <-timeout:
			return nil
		}
	}
}

// Broadcast is the link address of everybody.
var Broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ARPFrame makes an ARP request (op 1) or reply (op 2).
func ARPFrame(ethSrc net.HardwareAddr, op uint16, sha net.HardwareAddr, spa, tpa netip.Addr) []byte {
	f := append(append(append([]byte{}, Broadcast...), ethSrc...), 8, 6)
	f = append(f, 0, 1, 8, 0, 6, 4, byte(op>>8), byte(op))
	f = append(append(f, sha...), spa.AsSlice()...)
	return append(append(f, make([]byte, 6)...), tpa.AsSlice()...)
}

// IPv4Frame makes a frame with an IPv4 datagram.
func IPv4Frame(ethSrc, ethDst net.HardwareAddr, src, dst netip.Addr, proto byte, body []byte) []byte {
	f := append(append(append([]byte{}, ethDst...), ethSrc...), 8, 0)
	ip := header.IPv4(make([]byte, 20))
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(20 + len(body)), TTL: 64, Protocol: proto,
		SrcAddr: tcpip.AddrFrom4(src.As4()), DstAddr: tcpip.AddrFrom4(dst.As4()),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	return append(append(f, ip...), body...)
}

// UDPFrame makes a frame with a UDP datagram.
func UDPFrame(ethSrc, ethDst net.HardwareAddr, src, dst netip.Addr, sport, dport uint16, body []byte) []byte {
	u := header.UDP(make([]byte, 8+len(body)))
	u.Encode(&header.UDPFields{SrcPort: sport, DstPort: dport, Length: uint16(len(u))})
	copy(u.Payload(), body)
	sum := header.PseudoHeaderChecksum(17, tcpip.AddrFrom4(src.As4()), tcpip.AddrFrom4(dst.As4()), uint16(len(u)))
	u.SetChecksum(^u.CalculateChecksum(checksum.Checksum(body, sum)))
	return IPv4Frame(ethSrc, ethDst, src, dst, 17, u)
}

// Echo answers every connection of l with what it sends, until its end.
func Echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
		}()
	}
}

// RoundTrip sends b, ends its direction, and wants b back and then the end.
func RoundTrip(c net.Conn, b []byte) error {
	_ = c.SetDeadline(time.Now().Add(2 * patience))
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(b)
		if err == nil {
			err = c.(interface{ CloseWrite() error }).CloseWrite()
		}
		sent <- err
	}()
	got, err := io.ReadAll(struct{ io.Reader }{c})
	if err != nil {
		return fmt.Errorf("reading back after %d bytes: %w", len(got), err)
	}
	if err := <-sent; err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	if !bytes.Equal(got, b) {
		return fmt.Errorf("got %d bytes back, not the %d that were sent", len(got), len(b))
	}
	return nil
}
