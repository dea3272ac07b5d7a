package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/metadata"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// topology is the cloud's network without what is attached to it.
type topology struct {
	region   string
	mtu      int
	revision int64 // of the last change in it
	vpcs     map[string]model.VPC
	subnets  map[string]model.Subnet
	groups   map[string]model.SecurityGroup
	options  map[string]model.DHCPOptions
	attached map[string]string             // internet gateway, egress-only ones too -> VPC
	tables   map[string]model.RouteTable   // subnet, or VPC for the main table -> route table
	acls     map[string]model.NetworkACL   // network ACL, or VPC for the default one -> network ACL
	reverse  map[netip.Addr]string         // elastic address -> its domain name
	named    map[string]bool               // security groups that rules name
	rules    map[string]*[2][]network.Rule // security group -> its rules: ingress, egress
	signing  *model.SigningKey             // nil if there is none yet
	out      map[string]exits              // by subnet
}

// exits are how a subnet is left.
type exits struct {
	v4, v6 []network.Route
	public bool // by an internet gateway, for IPv4
	via    bool // to guests that forward
}

// topologyCollections are what a topology is made from.
var topologyCollections = []string{
	records.VPCs.Name(), records.Subnets.Name(), records.Groups.Name(), records.Gateways.Name(), records.EgressOnlyGateways.Name(),
	records.RouteTables.Name(), records.NetworkACLs.Name(), records.DHCPOptions.Name(), records.ElasticAddresses.Name(), records.SigningKeys.Name(),
}

// topology reads the network, if it has changed since last was read.
func (n *Node) topology(ctx context.Context, last *topology) (*topology, error) {
	revision, err := n.Store.LastChange(ctx, topologyCollections...)
	if err != nil || (last != nil && last.revision == revision) {
		return last, err
	}
	t := &topology{region: n.Cloud.Region, mtu: n.mtu(), revision: revision, named: map[string]bool{}, rules: map[string]*[2][]network.Rule{}, out: map[string]exits{}}
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		err := errors.Join(
			index(tx, records.VPCs, &t.vpcs, func(v *model.VPC) string { return v.ID }),
			index(tx, records.Subnets, &t.subnets, func(s *model.Subnet) string { return s.ID }),
			index(tx, records.Groups, &t.groups, func(g *model.SecurityGroup) string { return g.ID }),
			index(tx, records.DHCPOptions, &t.options, func(d *model.DHCPOptions) string { return d.ID }),
		)
		if err != nil {
			return err
		}
		return t.list(tx)
	})
	return t, err
}

func index[T any](tx *store.Tx, col store.Collection[T], into *map[string]T, key func(*T) string) error {
	all, err := col.List(tx)
	*into = make(map[string]T, len(all))
	for i := range all {
		(*into)[key(&all[i])] = all[i]
	}
	return err
}

func (t *topology) list(tx *store.Tx) error {
	gateways, err := records.Gateways.List(tx)
	if err != nil {
		return err
	}
	t.attached = make(map[string]string, len(gateways))
	for _, g := range gateways {
		t.attached[g.ID] = g.VPCID
	}
	egress, err := records.EgressOnlyGateways.List(tx)
	if err != nil {
		return err
	}
	for _, g := range egress {
		t.attached[g.ID] = g.VPCID
	}
	switch key, err := records.SigningKeys.Get(tx, records.TheCloud); {
	case err == nil:
		t.signing = &key
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	elastic, err := records.ElasticAddresses.List(tx)
	if err != nil {
		return err
	}
	t.reverse = map[netip.Addr]string{}
	for _, e := range elastic {
		if a, err := netip.ParseAddr(e.PublicIP); err == nil && e.DomainName != "" {
			t.reverse[a] = e.DomainName
		}
	}
	acls, err := records.NetworkACLs.List(tx)
	if err != nil {
		return err
	}
	t.acls = make(map[string]model.NetworkACL, len(acls))
	for _, a := range acls {
		of := a.ID
		if !a.Custom {
			of = a.VPCID
		}
		t.acls[of] = a
	}
	tables, err := records.RouteTables.List(tx)
	if err != nil {
		return err
	}
	t.tables = map[string]model.RouteTable{}
	for _, table := range tables {
		for _, a := range table.Associations {
			of := a.SubnetID
			if of == "" {
				of = table.VPCID
			}
			t.tables[of] = table
		}
	}
	return nil
}

// members are the addresses of the groups that rules name.
func (t *topology) members(nics []*model.NetworkInterface) map[string][]netip.Addr {
	members := make(map[string][]netip.Addr, len(t.named))
	for g := range t.named {
		members[g] = nil // one without a member too
	}
	for _, nic := range nics {
		for _, g := range nic.Groups {
			if t.named[g] {
				members[g] = append(append(members[g], privateAddresses(nic)...), ipv6Addresses(nic)...)
			}
		}
	}
	return members
}

// privateAddresses are an interface's, the primary one first.
func privateAddresses(n *model.NetworkInterface) (out []netip.Addr) {
	for _, ip := range append([]string{n.PrivateIP}, secondaryIPs(n)...) {
		if a, err := netip.ParseAddr(ip); err == nil { // every address was parsed before it was stored
			out = append(out, a)
		}
	}
	return out
}

func ipv6Addresses(n *model.NetworkInterface) (out []netip.Addr) {
	for _, ip := range n.IPv6 {
		if a, err := netip.ParseAddr(ip); err == nil { // every address was parsed before it was stored
			out = append(out, a)
		}
	}
	return out
}

func secondaryIPs(n *model.NetworkInterface) (out []string) {
	for _, p := range n.Secondary {
		out = append(out, p.IP)
	}
	return out
}

// wiring is the network's configuration and what it was made from, so that the
// next is made from the difference.
type wiring struct {
	topology *topology
	config   network.Config
	ports    map[string]wired // by interface
	same     bool             // as the one before
}

// wired is a port and what it was made from.
type wired struct {
	instance *model.Instance
	profile  *metadata.Profile // that its guest is told
	socket   string
	port     *network.Port // in the configuration
}

// wire makes the configuration that the datapath is to have, from the one before:
// the machines that run here, and the VPCs that they are in. The caller holds netMu.
func (n *Node) wire(ctx context.Context, last *wiring) (*wiring, error) {
	if last == nil {
		last = &wiring{}
	}
	t, err := n.topology(ctx, last.topology)
	if err != nil {
		return nil, err
	}
	insts, err := n.instances.All(ctx)
	if err != nil {
		return nil, err
	}
	nics, err := n.interfaces.All(ctx)
	if err != nil {
		return nil, err
	}
	if err := n.grantRoles(ctx, insts); err != nil {
		return nil, err
	}
	w := &wiring{topology: t, config: network.Config{Region: n.Cloud.Region, Signing: t.signing}}
	if err := n.wirePorts(w, last, insts); err != nil {
		return nil, err
	}
	if err := w.vpcs(); err != nil {
		return nil, err
	}
	w.config.Groups = t.members(nics)
	w.same = w.same && len(w.ports) == len(last.ports) &&
		(t == last.topology || reflect.DeepEqual(w.config.Signing, last.config.Signing)) && reflect.DeepEqual(w.config.VPCs, last.config.VPCs) &&
		maps.EqualFunc(w.config.Groups, last.config.Groups, slices.Equal[[]netip.Addr])
	return w, nil
}

// wirePorts makes the ports that have changed, and takes over the others.
func (n *Node) wirePorts(w, last *wiring, insts []*model.Instance) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	w.ports, w.same = make(map[string]wired, len(last.ports)), true
	w.config.Ports = make([]network.Port, 0, len(last.ports)+16)
	for _, inst := range insts {
		sockets := n.sockets[inst.ID]
		if len(sockets) == 0 {
			continue
		}
		for _, nic := range inst.Interfaces() {
			socket, ok := sockets[nic.ID]
			if !ok {
				continue
			}
			was, profile := last.ports[nic.ID], n.grants[inst.ID].profile
			if was.port != nil && was.instance == inst && was.profile == profile && was.socket == socket && w.topology == last.topology {
				w.add(was, *was.port)
				continue
			}
			port, err := n.port(w.topology, inst, &nic, socket)
			if err != nil {
				return fmt.Errorf("instance %s: %w", inst.ID, err)
			}
			if was.port == nil || !reflect.DeepEqual(*was.port, port) {
				w.same = false
			}
			w.add(wired{instance: inst, profile: profile, socket: socket}, port)
		}
	}
	for i := range w.config.Ports { // the slice has its place now
		p := &w.config.Ports[i]
		made := w.ports[p.ID]
		made.port = p
		w.ports[p.ID] = made
	}
	return nil
}

func (w *wiring) add(made wired, port network.Port) {
	w.config.Ports = append(w.config.Ports, port)
	w.ports[port.ID] = made
}

// vpcs lists the VPCs that ports are in.
func (w *wiring) vpcs() error {
	used := map[string]bool{}
	for i := range w.config.Ports {
		used[w.config.Ports[i].VPCID] = true
	}
	for _, id := range slices.Sorted(maps.Keys(used)) {
		v, err := w.topology.vpc(id)
		if err != nil {
			return err
		}
		w.config.VPCs = append(w.config.VPCs, v)
	}
	return nil
}

func (t *topology) vpc(id string) (network.VPC, error) {
	v, ok := t.vpcs[id]
	if !ok {
		return network.VPC{}, fmt.Errorf("there is no record of %s", id)
	}
	cidr, err := netip.ParsePrefix(v.CIDR)
	if err != nil {
		return network.VPC{}, fmt.Errorf("reading the range of %s: %w", id, err)
	}
	out := network.VPC{
		ID: id, CIDR: cidr, MTU: t.mtu, DomainName: model.PrivateDomain(t.region), NoDNS: !v.DNSSupport, DHCP: t.dhcp(&v), Reverse: t.reverse,
	}
	for _, r := range v.More {
		if cidr, err = netip.ParsePrefix(r.CIDR); err != nil {
			return out, fmt.Errorf("reading the range of %s: %w", id, err)
		}
		out.More = append(out.More, cidr)
	}
	if out.CIDRv6, err = prefixV6(v.CIDRv6); err != nil {
		return out, fmt.Errorf("reading the IPv6 range of %s: %w", id, err)
	}
	for _, s := range t.subnets {
		if s.VPCID != id {
			continue
		}
		if cidr, err = netip.ParsePrefix(s.CIDR); err != nil {
			return out, fmt.Errorf("reading the range of %s: %w", s.ID, err)
		}
		v6, err := prefixV6(s.CIDRv6)
		if err != nil {
			return out, fmt.Errorf("reading the IPv6 range of %s: %w", s.ID, err)
		}
		acl, err := t.acl(&s, out.CIDRv6.IsValid())
		if err != nil {
			return out, err
		}
		out.Subnets = append(out.Subnets, network.Subnet{ID: s.ID, CIDR: cidr, CIDRv6: v6, ACL: acl})
	}
	slices.SortFunc(out.Subnets, func(a, b network.Subnet) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// acl is a subnet's network ACL, nil for one that lets everything pass as a new
// default one does.
func (t *topology) acl(s *model.Subnet, ipv6 bool) (*network.ACL, error) {
	a, ok := t.acls[cmp.Or(s.ACLID, s.VPCID)]
	if !ok {
		return nil, fmt.Errorf("there is no record of the network ACL %s of %s", s.ACLID, s.ID)
	}
	if !a.Custom && !a.Edited {
		return nil, nil
	}
	out := &network.ACL{ID: a.ID}
	for _, e := range a.All(ipv6) {
		rule, err := aclRule(e)
		if err != nil {
			return nil, fmt.Errorf("reading entry %d of %s: %w", e.Number, a.ID, err)
		}
		to := &out.Ingress
		if e.Egress {
			to = &out.Egress
		}
		*to = append(*to, network.ACLEntry{Number: e.Number, Allow: e.Allow, Rule: rule})
	}
	return out, nil
}

func aclRule(e model.ACLEntry) (network.Rule, error) {
	cidr, err := netip.ParsePrefix(e.CIDR)
	r := network.Rule{Protocol: e.Protocol, FromPort: uint16(e.FromPort), ToPort: uint16(e.ToPort), Peers: []netip.Prefix{cidr}}
	icmp := false
	switch e.Protocol {
	case "6":
		r.Protocol = "tcp"
	case "17":
		r.Protocol = "udp"
	case "1":
		r.Protocol, icmp = "icmp", true
	case "58":
		r.Protocol, icmp = "icmpv6", true
	}
	if icmp && e.ICMPType >= 0 {
		r.ICMPType = new(uint8(e.ICMPType))
		if e.ICMPCode >= 0 {
			r.ICMPCode = new(uint8(e.ICMPCode))
		}
	}
	return r, err
}

// prefixV6 is the zero prefix for "".
func prefixV6(cidr string) (netip.Prefix, error) {
	if cidr == "" {
		return netip.Prefix{}, nil
	}
	return netip.ParsePrefix(cidr)
}

// dhcp is what the VPC's DHCP options tell guests; options that are "default" are none.
func (t *topology) dhcp(v *model.VPC) *network.DHCP {
	options := t.options[v.DHCPOptionsID]
	out := &network.DHCP{}
	if d := options.Values("domain-name"); len(d) > 0 {
		out.Domain = d[0]
	}
	for _, s := range options.Values("domain-name-servers") {
		if a, err := netip.ParseAddr(s); err == nil {
			out.NameServers = append(out.NameServers, a)
		} else {
			out.OwnDNS = true // AmazonProvidedDNS
		}
	}
	for _, s := range options.Values("ntp-servers") {
		if a, err := netip.ParseAddr(s); err == nil {
			out.NTPServers = append(out.NTPServers, a)
		}
	}
	return out
}

// exits of a subnet, by internet gateways, for IPv4 and for IPv6.
func (t *topology) exits(subnetID, vpcID string) exits {
	e, ok := t.out[subnetID]
	if !ok {
		e = t.findExits(subnetID, vpcID)
		t.out[subnetID] = e
	}
	return e
}

func (t *topology) findExits(subnetID, vpcID string) (e exits) {
	table, ok := t.tables[subnetID]
	if !ok {
		table = t.tables[vpcID]
	}
	for _, r := range table.Routes {
		cidr, err := netip.ParsePrefix(r.CIDR)
		if err != nil {
			continue
		}
		active := r.GatewayID != "" && t.attached[r.GatewayID] == vpcID
		route := network.Route{CIDR: cidr, Blackhole: !active}
		if via, err := netip.ParseAddr(r.Via); err == nil && r.InterfaceID != "" {
			route, active, e.via = network.Route{CIDR: cidr, Via: via}, false, true
		}
		if cidr.Addr().Is6() {
			e.v6 = append(e.v6, route)
			continue
		}
		e.public = e.public || active
		e.v4 = append(e.v4, route)
	}
	return e
}

func (n *Node) port(t *topology, inst *model.Instance, nic *model.NetworkInterface, socket string) (network.Port, error) {
	addresses := privateAddresses(nic)
	if len(addresses) == 0 {
		return network.Port{}, fmt.Errorf("interface %s has no address", nic.ID)
	}
	p := network.Port{
		ID: nic.ID, InstanceID: inst.ID, VPCID: nic.VPCID, SubnetID: nic.SubnetID, MAC: nic.MAC,
		PrivateIP: addresses[0], Secondary: addresses[1:], Socket: socket, Metadata: n.document(t, inst),
		IPv6: ipv6Addresses(nic), AnySource: nic.NoSourceDestCheck,
	}
	if nic.ID == inst.Interface.ID {
		p.Names = inst.HostNames()
		if inst.Options.ResourceAAAARecord {
			p.NamesV6 = append(p.NamesV6, inst.ID)
		}
		if name := inst.Tags["Name"]; name != "" {
			p.Names = append(p.Names, name)
		}
	}
	for _, g := range nic.Groups {
		rules, err := t.rulesOf(g)
		if err != nil {
			return p, err
		}
		if len(nic.Groups) == 1 { // most ports share their rules with many others
			p.Ingress, p.Egress = rules[0], rules[1]
			break
		}
		p.Ingress = append(p.Ingress, rules[0]...)
		p.Egress = append(p.Egress, rules[1]...)
	}
	return p, t.public(&p, nic)
}

// public gives a port its public addresses, and what it reaches by them: as on
// EC2, an internet gateway translates addresses, so an interface without a
// public one reaches nothing by it. An IPv6 address needs no translation.
func (t *topology) public(p *network.Port, nic *model.NetworkInterface) error {
	out := t.exits(nic.SubnetID, nic.VPCID)
	if len(p.IPv6) > 0 {
		p.Routes = out.v6
	}
	if err := t.addresses(p, nic, out); err != nil {
		return err
	}
	switch {
	case p.PublicIP.IsValid() || len(p.Forwards) > 0:
		p.Routes = slices.Concat(out.v4, p.Routes)
	case out.via: // to other guests, and to nothing that a gateway would translate for
		for _, r := range out.v4 {
			r.Blackhole = !r.Via.IsValid()
			p.Routes = append(slices.Clip(p.Routes), r)
		}
	}
	return nil
}

// addresses gives a port its public addresses.
func (t *topology) addresses(p *network.Port, nic *model.NetworkInterface, out exits) error {
	if !out.public {
		return nil
	}
	var err error
	if nic.PublicIP != "" {
		if p.PublicIP, err = netip.ParseAddr(nic.PublicIP); err != nil {
			return err
		}
		if v := t.vpcs[nic.VPCID]; v.DNSHostnames && v.DNSSupport {
			p.Names = append(p.Names, model.PublicHostname(nic.PublicIP, t.region))
		}
	}
	for _, s := range nic.Secondary {
		if s.PublicIP == "" {
			continue
		}
		var f network.Forward
		if f.PublicIP, err = netip.ParseAddr(s.PublicIP); err != nil {
			return err
		}
		if f.PrivateIP, err = netip.ParseAddr(s.IP); err != nil {
			return err
		}
		p.Forwards = append(p.Forwards, f)
	}
	return nil
}

// rulesOf are a group's rules.
func (t *topology) rulesOf(groupID string) (*[2][]network.Rule, error) {
	if r := t.rules[groupID]; r != nil {
		return r, nil
	}
	out := &[2][]network.Rule{}
	g := t.groups[groupID]
	for i := range g.Rules {
		r := &g.Rules[i]
		rule, ok, err := t.rule(r)
		if err != nil {
			return nil, fmt.Errorf("rule %s of %s: %w", r.ID, groupID, err)
		}
		direction := 0
		if r.Egress {
			direction = 1
		}
		if ok {
			out[direction] = append(out[direction], rule)
		}
	}
	t.rules[groupID] = out
	return out, nil
}

// rule is false for rules without a peer.
func (t *topology) rule(r *model.SecurityGroupRule) (network.Rule, bool, error) {
	out := network.Rule{ID: r.ID, Protocol: r.Protocol}
	switch r.Protocol {
	case "tcp", "udp":
		out.FromPort, out.ToPort = uint16(r.FromPort), uint16(r.ToPort)
	case "icmp", "icmpv6":
		out.ICMPType, out.ICMPCode = octet(r.FromPort), octet(r.ToPort)
	}
	switch {
	case r.GroupID != "":
		out.Group = r.GroupID
		t.named[r.GroupID] = true
	case r.CIDR+r.CIDRv6 != "": // one of them
		p, err := netip.ParsePrefix(r.CIDR + r.CIDRv6)
		if err != nil {
			return out, false, err
		}
		out.Peers = []netip.Prefix{p}
	}
	return out, out.Group != "" || len(out.Peers) > 0, nil
}

// octet is nil for -1, which is any.
func octet(n int) *uint8 {
	if n < 0 {
		return nil
	}
	b := uint8(n)
	return &b
}
