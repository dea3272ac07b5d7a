package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/network"
)

// Finding is the state of one layer between an instance and who wants to reach it.
type Finding struct {
	Layer  string
	Health Health
	Detail string
	Fix    string // "" if nothing is to be done, or nobody knows
}

// Health is how a layer is.
type Health int

// From best to worst.
const (
	Well Health = iota
	Doubtful
	Failing
)

// diagnosisDial is how long a guest may take to answer.
const diagnosisDial = 3 * time.Second

// Diagnose looks at an instance layer by layer: the machine, its link, its address,
// the way to its port, and whether the guest answers there. What depends on a
// layer that failed is not looked at.
func (n *Node) Diagnose(ctx context.Context, inst *model.Instance, port uint16) ([]Finding, error) {
	d := &diagnosis{Node: n, inst: inst, port: port}
	for _, look := range []func(context.Context) error{d.machine, d.link, d.lease, d.way, d.guest} {
		if err := look(ctx); err != nil {
			return nil, err
		}
		if d.over {
			break
		}
	}
	return d.found, nil
}

type diagnosis struct {
	*Node
	inst  *model.Instance
	port  uint16
	found []Finding
	since time.Time // when the machine was started
	over  bool      // what comes next cannot be well
}

func (d *diagnosis) add(layer string, h Health, fix, format string, args ...any) {
	d.found = append(d.found, Finding{Layer: layer, Health: h, Detail: fmt.Sprintf(format, args...), Fix: fix})
}

func (d *diagnosis) fail(layer, fix, format string, args ...any) {
	d.add(layer, Failing, fix, format, args...)
	d.over = true
}

func (d *diagnosis) machine(ctx context.Context) error {
	const layer = "machine"
	i := d.inst
	switch i.State {
	case model.InstanceRunning:
	case model.InstancePending:
		d.fail(layer, "wait for it: bundt wait "+i.ID, "the machine is being started")
		return nil
	case model.InstanceStopped:
		why := cmp.Or(i.StateReason.Message, i.TransitionReason, "nobody asked for it to run")
		d.fail(layer, "bundt start "+i.ID, "the instance is stopped: %s", why)
		return nil
	default:
		d.fail(layer, "", "the instance is %s: %s", i.State, cmp.Or(i.StateReason.Message, i.TransitionReason, "it was asked to"))
		return nil
	}
	st, err := d.Driver.Status(ctx, i.ID)
	if err != nil && !errors.Is(err, hypervisor.ErrNotFound) {
		return fmt.Errorf("looking at machine %s: %w", i.ID, err)
	}
	d.since = st.Started
	switch {
	case err != nil || st.State == hypervisor.StateStopped:
		d.fail(layer, "it is started again by itself; see what it said: bundt logs "+i.ID, "%s", cmp.Or(st.Detail, "the machine is gone"))
	case st.State == hypervisor.StatePaused:
		d.fail(layer, "", "the machine is paused: %s", st.Detail)
	case len(i.Crashes) > 0:
		d.add(layer, Doubtful, "see what it says: bundt logs "+i.ID, "the machine runs, and has ended unexpectedly %s lately", times(len(i.Crashes)))
	default:
		d.add(layer, Well, "", "runs since %s by %s (%s)", st.Started.UTC().Format(time.RFC3339), cmp.Or(i.Accel.Name, "its hypervisor"), i.Accel.Reason)
	}
	return nil
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func (d *diagnosis) link(ctx context.Context) error {
	st, ok, err := d.portStatus(ctx)
	switch {
	case err != nil:
		return err
	case !ok:
		d.fail("link", "try again in a moment", "%s is not on the network yet", d.inst.Interface.ID)
	case !st.Connected:
		d.fail("link", "try again in a moment", "the network has no connection with the machine")
	default:
		d.add("link", Well, "", "%s is connected", d.inst.Interface.ID)
	}
	return nil
}

func (d *diagnosis) portStatus(ctx context.Context) (network.PortStatus, bool, error) {
	s, err := d.Datapath.Status(ctx, d.inst.Interface.ID)
	if err != nil {
		return network.PortStatus{}, false, fmt.Errorf("asking the network: %w", err)
	}
	st, ok := s.Ports[d.inst.Interface.ID]
	return st, ok, nil
}

func (d *diagnosis) lease(ctx context.Context) error {
	st, _, err := d.portStatus(ctx)
	if err != nil {
		return err
	}
	logs := "see what the guest says: bundt logs " + d.inst.ID
	switch {
	case !st.LeasedAt.IsZero() && !st.LeasedAt.Before(d.since):
		d.add("address", Well, "", "the guest took %s by DHCP at %s", d.inst.Interface.PrivateIP, st.LeasedAt.UTC().Format(time.RFC3339))
	case st.LastSeen.IsZero() || st.LastSeen.Before(d.since):
		d.fail("address", logs, "the guest has sent nothing on its interface: it has not booted so far, or has no driver for it")
	default:
		d.fail("address", logs, "no address yet: the guest sent no DHCP request; it last sent something at %s", st.LastSeen.UTC().Format(time.RFC3339))
	}
	return nil
}

// way looks at what lets clients of this host get to the port: the public address,
// the route, the security groups, the host's listener.
func (d *diagnosis) way(ctx context.Context) error {
	if d.inst.Interface.PublicIP == "" {
		d.add("public address", Doubtful, "give it one: bundt address allocate, then bundt address associate ADDRESS "+d.inst.ID,
			"it has none, so that nothing outside of its VPC gets there; bundt ssh and bundt forward do")
		return nil
	}
	public, err := netip.ParseAddr(d.inst.Interface.PublicIP)
	if err != nil {
		return fmt.Errorf("reading the public address of %s: %w", d.inst.ID, err)
	}
	steps, err := d.Trace(ctx, network.Probe{
		Source: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Destination: public, Protocol: protocolTCP, Port: d.port,
	})
	if err != nil {
		return err
	}
	for _, s := range steps {
		layer, ok := map[network.Place]string{network.PlacePublic: "public address", network.PlaceACL: "network ACL", network.PlaceIngress: "security group", network.PlaceHost: "host's port"}[s.Place]
		switch {
		case !ok:
		case s.Passes:
			d.add(layer, Well, "", "%s", s.Detail)
		default:
			d.add(layer, Failing, d.fixOf(&s), "%s", s.Detail)
		}
	}
	return nil
}

// protocolTCP is IP's number of TCP.
const protocolTCP = 6

func (d *diagnosis) fixOf(s *TraceStep) string {
	switch {
	case s.Place == network.PlaceIngress && len(d.inst.Interface.Groups) > 0:
		return fmt.Sprintf("bundt security-group allow %s tcp/%d", d.inst.Interface.Groups[0], d.port)
	case s.Place == network.PlaceACL:
		return fmt.Sprintf("bundt network-acl entries %s shows what decides; see bundt network-acl allow --help", s.Component)
	case s.Place == network.PlaceHost:
		return "bundt doctor says what this host allows"
	}
	return ""
}

// guest asks the guest itself, from its gateway: security groups have no say in that.
func (d *diagnosis) guest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, diagnosisDial)
	defer cancel()
	c, err := d.Datapath.Dial(ctx, d.inst.Interface.ID, d.port)
	switch {
	case err == nil:
		c.Close()
		d.add("guest", Well, "", "it answers on port %d", d.port)
	case errors.Is(err, network.ErrUnreachable), errors.Is(err, network.ErrNoSuchPort), errors.Is(err, context.DeadlineExceeded):
		d.add("guest", Failing, "see what it says: bundt logs "+d.inst.ID, "nothing answers on port %d: no program of the guest listens there, or a filter of its own keeps it shut", d.port)
	default:
		return fmt.Errorf("asking the guest: %w", err)
	}
	return nil
}
