//go:build vm

package e2e

import (
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

// TestLibvirt tells the story on libvirt's driver: an image, an instance, a volume that
// comes and goes, a daemon that is killed, a live image, and its twin.
func TestLibvirt(t *testing.T) {
	server := newLibvirt(t)
	d := newDaemon(t, func(o *harness.Options) {
		o.Program = []string{filepath.Join(bin, "bundtd-libvirt")}
		o.Args = append(o.Args, "--hypervisor", server.URI)
	})
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

// TestWithoutLibvirt: the ordinary bundtd says what it lacks, and what to do.
func TestWithoutLibvirt(t *testing.T) {
	d := newDaemon(t, func(o *harness.Options) { o.Args = append(o.Args, "--hypervisor", "fake") })
	d.Stop()
	out, err := d.Command("--hypervisor", "qemu:///system").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "make build-libvirt") {
		t.Errorf("%v: %s", err, out)
	}
}
