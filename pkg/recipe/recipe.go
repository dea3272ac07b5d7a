// Package recipe owns recipe files: their format (v1), strict parsing with
// line-numbered errors, the JSON Schema for editors, the lock file, and digests.
// It is pure: it reads what it is given and touches neither disk nor network. It
// may import pkg/model and the embedded schema only.
package recipe

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/bundt/bundt/docs/schema"
	"github.com/bundt/bundt/pkg/model"
)

// The names of the files that a recipe's directory (its context) holds.
const (
	FileName     = "recipe.yaml"
	LockFileName = "recipe.lock"
)

// APIVersion is the format that this package reads.
const APIVersion = "bundt/v1"

// Recipe is a parsed and validated recipe file. Zero values mean "not written".
type Recipe struct {
	APIVersion    string        `yaml:"apiVersion" required:"true" json:"apiVersion" enum:"bundt/v1"`
	Name          string        `yaml:"name" required:"true" json:"name"`
	Version       string        `yaml:"version" required:"true" json:"version"`
	Description   string        `yaml:"description" json:"description,omitempty"`
	Architectures []model.Arch  `yaml:"architectures" required:"true" json:"architectures" enum:"x86_64|arm64|i386"`
	Boot          Boot          `yaml:"boot" json:"boot"` // with a parent image: that image's
	Source        Source        `yaml:"source" required:"true" json:"source"`
	Initramfs     *Initramfs    `yaml:"initramfs" json:"initramfs,omitempty"`
	Files         []File        `yaml:"files" json:"files,omitempty"`
	Components    []Component   `yaml:"components" json:"components,omitempty"`
	BlockDevices  []BlockDevice `yaml:"blockDevices" json:"blockDevices"` // with a parent image: that image's
	Metadata      Metadata      `yaml:"metadata" json:"metadata"`

	// Lock is the context's lock file, nil if there is none. It is set by Load.
	Lock *Lock `yaml:"-" json:"-"`
}

// Boot is how the image starts, with exceptions per architecture.
type Boot struct {
	BootOptions
	Overrides map[model.Arch]BootOptions `yaml:"overrides" json:"overrides,omitempty"`
}

// BootOptions are the settings that may differ between architectures. Kernel and
// initrd are paths inside the image's root file system.
type BootOptions struct {
	Firmware model.Firmware `yaml:"firmware" json:"firmware,omitempty" enum:"none|bios|uefi"`
	Kernel   string         `yaml:"kernel" json:"kernel,omitempty"`
	Initrd   string         `yaml:"initrd" json:"initrd,omitempty"`
	Cmdline  string         `yaml:"cmdline" json:"cmdline,omitempty"`
}

// Source is where the image's content comes from: exactly one field is set.
type Source struct {
	Packages *Packages  `yaml:"packages" json:"packages,omitempty"`
	System   *System    `yaml:"system" json:"system,omitempty"`
	Tree     string     `yaml:"tree" json:"tree,omitempty"` // a directory of the context
	Disk     *Disk      `yaml:"disk" json:"disk,omitempty"`
	URL      *URLSource `yaml:"url" json:"url,omitempty"`
	// Image is a parent AMI: its id, its name, or RecipePrefix and a recipe's name
	// for the newest image of that recipe.
	Image string `yaml:"image" json:"image,omitempty"`
	OCI   string `yaml:"oci" json:"oci,omitempty"` // an OCI reference with digest
}

// RecipePrefix begins a parent that is the newest image of a recipe: "recipe:tiny".
const RecipePrefix = "recipe:"

// Kind is the name of the field that is set.
func (s Source) Kind() string {
	kinds := s.kinds()
	if len(kinds) != 1 {
		return ""
	}
	return kinds[0]
}

func (s Source) kinds() []string {
	var k []string
	for name, set := range map[string]bool{
		"packages": s.Packages != nil, "system": s.System != nil, "tree": s.Tree != "", "disk": s.Disk != nil,
		"url": s.URL != nil, "image": s.Image != "", "oci": s.OCI != "",
	} {
		if set {
			k = append(k, name)
		}
	}
	slices.Sort(k)
	return k
}

// Packages takes single files out of a distribution's packages. Nothing of a
// package runs: there are no maintainer scripts and no dependency resolution.
type Packages struct {
	Distribution string    `yaml:"distribution" required:"true" json:"distribution" enum:"debian"`
	Suite        string    `yaml:"suite" required:"true" json:"suite"`
	Component    string    `yaml:"component" json:"component,omitempty"` // "main" if empty
	Keyring      string    `yaml:"keyring" json:"keyring,omitempty"`     // file of the context; the host's if empty
	Install      []Package `yaml:"install" required:"true" json:"install"`
}

// System installs a whole distribution: its essential packages, the ones named
// and all that these depend on, configured by the packages' own scripts.
type System struct {
	Distribution string          `yaml:"distribution" required:"true" json:"distribution" enum:"debian"`
	Suite        string          `yaml:"suite" required:"true" json:"suite"`
	Keyring      string          `yaml:"keyring" json:"keyring,omitempty"` // file of the context; the host's if empty
	Install      []SystemPackage `yaml:"install" required:"true" json:"install"`
}

// SystemPackage is one package to install, without what it only recommends.
type SystemPackage struct {
	Name          string       `yaml:"name" required:"true" json:"name"`
	Architectures []model.Arch `yaml:"architectures" json:"architectures,omitempty" enum:"x86_64|arm64|i386"` // all if empty
}

// For returns the names of the packages to install on architecture a.
func (s *System) For(a model.Arch) []string {
	var names []string
	for _, p := range s.Install {
		if len(p.Architectures) == 0 || slices.Contains(p.Architectures, a) {
			names = append(names, p.Name)
		}
	}
	return names
}

// Package is one package and what to take out of it.
type Package struct {
	Name          string       `yaml:"name" required:"true" json:"name"`
	Architectures []model.Arch `yaml:"architectures" json:"architectures,omitempty" enum:"x86_64|arm64|i386"` // all if empty
	// Follow makes the first dependency matching this pattern stand for the
	// package: kernels are found through their metapackages.
	Follow string `yaml:"follow" json:"follow,omitempty"`
	Take   []Take `yaml:"take" json:"take,omitempty"`
	// Modules are kernel modules to take, with all modules they depend on.
	Modules []string `yaml:"modules" json:"modules,omitempty"`
}

// For reports whether the package is wanted on architecture a.
func (p Package) For(a model.Arch) bool {
	return len(p.Architectures) == 0 || slices.Contains(p.Architectures, a)
}

// Take copies the package's files whose path matches From (path.Match, no
// leading slash) to the path To, or below it if To ends in a slash; without To
// they keep their paths.
type Take struct {
	From string `yaml:"from" required:"true" json:"from"`
	To   string `yaml:"to" json:"to,omitempty"`
}

// Disk is a ready disk: one of its fields is set.
type Disk struct {
	File string `yaml:"file" json:"file,omitempty"` // raw disk, a file of the context
	Hex  string `yaml:"hex" json:"hex,omitempty"`   // its first bytes; blanks and # comments are skipped
}

// Initramfs asks for an initial RAM file system, made from the finished tree.
type Initramfs struct {
	Path    string   `yaml:"path" required:"true" json:"path"` // where in the tree it is put
	Init    string   `yaml:"init" required:"true" json:"init"` // file of the context that becomes its /init; {arch} is replaced
	Modules []string `yaml:"modules" json:"modules,omitempty"`
}

// File puts something at one or several paths of the image. Exactly one of From,
// Content, Symlink and Directory is set.
type File struct {
	Path      string   `yaml:"path" json:"path,omitempty"`
	Paths     []string `yaml:"paths" json:"paths,omitempty"`
	From      string   `yaml:"from" json:"from,omitempty"` // file or directory of the context; {arch} is replaced
	Content   *string  `yaml:"content" json:"content,omitempty"`
	Symlink   string   `yaml:"symlink" json:"symlink,omitempty"`
	Directory bool     `yaml:"directory" json:"directory,omitempty"`
	Mode      Mode     `yaml:"mode" json:"mode,omitempty"` // 0644 for files, 0755 for directories
	UID       int64    `yaml:"uid" json:"uid,omitempty"`
	GID       int64    `yaml:"gid" json:"gid,omitempty"`
}

// AllPaths returns Path and Paths as one list.
func (f File) AllPaths() []string {
	if f.Path == "" {
		return f.Paths
	}
	return append([]string{f.Path}, f.Paths...)
}

// FromFor is From with {arch} replaced.
func (f File) FromFor(a model.Arch) string { return expand(f.From, a) }

// InitFor is Init with {arch} replaced.
func (i *Initramfs) InitFor(a model.Arch) string { return expand(i.Init, a) }

// TreeFor is Tree with {arch} replaced.
func (s Source) TreeFor(a model.Arch) string { return expand(s.Tree, a) }

func expand(s string, a model.Arch) string { return strings.ReplaceAll(s, "{arch}", string(a)) }

// BlockDevice is one disk of the image. The first is the root disk.
type BlockDevice struct {
	Device              string `yaml:"device" required:"true" json:"device"`
	Size                Size   `yaml:"size" required:"true" json:"size"`
	DeleteOnTermination *bool  `yaml:"deleteOnTermination" json:"deleteOnTermination,omitempty"` // true if not written
}

// Metadata describes the image to people and catalogs.
type Metadata struct {
	LoginUser string `yaml:"loginUser" json:"loginUser,omitempty"`
	Category  string `yaml:"category" json:"category,omitempty"`
	Publisher string `yaml:"publisher" json:"publisher,omitempty"`
	Homepage  string `yaml:"homepage" json:"homepage,omitempty"`
	License   string `yaml:"license" json:"license,omitempty"`
}

// BootFor returns the boot settings of one architecture.
func (r *Recipe) BootFor(a model.Arch) BootOptions {
	b := r.Boot.BootOptions
	o := r.Boot.Overrides[a]
	for _, f := range []struct{ to, from *string }{
		{&b.Kernel, &o.Kernel}, {&b.Initrd, &o.Initrd}, {&b.Cmdline, &o.Cmdline},
	} {
		if *f.from != "" {
			*f.to = *f.from
		}
	}
	if o.Firmware != "" {
		b.Firmware = o.Firmware
	}
	return b
}

// Digest is "sha256:…" of the recipe's canonical form: comments, layout and the
// order of keys do not matter, every value does. Files that the recipe refers to
// count in ContextDigest instead.
func (r *Recipe) Digest() string {
	// A Recipe holds only strings, numbers, lists and maps with ordered encoding.
	b, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("recipe: encoding a recipe: %v", err))
	}
	return digest(b)
}

// Load reads recipe.yaml and, if there is one, recipe.lock from a context, and
// checks that everything the recipe refers to is there.
func Load(fsys fs.FS) (*Recipe, error) {
	data, err := readLimited(fsys, FileName)
	if err != nil {
		return nil, fmt.Errorf("reading the recipe: %w", err)
	}
	r, pos, errs := parse(FileName, data)
	if r != nil {
		errs = append(errs, checkContext(r, pos, fsys)...)
	}
	lock, err := readLimited(fsys, LockFileName)
	switch {
	case isNotExist(err):
	case err != nil:
		return nil, fmt.Errorf("reading the lock file: %w", err)
	default:
		l, lerrs := parseLock(LockFileName, lock)
		errs = append(errs, lerrs...)
		if r != nil {
			r.Lock = l
		}
	}
	if len(errs) > 0 {
		return nil, errs.sorted()
	}
	return r, nil
}

// ContextDigest is "sha256:…" over the names and contents of every file of a
// context. Modes and times do not count: archives and embedded trees lose them.
func ContextDigest(fsys fs.FS) (string, error) { return contextDigest(fsys, "") }

// UnlockedDigest is ContextDigest but for the lock file: two contexts that have it in
// common are built alike of the same packages.
func UnlockedDigest(fsys fs.FS) (string, error) { return contextDigest(fsys, LockFileName) }

func contextDigest(fsys fs.FS, without string) (string, error) {
	sums := map[string]string{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || name == without {
			return err
		}
		f, err := fsys.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		sums[name] = hex.EncodeToString(h.Sum(nil))
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("reading the recipe's directory: %w", err)
	}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(h, "%s %q\n", sums[name], name)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// Schema is the JSON Schema of recipe files, for editors.
func Schema() []byte { return slices.Clone(schema.RecipeV1) }

func digest(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}
