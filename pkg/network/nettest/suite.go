package nettest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/metadata"
	"github.com/bundt/bundt/pkg/network"
)

// Env is one datapath under test.
type Env struct {
	Datapath network.Datapath
	// Kill ends what moves the frames without warning (SIGKILL). The datapath
	// must come back by itself.
	Kill func(t *testing.T)
	// Card is where the port's guest is attached; nil: at the port's Socket.
	Card func(t testing.TB, p network.Port) Card
	// NoIPv6: the datapath carries IPv4 only.
	NoIPv6 bool
	// OneTracker: a flow is tracked in one place for both of its ends, not at all if
	// one refuses it, and never from its middle. Otherwise each guest's groups track
	// by themselves.
	OneTracker bool
	// Routed: guests see the gateway's link address for all the others.
	Routed bool
	// Reopen ends the daemon's side and returns a new one over the same state.
	Reopen func(t *testing.T) network.Datapath
}

// Run runs the whole suite; newEnv makes a fresh datapath that is stopped when
// its test ends.
func Run(t *testing.T, newEnv func(t *testing.T) *Env) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, n *lab)
	}{
		{"DHCP", testDHCP},
		{"ARP", testARP},
		{"DNS", testDNS},
		{"Reach", testReach},
		{"ICMP", testICMP},
		{"Spoofing", testSpoofing},
		{"Metadata", testMetadata},
		{"Identity", testIdentity},
		{"Public", testPublic},
		{"PublicUDP", testPublicUDP},
		{"Dial", testDial},
		{"PausedGuest", testPausedGuest},
		{"Flood", testFlood},
		{"Kill", testKill},
		{"Reopen", testReopen},
		{"Reconnect", testReconnect},
		{"GuestDies", testGuestDies},
		{"Egress", testEgress},
		{"OverlappingVPCs", testOverlappingVPCs},
		{"BadConfig", testBadConfig},
		{"Idempotent", testIdempotent},
		{"RemovePort", testRemovePort},
		{"ICMPTypes", testICMPTypes},
		{"Groups", testGroups},
		{"Secondary", testSecondary},
		{"Ranges", testRanges},
		{"AnySource", testAnySource},
		{"Router", testRouter},
		{"ACL", testACL},
		{"Trace", testTrace},
		{"Matrix", testMatrix},
		{"Jumbo", testJumbo},
		{"LeaseV6", testLeaseV6},
		{"Neighbors", testNeighbors},
		{"ReachV6", testReachV6},
		{"SpoofingV6", testSpoofingV6},
		{"ServicesV6", testServicesV6},
		{"EgressV6", testEgressV6},
		{"LateV6", testLateV6},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &lab{Env: newEnv(t), dir: t.TempDir(), config: network.Config{Region: "local-1"}}
			if n.NoIPv6 && (strings.HasSuffix(c.name, "V6") || c.name == "Neighbors") {
				t.Skip("no IPv6")
			}
			c.test(t, n)
		})
	}
}

// lab builds a network for one test.
type lab struct {
	*Env
	dir    string
	config network.Config
}

var (
	anywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	allowAll = []network.Rule{{Protocol: "-1", Peers: anywhere}}
)

func allow(protocol string, from, to uint16, peers ...string) network.Rule {
	r := network.Rule{Protocol: protocol, FromPort: from, ToPort: to}
	for _, p := range peers {
		r.Peers = append(r.Peers, netip.MustParsePrefix(p))
	}
	if len(peers) == 0 {
		r.Peers = anywhere
	}
	return r
}

// vpc adds a VPC of two subnets, 10.0.1.0/24 and 10.0.2.0/24.
func (n *lab) vpc(id string) {
	n.config.VPCs = append(n.config.VPCs, network.VPC{
		ID: id, CIDR: netip.MustParsePrefix("10.0.0.0/16"), MTU: 1500, DomainName: "ec2.internal",
		Subnets: []network.Subnet{
			{ID: id + "-a", CIDR: netip.MustParsePrefix("10.0.1.0/24")},
			{ID: id + "-b", CIDR: netip.MustParsePrefix("10.0.2.0/24")},
		},
	})
}

// port adds an interface with everything allowed out and only ingress in, and
// returns its index.
func (n *lab) port(vpc, ip string, ingress ...network.Rule) *network.Port {
	i := len(n.config.Ports)
	a := netip.MustParseAddr(ip)
	subnet := vpc + "-a"
	if a.As4()[2] == 2 {
		subnet = vpc + "-b"
	}
	id := fmt.Sprintf("eni-%d", i)
	mac := fmt.Sprintf("0a:00:00:00:00:%02x", i+1)
	n.config.Ports = append(n.config.Ports, network.Port{
		ID: id, InstanceID: fmt.Sprintf("i-%d", i), VPCID: vpc, SubnetID: subnet, MAC: mac, PrivateIP: a,
		Names: []string{fmt.Sprintf("host-%d", i)}, Ingress: ingress, Egress: allowAll, Routes: []network.Route{{CIDR: anywhere[0]}},
		Metadata: metadata.Document{
			InstanceID: fmt.Sprintf("i-%d", i), MAC: mac, PrivateIP: ip,
			Hostname: fmt.Sprintf("ip-10-0-%d-%d.ec2.internal", a.As4()[2], a.As4()[3]),
		},
	})
	if n.Card == nil {
		n.config.Ports[i].Socket = filepath.Join(n.dir, id+".sock")
	}
	return &n.config.Ports[i]
}

func (n *lab) apply(t *testing.T) {
	t.Helper()
	if err := n.Datapath.Apply(t.Context(), n.config); err != nil {
		t.Fatal(err)
	}
}

// guest attaches a guest to the port and gives it its address by DHCP.
func (n *lab) guest(t *testing.T, i int) *Guest {
	t.Helper()
	g := n.unleased(t, i)
	g.Lease(t)
	return g
}

// unleased attaches a guest that has no address yet.
func (n *lab) unleased(t *testing.T, i int) *Guest {
	t.Helper()
	p := n.config.Ports[i]
	if n.Card != nil {
		return NewGuest(t, n.Card(t, p), p.MAC, n.config.VPCs[0].MTU)
	}
	return NewGuest(t, Socket(t, p.Socket), p.MAC, n.config.VPCs[0].MTU)
}

// pair is the usual network: two guests of one VPC, the second behind ingress.
func (n *lab) pair(t *testing.T, ingress ...network.Rule) (*Guest, *Guest) {
	t.Helper()
	n.vpc("vpc-1")
	n.port("vpc-1", "10.0.1.10")
	n.port("vpc-1", "10.0.1.11", ingress...)
	n.apply(t)
	return n.guest(t, 0), n.guest(t, 1)
}

func (n *lab) status(t *testing.T, i int) network.PortStatus {
	t.Helper()
	id := n.config.Ports[i].ID
	s, err := n.Datapath.Status(t.Context(), id, "eni-none")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Ports) > 1 {
		t.Fatalf("asked for one port, the datapath reports %d", len(s.Ports))
	}
	return s.Ports[id]
}

// eventually waits for what must come true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

// within is a context for something that is expected to succeed, or to fail, soon.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// seen is the link address by which others see a guest.
func (n *lab) seen(guest, gateway net.HardwareAddr) net.HardwareAddr {
	if n.Routed {
		return gateway
	}
	return guest
}
