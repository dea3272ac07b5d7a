//go:build vm

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bundt/bundt/hack/harness"
	"github.com/bundt/bundt/hack/libvirttest"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

// newLibvirt starts a libvirtd of the test's own.
func newLibvirt(t *testing.T) *libvirttest.Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "bundt-lv-") // short: it makes sockets in it
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return libvirttest.Start(t, dir)
}

// onLibvirt has a daemon use that libvirtd.
func onLibvirt(server *libvirttest.Server) func(*harness.Options) {
	return func(o *harness.Options) {
		o.Program = []string{filepath.Join(bin, "bundtd-libvirt")}
		o.Args = append(o.Args, "--hypervisor", server.URI)
	}
}

// TestLibvirt tells the story on libvirt's driver: an image, an instance, a volume that
// comes and goes, a daemon that is killed, a live image, and its twin.
func TestLibvirt(t *testing.T) {
	server := newLibvirt(t)
	d := newDaemon(t, onLibvirt(server))
	image := d.build(t, "tiny", "x86_64")
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", key)
	id := d.cli(t, "run", image, "--key", "k", "--type", "b1.nano", "-o", "name")
	d.cli(t, "ssh", "-i", key, id, "--", "echo baked > /root/mark; sync")
	before := d.details(t, id)
	d.plugAndUnplug(t, id)

	d.Kill()
	must(t, d.Start(t.Context()))
	must(t, d.State(t.Context(), id, "running"))
	if after := d.details(t, id); after.Pid != before.Pid || after.Pid == 0 {
		t.Errorf("process %d became %d", before.Pid, after.Pid)
	}
	live, err := d.API.CreateImage(t.Context(), &ec2types.CreateImageInput{InstanceId: &id, Name: new("live"), NoReboot: new(true)})
	must(t, err)
	d.available(t, *live.ImageId)
	d.cli(t, "ssh", "-i", key, id, "--", "echo eaten > /root/mark; sync")
	twin := d.cli(t, "run", *live.ImageId, "--key", "k", "--type", "b1.nano", "-o", "name")
	if got := d.cli(t, "ssh", "-i", key, twin, "--", "cat /root/mark"); got != "baked" {
		t.Errorf("the twin's mark says %q", got)
	}
	if a, b := d.cli(t, "ssh", "-i", key, id, "--", "cat /etc/machine-id"), d.cli(t, "ssh", "-i", key, twin, "--", "cat /etc/machine-id"); a == b {
		t.Errorf("both have the machine id %s", a)
	}
	d.cli(t, "stop", id)
	d.cli(t, "start", id)
	if got := d.cli(t, "ssh", "-i", key, id, "--", "cat /root/mark"); got != "eaten" {
		t.Errorf("after stop and start the mark says %q", got)
	}

	// QEMU's driver does not start a second time what libvirt runs.
	d.Stop()
	out, err := d.Command("doctor").CombinedOutput()
	if err == nil || !strings.Contains(string(out), id) && !strings.Contains(string(out), twin) {
		t.Errorf("another driver on the same data: %v, %s", err, out)
	}
	must(t, d.Start(t.Context()))
	d.cli(t, "rm", id, twin)
	d.nothingLeft(t)
}

// TestAdopt makes an image of a domain that bundt did not make, and runs it.
func TestAdopt(t *testing.T) {
	server := newLibvirt(t)
	d := newDaemon(t, onLibvirt(server))
	d.build(t, "boot-sector", "x86_64")
	content, err := os.ReadFile(d.layers(t)[0])
	must(t, err)
	root := filepath.Join(t.TempDir(), "root.qcow2")
	must(t, os.WriteFile(root, content, 0o600))
	d.Stop() // libvirtd is going to be restarted
	server.Define("mail", `<domain type="qemu"><name>mail</name><uuid>5c1b3a7e-1111-4222-8333-444455556666</uuid><memory unit="MiB">64</memory>
<os><type arch="x86_64" machine="q35">hvm</type></os><devices><disk type="file" device="disk">
<driver name="qemu" type="qcow2"/><source file="`+root+`"/><target dev="vda" bus="virtio"/></disk></devices></domain>`)
	must(t, d.Start(t.Context()))
	image := d.cli(t, "adopt", "mail", "--name", "mail-2026")
	id := d.launch(t, image, "b1.nano")
	eventually(t, "the domain's disk boots", func() error {
		out, err := d.console(t.Context(), id)
		if err == nil && !strings.Contains(out, "bundt") {
			err = fmt.Errorf("the console says %q", out)
		}
		return err
	})
	if left, err := os.ReadFile(root); err != nil || !bytes.Equal(left, content) {
		t.Errorf("the domain's own disk was changed: %v", err)
	}
	if out, err := d.Bundt(t.Context(), "adopt", "nobody"); err == nil {
		t.Errorf("a domain that is not there: %s", out)
	}
	d.cli(t, "rm", id)
	d.nothingLeft(t)
}

// TestWithoutLibvirt: the ordinary bundtd says what it lacks, and what to do.
func TestWithoutLibvirt(t *testing.T) {
	d := newDaemon(t, func(o *harness.Options) { o.Args = append(o.Args, "--hypervisor", "fake") })
	d.Stop()
	out, err := d.Command("--hypervisor", "qemu:///system").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "make build-libvirt") {
		t.Errorf("%v: %s", err, out)
	}
}
