package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/bundt/bundt/pkg/metadata"
	"github.com/bundt/bundt/pkg/network"
)

func invalid(format string, args ...any) error {
	return &network.ConfigError{Problem: fmt.Sprintf(format, args...)}
}

// MTU limits: IPv4's least, and what fits the read buffer with room to spare
// (EC2's jumbo frames are 9001).
const (
	minMTU   = 576
	minMTUv6 = 1280
	maxMTU   = 9216

	subnetV6Bits = 64
)

// reservedV6 is where EC2's own services are.
var reservedV6 = netip.MustParsePrefix("fd00:ec2::/32")

// Plan is a checked Config: what a datapath will make of it.
type Plan struct {
	VPCs   map[string]network.VPC
	Ports  map[string]*Port
	Groups map[string]Members
	Signer *metadata.Signer // of identity documents; nil for none
	acls   map[string]*ACL  // by subnet
}

// Port is a checked port.
type Port struct {
	network.Port
	HW       MAC
	Subnet   netip.Prefix
	SubnetV6 netip.Prefix // zero for none
	In, Out  Rules
	ACL      *ACL // of its subnet; nil lets everything pass
}

// MAC is an Ethernet address.
type MAC = [6]byte

// NewPlan checks all of a Config before any of it is applied.
func NewPlan(c network.Config) (*Plan, error) {
	p := &Plan{VPCs: map[string]network.VPC{}, Ports: map[string]*Port{}, acls: map[string]*ACL{}}
	for _, v := range c.VPCs {
		if err := p.addVPC(v); err != nil {
			return nil, err
		}
	}
	var err error
	if p.Groups, err = compileGroups(c.Groups); err != nil {
		return nil, err
	}
	if c.Signing != nil {
		if p.Signer, err = metadata.NewSigner(*c.Signing); err != nil {
			return nil, invalid("%s", err)
		}
	}
	taken := map[string]string{}
	for _, port := range c.Ports {
		if err := p.addPort(port, taken); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *Plan) addVPC(v network.VPC) error {
	switch {
	case v.ID == "":
		return invalid("a VPC without an id")
	case !v.CIDR.IsValid() || !v.CIDR.Addr().Is4():
		return invalid("%s: CIDR %s is not an IPv4 prefix", v.ID, v.CIDR)
	case v.MTU != 0 && (v.MTU < minMTU || v.MTU > maxMTU):
		return invalid("%s: MTU %d is not between %d and %d", v.ID, v.MTU, minMTU, maxMTU)
	}
	for i, p := range v.More {
		if !p.IsValid() || !p.Addr().Is4() || slices.ContainsFunc(v.Ranges()[:i+1], p.Overlaps) {
			return invalid("%s: CIDR %s is not an IPv4 prefix apart from the others", v.ID, p)
		}
	}
	for a, name := range v.Reverse {
		if _, ok := dns.IsDomainName(name); !ok || !dns.IsFqdn(name) {
			return invalid("%s: %q is no name for %s", v.ID, name, a)
		}
	}
	if _, twice := p.VPCs[v.ID]; twice {
		return invalid("%s: configured twice", v.ID)
	}
	if err := errors.Join(checkIPv6(v), checkSubnets(v)); err != nil {
		return err
	}
	for _, s := range v.Subnets {
		acl, err := compileACL(s.ACL)
		if err != nil {
			return err
		}
		p.acls[s.ID] = acl
	}
	p.VPCs[v.ID] = v
	return nil
}

func checkIPv6(v network.VPC) error {
	switch {
	case !v.CIDRv6.IsValid():
		return nil
	case !v.CIDRv6.Addr().Is6() || v.CIDRv6.Bits() > subnetV6Bits || reservedV6.Overlaps(v.CIDRv6):
		return invalid("%s: IPv6 CIDR %s is not a prefix for subnets outside of %s", v.ID, v.CIDRv6, reservedV6)
	case MTU(v) < minMTUv6:
		return invalid("%s: MTU %d is less than IPv6's %d", v.ID, v.MTU, minMTUv6)
	}
	return nil
}

func checkSubnets(v network.VPC) error {
	for i, s := range v.Subnets {
		part := func(whole netip.Prefix) bool { return whole.Overlaps(s.CIDR) && s.CIDR.Bits() >= whole.Bits() }
		if !s.CIDR.IsValid() || !slices.ContainsFunc(v.Ranges(), part) || s.CIDR.Bits() > 29 {
			return invalid("%s: subnet %s (%s) is not a part of %s with room for its gateway and name server", v.ID, s.ID, s.CIDR, v.Ranges())
		}
		if s.CIDRv6.IsValid() && (s.CIDRv6.Bits() != subnetV6Bits || !v.CIDRv6.Contains(s.CIDRv6.Addr())) {
			return invalid("%s: %s (%s) is not a /%d of %s", v.ID, s.ID, s.CIDRv6, subnetV6Bits, v.CIDRv6)
		}
		for _, other := range v.Subnets[:i] {
			if other.ID == s.ID || other.CIDR.Overlaps(s.CIDR) || other.CIDRv6.Overlaps(s.CIDRv6) {
				return invalid("%s: subnets %s and %s overlap", v.ID, other.ID, s.ID)
			}
		}
	}
	return nil
}

// addPort checks a port; taken holds what ports may not share, by owner.
func (p *Plan) addPort(c network.Port, taken map[string]string) error {
	v, ok := p.VPCs[c.VPCID]
	if !ok {
		return invalid("%s: VPC %q is not configured", c.ID, c.VPCID)
	}
	var subnet, subnetV6 netip.Prefix
	for _, s := range v.Subnets {
		if s.ID == c.SubnetID {
			subnet, subnetV6 = s.CIDR.Masked(), s.CIDRv6.Masked()
		}
	}
	hw, err := parseMAC(c.MAC)
	switch {
	case c.ID == "":
		return invalid("an interface without an id")
	case !subnet.IsValid():
		return invalid("%s: subnet %q is not in %s", c.ID, c.SubnetID, c.VPCID)
	case err != nil:
		return invalid("%s: MAC %q: %s", c.ID, c.MAC, err)
	case hw == HardwareAddr:
		return invalid("%s: MAC %q is the gateway's", c.ID, c.MAC)
	}
	out := &Port{Port: c, HW: hw, Subnet: subnet, SubnetV6: subnetV6, ACL: p.acls[c.SubnetID]}
	unique, err := out.claims()
	if err != nil {
		return err
	}
	for _, u := range unique {
		if other, twice := taken[u]; twice {
			return invalid("%s is configured for %s and %s", u, other, c.ID)
		}
		taken[u] = c.ID
	}
	if out.In, err = compileRules(c.Ingress, p.Groups); err != nil {
		return fmt.Errorf("%s: ingress: %w", c.ID, err)
	}
	if out.Out, err = compileRules(c.Egress, p.Groups); err != nil {
		return fmt.Errorf("%s: egress: %w", c.ID, err)
	}
	p.Ports[c.ID] = out
	return nil
}

// claims names what no other port may have, and checks the port's addresses.
func (p *Port) claims() ([]string, error) {
	out := []string{"interface " + p.ID, p.VPCID + " MAC " + hwString(p.HW)}
	if p.Socket != "" {
		out = append(out, "socket "+p.Socket)
	}
	for _, own := range []struct {
		subnet    netip.Prefix
		addresses []netip.Addr
	}{{p.Subnet, append([]netip.Addr{p.PrivateIP}, p.Secondary...)}, {p.SubnetV6, p.IPv6}} {
		for _, a := range own.addresses {
			if !own.subnet.Contains(a) || reserved(own.subnet, a) {
				return nil, invalid("%s: address %s is not a free one of subnet %s (%s)", p.ID, a, p.SubnetID, own.subnet)
			}
			out = append(out, p.VPCID+" address "+a.String())
		}
	}
	for _, f := range p.Forwards {
		if !slices.Contains(p.Secondary, f.PrivateIP) {
			return nil, invalid("%s: no forward can lead from %s to %s", p.ID, f.PublicIP, f.PrivateIP)
		}
	}
	for _, public := range p.publicAddresses() {
		if !public.Is4() || public.IsUnspecified() || public.IsMulticast() || public.IsLinkLocalUnicast() {
			return nil, invalid("%s: public address %s is not one that a host can have for its clients", p.ID, public)
		}
		out = append(out, "public address "+public.String())
	}
	return out, nil
}

func hwString(m MAC) string { return fmt.Sprintf("%x", m[:]) }

// reserved: base, gateway, name server and broadcast address. (EC2 reserves
// base + 3 as well; nothing here is there.)
func reserved(subnet netip.Prefix, a netip.Addr) bool {
	base := subnet.Masked().Addr()
	return a == base || a == Address(subnet) || a == NamesOf(subnet) || !subnet.Contains(a.Next())
}

const defaultMTU = 1500

// HardwareAddr is the VPC router's address in every VPC: they never meet.
var HardwareAddr = MAC{0x02, 0x62, 0x75, 0x6e, 0x64, 0x74}

// The addresses of the link-local services.
var (
	MetadataAddr = netip.AddrFrom4([4]byte{169, 254, 169, 254})
	NamesAddr    = netip.AddrFrom4([4]byte{169, 254, 169, 253})
	// EC2's, for guests with IPv6.
	MetadataAddrV6 = netip.MustParseAddr("fd00:ec2::254")
	NamesAddrV6    = netip.MustParseAddr("fd00:ec2::253")
	// LinkLocal is the router's link-local address, made of HardwareAddr (RFC 4291,
	// appendix A).
	LinkLocal = netip.AddrFrom16([16]byte{
		0xfe, 0x80, 8: HardwareAddr[0] ^ 2, 9: HardwareAddr[1], 10: HardwareAddr[2], 11: 0xff, 12: 0xfe,
		13: HardwareAddr[3], 14: HardwareAddr[4], 15: HardwareAddr[5],
	})
)

// Address and NamesOf are EC2's reserved addresses of a subnet: its gateway's and
// its name server's.
func Address(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// NamesOf is the subnet's name server.
func NamesOf(subnet netip.Prefix) netip.Addr { return Address(subnet).Next() }

// MTU is the VPC's, in bytes.
func MTU(c network.VPC) int {
	if c.MTU == 0 {
		return defaultMTU
	}
	return c.MTU
}

// Owns says if an address is the port's.
func (p *Port) Owns(a netip.Addr) bool {
	return a == p.PrivateIP || slices.Contains(p.Secondary, a) || slices.Contains(p.IPv6, a)
}

// WayTo says where a packet for dst, which is beyond the VPC, goes by the port's
// routes.
func (p *Port) WayTo(dst netip.Addr) Way {
	switch r := p.Route(dst); {
	case r == nil || r.Blackhole:
		return Unrouted
	case !r.Via.IsValid():
		return Outside
	case !dst.IsGlobalUnicast():
		return Unrouted // nobody forwards these
	}
	return ToRouter
}

// Route returns the route to dst, which is beyond the VPC: that of the longest
// prefix. nil is none.
func (p *Port) Route(dst netip.Addr) *network.Route {
	var best *network.Route
	for i := range p.Routes {
		if r := &p.Routes[i]; r.CIDR.Contains(dst) && (best == nil || r.CIDR.Bits() > best.CIDR.Bits()) {
			best = r
		}
	}
	return best
}

// HostName is the instance's host name without its domain.
func (p *Port) HostName() string {
	name, _, _ := strings.Cut(p.Metadata.Hostname, ".")
	if name == "" {
		name = ipName(p.PrivateIP)
	}
	return name
}

func parseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil {
		return MAC{}, err
	}
	if len(hw) != 6 || hw[0]&1 != 0 {
		return MAC{}, &net.AddrError{Err: "not a unicast Ethernet address", Addr: s}
	}
	return MAC(hw), nil
}
