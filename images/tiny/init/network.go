package main

import (
	"context"
	"errors"
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

// waitForInterface returns the first Ethernet interface, however long it takes to
// appear: it may be plugged in later.
func waitForInterface() nic {
	if lo, err := netlink.LinkByName("lo"); err == nil {
		_ = netlink.LinkSetUp(lo)
	}
	for told := false; ; time.Sleep(10 * time.Millisecond) {
		found, _ := filepath.Glob("/sys/class/net/e*")
		if len(found) > 0 {
			dev := filepath.Base(found[0])
			if link, err := netlink.LinkByName(dev); err == nil {
				return nic{dev: dev, index: link.Attrs().Index, first: true}
			}
		}
		if !told && boot.Elapsed() > 5*time.Second {
			logf("no network interface yet: waiting")
			told = true
		}
	}
}

// keepAddress returns when the interface has its first lease, and keeps it
// leased from then on, until the interface is gone.
func keepAddress(n nic) {
	lease := acquire(n)
	go func() {
		for lease != nil {
			time.Sleep(leaseTime(lease) / 2)
			if next, err := renew(n, lease); err == nil {
				lease = next
			} else {
				logf("renewing the address of %s: %v", n.dev, err)
				lease = acquire(n)
			}
		}
	}()
}

// nic is an interface, for as long as it is plugged in.
type nic struct {
	dev   string
	index int  // Linux's, which no other interface ever gets
	first bool // its routes and name servers are the machine's
}

func (n nic) gone() bool {
	link, err := netlink.LinkByIndex(n.index)
	return err != nil || link.Attrs().Name != n.dev
}

// keepOthers gives addresses to the interfaces beside the first, whenever they are
// plugged in.
func keepOthers(first string) {
	updates := make(chan netlink.LinkUpdate, 16)
	if err := netlink.LinkSubscribeWithOptions(updates, nil, netlink.LinkSubscribeOptions{ListExisting: true}); err != nil {
		logf("watching for network interfaces: %v", err)
		return
	}
	known := map[int]bool{}
	for u := range updates {
		at := u.Attrs()
		if u.Header.Type != unix.RTM_NEWLINK || known[at.Index] || at.Name == first || !strings.HasPrefix(at.Name, "e") {
			continue
		}
		known[at.Index] = true
		n := nic{dev: at.Name, index: at.Index}
		go keepAddress(n)
		go keepIPv6(n)
	}
}

// acquire asks for a lease until it gets one; nil says that the interface is gone.
func acquire(n nic) *nclient4.Lease {
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		lease, err := request(n)
		if err == nil {
			return lease
		}
		if n.gone() {
			logf("%s is gone", n.dev)
			return nil
		}
		logf("DHCP on %s: %v; again in %s", n.dev, err, wait)
		time.Sleep(wait)
	}
}

func request(n nic) (*nclient4.Lease, error) {
	link, err := netlink.LinkByName(n.dev)
	if err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, err
	}
	c, err := nclient4.New(n.dev, nclient4.WithTimeout(700*time.Millisecond), nclient4.WithRetry(5))
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
	return lease, configure(n, link, lease.ACK)
}

func renew(n nic, lease *nclient4.Lease) (*nclient4.Lease, error) {
	link, err := netlink.LinkByName(n.dev)
	if err != nil {
		return nil, err
	}
	c, err := nclient4.New(n.dev, nclient4.WithTimeout(2*time.Second), nclient4.WithRetry(3))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	next, err := c.Renew(context.Background(), lease)
	if err != nil {
		return nil, err
	}
	return next, configure(n, link, next.ACK)
}

func leaseTime(l *nclient4.Lease) time.Duration {
	return max(time.Minute, l.ACK.IPAddressLeaseTime(time.Hour))
}

// configure makes the interface be as the lease says.
func configure(n nic, link netlink.Link, ack *dhcpv4.DHCPv4) error {
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
	logf("%s has address %s", n.dev, want)
	if n.first {
		addRoutes(link, ack, 0, unix.RT_TABLE_MAIN)
		return writeResolver(ack)
	}
	// What answers from this address must leave by this interface: others' packets
	// are not let through. The routes are for that, and else come after the first's.
	addRoutes(link, ack, n.index, unix.RT_TABLE_MAIN)
	table := firstTable + n.index
	addRoutes(link, ack, 0, table)
	rule := netlink.NewRule()
	rule.Src, rule.Table = &net.IPNet{IP: want.IP, Mask: net.CIDRMask(32, 32)}, table
	if err := netlink.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("adding a rule for %s: %w", want.IP, err)
	}
	return nil
}

// firstTable is the routing table of an interface of index 0.
const firstTable = 1000

func addRoutes(link netlink.Link, ack *dhcpv4.DHCPv4, metric, table int) {
	// RFC 3442: classless routes replace the router option.
	if routes := ack.ClasslessStaticRoute(); len(routes) > 0 {
		for _, r := range routes {
			addRoute(link, r.Dest, r.Router, metric, table)
		}
	} else if routers := ack.Router(); len(routers) > 0 {
		addRoute(link, &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, routers[0], metric, table)
	}
	if table != unix.RT_TABLE_MAIN { // there the kernel adds the subnet itself
		subnet := &net.IPNet{IP: ack.YourIPAddr.Mask(ack.SubnetMask()), Mask: ack.SubnetMask()}
		if subnet.IP != nil {
			addRoute(link, subnet, nil, metric, table)
		}
	}
}

func writeResolver(ack *dhcpv4.DHCPv4) error {
	var resolv strings.Builder
	if d := ack.DomainName(); d != "" {
		fmt.Fprintf(&resolv, "search %s\n", d)
	}
	for _, ip := range ack.DNS() {
		fmt.Fprintf(&resolv, "nameserver %s\n", ip)
	}
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

func addRoute(link netlink.Link, dst *net.IPNet, via net.IP, metric, table int) {
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Priority: metric, Table: table}
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
