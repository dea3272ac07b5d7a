package gateway

import (
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/bundt/bundt/pkg/network"
)

const leaseTime = time.Hour

// AnswerDHCP returns the reply to a message of a port's guest (RFC 2131), nil for
// none. The lease is a matter of configuration: one address per link address,
// whatever client identifier is sent, since clones of one image send the same.
func AnswerDHCP(v *network.VPC, p *Port, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	gateway := Address(p.Subnet)
	var kind dhcpv4.MessageType
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		kind = dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeInform:
		kind = dhcpv4.MessageTypeAck
	case dhcpv4.MessageTypeRequest:
		if id := m.ServerIdentifier(); id != nil && !id.Equal(net.IP(gateway.AsSlice())) {
			return nil // it took the offer of somebody else, who cannot be
		}
		kind = dhcpv4.MessageTypeAck
		if !p.ownAddress(m) {
			kind = dhcpv4.MessageTypeNak
		}
	default: // release, decline: the address stays the interface's
		return nil
	}
	options := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(gateway.AsSlice())),
	}
	if kind != dhcpv4.MessageTypeNak {
		options = append(options, p.leaseOptions(v, gateway)...)
		if m.MessageType() != dhcpv4.MessageTypeInform { // RFC 2131, 4.3.5: neither address nor time
			options = append(options, dhcpv4.WithYourIP(p.PrivateIP.AsSlice()), dhcpv4.WithLeaseTime(uint32(leaseTime/time.Second)))
		}
	}
	reply, err := dhcpv4.NewReplyFromRequest(m, options...)
	if err != nil {
		return nil
	}
	return reply
}

// ownAddress says if a request is for the port's address, in either of the
// places where clients name it.
func (p *Port) ownAddress(m *dhcpv4.DHCPv4) bool {
	want := m.RequestedIPAddress()
	if want == nil || want.IsUnspecified() {
		want = m.ClientIPAddr
	}
	return want.Equal(net.IP(p.PrivateIP.AsSlice()))
}

func (p *Port) leaseOptions(v *network.VPC, gateway netip.Addr) []dhcpv4.Modifier {
	via := net.IP(gateway.AsSlice())
	route := func(prefix netip.Prefix) *dhcpv4.Route {
		return &dhcpv4.Route{Dest: ipNet(prefix), Router: via}
	}
	options := []dhcpv4.Modifier{
		dhcpv4.WithNetmask(ipNet(p.Subnet).Mask),
		dhcpv4.WithRouter(via),
		dhcpv4.WithOption(dhcpv4.OptHostName(p.HostName())),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, dhcpv4.Uint16(MTU(*v)).ToBytes())),
		// A client that reads this option ignores the router option (RFC 3442).
		dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(
			route(netip.PrefixFrom(netip.IPv4Unspecified(), 0)),
			route(netip.PrefixFrom(MetadataAddr, 32)),
			route(netip.PrefixFrom(NamesAddr, 32)),
		)),
	}
	return append(options, p.nameOptions(v)...)
}

// nameOptions are what the VPC's DHCP options say.
func (p *Port) nameOptions(c *network.VPC) (options []dhcpv4.Modifier) {
	d := c.DHCP
	if d == nil {
		d = &network.DHCP{Domain: c.DomainName, OwnDNS: true}
	}
	servers := ips(d.NameServers)
	if d.OwnDNS && !c.NoDNS {
		servers = append([]net.IP{NamesOf(p.Subnet).AsSlice(), NamesAddr.AsSlice()}, servers...)
	}
	if len(servers) > 0 {
		options = append(options, dhcpv4.WithDNS(servers...))
	}
	if d.Domain != "" {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptDomainName(d.Domain)))
	}
	if len(d.NTPServers) > 0 {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptNTPServers(ips(d.NTPServers)...)))
	}
	return options
}

// ips are the IPv4 ones: DHCPv6 tells the others.
func ips(in []netip.Addr) (out []net.IP) {
	for _, a := range in {
		if a.Is4() {
			out = append(out, a.AsSlice())
		}
	}
	return out
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}
