package nettest

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// testJumbo: a VPC whose frames are as large as EC2's largest. Guests are told so,
// whole datagrams pass unbroken, and what is larger than that does not.
func testJumbo(t *testing.T, n *lab) {
	const mtu = 9001
	n.vpc("vpc-1")
	n.port("vpc-1", "10.0.1.10")
	n.port("vpc-1", "10.0.1.11", allow("-1", 0, 0))
	n.config.VPCs[0].MTU = mtu
	n.config.Ports[0].Metadata.UserData = []byte(strings.Repeat("user data ", 1500))
	n.apply(t)
	a, b := n.unleased(t, 0), n.unleased(t, 1)
	if got := a.Lease(t).Options.Get(dhcpv4.OptionInterfaceMTU); !bytes.Equal(got, []byte{mtu >> 8, mtu & 0xff}) {
		t.Errorf("the MTU option is %v", got)
	}
	b.Lease(t)
	gw := a.ARP(t, b.IP, patience)
	tap := b.Tap(t)
	whole := UDPFrame(a.MAC, gw, a.IP, b.IP, 1000, 53, bytes.Repeat([]byte("j"), mtu-28))
	tooLarge := UDPFrame(a.MAC, gw, a.IP, b.IP, 1000, 53, bytes.Repeat([]byte("k"), mtu-27))
	for _, f := range [][]byte{tooLarge, whole} {
		_ = a.Send(f) // a card may refuse what is too large by itself
	}
	timeout := time.After(patience)
	for passed := false; !passed; {
		select {
		case f := <-tap:
			if len(f) > 14+mtu { // a router may pass it on in pieces
				t.Fatalf("a frame of %d bytes passed", len(f))
			}
			passed = len(f) == len(whole) && bytes.Equal(f[34:], whole[34:])
		case <-timeout:
			t.Fatal("the whole datagram did not pass")
		}
	}
	if code, data := fetch(t, a.http(), "GET", "/latest/user-data"); code != 200 || data != string(n.config.Ports[0].Metadata.UserData) {
		t.Errorf("user data: %d, %d bytes", code, len(data))
	}
	go Echo(b.ListenTCP(t, 80))
	c, err := a.DialTCP(within(t, patience), netip.AddrPortFrom(b.IP, 80))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := RoundTrip(net.Conn(c), bytes.Repeat([]byte("jumbo"), 1<<18)); err != nil {
		t.Error(err)
	}
	bad := n.config
	bad.VPCs = append(bad.VPCs[:0:0], n.config.VPCs...)
	for _, wrong := range []int{100, 65536, -1} {
		bad.VPCs[0].MTU = wrong
		if err := n.Datapath.Apply(t.Context(), bad); err == nil {
			t.Errorf("an MTU of %d was accepted", wrong)
		}
	}
}
