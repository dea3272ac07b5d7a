package kernel

import (
	"net/netip"

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
		Plan: plan,
		IsUp: func(id string) bool { return ports[id] != nil && ports[id].connected.Load() },
		Stops: func(uint8, netip.Addr) string {
			return "networks of the kernel have no way out of a VPC yet"
		},
		Listeners: func(id string) ([]netip.AddrPort, map[string]string) { return ports[id].public.Status() },
	}, p)
}
