package kernel_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/control"
	"github.com/bundt/bundt/pkg/network/nettest"
)

// host is the host of a test, with a datapath on it.
type host struct {
	control.Attacher
	options    control.Options
	namespaces string
	config     network.Config
}

func newHost(t *testing.T) *host {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	h := &host{namespaces: filepath.Join(dir, "netns"), options: control.Options{
		ControlSocket: filepath.Join(dir, "c"), StateFile: filepath.Join(dir, "state"), LogFile: filepath.Join(dir, "log"),
	}}
	h.options.Command = []string{os.Args[0], "switch", h.options.ControlSocket, h.options.StateFile, "hosttest", h.namespaces}
	h.open(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.Stop(ctx); err != nil {
			t.Error(err)
		}
		h.nothingLeft(t)
		if b, _ := os.ReadFile(h.options.LogFile); t.Failed() {
			t.Logf("the switch said: %s", b)
		}
	})
	return h
}

func (h *host) open(t *testing.T) {
	t.Helper()
	c, err := control.NewClient(h.options)
	if err != nil {
		t.Fatal(err)
	}
	h.Attacher = control.Attacher{Client: c}
}

// nothingLeft wants a host as it was before.
func (h *host) nothingLeft(t *testing.T) {
	t.Helper()
	if left, _ := os.ReadDir(h.namespaces); len(left) > 0 {
		t.Errorf("namespaces are left: %v", left)
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Name, "bhosttest") {
			t.Errorf("the device %s is left", l.Name)
		}
	}
}

func (h *host) apply(t *testing.T) {
	t.Helper()
	if err := h.Apply(t.Context(), h.config); err != nil {
		t.Fatal(err)
	}
}

var all = []network.Rule{{Protocol: "-1", Peers: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}}

// vpc adds a VPC with ports 10.0.1.10 and so on, everything allowed.
func (h *host) vpc(id string, mtu, ports int) {
	cidr := netip.MustParsePrefix("10.0.0.0/16")
	h.config.VPCs = append(h.config.VPCs, network.VPC{
		ID: id, CIDR: cidr, MTU: mtu, Subnets: []network.Subnet{{ID: "subnet-" + id, CIDR: netip.MustParsePrefix("10.0.1.0/24")}},
	})
	for i := range ports {
		h.config.Ports = append(h.config.Ports, network.Port{
			ID: fmt.Sprintf("eni-%s-%d", id, i), VPCID: id, SubnetID: "subnet-" + id, MAC: fmt.Sprintf("0a:00:00:00:%02x:%02x", len(h.config.VPCs), i+1),
			PrivateIP: netip.AddrFrom4([4]byte{10, 0, 1, byte(10 + i)}), Ingress: all, Egress: all,
		})
	}
}

// guest attaches a guest to the i-th port.
func (h *host) guest(t *testing.T, i int) *nettest.Guest {
	t.Helper()
	p := h.config.Ports[i]
	mtu := 1500
	for _, v := range h.config.VPCs {
		if v.ID == p.VPCID && v.MTU != 0 {
			mtu = v.MTU
		}
	}
	card := newCard(func() (*os.File, error) { return h.Attach(context.Background(), p.ID) })
	g := nettest.NewGuest(t, card, p.MAC, mtu)
	g.Lease(t)
	return g
}

func (h *host) status(t *testing.T, i int) network.PortStatus {
	t.Helper()
	id := h.config.Ports[i].ID
	s, err := h.Status(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return s.Ports[id]
}

// internet puts 192.0.2.2 beside the host, which is 192.0.2.1 there and forwards.
// Sockets that do makes are 192.0.2.2's.
func internet(t *testing.T) (do func(f func() error) error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "internet")
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = exec.Command("ip", "link", "del", "lan").Run() })
	pid := fmt.Sprint(cmd.Process.Pid)
	if err := os.Symlink("/proc/"+pid+"/ns/net", path); err != nil {
		t.Fatal(err)
	}
	do = func(f func() error) error {
		done := make(chan error, 1)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends
			ns, err := os.Open(path)
			if err == nil {
				defer ns.Close()
				err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			}
			if err == nil {
				err = f()
			}
			done <- err
		}()
		return <-done
	}
	run(t, "ip", "link", "add", "lan", "type", "veth", "peer", "name", "lan", "netns", pid)
	run(t, "ip", "address", "add", "192.0.2.1/24", "dev", "lan")
	run(t, "ip", "link", "set", "lan", "up")
	for _, argv := range [][]string{
		{"ip", "link", "set", "lo", "up"}, {"ip", "address", "add", "192.0.2.2/24", "dev", "lan"}, {"ip", "link", "set", "lan", "up"},
		{"ip", "route", "add", "default", "via", "192.0.2.1"},
	} {
		if err := do(func() error { return exec.Command(argv[0], argv[1:]...).Run() }); err != nil {
			t.Fatal(argv, err)
		}
	}
	return do
}

// internetV6 gives the two addresses of IPv6 too: 2001:db8::1 is the host.
func internetV6(t *testing.T, do func(f func() error) error) {
	t.Helper()
	run(t, "ip", "address", "add", "2001:db8::1/64", "dev", "lan", "nodad")
	for _, argv := range [][]string{{"ip", "address", "add", "2001:db8::2/64", "dev", "lan", "nodad"}, {"ip", "route", "add", "default", "via", "2001:db8::1"}} {
		if err := do(func() error { return exec.Command(argv[0], argv[1:]...).Run() }); err != nil {
			t.Fatal(argv, err)
		}
	}
}

func forwardingV6(t *testing.T, on string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte(on), 0); err != nil {
		t.Fatal(err)
	}
}

func forwarding(t *testing.T, on string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte(on), 0); err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// edge has a network ACL judge both directions of what goes out, and of a client that
// comes from outside, whose connection is the switch's own.
func (h *host) edge(t *testing.T, in *nettest.Guest, there netip.AddrPort, do func(func() error) error) {
	t.Helper()
	entry := func(from, to uint16) []network.ACLEntry {
		return []network.ACLEntry{{Number: 1, Allow: true, Rule: network.Rule{Protocol: "tcp", FromPort: from, ToPort: to, Peers: []netip.Prefix{netip.PrefixFrom(there.Addr(), 24).Masked()}}}}
	}
	set := func(acl *network.ACL) {
		h.config.VPCs[0].Subnets[0].ACL = acl
		h.apply(t)
	}
	reaches := func(what string, want bool) {
		t.Helper()
		wait := 5 * time.Second
		if !want {
			wait = 300 * time.Millisecond
		}
		c, err := in.DialTCP(within(t, wait), there)
		if (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
		if err == nil {
			c.Close()
		}
	}
	set(&network.ACL{ID: "acl-out", Egress: entry(80, 80)})
	reaches("with answers denied", false)
	set(&network.ACL{ID: "acl-in", Ingress: entry(1024, 65535)})
	reaches("with requests denied", false)
	set(&network.ACL{ID: "acl-both", Egress: entry(80, 80), Ingress: entry(1024, 65535)})
	reaches("with both allowed", true)

	h.config.Ports[0].PublicIP = netip.MustParseAddr("192.0.2.1")
	h.config.Ports[0].Ingress = append(slices.Clone(h.config.Ports[0].Ingress), network.Rule{Protocol: "tcp", FromPort: 18080, ToPort: 18080, Peers: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}})
	web := &network.ACL{ID: "acl-web", Ingress: entry(18080, 18080), Egress: entry(1024, 65535)}
	set(web)
	go nettest.Echo(in.ListenTCP(t, 18080))
	var client net.Conn
	if err := do(func() (err error) { client, err = net.DialTimeout("tcp", "192.0.2.1:18080", 5*time.Second); return err }); err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := nettest.RoundTrip(client, []byte("hello")); err != nil {
		t.Error(err)
	}
	for what, acl := range map[string]*network.ACL{"requests": {ID: "acl-x", Egress: web.Egress}, "answers": {ID: "acl-y", Ingress: web.Ingress}} {
		set(acl)
		_ = client.SetDeadline(time.Now().Add(300 * time.Millisecond))
		if err := nettest.RoundTrip(client, []byte("still?")); err == nil {
			t.Errorf("an open connection goes on with %s denied", what)
		}
	}
	h.config.Ports[0].PublicIP, h.config.Ports[0].Ingress = netip.Addr{}, h.config.Ports[0].Ingress[:len(h.config.Ports[0].Ingress)-1]
	set(nil)
}

// TestOutside: who has a route reaches the outside under the host's address, with
// all protocols; nobody reaches the host, another VPC or a guest from outside.
func TestOutside(t *testing.T) {
	do := internet(t)
	forwarding(t, "1")
	h := newHost(t)
	h.vpc("vpc-1", 9001, 2) // more than the way outside takes at once
	h.vpc("vpc-2", 1500, 1)
	everywhere := []network.Route{{CIDR: netip.MustParsePrefix("0.0.0.0/0")}}
	h.config.Ports[0].Routes = append(everywhere, network.Route{CIDR: netip.MustParsePrefix("198.51.100.0/24"), Blackhole: true})
	h.config.Ports[2].Routes = everywhere
	h.apply(t)
	in, alone, other := h.guest(t, 0), h.guest(t, 1), h.guest(t, 2)

	peers := make(chan string, 10)
	var outside net.Listener
	if err := do(func() (err error) { outside, err = net.Listen("tcp", "192.0.2.2:80"); return err }); err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	go func() {
		for {
			c, err := outside.Accept()
			if err != nil {
				return
			}
			peers <- c.RemoteAddr().(*net.TCPAddr).IP.String()
			go func() { defer c.Close(); _, _ = io.Copy(c, struct{ io.Reader }{c}) }()
		}
	}()
	there := netip.MustParseAddrPort("192.0.2.2:80")
	for _, g := range []*nettest.Guest{in, other} {
		c, err := g.DialTCP(within(t, 5*time.Second), there)
		if err != nil {
			t.Fatalf("%s does not reach the outside: %v", g.MAC, err)
		}
		if err := nettest.RoundTrip(c, bytes.Repeat([]byte("out"), 200_000)); err != nil {
			t.Error(err)
		}
		c.Close()
		if peer := <-peers; peer != "192.0.2.1" {
			t.Errorf("the outside sees %s", peer)
		}
	}
	gw := in.ARP(t, netip.MustParseAddr("10.0.1.1"), 5*time.Second)
	if !in.Ping(t, gw, there.Addr(), 5*time.Second) {
		t.Error("no ping of the outside")
	}
	if _, err := alone.DialTCP(within(t, 300*time.Millisecond), there); err == nil {
		t.Error("a guest without a route reached the outside")
	}
	h.edge(t, in, there, do)

	// The host, by all addresses that it has, and what a host listens on.
	l, err := net.Listen("tcp", "0.0.0.0:81")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hosts := []string{"192.0.2.1", "127.0.0.1", "198.51.100.1"}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	uplinks := 0
	for _, a := range addresses {
		if ip := a.(*net.IPNet).IP; ip.IsLinkLocalUnicast() && ip.To4() != nil {
			uplinks++
			hosts = append(hosts, ip.String(), mustAddr(ip).Next().String())
		}
	}
	if uplinks != 2 {
		t.Errorf("%d uplinks have an address, want 2", uplinks)
	}
	for _, a := range hosts {
		if c, err := in.DialTCP(within(t, 200*time.Millisecond), netip.MustParseAddrPort(a+":81")); err == nil {
			c.Close()
			t.Errorf("a guest reached %s", a)
		}
	}
	// From outside, by a route to the uplinks.
	go func() {
		l := in.ListenTCP(t, 82)
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
		}
	}()
	for _, a := range hosts[3:] {
		err := do(func() error {
			c, err := net.DialTimeout("tcp", a+":82", 200*time.Millisecond)
			if err == nil {
				c.Close()
			}
			return err
		})
		if err == nil {
			t.Errorf("%s was reached from outside", a)
		}
	}

	if p := h.status(t, 0).Problems["internet"]; p != "" {
		t.Errorf("a problem with nothing wrong: %s", p)
	}
	forwarding(t, "0")
	if p := h.status(t, 0).Problems["internet"]; !strings.Contains(p, "ip_forward=1") {
		t.Errorf("without forwarding: %q", p)
	}
	h.config.Ports[0].Routes, h.config.Ports[2].Routes = nil, nil
	h.apply(t)
	if list, _ := net.Interfaces(); len(list) != 2 { // lo, lan
		t.Errorf("uplinks that nobody may use are left: %v", list)
	}
}

// TestOutsideV6: the same by IPv6, and by IPv6 alone.
func TestOutsideV6(t *testing.T) {
	do := internet(t)
	internetV6(t, do)
	forwardingV6(t, "1")
	t.Cleanup(func() { forwardingV6(t, "0") })
	h := newHost(t)
	for i, id := range []string{"vpc-1", "vpc-2"} {
		h.vpc(id, 1500, 2)
		v6 := netip.MustParsePrefix(fmt.Sprintf("fd12:0:0:%x00::/56", i+1))
		h.config.VPCs[i].CIDRv6, h.config.VPCs[i].Subnets[0].CIDRv6 = v6, netip.PrefixFrom(v6.Addr(), 64)
		for k := range 2 {
			a := v6.Addr().As16()
			a[15] = byte(0x10 + k)
			h.config.Ports[2*i+k].IPv6 = []netip.Addr{netip.AddrFrom16(a)}
			h.config.Ports[2*i+k].Egress = []network.Rule{{Protocol: "-1", Peers: []netip.Prefix{netip.MustParsePrefix("::/0")}}}
		}
	}
	everywhere := []network.Route{{CIDR: netip.MustParsePrefix("::/0")}}
	h.config.Ports[0].Routes, h.config.Ports[2].Routes = everywhere, everywhere
	h.apply(t)
	guest := func(i int) *nettest.Guest {
		g := h.guest(t, i)
		g.LeaseV6(t)
		return g
	}
	in, alone, other := guest(0), guest(1), guest(2)

	peers := make(chan string, 10)
	var outside net.Listener
	if err := do(func() (err error) { outside, err = net.Listen("tcp", "[2001:db8::2]:80"); return err }); err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	go func() {
		for {
			c, err := outside.Accept()
			if err != nil {
				return
			}
			peers <- c.RemoteAddr().(*net.TCPAddr).IP.String()
			go func() { defer c.Close(); _, _ = io.Copy(c, struct{ io.Reader }{c}) }()
		}
	}()
	there := netip.MustParseAddrPort("[2001:db8::2]:80")
	for _, g := range []*nettest.Guest{in, other} {
		c, err := g.DialTCP(within(t, 5*time.Second), there)
		if err != nil {
			t.Fatalf("%s does not reach the outside: %v", g.MAC, err)
		}
		if err := nettest.RoundTrip(c, bytes.Repeat([]byte("out"), 200_000)); err != nil {
			t.Error(err)
		}
		c.Close()
		if peer := <-peers; peer != "2001:db8::1" {
			t.Errorf("the outside sees %s", peer)
		}
	}
	if _, err := alone.DialTCP(within(t, 300*time.Millisecond), there); err == nil {
		t.Error("a guest without a route reached the outside")
	}
	l, err := net.Listen("tcp", "[::]:81")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hosts := []string{"2001:db8::1", "::1", "fd12:0:0:200::10"}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip := a.(*net.IPNet).IP; ip.To4() == nil && ip.IsPrivate() {
			own, _ := netip.AddrFromSlice(ip)
			hosts = append(hosts, own.String(), own.Next().String())
		}
	}
	if len(hosts) != 3+2*2 {
		t.Errorf("the uplinks have the addresses %v", hosts[3:])
	}
	for _, a := range hosts {
		if c, err := in.DialTCP(within(t, 200*time.Millisecond), netip.AddrPortFrom(netip.MustParseAddr(a), 81)); err == nil {
			c.Close()
			t.Errorf("a guest reached %s", a)
		}
	}
	if p := h.status(t, 0).Problems["internet by IPv6"]; p != "" {
		t.Errorf("a problem with nothing wrong: %s", p)
	}
	forwardingV6(t, "0")
	if p := h.status(t, 0).Problems["internet by IPv6"]; !strings.Contains(p, "forwarding=1") {
		t.Errorf("without forwarding: %q", p)
	}
	h.config.Ports[0].Routes, h.config.Ports[2].Routes = nil, nil
	h.apply(t)
	if list, _ := net.Interfaces(); len(list) != 2 { // lo, lan
		t.Errorf("uplinks that nobody may use are left: %v", list)
	}
}

func mustAddr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip.To4())
	return a
}

// TestSwitchIsReplaced: packets between guests pass while no switch runs and while
// a new one takes over, none is lost.
func TestSwitchIsReplaced(t *testing.T) {
	h := newHost(t)
	h.vpc("vpc-1", 9001, 2)
	h.apply(t)
	a, b := h.guest(t, 0), h.guest(t, 1)
	from, to := a.UDP(t, 500), b.UDP(t, 500)
	const datagrams = 1500
	lost := make(chan int, 1)
	go func() {
		buf := make([]byte, 10_000)
		got := 0
		for got < datagrams {
			_ = to.SetReadDeadline(time.Now().Add(2 * time.Second))
			n, _, err := to.ReadFrom(buf)
			if err != nil {
				break
			}
			if n != 8900 {
				t.Errorf("a datagram of %d bytes arrived", n)
			}
			got++
		}
		lost <- datagrams - got
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range datagrams {
			_, _ = from.WriteTo(make([]byte, 8900), &net.UDPAddr{IP: b.IP.AsSlice(), Port: 500})
			time.Sleep(time.Millisecond)
		}
	}()
	spoofed := h.status(t, 0).Spoofed
	if err := a.Send(nettest.UDPFrame(a.MAC, b.MAC, b.IP, a.IP, 1, 2, nil)); err != nil {
		t.Fatal(err)
	}
	h.kill(t)
	time.Sleep(300 * time.Millisecond)
	h.open(t)
	for range 3 {
		h.apply(t)
	}
	if n := h.status(t, 0).Spoofed; n != spoofed+1 {
		t.Errorf("%d forged frames are known, want %d", n, spoofed+1)
	}
	<-done
	// The switch is away for a fifth of them. A busy test may be late to take a few.
	if n := <-lost; n > datagrams/100 {
		t.Errorf("%d of %d datagrams were lost", n, datagrams)
	}
}

// kill ends the daemon's side and the switch, without warning.
func (h *host) kill(t *testing.T) {
	t.Helper()
	h.Close()
	out, err := exec.Command("pgrep", "-f", "switch "+h.options.ControlSocket).Output()
	if err != nil {
		t.Fatal("finding the switch: ", err)
	}
	run(t, "kill", "-9", strings.TrimSpace(string(out)))
}

// TestSweep: what a killed switch left is found by its name, taken away if nobody
// needs it, and others' things are not touched.
func TestSweep(t *testing.T) {
	h := newHost(t)
	h.vpc("vpc-1", 1500, 2)
	h.vpc("vpc-2", 1500, 1)
	for i := range h.config.Ports {
		h.config.Ports[i].Routes = []network.Route{{CIDR: netip.MustParsePrefix("0.0.0.0/0")}}
	}
	h.apply(t)
	foreign := filepath.Join(h.namespaces, "bundt-somebody-vpc-1")
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(h.namespaces, "bundt-hosttest-vpc-3") // the making of a namespace was interrupted
	if err := os.WriteFile(torn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.kill(t)
	if err := os.Remove(h.options.StateFile); err != nil {
		t.Fatal(err)
	}
	h.open(t)
	h.config.VPCs, h.config.Ports = h.config.VPCs[:1], h.config.Ports[:1]
	h.apply(t)
	entries, err := os.ReadDir(h.namespaces)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got, want := strings.Join(names, " "), "bundt-hosttest-vpc-1 bundt-somebody-vpc-1"; got != want {
		t.Errorf("namespaces are %s, want %s", got, want)
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	ours := 0
	for _, l := range links {
		if strings.HasPrefix(l.Name, "bhosttest") {
			ours++
		}
	}
	if ours != 1 {
		t.Errorf("%d uplinks are left, want 1", ours)
	}
	out, err := exec.Command("nsenter", "--net="+filepath.Join(h.namespaces, "bundt-hosttest-vpc-1"), "ip", "-br", "link").Output()
	if n := strings.Count(string(out), "tap"); err != nil || n != 1 {
		t.Errorf("%d taps are in the VPC, want 1: %s, %v", n, out, err)
	}
	out, err = exec.Command("nsenter", "--net="+filepath.Join(h.namespaces, "bundt-hosttest-vpc-1"), "cat", "/proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream").Output()
	if strings.TrimSpace(string(out)) != "180" {
		t.Errorf("UDP streams live for %s s, %v", out, err)
	}
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	h.guest(t, 0)
}

// TestFlowsOfOneGuest: a guest that begins flows without end takes none from others.
func TestFlowsOfOneGuest(t *testing.T) {
	h := newHost(t)
	h.vpc("vpc-1", 1500, 3)
	h.apply(t)
	flooder, target, other := h.guest(t, 0), h.guest(t, 1), h.guest(t, 2)
	gw := flooder.ARP(t, netip.MustParseAddr("10.0.1.1"), 10*time.Second)
	tap := target.Tap(t)
	got := make(chan string, 100)
	go func() {
		for f := range tap {
			if text := string(f[min(42, len(f)):]); strings.HasPrefix(text, "flow") || strings.HasPrefix(text, "other") {
				got <- text
			}
		}
	}()
	send := func(g *nettest.Guest, sport uint16, text string) {
		t.Helper()
		if err := g.Send(nettest.UDPFrame(g.MAC, gw, g.IP, target.IP, sport, 7, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	// A flow that is answered is known from then on.
	send(flooder, 900, "flow that is known")
	if text := <-got; text != "flow that is known" {
		t.Fatalf("%q arrived", text)
	}
	if err := target.Send(nettest.UDPFrame(target.MAC, gw, target.IP, flooder.IP, 7, 900, []byte("answer"))); err != nil {
		t.Fatal(err)
	}
	for i := range 9000 {
		send(flooder, uint16(1000+i), "x")
	}
	want := map[string]bool{"flow that is known": true, "other guest's": true}
	for end := time.After(10 * time.Second); len(want) > 0; {
		// Again and again: who is flooded loses frames.
		send(flooder, 60000, "flow too many")
		send(flooder, 900, "flow that is known")
		send(other, 60000, "other guest's")
		select {
		case <-time.After(50 * time.Millisecond):
		case text := <-got:
			if text == "flow too many" {
				t.Error("a guest begins more flows than it may have")
			}
			delete(want, text)
		case <-end:
			t.Fatalf("did not arrive: %v", want)
		}
	}
	// A change of rules does not begin the count anew.
	h.config.Ports[2].Ingress = append(slices.Clone(h.config.Ports[2].Ingress), network.Rule{Protocol: "tcp", FromPort: 9, ToPort: 9, Peers: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	h.apply(t)
	for end := time.After(500 * time.Millisecond); ; {
		send(flooder, 60001, "flow too many")
		select {
		case <-time.After(50 * time.Millisecond):
		case text := <-got:
			if text == "flow too many" {
				t.Error("after a change of rules a guest begins more flows than it may have")
			}
		case <-end:
			return
		}
	}
}
