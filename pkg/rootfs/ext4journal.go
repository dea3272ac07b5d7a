package rootfs

import (
	"encoding/binary"
	"fmt"
	"io"
)

// What of ext4's superblock is read here
// (https://docs.kernel.org/filesystems/ext4/super.html).
const (
	superOffset   = 1024
	superBytes    = 1024
	ext4Magic     = 0xef53
	needsRecovery = 0x4 // of the incompatible features
	extentMagic   = 0xf30a
	maxBlockBits  = 16
)

// The journal (https://docs.kernel.org/filesystems/ext4/journal.html). Its numbers
// are big-endian.
const (
	journalMagic   = 0xc03b3998
	descriptor     = 1
	commit         = 2
	revoke         = 5
	featureRevoke  = 0x1
	feature64      = 0x2
	featureAsync   = 0x4
	featureCsum2   = 0x8
	featureCsum3   = 0x10
	knownFeatures  = featureRevoke | feature64 | featureAsync | featureCsum2 | featureCsum3
	tagEscaped     = 0x1
	tagSameUUID    = 0x2
	tagDeleted     = 0x4
	tagLast        = 0x8
	journalHeader  = 12
	maxJournalSize = 4 << 30
)

var be = binary.BigEndian

// recovered is the file system as a mount would make it that replays the journal: of
// one that was in use, much is nowhere else. It returns how many blocks that are.
func recovered(part *io.SectionReader, super []byte) (io.ReaderAt, int, error) {
	if le32(super[0x60:])&needsRecovery == 0 {
		return part, 0, nil
	}
	bits := le32(super[0x18:]) + 10
	if bits > maxBlockBits {
		return nil, 0, fmt.Errorf("%w: blocks of 2^%d bytes", ErrDamaged, bits)
	}
	j := &journal{part: part, block: int64(1) << bits, copies: map[uint64]copied{}}
	if err := j.find(super); err != nil {
		return nil, 0, err
	}
	if err := j.scan(); err != nil {
		return nil, 0, err
	}
	return j, len(j.copies), nil
}

// journal shows the file system with the blocks of the journal's finished
// transactions in their places.
type journal struct {
	part   *io.SectionReader
	block  int64    // bytes
	blocks []uint64 // of the journal itself, where they are in the file system
	copies map[uint64]copied
}

// copied is the last copy of a block.
type copied struct {
	at      uint64 // block of the file system
	escaped bool   // it begins with the journal's magic number, which was taken out
}

// find lists the journal's blocks, by the copy of its inode in the superblock.
func (j *journal) find(super []byte) error {
	if super[0xfd] != 1 {
		return fmt.Errorf("%w: the superblock does not say where it is", ErrDamaged)
	}
	root := super[0x10c : 0x10c+60]
	size := int64(le32(super[0x10c+64:])) | int64(le32(super[0x10c+60:]))<<32
	if size <= 0 || size > min(maxJournalSize, j.part.Size()) {
		return fmt.Errorf("%w: it has %d bytes", ErrDamaged, size)
	}
	j.blocks = make([]uint64, size/j.block)
	return walkExtents(j.part, j.block, root, 0, func(e extent) error {
		if e.first+e.count > uint64(len(j.blocks)) || e.at == 0 {
			return fmt.Errorf("%w: an extent of %d blocks at %d", ErrDamaged, e.count, e.first)
		}
		for k := range e.count {
			j.blocks[e.first+k] = e.at + k
		}
		return nil
	})
}

// read reads a block of the journal.
func (j *journal) read(n uint32, into []byte) error {
	if int(n) >= len(j.blocks) || j.blocks[n] == 0 {
		return fmt.Errorf("%w: it has no block %d", ErrDamaged, n)
	}
	if _, err := j.part.ReadAt(into, int64(j.blocks[n])*j.block); err != nil {
		return fmt.Errorf("%w: reading its block %d: %w", ErrDamaged, n, err)
	}
	return nil
}

// scan collects the blocks of the transactions that were finished.
func (j *journal) scan() error {
	b := make([]byte, j.block)
	if err := j.read(0, b); err != nil {
		return err
	}
	kind, features := be.Uint32(b[4:]), be.Uint32(b[0x28:])
	switch {
	case be.Uint32(b) != journalMagic || (kind != 3 && kind != 4):
		return fmt.Errorf("%w: it does not begin as one", ErrDamaged)
	case kind == 3:
		features = 0
	case features&^knownFeatures != 0:
		return fmt.Errorf("%w: its features %#x are not known", ErrUnknown, features)
	}
	length, first, sequence, at := be.Uint32(b[0x10:]), be.Uint32(b[0x14:]), be.Uint32(b[0x18:]), be.Uint32(b[0x1c:])
	if at == 0 {
		return nil // everything is in its place
	}
	if int64(be.Uint32(b[0xc:])) != j.block || int(length) > len(j.blocks) || first >= length || at >= length {
		return fmt.Errorf("%w: its blocks are from %d to %d, it begins at %d", ErrDamaged, first, length, at)
	}
	s := &scanner{journal: j, features: features, first: first, length: length, at: at, revoked: map[uint64]uint32{}}
	for range length { // it cannot have more transactions than blocks
		done, err := s.transaction(sequence)
		if err != nil {
			return err
		}
		if !done {
			break
		}
		sequence++
	}
	for _, t := range s.found {
		// A block that was revoked later was freed: what is there now is somebody else's.
		if until, ok := s.revoked[t.block]; !ok || int32(t.sequence-until) > 0 {
			j.copies[t.block] = t.copied
		}
	}
	return nil
}

type scanner struct {
	*journal
	features      uint32
	first, length uint32
	at            uint32
	revoked       map[uint64]uint32 // block -> the last transaction that revoked it
	found         []logged
}

// logged is a block in a transaction.
type logged struct {
	block    uint64
	sequence uint32
	copied
}

func (s *scanner) next() {
	if s.at++; s.at >= s.length {
		s.at = s.first
	}
}

// transaction reads one; not done if it has no end.
func (s *scanner) transaction(sequence uint32) (done bool, err error) {
	var found []logged
	revoked := map[uint64]bool{}
	b := make([]byte, s.block)
	for range s.length {
		if err := s.read(s.at, b); err != nil {
			return false, err
		}
		if be.Uint32(b) != journalMagic || be.Uint32(b[8:]) != sequence {
			return false, nil
		}
		s.next()
		switch be.Uint32(b[4:]) {
		case descriptor:
			if found, err = s.tags(b, sequence, found); err != nil {
				return false, err
			}
		case revoke:
			if err := s.revocations(b, revoked); err != nil {
				return false, err
			}
		case commit:
			s.found = append(s.found, found...)
			for block := range revoked {
				s.revoked[block] = sequence
			}
			return true, nil
		default:
			return false, nil
		}
	}
	return false, nil
}

// tags reads which blocks follow.
func (s *scanner) tags(b []byte, sequence uint32, found []logged) ([]logged, error) {
	size := 8
	if s.features&feature64 != 0 {
		size += 4
	}
	if s.features&featureCsum2 != 0 {
		size += 2
	}
	if s.features&featureCsum3 != 0 {
		size = 16
	}
	end := len(b)
	if s.features&(featureCsum2|featureCsum3) != 0 {
		end -= 4
	}
	for p := journalHeader; p+size <= end; {
		block, flags := uint64(be.Uint32(b[p:])), uint32(be.Uint16(b[p+6:]))
		if s.features&featureCsum3 != 0 {
			flags = be.Uint32(b[p+4:])
		}
		if s.features&feature64 != 0 {
			block |= uint64(be.Uint32(b[p+8:])) << 32
		}
		p += size
		if flags&tagSameUUID == 0 {
			p += 16
		}
		if int(s.at) >= len(s.blocks) {
			return nil, fmt.Errorf("%w: it has no block %d", ErrDamaged, s.at)
		}
		if flags&tagDeleted == 0 {
			found = append(found, logged{block, sequence, copied{s.blocks[s.at], flags&tagEscaped != 0}})
		}
		s.next()
		if flags&tagLast != 0 {
			return found, nil
		}
	}
	return found, nil
}

func (s *scanner) revocations(b []byte, into map[uint64]bool) error {
	size := 4
	if s.features&feature64 != 0 {
		size = 8
	}
	end := int(be.Uint32(b[journalHeader:]))
	if end > len(b) {
		return fmt.Errorf("%w: %d bytes of revoked blocks", ErrDamaged, end)
	}
	for p := journalHeader + 4; p+size <= end; p += size {
		block := uint64(be.Uint32(b[p:]))
		if size == 8 {
			block = be.Uint64(b[p:])
		}
		into[block] = true
	}
	return nil
}

// ReadAt is of io.ReaderAt.
func (j *journal) ReadAt(p []byte, off int64) (int, error) {
	n, err := j.part.ReadAt(p, off)
	if n == 0 {
		return n, err
	}
	for block := off / j.block; block <= (off+int64(n)-1)/j.block; block++ {
		c, ok := j.copies[uint64(block)]
		if !ok {
			continue
		}
		b := make([]byte, j.block)
		if _, err := j.part.ReadAt(b, int64(c.at)*j.block); err != nil {
			return 0, fmt.Errorf("reading block %d from the journal: %w", block, err)
		}
		if c.escaped {
			be.PutUint32(b, journalMagic)
		}
		if from := block*j.block - off; from >= 0 {
			copy(p[from:n], b)
		} else {
			copy(p[:n], b[-from:])
		}
	}
	return n, err
}
