// Package rootfs owns reading the files of a disk's root file system, as its next boot
// would find them, without mounting it, without root and without QEMU. It must never
// import another package of ours: it reads any io.ReaderAt, which nobody trusts.
package rootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/diskfs/go-diskfs/partition"
)

// Errors that callers distinguish (test with errors.Is).
var (
	// ErrUnknown: it is of a kind that cannot be read.
	ErrUnknown = errors.New("not a file system that bundt reads")
	// ErrDamaged: it is not as it should be.
	ErrDamaged = errors.New("damaged file system")
)

const (
	sectorBytes = 512
	maxDepth    = 128 // of directories
	maxEntries  = 8 << 20
)

// FS is the root file system of a disk.
type FS struct {
	volume *volume
	// Replayed is how many blocks are read from the journal, because the disk was in
	// use when it was taken.
	Replayed int
}

// Entry is a file, a directory or something else in the file system.
type Entry struct {
	Path         string      // absolute
	Mode         fs.FileMode // type and permissions
	UID, GID     uint32
	Size         int64  // of a regular file, in bytes
	Target       string // of a symbolic link
	Major, Minor uint32 // of a device
	Inode        uint32
	Modified     time.Time
	Changed      time.Time // of the inode, which programs cannot set back
	// HasAttributes says that there may be extended attributes: FS.Attributes reads them.
	HasAttributes bool
}

// Open finds the root file system of a disk of size bytes: the first ext4 one, in a
// partition or on the disk itself, that has a directory etc.
func Open(disk io.ReaderAt, size int64) (_ *FS, err error) {
	why := error(nil)
	for _, part := range partitions(disk, size) {
		f, err := open(part)
		if err == nil {
			return f, nil
		}
		if why == nil || !errors.Is(err, ErrUnknown) {
			why = err
		}
	}
	return nil, fmt.Errorf("looking for the root file system: %w", why)
}

// partitions are those of the disk's table; without one the disk itself.
func partitions(disk io.ReaderAt, size int64) (out []*io.SectionReader) {
	defer func() { // the table is nobody's whom we trust
		if recover() != nil {
			out = []*io.SectionReader{io.NewSectionReader(disk, 0, size)}
		}
	}()
	table, err := partition.Read(&storage{r: disk, size: size}, sectorBytes, sectorBytes)
	if err == nil {
		for _, p := range table.GetPartitions() {
			if start, length := p.GetStart(), p.GetSize(); start > 0 && length > 0 && start <= size-length {
				out = append(out, io.NewSectionReader(disk, start, length))
			}
		}
	}
	if len(out) == 0 {
		out = append(out, io.NewSectionReader(disk, 0, size))
	}
	return out
}

func open(part *io.SectionReader) (*FS, error) {
	super := make([]byte, superBytes)
	if _, err := part.ReadAt(super, superOffset); err != nil || le16(super[0x38:]) != ext4Magic {
		return nil, fmt.Errorf("%w: ext4 is the one it reads", ErrUnknown)
	}
	r, replayed, err := recovered(part, super)
	if err != nil {
		return nil, fmt.Errorf("reading the journal: %w", err)
	}
	if _, err := r.ReadAt(super, superOffset); err != nil { // the journal may have a newer one
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	v, err := openVolume(r, part.Size(), super)
	if err != nil {
		return nil, err
	}
	f := &FS{v, replayed}
	e, err := f.Lookup("/etc")
	if err != nil {
		return nil, err
	}
	if e == nil || !e.Mode.IsDir() {
		return nil, fmt.Errorf("%w: it has no directory etc", ErrUnknown)
	}
	return f, nil
}

// Walk calls fn for everything in the file system, a directory before what is in it,
// in the order of names. An error of fn ends it.
func (f *FS) Walk(fn func(Entry) error) error {
	w := &walk{FS: f, left: maxEntries, fn: fn, above: map[uint32]bool{}}
	return w.dir("/", rootInode)
}

// WalkBelow is Walk for what is in one directory; nothing if that is none.
func (f *FS) WalkBelow(dir string, fn func(Entry) error) error {
	e, err := f.Lookup(dir)
	if err != nil || e == nil || !e.Mode.IsDir() {
		return err
	}
	w := &walk{FS: f, left: maxEntries, fn: fn, above: map[uint32]bool{}}
	return w.dir(e.Path, e.Inode)
}

type walk struct {
	*FS
	left  int
	fn    func(Entry) error
	above map[uint32]bool // the directories that lead here
}

func (w *walk) dir(at string, n uint32) error {
	if w.above[n] || len(w.above) >= maxDepth {
		return fmt.Errorf("%w: %s is in itself, or too deep", ErrDamaged, at)
	}
	w.above[n] = true
	defer delete(w.above, n)
	in, err := w.volume.inode(n)
	if err != nil {
		return fmt.Errorf("reading %s: %w", at, err)
	}
	list, err := w.volume.names(in)
	if err != nil {
		return fmt.Errorf("reading %s: %w", at, err)
	}
	for _, name := range list {
		if w.left--; w.left < 0 {
			return fmt.Errorf("%w: it has more than %d files", ErrDamaged, maxEntries)
		}
		e, err := w.volume.stat(path.Join(at, name.text), name.inode)
		if err != nil {
			return err
		}
		if err := w.fn(e); err != nil {
			return err
		}
		if e.Mode.IsDir() {
			if err := w.dir(e.Path, e.Inode); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *volume) stat(at string, n uint32) (Entry, error) {
	in, err := v.inode(n)
	if err != nil {
		return Entry{}, fmt.Errorf("reading %s: %w", at, err)
	}
	return v.entry(at, n, in)
}

// Lookup finds what is at an absolute path, following no links; nil if nothing is.
func (f *FS) Lookup(file string) (*Entry, error) {
	n := uint32(rootInode)
	at := "/"
	for _, part := range strings.Split(strings.Trim(path.Clean(file), "/"), "/") {
		if part == "" {
			break
		}
		in, err := f.volume.inode(n)
		if err != nil {
			return nil, err
		}
		if !in.mode().IsDir() {
			return nil, nil
		}
		list, err := f.volume.names(in)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", at, err)
		}
		n = 0
		for _, name := range list {
			if name.text == part {
				n = name.inode
			}
		}
		if n == 0 {
			return nil, nil
		}
		at = path.Join(at, part)
	}
	e, err := f.volume.stat(at, n)
	return &e, err
}

// Content is that of a regular file.
func (f *FS) Content(e *Entry) (*io.SectionReader, error) {
	if !e.Mode.IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", e.Path)
	}
	in, err := f.volume.inode(e.Inode)
	if err != nil {
		return nil, err
	}
	c, err := f.volume.file(in)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	return io.NewSectionReader(c, 0, c.size), nil
}

// Follow is Lookup that follows a link at the end of the path, and where that leads;
// nil if nothing is there, or the links have no end.
func (f *FS) Follow(file string) (*Entry, error) {
	const maxLinks = 8
	for range maxLinks {
		e, err := f.Lookup(file)
		if err != nil || e == nil || e.Mode&fs.ModeSymlink == 0 {
			return e, err
		}
		if path.IsAbs(e.Target) {
			file = e.Target
		} else {
			file = path.Join(path.Dir(file), e.Target)
		}
	}
	return nil, nil
}

// ReadFile is the content of the regular file that Follow finds; nil if there is none,
// or one of more than maxBytes.
func (f *FS) ReadFile(file string, maxBytes int64) ([]byte, error) {
	e, err := f.Follow(file)
	if err != nil || e == nil || !e.Mode.IsRegular() || e.Size > maxBytes {
		return nil, err
	}
	r, err := f.Content(e)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
