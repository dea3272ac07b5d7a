package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/images/tiny/internal/boot"
)

// waitForInterface returns the name of the first Ethernet interface, however
// long it takes to appear: it may be plugged in later.
func waitForInterface() string {
	if lo, err := netlink.LinkByName("lo"); err == nil {
		_ = netlink.LinkSetUp(lo)
	}
	for told := false; ; time.Sleep(10 * time.Millisecond) {
		found, _ := filepath.Glob("/sys/class/net/e*")
		if len(found) > 0 {
			return filepath.Base(found[0])
		}
		if !told && boot.Elapsed() > 5*time.Second {
			logf("no network interface yet: waiting")
			told = true
		}
	}
}

// keepAddress returns when the interface has its first lease, and keeps it
// leased from then on.
func keepAddress(dev string) {
	lease := acquire(dev)
	go func() {
		for {
			time.Sleep(leaseTime(lease) / 2)
			if next, err := renew(dev, lease); err == nil {
				lease = next
			} else {
				logf("renewing the address: %v", err)
				lease = acquire(dev)
			}
		}
	}()
}

// acquire asks for a lease until it gets one.
func acquire(dev string) *nclient4.Lease {
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		lease, err := request(dev)
		if err == nil {
			return lease
		}
		logf("DHCP on %s: %v; again in %s", dev, err, wait)
		time.Sleep(wait)
	}
}

func request(dev string) (*nclient4.Lease, error) {
	link, err := netlink.LinkByName(dev)
	if err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, err
	}
	c, err := nclient4.New(dev, nclient4.WithTimeout(700*time.Millisecond), nclient4.WithRetry(5))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	host, _ := os.Hostname()
	lease, err := c.Request(context.Background(), dhcpv4.WithOption(dhcpv4.OptHostName(host)),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionInterfaceMTU, dhcpv4.OptionClasslessStaticRoute))
	if err != nil {
		return nil, err
	}
	return lease, configure(link, lease.ACK)
}

func renew(dev string, lease *nclient4.Lease) (*nclient4.Lease, error) {
	link, err := netlink.LinkByName(dev)
	if err != nil {
		return nil, err
	}
	c, err := nclient4.New(dev, nclient4.WithTimeout(2*time.Second), nclient4.WithRetry(3))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	next, err := c.Renew(context.Background(), lease)
	if err != nil {
		return nil, err
	}
	return next, configure(link, next.ACK)
}

func leaseTime(l *nclient4.Lease) time.Duration {
	return max(time.Minute, l.ACK.IPAddressLeaseTime(time.Hour))
}

// configure makes the interface be as the lease says.
func configure(link netlink.Link, ack *dhcpv4.DHCPv4) error {
	mask := ack.SubnetMask()
	if mask == nil {
		mask = ack.YourIPAddr.DefaultMask()
	}
	want := &net.IPNet{IP: ack.YourIPAddr, Mask: mask}
	if err := dropOtherAddresses(link, want); err != nil {
		return err
	}
	if mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, ack.Options); err == nil && mtu >= 576 {
		_ = netlink.LinkSetMTU(link, int(mtu))
	}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: want}); err != nil {
		return fmt.Errorf("setting address %s: %w", want, err)
	}
	// RFC 3442: classless routes replace the router option.
	if routes := ack.ClasslessStaticRoute(); len(routes) > 0 {
		for _, r := range routes {
			addRoute(link, r.Dest, r.Router)
		}
	} else if routers := ack.Router(); len(routers) > 0 {
		addRoute(link, &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, routers[0])
	}
	var resolv strings.Builder
	if d := ack.DomainName(); d != "" {
		fmt.Fprintf(&resolv, "search %s\n", d)
	}
	for _, ip := range ack.DNS() {
		fmt.Fprintf(&resolv, "nameserver %s\n", ip)
	}
	logf("%s has address %s", link.Attrs().Name, want)
	return os.WriteFile("/run/resolv.conf", []byte(resolv.String()), 0o644)
}

func dropOtherAddresses(link netlink.Link, want *net.IPNet) error {
	have, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("listing addresses: %w", err)
	}
	for _, a := range have {
		if !a.IP.Equal(want.IP) {
			_ = netlink.AddrDel(link, &a)
		}
	}
	return nil
}

func addRoute(link netlink.Link, dst *net.IPNet, via net.IP) {
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst}
	if via != nil && !via.IsUnspecified() {
		r.Gw = via
		r.Flags = int(netlink.FLAG_ONLINK) // a /32 address reaches its router all the same
	} else {
		r.Scope = unix.RT_SCOPE_LINK
	}
	if err := netlink.RouteReplace(r); err != nil {
		logf("route to %s: %v", dst, err)
	}
}
