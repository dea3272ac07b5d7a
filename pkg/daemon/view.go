package daemon

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/bundt/bundt/pkg/api/actions"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/lan"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/node"
	"github.com/bundt/bundt/pkg/uefi"
)

// view shows the API what only the node knows.
type view struct{ daemon *Daemon }

func (v *view) Console(ctx context.Context, id string, max int) ([]byte, error) {
	return v.daemon.node.Console(ctx, id, max)
}

func (v *view) Screenshot(ctx context.Context, id string) (image.Image, error) {
	return v.daemon.node.Screenshot(ctx, id)
}

func (v *view) UEFIVariables(ctx context.Context, id string) ([]uefi.Variable, error) {
	return v.daemon.node.UEFIVariables(ctx, id)
}

func (v *view) Host(ctx context.Context, refresh bool) (*bundttypes.DescribeHostOutput, error) {
	if refresh {
		if err := v.daemon.node.Refresh(ctx); err != nil {
			return nil, err
		}
	}
	return examine(ctx, v.daemon.cfg, v.daemon.driver)
}

func (v *view) Foreign(ctx context.Context, name string) (model.ForeignMachine, error) {
	return v.daemon.node.Foreign(ctx, name)
}

func (v *view) Inventory(ctx context.Context) ([]bundttypes.InventoryItem, error) {
	items, err := v.daemon.node.Inventory(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]bundttypes.InventoryItem, 0, len(items))
	for _, i := range items {
		out = append(out, bundttypes.InventoryItem{
			Id: i.ID, Kind: i.Kind, Orphan: i.Orphan, Owner: i.Owner, Path: i.Path, Pid: int32(i.PID), SizeBytes: i.SizeBytes,
		})
	}
	return out, nil
}

func (v *view) Details(ctx context.Context, inst *model.Instance) (bundttypes.InstanceDetails, error) {
	out := bundttypes.InstanceDetails{
		InstanceId: inst.ID, Accelerator: inst.Accel.Name, AcceleratorReason: inst.Accel.Reason, Architecture: string(inst.Arch),
		LoginUser: inst.LoginUser, Reachability: string(inst.Reachability),
	}
	if !inst.ReachableSince.IsZero() {
		out.ReachableSince = &inst.ReachableSince
	}
	if inst.State == model.InstanceTerminated {
		return out, nil
	}
	spec, err := v.daemon.node.Spec(ctx, inst)
	if err != nil {
		return out, fmt.Errorf("looking at instance %s: %w", inst.ID, err)
	}
	for i, d := range spec.Disks {
		l := bundttypes.VolumeLayers{VolumeId: d.ID, Device: inst.Volumes[i].Device}
		for _, layer := range d.Layers {
			l.LayerIds = append(l.LayerIds, layer.ID)
		}
		out.Volumes = append(out.Volumes, l)
	}
	st, err := v.daemon.driver.Status(ctx, inst.ID)
	if errors.Is(err, hypervisor.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("looking at machine %s: %w", inst.ID, err)
	}
	out.Pid = int32(st.PID)
	if !st.Started.IsZero() {
		out.StartedAt = &st.Started
	}
	if st.State == hypervisor.StatePaused {
		out.ReachabilityReason = st.Detail
	}
	return out, v.addPort(ctx, inst, &out)
}

func (v *view) addPort(ctx context.Context, inst *model.Instance, out *bundttypes.InstanceDetails) error {
	nics := inst.Interfaces()
	ids := make([]string, len(nics))
	for i := range nics {
		ids[i] = nics[i].ID
	}
	status, err := v.daemon.datapath.Status(ctx, ids...)
	if err != nil {
		return fmt.Errorf("asking the network: %w", err)
	}
	for _, id := range ids {
		if p, ok := status.Ports[id]; ok {
			out.Traffic = append(out.Traffic, trafficOf(id, &p))
		}
	}
	port, ok := status.Ports[inst.Interface.ID]
	if !ok {
		return nil
	}
	for _, l := range port.Listening {
		out.Listening = append(out.Listening, l.String())
	}
	for _, l := range port.ListeningUDP {
		out.ListeningUDP = append(out.ListeningUDP, l.String())
	}
	for where, why := range port.Problems {
		out.Problems = append(out.Problems, where+": "+why)
	}
	slices.Sort(out.Problems)
	if out.ReachabilityReason == "" && inst.Reachability == model.ReachabilityInitializing {
		switch {
		case !port.Connected:
			out.ReachabilityReason = "the switch has no connection to the machine yet"
		case port.LeasedAt.IsZero():
			out.ReachabilityReason = "the guest has not asked for its address yet"
		case inst.LoginUser != "":
			out.ReachabilityReason = "the guest has its address, but its SSH server does not answer yet"
		}
	}
	return nil
}

func trafficOf(id string, p *network.PortStatus) bundttypes.InterfaceTraffic {
	t := bundttypes.InterfaceTraffic{
		NetworkInterfaceId: id, DroppedPackets: int64(p.Dropped), ForgedPackets: int64(p.Spoofed),
		SentBytes: int64(p.Sent.Bytes), SentPackets: int64(p.Sent.Packets), ReceivedBytes: int64(p.Received.Bytes), ReceivedPackets: int64(p.Received.Packets),
	}
	if r := p.Refused; r != nil {
		t.RefusedEgress, t.RefusedIngress = new(int64(r.Egress)), new(int64(r.Ingress))
	}
	return t
}

func (v *view) Trace(ctx context.Context, p actions.Packet) (*bundttypes.GetNetworkTraceOutput, error) {
	steps, err := v.daemon.node.Trace(ctx, network.Probe{
		From: p.InterfaceID, Source: p.Source, Destination: p.Destination, Protocol: p.Protocol, Port: p.Port, Type: p.Type, Code: p.Code,
	})
	if err != nil {
		return nil, err
	}
	out := &bundttypes.GetNetworkTraceOutput{}
	for _, s := range steps {
		out.Steps = append(out.Steps, bundttypes.NetworkTraceStep{Component: s.Component, Detail: s.Detail, Passes: s.Passes, Place: string(s.Place), Rule: s.Rule})
		out.Passes = s.Passes
	}
	return out, nil
}

func (v *view) Diagnose(ctx context.Context, inst *model.Instance, port uint16) ([]bundttypes.HostCheck, error) {
	found, err := v.daemon.node.Diagnose(ctx, inst, port)
	if err != nil {
		return nil, err
	}
	health := map[node.Health]string{node.Well: bundttypes.CheckOK, node.Doubtful: bundttypes.CheckWarn, node.Failing: bundttypes.CheckFail}
	out := make([]bundttypes.HostCheck, 0, len(found))
	for _, f := range found {
		out = append(out, bundttypes.HostCheck{Name: f.Layer, Status: health[f.Health], Detail: f.Detail, Fix: f.Fix})
	}
	return out, nil
}

func (v *view) BuildLog(buildID string, step int) (string, error) {
	return v.daemon.builder.Logs.Read(buildID, step)
}

func (v *view) PreviewLAN(ctx context.Context, name string, addresses []netip.Addr) (*bundttypes.PreviewLanOutput, error) {
	p, err := lan.Preview(ctx, name, addresses)
	if errors.Is(err, lan.ErrRefused) {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "%v", err)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, model.Errorf(model.CodeUnsupportedOperation, "Addresses of the host are its root's to change: %v", err)
	}
	if err != nil {
		return nil, err
	}
	out := &bundttypes.PreviewLanOutput{Interface: p.Interface, DefaultRoute: p.Default}
	for _, a := range p.Has {
		out.Keep = append(out.Keep, a.String())
	}
	for _, a := range p.Add {
		out.Add = append(out.Add, a.String())
	}
	return out, nil
}
