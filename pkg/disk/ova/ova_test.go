package ova_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/disk/ova"
)

const descriptor = `<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
 <References><File ovf:href="b.vmdk" ovf:id="f2"/><File ovf:href="a.vmdk" ovf:id="f1"/></References>
 <DiskSection><Info>disks</Info>
  <Disk ovf:diskId="d2" ovf:fileRef="f2" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized" ovf:capacity="2"/>
  <Disk ovf:diskId="d1" ovf:fileRef="f1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized" ovf:capacity="1"/>
 </DiskSection>
 <VirtualSystem ovf:id="vm"><Name>the machine</Name>
  <VirtualHardwareSection>
   <Item><rasd:ResourceType>3</rasd:ResourceType></Item>
   <Item><rasd:ResourceType>17</rasd:ResourceType><rasd:HostResource>ovf:/disk/d1</rasd:HostResource></Item>
   <Item><rasd:ResourceType>17</rasd:ResourceType><rasd:HostResource>/disk/d2</rasd:HostResource></Item>
   <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
  </VirtualHardwareSection>
 </VirtualSystem>
</Envelope>`

type member struct{ name, content string }

func archive(t *testing.T, members ...member) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Size: int64(len(m.content)), Mode: 0o644, Typeflag: tar.TypeReg}
		if m.content == "-> link" {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, "/etc/passwd", 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte(m.content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.ova")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func manifest(members ...member) string {
	var b strings.Builder
	for _, m := range members {
		fmt.Fprintf(&b, "SHA256(%s)= %x\n", m.name, sha256.Sum256([]byte(m.content)))
	}
	return b.String()
}

func extract(t *testing.T, path string) (*ova.Machine, string, error) {
	t.Helper()
	dir := t.TempDir()
	m, err := ova.Extract(t.Context(), path, dir, func() error { return nil })
	return m, dir, err
}

func TestExtract(t *testing.T) {
	ovf, a, b := member{"x.ovf", descriptor}, member{"a.vmdk", "first"}, member{"b.vmdk", "second"}
	for what, members := range map[string][]member{
		"without a manifest": {ovf, a, b}, "with one": {ovf, {"x.mf", manifest(ovf, a, b)}, b, a}, "signed": {ovf, {"x.mf", manifest(ovf, a, b)}, {"x.cert", "c"}, a, b},
	} {
		m, dir, err := extract(t, archive(t, members...))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if m.Name != "the machine" || !m.UEFI || !slices.Equal(m.Disks, []string{"a.vmdk", "b.vmdk"}) {
			t.Errorf("%s: %+v", what, m)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "a.vmdk")); string(got) != "first" || err != nil {
			t.Errorf("%s: the first disk is %q, %v", what, got, err)
		}
	}
}

func TestRefused(t *testing.T) {
	ovf, a, b := member{"x.ovf", descriptor}, member{"a.vmdk", "first"}, member{"b.vmdk", "second"}
	changed := func(from, to string) member { return member{"x.ovf", strings.ReplaceAll(descriptor, from, to)} }
	for want, members := range map[string][]member{
		"it is empty":                   {},
		"is not the descriptor":         {a, ovf, b},
		"not the name of a file":        {ovf, {"../a.vmdk", "x"}},
		"is no regular file":            {ovf, {"a.vmdk", "-> link"}},
		"is there twice":                {ovf, a, a},
		"which is not in the archive":   {ovf, a},
		"is not what the manifest says": {ovf, {"x.mf", manifest(ovf, a, member{"b.vmdk", "other"})}, a, b},
		"the manifest lacks b.vmdk":     {ovf, {"x.mf", manifest(ovf, a)}, a, b},
		"is of no file":                 {ovf, {"x.mf", "MD5(a.vmdk)= 00\n"}, a, b},
		"its descriptor":                {{"x.ovf", "<Envelope>"}, a, b},
		"it has 0 machines":             {changed("VirtualSystem", "Other"), a, b},
		"has a parent":                  {changed(`ovf:fileRef="f1"`, `ovf:fileRef="f1" ovf:parentRef="d2"`), a, b},
		"is empty, and no file":         {changed(`ovf:fileRef="f1"`, ``), a, b},
		"not VMDK":                      {changed("vmdk.html#streamOptimized", "raw"), a, b},
		"is not described":              {changed(`ovf:diskId="d1"`, `ovf:diskId="d9"`), a, b},
		"it has more than 64 files":     append([]member{ovf}, slices.Repeat([]member{}, 1)...),
		"x.ovf has more than":           {{"x.ovf", strings.Repeat(" ", 5<<20)}},
	} {
		if strings.Contains(want, "64 files") {
			for i := range 70 {
				members = append(members, member{fmt.Sprint(i), "x"})
			}
		}
		if _, _, err := extract(t, archive(t, members...)); !errors.Is(err, ova.ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	whole, err := os.ReadFile(archive(t, ovf, a, b))
	if err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "short")
	for _, n := range []int{100, 600, 2000} {
		if err := os.WriteFile(short, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := extract(t, short); !errors.Is(err, ova.ErrRefused) {
			t.Errorf("cut off after %d bytes: %v", n, err)
		}
	}
	full := errors.New("full")
	if _, err := ova.Extract(t.Context(), archive(t, ovf, a, b), t.TempDir(), func() error { return full }); !errors.Is(err, full) {
		t.Errorf("without space: %v", err)
	}
}

// Whatever an archive has, nothing is written but files of its directory.
func FuzzExtract(f *testing.F) {
	for _, names := range [][]string{{"x.ovf", "a.vmdk"}, {"../x.ovf"}, {"x.ovf", "x.mf"}} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, n := range names {
			_ = w.WriteHeader(&tar.Header{Name: n, Size: int64(len(descriptor)), Mode: 0o644, Typeflag: tar.TypeReg})
			_, _ = w.Write([]byte(descriptor))
		}
		_ = w.Close()
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		top := t.TempDir()
		dir, archive := filepath.Join(top, "dir"), filepath.Join(top, "archive")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(archive, b, 0o600)); err != nil {
			t.Fatal(err)
		}
		_, err := ova.Extract(t.Context(), archive, dir, func() error { return nil })
		if err != nil && !errors.Is(err, ova.ErrRefused) {
			t.Errorf("an error of another kind: %v", err)
		}
		if here, err := os.ReadDir(top); err != nil || len(here) != 2 {
			t.Errorf("beside the directory there is %v, %v", here, err)
		}
	})
}
