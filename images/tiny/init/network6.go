package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6/nclient6"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// keepIPv6 waits for a router that advertises itself, which may be long after the
// boot, and takes the addresses that DHCPv6 gives and keeps them until the
// interface is gone. Without a router it costs a sleeping goroutine. The kernel itself takes the route, the prefix and the
// MTU from the advertisement.
func keepIPv6(n nic) {
	if err := awaitRouter(n); err != nil {
		logf("waiting for an IPv6 router: %v", err)
		return
	}
	for failed := 0; !n.gone(); {
		lease, err := leaseIPv6(n.dev)
		if err == nil {
			failed = 0
			time.Sleep(max(lease/2, time.Minute))
			continue
		}
		if failed == 0 { // a subnet with IPv6 whose interface has no address yet says so for ever
			logf("DHCPv6 on %s: %v; trying again", n.dev, err)
		}
		failed++
		time.Sleep(min(time.Duration(failed)*time.Second, 15*time.Second))
	}
}

// awaitRouter returns when the kernel has learned a default route of IPv6.
func awaitRouter(n nic) error {
	routes, done := make(chan netlink.RouteUpdate, 16), make(chan struct{})
	defer close(done)
	var failure error
	o := netlink.RouteSubscribeOptions{ListExisting: true, ErrorCallback: func(err error) { failure = err }}
	if err := netlink.RouteSubscribeWithOptions(routes, done, o); err != nil {
		return err
	}
	for r := range routes {
		everywhere := r.Dst == nil || r.Dst.IP.IsUnspecified()
		if r.Type == unix.RTM_NEWROUTE && r.LinkIndex == n.index && everywhere && r.Gw != nil && r.Gw.To4() == nil {
			return nil
		}
	}
	return failure
}

// leaseIPv6 takes and sets the interface's addresses, and returns how long they hold.
func leaseIPv6(dev string) (time.Duration, error) {
	link, err := netlink.LinkByName(dev)
	if err != nil {
		return 0, err
	}
	c, err := nclient6.New(dev, nclient6.WithTimeout(2*time.Second), nclient6.WithRetry(3))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	reply, err := c.RapidSolicit(context.Background())
	if err != nil {
		return 0, err
	}
	ia := reply.Options.OneIANA()
	if ia == nil || len(ia.Options.Addresses()) == 0 {
		return 0, errors.New("there is no address for this interface")
	}
	want := map[string]bool{}
	for _, a := range ia.Options.Addresses() {
		ip := &net.IPNet{IP: a.IPv6Addr, Mask: net.CIDRMask(128, 128)}
		want[ip.String()] = true
		// The address is nobody else's: looking for that would take a second.
		set := &netlink.Addr{IPNet: ip, Flags: unix.IFA_F_NODAD, ValidLft: int(a.ValidLifetime / time.Second), PreferedLft: int(a.PreferredLifetime / time.Second)}
		if err := netlink.AddrReplace(link, set); err != nil {
			return 0, fmt.Errorf("setting address %s: %w", ip, err)
		}
		logf("%s has address %s", dev, ip)
	}
	return ia.Options.OneAddress().PreferredLifetime, dropOtherIPv6(link, want)
}

// dropOtherIPv6 removes what an earlier lease gave.
func dropOtherIPv6(link netlink.Link, want map[string]bool) error {
	have, err := netlink.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return fmt.Errorf("listing addresses: %w", err)
	}
	for _, a := range have {
		if !a.IP.IsLinkLocalUnicast() && !want[a.IPNet.String()] {
			_ = netlink.AddrDel(link, &a)
		}
	}
	return nil
}
