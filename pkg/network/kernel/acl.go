package kernel

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/bundt/bundt/pkg/network/gateway"
)

// edges are the network ACLs of a VPC: what to do with packets by the device of a
// guest whose subnet has one.
type edges struct {
	leaving, entering *nftables.Set // maps of devices
	own               *nftables.Set // addresses of the VPC's services, which ACLs are not for
}

// edges makes the chains of the ports' network ACLs; nil if none has one. A chain
// returns what it allows.
func (f *filter) edges(r *ruleset, fam *family, t tallies) *edges {
	taps := map[string][]string{}
	acls := map[string]*gateway.ACL{}
	for _, p := range f.ports {
		if p.ACL != nil {
			taps[p.SubnetID] = append(taps[p.SubnetID], p.tap)
			acls[p.SubnetID] = p.ACL
		}
	}
	if len(acls) == 0 {
		return nil
	}
	leaving, entering := map[string]*expr.Verdict{}, map[string]*expr.Verdict{}
	for subnet, acl := range acls {
		within := r.devices("subnet-"+short(subnet), taps[subnet])
		for _, e := range []struct {
			name      string
			entries   []gateway.ACLEntry
			peer      func(uint32) expr.Any
			other     expr.MetaKey // the device on the packet's other end
			refused   []expr.Any
			byDevices map[string]*expr.Verdict
		}{
			{"leaving-" + short(subnet), acl.Out, fam.to, expr.MetaKeyOIFNAME, count(t.out, expr.MetaKeyIIFNAME), leaving},
			{"entering-" + short(subnet), acl.In, fam.from, expr.MetaKeyIIFNAME, count(t.in, expr.MetaKeyOIFNAME), entering},
		} {
			c := r.chain(e.name)
			r.rule(c, in(within, meta(e.other)), verdict(expr.VerdictReturn))
			for i := range e.entries {
				judge(r, c, fam, &e.entries[i], e.peer, e.refused)
			}
			r.rule(c, e.refused, verdict(expr.VerdictDrop))
			for _, tap := range taps[subnet] {
				e.byDevices[tap] = &expr.Verdict{Kind: expr.VerdictJump, Chain: e.name}
			}
		}
	}
	return &edges{leaving: r.verdicts("leaving", leaving), entering: r.verdicts("entering", entering), own: r.addresses(fam, "own", f.own)}
}

// judge adds an entry of a network ACL to its chain.
func judge(r *ruleset, c *nftables.Chain, fam *family, e *gateway.ACLEntry, peer func(uint32) expr.Any, refused []expr.Any) {
	icmp := !e.All && (e.Proto == gateway.ICMP || e.Proto == gateway.ICMPv6)
	if icmp && e.Proto != fam.icmp {
		return
	}
	for _, b := range fam.blocks([]netip.Prefix{e.Peers[0]}) {
		match := append(ofKind(&e.Rule), peer(reg0))
		match = append(match, between(b)...)
		if e.Allow {
			r.rule(c, match, verdict(expr.VerdictReturn))
		} else {
			r.rule(c, match, refused, verdict(expr.VerdictDrop))
		}
	}
}
