package recipe

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/bundt/bundt/pkg/model"
)

// Lock pins what a recipe's package names stood for when it was written.
type Lock struct {
	APIVersion string `yaml:"apiVersion" required:"true" enum:"bundt/v1"`
	// Strict makes a bake fail when a pinned file is gone from the mirror,
	// instead of taking its successor and saying so.
	Strict   bool                           `yaml:"strict"`
	Packages map[model.Arch][]LockedPackage `yaml:"packages" required:"true"`
}

// LockedPackage is one pinned package file.
type LockedPackage struct {
	Name    string `yaml:"name" required:"true"`    // as the recipe calls it
	Package string `yaml:"package" required:"true"` // the package that it stood for
	Version string `yaml:"version" required:"true"`
	Suite   string `yaml:"suite" required:"true"` // where it was found: "bookworm", "bookworm-security"
	Path    string `yaml:"path" required:"true"`  // below the archive's root
	Size    int64  `yaml:"size" required:"true"`  // bytes
	SHA256  string `yaml:"sha256" required:"true"`
}

var sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ParseLock reads a lock file; its error is an ErrorList.
func ParseLock(name string, data []byte) (*Lock, error) {
	l, errs := parseLock(name, data)
	if len(errs) > 0 {
		return nil, errs.sorted()
	}
	return l, nil
}

func parseLock(name string, data []byte) (*Lock, ErrorList) {
	d := &decoder{file: name}
	l := &Lock{}
	if !d.decodeYAML(data, l) {
		return nil, d.errs
	}
	for arch, ps := range l.Packages {
		if !arch.Valid() {
			d.at("packages."+string(arch), "unknown architecture %q", arch)
		}
		for i, p := range ps {
			at := fmt.Sprintf("packages.%s[%d]", arch, i)
			d.match(at+".name", p.Name, packagePattern, "a package name")
			d.match(at+".package", p.Package, packagePattern, "a package name")
			d.match(at+".sha256", p.SHA256, sha256Pattern, "64 hexadecimal digits")
			if !fs.ValidPath(p.Path) || path.Ext(p.Path) != ".deb" {
				d.at(at+".path", "%s.path: %q is not the path of a .deb file", at, clip(p.Path))
			}
			if p.Size <= 0 {
				d.at(at+".size", "%s.size must be a number of bytes above 0", at)
			}
			if slices.ContainsFunc(ps[:i], func(o LockedPackage) bool { return o.Name == p.Name }) {
				d.at(at+".name", "package %s is locked twice", p.Name)
			}
		}
	}
	return l, d.errs
}

// Find returns the pin of a package.
func (l *Lock) Find(arch model.Arch, name string) (LockedPackage, bool) {
	if l == nil {
		return LockedPackage{}, false
	}
	i := slices.IndexFunc(l.Packages[arch], func(p LockedPackage) bool { return p.Name == name })
	if i < 0 {
		return LockedPackage{}, false
	}
	return l.Packages[arch][i], true
}

// For returns the pins of an architecture, in the lock file's order.
func (l *Lock) For(arch model.Arch) []LockedPackage {
	if l == nil {
		return nil
	}
	return l.Packages[arch]
}

// SamePackages reports whether two lock files pin the same packages of an architecture.
func SamePackages(a, b *Lock, arch model.Arch) bool {
	if len(a.For(arch)) != len(b.For(arch)) {
		return false
	}
	pins := map[string]LockedPackage{}
	for _, p := range a.For(arch) {
		pins[p.Name] = p
	}
	return !slices.ContainsFunc(b.For(arch), func(p LockedPackage) bool { return pins[p.Name] != p })
}

// Marshal returns the lock file's text, in a fixed order.
func (l *Lock) Marshal() ([]byte, error) {
	for _, ps := range l.Packages {
		slices.SortFunc(ps, func(a, b LockedPackage) int { return strings.Compare(a.Name, b.Name) })
	}
	var b bytes.Buffer
	b.WriteString("# The packages that the recipe's names stood for. Written by \"bundt build --write-lock\".\n")
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(l); err != nil {
		return nil, fmt.Errorf("encoding the lock file: %w", err)
	}
	return b.Bytes(), enc.Close()
}
