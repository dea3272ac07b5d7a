package user

import (
	"fmt"
	"net/netip"
	"slices"

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
	minMTU = 576
	maxMTU = 9216
)

// plan is a checked Config: what the switch will make of it.
type plan struct {
	vpcs   map[string]network.VPC
	ports  map[string]plannedPort
	groups map[string]members
	signer *metadata.Signer // nil for none
}

type plannedPort struct {
	config *portConfig
	mac    mac
	subnet netip.Prefix
}

// newPlan checks all of a Config before any of it is applied.
func newPlan(c network.Config) (*plan, error) {
	p := &plan{vpcs: map[string]network.VPC{}, ports: map[string]plannedPort{}}
	for _, v := range c.VPCs {
		if err := p.addVPC(v); err != nil {
			return nil, err
		}
	}
	var err error
	if p.groups, err = compileGroups(c.Groups); err != nil {
		return nil, err
	}
	if c.Signing != nil {
		if p.signer, err = metadata.NewSigner(*c.Signing); err != nil {
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

func (p *plan) addVPC(v network.VPC) error {
	switch {
	case v.ID == "":
		return invalid("a VPC without an id")
	case !v.CIDR.IsValid() || !v.CIDR.Addr().Is4():
		return invalid("%s: CIDR %s is not an IPv4 prefix", v.ID, v.CIDR)
	case v.MTU != 0 && (v.MTU < minMTU || v.MTU > maxMTU):
		return invalid("%s: MTU %d is not between %d and %d", v.ID, v.MTU, minMTU, maxMTU)
	}
	for a, name := range v.Reverse {
		if _, ok := dns.IsDomainName(name); !ok || !dns.IsFqdn(name) {
			return invalid("%s: %q is no name for %s", v.ID, name, a)
		}
	}
	if _, twice := p.vpcs[v.ID]; twice {
		return invalid("%s: configured twice", v.ID)
	}
	for i, s := range v.Subnets {
		if !s.CIDR.IsValid() || !v.CIDR.Overlaps(s.CIDR) || s.CIDR.Bits() < v.CIDR.Bits() || s.CIDR.Bits() > 29 {
			return invalid("%s: subnet %s (%s) is not a part of %s with room for its gateway and name server", v.ID, s.ID, s.CIDR, v.CIDR)
		}
		for _, other := range v.Subnets[:i] {
			if other.ID == s.ID || other.CIDR.Overlaps(s.CIDR) {
				return invalid("%s: subnets %s and %s overlap", v.ID, other.ID, s.ID)
			}
		}
	}
	p.vpcs[v.ID] = v
	return nil
}

// addPort checks a port; taken holds what ports may not share, by owner.
func (p *plan) addPort(c network.Port, taken map[string]string) error {
	v, ok := p.vpcs[c.VPCID]
	if !ok {
		return invalid("%s: VPC %q is not configured", c.ID, c.VPCID)
	}
	var subnet netip.Prefix
	for _, s := range v.Subnets {
		if s.ID == c.SubnetID {
			subnet = s.CIDR.Masked()
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
	case hw == gatewayMAC:
		return invalid("%s: MAC %q is the gateway's", c.ID, c.MAC)
	case !c.PrivateIP.Is4() || !subnet.Contains(c.PrivateIP) || reserved(subnet, c.PrivateIP):
		return invalid("%s: address %s is not a free one of subnet %s (%s)", c.ID, c.PrivateIP, c.SubnetID, subnet)
	case c.Socket == "":
		return invalid("%s: no socket", c.ID)
	case c.PublicIP.IsValid() && !loopbackNet.Contains(c.PublicIP):
		return invalid("%s: public address %s is not in %s", c.ID, c.PublicIP, loopbackNet)
	}
	unique := []string{"interface " + c.ID, "socket " + c.Socket, c.VPCID + " MAC " + hwString(hw), c.VPCID + " address " + c.PrivateIP.String()}
	if c.PublicIP.IsValid() {
		unique = append(unique, "public address "+c.PublicIP.String())
	}
	for _, a := range c.Secondary {
		if !a.Is4() || !subnet.Contains(a) || reserved(subnet, a) {
			return invalid("%s: address %s is not a free one of subnet %s (%s)", c.ID, a, c.SubnetID, subnet)
		}
		unique = append(unique, c.VPCID+" address "+a.String())
	}
	for _, f := range c.Forwards {
		if !loopbackNet.Contains(f.PublicIP) || !slices.Contains(c.Secondary, f.PrivateIP) {
			return invalid("%s: no forward can lead from %s to %s", c.ID, f.PublicIP, f.PrivateIP)
		}
		unique = append(unique, "public address "+f.PublicIP.String())
	}
	for _, u := range unique {
		if other, twice := taken[u]; twice {
			return invalid("%s is configured for %s and %s", u, other, c.ID)
		}
		taken[u] = c.ID
	}
	pc := &portConfig{Port: c}
	for _, a := range c.Secondary {
		pc.secondary = append(pc.secondary, a.As4())
	}
	if pc.ingress, err = compileRules(c.Ingress, p.groups); err != nil {
		return fmt.Errorf("%s: ingress: %w", c.ID, err)
	}
	if pc.egress, err = compileRules(c.Egress, p.groups); err != nil {
		return fmt.Errorf("%s: egress: %w", c.ID, err)
	}
	p.ports[c.ID] = plannedPort{config: pc, mac: hw, subnet: subnet}
	return nil
}

func hwString(m mac) string { return fmt.Sprintf("%x", m[:]) }

// reserved: base, gateway, name server and broadcast address. (EC2 reserves
// base + 3 as well; nothing here is there.)
func reserved(subnet netip.Prefix, a netip.Addr) bool {
	base := subnet.Masked().Addr()
	return a == base || a == gatewayOf(subnet) || a == dnsOf(subnet) || !subnet.Contains(a.Next())
}

// sameAttachment says if the port can go on with a new config.
func (p *port) sameAttachment(n plannedPort, v *vpc) bool {
	return p.vpc == v && p.mac == n.mac && p.ip == n.config.PrivateIP.As4() && p.subnet == n.subnet && p.socket == n.config.Socket
}
