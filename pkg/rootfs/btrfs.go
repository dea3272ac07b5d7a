package rootfs

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"
)

// What of Btrfs is read: file systems on one device. Numbers are little-endian
// (https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html).
const (
	btrfsSuperAt    = 64 << 10
	btrfsSuperBytes = 4096
	btrfsMagicAt    = btrfsSuperAt + 0x40
	btrfsMagic      = "_BHRfS_M"

	// Features that are known to change nothing here: mixed groups, compression, large
	// nodes, further names, small extents, no holes, another UUID, more copies, quotas.
	btrfsReadable = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x200 | 0x400 | 0x800 | 0x10000

	btrfsHeader    = 101 // bytes of a node before its items
	btrfsItem      = 25
	btrfsPointer   = 33
	btrfsKeyBytes  = 17
	btrfsMaxLevel  = 8
	btrfsMaxNode   = 64 << 10
	btrfsMaxChunks = 1 << 20
	btrfsCached    = 512 // nodes

	btrfsFSTree   = 5
	btrfsFirstID  = 256 // of a subvolume, and of the first directory in it
	btrfsTreeBits = 48  // of our numbers of inodes, above which is the subvolume
)

// The kinds of items.
const (
	btrfsInode    = 1
	btrfsXattr    = 24
	btrfsDirItem  = 84
	btrfsDirIndex = 96
	btrfsExtent   = 108
	btrfsRoot     = 132
	btrfsRootRef  = 156
	btrfsChunk    = 228
)

// btrfs is a file system of that kind.
type btrfs struct {
	r      io.ReaderAt
	size   int64
	node   int64 // bytes
	chunks []btrfsRange
	roots  btrfsTree // the tree that says where the others are

	mu     sync.Mutex // of what follows
	trees  []subvolume
	cached map[uint64][]byte
}

// btrfsRange is a part of what addresses mean, and where it is on the device.
type btrfsRange struct{ logical, length, at uint64 }

type btrfsTree struct {
	at    uint64
	level byte
}

// subvolume is a tree of files.
type subvolume struct {
	id   uint64
	tree btrfsTree
}

type btrfsKey struct {
	object uint64
	kind   byte
	offset uint64
}

func (k btrfsKey) compare(other btrfsKey) int {
	return cmp.Or(cmp.Compare(k.object, other.object), cmp.Compare(k.kind, other.kind), cmp.Compare(k.offset, other.offset))
}

func readBtrfsKey(b []byte) btrfsKey { return btrfsKey{le.Uint64(b), b[8], le.Uint64(b[9:])} }

// openBtrfs reads the superblock and finds the subvolume that is the system's.
//
// What programs have synchronised since the last transaction, of which there is one at
// least every 30 seconds and at every freeze and unmount, is in a log that is not read.
func openBtrfs(part *io.SectionReader) (files, int, error) {
	super := make([]byte, btrfsSuperBytes)
	if _, err := part.ReadAt(super, btrfsSuperAt); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if f := le.Uint64(super[0xbc:]) &^ btrfsReadable; f != 0 {
		return nil, 0, fmt.Errorf("%w: a Btrfs file system with the features %#x", ErrUnknown, f)
	}
	if n := le.Uint64(super[0x88:]); n != 1 {
		return nil, 0, fmt.Errorf("%w: a Btrfs file system on %d devices", ErrUnknown, n)
	}
	v := &btrfs{
		r: part, size: part.Size(), node: int64(le.Uint32(super[0x94:])), cached: map[uint64][]byte{},
		roots: btrfsTree{le.Uint64(super[0x50:]), super[0xc6]},
	}
	if v.node < 4096 || v.node > btrfsMaxNode || v.node&(v.node-1) != 0 {
		return nil, 0, fmt.Errorf("%w: nodes of %d bytes", ErrDamaged, v.node)
	}
	if err := v.readChunks(super); err != nil {
		return nil, 0, err
	}
	return v, 0, v.choose(le.Uint64(super[0x80:]))
}

// readChunks reads what addresses mean: those of the chunks' tree are in the superblock.
func (v *btrfs) readChunks(super []byte) error {
	b := super[0x32b:][:2048]
	if n := int(le.Uint32(super[0xa0:])); n <= len(b) {
		b = b[:n]
	}
	for len(b) > btrfsKeyBytes {
		n, err := v.addChunk(readBtrfsKey(b), b[btrfsKeyBytes:])
		if err != nil {
			return err
		}
		b = b[btrfsKeyBytes+n:]
	}
	slices.SortFunc(v.chunks, func(a, b btrfsRange) int { return cmp.Compare(a.logical, b.logical) })
	tree := btrfsTree{le.Uint64(super[0x58:]), super[0xc7]}
	first := &btrfs{r: v.r, size: v.size, node: v.node, chunks: slices.Clone(v.chunks), cached: map[uint64][]byte{}}
	err := first.items(tree, btrfsKey{kind: btrfsChunk}, btrfsKey{^uint64(0), btrfsChunk, ^uint64(0)}, func(k btrfsKey, data []byte) error {
		if k.kind != btrfsChunk {
			return nil
		}
		_, err := v.addChunk(k, data)
		return err
	})
	slices.SortFunc(v.chunks, func(a, b btrfsRange) int { return cmp.Compare(a.logical, b.logical) })
	return err
}

// addChunk adds a chunk by its description, and returns how long that is.
func (v *btrfs) addChunk(k btrfsKey, b []byte) (int, error) {
	const header, stripe, plain = 48, 32, 0x1 | 0x2 | 0x4 | 0x20 // data, system, metadata, and two copies of it
	if len(b) < header+stripe || len(v.chunks) >= btrfsMaxChunks {
		return 0, fmt.Errorf("%w: the description of a chunk of %d bytes", ErrDamaged, len(b))
	}
	if profile := le.Uint64(b[24:]); profile&^plain != 0 {
		return 0, fmt.Errorf("%w: a Btrfs file system with chunks of the profile %#x", ErrUnknown, profile)
	}
	c := btrfsRange{k.offset, le.Uint64(b), le.Uint64(b[header+8:])}
	n := header + stripe*int(le.Uint16(b[44:]))
	if n > len(b) || c.length > uint64(v.size) || c.at > uint64(v.size)-c.length || c.logical+c.length < c.logical {
		return 0, fmt.Errorf("%w: a chunk of %d bytes at %d", ErrDamaged, c.length, c.at)
	}
	v.chunks = append(v.chunks, c)
	return n, nil
}

// read reads what an address means.
func (v *btrfs) read(b []byte, logical uint64) error {
	i, found := slices.BinarySearchFunc(v.chunks, logical, func(c btrfsRange, at uint64) int { return cmp.Compare(c.logical, at) })
	if !found {
		i--
	}
	if i < 0 || logical-v.chunks[i].logical > v.chunks[i].length || uint64(len(b)) > v.chunks[i].length-(logical-v.chunks[i].logical) {
		return fmt.Errorf("%w: there are no %d bytes at %#x", ErrDamaged, len(b), logical)
	}
	if _, err := v.r.ReadAt(b, int64(v.chunks[i].at+logical-v.chunks[i].logical)); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

// block is a node of a tree, of a level.
func (v *btrfs) block(at uint64, level byte) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	b := v.cached[at]
	if b == nil {
		b = make([]byte, v.node)
		if err := v.read(b, at); err != nil {
			return nil, fmt.Errorf("reading a node: %w", err)
		}
		if len(v.cached) >= btrfsCached {
			clear(v.cached)
		}
		v.cached[at] = b
	}
	item := btrfsItem
	if level > 0 {
		item = btrfsPointer
	}
	if le.Uint64(b[48:]) != at || b[100] != level || level > btrfsMaxLevel || int64(le.Uint32(b[96:])) > (v.node-btrfsHeader)/int64(item) {
		return nil, fmt.Errorf("%w: at %#x is no node of level %d", ErrDamaged, at, level)
	}
	return b, nil
}

// items calls fn for what a tree has between two keys, both included, in order.
func (v *btrfs) items(t btrfsTree, from, to btrfsKey, fn func(btrfsKey, []byte) error) error {
	b, err := v.block(t.at, t.level)
	if err != nil {
		return err
	}
	count := int(le.Uint32(b[96:]))
	if t.level == 0 {
		for i := range count {
			entry := b[btrfsHeader+i*btrfsItem:]
			k := readBtrfsKey(entry)
			if k.compare(from) < 0 || k.compare(to) > 0 {
				continue
			}
			at, size := uint64(le.Uint32(entry[17:]))+btrfsHeader, uint64(le.Uint32(entry[21:]))
			if at+size > uint64(len(b)) {
				return fmt.Errorf("%w: an item of %d bytes at %d of a node", ErrDamaged, size, at)
			}
			if err := fn(k, b[at:at+size]); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range count {
		entry := b[btrfsHeader+i*btrfsPointer:]
		if readBtrfsKey(entry).compare(to) > 0 {
			break
		}
		if i+1 < count && readBtrfsKey(entry[btrfsPointer:]).compare(from) <= 0 {
			continue
		}
		if err := v.items(btrfsTree{le.Uint64(entry[17:]), t.level - 1}, from, to, fn); err != nil {
			return err
		}
	}
	return nil
}

// choose makes the default subvolume the first one; or, where that has no directory etc,
// the first of all that has one, which is how distributions that mount another one do it.
func (v *btrfs) choose(directory uint64) error {
	byDefault := uint64(btrfsFSTree)
	err := v.items(v.roots, btrfsKey{directory, btrfsDirItem, 0}, btrfsKey{directory, btrfsDirItem, ^uint64(0)}, func(_ btrfsKey, data []byte) error {
		return dirItems(data, func(d dirItem) error {
			if d.name == "default" {
				byDefault = d.location.object
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	candidates := []uint64{byDefault}
	err = v.items(v.roots, btrfsKey{btrfsFSTree, btrfsRoot, 0}, btrfsKey{^uint64(0) - 1<<20, btrfsRoot, ^uint64(0)}, func(k btrfsKey, _ []byte) error {
		if k.kind == btrfsRoot && (k.object == btrfsFSTree || k.object >= btrfsFirstID) && len(candidates) < 1<<12 {
			candidates = append(candidates, k.object)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range candidates {
		v.trees = nil
		n, err := v.subvolume(id)
		if err != nil {
			return err
		}
		list, err := v.names(n)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(n name) bool { return n.text == "etc" }) {
			return nil
		}
	}
	v.trees = nil
	_, err = v.subvolume(byDefault)
	return err
}

// subvolume finds a subvolume, and returns the number of its first directory.
func (v *btrfs) subvolume(id uint64) (uint64, error) {
	v.mu.Lock()
	i := slices.IndexFunc(v.trees, func(s subvolume) bool { return s.id == id })
	v.mu.Unlock()
	if i >= 0 {
		return uint64(i)<<btrfsTreeBits | btrfsFirstID, nil
	}
	s := subvolume{id: id}
	err := v.items(v.roots, btrfsKey{id, btrfsRoot, 0}, btrfsKey{id, btrfsRoot, ^uint64(0)}, func(_ btrfsKey, data []byte) error {
		if len(data) < 239 {
			return fmt.Errorf("%w: the description of subvolume %d has %d bytes", ErrDamaged, id, len(data))
		}
		s.tree = btrfsTree{le.Uint64(data[176:]), data[238]}
		return nil
	})
	if err != nil {
		return 0, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if s.tree.at == 0 || len(v.trees) >= 1<<(64-btrfsTreeBits)-1 {
		return 0, fmt.Errorf("%w: there is no subvolume %d", ErrDamaged, id)
	}
	v.trees = append(v.trees, s)
	return uint64(len(v.trees)-1)<<btrfsTreeBits | btrfsFirstID, nil
}

// of splits our number of an inode.
func (v *btrfs) of(n uint64) (s subvolume, object uint64, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if i := n >> btrfsTreeBits; i < uint64(len(v.trees)) {
		return v.trees[i], n & (1<<btrfsTreeBits - 1), nil
	}
	return s, 0, fmt.Errorf("%w: there is no inode %#x", ErrDamaged, n)
}

// each calls fn for the items of a kind that an inode has.
func (v *btrfs) each(n uint64, kind byte, fn func(btrfsKey, []byte) error) error {
	s, object, err := v.of(n)
	if err != nil {
		return err
	}
	return v.items(s.tree, btrfsKey{object, kind, 0}, btrfsKey{object, kind, ^uint64(0)}, fn)
}

func (v *btrfs) root() uint64 { return btrfsFirstID }

// inode is the description of one.
func (v *btrfs) inode(n uint64) (in []byte, err error) {
	err = v.each(n, btrfsInode, func(_ btrfsKey, data []byte) error {
		in = data
		return nil
	})
	if err == nil && len(in) < 160 {
		err = fmt.Errorf("%w: there is no inode %#x", ErrDamaged, n)
	}
	return in, err
}

func (v *btrfs) stat(at string, n uint64) (Entry, error) {
	in, err := v.inode(n)
	if err != nil {
		return Entry{}, err
	}
	when := func(at int) time.Time {
		return time.Unix(int64(le.Uint64(in[at:])), int64(le.Uint32(in[at+8:]))).UTC()
	}
	e := Entry{
		Path: at, Mode: unixMode(uint16(le.Uint32(in[52:]))), Inode: n, UID: le.Uint32(in[44:]), GID: le.Uint32(in[48:]),
		Changed: when(124), Modified: when(136), HasAttributes: true, // finding out is reading them
	}
	switch {
	case e.Mode.IsRegular():
		e.Size = int64(le.Uint64(in[16:]))
	case e.Mode&fs.ModeSymlink != 0:
		e.Target, err = v.target(n, in)
	case e.Mode&fs.ModeDevice != 0:
		d := le.Uint64(in[56:])
		e.Major, e.Minor = uint32(d>>20), uint32(d&(1<<20-1))
	}
	return e, err
}

func (v *btrfs) target(n uint64, in []byte) (string, error) {
	size := le.Uint64(in[16:])
	if size == 0 || size > 4096 {
		return "", fmt.Errorf("%w: a symbolic link of %d bytes", ErrDamaged, size)
	}
	c, err := v.content(n)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

// dirItem is an entry of a directory, or an attribute.
type dirItem struct {
	location   btrfsKey
	name, data string
}

// dirItems calls fn for each that is in an item: those whose names have the same hash.
func dirItems(b []byte, fn func(dirItem) error) error {
	const header = 30
	for len(b) > 0 {
		if len(b) < header || len(b) < header+int(le.Uint16(b[27:]))+int(le.Uint16(b[25:])) {
			return fmt.Errorf("%w: an entry of a directory is cut off", ErrDamaged)
		}
		name, data := b[header:][:le.Uint16(b[27:])], b[header+int(le.Uint16(b[27:])):][:le.Uint16(b[25:])]
		if err := fn(dirItem{readBtrfsKey(b), string(name), string(data)}); err != nil {
			return err
		}
		b = b[header+len(name)+len(data):]
	}
	return nil
}

// names lists a directory. A subvolume in it reads as a directory.
func (v *btrfs) names(n uint64) ([]name, error) {
	parent, _, err := v.of(n)
	if err != nil {
		return nil, err
	}
	var out []name
	err = v.each(n, btrfsDirIndex, func(_ btrfsKey, data []byte) error {
		return dirItems(data, func(d dirItem) error {
			if err := checkName(d.name); err != nil {
				return err
			}
			inode := n&^(1<<btrfsTreeBits-1) | d.location.object&(1<<btrfsTreeBits-1)
			if d.location.kind == btrfsRoot {
				if here, err := v.refers(parent.id, d.location.object); err != nil || !here {
					return err // a snapshot has the names of the subvolumes in it, and nothing else of them
				}
				var err error
				if inode, err = v.subvolume(d.location.object); err != nil {
					return err
				}
			}
			out = append(out, name{d.name, inode})
			return nil
		})
	})
	return sorted(out), err
}

// refers tells whether a subvolume is in another one.
func (v *btrfs) refers(parent, child uint64) (found bool, err error) {
	k := btrfsKey{parent, btrfsRootRef, child}
	err = v.items(v.roots, k, k, func(btrfsKey, []byte) error {
		found = true
		return nil
	})
	return found, err
}

func (v *btrfs) attributes(n uint64) (map[string]string, error) {
	found := map[string]string{}
	return found, v.each(n, btrfsXattr, func(_ btrfsKey, data []byte) error {
		return dirItems(data, func(d dirItem) error {
			found[d.name] = d.data
			return nil
		})
	})
}

func (v *btrfs) content(n uint64) (*io.SectionReader, error) {
	in, err := v.inode(n)
	if err != nil {
		return nil, err
	}
	c := &btrfsContent{btrfs: v, size: int64(le.Uint64(in[16:]))}
	if c.size < 0 {
		return nil, fmt.Errorf("%w: a file of %d bytes", ErrDamaged, c.size)
	}
	err = v.each(n, btrfsExtent, func(k btrfsKey, data []byte) error { return c.add(k.offset, bytes.Clone(data)) })
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(c, 0, c.size), nil
}
