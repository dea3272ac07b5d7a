// Package hostonly owns the addresses that only the host itself may connect to: not a
// guest through it, and not a user who has it download something. It imports no
// package of ours.
package hostonly

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Range is a part of the addresses, and why it is in the list.
type Range struct {
	netip.Prefix
	Why string
}

var ranges = []Range{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network (RFC 791), which Linux takes for itself"},
	{netip.MustParsePrefix("127.0.0.0/8"), "the host's loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local (RFC 3927): the metadata service of a cloud that the host is in"},
	{netip.MustParsePrefix("100.100.100.200/32"), "Alibaba Cloud's metadata service"},
	{netip.MustParsePrefix("192.0.0.192/32"), "Oracle Cloud's metadata service"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast (RFC 5771)"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved, and broadcast (RFC 1112)"},

	{netip.MustParsePrefix("::/96"), "unspecified, loopback, and IPv4 in an old disguise (RFC 4291)"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "mapped IPv4 (RFC 4291)"},
	{netip.MustParsePrefix("64:ff9b::/96"), "IPv4 behind a translator (RFC 6052)"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "IPv4 behind a translator (RFC 8215)"},
	{netip.MustParsePrefix("2002::/16"), "IPv4 behind a 6to4 relay (RFC 3056)"},
	{netip.MustParsePrefix("fd00:ec2::/32"), "EC2's metadata service"},
	{netip.MustParsePrefix("fe80::/10"), "link-local (RFC 4291)"},
	{netip.MustParsePrefix("fec0::/10"), "site-local, given up (RFC 3879)"},
	{netip.MustParsePrefix("ff00::/8"), "multicast (RFC 4291)"},
}

// Ranges are all that are in the list, besides the host's own addresses.
func Ranges() []Range { return slices.Clone(ranges) }

// Prefixes are those of Ranges.
func Prefixes() (out []netip.Prefix) {
	for _, r := range ranges {
		out = append(out, r.Prefix)
	}
	return out
}

// Why says why an address is in one of the Ranges, "" if it is in none.
func Why(a netip.Addr) string {
	a = a.WithZone("")
	for _, r := range ranges {
		if r.Contains(a) {
			return r.Why
		}
	}
	return ""
}

// Own are the addresses of the host's interfaces, and their broadcast addresses.
func Own() (map[netip.Addr]bool, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("reading the host's addresses: %w", err)
	}
	own := map[netip.Addr]bool{}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own[p.Addr().Unmap()] = true
			if p.Addr().Is4() {
				own[broadcast(p)] = true
			}
		}
	}
	return own, nil
}

// broadcast is the last address of an IPv4 prefix.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}
