package inventory_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bundt/bundt/pkg/inventory"
	"github.com/bundt/bundt/pkg/rootfs"
)

// system makes a file system with these files and this very program, which is in Go.
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
		if err := os.WriteFile(at, []byte(content), 0o755); err != nil { //nolint:gosec // programs among them
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(root, "init"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "image")
	if out, err := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-d", root, image, "64M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	r, err := rootfs.Open(f, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const dpkg = `Package: libc6
Status: install ok installed
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Architecture: amd64
Multi-Arch: same
Source: glibc
Version: 2.36-9
Description: GNU C Library: Shared libraries
 Package: not-one
Homepage: https://www.gnu.org/software/libc/libc.html

Package: gone
Status: deinstall ok config-files
Version: 2.0

Package: libgcc-s1
Status: install ok installed
Architecture: amd64
Source: gcc-12 (12.2.0-14)
Version: 1:12.2.0
`

func TestRead(t *testing.T) {
	f := system(t, map[string]string{
		"etc/os-release": "-> ../usr/lib/os-release", "usr/lib/os-release": "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID='12'\nnonsense\n",
		"var/lib/dpkg/status":  dpkg,
		"lib/apk/db/installed": "C:Q1x\nP:musl\nV:1.2.5-r0\nA:x86_64\nT:the musl c library\nU:https://musl.libc.org/\nL:MIT\no:musl\nm:Timo <timo@example.org>\nF:lib\n\n",
		"bin/elf":              "\x7fELF" + strings.Repeat("x", 100<<10), "bin/script": "#!/bin/sh\n" + strings.Repeat("#", 100<<10),
	})
	got, err := inventory.Read(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if want := (inventory.System{ID: "debian", VersionID: "12", PrettyName: "Debian GNU/Linux 12 (bookworm)"}); got.System != want {
		t.Errorf("the system is %+v", got.System)
	}
	want := []inventory.Package{
		{Manager: inventory.Apk, Name: "musl", Version: "1.2.5-r0", Arch: "x86_64", Source: "musl", SourceVersion: "1.2.5-r0", Maintainer: "Timo <timo@example.org>", Homepage: "https://musl.libc.org/", License: "MIT", Summary: "the musl c library"},
		{
			Manager: inventory.Dpkg, Name: "libc6", Version: "2.36-9", Arch: "amd64", MultiArch: true, Source: "glibc", SourceVersion: "2.36-9", Summary: "GNU C Library: Shared libraries",
			Maintainer: "GNU Libc Maintainers <debian-glibc@lists.debian.org>", Homepage: "https://www.gnu.org/software/libc/libc.html",
		},
		{Manager: inventory.Dpkg, Name: "libgcc-s1", Version: "1:12.2.0", Arch: "amd64", Source: "gcc-12", SourceVersion: "12.2.0-14"},
	}
	installed, err := inventory.Installed(f)
	if diff := cmp.Diff(want, installed); diff != "" || err != nil {
		t.Errorf("installed: %v\n%s", err, diff)
	}
	modules := got.Packages[len(want):]
	if !slices.ContainsFunc(modules, func(p inventory.Package) bool {
		return p.Name == "stdlib" && strings.HasPrefix(runtime.Version(), "go"+p.Version) && slices.Equal(p.Files, []string{"/init"})
	}) || !slices.ContainsFunc(modules, func(p inventory.Package) bool { return p.Name == "github.com/bundt/bundt" && p.Version != "" }) {
		t.Errorf("the modules of this test are %+v", modules)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := inventory.Read(ctx, f); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestReadHostile: what is no database, or one that is too strange, is no package and
// no panic.
func TestReadHostile(t *testing.T) {
	f := system(t, map[string]string{
		"etc/os-release": "ID=\n=\nID", "var/lib/dpkg/status": "\n\n\n: :\nStatus: install ok installed\n", "lib/apk/db/installed": "-> installed", "usr/lib/apk/db/installed": "-> /lib/apk/db/installed",
	})
	got, err := inventory.Installed(f)
	if err != nil || len(got) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}
