// Package inventory owns what software is installed in a root file system, read from
// the file system itself: from the databases of package managers, and from what
// programs in Go say of themselves. It may import pkg/rootfs only.
package inventory

import (
	"bytes"
	"cmp"
	"context"
	"debug/buildinfo"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/bundt/bundt/pkg/rootfs"
)

// Manager is what has installed a package.
type Manager string

// The managers. Go's is the toolchain: what it lists is compiled into programs.
const (
	Dpkg Manager = "dpkg"
	Apk  Manager = "apk"
	RPM  Manager = "rpm"
	Go   Manager = "go"
)

// Package is something that is installed. What its manager does not say is "".
type Package struct {
	Manager       Manager
	Name          string
	Version       string
	Arch          string // by the manager's name
	MultiArch     bool   // there may be one of each architecture
	Source        string // the source package
	SourceVersion string
	Maintainer    string // "Name <address>"
	Homepage      string
	License       string // as the manager has it
	Summary       string
	Sum           string   // of a Go module, "h1:…"
	Files         []string // the programs that a Go module is in
}

// System is what an operating system calls itself (os-release(5)).
type System struct {
	ID, VersionID, PrettyName string
}

// Inventory is all of it, in order.
type Inventory struct {
	System   System
	Packages []Package
}

// maxDatabase bounds what is read of a package manager.
const maxDatabase = 64 << 20

// Read lists what is installed in a file system.
func Read(ctx context.Context, f *rootfs.FS) (*Inventory, error) {
	inv := &Inventory{}
	for _, file := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		b, err := f.ReadFile(file, maxDatabase)
		if err != nil {
			return nil, fmt.Errorf("reading the name of the system: %w", err)
		}
		if b != nil {
			inv.System = parseSystem(b)
			break
		}
	}
	var err error
	if inv.Packages, err = Installed(f); err != nil {
		return nil, err
	}
	modules, err := goModules(ctx, f)
	if err != nil {
		return nil, err
	}
	inv.Packages = append(inv.Packages, modules...)
	return inv, nil
}

// parseSystem reads the assignments of os-release(5).
func parseSystem(b []byte) (s System) {
	for line := range strings.Lines(string(b)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		if unquoted, err := strconv.Unquote(value); err == nil {
			value = unquoted
		}
		value = strings.Trim(value, "'")
		switch name {
		case "ID":
			s.ID = value
		case "VERSION_ID":
			s.VersionID = value
		case "PRETTY_NAME":
			s.PrettyName = value
		}
	}
	return s
}

// Installed lists the packages of dpkg, apk and rpm, sorted.
func Installed(f *rootfs.FS) (out []Package, err error) {
	status, err := f.ReadFile("/var/lib/dpkg/status", maxDatabase)
	if err != nil {
		return nil, fmt.Errorf("reading dpkg's database: %w", err)
	}
	paragraphs(status, ": ", func(field map[string]string) {
		if strings.HasSuffix(field["Status"], " installed") && field["Package"] != "" {
			out = append(out, dpkg(field))
		}
	})
	for _, at := range []string{"/lib/apk/db/installed", "/usr/lib/apk/db/installed"} {
		db, err := f.ReadFile(at, maxDatabase)
		if err != nil {
			return nil, fmt.Errorf("reading apk's database: %w", err)
		}
		paragraphs(db, ":", func(field map[string]string) {
			if field["P"] != "" {
				out = append(out, apk(field))
			}
		})
	}
	rpms, err := rpmPackages(f)
	if err != nil {
		return nil, fmt.Errorf("reading rpm's database: %w", err)
	}
	out = append(out, rpms...)
	slices.SortFunc(out, compare)
	return slices.CompactFunc(out, func(a, b Package) bool { return compare(a, b) == 0 }), nil
}

func compare(a, b Package) int {
	return cmp.Or(cmp.Compare(a.Manager, b.Manager), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Version, b.Version))
}

// dpkg is a paragraph of deb-control(5).
func dpkg(field map[string]string) Package {
	p := Package{
		Manager: Dpkg, Name: field["Package"], Version: field["Version"], Arch: field["Architecture"], MultiArch: field["Multi-Arch"] == "same",
		Source: field["Source"], Maintainer: field["Maintainer"], Homepage: field["Homepage"], Summary: field["Description"],
	}
	// The version is there only if it is another one: "glibc (2.36-9)".
	p.Source, p.SourceVersion, _ = strings.Cut(p.Source, " (")
	p.Source, p.SourceVersion = cmp.Or(p.Source, p.Name), cmp.Or(strings.TrimSuffix(p.SourceVersion, ")"), p.Version)
	return p
}

// apk is a paragraph of apk's database.
// https://wiki.alpinelinux.org/wiki/Apk_spec
func apk(field map[string]string) Package {
	return Package{
		Manager: Apk, Name: field["P"], Version: field["V"], Arch: field["A"], Source: field["o"], SourceVersion: field["V"],
		Maintainer: field["m"], Homepage: field["U"], License: field["L"], Summary: field["T"],
	}
}

// paragraphs calls fn with the fields of each paragraph, without their continuations.
func paragraphs(b []byte, separator string, fn func(map[string]string)) {
	for p := range bytes.SplitSeq(b, []byte("\n\n")) {
		field := map[string]string{}
		for line := range strings.Lines(string(p)) {
			if name, value, ok := strings.Cut(strings.TrimRight(line, "\n"), separator); ok && !strings.HasPrefix(name, " ") {
				if _, twice := field[name]; !twice {
					field[name] = value
				}
			}
		}
		if len(field) > 0 {
			fn(field)
		}
	}
}

const (
	minProgram = 64 << 10 // bytes of the smallest program in Go, by far
	checkEvery = 512      // files between two looks at the context
)

// goModules are the modules that programs in Go were compiled of, sorted, each with
// the programs that it is in.
func goModules(ctx context.Context, f *rootfs.FS) ([]Package, error) {
	found := map[[2]string]*Package{}
	n := 0
	err := f.Walk(func(e rootfs.Entry) error {
		if n++; n%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if !e.Mode.IsRegular() || e.Mode&0o111 == 0 || e.Size < minProgram {
			return nil
		}
		r, err := f.Content(&e)
		if err != nil {
			return err
		}
		for _, m := range modulesOf(r) {
			p := found[[2]string{m.Name, m.Version}]
			if p == nil {
				p = &m
				found[[2]string{m.Name, m.Version}] = p
			}
			p.Files = append(p.Files, e.Path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for programs: %w", err)
	}
	var out []Package
	for _, p := range found {
		out = append(out, *p)
	}
	slices.SortFunc(out, compare)
	return out, nil
}

// modulesOf are the modules in a program, none if it is not of Go.
func modulesOf(r io.ReaderAt) (out []Package) {
	defer func() { // the program is nobody's whom we trust
		if recover() != nil {
			out = nil
		}
	}()
	magic := make([]byte, 4)
	if _, err := r.ReadAt(magic, 0); err != nil || string(magic) != "\x7fELF" {
		return nil
	}
	info, err := buildinfo.Read(r)
	if err != nil {
		return nil
	}
	out = append(out, Package{Manager: Go, Name: "stdlib", Version: strings.TrimPrefix(strings.Fields(info.GoVersion + " ")[0], "go")})
	if info.Main.Path != "" {
		out = append(out, Package{Manager: Go, Name: info.Main.Path, Version: info.Main.Version, Sum: info.Main.Sum})
	}
	for _, m := range info.Deps {
		if m.Replace != nil && !path.IsAbs(m.Replace.Path) && !strings.HasPrefix(m.Replace.Path, ".") {
			m = m.Replace
		}
		out = append(out, Package{Manager: Go, Name: m.Path, Version: m.Version, Sum: m.Sum})
	}
	return out
}
