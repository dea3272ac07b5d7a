package gateway

import (
	"net/netip"
	"testing"

	"github.com/bundt/bundt/pkg/network"
)

// The longest prefix decides whether a way leads outside; without one, none does.
func TestWayTo(t *testing.T) {
	all, ten, black := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16")
	via := netip.MustParseAddr("172.31.0.9")
	for _, c := range []struct {
		routes []network.Route
		to     string
		want   Way
	}{
		{nil, "192.0.2.1", Unrouted},
		{[]network.Route{{CIDR: all}}, "192.0.2.1", Outside},
		{[]network.Route{{CIDR: all, Blackhole: true}}, "192.0.2.1", Unrouted},
		{[]network.Route{{CIDR: ten}}, "192.0.2.1", Unrouted},
		{[]network.Route{{CIDR: black, Blackhole: true}, {CIDR: all}}, "10.1.2.3", Unrouted},
		{[]network.Route{{CIDR: black, Blackhole: true}, {CIDR: all}}, "10.2.2.3", Outside},
		{[]network.Route{{CIDR: all, Blackhole: true}, {CIDR: ten}}, "10.2.2.3", Outside},
		{[]network.Route{{CIDR: all}, {CIDR: ten, Via: via}}, "10.2.2.3", ToRouter},
		{[]network.Route{{CIDR: all, Via: via}, {CIDR: ten}}, "192.0.2.1", ToRouter},
		{[]network.Route{{CIDR: all, Via: via}}, "169.254.1.1", Unrouted},
		{[]network.Route{{CIDR: all, Via: via}}, "224.0.0.1", Unrouted},
	} {
		pc := &Port{Port: network.Port{Routes: c.routes}}
		if got := pc.WayTo(netip.MustParseAddr(c.to)); got != c.want {
			t.Errorf("%v to %s: %v", c.routes, c.to, got)
		}
	}
}
