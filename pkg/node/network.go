package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/bundt/bundt/pkg/metadata"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/network"
)

// applyNetwork makes the datapath carry exactly the machines that run here.
// Callers that wait share what one of them applies: a configuration read after
// they called has everything they want in it.
func (n *Node) applyNetwork(ctx context.Context) error {
	ticket := n.netTickets.Add(1)
	n.netMu.Lock()
	defer n.netMu.Unlock()
	if n.netApplied >= ticket {
		return nil
	}
	covered := n.netTickets.Load()
	next, err := n.wire(ctx, n.wiring)
	if err != nil {
		return err
	}
	n.netIsReal = n.netIsReal && next.same
	n.wiring = next
	if !n.netIsReal {
		if err := n.Datapath.Apply(ctx, next.config); err != nil {
			return fmt.Errorf("applying the network's configuration: %w", err)
		}
		n.netIsReal = true
	}
	n.netApplied = covered
	return nil
}

// attach opens the instance's places in a network whose guests are attached by
// open files: they are there before the machine.
func (n *Node) attach(ctx context.Context, inst *model.Instance) (taps []*os.File, err error) {
	a, ok := n.Datapath.(network.Attacher)
	if !ok {
		return nil, nil
	}
	nics := inst.Interfaces()
	sockets := make(map[string]string, len(nics))
	for _, nic := range nics {
		sockets[nic.ID] = ""
	}
	n.mu.Lock()
	n.sockets[inst.ID] = sockets
	n.mu.Unlock()
	if err := n.applyNetwork(ctx); err != nil {
		return nil, err
	}
	for _, nic := range nics {
		f, err := a.Attach(ctx, nic.ID)
		if err != nil {
			return taps, fmt.Errorf("attaching interface %s: %w", nic.ID, err)
		}
		taps = append(taps, f)
	}
	return taps, nil
}

// networkRetry is the pause after a configuration that could not be applied.
const networkRetry = time.Second

// networkPause, or as long as an application took, lets many changes become one.
const networkPause = 20 * time.Millisecond

// followNetwork applies changes of groups, routes, interfaces and the rest as
// they come; many at once are applied once.
func (n *Node) followNetwork(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.netChanged:
		}
		begun := time.Now()
		if err := n.applyNetwork(ctx); err != nil && ctx.Err() == nil {
			n.Logger.Error("the network could not be changed", "error", err)
			time.AfterFunc(networkRetry, n.wakeNetwork)
		}
		select {
		case <-ctx.Done():
		case <-time.After(max(networkPause, time.Since(begun))):
		}
	}
}

func (n *Node) wakeNetwork() {
	select {
	case n.netChanged <- struct{}{}:
	default: // it will look anyway
	}
}

// document is what the instance's metadata service tells it.
func (n *Node) document(t *topology, inst *model.Instance) metadata.Document {
	d := metadata.Document{
		InstanceID: inst.ID, ImageID: inst.ImageID, InstanceType: inst.Type, Architecture: string(inst.Arch),
		AccountID: inst.OwnerID, ReservationID: inst.ReservationID, LaunchIndex: inst.LaunchIndex,
		PendingTime: inst.LaunchTime, Region: n.Cloud.Region, AvailabilityZone: n.Zone,
		ZoneID: model.ZoneID(n.Cloud.Region), Monitoring: inst.Options.DetailedMonitoring,
		Hostname: inst.Hostname() + "." + model.PrivateDomain(n.Cloud.Region), PrivateIP: inst.Interface.PrivateIP,
		PublicIP: inst.Interface.PublicIP, PublicHostname: t.publicName(&inst.Interface), MAC: inst.Interface.MAC,
		SecurityGroups: t.namedGroups(&inst.Interface),
		ProductCodes:   inst.ProductCodes,
		KeyName:        inst.KeyName, PublicKey: inst.PublicKey, UserData: inst.UserData, RootDevice: inst.RootDevice,
		BlockDevices: map[string]string{},
		Options: metadata.Options{
			Disabled: inst.Metadata.Disabled, TokensRequired: inst.Metadata.HTTPTokens == "required", HopLimit: inst.Metadata.HopLimit, IPv6: inst.Metadata.IPv6,
		},
	}
	for _, nic := range inst.Interfaces() {
		d.Interfaces = append(d.Interfaces, t.interfaceDocument(&nic))
	}
	ebs := 0
	for _, v := range inst.Volumes {
		if v.Device == inst.RootDevice {
			d.BlockDevices["ami"] = v.Device
			continue
		}
		ebs++
		d.BlockDevices[fmt.Sprintf("ebs%d", ebs)] = v.Device
	}
	if inst.Metadata.InstanceTags {
		d.Tags = inst.Tags
	}
	if inst.Profile != nil {
		d.Profile = n.grants[inst.ID].profile
	}
	return d
}

// interfaceDocument is what the metadata service tells of one interface.
func (t *topology) interfaceDocument(nic *model.NetworkInterface) metadata.Interface {
	out := metadata.Interface{
		ID: nic.ID, MAC: nic.MAC, Hostname: model.HostnameFor(nic.PrivateIP) + "." + model.PrivateDomain(t.region), PublicHostname: t.publicName(nic),
		PrivateIPs: []metadata.PrivateIP{{IP: nic.PrivateIP, Public: nic.PublicIP}},
		VPCID:      nic.VPCID, VPCCIDR: t.vpcs[nic.VPCID].CIDR, SubnetID: nic.SubnetID, SubnetCIDR: t.subnets[nic.SubnetID].CIDR,
		SecurityGroups: t.namedGroups(nic),
	}
	for _, r := range t.vpcs[nic.VPCID].More {
		out.MoreVPCCIDRs = append(out.MoreVPCCIDRs, r.CIDR)
	}
	out.IPv6s = nic.IPv6
	if cidr := t.vpcs[nic.VPCID].CIDRv6; cidr != "" {
		out.VPCCIDRsV6 = []string{cidr}
	}
	if cidr := t.subnets[nic.SubnetID].CIDRv6; cidr != "" {
		out.SubnetCIDRsV6 = []string{cidr}
	}
	if nic.Attachment != nil {
		out.DeviceIndex = nic.Attachment.DeviceIndex
	}
	for _, p := range nic.Secondary {
		out.PrivateIPs = append(out.PrivateIPs, metadata.PrivateIP{IP: p.IP, Public: p.PublicIP})
	}
	return out
}

func (t *topology) namedGroups(nic *model.NetworkInterface) (out []metadata.NamedID) {
	for _, g := range nic.Groups {
		out = append(out, metadata.NamedID{ID: g, Name: t.groups[g].Name})
	}
	return out
}

// publicName is the DNS name of an interface's public address, "" if its VPC
// gives none.
func (t *topology) publicName(nic *model.NetworkInterface) string {
	v := t.vpcs[nic.VPCID]
	if nic.PublicIP == "" || !v.DNSHostnames || !v.DNSSupport {
		return ""
	}
	return model.PublicHostname(nic.PublicIP, t.region) + "." + model.PublicDomain
}

// Dial connects to a port of a running instance's guest.
func (n *Node) Dial(ctx context.Context, inst *model.Instance, port uint16) (net.Conn, error) {
	if inst.State != model.InstanceRunning {
		return nil, model.Errorf(model.CodeIncorrectInstanceState, "The instance '%s' is not running: it is %s", inst.ID, inst.State)
	}
	c, err := n.Datapath.Dial(ctx, inst.Interface.ID, port)
	switch {
	case errors.Is(err, network.ErrUnreachable):
		return nil, model.Errorf(model.CodeServiceUnavailable, "nothing answers on port %d of instance %s: %v", port, inst.ID, err).
			WithHint("see what the guest says: bundt logs %s", inst.ID)
	case errors.Is(err, network.ErrNoSuchPort):
		return nil, model.Errorf(model.CodeServiceUnavailable, "instance %s is not on the network yet", inst.ID).WithHint("try again in a moment")
	}
	return c, err
}
