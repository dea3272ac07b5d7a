package nettest

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/bundt/bundt/pkg/network"
)

// acl is a network ACL of entries numbered from 100 on.
func acl(id string, ingress, egress []network.ACLEntry) *network.ACL {
	number := func(in []network.ACLEntry) []network.ACLEntry {
		for i := range in {
			in[i].Number = 100 + i
		}
		return in
	}
	return &network.ACL{ID: id, Ingress: number(ingress), Egress: number(egress)}
}

func entry(allowed bool, protocol string, from, to uint16, peer string) network.ACLEntry {
	return network.ACLEntry{Allow: allowed, Rule: allow(protocol, from, to, peer)}
}

// testACL: what network ACLs are for, and what not; that they judge every packet is
// the matrix's.
func testACL(t *testing.T, n *lab) {
	a, b := n.pair(t, allow("tcp", 1, 65535))
	c := n.port("vpc-1", "10.0.2.20", allow("tcp", 1, 65535))
	c.PublicIP = netip.MustParseAddr("127.77.3.7")
	c.Ingress = []network.Rule{allow("tcp", 18080, 18080)}
	n.apply(t)
	other := n.guest(t, 2)
	for _, g := range []*Guest{b, other} {
		go Echo(g.ListenTCP(t, 18080))
	}
	at := netip.AddrPortFrom(other.IP, 18080)
	reach := func(what string, to netip.AddrPort, want bool) net.Conn {
		t.Helper()
		wait := patience
		if !want {
			wait = 300 * time.Millisecond
		}
		conn, err := a.DialTCP(within(t, wait), to)
		if (err == nil) != want {
			t.Fatalf("%s: %v, want reached %v", what, err, want)
		}
		n.agrees(t, a, to, want)
		if err != nil {
			return nil
		}
		t.Cleanup(func() { conn.Close() })
		if err := RoundTrip(conn, []byte("round")); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return conn
	}
	public := func(what string, want bool) {
		t.Helper()
		to := netip.AddrPortFrom(c.PublicIP, 18080)
		conn, err := net.DialTimeout("tcp", to.String(), patience)
		if err == nil {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patience))
			err = RoundTrip(conn, []byte("round"))
		}
		trace := n.trace(t, network.Probe{Source: netip.MustParseAddr("127.0.0.1"), Destination: to.Addr(), Protocol: 6, Port: to.Port()})
		if (err == nil) != want || trace.Passes() != want {
			t.Errorf("%s: %v, the trace says %+v, want %v", what, err, trace.Steps, want)
		}
	}
	set := func(subnet int, acl *network.ACL) {
		n.config.VPCs[0].Subnets[subnet].ACL = acl
		n.apply(t)
	}
	reach("without ACLs", at, true)
	public("without ACLs", true)

	shut := acl("acl-shut", nil, nil)
	set(0, shut)
	reach("within a subnet that is shut", netip.AddrPortFrom(b.IP, 18080), true)
	reach("out of it", at, false)
	if r := n.status(t, 0).Refused; r == nil || r.Egress == 0 {
		t.Errorf("refused: %+v", r)
	}
	// The VPC's services are not meant.
	discover, err := dhcpv4.NewDiscovery(a.MAC)
	if err != nil {
		t.Fatal(err)
	}
	a.Exchange(t, discover)
	if conn, err := a.DialTCP(within(t, patience), netip.MustParseAddrPort("169.254.169.254:80")); err != nil {
		t.Errorf("the metadata service: %v", err)
	} else {
		conn.Close()
	}
	if conn, err := n.Datapath.Dial(within(t, patience), "eni-1", 18080); err != nil {
		t.Errorf("the gateway: %v", err)
	} else {
		conn.Close()
	}

	out := []network.ACLEntry{entry(false, "tcp", 18081, 18081, "0.0.0.0/0"), entry(true, "tcp", 18080, 18090, "10.0.2.0/24")}
	set(0, acl("acl-out", nil, out))
	reach("with answers denied", at, false)
	set(0, acl("acl-both", []network.ACLEntry{entry(true, "tcp", 1024, 65535, "10.0.0.0/16")}, out))
	live := reach("with both allowed", at, true)
	reach("what an entry before denies", netip.AddrPortFrom(other.IP, 18081), false)
	set(1, shut)
	reach("into a subnet that is shut", at, false)
	if r := n.status(t, 2).Refused; r == nil || r.Ingress == 0 {
		t.Errorf("refused: %+v", r)
	}
	_ = live.SetDeadline(time.Now().Add(300 * time.Millisecond))
	if err := RoundTrip(live, []byte("still?")); err == nil {
		t.Error("a connection goes on through an ACL that is shut")
	}
	public("into a subnet that is shut", false)
	set(1, acl("acl-web", []network.ACLEntry{entry(true, "tcp", 18080, 18080, "127.0.0.0/8")}, nil))
	public("with answers denied", false)
	set(1, acl("acl-web", []network.ACLEntry{entry(true, "tcp", 18080, 18080, "127.0.0.0/8")}, []network.ACLEntry{entry(true, "tcp", 1024, 65535, "127.0.0.0/8")}))
	public("with both allowed", true)
	reach("of which others have nothing", at, false)
	set(1, nil)
	reach("without its ACL again", at, true)
}
