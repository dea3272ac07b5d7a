package bake_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/bundt/bundt/pkg/bake"
	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/model"
)

const systemRecipe = `apiVersion: bundt/v1
name: t
version: "1"
architectures: [x86_64]
boot: {firmware: none, kernel: /vmlinuz}
source:
  system:
    distribution: debian
    suite: bookworm
    keyring: keys.gpg
    install: [{name: hello}, {name: linux, architectures: [arm64]}]
blockDevices: [{device: /dev/sda1, size: 64MiB}]
`

// systemTar is what a distribution's installer might write.
func systemTar(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./dev/null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3},
		{Name: "./boot/vmlinuz-6", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: "./vmlinuz", Typeflag: tar.TypeSymlink, Linkname: "boot/vmlinuz-6"},
		{Name: "./usr/bin/sudo", Typeflag: tar.TypeReg, Mode: 0o4755},
		{Name: "./usr/bin/sudoedit", Typeflag: tar.TypeLink, Linkname: "./usr/bin/sudo"},
		{Name: "./var/lib/dpkg/status", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: "./etc/hostname", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: "./etc/ssh/ssh_host_rsa_key", Typeflag: tar.TypeReg, Mode: 0o600},
	} {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content = h.Name
		}
		if strings.HasSuffix(h.Name, "/status") {
			content = "Package: hello\nStatus: install ok installed\nVersion: 1\n"
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// installer puts a stand-in for mmdebstrap first on PATH.
func installer(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mmdebstrap"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func systemRequest(t *testing.T) (bake.Request, *httptest.Server) {
	t.Helper()
	req, _, srv := systemArchive(t)
	return req, srv
}

func systemArchive(t *testing.T) (bake.Request, *archive, *httptest.Server) {
	t.Helper()
	a := newArchive(t, deb(t, map[string]string{"./bin/x": "x"}), "1")
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	return request(t, systemRecipe, fstest.MapFS{"keys.gpg": {Data: a.keys}}, srv.URL+"/debian"), a, srv
}

// TestSystem checks what is asked of the installer, that its work is done once, and
// what of it comes into the image.
func TestSystem(t *testing.T) {
	dir := t.TempDir()
	args, content := filepath.Join(dir, "args"), filepath.Join(dir, "tar")
	if err := os.WriteFile(content, systemTar(t), 0o600); err != nil {
		t.Fatal(err)
	}
	installer(t, fmt.Sprintf("printf '%%s\\n' \"$@\" \"epoch=$SOURCE_DATE_EPOCH\" >> %s\nexec cat %s\n", args, content))
	req, mirror := systemRequest(t)
	res := mustBake(t, req)
	got, err := os.ReadFile(args)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--architectures=amd64\n", "--include=hello\n", "/debian bookworm main\n", "epoch=1735689600\n"} {
		if strings.Count(string(got), want) != 1 {
			t.Errorf("%q is not once in the arguments:\n%s", want, got)
		}
	}
	if kernel, err := os.ReadFile(res.Kernel); err != nil || string(kernel) != "./boot/vmlinuz-6" {
		t.Errorf("the kernel is %q (%v)", kernel, err)
	}
	list := guestFiles(t, res.Disks[0].Path)
	for name, want := range map[string]bool{
		"sudo": true, "sudoedit": true, "dev": true, "machine-id": true, "hostname": false, "ssh_host_rsa_key": false, "null": false, "vmlinuz-6": false,
	} {
		if strings.Contains(list, "/"+name+"/") != want {
			t.Errorf("%s in the image: want %v:\n%s", name, want, list)
		}
	}
	if !strings.Contains(list, "/104755/0/0/sudoedit/") {
		t.Errorf("sudoedit is not what it is linked to:\n%s", list)
	}
	mirror.Close() // what is there needs none
	req.WorkDir = t.TempDir()
	mustBake(t, req)
	if again, _ := os.ReadFile(args); !bytes.Equal(got, again) {
		t.Error("the second bake installed the same again")
	}
}

// guestFiles lists some directories of the first partition of a disk, as debugfs does.
func guestFiles(t *testing.T, qcow2 string) string {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	if out, err := exec.Command("qemu-img", "convert", "-f", "qcow2", "-O", "raw", qcow2, raw).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	debugfs, err := disk.FindTool("debugfs")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(debugfs, "-f", "-", raw+"?offset=1048576")
	cmd.Stdin = strings.NewReader("ls -p /\nls -p /usr/bin\nls -p /etc\nls -p /etc/ssh\nls -p /dev\nls -p /boot\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestSystemThatFails(t *testing.T) {
	installer(t, "echo 'E: no such package: hello' >&2\nexit 3\n")
	req, _ := systemRequest(t)
	for range 2 { // nothing half-made is kept
		req.WorkDir = t.TempDir()
		_, err := bake.Bake(t.Context(), req)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || !strings.Contains(err.Error(), "no such package: hello") {
			t.Errorf("got %v", err)
		}
	}
}

// TestSystemLock: what was installed is pinned, and of the pins the same is installed,
// whatever the mirror has by then.
func TestSystemLock(t *testing.T) {
	dir := t.TempDir()
	content, repo := filepath.Join(dir, "tar"), filepath.Join(dir, "repo")
	if err := os.WriteFile(content, systemTar(t), 0o600); err != nil {
		t.Fatal(err)
	}
	installer(t, fmt.Sprintf(`for a; do
	case $a in "deb [trusted=yes] copy:"*) d=${a#*copy:}; cp -RL "${d%%%% *}" %s;; esac
done
exec cat %s
`, repo, content))
	req, a, _ := systemArchive(t)
	lock, err := bake.ResolveLock(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	pin := lock.For(req.Arch)[0]
	if len(lock.For(req.Arch)) != 1 || pin.Package != "hello" || pin.Version != "1" || pin.Path != "pool/hello_1.deb" || pin.Suite != "bookworm" {
		t.Fatalf("%+v", lock)
	}
	index, release := a.files["/debian/dists/bookworm/main/binary-amd64/Packages.xz"], a.files["/debian/dists/bookworm/InRelease"]
	delete(a.files, "/debian/dists/bookworm/main/binary-amd64/Packages.xz")
	delete(a.files, "/debian/dists/bookworm/InRelease")
	lock.Strict = true
	req.Recipe.Lock = lock
	req.CacheDir, req.WorkDir = t.TempDir(), t.TempDir()
	res := mustBake(t, req)
	if len(res.Pins) != 1 || res.Pins[0] != pin || !slices.Contains(res.Inputs, model.Input{Name: "package hello 1", Digest: "sha256:" + pin.SHA256}) {
		t.Errorf("%+v, %+v", res.Pins, res.Inputs)
	}
	list, err := os.ReadFile(filepath.Join(repo, "dists/bookworm/main/binary-amd64/Packages"))
	want := fmt.Sprintf("Package: hello\nDescription: greets\n at length\nFilename: %[1]s.deb\nSize: %[2]d\nSHA256: %[1]s\n\n", pin.SHA256, pin.Size)
	if err != nil || string(list) != want {
		t.Errorf("the archive lists %q (%v), want %q", list, err, want)
	}
	if r, err := os.ReadFile(filepath.Join(repo, "dists/bookworm/Release")); err != nil || !strings.Contains(string(r), fmt.Sprintf("\n %s %d main/binary-amd64/Packages\n", sum(list), len(list))) {
		t.Errorf("the archive's Release is %q (%v)", r, err)
	}
	if pkg, err := os.ReadFile(filepath.Join(repo, pin.SHA256+".deb")); err != nil || sum(pkg) != pin.SHA256 {
		t.Errorf("the archive has no such package (%v)", err)
	}
	if state, err := bake.ArchiveState(t.Context(), req); err != nil || state != "" {
		t.Errorf("what is pinned changes: %q (%v)", state, err)
	}

	// What is gone from the mirror cannot be installed again.
	delete(a.files, "/debian/"+pin.Path)
	req.CacheDir, req.WorkDir = t.TempDir(), t.TempDir()
	if _, err := bake.Bake(t.Context(), req); !errors.Is(err, bake.ErrLockDrift) || !strings.Contains(err.Error(), "hello 1") {
		t.Errorf("got %v", err)
	}
	a.files["/debian/dists/bookworm/main/binary-amd64/Packages.xz"], a.files["/debian/dists/bookworm/InRelease"] = index, release
	lock.Strict = false
	said := ""
	req.Progress = func(e bake.Event) { said += e.Detail + "\n" }
	mustBake(t, req)
	if !strings.Contains(said, "recipe.lock is not used") {
		t.Errorf("it says %q", said)
	}
}
