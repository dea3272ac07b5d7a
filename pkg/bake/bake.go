// Package bake owns the pipeline from a recipe to the layers of an AMI: fetch
// inputs, make the tree, make the disk, verify. Steps are idempotent and cached
// by the digest of what goes into them. It imports pkg/recipe, pkg/disk, pkg/kernel,
// pkg/rootfs, pkg/fetch, pkg/checksum and pkg/model; never the store, the API, a hypervisor or a network.
package bake

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/package-url/packageurl-go"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/fetch"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
)

// Errors of a bake (test with errors.Is).
var (
	// ErrUnsupported: the recipe is valid but asks for what this version cannot do.
	ErrUnsupported = errors.New("not supported yet")
	// ErrLockDrift: a pinned package is gone from the mirror and the lock is strict.
	ErrLockDrift = errors.New("the lock file no longer matches the mirror")
	// ErrNotBuilt: the recipe's directory lacks a program that is compiled into it.
	ErrNotBuilt = errors.New("not built: run \"make build\"")
)

// Request is what to bake and where to work.
type Request struct {
	Recipe   *recipe.Recipe
	Context  fs.FS // the recipe's directory
	Arch     model.Arch
	CacheDir string // kept between bakes: downloads by digest, finished steps
	WorkDir  string // empty directory for this bake; the caller removes it
	// PackageMirror overrides where distribution packages come from.
	PackageMirror string
	// Fetch downloads disk images; one that refuses the host's own addresses if nil.
	Fetch *fetch.Fetcher
	// CheckSpace is asked now and then while much is written; its error ends the bake.
	// May be nil.
	CheckSpace func() error
	// Progress is told of each step as it starts and ends; may be nil.
	Progress func(Event)
}

// Event is progress of a bake.
type Event struct {
	Step   string // "fetch linux-image-cloud-amd64"
	Detail string
	Done   bool
	Cached bool
}

// Result is a finished bake. The files are in Request.WorkDir.
type Result struct {
	Disks     []DiskFile
	Kernel    string // file, "" when the firmware boots the disk
	VMLinux   string // the kernel uncompressed, "" if it holds none with a PVH entry point
	Initrd    string // file, "" for none
	Boot      model.Boot
	LoginUser string
	Inputs    []model.Input // every input with its digest, sorted by name
	// Pins are the files that the recipe's packages stood for, for a lock file.
	Pins []recipe.LockedPackage
}

// DiskFile is one disk of the AMI as a flat qcow2 file.
type DiskFile struct {
	Device              string
	Path                string
	SizeBytes           int64 // virtual size
	DeleteOnTermination bool
}

// Bake makes the recipe's disks for one architecture. A bake that fails or is
// cancelled leaves nothing outside CacheDir and WorkDir, and nothing half-made
// in CacheDir; on a full disk the error is disk.ErrNoSpace. Digests in Result.Boot are empty: they are the layer store's.
func Bake(ctx context.Context, req Request) (*Result, error) {
	b, err := newBaker(req)
	if err != nil {
		return nil, err
	}
	res, err := b.bake(ctx)
	if err != nil {
		return nil, fmt.Errorf("baking %s for %s: %w", req.Recipe.Name, req.Arch, disk.NoSpace(err))
	}
	return res, nil
}

// baker is one bake on its way.
type baker struct {
	Request
	cache  cache
	inputs []model.Input
	pins   []recipe.LockedPackage
	files  int    // host files made for the tree
	image  string // the file that a source by URL gave
}

func newBaker(req Request) (*baker, error) {
	r := req.Recipe
	switch {
	case r == nil || req.Context == nil:
		return nil, errors.New("baking: no recipe given")
	case !slices.Contains(r.Architectures, req.Arch):
		return nil, fmt.Errorf("recipe %s is not for %s; it is for %v", r.Name, req.Arch, r.Architectures)
	case req.CacheDir == "" || req.WorkDir == "":
		return nil, errors.New("baking: no cache or work directory given")
	}
	if err := checkSupported(r); err != nil {
		return nil, err
	}
	if req.Fetch == nil {
		req.Fetch = fetch.New(fetch.Options{})
	}
	var err error
	if req.WorkDir, err = filepath.Abs(req.WorkDir); err != nil {
		return nil, err
	}
	return &baker{Request: req, cache: cache{req.CacheDir}}, nil
}

// checkSupported refuses, by name, what recipe files can say and this version
// does not do.
func checkSupported(r *recipe.Recipe) error {
	switch kind := r.Source.Kind(); kind {
	case "packages", "system", "tree", "disk", "url":
	default:
		return fmt.Errorf("recipe %s: source %q: %w", r.Name, kind, ErrUnsupported)
	}
	return nil
}

func (b *baker) bake(ctx context.Context) (*Result, error) {
	res := &Result{LoginUser: b.Recipe.Metadata.LoginUser}
	boot := b.Recipe.BootFor(b.Arch)
	res.Boot = model.Boot{Firmware: boot.Firmware, Cmdline: boot.Cmdline}
	if err := b.addRecipeInputs(); err != nil {
		return nil, err
	}
	var rootTree *disk.Tree
	switch b.Recipe.Source.Kind() {
	case "disk":
	case "url":
		if err := b.fetchImage(ctx); err != nil {
			return nil, err
		}
	default:
		tree, err := b.makeTree(ctx)
		if err != nil {
			return nil, err
		}
		if err := b.takeBootFiles(tree, boot, res); err != nil {
			return nil, err
		}
		if err := b.takeVMLinux(ctx, res); err != nil {
			return nil, err
		}
		rootTree = tree
	}
	for i, d := range b.Recipe.BlockDevices {
		f, err := b.makeDisk(ctx, i, d, rootTree)
		if err != nil {
			return nil, fmt.Errorf("disk %s: %w", d.Device, err)
		}
		res.Disks = append(res.Disks, f)
	}
	if b.image != "" {
		if err := b.takeBootFilesOfDisk(boot, res); err != nil {
			return nil, err
		}
		if err := b.takeVMLinux(ctx, res); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(b.inputs, func(x, y model.Input) int { return compareStrings(x.Name, y.Name) })
	res.Inputs, res.Pins = b.inputs, b.pins
	return res, nil
}

// addRecipeInputs records the recipe and its directory as inputs.
func (b *baker) addRecipeInputs() error {
	sum, err := recipe.ContextDigest(b.Context)
	if err != nil {
		return err
	}
	b.addInput("recipe", b.Recipe.Digest())
	b.addInput("context", sum)
	return nil
}

func (b *baker) addInput(name, digest string) {
	b.inputs = append(b.inputs, model.Input{Name: name, Digest: digest})
}

// addPackage records a package by its package URL, too.
// https://github.com/package-url/purl-spec
func (b *baker) addPackage(distribution string, pin recipe.LockedPackage, note string) {
	url := packageurl.NewPackageURL(packageurl.TypeDebian, distribution, pin.Package, pin.Version, packageurl.Qualifiers{{Key: "arch", Value: debArch(b.Arch)}}, "")
	b.inputs = append(b.inputs, model.Input{Name: fmt.Sprintf("package %s %s%s", pin.Package, pin.Version, note), Digest: "sha256:" + pin.SHA256, URI: url.ToString()})
}

// step tells of a step's start and, if it succeeds, of its end. do says whether
// the step's result was in the cache, and something for people.
func (b *baker) step(ctx context.Context, name string, do func() (detail string, cached bool, err error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.progress(Event{Step: name})
	detail, cached, err := do()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	b.progress(Event{Step: name, Detail: detail, Done: true, Cached: cached})
	return nil
}

func (b *baker) progress(e Event) {
	if b.Progress != nil {
		b.Progress(e)
	}
}

// newFile returns a path for a file of the tree that does not exist yet.
func (b *baker) newFile() (string, error) {
	dir := filepath.Join(b.WorkDir, "tree")
	if b.files == 0 {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", fmt.Errorf("making the work directory: %w", err)
		}
	}
	b.files++
	return filepath.Join(dir, fmt.Sprintf("%06d", b.files)), nil
}
