package rundir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name  string
		mode  fs.FileMode
		owner int
		want  string
	}{
		{"own", fs.ModeDir | 0o711, 1000, ""},
		{"root's", fs.ModeDir | 0o755, 0, ""},
		{"another's", fs.ModeDir | 0o700, 1001, "belongs to user 1001"},
		{"writable by its group", fs.ModeDir | 0o770, 1000, "chmod go-w /d"},
		{"writable by all", fs.ModeDir | 0o703, 1000, "chmod go-w /d"},
		{"link of another", fs.ModeSymlink | 0o777, 1001, "symbolic link"},
		{"own link", fs.ModeSymlink | 0o777, 1000, "symbolic link"},
		{"file", 0o600, 1000, "no directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := check("/d", c.mode, c.owner, 1000)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

func TestCheckLooksAtTheLinkItself(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if err := Check(dir); err != nil {
		t.Error(err)
	}
	if err := Check(link); !errors.Is(err, ErrUntrusted) {
		t.Errorf("a link: %v", err)
	}
	if err := Check(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}
