package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sort"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"

	api "github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/gateway"
)

const (
	filterTable = "bundt"
	// ownMark is on connections that the switch began in the VPC: with any
	// client's address, so that replies would not come back by the routes.
	ownMark = 1
	// uplinkDevice leads out of the VPC.
	uplinkDevice = "uplink"
)

// filter is everything that decides about packets of a VPC beyond who sent them.
type filter struct {
	names  []netip.Addr // where names are served
	own    []netip.Addr // all addresses of the VPC's services
	groups map[string][]netip.Addr
	ports  []filterPort
}

type filterPort struct {
	tap string
	*gateway.Port
}

// install makes the filter the VPC's, in the place of what it had, at once for
// each family. Connections that are tracked go on.
func (f *filter) install(ns *namespace) error {
	for _, fam := range families() {
		r, err := newRuleset(ns.file, fam.table, filterTable)
		if err != nil {
			return err
		}
		r.replace()
		f.fill(r, fam)
		if err := r.commit(); err != nil {
			return err
		}
	}
	return nil
}

// families are those that this kernel has.
func families() []*family {
	if hasIPv6() {
		return []*family{ipv4Family, ipv6Family}
	}
	return []*family{ipv4Family}
}

func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

func (f *filter) fill(r *ruleset, fam *family) {
	t := tallies{out: r.tally(refusedOut), in: r.tally(refusedIn)}
	acls := f.edges(r, fam, t)
	f.input(r, fam, acls)
	f.forward(r, fam, acls, t)
	if fam == ipv6Family {
		f.silence(r)
	} else {
		f.marks(r, fam, acls)
	}
	nat := r.hooked("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept)
	r.rule(nat, device(expr.MetaKeyOIFNAME, expr.CmpOpEq, uplinkDevice), []expr.Any{&expr.Masq{}})
}

// silence keeps the kernel's own neighbour discovery and multicast reports from
// guests: the switch speaks with them.
func (f *filter) silence(r *ruleset) {
	out := r.hooked("output", nftables.ChainTypeFilter, nftables.ChainHookOutput, *nftables.ChainPriorityFilter, nftables.ChainPolicyAccept)
	for _, types := range [][2]byte{{130, 137}, {143, 143}} {
		r.rule(out, protocol(expr.CmpOpEq, gateway.ICMPv6), transport(0, expr.CmpOpGte, types[0]), transport(0, expr.CmpOpLte, types[1]), verdict(expr.VerdictDrop))
	}
}

// marks lead replies to connections of the switch back to it.
func (f *filter) marks(r *ruleset, fam *family, acls *edges) {
	mark := nativeMark()
	if acls != nil {
		out := r.hooked("entering", nftables.ChainTypeFilter, nftables.ChainHookOutput, *nftables.ChainPriorityFilter, nftables.ChainPolicyAccept)
		r.rule(out, notIn(acls.own, fam.from(reg0)), byDevice(acls.entering, expr.MetaKeyOIFNAME))
	}
	out := r.hooked("output", nftables.ChainTypeFilter, nftables.ChainHookOutput, *nftables.ChainPriorityMangle, nftables.ChainPolicyAccept)
	r.rule(out, tracked(expr.CtStateBitNEW), []expr.Any{
		&expr.Immediate{Register: reg0, Data: mark}, &expr.Ct{Key: expr.CtKeyMARK, SourceRegister: true, Register: reg0},
	})
	pre := r.hooked("prerouting", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, *nftables.ChainPriorityMangle, nftables.ChainPolicyAccept)
	r.rule(pre, onMark(), []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg0}})
}

// onMark matches packets of the switch's own connections.
func onMark() []expr.Any {
	return []expr.Any{&expr.Ct{Key: expr.CtKeyMARK, Register: reg0}, compare(expr.CmpOpEq, reg0, nativeMark()...)}
}

// input is what guests may ask of their gateway.
func (f *filter) input(r *ruleset, fam *family, acls *edges) {
	accept := verdict(expr.VerdictAccept)
	c := r.hooked("input", nftables.ChainTypeFilter, nftables.ChainHookInput, *nftables.ChainPriorityFilter, nftables.ChainPolicyDrop)
	if acls != nil { // answers to clients beyond the VPC, whose connections are the switch's
		r.rule(c, onMark(), notIn(acls.own, fam.to(reg0)), byDevice(acls.leaving, expr.MetaKeyIIFNAME))
	}
	r.rule(c, tracked(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept)
	r.rule(c, device(expr.MetaKeyIIFNAME, expr.CmpOpEq, uplinkDevice), verdict(expr.VerdictDrop))
	r.rule(c, protocol(expr.CmpOpEq, fam.icmp), transport(0, expr.CmpOpEq, fam.echo), accept)
	if fam == ipv4Family {
		r.rule(c, protocol(expr.CmpOpEq, gateway.UDP), transport(2, expr.CmpOpEq, be16(dhcpServer)...), accept)
	}
	r.rule(c, protocol(expr.CmpOpEq, gateway.TCP), network(fam.destination, expr.CmpOpEq, fam.metadata.AsSlice()...),
		transport(2, expr.CmpOpEq, be16(metadataPort)...), accept)
	names := r.addresses(fam, "names", f.names)
	for _, proto := range []byte{gateway.UDP, gateway.TCP} {
		r.rule(c, protocol(expr.CmpOpEq, proto), transport(2, expr.CmpOpEq, be16(namesPort)...), in(names, fam.to(reg0)), accept)
	}
}

// forward is the way between guests: first what the sender may send, then what
// the receiver takes. Chains are shared by ports with the same rules.
func (f *filter) forward(r *ruleset, fam *family, acls *edges, t tallies) {
	c := r.hooked("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, *nftables.ChainPriorityFilter, nftables.ChainPolicyDrop)
	arrive, away := r.chain("arrive"), r.chain("away")
	groups := map[string]*nftables.Set{}
	for id, members := range f.groups {
		groups[id] = r.addresses(fam, "group-"+short(id), members)
	}
	chains := map[string]bool{}
	from, to, ways := map[string]*expr.Verdict{}, map[string]*expr.Verdict{}, map[string]*expr.Verdict{}
	to[uplinkDevice] = &expr.Verdict{Kind: expr.VerdictGoto, Chain: away.Name}
	add := func(device, kind string, what any, verdicts map[string]*expr.Verdict, build func(*nftables.Chain)) {
		name := kind + "-" + digest(what)
		verdicts[device] = &expr.Verdict{Kind: expr.VerdictGoto, Chain: name}
		if !chains[name] {
			chains[name] = true
			build(r.chain(name))
		}
	}
	for _, p := range f.ports {
		add(p.tap, "out", p.Egress, from, func(c *nftables.Chain) {
			admit(r, c, fam, p.Out, groups, fam.to, verdict(expr.VerdictGoto, arrive.Name))
			r.rule(c, count(t.out, expr.MetaKeyIIFNAME))
		})
		add(p.tap, "in", p.Ingress, to, func(c *nftables.Chain) {
			admit(r, c, fam, p.In, groups, fam.from, verdict(expr.VerdictAccept))
			r.rule(c, count(t.in, expr.MetaKeyOIFNAME))
		})
		add(p.tap, "way", p.Routes, ways, func(c *nftables.Chain) { routes(r, c, fam, p.Routes) })
	}
	if acls != nil { // they know no connections
		r.rule(c, byDevice(acls.leaving, expr.MetaKeyIIFNAME))
		r.rule(c, byDevice(acls.entering, expr.MetaKeyOIFNAME))
	}
	r.rule(c, tracked(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), verdict(expr.VerdictAccept))
	r.rule(c, tracked(expr.CtStateBitINVALID), verdict(expr.VerdictDrop))
	r.rule(c, byDevice(r.verdicts("from", from), expr.MetaKeyIIFNAME))
	r.rule(arrive, byDevice(r.verdicts("to", to), expr.MetaKeyOIFNAME))
	r.rule(away, byDevice(r.verdicts("ways", ways), expr.MetaKeyIIFNAME))
}

// admit gives what the rules allow the verdict; peer loads the peer's address.
func admit(r *ruleset, c *nftables.Chain, fam *family, rules gateway.Rules, groups map[string]*nftables.Set, peer func(uint32) expr.Any, allowed []expr.Any) {
	a := compile(fam, rules)
	numbered := func(s *nftables.Set, address ...expr.Any) {
		number := func(offset uint32) []expr.Any {
			return in(s, append([]expr.Any{meta(expr.MetaKeyL4PROTO), payload(expr.PayloadBaseTransportHeader, offset, 2, reg1)}, address...)...)
		}
		r.rule(c, protocol(expr.CmpOpNeq, fam.icmp), number(2), allowed) // the destination port
		r.rule(c, protocol(expr.CmpOpEq, fam.icmp), number(0), allowed)  // type and code
	}
	for bits, boxes := range a.exact {
		s := r.set(&nftables.Set{Name: fmt.Sprintf("%s-%d", c.Name, bits), KeyType: fam.ports, Concatenation: true}, exactElements(boxes))
		numbered(s, peer(reg2), fam.mask(reg2, bits))
	}
	for i, layer := range a.ports {
		s := r.set(&nftables.Set{Name: fmt.Sprintf("%s-p%d", c.Name, i), KeyType: fam.ports, Interval: true, Concatenation: true}, portElements(layer))
		numbered(s, peer(reg2))
	}
	for i, layer := range a.protocols {
		s := r.set(&nftables.Set{Name: fmt.Sprintf("%s-a%d", c.Name, i), KeyType: fam.protocols, Interval: true, Concatenation: true}, protocolElements(layer))
		r.rule(c, in(s, meta(expr.MetaKeyL4PROTO), peer(reg1)), allowed)
	}
	for i := range a.groups {
		g := &a.groups[i]
		if other := g.Proto == gateway.ICMP || g.Proto == gateway.ICMPv6; !g.All && other && g.Proto != fam.icmp {
			continue
		}
		r.rule(c, ofKind(g), in(groups[g.Group], peer(reg0)), allowed)
	}
}

// ofKind matches the protocol and numbers of a rule.
func ofKind(g *gateway.Rule) []expr.Any {
	if g.All {
		return nil
	}
	out := protocol(expr.CmpOpEq, g.Proto)
	offset := uint32(2)
	if !g.Ports() {
		if g.Proto != gateway.ICMP && g.Proto != gateway.ICMPv6 {
			return out
		}
		offset = 0
	}
	x := numbers(g)
	return append(out, payload(expr.PayloadBaseTransportHeader, offset, 2, reg0),
		compare(expr.CmpOpGte, reg0, be16(uint16(x.from))...), compare(expr.CmpOpLte, reg0, be16(uint16(x.to))...))
}

// routes accept what leads outside: the longest prefix decides.
func routes(r *ruleset, c *nftables.Chain, fam *family, in []api.Route) {
	in = slices.Clone(in)
	slices.SortStableFunc(in, func(a, b api.Route) int { return b.CIDR.Bits() - a.CIDR.Bits() })
	for _, route := range in {
		kind := expr.VerdictAccept
		if route.Blackhole || route.Via.IsValid() { // what is for a guest does not come here
			kind = expr.VerdictDrop
		}
		for _, b := range fam.blocks([]netip.Prefix{route.CIDR}) {
			r.rule(c, []expr.Any{fam.to(reg0)}, between(b), verdict(kind))
		}
	}
}

func portKey(proto byte, port uint32, address netip.Addr) []byte {
	return append(append([]byte{proto, 0, 0, 0}, byte(port>>8), byte(port), 0, 0), address.AsSlice()...)
}

func portElements(boxes []box) []nftables.SetElement {
	out := make([]nftables.SetElement, len(boxes))
	for i, b := range boxes {
		out[i] = nftables.SetElement{Key: portKey(b.proto, b.x.from, b.peers.from), KeyEnd: portKey(b.proto, b.x.to, b.peers.to)}
	}
	return out
}

func exactElements(boxes []box) []nftables.SetElement {
	out := make([]nftables.SetElement, len(boxes))
	for i, b := range boxes {
		out[i] = nftables.SetElement{Key: portKey(b.proto, b.x.from, b.peers.from)}
	}
	return out
}

func protocolElements(boxes []box) []nftables.SetElement {
	out := make([]nftables.SetElement, len(boxes))
	for i, b := range boxes {
		out[i] = nftables.SetElement{
			Key: append([]byte{byte(b.x.from), 0, 0, 0}, b.peers.from.AsSlice()...), KeyEnd: append([]byte{byte(b.x.to), 0, 0, 0}, b.peers.to.AsSlice()...),
		}
	}
	return out
}

// digest names chains by what they have.
func digest(what any) string {
	b, _ := json.Marshal(what) // plain values
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])[:12]
}

// sorted brings ports into an order that does not depend on a map's.
func (f *filter) sorted() *filter {
	sort.Slice(f.ports, func(i, j int) bool { return f.ports[i].tap < f.ports[j].tap })
	return f
}

func nativeMark() []byte { return binaryutil.NativeEndian.PutUint32(ownMark) }
