package kernel

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	api "github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/gateway"
)

const (
	metadataPort = 80
	namesPort    = 53
	ownTable     = 100 // of routes: everything with ownMark is the switch's own
)

// vpc is one layer-3 domain: a namespace that is its router, name server and
// metadata service, and the guests' ports.
type vpc struct {
	id     string
	shared *shared
	ns     *namespace

	config atomic.Pointer[api.VPC]
	ports  atomic.Pointer[map[netip.Addr]*port] // all their addresses
	nd     atomic.Pointer[discovery]            // nil without IPv6

	refusedMu sync.Mutex
	refused   map[string]api.Refused // by tap, by filters that are gone

	// Of the fabric's Apply, one at a time.
	services map[netip.Addr][]io.Closer // addresses of the namespace, and what is served there
	filter   *filter                    // installed; nil if it is not known
	uplink   *uplink                    // nil for none
	leads    map[string]lead            // installed; nil if they are not known
	dhcp     io.Closer
	swept    bool // of taps that an earlier switch left
	watcher  chan struct{}
	serving  sync.WaitGroup
}

// namespacePath is where the VPC's namespace is kept.
func (s *shared) namespacePath(vpcID string) string {
	return filepath.Join(s.namespaces, s.prefix()+vpcID)
}

func (s *shared) prefix() string { return "bundt-" + s.name + "-" }

// openVPC makes the VPC's namespace or takes the one that is there.
func openVPC(c api.VPC, sh *shared) (*vpc, error) {
	ns, err := ensureNamespace(sh.namespacePath(c.ID))
	if err != nil {
		return nil, err
	}
	v := &vpc{id: c.ID, shared: sh, ns: ns, services: map[netip.Addr][]io.Closer{}, refused: map[string]api.Refused{}, watcher: make(chan struct{})}
	v.config.Store(&c)
	v.ports.Store(&map[netip.Addr]*port{})
	if err := v.setUp(); err != nil {
		v.close()
		return nil, fmt.Errorf("setting up %s: %w", c.ID, err)
	}
	return v, nil
}

// setUp is what a namespace needs once; it may have it already.
func (v *vpc) setUp() error {
	err := v.ns.do(func() error {
		errs := []error{}
		for _, s := range [][2]string{
			{"ipv4/ip_forward", "1"}, {"ipv4/conf/all/rp_filter", "0"}, {"ipv4/conf/default/rp_filter", "0"},
			{"ipv4/conf/all/send_redirects", "0"}, {"ipv4/conf/default/send_redirects", "0"},
			{"ipv4/ip_nonlocal_bind", "1"},
			// The lives of flows that EC2 has and the kernel has not by itself.
			{"netfilter/nf_conntrack_udp_timeout_stream", "180"},
			// Of IPv6 the kernel only forwards: addresses and neighbours are the switch's.
			{"ipv6/conf/default/addr_gen_mode", "1"}, {"ipv6/conf/default/accept_ra", "0"}, {"ipv6/conf/default/dad_transmits", "0"},
			{"ipv6/conf/default/router_solicitations", "0"}, {"ipv6/conf/all/forwarding", "1"},
		} {
			if strings.HasPrefix(s[0], "ipv6") && !hasIPv6() {
				continue
			}
			errs = append(errs, sysctl(s[0], s[1]))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return err
	}
	lo, err := v.ns.link.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("looking for the loopback device: %w", err)
	}
	if err := v.ns.link.LinkSetUp(lo); err != nil {
		return fmt.Errorf("starting the loopback device: %w", err)
	}
	local := &netlink.Route{
		Table: ownTable, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST, LinkIndex: lo.Attrs().Index,
		Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
	}
	if err := v.ns.link.RouteReplace(local); err != nil {
		return fmt.Errorf("routing replies to the switch: %w", err)
	}
	rule := netlink.NewRule()
	rule.Family, rule.Mark, rule.Table, rule.Priority = netlink.FAMILY_V4, ownMark, ownTable, ownTable
	if err := v.ns.link.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("routing replies to the switch: %w", err)
	}
	if err := limitFlows(v.ns); err != nil {
		return fmt.Errorf("limiting the flows of guests: %w", err)
	}
	if v.dhcp, err = v.serveDHCP(); err != nil {
		return err
	}
	return v.watch()
}

// update makes the gateways' addresses and the services exactly those of c.
func (v *vpc) update(c api.VPC) error {
	v.config.Store(&c)
	v6 := c.CIDRv6.IsValid() && hasIPv6()
	if err := v.bound(&c, v6); err != nil {
		return fmt.Errorf("bounding %s: %w", c.ID, err)
	}
	if err := v.discover(v6); err != nil {
		return err
	}
	want := v.wantedServices(c, v6)
	for a, servers := range v.services {
		if want[a] == nil {
			closeAll(servers)
			delete(v.services, a)
		}
	}
	if err := v.ensureAddresses(want); err != nil {
		return fmt.Errorf("giving the gateway of %s its addresses: %w", c.ID, err)
	}
	for a, serve := range want {
		if _, ok := v.services[a]; ok {
			continue
		}
		servers, err := serve(a)
		if err != nil {
			return fmt.Errorf("serving %s in %s: %w", a, c.ID, err)
		}
		v.services[a] = servers
	}
	return nil
}

// bound keeps what nobody in the VPC has nowhere, and not on a route that leads
// outside; a range that is no longer the VPC's is left to those routes.
func (v *vpc) bound(c *api.VPC, v6 bool) error {
	want := map[netip.Prefix]bool{}
	for _, cidr := range c.Ranges() {
		want[cidr.Masked()] = true
	}
	if v6 {
		want[c.CIDRv6.Masked()] = true
	}
	for cidr := range want {
		if err := v.ns.link.RouteReplace(&netlink.Route{Type: unix.RTN_UNREACHABLE, Dst: ipNet(cidr)}); err != nil {
			return err
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		have, err := v.ns.link.RouteListFiltered(family, &netlink.Route{Type: unix.RTN_UNREACHABLE}, netlink.RT_FILTER_TYPE)
		if err != nil {
			return err
		}
		for i := range have {
			if have[i].Dst == nil {
				continue
			}
			a, _ := netip.AddrFromSlice(have[i].Dst.IP)
			bits, _ := have[i].Dst.Mask.Size()
			if bits == 0 || want[netip.PrefixFrom(a, bits)] {
				continue
			}
			if err := v.ns.link.RouteDel(&have[i]); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return nil
}

// service begins what is served at an address.
type service func(netip.Addr) ([]io.Closer, error)

func (v *vpc) wantedServices(c api.VPC, v6 bool) map[netip.Addr]service {
	want := map[netip.Addr]service{gateway.MetadataAddr: v.serveMetadata}
	nothing := func(netip.Addr) ([]io.Closer, error) { return nil, nil }
	if !c.NoDNS {
		want[gateway.NamesAddr] = v.serveDNS
	}
	if v6 {
		want[gateway.MetadataAddrV6] = v.serveMetadata
		if !c.NoDNS {
			want[gateway.NamesAddrV6] = v.serveDNS
		}
	}
	for _, s := range c.Subnets {
		want[gateway.Address(s.CIDR)] = nothing
		if !c.NoDNS {
			want[gateway.NamesOf(s.CIDR)] = v.serveDNS
		}
		if v6 && s.CIDRv6.IsValid() {
			want[gateway.Address(s.CIDRv6)] = nothing
		}
	}
	return want
}

// ensureAddresses makes the namespace's addresses those.
func (v *vpc) ensureAddresses(want map[netip.Addr]service) error {
	lo, err := v.ns.link.LinkByName("lo")
	if err != nil {
		return err
	}
	have, err := v.ns.link.AddrList(lo, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	present := map[netip.Addr]bool{}
	for i := range have {
		a, _ := netip.AddrFromSlice(have[i].IP)
		a = a.Unmap()
		present[a] = true
		if want[a] == nil && !a.IsLoopback() {
			if err := v.ns.link.AddrDel(lo, &have[i]); err != nil {
				return err
			}
		}
	}
	for a := range want {
		if present[a] {
			continue
		}
		if err := v.ns.link.AddrAdd(lo, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, a.BitLen())), Flags: unix.IFA_F_NODAD}); err != nil {
			return err
		}
	}
	return nil
}

func closeAll(servers []io.Closer) {
	for _, s := range servers {
		s.Close()
	}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// serviceAddresses are those where the VPC's gateway is.
func (v *vpc) serviceAddresses() []netip.Addr {
	return slices.SortedFunc(maps.Keys(v.services), netip.Addr.Compare)
}

// refilter installs the filter that the ports want, unless it is there.
func (v *vpc) refilter(ports []*port, groups map[string][]netip.Addr) error {
	f := &filter{groups: map[string][]netip.Addr{}, own: v.serviceAddresses()}
	c := v.config.Load()
	if !c.NoDNS {
		f.names = append(f.names, gateway.NamesAddr, gateway.NamesAddrV6)
		for _, s := range c.Subnets {
			f.names = append(f.names, gateway.NamesOf(s.CIDR))
		}
	}
	for _, p := range ports {
		pc := p.Config()
		f.ports = append(f.ports, filterPort{tap: p.tap, Port: pc})
		for _, r := range slices.Concat(pc.Ingress, pc.Egress) {
			if r.Group != "" {
				f.groups[r.Group] = groups[r.Group]
			}
		}
	}
	if v.filter != nil && f.sorted().same(v.filter) {
		return nil
	}
	if v.filter != nil {
		if err := v.keepRefusals(); err != nil {
			return err
		}
	}
	if err := f.install(v.ns); err != nil {
		v.filter = nil
		return fmt.Errorf("filtering %s: %w", v.id, err)
	}
	v.filter = f
	return nil
}

// same says if nothing is to be installed.
func (f *filter) same(o *filter) bool {
	return slices.Equal(f.names, o.names) && slices.Equal(f.own, o.own) && reflect.DeepEqual(f.groups, o.groups) &&
		slices.EqualFunc(f.ports, o.ports, func(a, b filterPort) bool {
			return a.tap == b.tap && reflect.DeepEqual(a.Ingress, b.Ingress) && reflect.DeepEqual(a.Egress, b.Egress) && reflect.DeepEqual(a.Routes, b.Routes) &&
				a.SubnetID == b.SubnetID && reflect.DeepEqual(a.ACL, b.ACL)
		})
}

// place makes the ports the ones of exactly their addresses.
func (v *vpc) place(ports []*port) {
	all := map[netip.Addr]*port{}
	for _, p := range ports {
		for _, a := range p.addresses() {
			all[a] = p
		}
	}
	v.ports.Store(&all)
}

func (v *vpc) portOf(a netip.Addr) *port { return (*v.ports.Load())[a] }

// portAt is the port of the device with this index, nil for none.
func (v *vpc) portAt(device int) *port {
	for _, p := range *v.ports.Load() {
		if p.index.Load() == int64(device) {
			return p
		}
	}
	return nil
}

// sweep removes taps that are none of the ports': of a switch that was killed
// before it could note that it made them.
func (v *vpc) sweep(ports []*port) error {
	if v.swept {
		return nil
	}
	links, err := v.ns.link.LinkList()
	if err != nil {
		return fmt.Errorf("listing the devices of %s: %w", v.id, err)
	}
	for _, l := range links {
		name := l.Attrs().Name
		if !strings.HasPrefix(name, tapPrefix) || slices.ContainsFunc(ports, func(p *port) bool { return p.tap == name }) {
			continue
		}
		if err := errors.Join(v.ns.removeTap(name), (&guard{tap: name, networks: v.ns.file}).remove()); err != nil {
			return err
		}
	}
	v.swept = true
	return nil
}

// forget ends the tracking of connections with addresses that have another owner
// from now on.
func (v *vpc) forget(addresses []netip.Addr) error {
	if len(addresses) == 0 {
		return nil
	}
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		if _, err := v.ns.link.ConntrackDeleteFilters(netlink.ConntrackTable, family, flowsOf(addresses)); err != nil {
			return fmt.Errorf("forgetting connections in %s: %w", v.id, err)
		}
	}
	return nil
}

type flowsOf []netip.Addr

// MatchConntrackFlow says if the flow is of one of the addresses.
func (f flowsOf) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	for _, ip := range []net.IP{flow.Forward.SrcIP, flow.Forward.DstIP} {
		if a, ok := netip.AddrFromSlice(ip); ok && slices.Contains(f, a.Unmap()) {
			return true
		}
	}
	return false
}

// watch follows the devices, for guests that end.
func (v *vpc) watch() error {
	updates := make(chan netlink.LinkUpdate, 64)
	subscribe := func() error {
		return netlink.LinkSubscribeWithOptions(updates, v.watcher, netlink.LinkSubscribeOptions{Namespace: v.ns.handle(), ErrorCallback: func(error) {}})
	}
	if err := subscribe(); err != nil {
		return fmt.Errorf("watching the devices of %s: %w", v.id, err)
	}
	v.serving.Go(func() {
		for u := range updates {
			for _, p := range *v.ports.Load() {
				if p.tap == u.Attrs().Name {
					p.setConnected(carrier(u.Link))
					break
				}
			}
		}
	})
	return nil
}

func carrier(l netlink.Link) bool { return l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 }

// close ends what is served and leaves the namespace as it is.
func (v *vpc) close() {
	close(v.watcher)
	if v.dhcp != nil {
		v.dhcp.Close()
	}
	_ = v.discover(false)
	for _, servers := range v.services {
		closeAll(servers)
	}
	v.serving.Wait()
	v.ns.close()
}

// remove ends the VPC with all that it has on the host.
func (v *vpc) remove() error {
	v.close()
	return removeNamespace(v.ns.path)
}
