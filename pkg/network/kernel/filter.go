package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
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
	groups map[string][]netip.Addr
	ports  []filterPort
}

type filterPort struct {
	tap string
	*gateway.Port
}

var (
	portsType     = nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService, nftables.TypeIPAddr)
	protocolsType = nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeIPAddr)
)

// install makes the filter the VPC's, in the place of what it had, at once.
// Connections that are tracked go on.
func (f *filter) install(ns *namespace) error {
	r, err := newRuleset(ns.file, nftables.TableFamilyIPv4, filterTable)
	if err != nil {
		return err
	}
	r.replace()
	f.marks(r)
	f.input(r)
	f.forward(r)
	nat := r.hooked("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept)
	r.rule(nat, device(expr.MetaKeyOIFNAME, expr.CmpOpEq, uplinkDevice), []expr.Any{&expr.Masq{}})
	return r.commit()
}

// marks lead replies to connections of the switch back to it.
func (f *filter) marks(r *ruleset) {
	mark := nativeMark()
	out := r.hooked("output", nftables.ChainTypeFilter, nftables.ChainHookOutput, *nftables.ChainPriorityMangle, nftables.ChainPolicyAccept)
	r.rule(out, tracked(expr.CtStateBitNEW), []expr.Any{
		&expr.Immediate{Register: reg0, Data: mark}, &expr.Ct{Key: expr.CtKeyMARK, SourceRegister: true, Register: reg0},
	})
	pre := r.hooked("prerouting", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, *nftables.ChainPriorityMangle, nftables.ChainPolicyAccept)
	r.rule(pre, []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg0}, compare(expr.CmpOpEq, reg0, mark...),
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg0},
	})
}

// input is what guests may ask of their gateway.
func (f *filter) input(r *ruleset) {
	accept := verdict(expr.VerdictAccept)
	c := r.hooked("input", nftables.ChainTypeFilter, nftables.ChainHookInput, *nftables.ChainPriorityFilter, nftables.ChainPolicyDrop)
	r.rule(c, tracked(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept)
	r.rule(c, device(expr.MetaKeyIIFNAME, expr.CmpOpEq, uplinkDevice), verdict(expr.VerdictDrop))
	r.rule(c, protocol(expr.CmpOpEq, gateway.ICMP), transport(0, expr.CmpOpEq, 8), accept)
	r.rule(c, protocol(expr.CmpOpEq, gateway.UDP), transport(2, expr.CmpOpEq, be16(dhcpServer)...), accept)
	r.rule(c, protocol(expr.CmpOpEq, gateway.TCP), network(16, expr.CmpOpEq, gateway.MetadataAddr.AsSlice()...),
		transport(2, expr.CmpOpEq, be16(metadataPort)...), accept)
	names := r.addresses("names", f.names)
	for _, proto := range []byte{gateway.UDP, gateway.TCP} {
		r.rule(c, protocol(expr.CmpOpEq, proto), transport(2, expr.CmpOpEq, be16(namesPort)...),
			in(names, payload(expr.PayloadBaseNetworkHeader, 16, 4, reg0)), accept)
	}
}

// forward is the way between guests: first what the sender may send, then what
// the receiver takes. Chains are shared by ports with the same rules.
func (f *filter) forward(r *ruleset) {
	c := r.hooked("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, *nftables.ChainPriorityFilter, nftables.ChainPolicyDrop)
	arrive, away := r.chain("arrive"), r.chain("away")
	groups := map[string]*nftables.Set{}
	for id, members := range f.groups {
		groups[id] = r.addresses("group-"+short(id), members)
	}
	chains := map[string]bool{}
	from, to, ways := map[string]*expr.Verdict{}, map[string]*expr.Verdict{uplinkDevice: {Kind: expr.VerdictGoto, Chain: away.Name}}, map[string]*expr.Verdict{}
	add := func(device, kind string, what any, verdicts map[string]*expr.Verdict, build func(*nftables.Chain)) {
		name := kind + "-" + digest(what)
		verdicts[device] = &expr.Verdict{Kind: expr.VerdictGoto, Chain: name}
		if !chains[name] {
			chains[name] = true
			build(r.chain(name))
		}
	}
	for _, p := range f.ports {
		add(p.tap, "out", p.Egress, from, func(c *nftables.Chain) { admit(r, c, p.Out, groups, 16, verdict(expr.VerdictGoto, arrive.Name)) })
		add(p.tap, "in", p.Ingress, to, func(c *nftables.Chain) { admit(r, c, p.In, groups, 12, verdict(expr.VerdictAccept)) })
		add(p.tap, "way", p.Routes, ways, func(c *nftables.Chain) { routes(r, c, p.Routes) })
	}
	r.rule(c, tracked(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), verdict(expr.VerdictAccept))
	r.rule(c, tracked(expr.CtStateBitINVALID), verdict(expr.VerdictDrop))
	r.rule(c, byDevice(r.verdicts("from", from), expr.MetaKeyIIFNAME))
	r.rule(arrive, byDevice(r.verdicts("to", to), expr.MetaKeyOIFNAME))
	r.rule(away, byDevice(r.verdicts("ways", ways), expr.MetaKeyIIFNAME))
}

// admit gives what the rules allow the verdict; peer is where the peer's address
// is in the IP header.
func admit(r *ruleset, c *nftables.Chain, rules gateway.Rules, groups map[string]*nftables.Set, peer uint32, allowed []expr.Any) {
	a := compile(rules)
	address := func(register uint32) expr.Any { return payload(expr.PayloadBaseNetworkHeader, peer, 4, register) }
	numbered := func(s *nftables.Set, address ...expr.Any) {
		number := func(offset uint32) []expr.Any {
			return in(s, append([]expr.Any{meta(expr.MetaKeyL4PROTO, reg0), payload(expr.PayloadBaseTransportHeader, offset, 2, reg1)}, address...)...)
		}
		r.rule(c, protocol(expr.CmpOpNeq, gateway.ICMP), number(2), allowed) // the destination port
		r.rule(c, protocol(expr.CmpOpEq, gateway.ICMP), number(0), allowed)  // type and code
	}
	for bits, boxes := range a.exact {
		s := r.set(&nftables.Set{Name: fmt.Sprintf("%s-%d", c.Name, bits), KeyType: portsType, Concatenation: true}, exactElements(boxes))
		mask := be32(^uint32(0) << (32 - bits))
		numbered(s, address(reg2), &expr.Bitwise{SourceRegister: reg2, DestRegister: reg2, Len: 4, Mask: mask, Xor: make([]byte, 4)})
	}
	for i, layer := range a.ports {
		s := r.set(&nftables.Set{Name: fmt.Sprintf("%s-p%d", c.Name, i), KeyType: portsType, Interval: true, Concatenation: true}, portElements(layer))
		numbered(s, address(reg2))
	}
	for i, layer := range a.protocols {
		s := r.set(&nftables.Set{Name: fmt.Sprintf("%s-a%d", c.Name, i), KeyType: protocolsType, Interval: true, Concatenation: true}, protocolElements(layer))
		r.rule(c, in(s, meta(expr.MetaKeyL4PROTO, reg0), address(reg1)), allowed)
	}
	for i := range a.groups {
		g := &a.groups[i]
		r.rule(c, ofKind(g), in(groups[g.Group], address(reg0)), allowed)
	}
}

// ofKind matches the protocol and numbers of a rule.
func ofKind(g *gateway.Rule) []expr.Any {
	if g.All {
		return nil
	}
	out := protocol(expr.CmpOpEq, g.Proto)
	if !g.Ports() && g.Proto != gateway.ICMP {
		return out
	}
	offset := uint32(2)
	if g.Proto == gateway.ICMP {
		offset = 0
	}
	x := numbers(g)
	return append(out, payload(expr.PayloadBaseTransportHeader, offset, 2, reg0),
		compare(expr.CmpOpGte, reg0, be16(uint16(x.from))...), compare(expr.CmpOpLte, reg0, be16(uint16(x.to))...))
}

// routes accept what leads outside: the longest prefix decides.
func routes(r *ruleset, c *nftables.Chain, in []api.Route) {
	in = slices.Clone(in)
	slices.SortStableFunc(in, func(a, b api.Route) int { return b.CIDR.Bits() - a.CIDR.Bits() })
	for _, route := range in {
		if !route.CIDR.Addr().Is4() {
			continue
		}
		kind := expr.VerdictAccept
		if route.Blackhole {
			kind = expr.VerdictDrop
		}
		s := ranges([]netip.Prefix{route.CIDR})[0]
		r.rule(c, []expr.Any{payload(expr.PayloadBaseNetworkHeader, 16, 4, reg0)}, between(reg0, s), verdict(kind))
	}
}

func portKey(proto byte, port, address uint32) []byte {
	return append(append([]byte{proto, 0, 0, 0}, byte(port>>8), byte(port), 0, 0), be32(address)...)
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
			Key: append([]byte{byte(b.x.from), 0, 0, 0}, be32(b.peers.from)...), KeyEnd: append([]byte{byte(b.x.to), 0, 0, 0}, be32(b.peers.to)...),
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
