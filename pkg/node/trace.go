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
)

// TraceStep is the judgement of one place on a packet's way, in the words of the
// cloud's objects.
type TraceStep struct {
	Place     network.Place
	Component string // id of the object that judged: a security group, a network ACL, a route table, an interface, a VPC; "" for the host
	Rule      string // a security group rule's id, a network ACL entry's number, or a route's destination; "" if none decided
	Passes    bool
	Detail    string
}

// Trace follows the first packet of a flow. The datapath judges; what it says is
// told of the objects that its configuration came from.
func (n *Node) Trace(ctx context.Context, p network.Probe) ([]TraceStep, error) {
	tracer, ok := n.Datapath.(network.Tracer)
	if !ok {
		return nil, model.Errorf(model.CodeUnsupportedOperation, "This node's network tells nothing of packets' ways")
	}
	t, err := n.surroundings(ctx)
	if err != nil {
		return nil, err
	}
	found, err := tracer.Trace(ctx, p)
	if errors.Is(err, network.ErrNoSuchPort) {
		return []TraceStep{{Place: network.PlaceSender, Component: p.From, Detail: t.absent(p.From)}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("following a packet: %w", err)
	}
	steps := make([]TraceStep, len(found.Steps))
	for i := range found.Steps {
		steps[i] = t.explain(&found.Steps[i], &p)
	}
	return steps, nil
}

// surroundings are the objects that a datapath's configuration came from.
type surroundings struct {
	*topology
	instances []*model.Instance
}

func (n *Node) surroundings(ctx context.Context) (*surroundings, error) {
	instances, err := n.instances.All(ctx)
	if err != nil {
		return nil, err
	}
	t, err := n.topology(ctx, nil)
	return &surroundings{t, instances}, err
}

// nic is an interface of an instance, with that; nil if it is of none.
func (t *surroundings) nic(is func(*model.NetworkInterface) bool) (*model.NetworkInterface, *model.Instance) {
	for _, inst := range t.instances {
		for _, nic := range inst.Interfaces() {
			if is(&nic) {
				return &nic, inst
			}
		}
	}
	return nil, nil
}

func (t *surroundings) nicOf(id string) (*model.NetworkInterface, *model.Instance) {
	return t.nic(func(nic *model.NetworkInterface) bool { return nic.ID == id })
}

// absent says why an interface is not on the network.
func (t *surroundings) absent(id string) string {
	_, inst := t.nicOf(id)
	switch {
	case inst == nil:
		return fmt.Sprintf("%s is not attached to an instance", id)
	case inst.State != model.InstanceRunning:
		return fmt.Sprintf("%s of %s is not on the network: the instance is %s", id, inst.ID, inst.State)
	}
	return fmt.Sprintf("%s of %s is not on the network yet", id, inst.ID)
}

// explain tells a step of the objects that the datapath's configuration came from.
func (t *surroundings) explain(s *network.TraceStep, p *network.Probe) TraceStep {
	out := TraceStep{Place: s.Place, Component: s.On, Rule: s.Rule, Passes: s.Passes, Detail: s.Why}
	nic, inst := t.nicOf(s.On)
	switch s.Place {
	case network.PlaceEgress, network.PlaceIngress:
		if nic != nil {
			t.explainGroups(&out, nic)
		}
	case network.PlaceACL:
		out.Detail = "network ACL " + s.On + ": " + out.Detail
	case network.PlaceRoute:
		if nic != nil {
			t.explainRoute(&out, nic, p.Destination)
		}
	case network.PlaceVPC:
		if !s.Passes {
			t.explainNobody(&out, p.Destination.String(), func(nic *model.NetworkInterface) []string {
				if nic.VPCID != s.On {
					return nil
				}
				return slices.Concat(secondaryIPs(nic), nic.IPv6, []string{nic.PrivateIP})
			})
		}
	case network.PlacePublic:
		if s.On == "" {
			t.explainNobody(&out, p.Destination.String(), publicIPs)
		}
	default:
		if nic != nil && inst != nil {
			out.Detail = strings.Replace(out.Detail, "the guest ", "the guest of "+inst.ID+" ", 1)
		}
	}
	return out
}

func publicIPs(nic *model.NetworkInterface) []string {
	out := []string{nic.PublicIP}
	for _, s := range nic.Secondary {
		out = append(out, s.PublicIP)
	}
	return out
}

// groupName is a group's id with its name.
func (t *surroundings) groupName(id string) string {
	if name := t.groups[id].Name; name != "" {
		return id + " (" + name + ")"
	}
	return id
}

// explainGroups names the group that let a packet pass, or those that did not.
func (t *surroundings) explainGroups(s *TraceStep, nic *model.NetworkInterface) {
	var names []string
	for _, id := range nic.Groups {
		names = append(names, t.groupName(id))
		for _, r := range t.groups[id].Rules {
			if s.Passes && r.ID == s.Rule {
				s.Component, s.Detail = id, strings.Replace(s.Detail, "a rule allows", fmt.Sprintf("rule %s of security group %s allows", r.ID, t.groupName(id)), 1)
				return
			}
		}
	}
	if s.Passes || len(names) == 0 {
		return
	}
	s.Component = strings.Join(nic.Groups, ",")
	subject := "security group " + names[0] + " has"
	if len(names) > 1 {
		subject = "security groups " + strings.Join(names, ", ") + " have"
	}
	s.Detail = subject + " " + s.Detail
}

// explainRoute names the route table, and says what an interface lacks that has no
// way out although there is a route.
func (t *surroundings) explainRoute(s *TraceStep, nic *model.NetworkInterface, dst netip.Addr) {
	table, ok := t.tables[nic.SubnetID]
	if !ok {
		table = t.tables[nic.VPCID]
	}
	s.Component = table.ID
	var best *model.Route
	bits := -1
	for i := range table.Routes {
		cidr, err := netip.ParsePrefix(table.Routes[i].CIDR)
		if err == nil && cidr.Contains(dst) && cidr.Bits() > bits {
			best, bits = &table.Routes[i], cidr.Bits()
		}
	}
	switch {
	case best == nil:
		s.Detail = fmt.Sprintf("route table %s has no route to %s", table.ID, dst)
	case best.InterfaceID != "":
		s.Detail = fmt.Sprintf("route %s of route table %s leads to %s", best.CIDR, table.ID, best.InterfaceID)
		if best.Via == "" {
			s.Detail += ", which is deleted"
		}
	case s.Passes:
		s.Detail = fmt.Sprintf("route %s of route table %s leads to %s, which is attached to %s", best.CIDR, table.ID, best.GatewayID, nic.VPCID)
	case t.attached[best.GatewayID] != nic.VPCID:
		s.Detail = fmt.Sprintf("route %s of route table %s leads to %s, which is not attached to %s", best.CIDR, table.ID, best.GatewayID, nic.VPCID)
	default:
		s.Detail = fmt.Sprintf("route %s of route table %s leads to %s, but %s has no public address, which an internet gateway needs", best.CIDR, table.ID, best.GatewayID, nic.ID)
	}
}

// explainNobody says who would have the address if its instance ran, or its subnet
// had a way out.
func (t *surroundings) explainNobody(s *TraceStep, address string, of func(*model.NetworkInterface) []string) {
	nic, inst := t.nic(func(nic *model.NetworkInterface) bool {
		for _, a := range of(nic) {
			if a == address {
				return true
			}
		}
		return false
	})
	switch {
	case nic == nil:
	case inst.State != model.InstanceRunning:
		s.Component, s.Detail = nic.ID, fmt.Sprintf("%s of %s has %s, and the instance is %s", nic.ID, inst.ID, address, inst.State)
	default:
		if !t.findExits(nic.SubnetID, nic.VPCID).public {
			s.Component, s.Detail = nic.ID, fmt.Sprintf("%s of %s has %s, but its subnet %s has no route to an internet gateway that is attached to %s", nic.ID, inst.ID, address, nic.SubnetID, nic.VPCID)
		}
	}
}
