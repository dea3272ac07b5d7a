//go:build vm

package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/package-url/packageurl-go"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
)

// TestDebianBoots is the boot test of debian-12-offline; that for other architectures takes long.
func TestDebianBoots(t *testing.T) { debianBoots(t, "x86_64", "t3.micro") }

// debianBoots: on a root volume that is larger than the image, cloud-init finishes, the
// metadata is the instance's, the file system has grown, and the power button ends the machine in
// order.
func debianBoots(t *testing.T, arch, kind string) {
	d := newDaemon(t)
	image := d.build(t, "debian-12-offline", arch)
	d.locked(t, image, arch)
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", key)
	const grown = 5
	out, err := d.API.RunInstances(t.Context(), &ec2types.RunInstancesInput{
		ImageId: &image, InstanceType: &kind, KeyName: new("k"), MinCount: new(int32(1)), MaxCount: new(int32(1)),
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
	if got, want := ssh(metadata), fmt.Sprintf("%s\n%s\n%s", image, kind, *i.PrivateIpAddress); got != want {
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

// locked checks that the image's lock file pins what is installed, as the SBOM has it.
func (d daemon) locked(t *testing.T, image, arch string) {
	t.Helper()
	out, err := d.API.GetImageLock(t.Context(), &bundttypes.GetImageLockInput{ImageId: &image})
	must(t, err)
	lock, err := recipe.ParseLock(recipe.LockFileName, []byte(out.Lock))
	must(t, err)
	sbom := d.cli(t, "image", "sbom", image)
	pins := lock.For(model.Arch(arch))
	for _, p := range pins {
		if want := packageurl.NewPackageURL(packageurl.TypeDebian, "debian", p.Package, p.Version, nil, "").ToString() + "?"; !strings.Contains(sbom, want) {
			t.Errorf("the SBOM has no %s", want)
		}
	}
	if n := strings.Count(sbom, `"pkg:deb/`); n != len(pins) || n < 100 {
		t.Errorf("%d packages are pinned, and %d in the SBOM", len(pins), n)
	}
}

// TestDemoDebian runs what make demo-debian runs.
func TestDemoDebian(t *testing.T) { runDemo(t, "-guest", "debian") }

// TestDemoConsole runs what make demo-console runs: the console is there until Ctrl-C,
// and then nothing is.
func TestDemoConsole(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	must(t, err)
	dir := filepath.Join(t.TempDir(), "demo")
	cmd := exec.Command(tool("demo"), "-console", "-dir", dir, "-cache", cacheDir())
	cmd.Dir = root
	out, err := cmd.StdoutPipe()
	must(t, err)
	var errs strings.Builder
	cmd.Stderr = &errs
	must(t, cmd.Start())
	said := bufio.NewScanner(out)
	link := ""
	for link == "" && said.Scan() {
		if strings.Contains(said.Text(), "/console/sign-in?token=") {
			link = strings.TrimSpace(said.Text())
		}
	}
	resp, err := http.Get(link)
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", link, resp.Status)
	}
	must(t, cmd.Process.Signal(os.Interrupt))
	for said.Scan() { // until it has ended
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v: %s", err, errs.String())
	}
	if _, err := http.Get(link); err == nil {
		t.Error("the cloud is still there")
	}
}

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
