package nettest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/bundt/bundt/pkg/network"
)

// The matrix sends packets of every kind between all guests of two VPCs with the
// same ranges, under rules made at random, and compares who received what with
// an oracle: its own few lines on what EC2's security groups and network ACLs mean.
// The oracle reads matrixRule, the datapath the network.Rule that is made of it.

const (
	matrixRounds = 4
	matrixGuests = 4 // of a VPC
	matrixGroups = 3
	sentinelPort = 9999 // always open, to know when all before has arrived
	markerSize   = 8
)

// matrixRule allows a protocol (0: all) with one peer: a prefix, or a group.
type matrixRule struct {
	proto    byte
	from, to uint16 // of TCP and UDP
	typ      int    // of ICMP, -1 for all
	peer     netip.Prefix
	group    int // -1 for none
}

func (r *matrixRule) network() network.Rule {
	out := network.Rule{Protocol: fmt.Sprint(r.proto), FromPort: r.from, ToPort: r.to}
	switch r.proto {
	case 0:
		out.Protocol = "-1"
	case 1:
		out.Protocol = "icmp"
	case 6:
		out.Protocol = "tcp"
	case 17:
		out.Protocol = "udp"
	case 58:
		out.Protocol = "icmpv6"
	}
	if (r.proto == 1 || r.proto == 58) && r.typ >= 0 {
		t := uint8(r.typ)
		out.ICMPType = &t
	}
	if r.group >= 0 {
		out.Group = fmt.Sprintf("sg-%d", r.group)
	} else {
		out.Peers = []netip.Prefix{r.peer}
	}
	return out
}

// member is a guest of the matrix.
type member struct {
	*Guest
	vpc     int
	v4, v6  netip.Addr
	groups  []int // that it is in, of its VPC
	in, out []matrixRule
	gateway net.HardwareAddr
	links   map[netip.Addr]net.HardwareAddr
	got     *receipts
}

// probe is one packet: a cell of the matrix.
type probe struct {
	id           uint32
	from, to     *member
	v6           bool
	proto        byte
	sport, dport uint16 // of ICMP: identifier and type
	reply        bool
}

func (p *probe) String() string {
	return fmt.Sprintf("%s -> %s, protocol %d, ports %d and %d, reply %v", p.from.address(p.v6), p.to.address(p.v6), p.proto, p.sport, p.dport, p.reply)
}

func (m *member) address(v6 bool) netip.Addr {
	if v6 {
		return m.v6
	}
	return m.v4
}

// receipts are the probes that a guest received.
type receipts struct {
	mu   sync.Mutex
	seen map[uint32]int
	last time.Time
}

// watch notes the probes among the frames. Errors that quote one are of another
// protocol or type than it.
func (r *receipts) watch(frames <-chan []byte, stop <-chan struct{}, find func(id uint32) *probe) {
	for {
		var f []byte
		select {
		case <-stop:
			return
		case f = <-frames:
		}
		if len(f) < 14+20+markerSize {
			continue
		}
		tail := f[len(f)-markerSize:]
		if string(tail[:4]) != "cell" {
			continue
		}
		id := binary.BigEndian.Uint32(tail[4:])
		proto, transport := f[23], 34
		if f[12] == 0x86 {
			proto, transport = f[20], 54
		}
		p := find(id)
		if p == nil || p.proto != proto || ((proto == 1 || proto == 58) && uint16(f[transport]) != p.dport) {
			continue
		}
		r.mu.Lock()
		r.seen[id]++
		r.last = time.Now()
		r.mu.Unlock()
	}
}

func (r *receipts) count(id uint32) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[id]
}

// frame is the probe's, with its number at the end.
func (p *probe) frame() []byte {
	src, dst := p.from.address(p.v6), p.to.address(p.v6)
	marker := binary.BigEndian.AppendUint32([]byte("cell"), p.id)
	via := p.from.gateway
	if hw := p.from.links[dst]; hw != nil {
		via = hw
	}
	make, udp := IPv4Frame, UDPFrame
	if p.v6 {
		make, udp = IPv6Frame, UDPv6Frame
	}
	switch p.proto {
	case 17:
		return udp(p.from.MAC, via, src, dst, p.sport, p.dport, marker)
	case 6:
		return make(p.from.MAC, via, src, dst, 6, p.segment(src, dst, marker))
	case 1:
		m := header.ICMPv4(p.message(marker))
		m.SetChecksum(header.ICMPv4Checksum(m, 0))
		return make(p.from.MAC, via, src, dst, 1, m)
	case 58:
		return ICMPv6Frame(p.from.MAC, via, src, dst, p.message(marker), byte(p.dport))
	}
	return make(p.from.MAC, via, src, dst, p.proto, marker)
}

func (p *probe) message(marker []byte) []byte {
	m := append([]byte{byte(p.dport), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, marker...)
	binary.BigEndian.PutUint16(m[4:], p.sport)
	return m
}

// segment is TCP's: a SYN, or what answers one.
func (p *probe) segment(src, dst netip.Addr, marker []byte) []byte {
	flags := header.TCPFlagSyn
	if p.reply {
		flags |= header.TCPFlagAck
	}
	b := header.TCP(make([]byte, header.TCPMinimumSize+len(marker)))
	b.Encode(&header.TCPFields{SrcPort: p.sport, DstPort: p.dport, SeqNum: p.id, AckNum: 1, DataOffset: header.TCPMinimumSize, Flags: flags, WindowSize: 1000})
	copy(b.Payload(), marker)
	sum := header.PseudoHeaderChecksum(6, tcpip.AddrFromSlice(src.AsSlice()), tcpip.AddrFromSlice(dst.AsSlice()), uint16(len(b)))
	b.SetChecksum(^b.CalculateChecksum(checksum.Checksum(marker, sum)))
	return b
}

// oracle says what security groups let through. It keeps the flows that each
// guest's groups have let begin, as connection tracking does.
type oracle struct {
	guests []*member
	acls   map[[2]int]*matrixACL // by VPC and subnet
	flows  map[*member]map[string]bool
	// strict: a flow that the other end refuses is remembered at neither, and
	// what looks like an answer begins none, whatever the rules say.
	strict bool
}

// flow names a flow at a guest, the same for both directions.
func flow(local, remote netip.Addr, proto byte, lport, rport uint16) string {
	if proto != 6 && proto != 17 && proto != 1 && proto != 58 {
		lport, rport = 0, 0
	}
	return fmt.Sprint(local, remote, proto, lport, rport)
}

// ports are the probe's as the flow at its source has them.
func (p *probe) ports() (uint16, uint16) {
	if p.proto == 1 || p.proto == 58 {
		return p.sport, p.sport // the identifier
	}
	return p.sport, p.dport
}

// matrixACL is a subnet's network ACL.
type matrixACL struct{ in, out []matrixEntry }

type matrixEntry struct {
	matrixRule
	allow bool
}

// cross says if network ACLs let a packet from one subnet into another.
func (o *oracle) cross(p *probe) bool {
	from, to := p.from.subnet(), p.to.subnet()
	if from == to {
		return true
	}
	first := func(entries []matrixEntry, peer netip.Addr) bool {
		for _, e := range entries {
			if e.fits(p) && e.peer.Contains(peer) {
				return e.allow
			}
		}
		return false
	}
	a, b := o.acls[from], o.acls[to]
	return (a == nil || first(a.out, p.to.address(p.v6))) && (b == nil || first(b.in, p.from.address(p.v6)))
}

// subnet is where a guest is: the number of its VPC, and that of the subnet in it.
func (m *member) subnet() [2]int { return [2]int{m.vpc, int(m.v4.As4()[2]) - 1} }

func (r *matrixRule) fits(p *probe) bool {
	switch {
	case r.proto == 0:
		return true
	case r.proto != p.proto:
		return false
	case r.proto == 6 || r.proto == 17:
		return r.from <= p.dport && p.dport <= r.to
	}
	return (r.proto != 1 && r.proto != 58) || r.typ < 0 || uint16(r.typ) == p.dport
}

func (o *oracle) allows(rules []matrixRule, vpc int, p *probe, peer netip.Addr) bool {
	for _, r := range rules {
		switch {
		case !r.fits(p):
		case r.group < 0 && r.peer.Contains(peer):
			return true
		case r.group >= 0 && slices.ContainsFunc(o.guests, func(m *member) bool {
			return m.vpc == vpc && slices.Contains(m.groups, r.group) && (m.v4 == peer || m.v6 == peer)
		}):
			return true
		}
	}
	return false
}

// passes says if the probe arrives, and notes what it leaves behind.
func (o *oracle) passes(p *probe) bool {
	if p.from.vpc != p.to.vpc || !o.cross(p) {
		return false
	}
	src, dst := p.from.address(p.v6), p.to.address(p.v6)
	a, b := p.ports()
	out, in := flow(src, dst, p.proto, a, b), flow(dst, src, p.proto, b, a)
	if o.strict && p.reply && p.proto < 100 && p.proto != 17 && !o.flows[p.from][out] {
		return false
	}
	if !o.flows[p.from][out] && !o.allows(p.from.out, p.from.vpc, p, dst) {
		return false
	}
	ok := o.flows[p.to][in] || o.allows(p.to.in, p.to.vpc, p, src)
	if ok || !o.strict {
		o.flows[p.from][out] = true
	}
	if ok {
		o.flows[p.to][in] = true
	}
	return ok
}

// matrix is one run.
type matrix struct {
	*lab
	random *rand.Rand
	guests []*member
	oracle oracle

	mu     sync.Mutex
	probes map[uint32]*probe
	next   uint32
}

func testMatrix(t *testing.T, n *lab) {
	seed := uint64(20261126)
	m := &matrix{lab: n, random: rand.New(rand.NewPCG(seed, seed)), probes: map[uint32]*probe{}}
	m.build(t)
	cells := 0
	for round := range matrixRounds {
		m.rules()
		m.configure()
		n.apply(t)
		sent := m.round(round)
		for _, p := range sent {
			m.send(t, p, round)
		}
		m.settle(t)
		for _, p := range sent { // answers, or what looks like them
			m.send(t, m.answer(p), round)
		}
		m.settle(t)
		cells += m.compare(t, round)
		if t.Failed() {
			t.Fatalf("seed %d, round %d", seed, round)
		}
	}
	t.Logf("%d cells", cells)
	if cells < 2000 {
		t.Errorf("only %d cells", cells)
	}
}

// build makes two VPCs of the same ranges, whose guests have addresses of their
// own in them, two in each subnet.
func (m *matrix) build(t *testing.T) {
	for v, id := range []string{"vpc-1", "vpc-2"} {
		m.vpc(id)
		for k := range matrixGuests {
			m.port(id, fmt.Sprintf("10.0.%d.%d", 1+k%2, 10+20*v+k))
		}
		if !m.NoIPv6 {
			m.ipv6(v)
		}
	}
	m.config.Groups = map[string][]netip.Addr{}
	for i := range m.config.Ports {
		p := &m.config.Ports[i]
		p.Routes = nil
		g := &member{vpc: i / matrixGuests, v4: p.PrivateIP, links: map[netip.Addr]net.HardwareAddr{}, got: &receipts{seen: map[uint32]int{}}}
		if !m.NoIPv6 {
			g.v6 = p.IPv6[0]
		}
		m.guests = append(m.guests, g)
	}
	m.oracle = oracle{guests: m.guests, flows: map[*member]map[string]bool{}, strict: m.OneTracker}
	m.configure()
	m.apply(t)
	stop := make(chan struct{})
	for i, g := range m.guests {
		if g.Guest = m.guest(t, i); !m.NoIPv6 {
			g.LeaseV6(t)
		}
		m.oracle.flows[g] = map[string]bool{}
		go g.got.watch(g.Tap(t), stop, m.find)
	}
	t.Cleanup(func() { close(stop) })
	defer func() {
		for _, g := range m.guests {
			g.Deafen() // a reset or an unreachable port would end flows
		}
	}()
	for _, g := range m.guests {
		g.gateway = g.ARP(t, netip.AddrFrom4([4]byte{10, 0, g.v4.As4()[2], 1}), patience)
		for _, o := range m.guests {
			if o == g || o.vpc != g.vpc || o.v4.As4()[2] != g.v4.As4()[2] {
				continue
			}
			g.links[o.v4] = g.ARP(t, o.v4, patience)
			if !m.NoIPv6 {
				g.links[o.v6] = g.Neighbor(t, o.v6, patience)
			}
		}
	}
}

func (m *matrix) find(id uint32) *probe {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.probes[id]
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// rules gives every guest other groups and rules.
func (m *matrix) rules() {
	for _, g := range m.guests {
		g.groups = nil
		for k := range matrixGroups {
			if m.random.IntN(2) == 0 {
				g.groups = append(g.groups, k)
			}
		}
		g.in, g.out = nil, nil
		for range 3 + m.random.IntN(5) {
			g.in = append(g.in, m.rule(g.vpc))
		}
		for range 5 + m.random.IntN(8) {
			g.out = append(g.out, m.rule(g.vpc))
		}
	}
	m.oracle.acls = map[[2]int]*matrixACL{}
	for v := range m.config.VPCs {
		for s := range m.config.VPCs[v].Subnets {
			if m.random.IntN(4) > 0 {
				m.oracle.acls[[2]int{v, s}] = &matrixACL{in: m.entries(v), out: m.entries(v)}
			}
		}
	}
}

// entries are those of a network ACL in one direction, most of which allow.
func (m *matrix) entries(vpc int) (out []matrixEntry) {
	for range 4 + m.random.IntN(12) {
		r := m.rule(vpc)
		for r.group >= 0 {
			r = m.rule(vpc)
		}
		out = append(out, matrixEntry{r, m.random.IntN(3) > 0})
	}
	if m.random.IntN(2) == 0 {
		for _, peer := range []string{"0.0.0.0/0", "::/0"} {
			out = append(out, matrixEntry{matrixRule{peer: netip.MustParsePrefix(peer), typ: -1, group: -1}, true})
		}
	}
	return out
}

func (a *matrixACL) network(id string) *network.ACL {
	if a == nil {
		return nil
	}
	out := &network.ACL{ID: id}
	sentinel := network.ACLEntry{Number: 1, Allow: true, Rule: network.Rule{Protocol: "udp", FromPort: sentinelPort, ToPort: sentinelPort, Peers: anywhere}}
	for _, d := range []struct {
		from []matrixEntry
		to   *[]network.ACLEntry
	}{{a.in, &out.Ingress}, {a.out, &out.Egress}} {
		for i, e := range slices.Backward(d.from) { // their numbers count, not their order
			*d.to = append(*d.to, network.ACLEntry{Number: 10 * (i + 1), Allow: e.allow, Rule: e.network()})
		}
		*d.to = append(*d.to, sentinel)
	}
	return out
}

func (m *matrix) rule(vpc int) matrixRule {
	r := matrixRule{proto: pick[byte](m.random, 0, 6, 6, 6, 17, 17, 1, 58, 100), typ: -1, group: -1}
	switch r.proto {
	case 6, 17:
		r.from = pick[uint16](m.random, 22, 53, 80, 1)
		r.to = max(r.from, pick[uint16](m.random, 22, 53, 80, 8080, 65535))
	case 1:
		r.typ = pick(m.random, -1, 8, 13)
	case 58:
		r.typ = pick(m.random, -1, 128, 139)
	case 100:
		r.proto += byte(m.random.IntN(matrixRounds))
	}
	if m.random.IntN(3) == 0 {
		r.group = m.random.IntN(matrixGroups)
		return r
	}
	a := m.guests[vpc*matrixGuests+m.random.IntN(matrixGuests)].address(!m.NoIPv6 && m.random.IntN(2) == 0)
	bits := pick(m.random, a.BitLen(), a.BitLen()-8, 64, 16, 0)
	r.peer, _ = a.Prefix(min(bits, a.BitLen()))
	return r
}

// configure writes the rules into the datapath's configuration, and the sentinel's.
func (m *matrix) configure() {
	sentinel := network.Rule{Protocol: "udp", FromPort: sentinelPort, ToPort: sentinelPort, Peers: anywhere}
	m.config.Groups = map[string][]netip.Addr{}
	for v := range m.config.VPCs {
		for s := range m.config.VPCs[v].Subnets {
			sub := &m.config.VPCs[v].Subnets[s]
			sub.ACL = m.oracle.acls[[2]int{v, s}].network("acl-" + sub.ID)
		}
		for k := range matrixGroups {
			m.config.Groups[m.groupID(v, k)] = nil
		}
	}
	for i, g := range m.guests {
		p := &m.config.Ports[i]
		p.Ingress, p.Egress = []network.Rule{sentinel}, []network.Rule{sentinel}
		for _, r := range g.in {
			p.Ingress = append(p.Ingress, m.network(g.vpc, r))
		}
		for _, r := range g.out {
			p.Egress = append(p.Egress, m.network(g.vpc, r))
		}
		for _, k := range g.groups {
			id := m.groupID(g.vpc, k)
			m.config.Groups[id] = append(m.config.Groups[id], g.v4)
			if !m.NoIPv6 {
				m.config.Groups[id] = append(m.config.Groups[id], g.v6)
			}
		}
	}
}

func (m *matrix) groupID(vpc, k int) string { return fmt.Sprintf("sg-%d", vpc*matrixGroups+k) }

func (m *matrix) network(vpc int, r matrixRule) network.Rule {
	if r.group >= 0 {
		r.group += vpc * matrixGroups
	}
	return r.network()
}

// round is all pairs and kinds of packets, in any order.
func (m *matrix) round(round int) (out []*probe) {
	for i, from := range m.guests {
		for k, to := range m.guests {
			if from == to {
				continue
			}
			for _, v6 := range []bool{false, true} {
				if v6 && m.NoIPv6 {
					continue
				}
				icmp, types := byte(1), []uint16{8, 13}
				if v6 {
					icmp, types = 58, []uint16{128, 139}
				}
				for _, port := range []uint16{22, 53, 80, 8080} {
					out = append(out, &probe{from: from, to: to, v6: v6, proto: 6, dport: port}, &probe{from: from, to: to, v6: v6, proto: 17, dport: port})
				}
				for _, typ := range types {
					out = append(out, &probe{from: from, to: to, v6: v6, proto: icmp, dport: typ})
				}
				// Without ports a pair has one flow: a number of its own in each round, and
				// who of the two begins is certain.
				if i < k {
					out = append(out, &probe{from: from, to: to, v6: v6, proto: byte(100 + round)})
				}
			}
		}
	}
	m.random.Shuffle(len(out), func(i, k int) { out[i], out[k] = out[k], out[i] })
	return out
}

// answer is the packet of the other direction of a probe's flow.
func (m *matrix) answer(p *probe) *probe {
	a := &probe{from: p.to, to: p.from, v6: p.v6, proto: p.proto, sport: p.dport, dport: p.sport, reply: true}
	switch {
	case p.proto == 1 || p.proto == 58: // the same identifier, the type that answers
		a.sport, a.dport = p.sport, p.dport+1
		if p.dport == 8 {
			a.dport = 0
		}
	case p.proto >= 100:
		a.sport, a.dport = 0, 0
	}
	return a
}

// send numbers a probe and puts it on the wire.
func (m *matrix) send(t *testing.T, p *probe, round int) {
	t.Helper()
	m.mu.Lock()
	m.next++
	p.id = m.next
	if p.sport == 0 && p.proto < 100 {
		p.sport = uint16(20000 + p.id%40000) // no two flows have the same
	}
	m.probes[p.id] = p
	m.mu.Unlock()
	if err := p.from.Send(p.frame()); err != nil {
		t.Fatalf("round %d: %v", round, err)
	}
	if p.id%64 == 0 {
		m.settle(t) // no queue overflows
	}
}

// settle waits until everything sent so far has arrived, or never will.
func (m *matrix) settle(t *testing.T) {
	t.Helper()
	for _, from := range m.guests {
		for _, to := range m.guests {
			if from == to || from.vpc != to.vpc {
				continue
			}
			m.mu.Lock()
			m.next++
			p := &probe{id: m.next, from: from, to: to, proto: 17, sport: sentinelPort, dport: sentinelPort}
			m.probes[p.id] = p
			m.mu.Unlock()
			for end := time.Now().Add(patience); to.got.count(p.id) == 0; {
				if err := from.Send(p.frame()); err != nil {
					t.Fatal(err)
				}
				for wait := time.Now().Add(200 * time.Millisecond); to.got.count(p.id) == 0 && time.Now().Before(wait); {
					time.Sleep(200 * time.Microsecond)
				}
				if time.Now().After(end) {
					t.Fatalf("nothing gets from %s to %s", from.v4, to.v4)
				}
			}
		}
	}
}

// compare asks the oracle about all probes in the order in which they were sent,
// and returns how many there were.
func (m *matrix) compare(t *testing.T, round int) (cells int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wrong := 0
	for id := uint32(1); id <= m.next; id++ {
		p := m.probes[id]
		if p == nil || p.dport == sentinelPort {
			continue
		}
		cells++
		want := 0
		if m.oracle.passes(p) {
			want = 1
		}
		for _, g := range m.guests {
			expected := 0
			if g == p.to {
				expected = want
			}
			if got := g.got.count(id); got != expected && wrong < 20 {
				wrong++
				t.Errorf("round %d: %s: %s received it %d times, want %d", round, p, g.v4, got, expected)
			}
		}
	}
	clear(m.probes)
	return cells
}
