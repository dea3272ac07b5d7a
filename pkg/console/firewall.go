package console

import (
	"fmt"
	"strings"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

// firewall is the security group that a launch makes, in commands; nil if it makes none.
type firewall struct {
	vpc  *string // nil for the default one
	open []rule
}

const (
	firewallName        = "launch"
	firewallDescription = "Made by a launch in the console"
)

// bundt are the commands that make it, with the end of the last line.
func (f *firewall) bundt() string {
	if f == nil {
		return ""
	}
	create := words{"bundt security-group create " + firewallName}
	create.maybe("--vpc", f.vpc)
	text := create.String() + "\n"
	if len(f.open) == 0 {
		return text
	}
	allow := words{"bundt security-group allow " + firewallName}
	for _, one := range f.open {
		allow[0] += fmt.Sprintf(" tcp/%d", *one.From)
	}
	allow.add("--from", f.open[0].Peer)
	return text + allow.String() + "\n"
}

func (f *firewall) aws() string {
	if f == nil {
		return ""
	}
	create := words{"group=$(aws ec2 create-security-group --group-name " + firewallName}
	create.add("--description", firewallDescription)
	create.maybe("--vpc-id", f.vpc)
	create.add("--query", "GroupId")
	create.add("--output", "text")
	text := create.String() + ")\n"
	if len(f.open) == 0 {
		return text
	}
	allow := words{"aws ec2 authorize-security-group-ingress --group-id \"$group\""}
	var all []string
	for _, one := range f.open {
		all = append(all, fmt.Sprintf("IpProtocol=tcp,FromPort=%d,ToPort=%d,%s", *one.From, *one.To, awsPeer(one.permission())))
	}
	allow.add("--ip-permissions", all...)
	return text + allow.String() + "\n"
}

// awsPeer is whom a rule lets in, in the AWS CLI's shorthand.
func awsPeer(p ec2types.IpPermission) string {
	switch {
	case len(p.UserIdGroupPairs) > 0:
		return "UserIdGroupPairs=[{GroupId=" + ec2types.Value(p.UserIdGroupPairs[0].GroupId) + "}]"
	case len(p.Ipv6Ranges) > 0:
		return "Ipv6Ranges=[{CidrIpv6=" + ec2types.Value(p.Ipv6Ranges[0].CidrIpv6) + "}]"
	case len(p.IpRanges) > 0:
		return "IpRanges=[{CidrIp=" + ec2types.Value(p.IpRanges[0].CidrIp) + "}]"
	}
	return ""
}

func (f *firewall) terraform() string {
	if f == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "resource \"aws_security_group\" \"this\" {\n  name        = %s\n  description = %s\n", hcl(firewallName), hcl(firewallDescription))
	if f.vpc != nil {
		fmt.Fprintf(&b, "  vpc_id      = %s\n", hcl(*f.vpc))
	}
	for _, one := range f.open {
		peers := "cidr_blocks"
		switch p := one.permission(); {
		case len(p.UserIdGroupPairs) > 0:
			peers = "security_groups"
		case len(p.Ipv6Ranges) > 0:
			peers = "ipv6_cidr_blocks"
		}
		fmt.Fprintf(&b, "  ingress {\n    from_port = %d\n    to_port   = %d\n    protocol  = \"tcp\"\n    %s = [%s]\n  }\n", *one.From, *one.To, peers, hcl(one.Peer))
	}
	// Terraform takes away the rule that EC2 gives a new group.
	b.WriteString("  egress {\n    from_port = 0\n    to_port   = 0\n    protocol  = \"-1\"\n    cidr_blocks = [\"0.0.0.0/0\"]\n  }\n}\n\n")
	return b.String()
}
