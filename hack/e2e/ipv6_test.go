//go:build vm

package e2e

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

// TestIPv6 gives a network IPv6 under a real guest that runs, and launches another
// into it: they find each other by name, reach each other as their groups say, and
// ask the metadata service by IPv6.
func TestIPv6(t *testing.T) {
	d := newDaemon(t)
	image := d.build(t, "tiny", "x86_64")
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", key)
	ssh := func(id, script string) (string, error) {
		return d.Bundt(t.Context(), "ssh", "-i", key, id, "--", script)
	}
	launch := func(name string) *ec2types.Instance {
		out, err := d.API.RunInstances(t.Context(), &ec2types.RunInstancesInput{
			ImageId: &image, InstanceType: new("b1.nano"), MinCount: new(int32(1)), MaxCount: new(int32(1)), KeyName: new("k"),
			MetadataOptions: &ec2types.InstanceMetadataOptionsRequest{HttpProtocolIpv6: new("enabled")},
			TagSpecifications: []ec2types.TagSpecification{{
				ResourceType: new("instance"), Tags: []ec2types.Tag{{Key: new("Name"), Value: &name}},
			}},
		})
		must(t, err)
		return &out.Instances[0]
	}
	first := launch("first")
	id := *first.InstanceId
	must(t, d.Reachable(t.Context(), id))
	vpc, err := d.API.AssociateVpcCidrBlock(t.Context(), &ec2types.AssociateVpcCidrBlockInput{VpcId: first.VpcId, AmazonProvidedIpv6CidrBlock: new(true)})
	must(t, err)
	subnet := netip.PrefixFrom(netip.MustParsePrefix(*vpc.Ipv6CidrBlockAssociation.Ipv6CidrBlock).Addr(), 64).String()
	_, err = d.API.AssociateSubnetCidrBlock(t.Context(), &ec2types.AssociateSubnetCidrBlockInput{SubnetId: first.SubnetId, Ipv6CidrBlock: &subnet})
	must(t, err)
	_, err = d.API.ModifySubnetAttribute(t.Context(), &ec2types.ModifySubnetAttributeInput{
		SubnetId: first.SubnetId, AssignIpv6AddressOnCreation: &ec2types.AttributeBooleanValue{Value: new(true)},
	})
	must(t, err)
	assigned, err := d.API.AssignIpv6Addresses(t.Context(), &ec2types.AssignIpv6AddressesInput{
		NetworkInterfaceId: first.NetworkInterfaces[0].NetworkInterfaceId, Ipv6AddressCount: new(int32(1)),
	})
	must(t, err)
	second := launch("second")
	other := *second.Ipv6Address
	must(t, d.Reachable(t.Context(), *second.InstanceId))
	for who, want := range map[string]string{id: assigned.AssignedIpv6Addresses[0], *second.InstanceId: other} {
		eventually(t, who+" has its address", func() error {
			got, err := ssh(who, "until ip -6 addr show scope global | grep -q '"+want+"/128'; do sleep 0.2; done; echo yes")
			if got != "yes" {
				t.Logf("%s: %q, %v", who, got, err)
			}
			return err
		})
	}
	forged := strings.TrimSuffix(subnet, "/64") + "dead"
	for script, want := range map[string]string{
		"ping -6 -c 1 -W 5 " + other + " | grep -c 'bytes from'":                                      "1",
		"nslookup -type=aaaa second.bundt.internal '[fd00:ec2::253]' 2>&1 | grep -v '^$' | tail -n 1": "Address: " + other,
		"wget -q -O - http://[fd00:ec2::254]/latest/meta-data/instance-id":                            id,
		"wget -q -O - http://169.254.169.254/latest/meta-data/ipv6":                                   assigned.AssignedIpv6Addresses[0],
		"ip -6 route show default | grep -c via":                                                      "1",
		"nc -w 2 " + other + " 22 < /dev/null | head -c 4":                                            "SSH-",
	} {
		if got, err := ssh(id, script); got != want {
			t.Errorf("%s: %q, want %q: %v", script, got, want, err)
		}
	}
	// An address that it gives itself is not heard; last, as the guest would use it
	// from now on.
	script := "ip -6 addr add " + forged + "/128 dev eth0 nodad; ping -6 -I " + forged + " -c 1 -W 1 " + other + " | grep 'bytes from' || echo none"
	if got, err := ssh(id, script); got != "none" {
		t.Errorf("from an address of its own making: %q, %v", got, err)
	}
}
