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
	"slices"
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
	files files
	// Replayed is how many blocks are read from the journal, because the disk was in
	// use when it was taken.
	Replayed int
}

// files is a file system whose files go by the numbers of their inodes.
type files interface {
	// root is the number of its first directory.
	root() uint64
	// stat describes an inode, which is at a path.
	stat(at string, n uint64) (Entry, error)
	// names lists the directory n, sorted.
	names(n uint64) ([]name, error)
	// content is that of the regular file n.
	content(n uint64) (*io.SectionReader, error)
	// attributes are the extended attributes of an inode.
	attributes(n uint64) (map[string]string, error)
}

// name is an entry of a directory.
type name struct {
	text  string
	inode uint64
}

// Entry is a file, a directory or something else in the file system.
type Entry struct {
	Path         string      // absolute
	Mode         fs.FileMode // type and permissions
	UID, GID     uint32
	Size         int64  // of a regular file, in bytes
	Target       string // of a symbolic link
	Major, Minor uint32 // of a device
	Inode        uint64
	Modified     time.Time
	Changed      time.Time // of the inode, which programs cannot set back
	// HasAttributes says that there may be extended attributes: FS.Attributes reads them.
	HasAttributes bool
}

// Open finds the root file system of a disk of size bytes: the first one of a kind that
// it reads, in a partition or on the disk itself, that has a directory etc.
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

// kinds are the file systems that are read, by what their superblocks begin with.
var kinds = []struct {
	at    int64
	magic string
	open  func(part *io.SectionReader) (_ files, replayed int, err error)
}{
	{superOffset + 0x38, "\x53\xef", openExt4},
	{0, xfsMagic, openXFS},
	{btrfsMagicAt, btrfsMagic, openBtrfs},
}

func open(part *io.SectionReader) (*FS, error) {
	for _, k := range kinds {
		magic := make([]byte, len(k.magic))
		if _, err := part.ReadAt(magic, k.at); err != nil || string(magic) != k.magic {
			continue
		}
		found, replayed, err := k.open(part)
		if err != nil {
			return nil, err
		}
		f := &FS{found, replayed}
		e, err := f.Lookup("/etc")
		if err != nil {
			return nil, err
		}
		if e == nil || !e.Mode.IsDir() {
			return nil, fmt.Errorf("%w: it has no directory etc", ErrUnknown)
		}
		return f, nil
	}
	return nil, fmt.Errorf("%w: ext4, XFS and Btrfs are those it reads", ErrUnknown)
}

// Walk calls fn for everything in the file system, a directory before what is in it,
// in the order of names. An error of fn ends it.
func (f *FS) Walk(fn func(Entry) error) error {
	w := &walk{FS: f, left: maxEntries, fn: fn, above: map[uint64]bool{}}
	return w.dir("/", f.files.root())
}

// WalkBelow is Walk for what is in one directory; nothing if that is none.
func (f *FS) WalkBelow(dir string, fn func(Entry) error) error {
	e, err := f.Lookup(dir)
	if err != nil || e == nil || !e.Mode.IsDir() {
		return err
	}
	w := &walk{FS: f, left: maxEntries, fn: fn, above: map[uint64]bool{}}
	return w.dir(e.Path, e.Inode)
}

type walk struct {
	*FS
	left  int
	fn    func(Entry) error
	above map[uint64]bool // the directories that lead here
}

func (w *walk) dir(at string, n uint64) error {
	if w.above[n] || len(w.above) >= maxDepth {
		return fmt.Errorf("%w: %s is in itself, or too deep", ErrDamaged, at)
	}
	w.above[n] = true
	defer delete(w.above, n)
	list, err := w.files.names(n)
	if err != nil {
		return fmt.Errorf("reading %s: %w", at, err)
	}
	for _, name := range list {
		if w.left--; w.left < 0 {
			return fmt.Errorf("%w: it has more than %d files", ErrDamaged, maxEntries)
		}
		e, err := w.files.stat(path.Join(at, name.text), name.inode)
		if err != nil {
			return fmt.Errorf("reading %s: %w", path.Join(at, name.text), err)
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

// Lookup finds what is at an absolute path, following no links; nil if nothing is.
func (f *FS) Lookup(file string) (*Entry, error) {
	e, err := f.files.stat("/", f.files.root())
	if err != nil {
		return nil, fmt.Errorf("reading /: %w", err)
	}
	for _, part := range strings.Split(strings.Trim(path.Clean(file), "/"), "/") {
		if part == "" {
			break
		}
		if !e.Mode.IsDir() {
			return nil, nil
		}
		list, err := f.files.names(e.Inode)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", e.Path, err)
		}
		i, found := slices.BinarySearchFunc(list, part, func(n name, text string) int { return strings.Compare(n.text, text) })
		if !found {
			return nil, nil
		}
		at := path.Join(e.Path, part)
		if e, err = f.files.stat(at, list[i].inode); err != nil {
			return nil, fmt.Errorf("reading %s: %w", at, err)
		}
	}
	return &e, nil
}

// Content is that of a regular file.
func (f *FS) Content(e *Entry) (*io.SectionReader, error) {
	if !e.Mode.IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", e.Path)
	}
	c, err := f.files.content(e.Inode)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	return c, nil
}

// Attributes are the extended attributes of a file, a directory or anything else, by
// their names as Linux has them: "security.capability". ACLs are as the file system
// keeps them.
func (f *FS) Attributes(e *Entry) (map[string]string, error) {
	if !e.HasAttributes {
		return nil, nil
	}
	found, err := f.files.attributes(e.Inode)
	if err != nil {
		return nil, fmt.Errorf("reading the attributes of %s: %w", e.Path, err)
	}
	return found, nil
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
