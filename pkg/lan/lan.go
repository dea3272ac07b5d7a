// Package lan owns the addresses that bundt has on an interface of the host, so that
// machines beside it reach instances: whether they can be had, how they come and go.
// It adds addresses of single hosts and changes nothing else, and each is on trial
// first: the kernel itself takes it away when its time is over. It imports no package
// of ours.
package lan

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrRefused: an address cannot be taken there. The error says why.
var ErrRefused = errors.New("the addresses cannot be taken")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// MaxAddresses is how many an interface can be given.
const MaxAddresses = 256

// Plan is what an attachment would do.
type Plan struct {
	Interface string
	Has       []netip.Prefix // IPv4 addresses that the interface has, which stay
	Default   bool           // the host's default route leads by it, which stays
	Add       []netip.Addr
}

// Preview says what attaching would do, and changes nothing but that it asks the
// network whether somebody has the addresses. ErrRefused says why it would not be done.
func Preview(ctx context.Context, name string, addresses []netip.Addr) (*Plan, error) {
	link, err := usable(name)
	if err != nil {
		return nil, err
	}
	p := &Plan{Interface: name}
	if p.Has, err = has(link); err != nil {
		return nil, err
	}
	if p.Default, err = hasDefault(link); err != nil {
		return nil, err
	}
	if p.Add, err = p.wanted(link, addresses); err != nil {
		return nil, err
	}
	for _, a := range p.Add {
		owner, err := probe(ctx, link, a)
		if err != nil {
			return nil, fmt.Errorf("asking who has %s: %w", a, err)
		}
		if owner != nil {
			return nil, refused("%s is %s's, which answers to it", a, owner)
		}
	}
	return p, nil
}

// usable finds an interface that addresses can be given to.
func usable(name string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, refused("there is no interface %s", name)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the interface %s: %w", name, err)
	}
	switch a := link.Attrs(); {
	case a.Flags&net.FlagLoopback != 0:
		return nil, refused("%s is the loopback: --public-pool has addresses of it", name)
	case a.Flags&net.FlagUp == 0:
		return nil, refused("%s is down", name)
	case len(a.HardwareAddr) != 6:
		return nil, refused("%s is no Ethernet", name)
	}
	return link, nil
}

// has are the interface's IPv4 addresses.
func has(link netlink.Link) (out []netip.Prefix, err error) {
	list, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("listing the addresses of %s: %w", link.Attrs().Name, err)
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.IPNet.String()); err == nil {
			out = append(out, p)
		}
	}
	return out, nil
}

func hasDefault(link netlink.Link) (bool, error) {
	routes, err := netlink.RouteList(link, netlink.FAMILY_V4)
	if err != nil {
		return false, fmt.Errorf("listing the routes of %s: %w", link.Attrs().Name, err)
	}
	return slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Dst == nil || r.Dst.IP.IsUnspecified() }), nil
}

// wanted are the addresses, if each is a free one of a network that the interface is in.
func (p *Plan) wanted(link netlink.Link, addresses []netip.Addr) ([]netip.Addr, error) {
	if len(addresses) == 0 || len(addresses) > MaxAddresses {
		return nil, refused("%d addresses, not 1 to %d", len(addresses), MaxAddresses)
	}
	routers, err := gateways(link)
	if err != nil {
		return nil, err
	}
	everywhere, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("listing the host's addresses: %w", err)
	}
	for i, a := range addresses {
		in := slices.IndexFunc(p.Has, func(own netip.Prefix) bool { return own.Bits() < 31 && own.Contains(a) })
		switch {
		case slices.Contains(addresses[:i], a):
			return nil, refused("%s is there twice", a)
		case !a.Is4() || in < 0:
			return nil, refused("%s is in no IPv4 network that %s is in: %v", a, p.Interface, p.Has)
		case a == p.Has[in].Masked().Addr() || !p.Has[in].Contains(a.Next()):
			return nil, refused("%s is the first or the last address of its network", a)
		case slices.Contains(routers, a):
			return nil, refused("%s is the router of a route of the host", a)
		case slices.ContainsFunc(everywhere, func(o net.Addr) bool { n, ok := o.(*net.IPNet); return ok && n.IP.Equal(a.AsSlice()) }):
			return nil, refused("%s is the host's already: bundtd --host-addresses takes it as it is", a)
		}
	}
	return addresses, nil
}

func gateways(link netlink.Link) (out []netip.Addr, err error) {
	routes, err := netlink.RouteList(link, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("listing the routes of %s: %w", link.Attrs().Name, err)
	}
	for _, r := range routes {
		if a, ok := netip.AddrFromSlice(r.Gw.To4()); ok {
			out = append(out, a)
		}
	}
	return out, nil
}

// Forever is the time of an address that is not on trial.
const Forever time.Duration = math.MaxInt64

// Take gives the interface the addresses for a time, or prolongs it, and tells the
// network where they are. When the time is over the kernel takes them away, whoever
// runs or does not.
func Take(name string, addresses []netip.Addr, lifetime time.Duration) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("looking for the interface %s: %w", name, err)
	}
	for i, a := range addresses {
		if err := netlink.AddrReplace(link, address(a, lifetime)); err != nil {
			return errors.Join(fmt.Errorf("giving %s the address %s: %w", name, a, err), Drop(name, addresses[:i]))
		}
	}
	for _, a := range addresses {
		if err := announce(link, a); err != nil {
			return fmt.Errorf("announcing %s: %w", a, err)
		}
	}
	return nil
}

// address is the kernel's form: of one host, so that no route comes with it.
func address(a netip.Addr, lifetime time.Duration) *netlink.Addr {
	out := &netlink.Addr{
		IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}, Flags: unix.IFA_F_NOPREFIXROUTE,
		ValidLft: math.MaxUint32, PreferedLft: 0, // never the source of what the host begins itself
	}
	if lifetime != Forever {
		out.ValidLft = max(1, int(lifetime/time.Second))
	}
	return out
}

// Drop takes the addresses from the interface. Those that it has not, or an interface
// that is gone, are no error.
func Drop(name string, addresses []netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for the interface %s: %w", name, err)
	}
	for _, a := range addresses {
		err := netlink.AddrDel(link, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}})
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("taking the address %s from %s: %w", a, name, err)
		}
	}
	return nil
}
