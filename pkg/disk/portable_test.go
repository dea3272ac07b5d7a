package disk_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/bundt/bundt/pkg/disk"
)

func portable(t *testing.T, path string) []byte {
	t.Helper()
	r, err := disk.Portable(path)
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

// TestPortable writes two overlays that differ in the names of their parents only.
func TestPortable(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.qcow2"), filepath.Join(dir, "b.qcow2")
	for path, parent := range map[string]string{a: "lay-0123456789abcdef0.qcow2", b: "other.qcow2"} {
		if err := disk.WriteOverlay(path, disk.Overlay{Backing: parent, BackingFormat: "qcow2", SizeBytes: 1 << 30}); err != nil {
			t.Fatal(err)
		}
	}
	travels := portable(t, a)
	if !bytes.Equal(travels, portable(t, b)) || bytes.Contains(travels, []byte("lay-")) {
		t.Fatal("the name of the parent travels")
	}
	got := filepath.Join(dir, "got.qcow2")
	if err := os.WriteFile(got, travels, 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := disk.ReadHeader(got)
	if err != nil || h.Backing != "" || h.SizeBytes != 1<<30 {
		t.Fatalf("%+v, %v", h, err)
	}
	for range 2 { // again changes nothing
		if err := disk.SetBacking(got, "lay-0123456789abcdef0.qcow2", "qcow2"); err != nil {
			t.Fatal(err)
		}
		again, err1 := os.ReadFile(got)
		original, err2 := os.ReadFile(a)
		if err1 != nil || err2 != nil || !bytes.Equal(again, original) {
			t.Fatalf("with its parent again it differs from what it was: %v, %v", err1, err2)
		}
	}
	if !bytes.Equal(portable(t, got), travels) {
		t.Error("a second journey differs")
	}
}

func TestSetBackingRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.qcow2")
	if err := disk.WriteOverlay(path, disk.Overlay{SizeBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, backing := range []string{"json:{}", "nbd://host/x", string(make([]byte, 2000))} {
		if err := disk.SetBacking(path, backing, "qcow2"); err == nil {
			t.Errorf("%.20q is accepted", backing)
		}
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file changed, %v", err)
	}
	if err := disk.SetBacking(filepath.Join(dir, "none"), "a", "qcow2"); err == nil {
		t.Error("a file that is not there is accepted")
	}
	if err := os.WriteFile(path, binary.BigEndian.AppendUint32(nil, 0x514649fb), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Portable(path); err == nil {
		t.Error("a file that ends in its header is accepted")
	}
}
