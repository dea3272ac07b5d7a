//go:build vm

package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

// TestDebianBoots is the boot test of debian-12-offline: on a root volume that is
// larger than the image, cloud-init finishes, the metadata is the instance's, the
// file system has grown, and the power button ends the machine in order.
func TestDebianBoots(t *testing.T) {
	d := newDaemon(t)
	image := d.build(t, "debian-12-offline", "x86_64")
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", key)
	const grown = 5
	out, err := d.API.RunInstances(t.Context(), &ec2types.RunInstancesInput{
		ImageId: &image, InstanceType: new("t3.micro"), KeyName: new("k"), MinCount: new(int32(1)), MaxCount: new(int32(1)),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{DeviceName: new("/dev/sda1"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: new(int32(grown))}}},
	})
	must(t, err)
	i := out.Instances[0]
	id := *i.InstanceId
	d.cli(t, "wait", id, "reachable", "--timeout", "10m")
	ssh := func(script string) string {
		t.Helper()
		return d.cli(t, "ssh", "-i", key, id, "--", script)
	}
	if got := ssh("cloud-init status --wait --long || sudo grep -A12 WARNING /var/log/cloud-init.log"); !strings.Contains(got, "status: done") || !strings.Contains(got, "DataSourceEc2") {
		t.Errorf("cloud-init says: %s", got)
	}
	if got := ssh("cat /var/lib/cloud/data/instance-id; . /etc/os-release; echo $VERSION_CODENAME; whoami"); got != id+"\nbookworm\ndebian" {
		t.Errorf("the guest is %q", got)
	}
	const metadata = `M=http://169.254.169.254/latest; T=$(curl -sf -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" $M/api/token)
for k in ami-id instance-type local-ipv4; do curl -sf -H "X-aws-ec2-metadata-token: $T" $M/meta-data/$k; echo; done`
	if got, want := ssh(metadata), fmt.Sprintf("%s\nt3.micro\n%s", image, *i.PrivateIpAddress); got != want {
		t.Errorf("the metadata says %q, want %q", got, want)
	}
	var size int64
	if _, err := fmt.Sscan(ssh("df --output=size -B1 / | tail -n 1"), &size); err != nil || size < grown*9/10<<30 {
		t.Errorf("the root file system holds %d bytes of a volume of %d GiB (%v)", size, grown, err)
	}
	if got := ssh("systemctl list-units --failed --no-legend --plain; sudo systemctl is-active systemd-networkd qemu-guest-agent; true"); got != "active\nactive" {
		t.Errorf("failed or inactive units: %s", got)
	}
	d.cli(t, "stop", id)
	console, err := d.console(t.Context(), id)
	must(t, err)
	if !strings.Contains(console, "Power down") {
		t.Errorf("the machine did not shut down in order: %q", console)
	}
	d.cli(t, "rm", id)
	d.nothingLeft(t)
}

// TestDemoDebian runs what make demo-debian runs.
func TestDemoDebian(t *testing.T) { runDemo(t, "-guest", "debian") }

func runDemo(t *testing.T, args ...string) {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	must(t, err)
	cmd := exec.Command(tool("demo"), append([]string{"-dir", filepath.Join(t.TempDir(), "demo"), "-cache", cacheDir()}, args...)...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
