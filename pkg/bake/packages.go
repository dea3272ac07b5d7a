package bake

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
)

// ResolveLock returns the pins that a recipe's packages stand for today, for all
// of its architectures: what "recipe.lock" should hold. For a whole system it installs it.
func ResolveLock(ctx context.Context, req Request) (*recipe.Lock, error) {
	if req.Recipe.Source.Packages == nil && req.Recipe.Source.System == nil {
		return nil, fmt.Errorf("recipe %s takes nothing from a distribution: there is nothing to lock", req.Recipe.Name)
	}
	lock := &recipe.Lock{APIVersion: recipe.APIVersion, Packages: map[model.Arch][]recipe.LockedPackage{}}
	if req.Recipe.Lock != nil {
		lock.Strict = req.Recipe.Lock.Strict
	}
	unlocked := *req.Recipe
	unlocked.Lock = nil
	req.Recipe = &unlocked
	for _, arch := range req.Recipe.Architectures {
		req.Arch = arch
		b, err := newBaker(req)
		if err != nil {
			return nil, err
		}
		if err := b.resolvePins(ctx); err != nil {
			return nil, err
		}
		lock.Packages[arch] = b.pins
	}
	return lock, nil
}

func (b *baker) resolvePins(ctx context.Context) error {
	m, err := chooseMirror(b.PackageMirror)
	if err != nil {
		return err
	}
	if s := b.Recipe.Source.System; s != nil {
		_, err := (&installation{baker: b, mirror: m, spec: s}).install(ctx)
		return err
	}
	p := b.Recipe.Source.Packages
	idx, err := b.loadIndex(ctx, m, p)
	if err != nil {
		return err
	}
	for _, pk := range p.Install {
		if !pk.For(b.Arch) {
			continue
		}
		pin, err := idx.resolve(pk)
		if err != nil {
			return err
		}
		b.pins = append(b.pins, pin)
	}
	return nil
}

// addPackages fetches the recipe's packages and puts what is taken of them into
// the tree.
func (b *baker) addPackages(ctx context.Context, tree *disk.Tree, p *recipe.Packages) error {
	m, err := chooseMirror(b.PackageMirror)
	if err != nil {
		return err
	}
	src := &packageSource{baker: b, mirror: m, spec: p}
	for _, pk := range p.Install {
		if !pk.For(b.Arch) {
			continue
		}
		var file string
		var pin recipe.LockedPackage
		err := b.step(ctx, "fetch "+pk.Name, func() (string, bool, error) {
			var cached bool
			var err error
			pin, file, cached, err = src.fetch(ctx, pk)
			return pin.Package + " " + pin.Version + src.note(pk.Name), cached, err
		})
		if err != nil {
			return err
		}
		b.pins = append(b.pins, pin)
		b.addPackage(p.Distribution, pin, src.note(pk.Name))
		err = b.step(ctx, "extract "+pk.Name, func() (string, bool, error) {
			return b.extract(ctx, tree, pk, pin, file)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// packageSource finds packages: by their pins, else by the release's index.
type packageSource struct {
	*baker
	mirror mirror
	spec   *recipe.Packages
	idx    index
	drift  map[string]string // package name -> the version that was pinned and is gone
}

// note says, behind a package's version, that it is not the pinned one.
func (s *packageSource) note(name string) string {
	if was, ok := s.drift[name]; ok {
		return fmt.Sprintf(" (the lock's %s is gone from the mirror: update recipe.lock)", was)
	}
	return ""
}

func (s *packageSource) fetch(ctx context.Context, pk recipe.Package) (recipe.LockedPackage, string, bool, error) {
	lock := s.Recipe.Lock
	pin, locked := lock.Find(s.Arch, pk.Name)
	if !locked && lock != nil && lock.Strict {
		return pin, "", false, fmt.Errorf("recipe.lock has no pin for package %s on %s, and is strict: %w", pk.Name, s.Arch, ErrLockDrift)
	}
	if locked {
		file, cached, err := s.fetchPin(ctx, pin)
		if !errors.Is(err, errGone) {
			return pin, file, cached, err
		}
		if lock.Strict {
			return pin, "", false, fmt.Errorf("%w: %w", ErrLockDrift, err)
		}
	}
	if s.idx == nil {
		idx, err := s.loadIndex(ctx, s.mirror, s.spec)
		if err != nil {
			return pin, "", false, fmt.Errorf("reading the distribution's index: %w", err)
		}
		s.idx = idx
	}
	now, err := s.idx.resolve(pk)
	if err != nil {
		return pin, "", false, err
	}
	file, cached, err := s.fetchPin(ctx, now)
	if err == nil && locked {
		if s.drift == nil {
			s.drift = map[string]string{}
		}
		s.drift[pk.Name] = pin.Package + " " + pin.Version
	}
	return now, file, cached, err
}

func (s *packageSource) fetchPin(ctx context.Context, pin recipe.LockedPackage) (string, bool, error) {
	if pin.Size > maxPackage {
		return "", false, fmt.Errorf("package %s of %d bytes is too large", pin.Package, pin.Size)
	}
	// Names like 1:2.3-4 stand in paths as they are; only "+" and "~" need no care.
	return s.fetchDigest(ctx, s.mirror.archive(pin.Suite)+"/"+pin.Path, pin.SHA256, pin.Size)
}

// fetchDigest returns the file with this digest from the cache, else downloads it
// there. What arrives with another digest is not kept.
func (b *baker) fetchDigest(ctx context.Context, url, sum string, size int64) (string, bool, error) {
	if p, ok, err := b.cache.lookupVerified("sha256", sum); ok || err != nil {
		return p, ok, err
	}
	p, err := b.cache.create(ctx, "sha256", sum, func(f *os.File) error {
		if err := download(ctx, url, f, size); err != nil {
			return err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		h := sha256.New()
		n, err := io.Copy(h, f)
		if err != nil {
			return err
		}
		if got := fmt.Sprintf("%x", h.Sum(nil)); got != sum {
			return fmt.Errorf("%s has the wrong digest: sha256 %s (%d bytes) where %s (%d bytes) is expected", url, got, n, sum, size)
		}
		return nil
	})
	return p, false, err
}

// extract puts what the recipe takes out of a package into the tree. Unpacking a
// kernel takes seconds, so what was taken is cached as a tar by the digest of
// the package and of what is asked of it.
func (b *baker) extract(ctx context.Context, tree *disk.Tree, pk recipe.Package, pin recipe.LockedPackage, deb string) (string, bool, error) {
	key := fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "extract 1\n%s\n%q\n%q\n", pin.SHA256, pk.Take, pk.Modules)))
	file, cached := b.cache.lookup("extract", key)
	if !cached {
		var err error
		file, err = b.cache.create(ctx, "extract", key, func(out *os.File) error {
			return extractDeb(ctx, deb, pk, out)
		})
		if err != nil {
			return "", false, fmt.Errorf("package %s %s: %w", pin.Package, pin.Version, err)
		}
	}
	f, err := os.Open(file)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	n := 0
	for t := tar.NewReader(f); ; n++ {
		h, err := t.Next()
		if err == io.EOF {
			return fmt.Sprintf("%d files", n), cached, nil
		}
		if err != nil {
			return "", false, fmt.Errorf("reading the cache: %w", err)
		}
		if err := b.putTarEntry(tree, h, t); err != nil {
			return "", false, err
		}
	}
}

func (b *baker) putTarEntry(tree *disk.Tree, h *tar.Header, content io.Reader) error {
	e := disk.Entry{Mode: h.FileInfo().Mode(), UID: h.Uid, GID: h.Gid}
	if h.Typeflag == tar.TypeSymlink {
		e = disk.Entry{Mode: fs.ModeSymlink | 0o777, Target: h.Linkname}
	} else {
		host, err := b.writeFile(content)
		if err != nil {
			return err
		}
		e.File = host
	}
	return tree.Put(h.Name, e)
}

// extractDeb writes the wanted files of a package as a tar of absolute names.
func extractDeb(ctx context.Context, deb string, pk recipe.Package, out io.Writer) error {
	f, err := os.Open(deb)
	if err != nil {
		return err
	}
	defer f.Close()
	x := &extraction{spec: pk, matched: make([]bool, len(pk.Take)), out: tar.NewWriter(out),
		images: map[string][]byte{}, mods: modules{paths: map[string]string{}, builtin: map[string]bool{}}}
	err = readDeb(f, func(name string, h *tar.Header, content io.Reader) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return x.visit(name, h, content)
	})
	if err != nil {
		return err
	}
	for i, ok := range x.matched {
		if !ok {
			return fmt.Errorf("it holds no file that matches %q", pk.Take[i].From)
		}
	}
	if err := x.addModules(); err != nil {
		return err
	}
	return x.out.Close()
}

// extraction is one pass over a package.
type extraction struct {
	spec    recipe.Package
	matched []bool
	out     *tar.Writer
	mods    modules
	images  map[string][]byte // kernel modules by name: which are wanted is known at the end
	builtin []byte
	dir     string // of modules.builtin
}

const maxModule = 64 << 20

func (x *extraction) visit(name string, h *tar.Header, content io.Reader) error {
	for i, t := range x.spec.Take {
		if ok, _ := path.Match(t.From, name); ok {
			x.matched[i] = true
			if h.Typeflag == tar.TypeLink {
				return fmt.Errorf("%s is a hard link: take its target %s instead", name, h.Linkname)
			}
			return x.add(destination(name, t.To), h, content)
		}
	}
	if len(x.spec.Modules) == 0 || h.Typeflag != tar.TypeReg {
		return nil
	}
	switch {
	case strings.Contains(name, ".ko") && path.Ext(name) != ".ko":
		return fmt.Errorf("%s is a compressed module, which is %w", name, ErrUnsupported)
	case path.Ext(name) == ".ko":
		b, err := io.ReadAll(io.LimitReader(content, maxModule))
		if err != nil {
			return err
		}
		x.images[moduleName(name)] = b
		x.mods.paths[moduleName(name)] = modulePath(name)
	case path.Base(name) == "modules.builtin":
		b, err := io.ReadAll(io.LimitReader(content, maxModule))
		if err != nil {
			return err
		}
		x.builtin, x.dir = b, modulePath(name)
		addBuiltin(x.mods.builtin, b)
	}
	return nil
}

// modulePath is where a module goes: packages of merged-/usr releases have them
// below usr/lib.
func modulePath(name string) string { return "/" + strings.TrimPrefix(name, "usr/") }

func destination(name, to string) string {
	switch {
	case to == "":
		return "/" + name
	case strings.HasSuffix(to, "/"):
		return path.Join(to, path.Base(name))
	}
	return to
}

func (x *extraction) add(dest string, h *tar.Header, content io.Reader) error {
	out := &tar.Header{Typeflag: h.Typeflag, Name: dest, Linkname: h.Linkname, Size: h.Size, Mode: h.Mode, Uid: h.Uid, Gid: h.Gid, Format: tar.FormatPAX}
	if err := x.out.WriteHeader(out); err != nil {
		return err
	}
	_, err := io.Copy(x.out, content)
	return err
}

func (x *extraction) addBytes(dest string, b []byte) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Size: int64(len(b)), Mode: 0o644}
	return x.add(dest, h, strings.NewReader(string(b)))
}

func (x *extraction) addModules() error {
	if len(x.spec.Modules) == 0 {
		return nil
	}
	x.mods.depends = func(name string) ([]string, error) { return moduleDepends(x.images[name]) }
	names, err := x.mods.closure(x.spec.Modules)
	if err != nil {
		return err
	}
	if x.dir != "" {
		if err := x.addBytes(x.dir, x.builtin); err != nil {
			return err
		}
	}
	slices.Sort(names)
	for _, n := range names {
		if err := x.addBytes(x.mods.paths[n], x.images[n]); err != nil {
			return err
		}
	}
	return nil
}
