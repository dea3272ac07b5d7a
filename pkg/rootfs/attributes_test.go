package rootfs_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bundt/bundt/pkg/rootfs"
)

// TestAttributes reads what debugfs wrote: in inodes, in a block of their own, and of links
// and directories.
func TestAttributes(t *testing.T) {
	for name, options := range map[string][]string{"large inodes": {"-I", "256"}, "small inodes": {"-I", "128"}} {
		t.Run(name, func(t *testing.T) {
			path := image(t, tree(t), options...)
			long := strings.Repeat("long ", 120)
			file := filepath.Join(t.TempDir(), "long")
			if err := os.WriteFile(file, []byte(long), 0o600); err != nil {
				t.Fatal(err)
			}
			debugfs(t, path,
				`ea_set /usr/bin/su security.capability "as it is"`, `ea_set /usr/bin/su user.a b`, "ea_set -f "+file+" /etc/motd user.long", `ea_set /etc/motd user.short x`,
				`ea_set /usr/lib trusted.t 1`)
			f := open(t, path)
			want := map[string]map[string]string{
				"/usr/bin/su": {"security.capability": "as it is", "user.a": "b"}, "/etc/motd": {"user.long": long, "user.short": "x"}, "/usr/lib": {"trusted.t": "1"}, "/etc/empty": nil,
			}
			got := map[string]map[string]string{}
			for file := range want {
				e, err := f.Lookup(file)
				if err != nil {
					t.Fatal(err)
				}
				if got[file], err = f.Attributes(e); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestDamagedAttributes changes each byte of the attributes: what is read is the same,
// something else, or an error, and never more than there is.
func TestDamagedAttributes(t *testing.T) {
	path := image(t, tree(t))
	debugfs(t, path, `ea_set /etc/motd user.mark here-is-the-mark`)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(whole), "here-is-the-mark")
	if at < 0 {
		t.Fatal("the attribute is not in the image")
	}
	for i := max(0, at-64) &^ 3; i < at; i++ {
		whole[i] ^= 0xff
		f, err := rootfs.Open(bytes.NewReader(whole), int64(len(whole)))
		if err == nil {
			var e *rootfs.Entry
			if e, err = f.Lookup("/etc/motd"); err == nil && e != nil {
				_, err = f.Attributes(e)
			}
		}
		if err != nil && !errors.Is(err, rootfs.ErrDamaged) {
			t.Errorf("byte %d: %v", i, err)
		}
		whole[i] ^= 0xff
	}
}
