package rootfs

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// The features of a file system that change how it is read.
const (
	incompatFiletype = 0x2
	incompatExtents  = 0x40
	incompat64       = 0x80
	incompatMMP      = 0x100
	incompatFlex     = 0x200
	incompatEAInode  = 0x400
	incompatSeed     = 0x2000
	incompatLargeDir = 0x4000
	incompatEncrypt  = 0x10000
	incompatCasefold = 0x20000

	readable = incompatFiletype | needsRecovery | incompatExtents | incompat64 | incompatMMP | incompatFlex |
		incompatEAInode | incompatSeed | incompatLargeDir | incompatEncrypt | incompatCasefold
)

// What of inodes is read (https://docs.kernel.org/filesystems/ext4/inodes.html).
const (
	rootInode      = 2
	smallestInode  = 128
	inodeEncrypted = 0x800
	inodeExtents   = 0x80000
	inodeInline    = 0x10000000
	maxDirBytes    = 256 << 20
	maxExtents     = 4 << 20 // of a file
	unwritten      = 1 << 15 // extents longer than this have nothing in them yet
)

// ext4 is a file system of that kind.
type ext4 struct {
	r         io.ReaderAt
	size      int64
	block     int64 // bytes
	inodeSize int64
	perGroup  uint32 // inodes
	inodes    uint32
	tables    []uint64 // of inodes, by group: their first blocks
}

// openExt4 reads the superblock and the journal.
func openExt4(part *io.SectionReader) (files, int, error) {
	super := make([]byte, superBytes)
	if _, err := part.ReadAt(super, superOffset); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	r, replayed, err := recovered(part, super)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the journal: %w", err)
	}
	if _, err := r.ReadAt(super, superOffset); err != nil { // the journal may have a newer one
		return nil, 0, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	v, err := openExt4Volume(r, part.Size(), super)
	return v, replayed, err
}

func openExt4Volume(r io.ReaderAt, size int64, super []byte) (*ext4, error) {
	if f := le32(super[0x60:]) &^ readable; f != 0 {
		return nil, fmt.Errorf("%w: an ext4 file system with the features %#x", ErrUnknown, f)
	}
	bits := le32(super[0x18:]) + 10
	if bits > maxBlockBits {
		return nil, fmt.Errorf("%w: blocks of 2^%d bytes", ErrDamaged, bits)
	}
	v := &ext4{r: r, size: size, block: 1 << bits, inodeSize: smallestInode, perGroup: le32(super[0x28:]), inodes: le32(super)}
	if le32(super[0x4c:]) > 0 {
		v.inodeSize = int64(le16(super[0x58:]))
	}
	blocks, descBytes := uint64(le32(super[4:])), int64(32)
	if le32(super[0x60:])&incompat64 != 0 {
		blocks |= uint64(le32(super[0x150:])) << 32
		descBytes = int64(le16(super[0xfe:]))
	}
	first, blocksPerGroup := uint64(le32(super[0x14:])), uint64(le32(super[0x20:]))
	switch {
	case v.inodeSize < smallestInode || v.inodeSize > v.block || v.perGroup == 0 || blocksPerGroup == 0 || descBytes < 32 || descBytes > v.block,
		blocks > uint64(size)/uint64(v.block), first >= blocks:
		return nil, fmt.Errorf("%w: its superblock says %d blocks of %d bytes, and %d inodes of %d in a group", ErrDamaged, blocks, v.block, v.perGroup, v.inodeSize)
	}
	groups := (blocks - first + blocksPerGroup - 1) / blocksPerGroup
	table := make([]byte, int64(groups)*descBytes)
	if _, err := r.ReadAt(table, int64(first+1)*v.block); err != nil {
		return nil, fmt.Errorf("%w: reading the groups' descriptors: %w", ErrDamaged, err)
	}
	for i := range groups {
		d := table[int64(i)*descBytes:]
		at := uint64(le32(d[8:]))
		if descBytes >= 64 {
			at |= uint64(le32(d[0x28:])) << 32
		}
		v.tables = append(v.tables, at)
	}
	return v, nil
}

// inode is an inode as it is on the disk.
type inode []byte

func (v *ext4) inode(number uint64) (inode, error) {
	n := uint32(number)
	if n == 0 || number > uint64(v.inodes) || int((n-1)/v.perGroup) >= len(v.tables) {
		return nil, fmt.Errorf("%w: there is no inode %d", ErrDamaged, n)
	}
	at := int64(v.tables[(n-1)/v.perGroup])*v.block + int64((n-1)%v.perGroup)*v.inodeSize
	b := make(inode, v.inodeSize)
	if _, err := v.r.ReadAt(b, at); err != nil {
		return nil, fmt.Errorf("%w: reading inode %d: %w", ErrDamaged, n, err)
	}
	return b, nil
}

func (in inode) mode() fs.FileMode { return unixMode(le16(in)) }
func (in inode) size() int64       { return int64(le32(in[4:])) | int64(le32(in[0x6c:]))<<32 }
func (in inode) flags() uint32     { return le32(in[0x20:]) }
func (in inode) root() []byte      { return in[0x28 : 0x28+60] }

// time reads a time, of which a larger inode has the nanoseconds and more bits.
func (in inode) time(at, extra int) time.Time {
	seconds, nano := int64(int32(le32(in[at:]))), int64(0)
	if len(in) > smallestInode && extra+4 <= smallestInode+int(le16(in[smallestInode:])) && extra+4 <= len(in) {
		e := le32(in[extra:])
		seconds += int64(e&3) << 32
		nano = int64(e >> 2)
	}
	return time.Unix(seconds, nano).UTC()
}

func (v *ext4) root() uint64 { return rootInode }

func (v *ext4) stat(at string, n uint64) (Entry, error) {
	in, err := v.inode(n)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{
		Path: at, Mode: in.mode(), Inode: n, Modified: in.time(0x10, 0x88), Changed: in.time(0xc, 0x84),
		HasAttributes: in.attributeBlock() != 0 || in.attributes() != nil,
		UID:           uint32(le16(in[2:])) | uint32(le16(in[0x78:]))<<16, GID: uint32(le16(in[0x18:])) | uint32(le16(in[0x7a:]))<<16,
	}
	switch {
	case e.Mode.IsRegular():
		e.Size = in.size()
	case e.Mode&fs.ModeSymlink != 0:
		target, err := v.target(in)
		if err != nil {
			return e, err
		}
		e.Target = target
	case e.Mode&fs.ModeDevice != 0:
		if old := le32(in.root()); old != 0 {
			e.Major, e.Minor = old>>8&0xff, old&0xff
		} else {
			d := le32(in.root()[4:])
			e.Major, e.Minor = d>>8&0xfff, d&0xff|d>>12&0xfff00
		}
	}
	return e, nil
}

func (v *ext4) target(in inode) (string, error) {
	n := in.size()
	switch {
	case n < 0 || n > 4096:
		return "", fmt.Errorf("%w: a symbolic link of %d bytes", ErrDamaged, n)
	case n < int64(len(in.root())) && in.flags()&inodeExtents == 0:
		return string(in.root()[:n]), nil
	}
	f, err := v.file(in)
	if err != nil {
		return "", err
	}
	b := make([]byte, n)
	_, err = f.ReadAt(b, 0)
	return string(b), err
}

// extents lists those of an inode.
func (v *ext4) extents(in inode) ([]extent, error) {
	switch f := in.flags(); {
	case f&inodeEncrypted != 0:
		return nil, fmt.Errorf("%w: it is encrypted", ErrUnknown)
	case f&inodeInline != 0:
		return nil, fmt.Errorf("%w: its content is in its inode", ErrUnknown)
	case f&inodeExtents == 0:
		if in.size() == 0 {
			return nil, nil
		}
		return nil, fmt.Errorf("%w: it has a map of blocks and no extents", ErrUnknown)
	}
	var out []extent
	err := walkExtents(v.r, v.block, in.root(), 0, func(e extent) error {
		if n := len(out); n >= maxExtents || (n > 0 && e.first < out[n-1].first+out[n-1].count) || e.at+e.count > uint64(v.size/v.block) {
			return fmt.Errorf("%w: an extent of %d blocks at %d", ErrDamaged, e.count, e.first)
		}
		out = append(out, e)
		return nil
	})
	return out, err
}

const maxExtentDepth = 5

// walkExtents calls fn for the extents of a node and below it, in order
// (https://docs.kernel.org/filesystems/ext4/ifork.html).
func walkExtents(r io.ReaderAt, block int64, node []byte, depth int, fn func(extent) error) error {
	entries, level := int(le16(node[2:])), int(le16(node[6:]))
	if le16(node) != extentMagic || 12*(entries+1) > len(node) || level > maxExtentDepth-depth {
		return fmt.Errorf("%w: a node of extents is none", ErrDamaged)
	}
	for i := range entries {
		e := node[12*(i+1):]
		if level > 0 {
			child := make([]byte, block)
			if _, err := r.ReadAt(child, (int64(le32(e[4:]))|int64(le16(e[8:]))<<32)*block); err != nil {
				return fmt.Errorf("%w: reading extents: %w", ErrDamaged, err)
			}
			if int(le16(child[6:])) != level-1 {
				return fmt.Errorf("%w: a node of extents is of level %d below %d", ErrDamaged, le16(child[6:]), level)
			}
			if err := walkExtents(r, block, child, depth+1, fn); err != nil {
				return err
			}
			continue
		}
		x := extent{first: uint64(le32(e)), count: uint64(le16(e[4:])), at: uint64(le32(e[8:])) | uint64(le16(e[6:]))<<32}
		if x.count > unwritten {
			x.count, x.at = x.count-unwritten, 0
		}
		if err := fn(x); err != nil {
			return err
		}
	}
	return nil
}

// file shows the content of an inode, whatever it is.
func (v *ext4) file(in inode) (*content, error) {
	x, err := v.extents(in)
	return &content{v.r, v.block, in.size(), x}, err
}

func (v *ext4) content(n uint64) (*io.SectionReader, error) {
	in, err := v.inode(n)
	if err != nil {
		return nil, err
	}
	c, err := v.file(in)
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(c, 0, c.size), nil
}

// names lists a directory, sorted. One with an index reads as any other: its index is
// in entries that look empty.
func (v *ext4) names(number uint64) ([]name, error) {
	in, err := v.inode(number)
	if err != nil {
		return nil, err
	}
	f, err := v.file(in)
	if err != nil {
		return nil, err
	}
	if f.size > maxDirBytes || f.size%v.block != 0 {
		return nil, fmt.Errorf("%w: a directory of %d bytes", ErrDamaged, f.size)
	}
	var out []name
	b := make([]byte, v.block)
	for off := int64(0); off < f.size; off += v.block {
		if _, err := f.ReadAt(b, off); err != nil {
			return nil, err
		}
		for at := 0; at+8 <= len(b); {
			n, length, chars := le32(b[at:]), int(le16(b[at+4:])), int(b[at+6])
			if length == 0 || length == 1<<16-1 {
				length = 1 << 16
			}
			if length < 8 || at+length > len(b) || 8+chars > length {
				return nil, fmt.Errorf("%w: an entry of a directory with %d bytes", ErrDamaged, length)
			}
			if text := string(b[at+8 : at+8+chars]); n != 0 && text != "." && text != ".." {
				if err := checkName(text); err != nil {
					return nil, err
				}
				out = append(out, name{text, uint64(n)})
			}
			at += length
		}
	}
	return sorted(out), nil
}

func le16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }
func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
