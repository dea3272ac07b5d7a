package kernel

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/network/gateway"
)

const (
	spoofedCounter = "spoofed"

	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	etherARP  = 0x0806

	dhcpServer = 67
	dhcpClient = 68
)

// nobodys are addresses that no packet on its way through a VPC can come from.
var nobodys = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("::/127"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
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
	cidrs    []netip.Prefix // of the VPC
	v6       bool           // it carries IPv6
	meta6    bool           // the metadata service is to be had by it
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
	own := r.addresses(ipv4Family, "own", g.own)
	served := r.addresses(ipv4Family, "dhcp", append([]netip.Addr{netip.AddrFrom4([4]byte{255, 255, 255, 255})}, g.gateway...))

	policy, priority := nftables.ChainPolicyDrop, nftables.ChainPriority(-300)
	c := r.conn.AddChain(&nftables.Chain{
		Table: r.table, Name: "guard", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookIngress,
		Priority: &priority, Policy: &policy, Device: g.tap,
	})
	forged := append(counted(spoofedCounter), verdict(expr.VerdictDrop)...)
	accept := verdict(expr.VerdictAccept)
	ofType := func(t uint16) []expr.Any {
		return []expr.Any{meta(expr.MetaKeyPROTOCOL), compare(expr.CmpOpEq, reg0, be16(t)...)}
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
	for _, b := range ipv4Family.blocks(g.askable) {
		r.rule(ask, []expr.Any{payload(expr.PayloadBaseNetworkHeader, 24, 4, reg0)}, between(b), accept)
	}

	ip, dhcp := r.chain("ip"), r.chain("dhcp")
	r.rule(c, ofType(etherIPv4), verdict(expr.VerdictGoto, ip.Name))
	destination := payload(expr.PayloadBaseNetworkHeader, 16, 4, reg0)
	// A neighbour's link address may be on it: everything goes by the gateway.
	toHost := []expr.Any{
		&expr.Immediate{Register: reg0, Data: []byte{0}},
		&expr.Meta{Key: expr.MetaKeyPKTTYPE, SourceRegister: true, Register: reg0},
	}
	r.rule(ip, protocol(expr.CmpOpEq, gateway.UDP), transport(0, expr.CmpOpEq, be16(dhcpServer)...), forged) // plays the server
	r.rule(ip, protocol(expr.CmpOpEq, gateway.UDP), transport(2, expr.CmpOpEq, be16(dhcpServer)...), in(served, destination), verdict(expr.VerdictGoto, dhcp.Name))
	g.source(r, ip, ipv4Family, own, served, forged, toHost)
	r.rule(ip, toHost, accept)

	// The client's hardware address is 28 bytes into the message.
	r.rule(dhcp, []expr.Any{payload(expr.PayloadBaseTransportHeader, 8+28, 6, 1), compare(expr.CmpOpNeq, 1, g.hw[:]...)}, forged)
	r.rule(dhcp, network(12, expr.CmpOpEq, 0, 0, 0, 0), accept)
	r.rule(dhcp, network(12, expr.CmpOpEq, g.primary.AsSlice()...), accept)
	r.rule(dhcp, forged)
	if g.v6 {
		g.installV6(r, c, forged, toHost)
	}
	return r.commit()
}

// source refuses packets of others, but for those that AnySource lets into the VPC.
func (g *guard) source(r *ruleset, c *nftables.Chain, fam *family, own, services *nftables.Set, forged, toHost []expr.Any) {
	if !g.any {
		r.rule(c, notIn(own, fam.from(reg0)), forged)
		return
	}
	foreign := r.chain(c.Name + "-foreign")
	r.rule(c, notIn(own, fam.from(reg0)), verdict(expr.VerdictGoto, foreign.Name))
	r.rule(foreign, in(services, fam.from(reg0)), forged)
	for _, b := range fam.blocks(nobodys) {
		r.rule(foreign, []expr.Any{fam.from(reg0)}, between(b), forged)
	}
	r.rule(foreign, in(services, fam.to(reg0)), forged)
	for _, b := range fam.blocks(g.cidrs) {
		r.rule(foreign, []expr.Any{fam.to(reg0)}, between(b), toHost, verdict(expr.VerdictAccept))
	}
	r.rule(foreign, forged)
}

// installV6 is what there is for IPv6. Neighbour discovery and DHCPv6 end here:
// the switch sees them before, and answers (discovery).
func (g *guard) installV6(r *ruleset, c *nftables.Chain, forged, toHost []expr.Any) {
	drop, fam := verdict(expr.VerdictDrop), ipv6Family
	own, services := r.addresses(fam, "own6", g.own), r.addresses(fam, "services6", g.gateway)
	ip6 := r.chain("ip6")
	r.rule(c, []expr.Any{meta(expr.MetaKeyPROTOCOL), compare(expr.CmpOpEq, reg0, be16(etherIPv6)...)}, verdict(expr.VerdictGoto, ip6.Name))
	for _, types := range [][2]byte{{130, 137}, {143, 143}} { // reports of multicast listeners: nothing is sent to groups
		r.rule(ip6, protocol(expr.CmpOpEq, gateway.ICMPv6), transport(0, expr.CmpOpGte, types[0]), transport(0, expr.CmpOpLte, types[1]), drop)
	}
	for _, at := range []uint32{0, 2} {
		r.rule(ip6, protocol(expr.CmpOpEq, gateway.UDP), transport(at, expr.CmpOpEq, be16(gateway.DHCPv6Server)...), drop)
	}
	for _, b := range fam.blocks([]netip.Prefix{netip.MustParsePrefix("::/128"), netip.MustParsePrefix("fe80::/10")}) {
		r.rule(ip6, []expr.Any{fam.from(reg0)}, between(b), drop) // nobody's
	}
	g.source(r, ip6, fam, own, services, forged, toHost)
	// A routing header would lead elsewhere than the filter thinks.
	r.rule(ip6, []expr.Any{
		&expr.Exthdr{DestRegister: reg0, Type: unix.IPPROTO_ROUTING, Len: 1, Flags: unix.NFT_EXTHDR_F_PRESENT, Op: expr.ExthdrOpIpv6},
		compare(expr.CmpOpEq, reg0, 1),
	}, drop)
	if !g.meta6 {
		r.rule(ip6, network(fam.destination, expr.CmpOpEq, gateway.MetadataAddrV6.AsSlice()...), drop)
	}
	r.rule(ip6, toHost, verdict(expr.VerdictAccept))
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
