package rootfs_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/bundt/bundt/pkg/rootfs"
)

func run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", argv, err, out)
	}
	return string(out)
}

// tree makes a directory with all kinds of files that need no root.
func tree(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	file := func(name string, content []byte, mode fs.FileMode) {
		t.Helper()
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(at, mode); err != nil {
			t.Fatal(err)
		}
	}
	file("etc/motd", []byte("hello\n"), 0o644)
	file("etc/empty", nil, 0o600)
	file("usr/bin/su", []byte("#!/bin/sh\n"), 0o755|fs.ModeSetuid)
	file("usr/lib/big", bytes.Repeat([]byte("0123456789abcdef"), 200_000), 0o444)
	for i := range 900 { // a directory with an index
		file(fmt.Sprintf("var/many/file-%d-%s", i, strings.Repeat("x", i%40)), []byte(fmt.Sprint(i)), 0o640)
	}
	sparse, err := os.Create(filepath.Join(root, "var/sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(20) { // many extents
		if _, err := sparse.WriteAt([]byte("here"), i*300_001+7_000_000); err != nil {
			t.Fatal(err)
		}
	}
	sparse.Close()
	for name, target := range map[string]string{"etc/short": "motd", "etc/long": "/" + strings.Repeat("a/long/way/", 20) + "x"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(root, "etc/motd"), filepath.Join(root, "etc/hard")); err != nil {
		t.Fatal(err)
	}
	return root
}

// image makes an ext4 file system of a directory.
func image(t testing.TB, root string, options ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	run(t, append(append([]string{"mke2fs", "-q", "-F", "-t", "ext4", "-d", root}, options...), path, "64M")...)
	return path
}

// debugfs runs its commands on an image.
func debugfs(t testing.TB, path string, commands ...string) {
	t.Helper()
	cmd := exec.Command("debugfs", "-w", "-f", "/dev/stdin", path)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\nq\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v: %s", err, out)
	}
}

func open(t testing.TB, path string) *rootfs.FS {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := rootfs.Open(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func digest(t testing.TB, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

// What is read is what was written, with features and sizes as distributions have them.
func TestWalk(t *testing.T) {
	root := tree(t)
	for name, options := range map[string][]string{
		"usual":        nil,
		"small blocks": {"-b", "1024", "-I", "128"},
		"no 64 bits":   {"-O", "^64bit,^metadata_csum"},
		"one group":    {"-O", "^flex_bg", "-g", "8192"},
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t, image(t, root, options...))
			seen := map[string]bool{}
			err := f.Walk(func(e rootfs.Entry) error {
				seen[e.Path] = true
				if e.Path == "/lost+found" {
					return nil
				}
				at := filepath.Join(root, e.Path)
				st, err := os.Lstat(at)
				if err != nil {
					return err
				}
				if e.Mode != st.Mode() {
					t.Errorf("%s: mode %s, want %s", e.Path, e.Mode, st.Mode())
				}
				if int(e.UID) != os.Getuid() || int(e.GID) != os.Getgid() {
					t.Errorf("%s: owner %d:%d", e.Path, e.UID, e.GID)
				}
				if want, _ := os.Readlink(at); e.Target != want {
					t.Errorf("%s: leads to %q, want %q", e.Path, e.Target, want)
				}
				if !e.Mode.IsRegular() {
					return nil
				}
				if d := e.Modified.Sub(st.ModTime()); d > time.Second || d < -time.Second {
					t.Errorf("%s: modified %s, want %s", e.Path, e.Modified, st.ModTime())
				}
				want, err := os.ReadFile(at)
				if err != nil {
					return err
				}
				c, err := f.Content(&e)
				if err != nil {
					return err
				}
				if e.Size != int64(len(want)) || digest(t, c) != digest(t, bytes.NewReader(want)) {
					t.Errorf("%s: another content", e.Path)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(seen) < 910 || !seen["/etc/hard"] || !seen["/var/many/file-899-"+strings.Repeat("x", 899%40)] {
				t.Errorf("%d files", len(seen))
			}
			e, err := f.Lookup("/var/many/file-7-xxxxxxx")
			if err != nil || e == nil || e.Size != 1 {
				t.Errorf("found %+v, %v", e, err)
			}
			for _, none := range []string{"/nothing", "/etc/motd/below", "/etc/short/x"} {
				if e, err := f.Lookup(none); e != nil || err != nil {
					t.Errorf("%s: found %+v, %v", none, e, err)
				}
			}
		})
	}
}

// Devices have their numbers, and partitions are looked through.
func TestDevicesAndPartitions(t *testing.T) {
	plain := image(t, tree(t))
	debugfs(t, plain, "cd /etc", "mknod null c 1 3", "mknod far b 8 17", "mknod pipe p")
	content, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	w, err := os.OpenFile(disk, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Truncate(70 << 20); err != nil {
		t.Fatal(err)
	}
	table := &gpt.Table{LogicalSectorSize: 512, PhysicalSectorSize: 512, ProtectiveMBR: true, Partitions: []*gpt.Partition{
		{Index: 1, Start: 2048, End: 4095, Type: gpt.EFISystemPartition}, {Index: 2, Start: 6144, End: 6144 + 131071, Type: gpt.LinuxFilesystem},
	}}
	if err := table.Write(w, 70<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt(content, 6144*512); err != nil {
		t.Fatal(err)
	}
	w.Close()
	f := open(t, disk)
	for path, want := range map[string][2]uint32{"/etc/null": {1, 3}, "/etc/far": {8, 17}} {
		e, err := f.Lookup(path)
		if err != nil || e == nil || e.Mode&fs.ModeDevice == 0 || e.Major != want[0] || e.Minor != want[1] {
			t.Errorf("%s: %+v, %v", path, e, err)
		}
	}
	if e, err := f.Lookup("/etc/pipe"); err != nil || e.Mode&fs.ModeNamedPipe == 0 {
		t.Errorf("the pipe: %+v, %v", e, err)
	}
}

// What finished transactions of the journal have is read from there, as the kernel
// would replay it; e2fsck, which does so, is asked for comparison.
func TestJournal(t *testing.T) {
	path := image(t, tree(t), "-b", "1024")
	find := func(file string) string {
		t.Helper()
		for _, line := range strings.Split(run(t, "debugfs", "-R", "blocks "+file, path), "\n") {
			if f := strings.Fields(line); len(f) > 0 && strings.Trim(f[0], "0123456789") == "" {
				return f[0]
			}
		}
		t.Fatal("no blocks")
		return ""
	}
	dir := t.TempDir()
	data := func(name, text string) string {
		t.Helper()
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at, append([]byte(text), make([]byte, 1024-len(text))...), 0o600); err != nil {
			t.Fatal(err)
		}
		return at
	}
	motd, su, big := find("/etc/motd"), find("/usr/bin/su"), find("/usr/lib/big")
	debugfs(t, path,
		"jo",
		"jw -b "+motd+" "+data("1", "HELLO\n"),
		"jw -b "+big+" "+data("2", "revoked later"),
		"jw -b "+su+" "+data("3", "\xc0\x3b\x39\x98 looks like the journal's own"),
		"jw -r "+big,
		"jw -b "+motd+" "+data("4", "again\n"),
		"jc",
	)
	read := func(path string) map[string]string {
		f := open(t, path)
		got := map[string]string{"replayed": fmt.Sprint(f.Replayed > 0)}
		for _, name := range []string{"/etc/motd", "/usr/bin/su", "/usr/lib/big"} {
			e, err := f.Lookup(name)
			if err != nil || e == nil {
				t.Fatalf("%s: %v", name, err)
			}
			c, err := f.Content(e)
			if err != nil {
				t.Fatal(err)
			}
			got[name] = digest(t, c)
		}
		return got
	}
	before := read(path)
	if before["replayed"] != "true" {
		t.Fatal("nothing was replayed")
	}
	f := open(t, path)
	e, err := f.Lookup("/etc/motd")
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.Content(e)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(c); string(text) != "again\n" || err != nil {
		t.Errorf("the last copy is %q, %v", text, err)
	}
	_ = exec.Command("e2fsck", "-fy", path).Run() // its exit code says that it replayed
	after := read(path)
	if after["replayed"] != "false" {
		t.Error("e2fsck replayed nothing")
	}
	for name, want := range after {
		if name != "replayed" && before[name] != want {
			t.Errorf("%s: read as %s, and as %s once e2fsck had replayed the journal", name, before[name], want)
		}
	}
}

// Whatever is damaged is an error, or other content: nothing ends the program.
func TestDamage(t *testing.T) {
	whole, err := os.ReadFile(image(t, tree(t), "-b", "1024"))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(9, 9))
	failed := 0
	for range 60 {
		broken := bytes.Clone(whole)
		for range 1 + r.IntN(30) {
			broken[1024+r.IntN(3<<20)] ^= byte(1 + r.IntN(255)) // where the metadata is
		}
		if err := readAll(broken); err != nil {
			failed++
			if !errors.Is(err, rootfs.ErrDamaged) && !errors.Is(err, rootfs.ErrUnknown) {
				t.Errorf("an error of another kind: %v", err)
			}
		}
	}
	if failed == 0 {
		t.Error("no damage was seen")
	}
	if _, err := rootfs.Open(bytes.NewReader(make([]byte, 1<<20)), 1<<20); !errors.Is(err, rootfs.ErrUnknown) {
		t.Errorf("an empty disk: %v", err)
	}
}

func readAll(disk []byte) error { return readDisk(bytes.NewReader(disk), int64(len(disk))) }

func readDisk(disk io.ReaderAt, size int64) error {
	f, err := rootfs.Open(disk, size)
	if err != nil {
		return err
	}
	return f.Walk(func(e rootfs.Entry) error {
		if _, err := f.Attributes(&e); err != nil {
			return err
		}
		if !e.Mode.IsRegular() || e.Size > 1<<24 {
			return nil
		}
		c, err := f.Content(&e)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, c)
		return err
	})
}

func FuzzOpen(f *testing.F) {
	marked := image(f, tree(f), "-b", "1024")
	debugfs(f, marked, `ea_set /etc/motd user.mark here-is-the-mark`)
	small, err := os.ReadFile(marked)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(0, []byte{}, 0, []byte{})
	f.Add(bytes.Index(small, []byte("here-is-the-mark"))-24, []byte{255, 255, 255}, 0, []byte{})
	f.Fuzz(func(_ *testing.T, at int, patch []byte, at2 int, patch2 []byte) {
		broken := bytes.Clone(small)
		copy(broken[uint(at)%uint(len(broken)):], patch)
		copy(broken[uint(at2)%uint(len(broken)):], patch2)
		_ = readAll(broken)
	})
}
