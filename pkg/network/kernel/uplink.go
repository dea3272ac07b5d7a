package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/hostonly"
	api "github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/gateway"
)

// uplinks are where the two ends of VPCs' uplinks have their addresses, two each:
// link-local ones, which nobody routes to.
var uplinks = netip.MustParsePrefix("169.254.64.0/18")

// uplinksV6 is where they have their addresses of IPv6: unique local ones, which the
// host alone knows (RFC 4193). The last bits are those of the IPv4 address.
var uplinksV6 = netip.MustParseAddr("fd62:756e:6474::1:0")

// uplink is a VPC's way through the host: a pair of devices, of which the host
// has one.
type uplink struct {
	inner []netip.Addr // the VPC's addresses, by which the host knows all its guests
}

// hostPrefix begins the names of our devices on the host.
func (s *shared) hostPrefix() string { return "b" + s.name }

func (s *shared) hostDevice(vpcID string) string { return s.hostPrefix() + short(vpcID)[:6] }

// wantsUplink says if a guest of the VPC may reach anything outside.
func wantsUplink(ports []*port) bool {
	return slices.ContainsFunc(ports, func(p *port) bool { return leadsOut(p.Config()) })
}

func leadsOut(c *gateway.Port) bool {
	return leadsOutBy(c, ipv4Family) || hasIPv6() && leadsOutBy(c, ipv6Family)
}

func leadsOutBy(c *gateway.Port, fam *family) bool {
	return slices.ContainsFunc(c.Routes, func(r api.Route) bool { return !r.Blackhole && !r.Via.IsValid() && fam.has(r.CIDR.Addr()) })
}

// ensureUplink makes the VPC's uplink, or takes it away if none of its guests
// may use it.
func (v *vpc) ensureUplink(wanted bool) error {
	name := v.shared.hostDevice(v.id)
	if !wanted {
		v.uplink = nil
		return removeHostDevice(name)
	}
	outer, err := v.uplinkDevice(name)
	if err != nil {
		return fmt.Errorf("making the uplink of %s: %w", v.id, err)
	}
	addresses, err := netlink.AddrList(outer, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("reading the uplink's address: %w", err)
	}
	var host netip.Addr
	if len(addresses) > 0 {
		host, _ = netip.AddrFromSlice(addresses[0].IP.To4())
	} else if host, err = v.newUplinkAddress(outer); err != nil {
		return err
	}
	inner, err := v.setUpUplink(host)
	if err != nil {
		return fmt.Errorf("setting up the uplink of %s: %w", v.id, err)
	}
	v.uplink = &uplink{inner: []netip.Addr{host.Next()}}
	if hasIPv6() {
		at := uplinkV6(host)
		if err := v.setUpUplinkV6(outer, inner, at); err != nil {
			return fmt.Errorf("setting up the uplink of %s for IPv6: %w", v.id, err)
		}
		v.uplink.inner = append(v.uplink.inner, at.Next())
	}
	return nil
}

// uplinkV6 is the host's address of IPv6 beside one of IPv4.
func uplinkV6(host netip.Addr) netip.Addr {
	b, offset := uplinksV6.As16(), first32(host)-first32(uplinks.Addr())
	b[14], b[15] = byte(offset>>8), byte(offset)
	return netip.AddrFrom16(b)
}

// setUpUplinkV6 gives both ends their addresses. They know each other from the start:
// the kernel's neighbour discovery is kept from guests, and from here.
func (v *vpc) setUpUplinkV6(outer, inner netlink.Link, host netip.Addr) error {
	var own netlink.Handle // of the host's namespace
	for _, end := range []struct {
		handle  *netlink.Handle
		link    netlink.Link
		address netip.Addr
		other   netlink.Link
		peer    netip.Addr
	}{{&own, outer, host, inner, host.Next()}, {v.ns.link, inner, host.Next(), outer, host}} {
		address := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(end.address, 127)), Flags: unix.IFA_F_NODAD}
		neighbour := &netlink.Neigh{LinkIndex: end.link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: end.peer.AsSlice(), HardwareAddr: end.other.Attrs().HardwareAddr}
		if err := errors.Join(end.handle.AddrReplace(end.link, address), end.handle.NeighSet(neighbour)); err != nil {
			return err
		}
	}
	return v.ns.link.RouteReplace(&netlink.Route{
		LinkIndex: inner.Attrs().Index, Gw: host.AsSlice(), Dst: &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
	})
}

// uplinkDevice finds the pair or makes it. Half a pair is none.
func (v *vpc) uplinkDevice(name string) (netlink.Link, error) {
	outer, err := netlink.LinkByName(name)
	if err == nil {
		if _, err := v.ns.link.LinkByName(uplinkDevice); err == nil {
			return outer, nil
		}
		err = netlink.LinkDel(outer)
	}
	if err != nil && !errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, gateway.MTU(*v.config.Load())
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: uplinkDevice, PeerNamespace: netlink.NsFd(v.ns.file.Fd())}
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, err
	}
	if outer, err = netlink.LinkByName(name); err != nil {
		return nil, err
	}
	if hasIPv6() { // no addresses but ours, and nothing believed that comes by it
		if err := errors.Join(sysctl("ipv6/conf/"+name+"/addr_gen_mode", "1"), sysctl("ipv6/conf/"+name+"/accept_ra", "0")); err != nil {
			return nil, err
		}
	}
	return outer, errors.Join(netlink.LinkSetAlias(outer, v.id), netlink.LinkSetUp(outer))
}

// newUplinkAddress gives the host's end an address that nobody has.
func (v *vpc) newUplinkAddress(outer netlink.Link) (netip.Addr, error) {
	taken, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("listing the host's addresses: %w", err)
	}
	const pairs = 1 << (31 - 18)
	digest := short(v.shared.name + v.id)
	first := binary.BigEndian.Uint32([]byte(digest)[:4])
	for i := range uint32(pairs) {
		base := first32(uplinks.Addr()) + (first+i)%pairs*2
		host := netip.AddrFrom4([4]byte(be32(base)))
		if slices.ContainsFunc(taken, func(a netlink.Addr) bool { return a.Contains(host.AsSlice()) }) {
			continue
		}
		err := netlink.AddrAdd(outer, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(host, 31)), Scope: int(netlink.SCOPE_LINK)})
		if err != nil {
			return netip.Addr{}, fmt.Errorf("giving %s an address: %w", outer.Attrs().Name, err)
		}
		return host, nil
	}
	return netip.Addr{}, fmt.Errorf("no address of %s is free for an uplink", uplinks)
}

// setUpUplink is the VPC's end.
func (v *vpc) setUpUplink(host netip.Addr) (netlink.Link, error) {
	link, err := v.ns.link.LinkByName(uplinkDevice)
	if err != nil {
		return nil, err
	}
	if err := v.ns.link.AddrReplace(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(host.Next(), 31))}); err != nil {
		return nil, err
	}
	if err := v.ns.link.LinkSetUp(link); err != nil {
		return nil, err
	}
	return link, v.ns.link.RouteReplace(&netlink.Route{
		LinkIndex: link.Attrs().Index, Gw: host.AsSlice(), Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
	})
}

func removeHostDevice(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("removing %s: %w", name, err)
	}
	return nil
}

// sweepHost removes our devices on the host that are not in keep.
func (s *shared) sweepHost(keep map[string]bool) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("listing the host's devices: %w", err)
	}
	for _, l := range links {
		if name := l.Attrs().Name; strings.HasPrefix(name, s.hostPrefix()) && l.Type() == "veth" && !keep[name] {
			if err := removeHostDevice(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *shared) hostTable() string { return "bundt-" + s.name }

// guardHost is all that we have in the host's own nftables: from uplinks to
// the outside and back, and nowhere else. There is nothing without uplinks.
func (s *shared) guardHost(needed bool, inner []netip.Addr) error {
	for _, fam := range families() {
		if err := s.guardHostOf(fam, needed, inner); err != nil {
			return err
		}
	}
	return nil
}

func (s *shared) guardHostOf(fam *family, needed bool, inner []netip.Addr) error {
	r, err := newRuleset(nil, fam.table, s.hostTable())
	if err != nil {
		return err
	}
	if !needed {
		r.remove()
		return r.commit()
	}
	r.replace()
	const early = -10
	from, notFrom := devices(expr.MetaKeyIIFNAME, expr.CmpOpEq, s.hostPrefix()), devices(expr.MetaKeyIIFNAME, expr.CmpOpNeq, s.hostPrefix())
	to, notTo := devices(expr.MetaKeyOIFNAME, expr.CmpOpEq, s.hostPrefix()), devices(expr.MetaKeyOIFNAME, expr.CmpOpNeq, s.hostPrefix())
	drop, accept := verdict(expr.VerdictDrop), verdict(expr.VerdictAccept)
	answers := tracked(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)

	input := r.hooked("input", nftables.ChainTypeFilter, nftables.ChainHookInput, early, nftables.ChainPolicyAccept)
	r.rule(input, notFrom, accept)
	r.rule(input, answers, accept)
	r.rule(input, drop)

	forward := r.hooked("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, early, nftables.ChainPolicyAccept)
	r.rule(forward, from, to, drop) // VPCs do not meet here
	r.rule(forward, to, answers, accept)
	r.rule(forward, to, drop)
	for _, never := range fam.blocks(hostonly.Prefixes()) {
		r.rule(forward, from, []expr.Any{fam.to(reg0)}, between(never), drop)
	}

	nat := r.hooked("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept)
	own := r.addresses(fam, "uplinks", inner)
	r.rule(nat, notTo, in(own, fam.from(reg0)), []expr.Any{&expr.Masq{}})
	return r.commit()
}

func first32(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
