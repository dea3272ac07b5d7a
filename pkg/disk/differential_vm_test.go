//go:build vm

package disk

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestQemuImgRefusesNothingThatInspectAccepts damages images and holds Inspect
// against QEMU: what Inspect lets pass, QEMU must be able to open. (The other
// direction is not wanted: Inspect refuses much that QEMU takes.)
func TestQemuImgRefusesNothingThatInspectAccepts(t *testing.T) {
	raw := randomRaw(t, 1<<20, 256<<10)
	for _, options := range []string{"compat=1.1", "compat=0.10", "cluster_size=512", "compression_type=zstd,refcount_bits=1"} {
		t.Run(options, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk.qcow2")
			qemuImg(t, "convert", "-f", "raw", "-O", "qcow2", "-c", "-o", options, raw, path)
			d := newDamage(t, path)
			for bit := range 8 * 120 { // the header and its first extension
				d.compare(int64(bit/8), d.image[bit/8]^1<<(bit%8))
			}
			for _, table := range []int64{d.info.l1Offset, d.info.reftabOffset} {
				for bit := range 64 {
					at := table + int64(bit/8)
					d.compare(at, d.image[at]^1<<(bit%8))
				}
			}
			rng := rand.New(rand.NewPCG(1, 2))
			for range 500 { // whole fields of the header
				field := 4 * int64(rng.IntN(30))
				value := [][4]byte{{}, {0xff, 0xff, 0xff, 0xff}, {0x80}, {0x7f, 0xff, 0xff, 0xff}, {0, 0, 0, 1}, {0, 1}, {0, 0, 2}}[rng.IntN(7)]
				d.compare(field, value[:]...)
			}
			if d.accepted < 50 || d.accepted == d.tried {
				t.Errorf("Inspect accepted %d of %d images: this compared nothing", d.accepted, d.tried)
			}
		})
	}
}

// damage is an image on the disk that is damaged and mended.
type damage struct {
	t               *testing.T
	file            *os.File
	image           []byte
	info            Info
	tried, accepted int
}

func newDamage(t *testing.T, path string) *damage {
	t.Helper()
	d := &damage{t: t}
	var err error
	if d.info, err = inspectPath(path); err != nil {
		t.Fatal(err)
	}
	if d.image, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if d.file, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.file.Close() })
	return d
}

// compare asks Inspect and QEMU about the image with these bytes at an offset.
func (d *damage) compare(at int64, bytes ...byte) {
	d.t.Helper()
	d.write(bytes, at)
	defer d.write(d.image[at:at+int64(len(bytes))], at)
	d.tried++
	if _, err := Inspect(d.file, int64(len(d.image))); err != nil {
		return
	}
	d.accepted++
	out, err := exec.Command("qemu-img", "info", "-f", "qcow2", d.file.Name()).CombinedOutput()
	if err != nil {
		d.t.Errorf("%x at %d: Inspect accepts what QEMU refuses: %s", bytes, at, strings.TrimSpace(string(out)))
	}
}

func (d *damage) write(b []byte, at int64) {
	d.t.Helper()
	if _, err := d.file.WriteAt(b, at); err != nil {
		d.t.Fatal(err)
	}
}
