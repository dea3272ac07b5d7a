package network

import (
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

func TestTraffic(t *testing.T) {
	for text, want := range map[string]struct {
		protocol string
		from, to int32
		shown    string // text if ""
	}{
		"tcp/22":        {"tcp", 22, 22, ""},
		"UDP/8000-8010": {"udp", 8000, 8010, "udp/8000-8010"},
		"tcp":           {"tcp", 0, 65535, ""},
		"tcp/0":         {"tcp", 0, 0, ""},
		"tcp/5-5":       {"tcp", 5, 5, "tcp/5"},
		"icmp":          {"icmp", -1, -1, ""},
		"icmp/8":        {"icmp", 8, -1, ""},
		"icmpv6/128/0":  {"icmpv6", 128, 0, ""},
	} {
		p, err := parseTraffic(text)
		if err != nil || *p.IpProtocol != want.protocol || *p.FromPort != want.from || *p.ToPort != want.to {
			t.Errorf("%s is read as %+v, %v", text, p, err)
			continue
		}
		if want.shown == "" {
			want.shown = text
		}
		if shown := showTraffic(p.IpProtocol, p.FromPort, p.ToPort); shown != want.shown {
			t.Errorf("%s is shown as %s", text, shown)
		}
	}
	if p, err := parseTraffic("all"); err != nil || *p.IpProtocol != "-1" || p.FromPort != nil || showTraffic(p.IpProtocol, nil, nil) != "all" {
		t.Errorf("all is read as %+v, %v", p, err)
	}
	for _, text := range []string{"", "22", "tcp/", "tcp/-1", "tcp/65536", "tcp/1-", "tcp/1-2-3", "tcp/ssh", "icmp/256", "icmp/8-0", "icmp/8/", "all/1", "sctp/5", "tcp/+5"} {
		if p, err := parseTraffic(text); err == nil {
			t.Errorf("%q is read as %+v", text, p)
		}
	}
	if shown := showTraffic(new("47"), new(int32(-1)), new(int32(-1))); shown != "protocol 47" {
		t.Errorf("a protocol without a name is shown as %s", shown)
	}
}

func TestCIDR(t *testing.T) {
	for text, want := range map[string]string{"10.0.0.0/8": "10.0.0.0/8", "10.1.2.3": "10.1.2.3/32", "2001:db8::1": "2001:db8::1/128", "::/0": "::/0"} {
		if got, ok := parseCIDR(text); !ok || got.String() != want {
			t.Errorf("%s is read as %s, %v", text, got, ok)
		}
	}
	for _, text := range []string{"web", "sg-0123456789abcdef0", "10.0.0", "fe80::1%eth0", "10.0.0.0/33"} {
		if got, ok := parseCIDR(text); ok {
			t.Errorf("%s is read as %s", text, got)
		}
	}
	if peer := showPeer(ec2types.SecurityGroupRule{PrefixListId: new("pl-1")}); peer != "pl-1" {
		t.Errorf("a prefix list is shown as %s", peer)
	}
}
