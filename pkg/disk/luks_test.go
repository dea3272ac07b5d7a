package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/disk"
)

// withKey has one of QEMU's tools open an encrypted image with its key.
func withKey(t *testing.T, path string, key disk.Passphrase, tool []string, args ...string) {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	tool = append(tool, "--object", "secret,id=k,file="+secret, "--image-opts")
	run(t, append(append(tool, args...), "driver=qcow2,encrypt.format=luks,encrypt.key-secret=k,file.filename="+path)...)
}

// qemuIO runs commands of qemu-io on an encrypted image.
func qemuIO(t *testing.T, path string, key disk.Passphrase, commands ...string) {
	t.Helper()
	var args []string
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	withKey(t, path, key, []string{"qemu-io"}, args...)
}

func read(t *testing.T, files ...disk.ChainFile) []byte {
	t.Helper()
	c, err := disk.OpenChain(files)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// QEMU opens what we encrypt and we read what it writes there, over a layer that is
// not encrypted; nothing of it is in the file as it is.
func TestEncryptedOverlay(t *testing.T) {
	dir := t.TempDir()
	base := disk.ChainFile{Path: filepath.Join(dir, "base.qcow2")}
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", base.Path, "4M")
	run(t, "qemu-io", "-f", "qcow2", "-c", "write -P 17 0 1M", base.Path)
	top := disk.ChainFile{Path: filepath.Join(dir, "top.qcow2"), Key: disk.NewPassphrase()}
	o := disk.Overlay{Backing: "base.qcow2", BackingFormat: "qcow2", SizeBytes: 8 << 20, Key: top.Key}
	if err := disk.WriteOverlay(top.Path, o); err != nil {
		t.Fatal(err)
	}
	withKey(t, top.Path, top.Key, []string{"qemu-img", "check", "-q"})
	if ok, err := disk.CheckOverlay(top.Path, o); !ok || err != nil {
		t.Fatalf("complete: %v, %v", ok, err)
	}
	const text = "nobody may read this"
	pattern := filepath.Join(dir, "pattern")
	if err := os.WriteFile(pattern, []byte(strings.Repeat(text, 4096/len(text)+1)[:4096]), 0o600); err != nil {
		t.Fatal(err)
	}
	qemuIO(t, top.Path, top.Key, "write -s "+pattern+" 512k 4k", "write -P 34 3M 100k", "write -z 2M 64k", "write -P 51 7M 512")
	if ok, err := disk.CheckOverlay(top.Path, o); !ok || err != nil {
		t.Fatalf("after use: %v, %v", ok, err)
	}
	got := read(t, top, base)
	want := make([]byte, 8<<20)
	copy(want, bytes.Repeat([]byte{17}, 1<<20))
	content, _ := os.ReadFile(pattern)
	copy(want[512<<10:], content)
	copy(want[3<<20:], bytes.Repeat([]byte{34}, 100<<10))
	copy(want[7<<20:], bytes.Repeat([]byte{51}, 512))
	if !bytes.Equal(got, want) {
		t.Error("what is read differs")
	}
	raw, err := os.ReadFile(top.Path)
	if err != nil || bytes.Contains(raw, []byte(text)) || bytes.Contains(raw, bytes.Repeat([]byte{34}, 64)) {
		t.Errorf("the file has the text as it is (%v)", err)
	}

	// It grows, and is copied: into another key, and into none.
	if err := disk.Grow(t.Context(), top, 9<<20); err != nil {
		t.Fatal(err)
	}
	want = append(want, make([]byte, 1<<20)...)
	for i, key := range []disk.Passphrase{disk.NewPassphrase(), ""} {
		dup := disk.ChainFile{Path: filepath.Join(dir, fmt.Sprintf("copy%d.qcow2", i)), Key: key}
		if err := disk.Copy(t.Context(), []disk.ChainFile{top, base}, dup.Path, key, disk.ConvertOptions{}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(read(t, dup), want) {
			t.Error("the copy differs")
		}
		raw, err := os.ReadFile(dup.Path)
		if err != nil || bytes.Contains(raw, []byte(text)) != (key == "") {
			t.Errorf("copy %d: encrypted as it should not be (%v)", i, err)
		}
		if key == "" {
			run(t, "qemu-img", "check", "-q", "-f", "qcow2", dup.Path)
		} else {
			withKey(t, dup.Path, key, []string{"qemu-img", "check", "-q"})
		}
	}

	// Without the key, or with another one, there is nothing; and what others made is
	// refused with and without.
	if _, err := disk.OpenChain([]disk.ChainFile{{Path: top.Path}, base}); !errors.Is(err, disk.ErrHostile) {
		t.Errorf("without its key: %v", err)
	}
	wrong := disk.NewPassphrase()
	if _, err := disk.OpenChain([]disk.ChainFile{{Path: top.Path, Key: wrong}, base}); !errors.Is(err, disk.ErrPassphrase) {
		t.Errorf("with another key: %v", err)
	}
	if err := disk.Copy(t.Context(), []disk.ChainFile{{Path: top.Path, Key: wrong}, base}, filepath.Join(dir, "none"), "", disk.ConvertOptions{}); err == nil {
		t.Error("copied with another key")
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a failed copy is left: %v", err)
	}
	if _, err := disk.ReadHeader(top.Path); !errors.Is(err, disk.ErrHostile) {
		t.Errorf("as a foreign image: %v", err)
	}
	if _, err := disk.Inspect(bytes.NewReader(raw), int64(len(raw))); !errors.Is(err, disk.ErrHostile) {
		t.Errorf("inspected: %v", err)
	}
	o.Key = wrong
	if ok, err := disk.CheckOverlay(top.Path, o); ok || err == nil {
		t.Errorf("a volume's data is taken for a torn file: %v, %v", ok, err)
	}
}

// We read what QEMU encrypts by itself.
func TestChainReadsQEMUsEncryption(t *testing.T) {
	dir := t.TempDir()
	key := disk.NewPassphrase()
	secret, path := filepath.Join(dir, "secret"), filepath.Join(dir, "qemu.qcow2")
	if err := os.WriteFile(secret, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	// Where the clock of processor time is coarse, QEMU may find no time in which it can
	// tell how fast the host derives keys: "Unable to get accurate CPU usage".
	var out []byte
	var err error
	for range 20 {
		out, err = exec.Command("qemu-img", "create", "-q", "--object", "secret,id=k,file="+secret, "-f", "qcow2",
			"-o", "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10", path, "1M").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "accurate CPU usage") {
			break
		}
	}
	if err != nil {
		t.Fatalf("qemu-img: %v: %s", err, out)
	}
	qemuIO(t, path, key, "write -P 7 0 1M")
	if got := read(t, disk.ChainFile{Path: path, Key: key}); !bytes.Equal(got, bytes.Repeat([]byte{7}, 1<<20)) {
		t.Error("what is read differs")
	}
}

// An encrypted overlay that was written only partly is not taken for a whole one.
func TestTornEncryption(t *testing.T) {
	dir := t.TempDir()
	o := disk.Overlay{SizeBytes: 1 << 20, Key: disk.NewPassphrase()}
	whole := filepath.Join(dir, "whole")
	if err := disk.WriteOverlay(whole, o); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	const luks = 4 << 16
	for name, lost := range map[string][2]int{"header": {luks, luks + 592}, "slot": {luks + 4096, luks + 4096 + 256000}, "a page of the slot": {luks + 8192, luks + 12288}} {
		torn := bytes.Clone(content)
		clear(torn[lost[0]:lost[1]])
		path := filepath.Join(dir, "torn")
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		if ok, err := disk.CheckOverlay(path, o); ok || err != nil {
			t.Errorf("without its %s: %v, %v", name, ok, err)
		}
	}
	if ok, err := disk.CheckOverlay(whole, o); !ok || err != nil {
		t.Errorf("the whole one: %v, %v", ok, err)
	}
}
