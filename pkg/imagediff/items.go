package imagediff

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/inventory"
	"github.com/bundt/bundt/pkg/rootfs"
)

// maxDatabase bounds what is read of users.
const maxDatabase = 64 << 20

// items compares what files mean.
func (c *comparison) items() (out []Item, err error) {
	for _, kind := range []struct {
		what string
		list func(*rootfs.FS) (map[string]string, error)
	}{{"package", packages}, {"service", services}, {"user", users}, {"group", groups}} {
		before, err := kind.list(c.before)
		if err != nil {
			return nil, err
		}
		after, err := kind.list(c.after)
		if err != nil {
			return nil, err
		}
		names := maps.Clone(before)
		maps.Copy(names, after)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			a, had := before[name]
			b, has := after[name]
			i := Item{What: kind.what, Name: name, Kind: Changed, Before: a, After: b}
			switch {
			case !had:
				i.Kind = Added
			case !has:
				i.Kind = Removed
			case a == b:
				continue
			}
			out = append(out, i)
		}
	}
	return out, nil
}

// packages are those installed, with their versions: of dpkg and of apk.
func packages(f *rootfs.FS) (map[string]string, error) {
	list, err := inventory.Installed(f)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, p := range list {
		name := p.Name
		if p.MultiArch {
			name += ":" + p.Arch
		}
		out[name] = p.Version
	}
	return out, nil
}

// services are those that start at boot: systemd's enabled units, SysV's scripts of
// the usual runlevel, and executables of /etc/rc.d, as tiny has them.
func services(f *rootfs.FS) (map[string]string, error) {
	out := map[string]string{}
	for _, dir := range []string{"/etc/systemd/system", "/etc/rc2.d", "/etc/runlevels/default", "/etc/rc.d"} {
		err := f.WalkBelow(dir, func(e rootfs.Entry) error {
			name, parent := path.Base(e.Path), path.Base(path.Dir(e.Path))
			link := e.Mode&fs.ModeSymlink != 0
			switch {
			case dir == "/etc/systemd/system" && link && (strings.HasSuffix(parent, ".wants") || strings.HasSuffix(parent, ".requires")):
				out[name] = "by " + strings.TrimSuffix(strings.TrimSuffix(parent, ".wants"), ".requires")
			case dir == "/etc/rc2.d" && link && len(name) > 3 && name[0] == 'S':
				out[name[3:]] = "in runlevel 2"
			case dir == "/etc/runlevels/default" && link:
				out[name] = "in runlevel default"
			case dir == "/etc/rc.d" && e.Mode.IsRegular() && e.Mode&0o111 != 0:
				out[name] = "by " + dir
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func users(f *rootfs.FS) (map[string]string, error) {
	return accounts(f, "/etc/passwd", func(field []string) string {
		if len(field) < 7 {
			return ""
		}
		return "uid " + field[2] + ", gid " + field[3] + ", home " + field[5] + ", shell " + field[6]
	})
}

func groups(f *rootfs.FS) (map[string]string, error) {
	return accounts(f, "/etc/group", func(field []string) string {
		if len(field) < 4 {
			return ""
		}
		return strings.TrimSuffix("gid "+field[2]+", members "+field[3], ", members ")
	})
}

// accounts are the lines of a file by their first field.
func accounts(f *rootfs.FS, file string, show func([]string) string) (map[string]string, error) {
	b, err := f.ReadFile(file, maxDatabase)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if field := strings.Split(strings.TrimSpace(line), ":"); len(field) > 1 && field[0] != "" {
			out[field[0]] = show(field)
		}
	}
	return out, nil
}
