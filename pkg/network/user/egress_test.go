package user

import (
	"net"
	"net/netip"
	"testing"
)

// What is the host's, its link's, or IPv4 in disguise is refused; the rest is not.
func TestRefuses(t *testing.T) {
	var policy egressPolicy
	for a, want := range map[string]bool{
		"192.0.2.1": false, "10.1.2.3": false, "127.0.0.1": true, "127.77.0.5": true, "0.0.0.0": true, "169.254.169.254": true, "224.0.0.1": true, "255.255.255.255": true,
		"2001:db8::1": false, "fd12:3456:789a::1": false, "::": true, "::1": true, "::127.0.0.1": true, "::ffff:127.0.0.1": true, "::ffff:192.0.2.1": true,
		"64:ff9b::127.0.0.1": true, "2002:7f00:1::1": true, "fe80::1": true, "fec0::1": true, "ff02::1": true, "fd00:ec2::254": true,
	} {
		if got := policy.refuses(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s is refused: %v", a, got)
		}
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range own {
		a, _ := netip.AddrFromSlice(o.(*net.IPNet).IP)
		if !policy.refuses(a.Unmap()) {
			t.Errorf("the host's own address %s is not refused", a)
		}
	}
}
