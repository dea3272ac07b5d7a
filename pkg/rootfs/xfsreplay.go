package rootfs

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/bits"
)

var le = binary.LittleEndian

// xfsReplay writes the items of transactions over the file system: buffers, of which the
// parts that changed are logged, and inodes. Other items are promises of later changes, which
// matter to who writes.
type xfsReplay struct {
	*xfs
	overlay   *overlay
	cancelled map[cancelKey]int
}

// cancelKey is a buffer that became free: what was logged of it before is not replayed, because
// a file's content may be there since.
type cancelKey struct {
	sector int64
	length uint16
}

// item is one of a transaction's: a description, and what belongs to it.
type item struct {
	kind  uint16
	head  []byte
	parts [][]byte
}

// items splits what a transaction has. The first part says what the transaction is.
func items(parts [][]byte, each func(item) error) error {
	const header = 16
	if len(parts) == 0 {
		return nil
	}
	if len(parts[0]) < header || le.Uint32(parts[0]) != 0x5452414e {
		return fmt.Errorf("%w: a transaction does not begin as one", ErrDamaged)
	}
	for parts = parts[1:]; len(parts) > 0; {
		head := parts[0]
		if len(head) < 4 {
			return fmt.Errorf("%w: an item of %d bytes", ErrDamaged, len(head))
		}
		count := int(le.Uint16(head[2:]))
		if count < 1 || count > len(parts) {
			return fmt.Errorf("%w: an item has %d parts", ErrDamaged, count)
		}
		if err := each(item{le.Uint16(head), head, parts[1:count]}); err != nil {
			return err
		}
		parts = parts[count:]
	}
	return nil
}

// buffer is what the description of one says: its flags and its place.
func (i *item) buffer() (flags uint16, key cancelKey, bitmap []byte, err error) {
	const header = 20
	if len(i.head) < header || len(i.head) < header+4*int(le.Uint32(i.head[16:])) {
		return 0, key, nil, fmt.Errorf("%w: a buffer's description of %d bytes", ErrDamaged, len(i.head))
	}
	return le.Uint16(i.head[4:]), cancelKey{int64(le.Uint64(i.head[8:])), le.Uint16(i.head[6:])}, i.head[header:][:4*le.Uint32(i.head[16:])], nil
}

// cancel is the first pass: it counts what became free.
func (r *xfsReplay) cancel(_ uint64, parts [][]byte) error {
	return items(parts, func(i item) error {
		if i.kind != itemBuffer {
			return nil
		}
		flags, key, _, err := i.buffer()
		if err == nil && flags&bufferCancel != 0 {
			r.cancelled[key]++
		}
		return err
	})
}

// apply is the second pass.
func (r *xfsReplay) apply(lsn uint64, parts [][]byte) error {
	return items(parts, func(i item) error {
		switch i.kind {
		case itemBuffer:
			return r.buffer(lsn, &i)
		case itemInode:
			return r.inode(lsn, &i)
		case itemCreate:
			return r.create(&i)
		}
		return nil
	})
}

func (r *xfsReplay) buffer(lsn uint64, i *item) error {
	const chunk = 128
	flags, key, bitmap, err := i.buffer()
	if err != nil {
		return err
	}
	if flags&bufferCancel != 0 {
		if r.cancelled[key]--; r.cancelled[key] <= 0 {
			delete(r.cancelled, key)
		}
		return nil
	}
	// Of buffers of inodes only the lists of files without a name are logged.
	if flags&(bufferInodes|bufferQuota) != 0 || r.cancelled[key] > 0 {
		return nil
	}
	if key.sector < 0 || key.sector > r.size/logSector-int64(key.length) {
		return fmt.Errorf("%w: a buffer of %d sectors at %d", ErrDamaged, key.length, key.sector)
	}
	if newer, err := r.newer(lsn, key); err != nil || newer {
		return err
	}
	parts := i.parts
	for bit := 0; bit < len(bitmap)*8; {
		set := func(n int) bool { return n < len(bitmap)*8 && le.Uint32(bitmap[n/32*4:])>>(n%32)&1 != 0 }
		if !set(bit) {
			bit++
			continue
		}
		begin := bit
		for set(bit) {
			bit++
		}
		if len(parts) == 0 || len(parts[0]) < (bit-begin)*chunk || bit*chunk > int(key.length)*logSector {
			return fmt.Errorf("%w: a buffer has less than its description says", ErrDamaged)
		}
		// A run may be logged in more than one part, if it was not one in memory.
		if err := r.overlay.write(parts[0][:(bit-begin)*chunk], key.sector*logSector+int64(begin)*chunk); err != nil {
			return err
		}
		parts = parts[1:]
	}
	return nil
}

// newer tells whether a block on the disk is of after a transaction, by what it says itself.
func (r *xfsReplay) newer(lsn uint64, key cancelKey) (bool, error) {
	b := make([]byte, 64)
	if key.length == 0 {
		return false, nil
	}
	if _, err := r.overlay.ReadAt(b, key.sector*logSector); err != nil {
		return false, fmt.Errorf("%w: reading what is replayed over: %w", ErrDamaged, err)
	}
	at := 0
	switch string(b[:4]) {
	case "XDB3", "XDD3":
		at = 16
	case "BMA3":
		at = 32
	case "XSLM":
		at = 48
	default:
		if magic := be.Uint16(b[8:]); magic == 0x3bee || magic == 0x3ebe {
			at = 24
		}
	}
	return at != 0 && be.Uint64(b[at:]) != ^uint64(0) && be.Uint64(b[at:]) >= lsn, nil
}

// Which parts of an inode are logged.
const (
	loggedDev      = 0x10
	loggedContent  = 0x2 | 0x4 | 0x8
	loggedBroot    = 0x8
	loggedAttrs    = 0x40 | 0x80 | 0x100
	loggedAttrRoot = 0x100
)

func (r *xfsReplay) inode(lsn uint64, i *item) error {
	const header, number, sector = 56, 16, 40
	if len(i.head) < header || len(i.parts) < 1 || len(i.parts[0]) < xfsInodeCore {
		return fmt.Errorf("%w: the description of an inode is cut off", ErrDamaged)
	}
	fields, n := le.Uint32(i.head[4:]), le.Uint64(i.head[number:])
	at, err := r.place(n)
	if err != nil {
		return err
	}
	block := int64(le.Uint64(i.head[sector:]))
	if r.cancelled[cancelKey{block, uint16(le.Uint32(i.head[sector+8:]))}] > 0 {
		return nil
	}
	old := make(xfsInode, r.inodeSize)
	if _, err := r.overlay.ReadAt(old, at); err != nil {
		return fmt.Errorf("%w: reading inode %d: %w", ErrDamaged, n, err)
	}
	if be.Uint16(old) == xfsInodeMagic && be.Uint64(old[112:]) >= lsn && be.Uint64(old[112:]) != ^uint64(0) {
		return nil // it is of after that
	}
	diskOrder(old, i.parts[0])
	if xfsInodeCore+int(old[82])*8 > len(old) {
		return fmt.Errorf("%w: the attributes of inode %d begin beyond it", ErrDamaged, n)
	}
	be.PutUint64(old[112:], lsn)
	parts := i.parts[1:]
	for _, f := range []struct {
		logged, root uint32
		into         []byte
	}{{loggedContent, loggedBroot, old.content().data}, {loggedAttrs, loggedAttrRoot, old.attributes().data}} {
		if fields&f.logged == 0 {
			continue
		}
		if len(parts) == 0 {
			return fmt.Errorf("%w: inode %d has less than its description says", ErrDamaged, n)
		}
		part := parts[0]
		parts = parts[1:]
		if fields&f.root != 0 {
			if part, err = diskRoot(part, len(f.into)); err != nil {
				return err
			}
		}
		copy(f.into, part)
	}
	if mode := unixMode(be.Uint16(old[2:])); fields&loggedDev != 0 && mode&fs.ModeDevice != 0 {
		be.PutUint32(old[xfsInodeCore:], le.Uint32(i.head[number+8:]))
	}
	return r.overlay.write(old, at)
}

// diskOrder puts the core of an inode, as a machine has it in memory, as it is on disks.
func diskOrder(to, from []byte) {
	copy(to[:xfsInodeCore], from)
	for _, f := range []struct{ at, bytes int }{
		{0, 2}, {2, 2}, {6, 2}, {8, 4}, {12, 4}, {16, 4}, {20, 2}, {22, 2}, {24, 8}, {32, 8}, {40, 8}, {48, 8}, {56, 8}, {64, 8}, {72, 4}, {76, 4}, {80, 2}, {84, 4},
		{88, 2}, {90, 2}, {92, 4}, {96, 4}, {104, 8}, {112, 8}, {120, 8}, {128, 4}, {144, 8}, {152, 8},
	} {
		switch f.bytes {
		case 2:
			be.PutUint16(to[f.at:], le.Uint16(from[f.at:]))
		case 4:
			be.PutUint32(to[f.at:], le.Uint32(from[f.at:]))
		case 8:
			be.PutUint64(to[f.at:], le.Uint64(from[f.at:]))
		}
	}
	// Times are two numbers of four bytes where they are not one of eight.
	if be.Uint64(to[120:])&xfsInodeBigtime == 0 {
		for _, at := range []int{32, 40, 48, 144} {
			be.PutUint64(to[at:], bits.RotateLeft64(be.Uint64(to[at:]), 32))
		}
	}
}

// diskRoot is the root of a tree of extents as it is in inodes on disks: in memory it has
// the header of a block, and its pointers follow the keys there is room for.
func diskRoot(root []byte, room int) ([]byte, error) {
	const header = 72
	if len(root) < header {
		return nil, fmt.Errorf("%w: the root of a tree of extents has %d bytes", ErrDamaged, len(root))
	}
	count := int(be.Uint16(root[6:]))
	pointers, err := btreePointers(root, header, count)
	most := (room - 4) / 16
	if err != nil || count > most {
		return nil, fmt.Errorf("%w: the root of a tree of extents has %d entries", ErrDamaged, count)
	}
	out := make([]byte, 4+most*16)
	copy(out, root[4:8]) // level and number
	copy(out[4:], root[header:][:count*8])
	copy(out[4+most*8:], pointers)
	return out, nil
}

// create makes inodes that have never been on the disk: all of them are free at first.
func (r *xfsReplay) create(i *item) error {
	const header = 28
	if len(i.head) < header {
		return fmt.Errorf("%w: the description of new inodes has %d bytes", ErrDamaged, len(i.head))
	}
	group, at, count, size := uint64(be.Uint32(i.head[4:])), uint64(be.Uint32(i.head[8:])), int64(be.Uint32(i.head[12:])), int64(be.Uint32(i.head[16:]))
	block, err := r.linear(group<<r.groupLog | at)
	if err != nil {
		return err
	}
	if size != r.inodeSize || count > 1<<16 || int64(block)<<r.blockLog+count*size > r.size {
		return fmt.Errorf("%w: %d new inodes of %d bytes", ErrDamaged, count, size)
	}
	for sector := range r.cancelled {
		if first := int64(block) << r.blockLog / logSector; sector.sector >= first && sector.sector < first+count*size/logSector {
			return nil // they were given up
		}
	}
	return r.overlay.write(make([]byte, count*size), int64(block)<<r.blockLog)
}
