package gateway

import (
	"fmt"
	"net/netip"
)

// PlanScene is the scene of a plan. What only a running datapath knows comes from
// it, in the members; a nil one takes everything for well.
type PlanScene struct {
	Plan      *Plan
	IsUp      func(id string) bool
	Stops     func(protocol uint8, dst netip.Addr) string
	Listeners func(id string, proto uint8) ([]netip.AddrPort, map[string]string)
}

// Port is of Scene.
func (s *PlanScene) Port(id string) *Port { return s.Plan.Ports[id] }

// PortAt is of Scene.
func (s *PlanScene) PortAt(vpcID string, a netip.Addr) *Port {
	for _, p := range s.Plan.Ports {
		if p.VPCID == vpcID && p.Owns(a) {
			return p
		}
	}
	return nil
}

// PortOf is of Scene.
func (s *PlanScene) PortOf(public netip.Addr) *Port {
	for _, p := range s.Plan.Ports {
		if p.LeadsTo(public) {
			return p
		}
	}
	return nil
}

// Connected is of Scene.
func (s *PlanScene) Connected(id string) bool { return s.IsUp == nil || s.IsUp(id) }

// Way is of Scene.
func (s *PlanScene) Way(p *Port, src, dst netip.Addr) Way {
	v := s.Plan.VPCs[p.VPCID]
	service := map[netip.Addr]bool{MetadataAddr: true, NamesAddr: !v.NoDNS}
	if v.CIDRv6.IsValid() {
		service[MetadataAddrV6], service[NamesAddrV6] = true, !v.NoDNS
	}
	for _, subnet := range v.Subnets {
		service[Address(subnet.CIDR)], service[NamesOf(subnet.CIDR)] = true, !v.NoDNS
		if subnet.CIDRv6.IsValid() {
			service[Address(subnet.CIDRv6)] = true
		}
	}
	switch {
	case !p.Owns(src) && (!p.AnySource || !v.Contains(dst) || service[dst]):
		return Forged
	case service[dst]:
		return ToService
	case v.Contains(dst):
		return ToVPC
	}
	return p.WayTo(dst)
}

// Refuses is of Scene.
func (s *PlanScene) Refuses(protocol uint8, dst netip.Addr) string {
	if s.Stops == nil {
		return ""
	}
	return s.Stops(protocol, dst)
}

// Published is of Scene. Without listeners everything that should be open is.
func (s *PlanScene) Published(id string, proto uint8) ([]netip.AddrPort, map[string]string) {
	if s.Listeners != nil {
		return s.Listeners(id, proto)
	}
	p := s.Plan.Ports[id]
	if p == nil {
		return nil, map[string]string{id: fmt.Sprintf("there is no interface %s", id)}
	}
	want, problems := publicPorts(p)
	var open []netip.AddrPort
	for at := range want {
		if at.proto == proto {
			open = append(open, at.AddrPort)
		}
	}
	return open, problems
}
