//go:build vm

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bundt/bundt/hack/harness"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// TestFullDisk checks that a launch onto a full disk says so, leaves nothing, and
// that all goes on once there is space again.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	must(t, syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=512m"))
	t.Cleanup(func() { must(t, syscall.Unmount(disk, 0)) }) // after the daemon's own end
	d := newDaemon(t, func(o *harness.Options) { o.Dir = filepath.Join(disk, "d") })
	image := d.build(t, "boot-sector", "x86_64")
	filler := filepath.Join(disk, "filler")
	fill(t, filler)
	id := d.launch(t, image, "b1.pico")
	must(t, d.State(t.Context(), id, "terminated"))
	if why := ec2types.Value(d.instance(t, id).StateReason.Message); !strings.Contains(why, "space") {
		t.Errorf("the reason does not say that space is lacking: %q", why)
	}
	must(t, os.Remove(filler))
	d.nothingLeft(t)
	must(t, d.State(t.Context(), d.launch(t, image, "b1.pico"), "running"))
}

// fill writes a file until the disk is as good as full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for block := make([]byte, 1<<20); ; {
		var fs syscall.Statfs_t
		must(t, syscall.Statfs(path, &fs))
		if fs.Bavail*uint64(fs.Bsize) < 64<<20 {
			return
		}
		_, err := f.Write(block)
		must(t, err)
	}
}

// TestSecondDaemon checks that a data directory has one daemon at a time.
func TestSecondDaemon(t *testing.T) {
	d := newDaemon(t)
	out, err := d.Command().CombinedOutput()
	if err == nil || !strings.Contains(string(out), "in use") || !strings.Contains(string(out), "--data-dir") {
		t.Errorf("a second daemon: %v: %s", err, out)
	}
}

// TestMissingQEMU checks that a host without QEMU is told what to install.
func TestMissingQEMU(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	d := newDaemon(t)
	out, err := d.Command("doctor").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "install qemu-system-x86") {
		t.Errorf("doctor: %v: %s", err, out)
	}
	image := "ami-00000000000000000"
	if _, err := d.Launch(t.Context(), image, "b1.pico", ""); model.CodeOf(err) != model.CodeImageIDNotFound {
		t.Errorf("an image that does not exist: %v", err)
	}
}
