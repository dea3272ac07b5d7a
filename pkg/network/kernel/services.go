package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/metadata"
	api "github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/gateway"
)

// guestConn is a connection of a service with a guest: one that knows the port
// it came in by and closes with it.
type guestConn struct {
	*net.TCPConn
	port *port
	once sync.Once
}

func (c *guestConn) Close() error {
	c.once.Do(func() { c.port.conns.Remove(c) })
	return c.TCPConn.Close()
}

// limitHops sets the TTL of what is sent from now on.
func (c *guestConn) limitHops(n int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return // it is closed
	}
	level, option := unix.SOL_IP, unix.IP_TTL
	if c.LocalAddr().(*net.TCPAddr).IP.To4() == nil {
		level, option = unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), level, option, n) }) // any 1..255 is taken
}

// guestListener accepts connections of guests in the VPC.
type guestListener struct {
	net.Listener
	vpc *vpc
}

func (v *vpc) listenTCP(a netip.Addr, port uint16) (*guestListener, error) {
	l := &guestListener{vpc: v}
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	err := v.ns.do(func() (err error) {
		l.Listener, err = config.Listen(context.Background(), "tcp", netip.AddrPortFrom(a, port).String())
		return err
	})
	return l, err
}

// Accept returns the next connection of a guest that has not too many of them.
// The guard of its tap has made sure of its address.
func (l *guestListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err != nil { // out of descriptors, or the client is gone already
			time.Sleep(10 * time.Millisecond)
			continue
		}
		tcp := c.(*net.TCPConn)
		remote := tcp.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if p := l.vpc.portOf(remote); p != nil {
			if g := (&guestConn{TCPConn: tcp, port: p}); p.conns.Add(g) {
				return g, nil
			}
		}
		_ = tcp.SetLinger(0)
		tcp.Close()
	}
}

// serveMetadata runs the metadata service at a.
func (v *vpc) serveMetadata(a netip.Addr) ([]io.Closer, error) {
	l, err := v.listenTCP(a, metadataPort)
	if err != nil {
		return nil, err
	}
	s := gateway.ServeMetadata(l, gateway.MetadataOptions{
		Secret: v.shared.secret,
		Signer: v.shared.signer.Load,
		Document: func(c net.Conn) (metadata.Document, bool) {
			g, ok := c.(*guestConn)
			if !ok || v.portOf(g.port.Config().PrivateIP) != g.port {
				return metadata.Document{}, false
			}
			return g.port.Config().Metadata, true
		},
		LimitHops: func(c net.Conn, hops int) { c.(*guestConn).limitHops(hops) },
	}, &v.serving)
	return []io.Closer{s, l}, nil
}

// serveDNS runs the VPC's name server at a, by UDP and TCP.
func (v *vpc) serveDNS(a netip.Addr) ([]io.Closer, error) {
	var pc *net.UDPConn
	err := v.ns.do(func() (err error) {
		pc, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, namesPort)))
		return err
	})
	if err != nil {
		return nil, err
	}
	l, err := v.listenTCP(a, namesPort)
	if err != nil {
		pc.Close()
		return nil, err
	}
	s := &gateway.NameServer{Directory: directory{v}, Resolver: &v.shared.resolver}
	s.Serve(pc, l, &v.serving)
	return []io.Closer{pc, l}, nil
}

// directory is what the name server knows of the VPC.
type directory struct{ vpc *vpc }

func (d directory) VPC() *api.VPC { return d.vpc.config.Load() }

func (d directory) Addresses() iter.Seq2[netip.Addr, *gateway.Port] {
	return func(yield func(netip.Addr, *gateway.Port) bool) {
		for a, p := range *d.vpc.ports.Load() {
			if !yield(a, p.Config()) {
				return
			}
		}
	}
}

func (d directory) Port(a netip.Addr) *gateway.Port {
	if p := d.vpc.portOf(a); p != nil {
		return p.Config()
	}
	return nil
}

func (d directory) AcquireQuery(a netip.Addr) (func(), bool) {
	p := d.vpc.portOf(a)
	if p == nil || !p.queries.Acquire() {
		return nil, false
	}
	return p.queries.Release, true
}

// serveDHCP answers DHCP on all taps of the VPC: by the device that a message
// came in by, whatever it says.
func (v *vpc) serveDHCP() (io.Closer, error) {
	var conn *net.UDPConn
	err := v.ns.do(func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: dhcpServer})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listening for DHCP: %w", err)
	}
	pc := ipv4.NewPacketConn(conn)
	if err := pc.SetControlMessage(ipv4.FlagInterface, true); err != nil {
		conn.Close()
		return nil, fmt.Errorf("listening for DHCP: %w", err)
	}
	v.serving.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, in, _, err := pc.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil && in != nil {
				v.answerDHCP(pc, in.IfIndex, buf[:n])
			}
		}
	})
	return conn, nil
}

func (v *vpc) answerDHCP(pc *ipv4.PacketConn, device int, b []byte) {
	m, err := dhcpv4.FromBytes(b)
	if err != nil || m.OpCode != dhcpv4.OpcodeBootRequest {
		return
	}
	p := v.portAt(device)
	if p == nil || string(m.ClientHWAddr) != string(p.Config().HW[:]) {
		return
	}
	reply := gateway.AnswerDHCP(v.config.Load(), p.Config(), m)
	if reply == nil {
		return
	}
	if reply.MessageType() == dhcpv4.MessageTypeAck {
		p.leasedAt.Store(time.Now().UnixNano())
		v.shared.onLease()
	}
	to := net.IPv4bcast // as RFC 2131, 4.1 has it for clients without their address
	if m.ClientIPAddr.Equal(p.Config().PrivateIP.AsSlice()) && reply.MessageType() != dhcpv4.MessageTypeNak {
		to = m.ClientIPAddr
	}
	_, _ = pc.WriteTo(reply.ToBytes(), &ipv4.ControlMessage{
		IfIndex: device, Src: gateway.Address(p.Config().Subnet).AsSlice(),
	}, &net.UDPAddr{IP: to, Port: dhcpClient}) // a client without an answer asks again
}
