package kernel

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/bundt/bundt/pkg/network/gateway"
)

const (
	spoofedCounter = "spoofed"

	etherIPv4 = 0x0800
	etherARP  = 0x0806

	dhcpServer = 67
	dhcpClient = 68
)

// nobodys are addresses that no packet on its way through a VPC can come from.
var nobodys = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
}

// guard is what frames of a tap must be to pass: with the guest's own link and IP
// addresses, in their headers and in ARP and DHCP. It sits where frames come in,
// before anything else sees them.
type guard struct {
	tap      string
	hw       gateway.MAC
	primary  netip.Addr
	own      []netip.Addr   // the primary one too
	gateway  []netip.Addr   // addresses where DHCP is served
	askable  []netip.Prefix // what ARP may ask for
	cidr     netip.Prefix   // of the VPC
	any      bool           // others' packets may be sent into the VPC
	spoofed  uint64         // counted already
	networks *os.File       // the namespace
}

// table is the nftables table of a tap.
func (g *guard) table() string { return g.tap }

// install puts the guard in place, or in the place of another.
func (g *guard) install() error {
	r, err := newRuleset(g.networks, nftables.TableFamilyNetdev, g.table())
	if err != nil {
		return err
	}
	r.replace()
	r.conn.AddObj(&nftables.NamedObj{
		Table: r.table, Name: spoofedCounter, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{Packets: g.spoofed},
	})
	own := r.addresses("own", g.own)
	served := r.addresses("dhcp", append([]netip.Addr{netip.AddrFrom4([4]byte{255, 255, 255, 255})}, g.gateway...))

	policy, priority := nftables.ChainPolicyDrop, nftables.ChainPriority(-300)
	c := r.conn.AddChain(&nftables.Chain{
		Table: r.table, Name: "guard", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookIngress,
		Priority: &priority, Policy: &policy, Device: g.tap,
	})
	forged := append(counted(spoofedCounter), verdict(expr.VerdictDrop)...)
	accept := verdict(expr.VerdictAccept)
	ofType := func(t uint16) []expr.Any {
		return []expr.Any{meta(expr.MetaKeyPROTOCOL, reg0), compare(expr.CmpOpEq, reg0, be16(t)...)}
	}
	r.rule(c, []expr.Any{payload(expr.PayloadBaseLLHeader, 6, 6, 1), compare(expr.CmpOpNeq, 1, g.hw[:]...)}, forged)

	arp := r.chain("arp")
	r.rule(c, ofType(etherARP), verdict(expr.VerdictGoto, arp.Name))
	r.rule(arp, []expr.Any{payload(expr.PayloadBaseNetworkHeader, 8, 6, 1), compare(expr.CmpOpNeq, 1, g.hw[:]...)}, forged)
	ask := r.chain("ask")
	r.rule(ask, network(6, expr.CmpOpNeq, 0, 1), verdict(expr.VerdictDrop))                 // an answer to nobody
	r.rule(arp, network(14, expr.CmpOpEq, 0, 0, 0, 0), verdict(expr.VerdictGoto, ask.Name)) // is the address free?
	r.rule(arp, notIn(own, payload(expr.PayloadBaseNetworkHeader, 14, 4, reg0)), forged)
	r.rule(arp, verdict(expr.VerdictGoto, ask.Name))
	for _, s := range ranges(g.askable) {
		r.rule(ask, []expr.Any{payload(expr.PayloadBaseNetworkHeader, 24, 4, reg0)}, between(reg0, s), accept)
	}

	ip, dhcp := r.chain("ip"), r.chain("dhcp")
	r.rule(c, ofType(etherIPv4), verdict(expr.VerdictGoto, ip.Name))
	source := payload(expr.PayloadBaseNetworkHeader, 12, 4, reg0)
	destination := payload(expr.PayloadBaseNetworkHeader, 16, 4, reg0)
	// A neighbour's link address may be on it: everything goes by the gateway.
	toHost := []expr.Any{
		&expr.Immediate{Register: reg0, Data: []byte{0}},
		&expr.Meta{Key: expr.MetaKeyPKTTYPE, SourceRegister: true, Register: reg0},
	}
	r.rule(ip, protocol(expr.CmpOpEq, gateway.UDP), transport(0, expr.CmpOpEq, be16(dhcpServer)...), forged) // plays the server
	r.rule(ip, protocol(expr.CmpOpEq, gateway.UDP), transport(2, expr.CmpOpEq, be16(dhcpServer)...), in(served, destination), verdict(expr.VerdictGoto, dhcp.Name))
	if g.any {
		foreign := r.chain("foreign")
		r.rule(ip, notIn(own, source), verdict(expr.VerdictGoto, foreign.Name))
		r.rule(foreign, in(served, source), forged)
		for _, s := range ranges(nobodys) {
			r.rule(foreign, []expr.Any{source}, between(reg0, s), forged)
		}
		r.rule(foreign, in(served, destination), forged)
		for _, s := range ranges([]netip.Prefix{g.cidr}) {
			r.rule(foreign, []expr.Any{destination}, between(reg0, s), toHost, accept)
		}
		r.rule(foreign, forged)
	} else {
		r.rule(ip, notIn(own, source), forged)
	}
	r.rule(ip, toHost, accept)

	// The client's hardware address is 28 bytes into the message.
	r.rule(dhcp, []expr.Any{payload(expr.PayloadBaseTransportHeader, 8+28, 6, 1), compare(expr.CmpOpNeq, 1, g.hw[:]...)}, forged)
	r.rule(dhcp, network(12, expr.CmpOpEq, 0, 0, 0, 0), accept)
	r.rule(dhcp, network(12, expr.CmpOpEq, g.primary.AsSlice()...), accept)
	r.rule(dhcp, forged)
	return r.commit()
}

// remove takes the guard away: its device is gone, or about to go.
func (g *guard) remove() error {
	r, err := newRuleset(g.networks, nftables.TableFamilyNetdev, g.table())
	if err != nil {
		return err
	}
	r.remove()
	return r.commit()
}

// count is how many frames it has refused for a forged source. A guard that is
// not there has refused none.
func (g *guard) count() (uint64, error) {
	r, err := newRuleset(g.networks, nftables.TableFamilyNetdev, g.table())
	if err != nil {
		return 0, err
	}
	objects, err := r.conn.GetNamedObjects(r.table)
	if err != nil {
		return 0, fmt.Errorf("reading the counter of %s: %w", g.tap, err)
	}
	for _, o := range objects {
		if n, ok := o.(*nftables.NamedObj); ok && n.Name == spoofedCounter {
			if c, ok := n.Obj.(*expr.Counter); ok {
				return c.Packets, nil
			}
		}
	}
	return 0, nil
}
