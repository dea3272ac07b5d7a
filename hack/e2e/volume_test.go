//go:build vm

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/hack/harness"
	"github.com/bundt/bundt/pkg/disk"
)

// TestVolumes plugs a volume into a running guest, writes to it, takes a snapshot,
// and finds the same bytes in another guest; it grows a volume that is in use, and
// kills the daemon in between. The volume is encrypted, so nothing of it is in a file, and
// its layers are in a pool.
func TestVolumes(t *testing.T) {
	pool := t.TempDir()
	d := newDaemon(t, func(o *harness.Options) { o.Args = append(o.Args, "--pool", "other="+pool+":types=gp2") })
	image := d.build(t, "tiny", "x86_64")
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", key)
	first := d.cli(t, "run", image, "--key", "k", "--type", "b1.nano", "-o", "name")
	ssh := func(id, script string) string { t.Helper(); return d.cli(t, "ssh", "-i", key, id, "--", script) }
	zone := *d.instance(t, first).Placement.AvailabilityZone

	data := d.cli(t, "volume", "create", "--size", "1", "--zone", zone, "--encrypted", "--type", "gp2")
	d.cli(t, "volume", "attach", data, first)
	serial := strings.ReplaceAll(data, "-", "")
	device := d.guestDisk(t, key, first, serial)
	ssh(first, fmt.Sprintf("mke2fs -q %[1]s && mount %[1]s /mnt && echo cake-of-%[2]s > /mnt/recipe && sync", device, serial))

	// The next daemon finds the disk where the last one plugged it.
	d.Kill()
	must(t, d.Start(t.Context()))
	snap := d.cli(t, "volume", "snapshot", data)
	ssh(first, "echo eaten > /mnt/recipe && sync")

	if in, err := filepath.Glob(filepath.Join(pool, "*", "*.qcow2")); err != nil || len(in) != 2 {
		t.Errorf("in the pool are %v, %v", in, err)
	}
	for _, layer := range d.layers(t) {
		content, err := os.ReadFile(layer)
		if must(t, err); bytes.Contains(content, []byte("cake-of-"+serial)) {
			t.Errorf("%s has what the guest wrote to its encrypted volume", layer)
		}
	}

	// Growing it shows in the guest, and in its file system.
	d.cli(t, "volume", "resize", data, "3")
	eventually(t, "the guest sees 3 GiB", func() error {
		out, err := d.Bundt(t.Context(), "ssh", "-i", key, first, "--", "cat /sys/block/"+filepath.Base(device)+"/size")
		if err == nil && strings.TrimSpace(out) != fmt.Sprint(3<<30/512) {
			err = fmt.Errorf("it has %q sectors", out)
		}
		return err
	})

	// What the guest gives back is free in the host.
	const junk = 32 << 20
	begun := d.layerBytes(t)
	ssh(first, "dd if=/dev/urandom of=/mnt/junk bs=1M count=32 && sync")
	if grown := d.layerBytes(t) - begun; grown < junk {
		t.Errorf("layers grew by %d bytes when the guest wrote %d", grown, junk)
	}
	ssh(first, "rm /mnt/junk && sync && fstrim /mnt")
	if left := d.layerBytes(t) - begun; left > junk/8 {
		t.Errorf("%d bytes are left after the guest trimmed its %d", left, junk)
	}

	// A long chain becomes a short one under the guest, which notices nothing.
	var moments []string
	for range 16 {
		moments = append(moments, d.cli(t, "volume", "snapshot", data, "--no-wait"))
	}
	moments = append(moments, d.cli(t, "volume", "snapshot", data)) // after the others
	eventually(t, "the chain is short", func() error {
		if n := d.depth(t); n > 4 {
			return fmt.Errorf("it has %d layers", n)
		}
		return nil
	})
	if got := ssh(first, "cat /mnt/recipe"); got != "eaten" {
		t.Errorf("the guest reads %q from a shortened chain", got)
	}
	d.cli(t, append([]string{"snapshot", "delete"}, moments...)...)

	// A moment of both disks, while both are in use.
	if all := strings.Fields(d.cli(t, "snapshot", "create", "--instance", first)); len(all) != 2 {
		t.Errorf("snapshots of the instance: %v", all)
	}

	// Unplugged, its content is as it was left, in another guest as well.
	ssh(first, "umount /mnt")
	d.cli(t, "volume", "detach", data)
	if out := ssh(first, "cat /sys/block/vd*/serial"); strings.Contains(out, serial) {
		t.Errorf("the guest still has %q", out)
	}
	second := d.cli(t, "run", image, "--key", "k", "--type", "b1.nano", "-o", "name")
	restored := d.cli(t, "volume", "create", "--snapshot", snap, "--zone", zone)
	for volume, want := range map[string]string{restored: "cake-of-" + serial, data: "eaten"} {
		d.cli(t, "volume", "attach", volume, second)
		device := d.guestDisk(t, key, second, strings.ReplaceAll(volume, "-", ""))
		if got := ssh(second, fmt.Sprintf("mount %s /mnt && cat /mnt/recipe; umount /mnt", device)); got != want {
			t.Errorf("volume %s says %q, want %q", volume, got, want)
		}
	}
	d.cli(t, "stop", second)
	d.cli(t, "volume", "detach", data)
	d.cli(t, "start", second)
	d.guestDisk(t, key, second, strings.ReplaceAll(restored, "-", ""))
	d.cli(t, "rm", first, second)
	d.cli(t, "volume", "delete", data)
	d.cli(t, "volume", "delete", restored)
	d.nothingLeft(t)
}

// layers are the files of the daemon's layers.
func (d daemon) layers(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(d.Dir, "*", "layers", "*.qcow2"))
	if must(t, err); len(files) == 0 {
		t.Fatal("the daemon has no layers")
	}
	return files
}

// layerBytes is what layers take on the host's disk.
func (d daemon) layerBytes(t *testing.T) (sum int64) {
	t.Helper()
	for _, path := range d.layers(t) {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err == nil { // else the collector was there
			sum += st.Blocks * 512
		}
	}
	return sum
}

// depth is how many layers the encrypted volume has that was written to last.
func (d daemon) depth(t *testing.T) int {
	t.Helper()
	backing := map[string]string{}
	var newest string
	var at time.Time
	for _, path := range d.layers(t) {
		h, err := disk.ReadLayerHeader(path)
		st, serr := os.Stat(path)
		if err != nil || serr != nil {
			continue
		}
		backing[filepath.Base(path)] = h.Backing
		if h.Encrypted && st.Mode().Perm()&0o200 != 0 && st.ModTime().After(at) {
			newest, at = filepath.Base(path), st.ModTime()
		}
	}
	n := 0
	for ; newest != ""; newest = backing[newest] {
		n++
	}
	return n
}

// plugAndUnplug attaches a volume to a running guest and detaches it, to which the
// guest has to agree.
func (d daemon) plugAndUnplug(t *testing.T, id string) {
	t.Helper()
	data := d.cli(t, "volume", "create", "--size", "1", "--zone", *d.instance(t, id).Placement.AvailabilityZone)
	d.cli(t, "volume", "attach", data, id)
	d.cli(t, "volume", "detach", data, "--timeout", "2m")
	d.cli(t, "volume", "delete", data)
}

// guestDisk waits until the guest has a disk of that serial number, and returns
// its device.
func (d daemon) guestDisk(t *testing.T, key, id, serial string) (device string) {
	t.Helper()
	eventually(t, "the guest has the disk "+serial, func() error {
		out, err := d.Bundt(t.Context(), "ssh", "-i", key, id, "--", "grep -l "+serial+" /sys/block/vd*/serial")
		if err != nil {
			return err
		}
		device = "/dev/" + filepath.Base(filepath.Dir(strings.TrimSpace(out)))
		return nil
	})
	return device
}
