package imagediff_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/imagediff"
	"github.com/bundt/bundt/pkg/rootfs"
)

// system makes a file system with these files: "-> target" is a link, and content
// that begins with "MODE " has that mode, one that begins with "attribute " an extended
// attribute of it.
func system(t *testing.T, files map[string]string) *rootfs.FS {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			if err := os.Symlink(target, at); err != nil {
				t.Fatal(err)
			}
			continue
		}
		mode := fs.FileMode(0o644)
		if m, rest, ok := strings.Cut(content, " "); ok && len(m) == 4 && strings.Trim(m, "01234567") == "" {
			if _, err := fmt.Sscanf(m, "%o", &mode); err != nil {
				t.Fatal(err)
			}
			content = rest
		}
		if err := os.WriteFile(at, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(at, mode); err != nil {
			t.Fatal(err)
		}
	}
	image := filepath.Join(t.TempDir(), "image")
	if out, err := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-d", root, image, "8M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	for name, content := range files {
		if strings.HasPrefix(content, "attribute ") {
			if out, err := exec.Command("debugfs", "-w", "-R", "ea_set /"+name+" security.capability \""+content+"\"", image).CombinedOutput(); err != nil {
				t.Fatalf("debugfs: %v: %s", err, out)
			}
		}
	}
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	r, err := rootfs.Open(f, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const (
	dpkg = `Package: a
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Version: 1.0

Package: b
Status: deinstall ok config-files
Version: 2.0

Package: c
Status: install ok installed
Version: %s
Description: a
 Package: not-one
`
	apk = "C:Q1\nP:musl\nV:1.2.5-r0\n\nC:Q2\nP:%s\nV:3\n\n"
)

func TestCompare(t *testing.T) {
	before := system(t, map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nold:x:9:9::/:/bin/false\n", "etc/group": "root:x:0:\nusers:x:100:a\n",
		"etc/motd": "one\ntwo\nthree\n", "etc/same": "same", "etc/mode": "0644 m", "etc/link": "-> motd", "etc/kind": "a file",
		"etc/key": "-----BEGIN PRIVATE KEY-----\n1\n", "etc/gone/deep": "x", "etc-after": "order", "bin.dat": "\x00\x01", "var/lib/dpkg/status": fmt.Sprintf(dpkg, "3"),
		"lib/apk/db/installed": fmt.Sprintf(apk, "busybox"), "etc/systemd/system/multi-user.target.wants/ssh.service": "-> /lib/ssh.service",
	})
	after := system(t, map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/bash\n", "etc/group": "root:x:0:\nusers:x:100:a,b\n",
		"etc/motd": "one\n2\nthree\n", "etc/same": "same", "etc/mode": "4755 m", "etc/link": "-> same", "etc/kind": "-> same",
		"etc/key": "-----BEGIN PRIVATE KEY-----\n2\n", "etc-after": "order", "bin.dat": "\x00\x02", "var/lib/dpkg/status": fmt.Sprintf(dpkg, "4"),
		"lib/apk/db/installed": fmt.Sprintf(apk, "nginx"), "etc/rc.d/web": "0755 x", "etc/rc.d/readme": "x", "new": "n\n",
	})
	r, err := imagediff.Compare(t.Context(), before, after, imagediff.Options{MaxFiles: 100, Content: true})
	if err != nil {
		t.Fatal(err)
	}
	var files, items []string
	for _, f := range r.Files {
		files = append(files, fmt.Sprintf("%s %s %s", f.Kind, f.Path, strings.Join(f.What, ",")))
		if f.Path == "/etc/motd" && !strings.Contains(f.Diff, "--- a/etc/motd\n+++ b/etc/motd\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n") {
			t.Errorf("the lines of motd: %q", f.Diff)
		}
		if f.Path == "/new" && !strings.HasPrefix(f.Diff, "--- /dev/null\n+++ b/new\n") {
			t.Errorf("the lines of a new file: %q", f.Diff)
		}
		if (f.Path == "/bin.dat" || f.Path == "/etc/key") && f.Diff != "" {
			t.Errorf("lines of %s: %q", f.Path, f.Diff)
		}
	}
	for _, i := range r.Items {
		items = append(items, fmt.Sprintf("%s %s %s: %s > %s", i.Kind, i.What, i.Name, i.Before, i.After))
	}
	wantFiles := []string{
		"changed /bin.dat content", "removed /etc/gone ", "removed /etc/gone/deep ", "changed /etc/group content", "changed /etc/key content", "changed /etc/kind type",
		"changed /etc/link target", "changed /etc/mode mode", "changed /etc/motd content", "changed /etc/passwd content", "added /etc/rc.d ", "added /etc/rc.d/readme ", "added /etc/rc.d/web ",
		"removed /etc/systemd ", "removed /etc/systemd/system ", "removed /etc/systemd/system/multi-user.target.wants ", "removed /etc/systemd/system/multi-user.target.wants/ssh.service ",
		"changed /lib/apk/db/installed content", "added /new ", "changed /var/lib/dpkg/status content",
	}
	if !slices.Equal(files, wantFiles) {
		t.Errorf("files:\n%s\nwant:\n%s", strings.Join(files, "\n"), strings.Join(wantFiles, "\n"))
	}
	wantItems := []string{
		"removed package busybox: 3 > ", "changed package c: 3 > 4", "added package nginx:  > 3",
		"removed service ssh.service: by multi-user.target > ", "added service web:  > by /etc/rc.d",
		"removed user old: uid 9, gid 9, home /, shell /bin/false > ", "changed user root: uid 0, gid 0, home /root, shell /bin/sh > uid 0, gid 0, home /root, shell /bin/bash",
		"changed group users: gid 100, members a > gid 100, members a,b",
	}
	if !slices.Equal(items, wantItems) {
		t.Errorf("items:\n%s\nwant:\n%s", strings.Join(items, "\n"), strings.Join(wantItems, "\n"))
	}

	r, err = imagediff.Compare(t.Context(), before, after, imagediff.Options{MaxFiles: 2, Path: "/etc"})
	if err != nil || len(r.Files) != 2 || r.Files[0].Path != "/etc/gone" || r.More != 14 || r.Files[0].Diff != "" {
		t.Errorf("two files below etc: %+v, %d more, %v", r.Files, r.More, err)
	}
	r, err = imagediff.Compare(t.Context(), before, before, imagediff.Options{MaxFiles: 9, SameOrigin: true})
	if err != nil || len(r.Files)+len(r.Items) != 0 || r.Read != 0 {
		t.Errorf("with itself: %+v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := imagediff.Compare(ctx, before, after, imagediff.Options{MaxFiles: 9}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestMode(t *testing.T) {
	for want, mode := range map[string]fs.FileMode{
		"-rwsr-xr-x": 0o755 | fs.ModeSetuid, "drwxrwxrwt": fs.ModeDir | 0o777 | fs.ModeSticky, "-rw-r-Sr--": 0o644 | fs.ModeSetgid,
		"lrwxrwxrwx": fs.ModeSymlink | 0o777, "crw-------": fs.ModeDevice | fs.ModeCharDevice | 0o600, "brw-rw----": fs.ModeDevice | 0o660, "prw-r--r--": fs.ModeNamedPipe | 0o644,
	} {
		if got := imagediff.Mode(mode); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestAttributes: what a program may do by its capabilities is a difference.
func TestAttributes(t *testing.T) {
	before := system(t, map[string]string{"etc/a": "1", "bin/ping": "attribute one", "bin/same": "attribute same"})
	after := system(t, map[string]string{"etc/a": "1", "bin/ping": "attribute two", "bin/same": "attribute same"})
	r, err := imagediff.Compare(t.Context(), before, after, imagediff.Options{MaxFiles: 10})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Files) != 1 || r.Files[0].Path != "/bin/ping" || !slices.Equal(r.Files[0].What, []string{"content", "attributes"}) {
		t.Errorf("%+v", r.Files)
	}
}
