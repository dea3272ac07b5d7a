// Package archive owns the form in which a recipe's directory travels from a
// client to the daemon: a tar with one canonical order and no times or owners, so
// that equal directories have equal bytes. It imports no other package of this
// project.
package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing/fstest"
)

// MaxBytes bounds the sum of the files of a recipe's directory.
const MaxBytes = 512 << 20

// ErrTooLarge is returned for a directory over MaxBytes.
var ErrTooLarge = fmt.Errorf("recipe directory is larger than %d MiB", MaxBytes>>20)

// Pack writes the files of fsys to w. Only regular files, directories and
// symbolic links can be packed.
func Pack(w io.Writer, fsys fs.FS) error {
	tw := tar.NewWriter(w)
	var total int64
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if total += info.Size(); total > MaxBytes {
			return ErrTooLarge
		}
		return packFile(tw, fsys, name, info)
	})
	if err != nil {
		return fmt.Errorf("packing the recipe's directory: %w", err)
	}
	return tw.Close()
}

func packFile(tw *tar.Writer, fsys fs.FS, name string, info fs.FileInfo) error {
	h := &tar.Header{Name: name, Mode: int64(canonicalMode(info.Mode())), Format: tar.FormatPAX}
	switch {
	case info.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		return tw.WriteHeader(h)
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := fs.ReadLink(fsys, name)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		return tw.WriteHeader(h)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is neither a file, a directory nor a symbolic link", name)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}

// canonicalMode keeps of a file's mode only whether it can be executed: a
// checkout's umask must not change the digest.
func canonicalMode(m fs.FileMode) fs.FileMode {
	switch {
	case m&fs.ModeSymlink != 0:
		return 0o777
	case m.IsDir() || m&0o100 != 0:
		return 0o755
	}
	return 0o644
}

// Unpack reads what Pack wrote into memory. Anything that Pack could not have
// written is refused.
func Unpack(r io.Reader) (fs.FS, error) {
	out := fstest.MapFS{}
	tr := tar.NewReader(r)
	var total int64
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the recipe archive: %w", err)
		}
		name := strings.TrimSuffix(h.Name, "/")
		if !fs.ValidPath(name) || name == "." {
			return nil, fmt.Errorf("reading the recipe archive: bad name %q", h.Name)
		}
		if total += h.Size; h.Size < 0 || total > MaxBytes {
			return nil, ErrTooLarge
		}
		f := &fstest.MapFile{Mode: fs.FileMode(h.Mode) & 0o777}
		switch h.Typeflag {
		case tar.TypeDir:
			f.Mode |= fs.ModeDir
		case tar.TypeSymlink:
			f.Mode |= fs.ModeSymlink
			f.Data = []byte(h.Linkname)
		case tar.TypeReg:
			if f.Data, err = io.ReadAll(tr); err != nil {
				return nil, fmt.Errorf("reading the recipe archive: %w", err)
			}
		default:
			return nil, fmt.Errorf("reading the recipe archive: %q is of an unknown kind", h.Name)
		}
		out[name] = f
	}
}
