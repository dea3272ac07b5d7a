//go:build vm

package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// TestDemo runs what make demo runs.
func TestDemo(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	demo := filepath.Join(t.TempDir(), "demo")
	build := exec.Command("go", "build", "-o", demo, "./hack/demo")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the demo: %v: %s", err, out)
	}
	cmd := exec.Command(demo, "-dir", filepath.Join(t.TempDir(), "demo"), "-cache", os.Getenv(cacheEnv))
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// TestForeignArchitectures boots the tiny image for every architecture but the
// host's, to the point where its SSH server answers, and stops it by ACPI.
func TestForeignArchitectures(t *testing.T) {
	d := newDaemon(t)
	for _, arch := range []string{"arm64", "i386"} {
		t.Run(arch, func(t *testing.T) {
			image := d.mustBuild(t, "tiny", arch)
			id, err := d.run(t.Context(), image, "")
			if err != nil {
				t.Fatal(err)
			}
			d.reachable(t, id)
			det, err := d.details(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if det.Accelerator != "tcg" || !strings.Contains(det.AcceleratorReason, "software emulation") {
				t.Errorf("the accelerator is labelled %q: %q", det.Accelerator, det.AcceleratorReason)
			}
			start := time.Now()
			if _, err := d.bundt(t.Context(), "stop", id); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > 40*time.Second {
				t.Errorf("stopping took %s: the guest did not hear the power button", took)
			}
			if _, err := d.bundt(t.Context(), "rm", id); err != nil {
				t.Fatal(err)
			}
		})
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
	image := d.mustBuild(t, "boot-sector", "x86_64")
	id, err := d.run(t.Context(), image, "", "bundt:accel", "kvm")
	if err != nil {
		t.Fatal(err)
	}
	d.state(t, id, "running")
	det, err := d.details(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if det.Accelerator != "kvm" {
		t.Errorf("accelerator %q (%s), want kvm", det.Accelerator, det.AcceleratorReason)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", det.Pid))
	if err != nil || !strings.Contains(string(maps), "kvm") {
		t.Errorf("the machine's process does not use kvm: %v %q", err, maps)
	}
	eventually(t, "the boot sector speaks", time.Minute, func() error {
		out, err := d.console(t.Context(), id)
		if err == nil && !strings.Contains(out, "bundt") {
			err = fmt.Errorf("the console says %q", out)
		}
		return err
	})
	img, err := d.api.CreateImage(t.Context(), &ec2types.CreateImageInput{InstanceId: &id, Name: new("under kvm"), NoReboot: new(true)})
	if err != nil {
		t.Fatal(err)
	}
	d.available(t, *img.ImageId)
	if _, err := d.api.StopInstances(t.Context(), &ec2types.StopInstancesInput{InstanceIds: []string{id}, Force: new(true)}); err != nil {
		t.Fatal(err)
	}
	d.state(t, id, "stopped")
	if alive(det.Pid) {
		t.Error("the machine's process is still there")
	}
}

func testKVMRefused(t *testing.T) {
	d := newDaemon(t)
	image := d.mustBuild(t, "boot-sector", "x86_64")
	id, err := d.run(t.Context(), image, "", "bundt:accel", "kvm")
	if err != nil {
		t.Fatal(err)
	}
	d.state(t, id, "terminated")
	i, err := d.instance(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.ToLower(ec2types.Value(i.StateReason.Message)), "kvm") {
		t.Errorf("the reason does not name KVM: %+v", i.StateReason)
	}
}

func (d *daemon) console(ctx context.Context, id string) (string, error) {
	out, err := d.api.GetConsoleOutput(ctx, &ec2types.GetConsoleOutputInput{InstanceId: &id})
	if err != nil {
		return "", err
	}
	b, err := base64.StdEncoding.DecodeString(ec2types.Value(out.Output))
	return string(b), err
}

func (d *daemon) available(t *testing.T, image string) {
	t.Helper()
	eventually(t, image+" is available", time.Minute, func() error {
		out, err := d.api.DescribeImages(t.Context(), &ec2types.DescribeImagesInput{ImageIds: []string{image}})
		if err == nil && *out.Images[0].State != "available" {
			err = fmt.Errorf("it is %s: %+v", *out.Images[0].State, out.Images[0].StateReason)
		}
		return err
	})
}

// TestStopStartRebootKeepTheDisk checks EC2's life cycle on a real guest.
func TestStopStartRebootKeepTheDisk(t *testing.T) {
	d := newDaemon(t)
	image := d.mustBuild(t, "tiny", "x86_64")
	key := filepath.Join(d.dir, "key")
	mustBundt(t, d, "key", "create", "k", "--file", key)
	id := mustBundt(t, d, "run", image, "--key", "k", "--type", "b1.nano", "-o", "name")
	ssh := func(script string) string { t.Helper(); return mustBundt(t, d, "ssh", "-i", key, id, "--", script) }
	boot := ssh("echo kept > /root/mark; sync; cat /proc/sys/kernel/random/boot_id")
	before, err := d.instance(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	mustBundt(t, d, "reboot", id)
	mustBundt(t, d, "wait", id, "reachable")
	eventually(t, "the guest has rebooted", time.Minute, func() error {
		out, err := d.bundt(t.Context(), "ssh", "-i", key, id, "--", "cat /root/mark /proc/sys/kernel/random/boot_id")
		if err == nil && (!strings.HasPrefix(out, "kept\n") || strings.HasSuffix(out, boot)) {
			err = fmt.Errorf("it says %q", out)
		}
		return err
	})
	mustBundt(t, d, "stop", id)
	mustBundt(t, d, "start", id)
	if got := ssh("cat /root/mark"); got != "kept" {
		t.Errorf("after stop and start the mark says %q", got)
	}
	after, err := d.instance(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if *before.PrivateIpAddress != *after.PrivateIpAddress {
		t.Error("the private address changed")
	}
	mustBundt(t, d, "ssh", "-i", key, id, "--", "poweroff")
	d.state(t, id, string(model.InstanceStopped))
	i, err := d.instance(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if got := ec2types.Value(i.StateReason.Code); got != "Client.InstanceInitiatedShutdown" {
		t.Errorf("the reason of a guest's own shutdown is %q", got)
	}
}

func mustBundt(t *testing.T, d *daemon, args ...string) string {
	t.Helper()
	out, err := d.bundt(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
