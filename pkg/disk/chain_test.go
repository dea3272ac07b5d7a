package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/bundt/bundt/pkg/disk"
)

// run runs a program that the tests need.
func run(t testing.TB, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", argv, err, out)
	}
}

// chain makes three layers with QEMU's own tools: a compressed base, and overlays of
// which the top one is larger. It returns the paths, the top first, and the content.
func chain(t testing.TB, compression string) (paths []string, want []byte) {
	t.Helper()
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(7, 7))
	const mib = 1 << 20
	raw := make([]byte, 5*mib)
	for i := 0; i < len(raw); i += 8 {
		if i/mib != 2 { // a hole
			binary.LittleEndian.PutUint64(raw[i:], uint64(r.IntN(1000))) // compresses
		}
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(file("raw"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type="+compression, file("raw"), file("base.qcow2"))
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", file("base.qcow2"), file("mid.qcow2"))
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", file("mid.qcow2"), "-o", "cluster_size=4k", file("top.qcow2"), "9M")
	want = append(raw, make([]byte, 4*mib)...)
	write := func(name string, at, length int, pattern byte) {
		command := fmt.Sprintf("write -P %d %d %d", pattern, at, length)
		if pattern == 0 {
			command = fmt.Sprintf("write -z %d %d", at, length)
		}
		run(t, "qemu-io", "-f", "qcow2", "-c", command, file(name))
		copy(want[at:], bytes.Repeat([]byte{pattern}, length))
	}
	write("mid.qcow2", mib-1000, 70_000, 0xaa)
	write("mid.qcow2", 3*mib, 128<<10, 0)
	write("top.qcow2", mib, 512, 0xbb)
	write("top.qcow2", 8*mib+512, 1024, 0xcc)
	write("top.qcow2", 4*mib, 4096, 0)
	return []string{file("top.qcow2"), file("mid.qcow2"), file("base.qcow2")}, want
}

func TestChain(t *testing.T) {
	for _, compression := range []string{"zlib", "zstd"} {
		t.Run(compression, func(t *testing.T) {
			paths, want := chain(t, compression)
			c, err := disk.OpenChain(files(paths...))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.Size() != int64(len(want)) {
				t.Errorf("%d bytes, want %d", c.Size(), len(want))
			}
			got, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("the whole disk differs: %v", err)
			}
			r := rand.New(rand.NewPCG(1, 1))
			for range 500 {
				at, length := r.IntN(len(want)), r.IntN(200_000)
				p := make([]byte, length)
				n, err := c.ReadAt(p, int64(at))
				if wanted := min(length, len(want)-at); n != wanted || (err != nil) != (wanted < length) || !bytes.Equal(p[:n], want[at:at+n]) {
					t.Fatalf("%d bytes at %d: %d, %v", length, at, n, err)
				}
			}
			var first []string
			err = c.Allocated(0, func(offset, length int64) error {
				first = append(first, fmt.Sprintf("%d+%d", offset, length))
				return nil
			})
			if want := "[1048576+4096 4194304+4096 8388608+4096]"; err != nil || fmt.Sprint(first) != want {
				t.Errorf("the top layer has %s, want %s: %v", first, want, err)
			}
		})
	}
}

// A damaged chain is an error, and no more memory than it is worth.
func TestDamagedChain(t *testing.T) {
	paths, want := chain(t, "zlib")
	base, err := os.ReadFile(paths[2])
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 3))
	damaged := 0
	for range 200 {
		broken := bytes.Clone(base)
		for range 1 + r.IntN(8) {
			broken[r.IntN(len(broken))] = byte(r.IntN(256))
		}
		if r.IntN(4) == 0 {
			broken = broken[:r.IntN(len(broken))]
		}
		path := filepath.Join(t.TempDir(), "broken")
		if err := os.WriteFile(path, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := disk.OpenChain(files(paths[0], paths[1], path))
		if err == nil {
			var got []byte
			got, err = io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
			if err == nil && !bytes.Equal(got, want) {
				damaged++ // of data, which has no checksum
			}
			c.Close()
		}
		if err != nil && !errors.Is(err, disk.ErrHostile) && !errors.Is(err, disk.ErrNotQcow2) && !errors.Is(err, io.EOF) {
			t.Errorf("an error of another kind: %v", err)
		}
	}
	t.Logf("%d times other data", damaged)
	if _, err := disk.OpenChain(nil); err == nil {
		t.Error("no images were opened")
	}
}

func files(paths ...string) (out []disk.ChainFile) {
	for _, p := range paths {
		out = append(out, disk.ChainFile{Path: p})
	}
	return out
}

func TestRebase(t *testing.T) {
	for _, below := range []int{0, 1} { // how many files are left below the top
		paths, want := chain(t, "zlib")
		base := ""
		if below == 1 {
			base = filepath.Base(paths[2])
		}
		for range 2 { // the second changes nothing
			if err := disk.Rebase(t.Context(), paths[0], base); err != nil {
				t.Fatal(err)
			}
		}
		if h, err := disk.ReadHeader(paths[0]); err != nil || h.Backing != base {
			t.Errorf("it reads from %q, %v", h.Backing, err)
		}
		c, err := disk.OpenChain(files(append(paths[:1:1], paths[3-below:]...)...))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("it shows something else (%v)", err)
		}
		_ = c.Close()
	}
	if err := disk.Rebase(t.Context(), filepath.Join(t.TempDir(), "x"), "nbd:host"); err == nil {
		t.Error("a protocol was taken for a file")
	}
}
