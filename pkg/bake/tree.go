package bake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/kernel"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
)

// makeTree puts together the root file system's content: the source, then the
// recipe's files, then the initial RAM file system made of them.
func (b *baker) makeTree(ctx context.Context) (*disk.Tree, error) {
	tree := disk.NewTree()
	switch src := b.Recipe.Source; src.Kind() {
	case "packages":
		if err := b.addPackages(ctx, tree, src.Packages); err != nil {
			return nil, err
		}
	case "system":
		if err := b.addSystem(ctx, tree, src.System); err != nil {
			return nil, err
		}
	case "tree":
		if err := b.copyContext(tree, src.TreeFor(b.Arch), "/", recipe.File{}); err != nil {
			return nil, fmt.Errorf("copying the tree: %w", err)
		}
	}
	err := b.step(ctx, "copy files", func() (string, bool, error) {
		for i, f := range b.Recipe.Files {
			if err := b.addFile(tree, f); err != nil {
				return "", false, fmt.Errorf("files[%d]: %w", i, err)
			}
		}
		return fmt.Sprintf("%d paths", len(tree.Paths())), false, nil
	})
	if err != nil {
		return nil, err
	}
	if b.Recipe.Initramfs != nil {
		err = b.step(ctx, "make initramfs", func() (string, bool, error) {
			detail, err := b.addInitramfs(tree, b.Recipe.Initramfs)
			return detail, false, err
		})
	}
	return tree, err
}

func (b *baker) addFile(tree *disk.Tree, f recipe.File) error {
	for _, p := range f.AllPaths() {
		e := disk.Entry{UID: int(f.UID), GID: int(f.GID), Mode: fileMode(f.Mode, 0o644)}
		switch {
		case f.Directory:
			e.Mode = fs.ModeDir | fileMode(f.Mode, 0o755)
		case f.Symlink != "":
			e = disk.Entry{Mode: fs.ModeSymlink | 0o777, Target: f.Symlink}
		case f.Content != nil:
			host, err := b.writeFile(strings.NewReader(*f.Content))
			if err != nil {
				return err
			}
			e.File = host
		default:
			if err := b.copyContext(tree, f.FromFor(b.Arch), p, f); err != nil {
				return err
			}
			continue
		}
		if err := tree.Put(p, e); err != nil {
			return err
		}
	}
	return nil
}

// copyContext copies a file or a directory of the context. Modes of the context
// do not count, because archives and embedded trees do not keep them.
func (b *baker) copyContext(tree *disk.Tree, from, to string, f recipe.File) error {
	fi, err := fs.Stat(b.Context, from)
	switch {
	case isNotExist(err) && strings.HasPrefix(from, "build/"):
		return fmt.Errorf("%s: %w", from, ErrNotBuilt)
	case err != nil:
		return fmt.Errorf("reading the recipe's directory: %w", err)
	case !fi.IsDir():
		return b.copyContextFile(tree, from, to, f)
	}
	return fs.WalkDir(b.Context, from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		dest := path.Join(to, strings.TrimPrefix(strings.TrimPrefix(name, from), "/"))
		switch {
		case d.IsDir():
			if _, there := tree.Lookup(dest); there {
				return nil
			}
			return tree.Put(dest, disk.Entry{Mode: fs.ModeDir | 0o755, UID: int(f.UID), GID: int(f.GID)})
		case d.Type().IsRegular():
			return b.copyContextFile(tree, name, dest, f)
		}
		return fmt.Errorf("%s is neither a file nor a directory: write links as files with symlink", name)
	})
}

func (b *baker) copyContextFile(tree *disk.Tree, from, to string, f recipe.File) error {
	in, err := b.Context.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	host, err := b.writeFile(in)
	if err != nil {
		return err
	}
	return tree.Put(to, disk.Entry{Mode: fileMode(f.Mode, 0o644), UID: int(f.UID), GID: int(f.GID), File: host})
}

// writeFile keeps content on this host for the tree.
func (b *baker) writeFile(r io.Reader) (string, error) {
	name, err := b.newFile()
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, r)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("writing to the work directory: %w", err)
	}
	return name, nil
}

func fileMode(m recipe.Mode, otherwise fs.FileMode) fs.FileMode {
	if m == 0 {
		return otherwise
	}
	mode := fs.FileMode(m) & fs.ModePerm
	for bit, flag := range map[recipe.Mode]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&bit != 0 {
			mode |= flag
		}
	}
	return mode
}

// addInitramfs makes the initial RAM file system from the finished tree: the
// program that becomes /init, and kernel modules with those they depend on.
func (b *baker) addInitramfs(tree *disk.Tree, spec *recipe.Initramfs) (string, error) {
	initrd := disk.NewTree()
	if err := b.copyContext(initrd, spec.InitFor(b.Arch), "/init", recipe.File{Mode: 0o755}); err != nil {
		return "", fmt.Errorf("initramfs.init: %w", err)
	}
	// The kernel opens /dev/console and mounts on these.
	for _, dir := range []string{"/dev", "/proc", "/sys", "/newroot"} {
		if err := initrd.Put(dir, disk.Entry{Mode: fs.ModeDir | 0o755}); err != nil {
			return "", err
		}
	}
	mods, err := treeModules(tree)
	if err != nil {
		return "", err
	}
	names, err := mods.closure(spec.Modules)
	if err != nil {
		return "", fmt.Errorf("initramfs: %w", err)
	}
	for _, n := range names {
		p := mods.paths[n]
		e, _ := tree.Lookup(p)
		if err := initrd.Put(p, e); err != nil {
			return "", err
		}
	}
	out, err := b.newFile()
	if err != nil {
		return "", err
	}
	f, err := os.Create(out)
	if err != nil {
		return "", err
	}
	if err := errors.Join(disk.WriteCPIO(f, initrd), f.Close()); err != nil {
		return "", fmt.Errorf("writing the initramfs: %w", err)
	}
	fi, err := os.Stat(out)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d modules, %.1f MiB", len(names), float64(fi.Size())/(1<<20)),
		tree.Put(spec.Path, disk.Entry{Mode: 0o600, File: out})
}

// takeBootFiles takes kernel and initrd out of the tree: QEMU loads them, and
// without a boot loader nothing on the disk would read them.
func (b *baker) takeBootFiles(tree *disk.Tree, boot recipe.BootOptions, res *Result) error {
	for _, t := range []struct {
		path string
		name string
		to   *string
	}{{boot.Kernel, "kernel", &res.Kernel}, {boot.Initrd, "initrd", &res.Initrd}} {
		if t.path == "" {
			continue
		}
		e, ok := tree.Lookup(t.path)
		if ok && e.Mode&fs.ModeSymlink != 0 { // distributions name their newest kernel by a link
			tree.Remove(t.path)
			t.path = path.Join(path.Dir(t.path), e.Target)
			e, ok = tree.Lookup(t.path)
		}
		if !ok || !e.Mode.IsRegular() {
			return fmt.Errorf("boot.%s: there is no file %s in the image", t.name, t.path)
		}
		*t.to = filepath.Join(b.WorkDir, t.name)
		if err := copyFile(e.File, *t.to); err != nil {
			return fmt.Errorf("taking the %s out of the image: %w", t.name, err)
		}
		tree.Remove(t.path)
	}
	return nil
}

// takeVMLinux takes the uncompressed kernel out of the kernel, for machines that
// can start it directly. A kernel without one boots by itself.
func (b *baker) takeVMLinux(ctx context.Context, res *Result) error {
	if res.Kernel == "" || b.Arch != model.X8664 || res.Boot.Firmware == model.FirmwareUEFI {
		return nil
	}
	return b.step(ctx, "uncompress kernel", func() (string, bool, error) {
		in, err := os.Open(res.Kernel)
		if err != nil {
			return "", false, err
		}
		defer in.Close()
		path := filepath.Join(b.WorkDir, "vmlinux")
		out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
		if err != nil {
			return "", false, err
		}
		err = kernel.ExtractVMLinux(in, out)
		if cerr := out.Close(); err == nil {
			err = cerr
		}
		if errors.Is(err, kernel.ErrNoPVH) {
			return "it uncompresses itself at each boot: " + err.Error(), false, os.Remove(path)
		}
		if err != nil {
			return "", false, err
		}
		res.VMLinux = path
		return "", false, nil
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
