package actions

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strconv"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerDiagnosis(t *api.Table) {
	api.Register(t, api.Action[bundttypes.GetNetworkTraceInput, bundttypes.GetNetworkTraceOutput]{
		Name: "GetNetworkTrace", Handler: a.getNetworkTrace,
		Acts: []string{"DestinationAddress", "DestinationPort", "IcmpCode", "IcmpType", "InstanceId", "NetworkInterfaceId", "Protocol", "SourceAddress"},
	})
	api.Register(t, api.Action[bundttypes.GetInstanceDiagnosisInput, bundttypes.GetInstanceDiagnosisOutput]{
		Name: "GetInstanceDiagnosis", Handler: a.getInstanceDiagnosis, Acts: []string{"InstanceId", "Port"},
	})
}

// Packet is the first one of a flow that could be.
type Packet struct {
	InterfaceID         string // that sends it; "" is a client beyond the VPCs
	Source, Destination netip.Addr
	Protocol            uint8
	Port                uint16 // of TCP and UDP
	Type, Code          uint8  // of ICMP
}

// IP's numbers of the protocols that rules name.
const (
	protocolICMP   = 1
	protocolTCP    = 6
	protocolUDP    = 17
	protocolICMPv6 = 58

	echoRequest   = 8
	echoRequestV6 = 128
)

var protocolNumbers = map[string]uint8{"icmp": protocolICMP, "tcp": protocolTCP, "udp": protocolUDP, "icmpv6": protocolICMPv6}

func (a *Actions) getNetworkTrace(ctx context.Context, in *bundttypes.GetNetworkTraceInput) (*bundttypes.GetNetworkTraceOutput, error) {
	p, err := packetOf(in)
	if err != nil {
		return nil, err
	}
	nics, err := a.account(ctx).FindInterfaces(ctx, nil)
	if err != nil {
		return nil, err
	}
	nic, err := a.sender(ctx, in, nics)
	switch {
	case err != nil:
		return nil, err
	case nic != nil:
		p.InterfaceID = nic.ID
		if !p.Source.IsValid() {
			p.Source, _ = netip.ParseAddr(nic.PrivateIP) // it was parsed before it was stored
			if p.Destination.Is6() && len(nic.IPv6) > 0 {
				p.Source, _ = netip.ParseAddr(nic.IPv6[0])
			}
		}
	case !slices.ContainsFunc(nics, func(n *model.NetworkInterface) bool { return hasPublic(n, p.Destination.String()) }):
		return nil, model.Errorf("InvalidAddress.NotFound", "Address '%s' not found: it is no public address of an interface of this account", p.Destination).
			WithHint("an instance's packets go anywhere: name the one that sends")
	case !p.Source.IsValid():
		p.Source = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if p.Source.Is4() != p.Destination.Is4() {
		return nil, model.Errorf(model.CodeInvalidParameterCombination, "The addresses %s and %s are not of one kind", p.Source, p.Destination)
	}
	return a.node.Trace(ctx, p)
}

func hasPublic(n *model.NetworkInterface, address string) bool {
	return n.PublicIP == address || slices.ContainsFunc(n.Secondary, func(s model.PrivateAddress) bool { return s.PublicIP == address })
}

// sender is the interface that sends the packet, nil for none of the cloud's.
func (a *Actions) sender(ctx context.Context, in *bundttypes.GetNetworkTraceInput, nics []*model.NetworkInterface) (*model.NetworkInterface, error) {
	id := ec2types.Value(in.NetworkInterfaceId)
	switch {
	case in.InstanceId != nil && id != "":
		return nil, model.Errorf(model.CodeInvalidParameterCombination, "InstanceId and NetworkInterfaceId exclude each other: one packet has one sender")
	case in.InstanceId != nil:
		inst, err := a.account(ctx).Instance(ctx, *in.InstanceId)
		if err != nil {
			return nil, err
		}
		if inst.Interface.ID == "" {
			return nil, model.Errorf(model.CodeIncorrectInstanceState, "The instance '%s' is %s and has no network interface", inst.ID, inst.State)
		}
		return &inst.Interface, nil
	case id == "":
		return nil, nil
	}
	i := slices.IndexFunc(nics, func(n *model.NetworkInterface) bool { return n.ID == id })
	if i < 0 {
		return nil, model.Errorf("InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '%s' does not exist", id)
	}
	return nics[i], nil
}

// packetOf reads what does not depend on the cloud.
func packetOf(in *bundttypes.GetNetworkTraceInput) (p Packet, err error) {
	if p.Destination, err = addressOf("DestinationAddress", in.DestinationAddress); err != nil {
		return p, err
	}
	if in.SourceAddress != nil {
		if p.Source, err = addressOf("SourceAddress", in.SourceAddress); err != nil {
			return p, err
		}
	}
	name := cmp.Or(ec2types.Value(in.Protocol), "tcp")
	number, known := protocolNumbers[name]
	if n, err := strconv.ParseUint(name, 10, 8); !known && err == nil {
		number, known = uint8(n), true
	}
	if !known {
		return p, model.Errorf(model.CodeInvalidParameterValue, "Invalid value '%s' for Protocol: tcp, udp, icmp, icmpv6 or a number from 0 to 255", name)
	}
	p.Protocol = number
	ports, icmp := number == protocolTCP || number == protocolUDP, number == protocolICMP || number == protocolICMPv6
	switch {
	case ports && in.DestinationPort == nil:
		return p, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter DestinationPort")
	case !ports && in.DestinationPort != nil:
		return p, model.Errorf(model.CodeInvalidParameterCombination, "The protocol %s has no ports", name)
	case !icmp && (in.IcmpType != nil || in.IcmpCode != nil):
		return p, model.Errorf(model.CodeInvalidParameterCombination, "The protocol %s has neither IcmpType nor IcmpCode", name)
	}
	return p, p.setNumbers(in, icmp)
}

// setNumbers reads the port, or the type and code of ICMP.
func (p *Packet) setNumbers(in *bundttypes.GetNetworkTraceInput, icmp bool) error {
	echo := int32(echoRequest)
	if p.Protocol == protocolICMPv6 {
		echo = echoRequestV6
	}
	for _, n := range []struct {
		name  string
		value *int32
		or    int32
		least int32
		most  int32
		set   func(int32)
	}{
		{"DestinationPort", in.DestinationPort, 0, 1, 65535, func(n int32) { p.Port = uint16(n) }},
		{"IcmpType", in.IcmpType, echo, 0, 255, func(n int32) { p.Type = uint8(n) }},
		{"IcmpCode", in.IcmpCode, 0, 0, 255, func(n int32) { p.Code = uint8(n) }},
	} {
		v := n.or
		if n.value != nil {
			if v = *n.value; v < n.least || v > n.most {
				return model.Errorf(model.CodeInvalidParameterValue, "Invalid value '%d' for %s: %d to %d", v, n.name, n.least, n.most)
			}
		}
		n.set(v)
	}
	if !icmp {
		p.Type = 0
	}
	return nil
}

func addressOf(name string, text *string) (netip.Addr, error) {
	a, err := netip.ParseAddr(ec2types.Value(text))
	if err != nil || a.Zone() != "" {
		return a, model.Errorf(model.CodeInvalidParameterValue, "Invalid value '%s' for %s: it is no IP address", ec2types.Value(text), name)
	}
	return a.Unmap(), nil
}

func (a *Actions) getInstanceDiagnosis(ctx context.Context, in *bundttypes.GetInstanceDiagnosisInput) (*bundttypes.GetInstanceDiagnosisOutput, error) {
	port := int32(22)
	if in.Port != nil {
		port = *in.Port
	}
	if port < 1 || port > 65535 {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "Invalid value '%d' for Port: 1 to 65535", port)
	}
	inst, err := a.account(ctx).Instance(ctx, *in.InstanceId)
	if err != nil {
		return nil, err
	}
	checks, err := a.node.Diagnose(ctx, &inst, uint16(port))
	return &bundttypes.GetInstanceDiagnosisOutput{Checks: checks}, err
}
