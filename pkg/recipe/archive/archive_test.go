package archive

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func tree(t *testing.T, umask os.FileMode, mtime time.Time) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, mode os.FileMode, data string) {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755&^umask); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(data), mode&^umask); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, mtime, mtime); err != nil {
			t.Fatal(err)
		}
	}
	write("recipe.yaml", 0o644, "name: x\n")
	write("tree/bin/hello", 0o755, "#!/bin/sh\n")
	if err := os.Symlink("hello", filepath.Join(dir, "tree/bin/hi")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func pack(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Pack(&b, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestEqualDirectoriesHaveEqualBytes(t *testing.T) {
	a := pack(t, tree(t, 0, time.Unix(1, 0)))
	b := pack(t, tree(t, 0o027, time.Unix(2e9, 0)))
	if !bytes.Equal(a, b) {
		t.Error("umask or times changed the archive")
	}
}

func TestRoundTrip(t *testing.T) {
	fsys, err := Unpack(bytes.NewReader(pack(t, tree(t, 0, time.Now()))))
	if err != nil {
		t.Fatal(err)
	}
	data, err := fs.ReadFile(fsys, "tree/bin/hello")
	if err != nil || string(data) != "#!/bin/sh\n" {
		t.Errorf("hello: %q, %v", data, err)
	}
	info, err := fs.Stat(fsys, "tree/bin/hello")
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("hello: %v, %v", info, err)
	}
	if link, err := fs.ReadLink(fsys, "tree/bin/hi"); err != nil || link != "hello" {
		t.Errorf("hi: %q, %v", link, err)
	}
}

func TestUnpackRefuses(t *testing.T) {
	for name, h := range map[string]*tar.Header{
		"parent":   {Name: "../evil", Typeflag: tar.TypeReg},
		"absolute": {Name: "/etc/passwd", Typeflag: tar.TypeReg},
		"device":   {Name: "dev", Typeflag: tar.TypeChar},
		"hardlink": {Name: "link", Linkname: "recipe.yaml", Typeflag: tar.TypeLink},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			tw := tar.NewWriter(&b)
			if err := tw.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if err := tw.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := Unpack(&b); err == nil {
				t.Error("accepted")
			}
		})
	}
}
