package kernel

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/bundt/bundt/pkg/hostonly"
	api "github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/gateway"
)

// Trace follows a packet by the plan that the kernel's rules are made of.
func (f *fabric) Trace(p api.Probe) (api.Trace, error) {
	_, ports := f.now()
	plan := &gateway.Plan{VPCs: map[string]api.VPC{}, Ports: map[string]*gateway.Port{}}
	for id, port := range ports {
		plan.Ports[id] = port.Config()
		plan.VPCs[port.vpc.id] = *port.vpc.config.Load()
	}
	return gateway.Trace(&gateway.PlanScene{
		Plan:  plan,
		IsUp:  func(id string) bool { return ports[id] != nil && ports[id].connected.Load() },
		Stops: stops,
		Listeners: func(id string, proto uint8) ([]netip.AddrPort, map[string]string) {
			return ports[id].public.Published(proto)
		},
	}, p)
}

// stops says why a packet that leaves its VPC gets no further than the host, ""
// if it does.
func stops(_ uint8, dst netip.Addr) string {
	switch {
	case hostonly.Why(dst) != "":
		return fmt.Sprintf("no guest may reach %s through the host: it is %s", dst, hostonly.Why(dst))
	case dst.Is4() && !HostForwards():
		return noForwarding
	case dst.Is6() && !hasIPv6():
		return "the kernel has no IPv6"
	case dst.Is6() && !hostForwardsV6():
		return noForwardingV6
	}
	own, err := net.InterfaceAddrs()
	for _, a := range own {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(dst.AsSlice()) {
			return fmt.Sprintf("%s is the host itself", dst)
		}
	}
	if err != nil {
		return fmt.Sprintf("the host's addresses cannot be read: %v", err)
	}
	return ""
}
