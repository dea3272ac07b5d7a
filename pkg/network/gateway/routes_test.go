package gateway

import (
	"net/netip"
	"testing"

	"github.com/bundt/bundt/pkg/network"
)

// The longest prefix decides whether a way leads outside; without one, none does.
func TestRouted(t *testing.T) {
	all, ten, black := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16")
	for _, c := range []struct {
		routes []network.Route
		to     string
		want   bool
	}{
		{nil, "192.0.2.1", false},
		{[]network.Route{{CIDR: all}}, "192.0.2.1", true},
		{[]network.Route{{CIDR: all, Blackhole: true}}, "192.0.2.1", false},
		{[]network.Route{{CIDR: ten}}, "192.0.2.1", false},
		{[]network.Route{{CIDR: black, Blackhole: true}, {CIDR: all}}, "10.1.2.3", false},
		{[]network.Route{{CIDR: black, Blackhole: true}, {CIDR: all}}, "10.2.2.3", true},
		{[]network.Route{{CIDR: all, Blackhole: true}, {CIDR: ten}}, "10.2.2.3", true},
	} {
		pc := &Port{Port: network.Port{Routes: c.routes}}
		if got := pc.Routed(netip.MustParseAddr(c.to)); got != c.want {
			t.Errorf("%v to %s: %v", c.routes, c.to, got)
		}
	}
}
