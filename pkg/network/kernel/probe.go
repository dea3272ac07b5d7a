package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Problem says why this host and user cannot have the kernel datapath, "" if
// they can. It tries everything that matters in a namespace of its own.
func Problem() string {
	if os.Geteuid() != 0 {
		return "it needs root"
	}
	if _, err := os.Stat("/dev/net/tun"); errors.Is(err, fs.ErrNotExist) {
		return "the kernel has no tap devices (/dev/net/tun): load the module tun"
	}
	var problem string
	err := onThread(func() (bool, error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return false, fmt.Errorf("network namespaces cannot be made: %w", err)
		}
		return true, try()
	})
	if err != nil {
		problem = err.Error()
	}
	return problem
}

// try makes a tap and all kinds of rules in the thread's namespace.
func try() error {
	f, err := openTap("probe")
	if err != nil {
		return fmt.Errorf("tap devices cannot be made: %w", err)
	}
	defer f.Close()
	link, err := netlink.LinkByName("probe")
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("tap devices cannot be set up: %w", err)
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("opening the namespace: %w", err)
	}
	defer ns.Close()
	g := &guard{tap: "probe", primary: netip.IPv4Unspecified(), networks: ns}
	if err := g.install(); err != nil {
		return fmt.Errorf("the kernel lacks nftables of devices (nf_tables, NF_TABLES_NETDEV): %w", err)
	}
	for _, fam := range families() {
		r, err := newRuleset(ns, fam.table, "probe")
		if err != nil {
			return err
		}
		r.replace()
		(&filter{}).fill(r, fam)
		r.set(&nftables.Set{Name: "ports", KeyType: fam.ports, Interval: true, Concatenation: true}, nil)
		if err := r.commit(); err != nil {
			return fmt.Errorf("the kernel lacks nftables with connection tracking (nf_tables, nft_ct, nft_connlimit, nft_nat, nft_masq): %w", err)
		}
	}
	if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, flowsOf{}); err != nil {
		return fmt.Errorf("the kernel does not let connections be forgotten (nf_conntrack_netlink): %w", err)
	}
	return nil
}

// HostForwards says if the host forwards packets: without it nothing comes back
// to guests from outside. bundt does not change that by itself: it makes the
// host a router for others as well.
func HostForwards() bool { return isOn("/proc/sys/net/ipv4/ip_forward") }

func hostForwardsV6() bool { return isOn("/proc/sys/net/ipv6/conf/all/forwarding") }

func isOn(file string) bool {
	b, err := os.ReadFile(file)
	return err == nil && len(b) > 0 && b[0] == '1'
}
