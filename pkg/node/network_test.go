package node_test

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/network"
)

// port waits until the datapath has the instance's port as ok wants it.
func (w *world) port(id, what string, ok func(network.Port) bool) {
	w.t.Helper()
	w.eventually(what, func() error {
		for _, p := range w.net.Config().Ports {
			if p.InstanceID == id && ok(p) {
				return nil
			}
		}
		return fmt.Errorf("the datapath has %+v", w.net.Config().Ports)
	})
}

func opens(p network.Port, port uint16) bool {
	return slices.ContainsFunc(p.Ingress, func(r network.Rule) bool {
		return r.Protocol == "tcp" && r.FromPort == port && len(r.Peers) == 1 && r.Peers[0].Bits() == 0
	})
}

// Changes of groups and routes reach the datapath of what runs already.
func TestRulesReachDatapath(t *testing.T) {
	w := newWorld(t)
	inst := w.run(w.build().ID)
	w.wait(inst.ID, model.InstanceRunning)
	w.port(inst.ID, "the default group opens SSH", func(p network.Port) bool {
		return opens(p, 22) && !opens(p, 9000) && len(p.Routes) == 1 && p.PublicIP.IsValid()
	})
	// Members of the default group reach each other: a rule that names the group.
	w.port(inst.ID, "the group has its members", func(p network.Port) bool {
		return slices.ContainsFunc(p.Ingress, func(r network.Rule) bool {
			return r.Protocol == "-1" && slices.Contains(w.net.Config().Groups[r.Group], p.PrivateIP)
		})
	})

	group := cloud.GroupRef{Name: cloud.DefaultGroupName}
	nine := int32(9000)
	spec := []cloud.RuleSpec{{Protocol: "tcp", FromPort: &nine, ToPort: &nine, CIDR: "0.0.0.0/0"}}
	if _, _, err := w.cloud.AuthorizeRules(t.Context(), group, false, spec, nil); err != nil {
		t.Fatal(err)
	}
	w.port(inst.ID, "port 9000 is open", func(p network.Port) bool { return opens(p, 9000) })
	if _, err := w.cloud.RevokeRules(t.Context(), group, false, nil, spec); err != nil {
		t.Fatal(err)
	}
	w.port(inst.ID, "port 9000 is closed", func(p network.Port) bool { return !opens(p, 9000) })

	tables, err := w.cloud.RouteTables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cloud.DeleteRoute(t.Context(), tables[0].ID, "0.0.0.0/0"); err != nil {
		t.Fatal(err)
	}
	w.port(inst.ID, "nothing leads outside", func(p network.Port) bool { return len(p.Routes) == 0 && !p.PublicIP.IsValid() })
}

// A public address is an instance's while it runs.
func TestPublicAddressGoesWithStop(t *testing.T) {
	w := newWorld(t)
	inst := w.run(w.build().ID)
	before := w.wait(inst.ID, model.InstanceRunning).Interface
	if _, err := w.cloud.Stop(t.Context(), []string{inst.ID}, true); err != nil {
		t.Fatal(err)
	}
	stopped := w.wait(inst.ID, model.InstanceStopped).Interface
	if before.PublicIP == "" || stopped.PublicIP != "" || stopped.PrivateIP != before.PrivateIP {
		t.Errorf("running it had %s and %s, stopped %q and %q", before.PrivateIP, before.PublicIP, stopped.PrivateIP, stopped.PublicIP)
	}
	if _, err := w.cloud.Start(t.Context(), []string{inst.ID}); err != nil {
		t.Fatal(err)
	}
	again := w.wait(inst.ID, model.InstanceRunning).Interface
	if again.PublicIP == "" || again.PrivateIP != before.PrivateIP {
		t.Errorf("started again it has %q and %q", again.PrivateIP, again.PublicIP)
	}
	if _, err := w.cloud.Terminate(t.Context(), []string{inst.ID}); err != nil {
		t.Fatal(err)
	}
	w.wait(inst.ID, model.InstanceTerminated)
	subnets, err := w.cloud.Subnets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	nics, err := w.cloud.FindInterfaces(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if subnets[0].Available != 4091 || len(nics) != 0 {
		t.Errorf("after the end %d addresses are free, and there are the interfaces %+v", subnets[0].Available, nics)
	}
}

// An elastic address moves between running instances at once, and stays over a stop.
func TestElasticAddressMoves(t *testing.T) {
	w := newWorld(t)
	image := w.build().ID
	a, b := w.run(image), w.run(image)
	w.wait(a.ID, model.InstanceRunning)
	w.wait(b.ID, model.InstanceRunning)
	e, err := w.cloud.AllocateAddress(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	ref := cloud.AddressRef{AllocationID: e.ID}
	has := func(p network.Port) bool { return p.PublicIP.String() == e.PublicIP }
	for _, id := range []string{a.ID, b.ID} {
		if _, err := w.cloud.AssociateAddress(t.Context(), ref, cloud.Association{InstanceID: id}); err != nil {
			t.Fatal(err)
		}
		w.port(id, "the address leads to "+id, has)
	}
	w.port(a.ID, "the address has gone from the first", func(p network.Port) bool { return !p.PublicIP.IsValid() && len(p.Routes) == 0 })
	if _, err := w.cloud.Stop(t.Context(), []string{b.ID}, true); err != nil {
		t.Fatal(err)
	}
	if stopped := w.wait(b.ID, model.InstanceStopped); stopped.Interface.PublicIP != e.PublicIP {
		t.Errorf("stopped it has %q, not the elastic address %s", stopped.Interface.PublicIP, e.PublicIP)
	}
}

// attachmentOf waits until an interface's attachment is in a state, "" for none.
func (w *world) attachmentOf(id string, want model.AttachmentState) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("interface %s is %q", id, want), func() error {
		nics, err := w.cloud.FindInterfaces(w.t.Context(), nil)
		if err != nil {
			return err
		}
		for _, n := range nics {
			var got model.AttachmentState
			if n.ID == id && n.Attachment != nil {
				got = cmp.Or(n.Attachment.State, model.Attached)
			}
			if n.ID == id && got != want {
				return fmt.Errorf("it is %q", got)
			}
		}
		return nil
	})
}

// nics are a machine's interfaces, each with its index.
func (w *world) nics(machine string) string {
	spec, _ := w.host.Spec(machine)
	var out []string
	for _, n := range spec.NICs {
		out = append(out, fmt.Sprintf("%s=%d", n.ID, n.Index))
	}
	return strings.Join(out, " ")
}

// A second interface comes to a running machine and goes again, keeps its index
// over a stop, and waits for a guest that holds it, unless it is taken by force.
func TestAttachInterface(t *testing.T) {
	w := newWorld(t)
	w.stop()
	w.host.GuestFor = holding
	w.start()
	inst := w.run(w.build().ID)
	inst = w.wait(inst.ID, model.InstanceRunning)
	n, err := w.cloud.CreateNetworkInterface(t.Context(), cloud.InterfaceSpec{}, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	attach := func() (attachment string) {
		t.Helper()
		if attachment, err = w.cloud.AttachNetworkInterface(t.Context(), n.ID, inst.ID, 2); err != nil {
			t.Fatal(err)
		}
		return attachment
	}
	detach := func(attachment string, force bool, want string) {
		t.Helper()
		if err := w.cloud.DetachNetworkInterface(t.Context(), attachment, force); err != nil && (want == "" || model.CodeOf(err) != want) || err == nil && want != "" {
			t.Fatalf("detaching (by force: %v) answers %v, want %q", force, err, want)
		}
	}
	first := inst.Interface.ID + "=0"
	both := first + " " + n.ID + "=2"

	attachment := attach()
	w.attachmentOf(n.ID, model.Attached)
	w.port(inst.ID, "both interfaces are on the network", func(p network.Port) bool { return p.ID == n.ID })
	if got := w.nics(inst.ID); got != both {
		t.Errorf("the machine has %s, want %s", got, both)
	}
	other, err := w.cloud.CreateNetworkInterface(t.Context(), cloud.InterfaceSpec{}, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.cloud.AttachNetworkInterface(t.Context(), other.ID, inst.ID, 2); model.CodeOf(err) != model.CodeInvalidParameterValue {
		t.Errorf("a second interface of one index: %v", err)
	}

	// The guest holds it, also for a daemon that comes later.
	detach(attachment, false, "")
	detach(attachment, false, model.CodeIncorrectState)
	w.attachmentOf(n.ID, model.Detaching)
	w.stop()
	w.start()
	if err := w.host.LetGo(inst.ID); err != nil {
		t.Fatal(err)
	}
	w.attachmentOf(n.ID, "")
	if got := w.nics(inst.ID); got != first {
		t.Errorf("the machine has %s, want %s", got, first)
	}
	w.eventually("the port is gone", func() error {
		if slices.ContainsFunc(w.net.Config().Ports, func(p network.Port) bool { return p.ID == n.ID }) {
			return errors.New("it is there")
		}
		return nil
	})

	// What is attached while no daemon runs comes to the machine with the next one,
	// and is its at the next start; what is being detached is not.
	w.stop()
	attachment = attach()
	w.start()
	w.attachmentOf(n.ID, model.Attached)
	restart := func() {
		t.Helper()
		if _, err := w.cloud.Stop(t.Context(), []string{inst.ID}, true); err != nil {
			t.Fatal(err)
		}
		w.wait(inst.ID, model.InstanceStopped)
		if _, err := w.cloud.Start(t.Context(), []string{inst.ID}); err != nil {
			t.Fatal(err)
		}
		w.wait(inst.ID, model.InstanceRunning)
	}
	restart()
	if got := w.nics(inst.ID); got != both {
		t.Errorf("started again, the machine has %s, want %s", got, both)
	}
	detach(attachment, false, "")
	restart()
	w.attachmentOf(n.ID, "")
	if got := w.nics(inst.ID); got != first {
		t.Errorf("started without it, the machine has %s, want %s", got, first)
	}

	detachByForce := attach()
	w.attachmentOf(n.ID, model.Attached)
	detach(detachByForce, true, "")
	w.attachmentOf(n.ID, "")
	detach(inst.Interface.Attachment.ID, true, "OperationNotPermitted")

	attach()
	w.attachmentOf(n.ID, model.Attached)
	if _, err := w.cloud.Terminate(t.Context(), []string{inst.ID}); err != nil {
		t.Fatal(err)
	}
	w.wait(inst.ID, model.InstanceTerminated)
	w.attachmentOf(n.ID, "")
}

// A public address comes and goes while the instance runs, and guests see it in
// the metadata; so do the names of elastic addresses.
func TestPublicAddressOfRunningInstance(t *testing.T) {
	w := newWorld(t)
	inst := w.run(w.build().ID)
	inst = w.wait(inst.ID, model.InstanceRunning)
	turn := func(on bool) {
		t.Helper()
		if err := w.cloud.ModifyNetworkInterface(t.Context(), inst.Interface.ID, cloud.InterfaceChange{AssociatePublic: &on}); err != nil {
			t.Fatal(err)
		}
	}
	turn(false)
	w.port(inst.ID, "the address is gone", func(p network.Port) bool {
		return !p.PublicIP.IsValid() && p.Metadata.PublicHostname == "" && p.Metadata.Interfaces[0].PrivateIPs[0].Public == ""
	})
	turn(true)
	w.port(inst.ID, "there is an address again", func(p network.Port) bool {
		d := p.Metadata
		return p.PublicIP.IsValid() && d.PublicIP == p.PublicIP.String() && d.Interfaces[0].PrivateIPs[0].Public == d.PublicIP &&
			d.PublicHostname == model.PublicHostname(d.PublicIP, "test-1")+".bundt.internal" && d.Interfaces[0].PublicHostname == d.PublicHostname
	})
	if _, err := w.cloud.AssignPrivateAddresses(t.Context(), inst.Interface.ID, nil, 1, false); err != nil {
		t.Fatal(err)
	}
	w.port(inst.ID, "the secondary address is told", func(p network.Port) bool {
		return len(p.Secondary) == 1 && len(p.Metadata.Interfaces[0].PrivateIPs) == 2 && p.Metadata.Interfaces[0].PrivateIPs[1].IP == p.Secondary[0].String()
	})

	// Stopped, the choice is for the next start; an elastic address is not touched.
	if _, err := w.cloud.Stop(t.Context(), []string{inst.ID}, true); err != nil {
		t.Fatal(err)
	}
	w.wait(inst.ID, model.InstanceStopped)
	turn(true)
	if i := w.wait(inst.ID, model.InstanceStopped); i.Interface.PublicIP != "" || !i.Interface.AutoPublic {
		t.Errorf("the stopped instance has %+v", i.Interface)
	}
	e, err := w.cloud.AllocateAddress(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.cloud.AssociateAddress(t.Context(), cloud.AddressRef{AllocationID: e.ID}, cloud.Association{InstanceID: inst.ID}); err != nil {
		t.Fatal(err)
	}
	turn(false)
	if i := w.wait(inst.ID, model.InstanceStopped); i.Interface.PublicIP != e.PublicIP {
		t.Errorf("the elastic address %s is now %q", e.PublicIP, i.Interface.PublicIP)
	}
}

// A route to an instance leads there whether a port has a public address or not, and
// is a black hole once that has ended.
func TestRouteToInstance(t *testing.T) {
	w := newWorld(t)
	image := w.build().ID
	sender, router := w.run(image), w.run(image)
	w.wait(sender.ID, model.InstanceRunning)
	router = w.wait(router.ID, model.InstanceRunning)
	tables, err := w.cloud.RouteTables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	table, via := tables[0].ID, netip.MustParseAddr(router.Interface.PrivateIP)
	if err := w.cloud.AddRoute(t.Context(), table, "192.0.2.0/24", cloud.RouteTarget{InstanceID: router.ID}, false); err != nil {
		t.Fatal(err)
	}
	leads := func(p network.Port, cidr string) *network.Route {
		i := slices.IndexFunc(p.Routes, func(r network.Route) bool { return r.CIDR == netip.MustParsePrefix(cidr) })
		if i < 0 {
			return nil
		}
		return &p.Routes[i]
	}
	w.port(sender.ID, "the route leads to the router", func(p network.Port) bool {
		r, out := leads(p, "192.0.2.0/24"), leads(p, "0.0.0.0/0")
		return r != nil && r.Via == via && out != nil && !out.Blackhole && !out.Via.IsValid()
	})
	if err := w.cloud.AddRoute(t.Context(), table, "0.0.0.0/0", cloud.RouteTarget{InterfaceID: router.Interface.ID}, true); err != nil {
		t.Fatal(err)
	}
	w.port(sender.ID, "so does everything", func(p network.Port) bool {
		r := leads(p, "0.0.0.0/0")
		return r != nil && r.Via == via && !p.PublicIP.IsValid() // nothing leads by a gateway
	})
	if _, err := w.cloud.Terminate(t.Context(), []string{router.ID}); err != nil {
		t.Fatal(err)
	}
	w.port(sender.ID, "the router is gone", func(p network.Port) bool {
		r := leads(p, "0.0.0.0/0")
		return r == nil || r.Blackhole && !r.Via.IsValid()
	})
}

// Network ACLs reach the datapath; a default one that nobody has changed is none.
func TestNetworkACLReachesDatapath(t *testing.T) {
	w := newWorld(t)
	inst := w.run(w.build().ID)
	w.wait(inst.ID, model.InstanceRunning)
	subnet := func(what string, ok func(*network.ACL) bool) {
		t.Helper()
		w.eventually(what, func() error {
			for _, v := range w.net.Config().VPCs {
				for _, s := range v.Subnets {
					if s.ID == inst.Interface.SubnetID && ok(s.ACL) {
						return nil
					}
				}
			}
			return fmt.Errorf("the datapath has %+v", w.net.Config().VPCs)
		})
	}
	subnet("no ACL at first", func(a *network.ACL) bool { return a == nil })
	acl, err := w.cloud.CreateNetworkACL(t.Context(), inst.Interface.VPCID, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	subnets, err := w.cloud.Subnets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	association, err := w.cloud.ReplaceACLAssociation(t.Context(), subnets[0].ACLAssocID, acl.ID)
	if err != nil {
		t.Fatal(err)
	}
	subnet("one that denies everything", func(a *network.ACL) bool { return a != nil && a.ID == acl.ID && len(a.Ingress)+len(a.Egress) == 0 })
	err = w.cloud.PutACLEntry(t.Context(), acl.ID, model.ACLEntry{Number: 7, Allow: true, Protocol: "icmp", CIDR: "10.0.0.0/8", ICMPType: 8, ICMPCode: -1}, false)
	if err != nil {
		t.Fatal(err)
	}
	subnet("its entry", func(a *network.ACL) bool {
		if a == nil || len(a.Ingress) != 1 {
			return false
		}
		e := a.Ingress[0]
		return e.Number == 7 && e.Allow && e.Protocol == "icmp" && *e.ICMPType == 8 && e.ICMPCode == nil && e.Peers[0].String() == "10.0.0.0/8"
	})
	acls, err := w.cloud.NetworkACLs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byDefault := acls[slices.IndexFunc(acls, func(a model.NetworkACL) bool { return !a.Custom })]
	if _, err := w.cloud.ReplaceACLAssociation(t.Context(), association, byDefault.ID); err != nil {
		t.Fatal(err)
	}
	subnet("no ACL again", func(a *network.ACL) bool { return a == nil })
	if err := w.cloud.DeleteACLEntry(t.Context(), byDefault.ID, model.ACLAllowNumber, true); err != nil {
		t.Fatal(err)
	}
	subnet("a default one that has been changed", func(a *network.ACL) bool { return a != nil && len(a.Egress) == 0 && len(a.Ingress) == 1 })
}
