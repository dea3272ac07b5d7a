//go:build vm

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// TestDemo runs what make demo runs.
func TestDemo(t *testing.T) { runDemo(t) }

// TestForeignArchitectures boots the tiny image for every architecture but the
// host's, to the point where its SSH server answers, gives it a disk and takes it
// away again, and stops it by ACPI.
func TestForeignArchitectures(t *testing.T) {
	d := newDaemon(t)
	for _, arch := range []string{"arm64", "i386"} {
		t.Run(arch, func(t *testing.T) {
			id := d.launch(t, d.build(t, "tiny", arch), "b1.micro")
			must(t, d.Reachable(t.Context(), id))
			det := d.details(t, id)
			if det.Accelerator != "tcg" || !strings.Contains(det.AcceleratorReason, "software emulation") {
				t.Errorf("the accelerator is labelled %q: %q", det.Accelerator, det.AcceleratorReason)
			}
			d.plugAndUnplug(t, id)
			d.cli(t, "stop", id)
			if i := d.instance(t, id); *i.State.Name != "stopped" {
				t.Errorf("it is %s", *i.State.Name)
			}
			out, err := d.console(t.Context(), id)
			must(t, err)
			if !strings.Contains(out, "power") {
				t.Errorf("the guest did not hear the power button: %q", out)
			}
			d.cli(t, "rm", id)
		})
	}
}

// TestUEFINeedsMemory checks that a machine too small for its firmware is refused.
func TestUEFINeedsMemory(t *testing.T) {
	d := newDaemon(t)
	_, err := d.Launch(t.Context(), d.build(t, "tiny", "arm64"), "b1.nano", "")
	if model.CodeOf(err) != model.CodeUnsupported {
		t.Errorf("got %v", err)
	}
}

// TestKVM runs the boot-sector image on the real device, wherever it opens.
func TestKVM(t *testing.T) {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		// Not a skip: without the device, forcing it must be refused with a reason.
		testKVMRefused(t)
		return
	}
	f.Close()
	d := newDaemon(t)
	image := d.build(t, "boot-sector", "x86_64")
	id := d.launch(t, image, "b1.nano", "bundt:accel", "kvm")
	must(t, d.State(t.Context(), id, "running"))
	det := d.details(t, id)
	if det.Accelerator != "kvm" {
		t.Errorf("accelerator %q (%s), want kvm", det.Accelerator, det.AcceleratorReason)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", det.Pid))
	if err != nil || !strings.Contains(string(maps), "kvm") {
		t.Errorf("the machine's process does not use kvm: %v %q", err, maps)
	}
	eventually(t, "the boot sector speaks", func() error {
		out, err := d.console(t.Context(), id)
		if err == nil && !strings.Contains(out, "bundt") {
			err = fmt.Errorf("the console says %q", out)
		}
		return err
	})
	img, err := d.API.CreateImage(t.Context(), &ec2types.CreateImageInput{InstanceId: &id, Name: new("under kvm"), NoReboot: new(true)})
	if err != nil {
		t.Fatal(err)
	}
	d.available(t, *img.ImageId)
	if _, err := d.API.StopInstances(t.Context(), &ec2types.StopInstancesInput{InstanceIds: []string{id}, Force: new(true)}); err != nil {
		t.Fatal(err)
	}
	must(t, d.State(t.Context(), id, "stopped"))
	if alive(det.Pid) {
		t.Error("the machine's process is still there")
	}
}

func testKVMRefused(t *testing.T) {
	d := newDaemon(t)
	image := d.build(t, "boot-sector", "x86_64")
	id := d.launch(t, image, "b1.nano", "bundt:accel", "kvm")
	must(t, d.State(t.Context(), id, "terminated"))
	i := d.instance(t, id)
	if !strings.Contains(strings.ToLower(ec2types.Value(i.StateReason.Message)), "kvm") {
		t.Errorf("the reason does not name KVM: %+v", i.StateReason)
	}
}

// TestStopStartRebootKeepTheDisk checks EC2's life cycle on a real guest.
func TestStopStartRebootKeepTheDisk(t *testing.T) {
	d := newDaemon(t)
	image := d.build(t, "tiny", "x86_64")
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", key)
	id := d.cli(t, "run", image, "--key", "k", "--type", "b1.nano", "-o", "name")
	ssh := func(script string) string { t.Helper(); return d.cli(t, "ssh", "-i", key, id, "--", script) }
	boot := ssh("echo kept > /root/mark; sync; cat /proc/sys/kernel/random/boot_id")
	before := d.instance(t, id)
	d.cli(t, "reboot", id)
	d.cli(t, "wait", id, "reachable")
	eventually(t, "the guest has rebooted", func() error {
		out, err := d.Bundt(t.Context(), "ssh", "-i", key, id, "--", "cat /root/mark /proc/sys/kernel/random/boot_id")
		if err == nil && (!strings.HasPrefix(out, "kept\n") || strings.HasSuffix(out, boot)) {
			err = fmt.Errorf("it says %q", out)
		}
		return err
	})
	d.cli(t, "stop", id)
	d.cli(t, "start", id)
	if got := ssh("cat /root/mark"); got != "kept" {
		t.Errorf("after stop and start the mark says %q", got)
	}
	after := d.instance(t, id)
	if *before.PrivateIpAddress != *after.PrivateIpAddress {
		t.Error("the private address changed")
	}
	ssh("(sleep 1; poweroff) >/dev/null 2>&1 </dev/null &")
	must(t, d.State(t.Context(), id, string(model.InstanceStopped)))
	i := d.instance(t, id)
	if got := ec2types.Value(i.StateReason.Code); got != "Client.InstanceInitiatedShutdown" {
		t.Errorf("the reason of a guest's own shutdown is %q", got)
	}
}
