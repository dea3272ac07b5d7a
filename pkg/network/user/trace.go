package user

import (
	"net/netip"

	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/gateway"
)

// Trace follows a packet by what its own path asks.
func (f *fabric) Trace(p network.Probe) (network.Trace, error) { return gateway.Trace((*scene)(f), p) }

type scene fabric

func (s *scene) port(id string) *port {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ports[id]
}

func (s *scene) Port(id string) *gateway.Port {
	if p := s.port(id); p != nil {
		return p.Config()
	}
	return nil
}

func (s *scene) PortAt(vpcID string, a netip.Addr) *gateway.Port {
	s.mu.Lock()
	v := s.vpcs[vpcID]
	s.mu.Unlock()
	if v == nil {
		return nil
	}
	if p := v.portOf(a.As16()); p != nil {
		return p.Config()
	}
	return nil
}

func (s *scene) PortOf(public netip.Addr) *gateway.Port {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.ports {
		if c := p.Config(); c.LeadsTo(public) {
			return c
		}
	}
	return nil
}

func (s *scene) Connected(id string) bool {
	p := s.port(id)
	return p != nil && p.connected.Load()
}

func (s *scene) Way(c *gateway.Port, src, dst netip.Addr) gateway.Way {
	if p := s.port(c.ID); p != nil {
		return p.way(src.As16(), dst.As16())
	}
	return gateway.Forged
}

func (s *scene) Refuses(protocol uint8, dst netip.Addr) string {
	switch {
	case !carriesOutside(protocol):
		return "the host's sockets carry TCP and UDP beyond a VPC, and nothing else"
	case s.shared.policy.refuses(dst):
		return dst.String() + " is the host's own, or link-local, or not unicast: guests are kept from these"
	}
	return ""
}

func (s *scene) Published(id string, proto uint8) ([]netip.AddrPort, map[string]string) {
	if p := s.port(id); p != nil {
		return p.public.Published(proto)
	}
	return nil, nil
}
