package rootfs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/rootfs"
)

var update = flag.Bool("update", false, "make testdata anew, with the kernel's file systems (as root, on Linux, with their mkfs)")

// fixture is a file system that a running kernel has written, copied while it was in
// use. Beside it is what the kernel itself finds in the copy when it mounts that.
type fixture struct {
	mkfs  []string
	mount string // options
	root  string // directory of the workload
	begin string // commands before it
	end   string // and after it, in that directory
}

var fixtures = map[string]fixture{
	"xfs":       {mkfs: []string{"mkfs.xfs", "-q", "-f"}},
	"xfs-small": {mkfs: []string{"mkfs.xfs", "-q", "-f", "-b", "size=1024", "-n", "size=8192", "-m", "bigtime=0", "-i", "nrext64=1", "-l", "size=9m"}},
	"btrfs": {
		mkfs: []string{"mkfs.btrfs", "-q", "-f"}, mount: "compress-force=zstd", root: "system",
		begin: "btrfs -q subvolume create home; btrfs -q subvolume create system", end: "btrfs -q subvolume create srv/nested; echo x > srv/nested/x; btrfs -q subvolume snapshot -r . ../before; echo later > etc/later; sync -f .",
	},
	"btrfs-small": {mkfs: []string{"mkfs.btrfs", "-q", "-f", "-n", "4096", "-m", "single"}, mount: "compress=zlib"},
}

// found is what there is to know of a file.
type found struct {
	Mode         fs.FileMode
	UID, GID     uint32
	Size         int64             `json:",omitempty"`
	Target       string            `json:",omitempty"`
	Major, Minor uint32            `json:",omitempty"`
	Modified     time.Time         `json:",omitzero"`
	Content      string            `json:",omitempty"`
	Attributes   map[string]string `json:",omitempty"`
}

// TestKernel reads what a kernel wrote, and finds what the kernel finds.
func TestKernel(t *testing.T) {
	for name, fixture := range fixtures {
		t.Run(name, func(t *testing.T) {
			at := filepath.Join("testdata", name)
			if *update {
				makeFixture(t, at, fixture)
			}
			var want map[string]found
			if err := json.Unmarshal(unpack(t, at+".json.zst"), &want); err != nil {
				t.Fatal(err)
			}
			disk := unpack(t, at+".zst")
			f, err := rootfs.Open(bytes.NewReader(disk), int64(len(disk)))
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]found{}
			err = f.Walk(func(e rootfs.Entry) error {
				is := found{Mode: e.Mode, UID: e.UID, GID: e.GID, Size: e.Size, Target: e.Target, Major: e.Major, Minor: e.Minor, Modified: e.Modified}
				if a, err := f.Attributes(&e); err != nil {
					return err
				} else if len(a) > 0 {
					is.Attributes = shortened(a)
				}
				if e.Mode.IsRegular() {
					c, err := f.Content(&e)
					if err != nil {
						return err
					}
					is.Content = digest(t, c)
				}
				got[e.Path] = is
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff[:min(len(diff), 4000)])
			}
			if strings.HasPrefix(name, "xfs") && f.Replayed == 0 {
				t.Error("nothing was replayed")
			}
			t.Logf("%d files, %d blocks from the journal", len(got), f.Replayed)
		})
	}
}

// shortened has digests in place of long values.
func shortened(attributes map[string]string) map[string]string {
	for k, v := range attributes {
		attributes[k] = fmt.Sprintf("%d bytes: %x", len(v), v[:min(len(v), 16)])
	}
	return attributes
}

func unpack(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// makeFixture mounts a new file system, changes much in it, and packs a copy of it.
func makeFixture(t *testing.T, at string, fix fixture) {
	dir := t.TempDir()
	disk, mounted := filepath.Join(dir, "disk"), filepath.Join(dir, "mounted")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 128<<20); err != nil {
		t.Fatal(err)
	}
	// These make mkfs.xfs do what it does in XFS's own tests: a small file system.
	for _, name := range []string{"TEST_DIR", "TEST_DEV", "QA_CHECK_FS"} {
		t.Setenv(name, "1")
	}
	run(t, append(slices.Clone(fix.mkfs), disk)...)
	if err := os.Mkdir(mounted, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, "mount", "-o", strings.Trim("loop,"+fix.mount, ","), disk, mounted)
	t.Cleanup(func() { _ = unix.Unmount(mounted, 0) }) // if it is still there
	root := filepath.Join(mounted, fix.root)
	run(t, "sh", "-ec", "cd $1; "+fix.begin, "sh", mounted)
	run(t, "sh", "-ec", workload+fix.end, "sh", root)
	copied := filepath.Join(dir, "copy")
	run(t, "cp", "--sparse=always", disk, copied)
	run(t, "umount", mounted)
	run(t, "zstd", "-q", "-f", "-19", "--long=27", copied, "-o", at+".zst")

	run(t, "mount", "-o", "loop", copied, mounted) // this replays the journal
	defer run(t, "umount", mounted)
	want := map[string]found{}
	err := filepath.Walk(root, func(path string, st fs.FileInfo, err error) error {
		if err != nil || path == root {
			return err
		}
		s := st.Sys().(*syscall.Stat_t)
		is := found{Mode: st.Mode(), UID: s.Uid, GID: s.Gid, Modified: st.ModTime().UTC(), Attributes: attributesOf(t, path)}
		is.Target, _ = os.Readlink(path)
		if st.Mode()&fs.ModeDevice != 0 {
			is.Major, is.Minor = unix.Major(s.Rdev), unix.Minor(s.Rdev)
		}
		if st.Mode().IsRegular() {
			is.Size = st.Size()
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			is.Content = digest(t, bytes.NewReader(b))
		}
		want[strings.TrimPrefix(path, root)] = is
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("zstd", "-q", "-f", "-19", "-o", at+".json.zst")
	cmd.Stdin = bytes.NewReader(b)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("zstd: %v: %s", err, out)
	}
}

func attributesOf(t *testing.T, path string) map[string]string {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if name == "" {
			return nil
		}
		value := make([]byte, 64<<10)
		k, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(value[:k])
	}
	return shortened(out)
}

// workload makes files of all kinds, and changes them in between, so that some are on the
// disk, some in the journal, and some in both.
const workload = `
cd "$1"
mkdir -p etc usr/bin usr/lib var/many var/few var/log
echo hello > etc/motd
: > etc/empty
printf '#!/bin/sh\n' > usr/bin/su
chmod 4755 usr/bin/su
yes 0123456789abcde | head -c 3200000 > usr/lib/big
for i in $(seq 1 1200); do echo $i > var/many/file-number-$i-of-a-large-directory; done
for i in $(seq 1 20); do echo $i > var/few/$i; done
for i in $(seq 0 2 800); do echo here | dd of=var/sparse bs=4096 seek=$i conv=notrunc 2>/dev/null; done
ln -s motd etc/short
ln -s /$(yes a/long/way | head -60 | tr '\n' /)x etc/long
ln etc/motd etc/hard
mknod etc/null c 1 3
mknod etc/far b 259 70000
mkfifo etc/pipe
chown -R 1000:70000 var/few
setfattr -n user.short -v x etc/motd
setfattr -n user.long -v $(yes long | head -300 | tr -d '\n') etc/motd
setfattr -n trusted.t -v 1 usr/lib
for i in $(seq 1 100); do setfattr -n user.attribute-number-$i -v $(yes value | head -40 | tr -d '\n') usr/bin/su; done
setfattr -n user.huge -v $(yes huge | head -8000 | tr -d '\n') etc/empty || true # too much for some
# Often enough for a small journal to be gone round in.
for round in $(seq 1 20); do
	mkdir tmp
	for i in $(seq 1 1500); do : > tmp/file-that-makes-a-long-journal-$i; done
	rm -r tmp
done
fsfreeze -f .
fsfreeze -u .
rm var/many/*7*
mv var/many/file-number-18-of-a-large-directory var/few/moved
rm -r var/few/1*
echo more >> etc/motd
mkdir -p srv/www/html
for i in $(seq 1 200); do echo "page $i" > srv/www/html/$i; done
setfattr -n user.short -v changed etc/motd
setfattr -x user.attribute-number-50 usr/bin/su
truncate -s 9000 usr/lib/big
fallocate -l 300000 var/unwritten
touch -d 1999-12-31T23:59:59.5 var/old
touch -d 2037-01-01 var/new
rm etc/far
sync -f etc/motd
`

// patched is a disk with some bytes replaced.
type patched struct {
	disk    []byte
	patches map[int64][]byte
}

func (p patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := bytes.NewReader(p.disk).ReadAt(b, off)
	for at, patch := range p.patches {
		if from := max(at, off); from < min(at+int64(len(patch)), off+int64(n)) {
			copy(b[from-off:n], patch[from-at:])
		}
	}
	return n, err
}

// used are the sectors of a disk that have something.
func used(disk []byte) (sectors []int64) {
	zero := make([]byte, 512)
	for at := 0; at+512 <= len(disk); at += 512 {
		if !bytes.Equal(disk[at:at+512], zero) {
			sectors = append(sectors, int64(at))
		}
	}
	return sectors
}

// TestDamagedFixtures damages what kernels wrote: what is read is an error, or something.
func TestDamagedFixtures(t *testing.T) {
	for name := range fixtures {
		t.Run(name, func(t *testing.T) {
			disk := unpack(t, filepath.Join("testdata", name+".zst"))
			sectors := used(disk)
			r, failed := rand.New(rand.NewPCG(4, 4)), 0
			for range 40 {
				p := patched{disk, map[int64][]byte{}}
				for range 1 + r.IntN(60) {
					p.patches[sectors[r.IntN(len(sectors))]+int64(r.IntN(512))] = []byte{byte(r.IntN(256))}
				}
				err := readDisk(p, int64(len(disk)))
				if err != nil && !errors.Is(err, rootfs.ErrDamaged) && !errors.Is(err, rootfs.ErrUnknown) {
					t.Errorf("an error of another kind: %v", err)
				}
				if err != nil {
					failed++
				}
			}
			if failed == 0 {
				t.Error("no damage was seen")
			}
		})
	}
}

func FuzzFixtures(f *testing.F) {
	var disks [][]byte
	for _, name := range slices.Sorted(maps.Keys(fixtures)) {
		disks = append(disks, unpack(f, filepath.Join("testdata", name+".zst")))
		f.Add(len(disks)-1, int64(0), []byte{}, int64(0), []byte{})
	}
	sectors := make([][]int64, len(disks))
	for i := range disks {
		sectors[i] = used(disks[i])
	}
	f.Fuzz(func(_ *testing.T, which int, at int64, patch []byte, at2 int64, patch2 []byte) {
		disk, in := disks[uint(which)%uint(len(disks))], sectors[uint(which)%uint(len(disks))]
		place := func(at int64) int64 { return in[uint64(at)/512%uint64(len(in))] + int64(uint64(at)%512) }
		_ = readDisk(patched{disk, map[int64][]byte{place(at): patch, place(at2): patch2}}, int64(len(disk)))
	})
}
