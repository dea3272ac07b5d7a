package user

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/gateway"
)

var (
	guestAddr = mapped([]byte{10, 0, 1, 10})
	peerAddr  = mapped([]byte{10, 0, 1, 11})
)

// segment is a packet that the guest sends, or gets if inbound.
func segment(inbound bool, proto byte, flags byte) *packet {
	p := &packet{proto: proto, src: guestAddr, dst: peerAddr, sport: 1000, dport: 80, flags: flags, b: make([]byte, 40), headerLen: 20}
	if inbound {
		p.src, p.dst, p.sport, p.dport = p.dst, p.src, p.dport, p.sport
	}
	return p
}

// rulesOf compiles what one port allows.
func rulesOf(t *testing.T, in ...network.Rule) gateway.Rules {
	t.Helper()
	plan, err := gateway.NewPlan(network.Config{
		VPCs: []network.VPC{{ID: "vpc-1", CIDR: netip.MustParsePrefix("10.0.0.0/16"), Subnets: []network.Subnet{{ID: "subnet-1", CIDR: netip.MustParsePrefix("10.0.1.0/24")}}}},
		Ports: []network.Port{{
			ID: "eni-1", VPCID: "vpc-1", SubnetID: "subnet-1", MAC: "0a:00:00:00:00:01", PrivateIP: netip.MustParseAddr("10.0.1.10"), Ingress: in,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan.Ports["eni-1"].In
}

// A flow lives as long as EC2's connection tracking has it, by the state that it
// is in; when it has gone, answers are judged as what begins a flow.
func TestFlowLives(t *testing.T) {
	type step struct {
		inbound bool
		flags   byte
	}
	const proto = protoTCP
	out, in := false, true
	for _, c := range []struct {
		name  string
		proto byte
		steps []step
		life  time.Duration
	}{
		{"TCP opening", proto, []step{{out, tcpSYN}}, 60 * time.Second},
		{"TCP opening, retried", proto, []step{{out, tcpSYN}, {out, tcpSYN}}, 60 * time.Second},
		{"TCP answered", proto, []step{{out, tcpSYN}, {in, tcpSYN | tcpACK}}, 5 * 24 * time.Hour},
		{"TCP half closed", proto, []step{{out, tcpSYN}, {in, tcpSYN | tcpACK}, {out, tcpFIN | tcpACK}}, 5 * 24 * time.Hour},
		{"TCP closed", proto, []step{{out, tcpSYN}, {in, tcpSYN | tcpACK}, {out, tcpFIN | tcpACK}, {in, tcpFIN | tcpACK}}, 10 * time.Second},
		{"TCP reset", proto, []step{{out, tcpSYN}, {in, tcpRST | tcpACK}}, 10 * time.Second},
		{"UDP once", protoUDP, []step{{out, 0}}, 30 * time.Second},
		{"UDP twice", protoUDP, []step{{out, 0}, {out, 0}}, 30 * time.Second},
		{"UDP answered", protoUDP, []step{{out, 0}, {in, 0}}, 180 * time.Second},
		{"ICMP", protoICMP, []step{{out, 0}}, 30 * time.Second},
		{"another protocol", 47, []step{{out, 0}, {in, 0}}, 180 * time.Second},
	} {
		for _, late := range []bool{false, true} {
			table := newFlowTable()
			for _, s := range c.steps {
				if !table.admit(segment(s.inbound, c.proto, s.flags), s.inbound, nil, false) {
					t.Fatalf("%s: a step was refused", c.name)
				}
			}
			wait := c.life - time.Second
			if late {
				wait = c.life + time.Second
			}
			table.start = table.start.Add(-wait) // the clock goes on
			if got := table.admit(segment(in, c.proto, tcpACK), in, nil, true); got == late {
				t.Errorf("%s: an answer after %s passes: %v", c.name, wait, got)
			}
			table.sweep()
			if late && len(table.flows) != 0 {
				t.Errorf("%s: %d flows are left after their life", c.name, len(table.flows))
			}
		}
	}
}

// Ports that are used again after a connection's end are judged anew.
func TestFlowReuse(t *testing.T) {
	allow := rulesOf(t, network.Rule{Protocol: "tcp", FromPort: 1000, ToPort: 1000, Peers: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}})
	table := newFlowTable()
	syn := segment(true, protoTCP, tcpSYN)
	if !table.admit(syn, true, allow, true) || !table.admit(segment(false, protoTCP, tcpSYN|tcpACK), false, nil, true) {
		t.Fatal("the connection does not open")
	}
	if !table.admit(syn, true, nil, true) {
		t.Error("a repeated SYN of a living connection was judged")
	}
	table.admit(segment(false, protoTCP, tcpRST), false, nil, true)
	if table.admit(syn, true, nil, true) {
		t.Error("a SYN after the end passed without a rule")
	}
	if !table.admit(syn, true, allow, true) {
		t.Error("a SYN after the end did not pass its rule")
	}
}

// A guest that begins flows without end fills its table and no more, and loses
// none that is established.
func TestFlowFlood(t *testing.T) {
	table := newFlowTable()
	table.admit(segment(false, protoTCP, tcpSYN), false, nil, false)
	table.admit(segment(true, protoTCP, tcpSYN|tcpACK), true, nil, false)
	for i := range 4 * maxFlows {
		p := segment(false, protoUDP, 0)
		p.sport, p.dport = uint16(i), uint16(i>>16)+1
		table.admit(p, false, nil, false)
	}
	if len(table.flows) > maxFlows {
		t.Errorf("there are %d flows", len(table.flows))
	}
	if !table.admit(segment(true, protoTCP, tcpACK), true, nil, true) {
		t.Error("the established connection was forgotten")
	}
	for i := range 4 * maxFragments {
		p := segment(false, protoUDP, 0)
		p.id, p.more = uint32(i), true
		table.admit(p, false, nil, false)
	}
	if len(table.fragments) > maxFragments {
		t.Errorf("there are %d datagrams in pieces", len(table.fragments))
	}
}

// Errors pass if they speak of a packet of a known flow, of IPv4 and IPv6.
func TestFlowErrors(t *testing.T) {
	table := newFlowTable()
	table.admit(segment(false, protoUDP, 0), false, nil, false)
	v6 := func(n byte) (a address) { a[0], a[15] = 0xfd, n; return a }
	sent := &packet{v6: true, proto: protoUDP, src: v6(10), dst: v6(11), sport: 1000, dport: 80, b: make([]byte, 48), headerLen: 40}
	table.admit(sent, false, nil, false)
	quote4 := func(dport uint16) []byte {
		q := make([]byte, 28)
		q[0], q[9] = 0x45, protoUDP
		copy(q[12:], guestAddr[12:])
		copy(q[16:], peerAddr[12:])
		binary.BigEndian.PutUint16(q[20:], 1000)
		binary.BigEndian.PutUint16(q[22:], dport)
		return q
	}
	quote6 := func(dport uint16) []byte {
		q := make([]byte, 48)
		q[0], q[6] = 0x60, protoUDP
		copy(q[8:], sent.src[:])
		copy(q[24:], sent.dst[:])
		binary.BigEndian.PutUint16(q[40:], 1000)
		binary.BigEndian.PutUint16(q[42:], dport)
		return q
	}
	router := mapped([]byte{10, 0, 1, 1})
	for _, c := range []struct {
		name  string
		proto byte
		typ   byte
		quote []byte
		want  bool
	}{
		{"unreachable", protoICMP, 3, quote4(80), true},
		{"of another flow", protoICMP, 3, quote4(81), false},
		{"a redirect", protoICMP, 5, quote4(80), false},
		{"cut short", protoICMP, 3, quote4(80)[:27], false},
		{"IPv6 too big", protoICMPv6, 2, quote6(80), true},
		{"IPv6 of another flow", protoICMPv6, 2, quote6(81), false},
		{"IPv6 cut short", protoICMPv6, 1, quote6(80)[:47], false},
	} {
		p := &packet{v6: c.proto == protoICMPv6, proto: c.proto, src: router, dst: guestAddr, headerLen: 0, b: append([]byte{c.typ, 0, 0, 0, 0, 0, 0, 0}, c.quote...)}
		if got := table.admit(p, true, nil, true); got != c.want {
			t.Errorf("%s passes: %v", c.name, got)
		}
	}
}
