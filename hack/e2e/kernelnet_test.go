//go:build vm

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bundt/bundt/hack/harness"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

// TestUserNetworks runs real guests of two VPCs with the same range side by side, with
// a guest of the same address in each, that know nothing of each other; they outlive
// the daemon.
func TestUserNetworks(t *testing.T) {
	d := newDaemon(t)
	twoVPCs(t, d, "1500\n1")
}

// TestKernelNetworks does so on taps, and nothing of them is left on the host.
func TestKernelNetworks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the kernel's networks need root")
	}
	const namespaces = "/run/netns"
	must(t, os.MkdirAll(namespaces, 0o755))
	must(t, syscall.Mount("none", namespaces, "tmpfs", 0, "")) // the mounts are this test's own
	t.Cleanup(func() { _ = syscall.Unmount(namespaces, syscall.MNT_DETACH) })
	d := newDaemon(t, func(o *harness.Options) { o.Args = []string{"--network", "kernel"} })
	twoVPCs(t, d, "9001\n1")
	eventually(t, "the namespaces are gone", func() error {
		left, err := os.ReadDir(namespaces)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%v are left", left)
		}
		return err
	})
}

// twoVPCs is what both kinds of networks do; the neighbours have the MTU, and reach
// each other.
func twoVPCs(t *testing.T, d daemon, neighbours string) {
	image := d.build(t, "tiny", "x86_64")
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", key)
	ssh := func(id string, argv ...string) (string, error) {
		return d.Bundt(t.Context(), append([]string{"ssh", "-i", key, id, "--"}, argv...)...)
	}
	launch := func(vpc, ip string) string {
		subnet := d.cli(t, "subnet", "ls", "--query", fmt.Sprintf("[?contains(to_string(@), 'subnet-of-%s')].SubnetId | [0]", vpc), "-o", "json")
		out, err := d.API.RunInstances(t.Context(), &ec2types.RunInstancesInput{
			ImageId: &image, InstanceType: new("b1.nano"), MinCount: new(int32(1)), MaxCount: new(int32(1)), KeyName: new("k"),
			SubnetId: new(strings.Trim(subnet, `"`)), PrivateIpAddress: &ip,
		})
		must(t, err)
		return *out.Instances[0].InstanceId
	}
	ids := map[string]string{}
	for _, vpc := range []string{"one", "two"} {
		d.cli(t, "vpc", "create", "10.9.0.0/16", "--name", vpc, "--internet")
		d.cli(t, "subnet", "create", "10.9.1.0/24", "--vpc", vpc, "--name", "subnet-of-"+vpc, "--public")
		ids[vpc] = launch(vpc, "10.9.1.10")
	}
	ids["neighbour"] = launch("one", "10.9.1.11")
	for _, id := range ids {
		must(t, d.Reachable(t.Context(), id))
	}
	who := "wget -q -O - http://169.254.169.254/latest/meta-data/instance-id"
	for _, name := range []string{"one", "two"} {
		if got, err := ssh(ids[name], who); got != ids[name] {
			t.Errorf("the guest of %s is %q, want %s: %v", name, got, ids[name], err)
		}
	}
	if got, err := ssh(ids["neighbour"], "cat /sys/class/net/eth0/mtu; ping -c 1 -W 5 -s 8000 10.9.1.10 | grep -c 'bytes from'"); got != neighbours {
		t.Errorf("the neighbour says %q: %v", got, err)
	}
	if got, err := ssh(ids["two"], "ping -c 1 -W 1 10.9.1.11 | grep 'bytes from' || echo none"); got != "none" {
		t.Errorf("a guest reached another VPC: %q, %v", got, err)
	}
	inst, err := d.Instance(t.Context(), ids["two"])
	must(t, err)
	// The default group of a VPC of one's own lets nobody in.
	if c, err := net.DialTimeout("tcp", *inst.PublicIpAddress+":22", time.Second); err == nil {
		c.Close()
		t.Error("a forbidden port is open")
	}
	_, err = d.API.AuthorizeSecurityGroupIngress(t.Context(), &ec2types.AuthorizeSecurityGroupIngressInput{
		GroupId: inst.SecurityGroups[0].GroupId, IpProtocol: new("tcp"), FromPort: new(int32(22)), ToPort: new(int32(22)), CidrIp: new("0.0.0.0/0"),
	})
	must(t, err)
	eventually(t, "an allowed port answers", func() error {
		c, err := net.DialTimeout("tcp", *inst.PublicIpAddress+":22", time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		banner := make([]byte, 4)
		if _, err := c.Read(banner); err != nil || string(banner) != "SSH-" {
			return fmt.Errorf("%q: %w", banner, err)
		}
		return nil
	})
	// A tap joins a running guest, and is found again by the next daemon.
	g := pluggedGuest{daemon: d, id: ids["one"], key: key}
	attachment := g.attach(t, g.create(t))
	d.Kill()
	must(t, d.Start(t.Context()))
	for _, name := range []string{"one", "two"} {
		if got, err := ssh(ids[name], who); got != ids[name] {
			t.Errorf("after the daemon's end the guest of %s is %q: %v", name, got, err)
		}
	}
	g.detach(t, attachment)
	for _, id := range ids {
		d.cli(t, "rm", id)
	}
}
