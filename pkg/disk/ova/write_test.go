package ova_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/disk/ova"
)

func disks(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(dir, n), []byte("content of "+n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestWrite: what is written is read again as what it was, with its manifest checked.
func TestWrite(t *testing.T) {
	dir := disks(t, "disk1.vmdk", "disk2.vmdk")
	want := ova.Machine{Name: `web & "data" <1>`, UEFI: true, Disks: []string{"disk1.vmdk", "disk2.vmdk"}, Sizes: []int64{1 << 30, 2 << 30}}
	var b bytes.Buffer
	if err := ova.Write(t.Context(), &b, dir, &want); err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(bytes.NewReader(b.Bytes())); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if text, _ := io.ReadAll(r); h.Name == "machine.ovf" {
			for _, s := range []string{`ovf:size="21"`, `ovf:capacity="1073741824"`, `ovf:capacity="2147483648"`, "<OperatingSystemSection ovf:id=\"101\">", "<rasd:InstanceID>12<"} {
				if !strings.Contains(string(text), s) {
					t.Errorf("the descriptor has no %s:\n%s", s, text)
				}
			}
		}
	}
	if order := []string{"machine.ovf", "machine.mf", "disk1.vmdk", "disk2.vmdk"}; !slices.Equal(names, order) {
		t.Errorf("the archive has %v, not %v", names, order)
	}
	path := filepath.Join(t.TempDir(), "x.ova")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, out, err := extract(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != want.Name || !got.UEFI || !slices.Equal(got.Disks, want.Disks) {
		t.Errorf("got %+v", got)
	}
	if text, err := os.ReadFile(filepath.Join(out, "disk2.vmdk")); err != nil || string(text) != "content of disk2.vmdk" {
		t.Errorf("the second disk is %q (%v)", text, err)
	}
}

func TestWriteRefused(t *testing.T) {
	dir := disks(t, "a.vmdk")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx context.Context
		m   ova.Machine
	}{
		"no disk":      {t.Context(), ova.Machine{}},
		"no size":      {t.Context(), ova.Machine{Disks: []string{"a.vmdk"}}},
		"missing disk": {t.Context(), ova.Machine{Disks: []string{"b.vmdk"}, Sizes: []int64{1}}},
		"ended":        {ended, ova.Machine{Disks: []string{"a.vmdk"}, Sizes: []int64{1}}},
	} {
		if err := ova.Write(c.ctx, io.Discard, dir, &c.m); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}
