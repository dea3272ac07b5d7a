package metadata

import "testing"

// Further interfaces and secondary addresses are found by their MAC addresses.
func TestInterfaces(t *testing.T) {
	d := testDocument()
	d.Interfaces[0].PrivateIPs = append(d.Interfaces[0].PrivateIPs, PrivateIP{IP: "10.0.0.11"}, PrivateIP{IP: "10.0.0.12", Public: "127.77.0.6"})
	d.Interfaces = append(d.Interfaces, Interface{
		ID: "eni-2", DeviceIndex: 1, MAC: "0A:00:00:00:00:02", Hostname: "ip-10-0-1-10.ec2.internal", PrivateIPs: []PrivateIP{{IP: "10.0.1.10"}},
		VPCID: "vpc-1", VPCCIDR: "10.0.0.0/16", SubnetID: "subnet-2", SubnetCIDR: "10.0.1.0/24", SecurityGroups: []NamedID{{"sg-3", "db"}},
	})
	d.Interfaces[0].IPv6s = []string{"fd12::5", "fd12::6"}
	d.Interfaces[0].VPCCIDRsV6, d.Interfaces[0].SubnetCIDRsV6 = []string{"fd12::/56"}, []string{"fd12::/64"}
	f := newFixture(d)
	const macs = "/latest/meta-data/network/interfaces/macs/"
	for path, want := range map[string]string{
		macs:                                                    "0a:00:00:00:00:01/\n0a:00:00:00:00:02/",
		macs + "0a:00:00:00:00:01/local-ipv4s":                  "10.0.0.10\n10.0.0.11\n10.0.0.12",
		macs + "0a:00:00:00:00:01/public-ipv4s":                 "127.77.0.5\n127.77.0.6",
		macs + "0a:00:00:00:00:01/ipv4-associations/":           "127.77.0.5\n127.77.0.6",
		macs + "0a:00:00:00:00:01/ipv4-associations/127.77.0.6": "10.0.0.12",
		macs + "0a:00:00:00:00:01/ipv6s":                        "fd12::5\nfd12::6",
		macs + "0a:00:00:00:00:01/vpc-ipv6-cidr-blocks":         "fd12::/56",
		macs + "0a:00:00:00:00:01/subnet-ipv6-cidr-blocks":      "fd12::/64",
		"/latest/meta-data/ipv6":                                "fd12::5",
		macs + "0a:00:00:00:00:02/device-number":                "1",
		macs + "0a:00:00:00:00:02/interface-id":                 "eni-2",
		macs + "0a:00:00:00:00:02/local-hostname":               "ip-10-0-1-10.ec2.internal",
		macs + "0a:00:00:00:00:02/local-ipv4s":                  "10.0.1.10",
		macs + "0a:00:00:00:00:02/security-group-ids":           "sg-3",
		macs + "0a:00:00:00:00:02/subnet-id":                    "subnet-2",
		macs + "0a:00:00:00:00:02/subnet-ipv4-cidr-block":       "10.0.1.0/24",
	} {
		if w := f.do("GET", path); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s is %d %q", path, w.Code, w.Body.String())
		}
	}
	for _, none := range []string{"public-ipv4s", "ipv6s", "subnet-ipv6-cidr-blocks"} {
		if w := f.do("GET", macs+"0a:00:00:00:00:02/"+none); w.Code != 404 {
			t.Errorf("an interface without %s answers %d %q", none, w.Code, w.Body.String())
		}
	}
}
