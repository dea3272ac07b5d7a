package network

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/model"
)

// peers are what rules are about: --from for those that let in, --to for those
// that let out.
type peers struct {
	from, to []string
}

func (p *peers) addFlags(f *factory.Factory, cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&p.from, "from", nil, "who may reach the instances: `peers`, each a CIDR, an address or a security group; default: 0.0.0.0/0")
	cmd.Flags().StringSliceVar(&p.to, "to", nil, "whom the instances may reach: `peers`")
	cmd.MarkFlagsMutuallyExclusive("from", "to")
	for _, flag := range []string{"from", "to"} {
		_ = cmd.RegisterFlagCompletionFunc(flag, complete.SecurityGroups(f))
	}
}

func (p *peers) egress() bool { return len(p.to) > 0 }

func (p *peers) given() bool { return len(p.from)+len(p.to) > 0 }

// all are the peers, anywhere if there is none.
func (p *peers) all() []string {
	if !p.given() {
		return []string{"0.0.0.0/0"}
	}
	return append(p.from, p.to...)
}

// permissions are the rules that a command line, GROUP TRAFFIC…, asks for, and
// the group's id.
func permissions(ctx context.Context, s *command.Session, args []string, p *peers, description string) (group string, out []ec2types.IpPermission, err error) {
	for _, text := range args[1:] {
		permission, err := parseTraffic(text)
		if err != nil {
			return "", nil, err
		}
		out = append(out, permission)
	}
	if group, err = resolve.SecurityGroup(ctx, s.Client, args[0], ""); err != nil {
		return "", nil, err
	}
	for _, peer := range p.all() {
		if err := addPeer(ctx, s, out, group, peer, description); err != nil {
			return "", nil, err
		}
	}
	return group, out, nil
}

// addPeer makes all the permissions be about one more peer.
func addPeer(ctx context.Context, s *command.Session, permissions []ec2types.IpPermission, group, peer, description string) error {
	var about *string
	if description != "" {
		about = &description
	}
	cidr, isCIDR := parseCIDR(peer)
	if !isCIDR {
		id, err := peerGroup(ctx, s, group, peer)
		if err != nil {
			return err
		}
		for i := range permissions {
			permissions[i].UserIdGroupPairs = append(permissions[i].UserIdGroupPairs, ec2types.UserIdGroupPair{GroupId: &id, Description: about})
		}
		return nil
	}
	text := cidr.String()
	for i := range permissions {
		if cidr.Addr().Is4() {
			permissions[i].IpRanges = append(permissions[i].IpRanges, ec2types.IpRange{CidrIp: &text, Description: about})
		} else {
			permissions[i].Ipv6Ranges = append(permissions[i].Ipv6Ranges, ec2types.Ipv6Range{CidrIpv6: &text, Description: about})
		}
	}
	return nil
}

// peerGroup is the group of that id or name beside another one: of its VPC.
func peerGroup(ctx context.Context, s *command.Session, beside, ref string) (string, error) {
	if model.CheckID(model.GroupPrefix, ref) == nil {
		return ref, nil
	}
	found, err := s.DescribeSecurityGroups(ctx, &ec2types.DescribeSecurityGroupsInput{GroupIds: []string{beside}})
	if err != nil {
		return "", err
	}
	return resolve.SecurityGroup(ctx, s.Client, ref, ec2types.Value(found.SecurityGroups[0].VpcId))
}

// parseCIDR reads a range of addresses, or one address.
func parseCIDR(text string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p, true
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// parseTraffic reads tcp/22, udp/8000-8010, icmp/8/0, all.
func parseTraffic(text string) (ec2types.IpPermission, error) {
	protocol, rest, some := strings.Cut(strings.ToLower(text), "/")
	wrong := func() (ec2types.IpPermission, error) {
		return ec2types.IpPermission{}, failure.Usagef("traffic %q is none of tcp/PORT, tcp/FIRST-LAST, udp/…, icmp, icmp/TYPE/CODE, icmpv6, all", text)
	}
	separator, smallest, largest := "-", 0, 65535
	switch protocol {
	case "tcp", "udp":
	case "icmp", "icmpv6":
		separator, smallest, largest = "/", -1, 255
	case "all":
		if some {
			return wrong()
		}
		return ec2types.IpPermission{IpProtocol: new("-1")}, nil
	default:
		return wrong()
	}
	p := ec2types.IpPermission{IpProtocol: &protocol, FromPort: new(int32(smallest)), ToPort: new(int32(largest))}
	if smallest < 0 {
		p.ToPort = new(int32(-1))
	}
	if !some {
		return p, nil
	}
	first, last, isRange := strings.Cut(rest, separator)
	n, ok := parseNumber(first, largest)
	if !ok {
		return wrong()
	}
	*p.FromPort = n
	if smallest == 0 {
		*p.ToPort = n
	}
	if isRange {
		if *p.ToPort, ok = parseNumber(last, largest); !ok {
			return wrong()
		}
	}
	return p, nil
}

func parseNumber(text string, largest int) (int32, bool) {
	n, err := strconv.ParseUint(text, 10, 16)
	return int32(n), err == nil && int(n) <= largest
}

// showTraffic is the inverse of parseTraffic.
func showTraffic(protocol *string, from, to *int32) string {
	name, first, last := ec2types.Value(protocol), ec2types.Value(from), ec2types.Value(to)
	switch name {
	case "-1":
		return "all"
	case "tcp", "udp":
		switch {
		case first == last:
			return fmt.Sprintf("%s/%d", name, first)
		case first == 0 && last == 65535:
			return name
		}
		return fmt.Sprintf("%s/%d-%d", name, first, last)
	case "icmp", "icmpv6":
		switch {
		case first == -1:
			return name
		case last == -1:
			return fmt.Sprintf("%s/%d", name, first)
		}
		return fmt.Sprintf("%s/%d/%d", name, first, last)
	}
	return "protocol " + name
}
