package gateway

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/bundt/bundt/pkg/network"
)

// Of router advertisements (RFC 4861, 4.2 and 4.6).
const (
	routerAdvertisement = 134
	ndSourceLink        = 1
	ndPrefix            = 3
	ndMTU               = 5
	ndPrefixOnLink      = 0x80
	ndManaged           = 0xc0 // addresses and the rest by DHCPv6
	advertisedHopLimit  = 64
	routerLifetime      = 30 * time.Minute
	prefixLifetime      = 30 * 24 * time.Hour
)

// RouterAdvertisement is the ICMPv6 message that tells a port's guest its router,
// without its checksum. Addresses come by DHCPv6 alone.
func RouterAdvertisement(v *network.VPC, p *Port) []byte {
	b := make([]byte, 16, 64)
	b[0], b[4], b[5] = routerAdvertisement, advertisedHopLimit, ndManaged
	binary.BigEndian.PutUint16(b[6:], uint16(routerLifetime/time.Second))
	b = append(append(b, ndSourceLink, 1), HardwareAddr[:]...)
	b = binary.BigEndian.AppendUint32(append(b, ndMTU, 1, 0, 0), uint32(MTU(*v)))
	b = append(b, ndPrefix, 4, byte(p.SubnetV6.Bits()), ndPrefixOnLink)
	b = binary.BigEndian.AppendUint32(b, uint32(prefixLifetime/time.Second)) // valid
	b = binary.BigEndian.AppendUint32(b, uint32(prefixLifetime/time.Second)) // preferred
	return append(append(b, 0, 0, 0, 0), p.SubnetV6.Addr().AsSlice()...)
}

var serverDUID = &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: HardwareAddr[:]}

// AnswerDHCPv6 returns the reply to a message of a port's guest (RFC 8415), nil for
// none. As with DHCP, the addresses are a matter of configuration, whatever
// identifier the client sends.
func AnswerDHCPv6(v *network.VPC, p *Port, m *dhcpv6.Message) *dhcpv6.Message {
	id := m.Options.ServerID()
	var options []dhcpv6.Modifier
	switch m.Type() {
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRebind:
		options = p.associations(m)
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew:
		if id == nil || !id.Equal(serverDUID) {
			return nil // it is for somebody else, who cannot be
		}
		options = p.associations(m)
	case dhcpv6.MessageTypeConfirm:
		options = append(options, dhcpv6.WithOption(&dhcpv6.OptStatusCode{StatusCode: p.confirm(m)}))
	case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline: // the addresses stay the interface's
		options = append(options, dhcpv6.WithOption(&dhcpv6.OptStatusCode{StatusCode: iana.StatusSuccess}))
	case dhcpv6.MessageTypeInformationRequest:
	default:
		return nil
	}
	options = append(options, dhcpv6.WithServerID(serverDUID))
	options = append(options, p.nameOptionsV6(v)...)
	var reply *dhcpv6.Message
	var err error
	if rapid := m.GetOneOption(dhcpv6.OptionRapidCommit) != nil; m.Type() == dhcpv6.MessageTypeSolicit && !rapid {
		reply, err = dhcpv6.NewAdvertiseFromSolicit(m, options...)
	} else {
		if m.Type() == dhcpv6.MessageTypeSolicit {
			options = append(options, dhcpv6.WithRapidCommit)
		}
		reply, err = dhcpv6.NewReplyFromMessage(m, options...)
	}
	if err != nil {
		return nil
	}
	return reply
}

// associations gives the client's first identity association all addresses of
// the interface, and others none.
func (p *Port) associations(m *dhcpv6.Message) (options []dhcpv6.Modifier) {
	addresses := p.IPv6
	for i, want := range m.Options.IANA() {
		ia := &dhcpv6.OptIANA{IaId: want.IaId, T1: leaseTime / 2, T2: leaseTime * 4 / 5}
		if i > 0 || len(addresses) == 0 {
			ia.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoAddrsAvail})
		} else {
			for _, a := range addresses {
				ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice(), PreferredLifetime: leaseTime, ValidLifetime: 2 * leaseTime})
			}
		}
		options = append(options, dhcpv6.WithOption(ia))
	}
	return options
}

// confirm says if all addresses that the client believes in are its own.
func (p *Port) confirm(m *dhcpv6.Message) iana.StatusCode {
	for _, ia := range m.Options.IANA() {
		for _, a := range ia.Options.Addresses() {
			if got, ok := netip.AddrFromSlice(a.IPv6Addr); !ok || !p.Owns(got) {
				return iana.StatusNotOnLink
			}
		}
	}
	return iana.StatusSuccess
}

// nameOptionsV6 are what the VPC's DHCP options say to clients of DHCPv6.
func (p *Port) nameOptionsV6(c *network.VPC) (options []dhcpv6.Modifier) {
	d := c.DHCP
	if d == nil {
		d = &network.DHCP{Domain: c.DomainName, OwnDNS: true}
	}
	var servers []net.IP
	if d.OwnDNS && !c.NoDNS {
		servers = append(servers, NamesAddrV6.AsSlice())
	}
	for _, s := range d.NameServers {
		if s.Is6() {
			servers = append(servers, s.AsSlice())
		}
	}
	if len(servers) > 0 {
		options = append(options, dhcpv6.WithDNS(servers...))
	}
	if d.Domain != "" {
		options = append(options, dhcpv6.WithDomainSearchList(d.Domain))
	}
	return options
}
