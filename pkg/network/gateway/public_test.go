package gateway

import (
	"net/netip"
	"testing"

	"github.com/bundt/bundt/pkg/network"
)

// Ports are opened on a public address for those who can be its clients.
func TestPublicPorts(t *testing.T) {
	rule := func(port uint16, peers ...string) network.Rule {
		r := network.Rule{Protocol: "tcp", FromPort: port, ToPort: port}
		for _, p := range peers {
			r.Peers = append(r.Peers, netip.MustParsePrefix(p))
		}
		return r
	}
	rules := []network.Rule{
		rule(1, "0.0.0.0/0"), rule(2, "127.0.0.0/8"), rule(3, "192.168.1.0/24"), rule(4, "::/0"), {Protocol: "tcp", FromPort: 5, ToPort: 5, Group: "sg-1"},
	}
	for public, want := range map[string][]uint16{"127.77.0.5": {1, 2}, "192.168.1.50": {1, 2, 3}} {
		c := &Port{}
		c.PublicIP = netip.MustParseAddr(public)
		var err error
		if c.In, err = compileRules(rules, map[string]Members{"sg-1": {}}); err != nil {
			t.Fatal(err)
		}
		ports, problems := publicPorts(c)
		if len(ports) != len(want) || len(problems) > 0 {
			t.Errorf("%s: %v are opened (%v), want %v", public, ports, problems, want)
		}
		for _, p := range want {
			if !ports[endpoint{TCP, netip.AddrPortFrom(c.PublicIP, p)}] {
				t.Errorf("%s: port %d is not opened", public, p)
			}
		}
	}
}
