package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// topology is the cloud's network: instances and interfaces, and the rest at a
// revision not older.
type topology struct {
	region    string
	instances []*model.Instance
	vpcs      map[string]model.VPC
	subnets   map[string]model.Subnet
	groups    map[string]model.SecurityGroup
	options   map[string]model.DHCPOptions
	attached  map[string]string             // internet gateway -> VPC
	tables    map[string]model.RouteTable   // subnet, or VPC for the main table -> route table
	reverse   map[netip.Addr]string         // elastic address -> its domain name
	members   map[string][]netip.Addr       // security group -> its interfaces' addresses
	named     map[string]bool               // security groups that rules name
	rules     map[string]*[2][]network.Rule // security group -> its rules: ingress, egress
	signing   *model.SigningKey             // nil if there is none yet
}

// networkCollections are what a topology is made from.
var networkCollections = []string{
	records.VPCs.Name(), records.Subnets.Name(), records.Groups.Name(), records.Gateways.Name(),
	records.RouteTables.Name(), records.DHCPOptions.Name(), records.Interfaces.Name(), records.ElasticAddresses.Name(),
	records.SigningKeys.Name(),
}

func (n *Node) topology(ctx context.Context) (*topology, error) {
	t := &topology{region: n.Cloud.Region, members: map[string][]netip.Addr{}, named: map[string]bool{}, rules: map[string]*[2][]network.Rule{}}
	var err error
	if t.instances, err = n.instances.All(ctx); err != nil {
		return nil, err
	}
	nics, err := n.interfaces.All(ctx)
	if err != nil {
		return nil, err
	}
	t.join(nics)
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

// join lists the members of each group.
func (t *topology) join(nics []*model.NetworkInterface) {
	for _, nic := range nics {
		for _, ip := range privateAddresses(nic) {
			for _, g := range nic.Groups {
				t.members[g] = append(t.members[g], ip)
			}
		}
	}
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

func secondaryIPs(n *model.NetworkInterface) (out []string) {
	for _, p := range n.Secondary {
		out = append(out, p.IP)
	}
	return out
}

// networkConfig is what the datapath is to be: the machines that run here, and
// the VPCs that they are in.
func (n *Node) networkConfig(ctx context.Context) (network.Config, error) {
	t, err := n.topology(ctx)
	if err != nil {
		return network.Config{}, err
	}
	cfg := network.Config{Region: n.Cloud.Region, Signing: t.signing}
	used := map[string]bool{}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, inst := range t.instances {
		for _, nic := range inst.Interfaces() {
			socket, ok := n.sockets[inst.ID][nic.ID]
			if !ok {
				continue
			}
			port, err := n.port(t, inst, &nic, socket)
			if err != nil {
				return cfg, fmt.Errorf("instance %s: %w", inst.ID, err)
			}
			cfg.Ports = append(cfg.Ports, port)
			used[nic.VPCID] = true
		}
	}
	for id := range used {
		v, err := t.vpc(id)
		if err != nil {
			return cfg, err
		}
		cfg.VPCs = append(cfg.VPCs, v)
	}
	cfg.Groups = make(map[string][]netip.Addr, len(t.named))
	for id := range t.named {
		cfg.Groups[id] = t.members[id]
	}
	slices.SortFunc(cfg.VPCs, func(a, b network.VPC) int { return strings.Compare(a.ID, b.ID) })
	return cfg, nil
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
		ID: id, CIDR: cidr, MTU: interfaceMTU, DomainName: model.PrivateDomain(t.region), NoDNS: !v.DNSSupport, DHCP: t.dhcp(&v), Reverse: t.reverse,
	}
	for _, s := range t.subnets {
		if s.VPCID != id {
			continue
		}
		if cidr, err = netip.ParsePrefix(s.CIDR); err != nil {
			return out, fmt.Errorf("reading the range of %s: %w", s.ID, err)
		}
		out.Subnets = append(out.Subnets, network.Subnet{ID: s.ID, CIDR: cidr})
	}
	slices.SortFunc(out.Subnets, func(a, b network.Subnet) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
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

// routes lead out of a subnet by internet gateways.
func (t *topology) routes(subnetID, vpcID string) (out []network.Route, public bool) {
	table, ok := t.tables[subnetID]
	if !ok {
		table = t.tables[vpcID]
	}
	for _, r := range table.Routes {
		cidr, err := netip.ParsePrefix(r.CIDR)
		if err != nil {
			continue
		}
		active := t.attached[r.GatewayID] == vpcID
		public = public || active
		out = append(out, network.Route{CIDR: cidr, Blackhole: !active})
	}
	return out, public
}

func (n *Node) port(t *topology, inst *model.Instance, nic *model.NetworkInterface, socket string) (network.Port, error) {
	addresses := privateAddresses(nic)
	if len(addresses) == 0 {
		return network.Port{}, fmt.Errorf("interface %s has no address", nic.ID)
	}
	p := network.Port{
		ID: nic.ID, InstanceID: inst.ID, VPCID: nic.VPCID, SubnetID: nic.SubnetID, MAC: nic.MAC,
		PrivateIP: addresses[0], Secondary: addresses[1:], Socket: socket, Metadata: n.document(t, inst), AnySource: nic.NoSourceDestCheck,
	}
	if nic.ID == inst.Interface.ID {
		p.Names = inst.HostNames()
		if name := inst.Tags["Name"]; name != "" {
			p.Names = append(p.Names, name)
		}
	}
	for _, g := range nic.Groups {
		rules, err := t.rulesOf(g)
		if err != nil {
			return p, err
		}
		p.Ingress = append(p.Ingress, rules[0]...)
		p.Egress = append(p.Egress, rules[1]...)
	}
	return p, t.public(&p, nic)
}

// public gives a port its public addresses, and what it reaches by them: as on
// EC2, an internet gateway translates addresses, so an interface without a
// public one reaches nothing by it.
func (t *topology) public(p *network.Port, nic *model.NetworkInterface) error {
	routes, ok := t.routes(nic.SubnetID, nic.VPCID)
	if !ok {
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
	if p.PublicIP.IsValid() || len(p.Forwards) > 0 {
		p.Routes = routes
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

// rule is false for rules that allow nothing in a network without IPv6.
func (t *topology) rule(r *model.SecurityGroupRule) (network.Rule, bool, error) {
	out := network.Rule{Protocol: r.Protocol}
	switch r.Protocol {
	case "tcp", "udp":
		out.FromPort, out.ToPort = uint16(r.FromPort), uint16(r.ToPort)
	case "icmp":
		out.ICMPType, out.ICMPCode = octet(r.FromPort), octet(r.ToPort)
	case "icmpv6":
		out.Protocol = "58"
	}
	switch {
	case r.GroupID != "":
		out.Group = r.GroupID
		t.named[r.GroupID] = true
	case r.CIDR != "":
		p, err := netip.ParsePrefix(r.CIDR)
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
