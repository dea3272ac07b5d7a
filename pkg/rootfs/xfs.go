package rootfs

import (
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"time"
)

// What of XFS is read: version 5, which all distributions have made since 2015. Numbers
// are big-endian
// (https://git.kernel.org/pub/scm/fs/xfs/xfs-documentation.git, XFS Algorithms & Data Structures).
const (
	xfsMagic      = "XFSB"
	xfsSuperBytes = 512

	xfsFtype      = 0x1
	xfsSpinodes   = 0x2
	xfsMetaUUID   = 0x4
	xfsBigtime    = 0x8
	xfsRepair     = 0x10
	xfsNrext64    = 0x20
	xfsExchrange  = 0x40
	xfsParent     = 0x80
	xfsMetadir    = 0x100
	xfsReadable   = xfsFtype | xfsSpinodes | xfsMetaUUID | xfsBigtime | xfsNrext64 | xfsExchrange | xfsParent | xfsMetadir
	xfsMaxBlock   = 16 // its logarithm
	xfsMinInode   = 256
	xfsMaxInode   = 2048
	xfsMaxTarget  = 1024
	xfsMaxForkLen = 5 // levels of a tree of extents that no file comes near
)

// What of an inode is read.
const (
	xfsInodeMagic = 0x494e // IN
	xfsInodeCore  = 176    // bytes before its forks

	xfsDev     = 0
	xfsLocal   = 1
	xfsExtents = 2
	xfsBtree   = 3

	xfsRealtime     = 0x1 // of the flags
	xfsInodeBigtime = 0x8 // of the second ones
	xfsInodeNrext64 = 0x10

	xfsBigtimeEpoch = -1 << 31 // seconds at which large times begin
)

// xfs is a file system of that kind.
type xfs struct {
	r         io.ReaderAt
	size      int64
	block     int64 // bytes
	blockLog  uint
	dirBlock  int64 // bytes
	inodeSize int64
	inodeLog  uint // of inodes in a block
	groupLog  uint // of the blocks of a group, rounded up
	perGroup  uint64
	groups    uint64
	first     uint64 // inode of the first directory
}

// openXFS reads the superblock and the log.
func openXFS(part *io.SectionReader) (files, int, error) {
	super := make([]byte, xfsSuperBytes)
	if _, err := part.ReadAt(super, 0); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	v, err := newXFS(part, part.Size(), super)
	if err != nil {
		return nil, 0, err
	}
	replayed, err := v.recover(super)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the log: %w", err)
	}
	return v, replayed, nil
}

func newXFS(r io.ReaderAt, size int64, super []byte) (*xfs, error) {
	if version := be.Uint16(super[100:]) & 0xf; version != 5 {
		return nil, fmt.Errorf("%w: an XFS file system of version %d; version 5 is the one it reads", ErrUnknown, version)
	}
	features := be.Uint32(super[216:])
	if features&xfsRepair != 0 {
		return nil, fmt.Errorf("%w: it says of itself that it needs xfs_repair", ErrDamaged)
	}
	if f := features &^ xfsReadable; f != 0 {
		return nil, fmt.Errorf("%w: an XFS file system with the features %#x", ErrUnknown, f)
	}
	v := &xfs{
		r: r, size: size, block: int64(be.Uint32(super[4:])), blockLog: uint(super[120]), inodeSize: int64(be.Uint16(super[104:])), inodeLog: uint(super[123]),
		groupLog: uint(super[124]), perGroup: uint64(be.Uint32(super[84:])), groups: uint64(be.Uint32(super[88:])), first: be.Uint64(super[56:]),
	}
	dirLog := v.blockLog + uint(super[192])
	switch {
	case v.blockLog < 9 || dirLog > xfsMaxBlock || v.block != 1<<v.blockLog,
		v.inodeSize < xfsMinInode || v.inodeSize > min(xfsMaxInode, v.block) || v.inodeSize<<v.inodeLog != v.block,
		v.perGroup == 0 || v.groupLog != uint(bits.Len64(v.perGroup-1)), v.groups == 0,
		be.Uint64(super[8:]) > uint64(size)>>v.blockLog, features&xfsFtype == 0:
		return nil, fmt.Errorf("%w: its superblock says %d blocks of %d bytes in %d groups of %d, and inodes of %d bytes",
			ErrDamaged, be.Uint64(super[8:]), v.block, v.groups, v.perGroup, v.inodeSize)
	}
	v.dirBlock = 1 << dirLog
	return v, nil
}

// linear is where a block is that is known by its group and its place there.
func (v *xfs) linear(n uint64) (uint64, error) {
	group, at := n>>v.groupLog, n&(1<<v.groupLog-1)
	if group >= v.groups || at >= v.perGroup {
		return 0, fmt.Errorf("%w: there is no block %#x", ErrDamaged, n)
	}
	return group*v.perGroup + at, nil
}

// place is where an inode is, in bytes.
func (v *xfs) place(n uint64) (int64, error) {
	block, err := v.linear(n >> v.inodeLog)
	if err != nil {
		return 0, fmt.Errorf("%w: there is no inode %d", ErrDamaged, n)
	}
	return int64(block)<<v.blockLog + int64(n&(1<<v.inodeLog-1))*v.inodeSize, nil
}

// xfsInode is an inode as it is on the disk.
type xfsInode []byte

func (v *xfs) inode(n uint64) (xfsInode, error) {
	at, err := v.place(n)
	if err != nil {
		return nil, err
	}
	b := make(xfsInode, v.inodeSize)
	if _, err := v.r.ReadAt(b, at); err != nil {
		return nil, fmt.Errorf("%w: reading inode %d: %w", ErrDamaged, n, err)
	}
	if be.Uint16(b) != xfsInodeMagic || b[4] != 3 || be.Uint64(b[152:]) != n || be.Uint16(b[2:]) == 0 {
		return nil, fmt.Errorf("%w: inode %d is none", ErrDamaged, n)
	}
	if fork := int(b[82]) * 8; xfsInodeCore+fork > len(b) {
		return nil, fmt.Errorf("%w: the attributes of inode %d begin at byte %d of it", ErrDamaged, n, xfsInodeCore+fork)
	}
	return b, nil
}

func (in xfsInode) size() int64 { return int64(be.Uint64(in[56:])) }

// fork is one of the two parts that say what an inode has: its content, or its attributes.
type fork struct {
	format  byte
	data    []byte
	extents uint64
}

func (in xfsInode) content() fork {
	f := fork{in[5], in[xfsInodeCore:], uint64(be.Uint32(in[76:]))}
	if in[82] != 0 {
		f.data = f.data[:int(in[82])*8]
	}
	if in.large() {
		f.extents = be.Uint64(in[24:])
	}
	return f
}

// attributes is the fork of the extended attributes; its data is nil if there is none.
func (in xfsInode) attributes() fork {
	if in[82] == 0 {
		return fork{}
	}
	f := fork{in[83], in[xfsInodeCore+int(in[82])*8:], uint64(be.Uint16(in[80:]))}
	if in.large() {
		f.extents = uint64(be.Uint32(in[76:]))
	}
	return f
}

func (in xfsInode) large() bool { return be.Uint64(in[120:])&xfsInodeNrext64 != 0 }

func (in xfsInode) time(at int) time.Time {
	if be.Uint64(in[120:])&xfsInodeBigtime != 0 {
		t := be.Uint64(in[at:])
		return time.Unix(int64(t/1e9)+xfsBigtimeEpoch, int64(t%1e9)).UTC()
	}
	return time.Unix(int64(int32(be.Uint32(in[at:]))), int64(be.Uint32(in[at+4:]))).UTC()
}

func (v *xfs) root() uint64 { return v.first }

func (v *xfs) stat(at string, n uint64) (Entry, error) {
	in, err := v.inode(n)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{
		Path: at, Mode: unixMode(be.Uint16(in[2:])), Inode: n, Modified: in.time(40), Changed: in.time(48), HasAttributes: in[82] != 0,
		UID: be.Uint32(in[8:]), GID: be.Uint32(in[12:]),
	}
	switch {
	case e.Mode.IsRegular():
		e.Size = in.size()
	case e.Mode&fs.ModeSymlink != 0:
		e.Target, err = v.target(in)
	case e.Mode&fs.ModeDevice != 0:
		d := be.Uint32(in[xfsInodeCore:])
		e.Major, e.Minor = d>>18&0x3fff, d&0x3ffff
	}
	return e, err
}

// target is where a symbolic link leads: in the inode, or in blocks that say whose they are.
func (v *xfs) target(in xfsInode) (string, error) {
	const header = 56
	n, f := in.size(), in.content()
	if n <= 0 || n > xfsMaxTarget {
		return "", fmt.Errorf("%w: a symbolic link of %d bytes", ErrDamaged, n)
	}
	if f.format == xfsLocal {
		if n > int64(len(f.data)) {
			return "", fmt.Errorf("%w: a symbolic link of %d bytes in its inode", ErrDamaged, n)
		}
		return string(f.data[:n]), nil
	}
	list, err := v.extents(f)
	if err != nil {
		return "", err
	}
	var target []byte
	for _, x := range list {
		b := make([]byte, min(int64(x.count)<<v.blockLog, n-int64(len(target))+header))
		if _, err := v.r.ReadAt(b, int64(x.at)<<v.blockLog); err != nil {
			return "", fmt.Errorf("%w: reading a symbolic link: %w", ErrDamaged, err)
		}
		if len(b) <= header || string(b[:4]) != "XSLM" {
			return "", fmt.Errorf("%w: block %d has no symbolic link", ErrDamaged, x.at)
		}
		if target = append(target, b[header:]...); int64(len(target)) == n {
			return string(target), nil
		}
	}
	return "", fmt.Errorf("%w: a symbolic link of %d bytes has %d", ErrDamaged, n, len(target))
}

// file shows the content of an inode, whatever it is.
func (v *xfs) file(in xfsInode) (*content, error) {
	if be.Uint16(in[90:])&xfsRealtime != 0 {
		return nil, fmt.Errorf("%w: it is on a realtime device", ErrUnknown)
	}
	if in.size() < 0 {
		return nil, fmt.Errorf("%w: a file of %d bytes", ErrDamaged, in.size())
	}
	x, err := v.extents(in.content())
	return &content{v.r, v.block, in.size(), x}, err
}

func (v *xfs) content(n uint64) (*io.SectionReader, error) {
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

const xfsExtentBytes = 16

// extents lists those of a fork.
func (v *xfs) extents(f fork) ([]extent, error) {
	l := &xfsExtentList{xfs: v}
	switch f.format {
	case xfsExtents:
		if f.extents > uint64(len(f.data)/xfsExtentBytes) {
			return nil, fmt.Errorf("%w: an inode with %d extents", ErrDamaged, f.extents)
		}
		err := l.leaf(f.data[:f.extents*xfsExtentBytes])
		return l.list, err
	case xfsBtree:
		// Keys and pointers are of 8 bytes each, after 4 of level and number.
		pointers, err := btreePointers(f.data, 4, int(be.Uint16(f.data[2:])))
		if err != nil {
			return nil, err
		}
		err = l.tree(pointers, int(be.Uint16(f.data)))
		return l.list, err
	}
	return nil, fmt.Errorf("%w: a fork of the format %d", ErrDamaged, f.format)
}

// btreePointers are the pointers of a node, which follow the room for all its keys.
func btreePointers(node []byte, header, count int) ([]byte, error) {
	room := (len(node) - header) / 16
	if count > room || count == 0 {
		return nil, fmt.Errorf("%w: a node of extents with %d entries", ErrDamaged, count)
	}
	return node[header+room*8:][:count*8], nil
}

type xfsExtentList struct {
	*xfs
	list []extent
}

// leaf adds records (xfs_bmbt_rec): a bit for one that was never written, 54 bits of the
// place in the file, 52 of where it is, and 21 of the length.
func (l *xfsExtentList) leaf(records []byte) error {
	for ; len(records) >= xfsExtentBytes; records = records[xfsExtentBytes:] {
		high, low := be.Uint64(records), be.Uint64(records[8:])
		x := extent{first: high & (1<<63 - 1) >> 9, count: low & (1<<21 - 1)}
		at, err := l.linear(high&(1<<9-1)<<43 | low>>21)
		if err != nil {
			return err
		}
		if n := len(l.list); n >= maxExtents || x.count == 0 || (n > 0 && x.first < l.list[n-1].first+l.list[n-1].count) || at+x.count > uint64(l.size)>>l.blockLog {
			return fmt.Errorf("%w: an extent of %d blocks at %d", ErrDamaged, x.count, x.first)
		}
		if high>>63 == 0 {
			x.at = at
		}
		l.list = append(l.list, x)
	}
	return nil
}

// tree adds what is below pointers of a level.
func (l *xfsExtentList) tree(pointers []byte, level int) error {
	const header = 72
	if level < 1 || level > xfsMaxForkLen {
		return fmt.Errorf("%w: a tree of extents of %d levels", ErrDamaged, level)
	}
	b := make([]byte, l.block)
	for ; len(pointers) > 0; pointers = pointers[8:] {
		at, err := l.linear(be.Uint64(pointers))
		if err != nil {
			return err
		}
		if _, err := l.r.ReadAt(b, int64(at)<<l.blockLog); err != nil {
			return fmt.Errorf("%w: reading extents: %w", ErrDamaged, err)
		}
		count := int(be.Uint16(b[6:]))
		if string(b[:4]) != "BMA3" || int(be.Uint16(b[4:])) != level-1 {
			return fmt.Errorf("%w: block %d is no node of extents of level %d", ErrDamaged, at, level-1)
		}
		if level > 1 {
			below, err := btreePointers(b, header, count)
			if err == nil {
				err = l.tree(append([]byte(nil), below...), level-1)
			}
			if err != nil {
				return err
			}
			continue
		}
		if header+count*xfsExtentBytes > len(b) {
			return fmt.Errorf("%w: %d extents in a block", ErrDamaged, count)
		}
		if err := l.leaf(b[header:][:count*xfsExtentBytes]); err != nil {
			return err
		}
	}
	return nil
}
