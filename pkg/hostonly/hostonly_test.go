package hostonly

import (
	"net/netip"
	"testing"
)

func TestWhy(t *testing.T) {
	for _, a := range []string{
		"0.0.0.1", "127.0.0.1", "127.255.0.1", "169.254.169.254", "100.100.100.200", "224.0.0.1", "255.255.255.255", "::", "::1", "::10.0.0.1", "::ffff:10.0.0.1",
		"64:ff9b::a00:1", "64:ff9b:1::1", "2002:a00:1::", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
	} {
		if Why(netip.MustParseAddr(a)) == "" {
			t.Errorf("%s may be connected to", a)
		}
	}
	for _, a := range []string{"10.0.0.1", "192.168.1.1", "100.64.0.1", "8.8.8.8", "223.255.255.255", "2001:db8::1", "fd12::1", "2600::1"} {
		if why := Why(netip.MustParseAddr(a)); why != "" {
			t.Errorf("%s: %s", a, why)
		}
	}
	if len(Prefixes()) != len(Ranges()) {
		t.Error("there are not as many prefixes as ranges")
	}
}

func TestOwn(t *testing.T) {
	own, err := Own()
	if err != nil || !own[netip.MustParseAddr("127.0.0.1")] || !own[netip.MustParseAddr("127.255.255.255")] || own[netip.MustParseAddr("192.0.2.1")] {
		t.Errorf("%v, %v", own, err)
	}
	if got := broadcast(netip.MustParsePrefix("10.1.2.3/20")); got != netip.MustParseAddr("10.1.15.255") {
		t.Errorf("the broadcast address is %s", got)
	}
}
