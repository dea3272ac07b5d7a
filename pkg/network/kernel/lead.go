package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/network/gateway"
)

const (
	viaPriority = 200 // of the rules that have a port's packets look into its own table first
	viaTables   = 1 << 20
)

// lead has what guests send to where a route leads to another guest go there. A port
// with such routes has a table of its own, by the index of its device, which is
// looked into before the VPC's; what is not in it is found there.
type lead struct {
	table  int
	routes map[netip.Prefix]hop
}

// hop is where a route leads: to a guest, nowhere, or on to the VPC's own table.
type hop struct {
	device int // of the guest; 0: none
	next   netip.Addr
	kind   int // RTN_UNICAST, RTN_BLACKHOLE or RTN_THROW
}

// leadsOf are the ports with routes to other guests, by their taps.
func (v *vpc) leadsOf(ports []*port) map[string]lead {
	out := map[string]lead{}
	for _, p := range ports {
		if l := v.leadOf(p.Config()); l != nil {
			out[p.tap] = lead{viaTables + int(p.index.Load()), l}
		}
	}
	return out
}

func (v *vpc) leadOf(c *gateway.Port) map[netip.Prefix]hop {
	routes, any := map[netip.Prefix]hop{}, false
	for _, r := range c.Routes {
		h := hop{kind: unix.RTN_THROW}
		if r.Via.IsValid() {
			any, h = true, v.hopTo(c, r.Via, r.CIDR.Addr().Is6())
		}
		routes[r.CIDR.Masked()] = h
	}
	if !any {
		return nil
	}
	// What is in the VPC is found as without them.
	config := v.config.Load()
	for _, cidr := range config.Ranges() {
		routes[cidr.Masked()] = hop{kind: unix.RTN_THROW}
	}
	if config.CIDRv6.IsValid() {
		routes[config.CIDRv6.Masked()] = hop{kind: unix.RTN_THROW}
	}
	return routes
}

// hopTo is the guest that has the address, if it takes what is for others.
func (v *vpc) hopTo(from *gateway.Port, via netip.Addr, v6 bool) hop {
	to := v.portOf(via)
	if to == nil || to.id == from.ID || !to.Config().AnySource {
		return hop{kind: unix.RTN_BLACKHOLE}
	}
	if v6 {
		if len(to.Config().IPv6) == 0 {
			return hop{kind: unix.RTN_BLACKHOLE}
		}
		via = to.Config().IPv6[0]
	}
	return hop{device: int(to.index.Load()), next: via, kind: unix.RTN_UNICAST}
}

// lead makes the tables of ports exactly those that their routes want.
func (v *vpc) lead(ports []*port) error {
	want := v.leadsOf(ports)
	if v.leads != nil && reflect.DeepEqual(v.leads, want) {
		return nil
	}
	v.leads = nil // until it is known again
	for _, fam := range familiesOfRoutes() {
		if err := v.unlead(fam, want); err != nil {
			return fmt.Errorf("ending routes to guests in %s: %w", v.id, err)
		}
		for tap, l := range want {
			if err := v.leadPort(fam, tap, l); err != nil {
				return fmt.Errorf("leading %s to guests of %s: %w", tap, v.id, err)
			}
		}
	}
	v.leads = want
	return nil
}

func familiesOfRoutes() []int {
	if hasIPv6() {
		return []int{netlink.FAMILY_V4, netlink.FAMILY_V6}
	}
	return []int{netlink.FAMILY_V4}
}

// unlead takes away what ports have that no longer want it.
func (v *vpc) unlead(fam int, want map[string]lead) error {
	rules, err := v.ns.link.RuleList(fam)
	if err != nil {
		return err
	}
	for i := range rules {
		r := &rules[i]
		if l, ok := want[r.IifName]; r.Priority != viaPriority || ok && l.table == r.Table {
			continue
		}
		r.Family = fam
		if err := errors.Join(v.ns.link.RuleDel(r), v.setRoutes(fam, r.Table, nil)); err != nil {
			return err
		}
	}
	return nil
}

func (v *vpc) leadPort(fam int, tap string, l lead) error {
	if err := v.setRoutes(fam, l.table, l.routes); err != nil {
		return err
	}
	rule := netlink.NewRule()
	rule.Family, rule.IifName, rule.Table, rule.Priority = fam, tap, l.table, viaPriority
	if err := v.ns.link.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// setRoutes makes a table's routes of a family those.
func (v *vpc) setRoutes(fam, table int, want map[netip.Prefix]hop) error {
	have, err := v.ns.link.RouteListFiltered(fam, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return err
	}
	for i := range have {
		if _, ok := want[destination(&have[i], fam)]; !ok {
			if err := v.ns.link.RouteDel(&have[i]); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	for to, h := range want {
		if to.Addr().Is4() != (fam == netlink.FAMILY_V4) {
			continue
		}
		r := &netlink.Route{Table: table, Dst: ipNet(to), Type: h.kind}
		if h.kind == unix.RTN_UNICAST {
			r.LinkIndex, r.Gw, r.Flags = h.device, h.next.AsSlice(), int(netlink.FLAG_ONLINK)
		}
		if err := v.ns.link.RouteReplace(r); err != nil {
			return fmt.Errorf("routing %s: %w", to, err)
		}
	}
	return nil
}

// destination of a route; the kernel says that of everything by none.
func destination(r *netlink.Route, fam int) netip.Prefix {
	if r.Dst == nil {
		if fam == netlink.FAMILY_V4 {
			return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	a, _ := netip.AddrFromSlice(r.Dst.IP)
	bits, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits)
}
