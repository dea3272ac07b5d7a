package user

import (
	"iter"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"github.com/bundt/bundt/pkg/metadata"
	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/gateway"
)

// serveMetadata runs the metadata service at a. Who asks is the port by which
// the connection came in.
func (v *vpc) serveMetadata(a netip.Addr) ([]closer, error) {
	l, err := v.listenTCP(a, 80)
	if err != nil {
		return nil, err
	}
	s := gateway.ServeMetadata(l, gateway.MetadataOptions{
		Secret: v.shared.secret,
		Signer: v.shared.signer.Load,
		Document: func(c net.Conn) (metadata.Document, bool) {
			g, ok := c.(*guestConn)
			if !ok || v.portOf(g.port.ip) != g.port {
				return metadata.Document{}, false
			}
			return g.port.Config().Metadata, true
		},
		LimitHops: func(c net.Conn, hops int) { c.(*guestConn).limitHops(hops) },
	}, &v.serving)
	return []closer{s, l}, nil
}

// serveDNS runs the VPC's name server at a, by UDP and TCP.
func (v *vpc) serveDNS(a netip.Addr) ([]closer, error) {
	full := fullAddress(a, 53)
	pc, err := gonet.DialUDP(v.stack, &full, nil, protocolOf(a))
	if err != nil {
		return nil, err
	}
	l, err := v.listenTCP(a, 53)
	if err != nil {
		pc.Close()
		return nil, err
	}
	s := &gateway.NameServer{Directory: directory{v}, Resolver: &v.shared.resolver}
	s.Serve(pc, l, &v.serving)
	return []closer{pc, l}, nil
}

// directory is what the name server knows of the VPC.
type directory struct{ vpc *vpc }

func (d directory) VPC() *network.VPC { return d.vpc.config.Load() }

func (d directory) Addresses() iter.Seq2[netip.Addr, *gateway.Port] {
	return func(yield func(netip.Addr, *gateway.Port) bool) {
		for a, p := range *d.vpc.ports.Load() {
			if !yield(addr(a), p.Config()) {
				return
			}
		}
	}
}

func (d directory) port(a netip.Addr) *port { return d.vpc.portOf(a.As16()) }

func (d directory) Port(a netip.Addr) *gateway.Port {
	if p := d.port(a); p != nil {
		return p.Config()
	}
	return nil
}

func (d directory) AcquireQuery(a netip.Addr) (func(), bool) {
	p := d.port(a)
	if p == nil || !p.queries.Acquire() {
		return nil, false
	}
	return p.queries.Release, true
}
