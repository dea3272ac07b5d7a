package node_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/network"
)

// A VPC, its subnet and a running instance get IPv6: the datapath hears of ranges,
// addresses, rules, routes and group members, and the guest of its own.
func TestIPv6ReachesDatapath(t *testing.T) {
	w := newWorld(t)
	inst := w.run(w.build().ID)
	w.wait(inst.ID, model.InstanceRunning)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	v, err := w.cloud.AssociateVPCRangeV6(t.Context(), inst.Interface.VPCID)
	must(err)
	cidr := netip.PrefixFrom(netip.MustParsePrefix(v.CIDRv6).Addr(), 64)
	_, err = w.cloud.AssociateSubnetRangeV6(t.Context(), inst.Interface.SubnetID, cidr.String())
	must(err)
	ips, err := w.cloud.AssignIPv6(t.Context(), inst.Interface.ID, nil, 1)
	must(err)
	tables, err := w.cloud.RouteTables(t.Context())
	must(err)
	gateway, err := w.cloud.CreateEgressOnlyGateway(t.Context(), v.ID, "", nil)
	must(err)
	must(w.cloud.AddRoute(t.Context(), tables[0].ID, "::/0", cloud.RouteTarget{GatewayID: gateway.ID}, false))
	eight := int32(128)
	spec := []cloud.RuleSpec{{Protocol: "icmpv6", FromPort: &eight, CIDRv6: "::/0"}}
	_, _, err = w.cloud.AuthorizeRules(t.Context(), cloud.GroupRef{Name: cloud.DefaultGroupName}, false, spec, nil)
	must(err)
	all := netip.MustParsePrefix("::/0")
	w.port(inst.ID, "the port has IPv6", func(p network.Port) bool {
		meta := p.Metadata.Interfaces[0]
		return len(p.IPv6) == 1 && p.IPv6[0].String() == ips[0] && cidr.Contains(p.IPv6[0]) &&
			slices.Contains(p.Routes, network.Route{CIDR: all}) && len(p.Routes) == 2 &&
			slices.ContainsFunc(p.Ingress, func(r network.Rule) bool {
				return r.Protocol == "icmpv6" && *r.ICMPType == 128 && r.ICMPCode == nil && r.Peers[0] == all
			}) &&
			slices.ContainsFunc(p.Egress, func(r network.Rule) bool { return r.Protocol == "-1" && r.Peers[0] == all }) &&
			slices.ContainsFunc(p.Ingress, func(r network.Rule) bool { return slices.Contains(w.net.Config().Groups[r.Group], p.IPv6[0]) }) &&
			slices.Equal(meta.IPv6s, ips) && slices.Equal(meta.VPCCIDRsV6, []string{v.CIDRv6}) && slices.Equal(meta.SubnetCIDRsV6, []string{cidr.String()})
	})
	vpc := w.net.Config().VPCs[0]
	if vpc.CIDRv6.String() != v.CIDRv6 || vpc.Subnets[0].CIDRv6 != cidr {
		t.Errorf("the datapath's VPC has %s and %s", vpc.CIDRv6, vpc.Subnets[0].CIDRv6)
	}
	// It stays over a stop, and is free after the end.
	_, err = w.cloud.Stop(t.Context(), []string{inst.ID}, true)
	must(err)
	w.wait(inst.ID, model.InstanceStopped)
	_, err = w.cloud.Start(t.Context(), []string{inst.ID})
	must(err)
	if again := w.wait(inst.ID, model.InstanceRunning).Interface; !slices.Equal(again.IPv6, ips) {
		t.Errorf("started again it has %v, before %v", again.IPv6, ips)
	}
	_, err = w.cloud.Terminate(t.Context(), []string{inst.ID})
	must(err)
	w.wait(inst.ID, model.InstanceTerminated)
	n, err := w.cloud.CreateNetworkInterface(t.Context(), cloud.InterfaceSpec{IPv6: ips}, "", nil)
	must(err)
	if !slices.Equal(n.IPv6, ips) {
		t.Errorf("the address of the terminated instance is not free: %v", n.IPv6)
	}
}

// The name that is made of an instance's id has the records that its launch asks for.
func TestResourceNames(t *testing.T) {
	w := newWorld(t)
	image := w.build().ID
	for _, c := range []struct {
		options model.InstanceOptions
		a, aaaa bool
	}{
		{model.InstanceOptions{}, false, false},
		{model.InstanceOptions{ResourceARecord: true}, true, false},
		{model.InstanceOptions{ResourceAAAARecord: true}, false, true},
		{model.InstanceOptions{ResourceARecord: true, ResourceAAAARecord: true}, true, true},
	} {
		insts, err := w.cloud.Run(t.Context(), cloud.Launch{
			ImageID: image, Type: "b1.nano", MinCount: 1, MaxCount: 1, Options: c.options, Metadata: model.MetadataOptions{HTTPTokens: "optional", HopLimit: 1},
		})
		if err != nil {
			t.Fatal(err)
		}
		id := insts[0].ID
		w.port(id, "its names are those asked for", func(p network.Port) bool {
			return slices.Contains(p.Names, id) == c.a && slices.Contains(p.NamesV6, id) == c.aaaa
		})
	}
}
