package rootfs

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// The log: a ring of records, each of a header and of operations, which together are
// transactions (XFS Algorithms & Data Structures, "Journaling Log"). A block begins with
// the number of the turn that it was written in; what that replaced is in the header.
const (
	logSector     = 512
	logMagic      = 0xfeedbabe
	logMaxBytes   = 2 << 30
	logMaxRecord  = 256 << 10
	logCycles     = 64  // blocks whose first words a header has
	logLinux      = 1   // the format of little-endian machines
	logHeaderSum  = 328 // bytes of a header that its checksum counts
	logHeaderSum2 = 324 // where numbers of 64 bits are aligned to 4 bytes
	logExtraSum   = 260 // of a further one
	logUnchecked  = 8   // records at the head that may not be whole: what is written at a time

	opHeader    = 12
	opStart     = 0x1
	opCommit    = 0x2
	opContinue  = 0x4
	opContinued = 0x8
	opUnmount   = 0x20
	logMaxOpen  = 64 << 20 // bytes of transactions that have no end yet

	itemInode  = 0x123b
	itemBuffer = 0x123c
	itemCreate = 0x123f

	bufferInodes = 0x1
	bufferCancel = 0x2
	bufferQuota  = 0x4 | 0x8 | 0x10
)

// recover makes v read the file system as a mount would find it that replays the log: of
// one that was in use, much is nowhere else. It returns how many sectors that are.
func (v *xfs) recover(super []byte) (int, error) {
	if be.Uint64(super[48:]) == 0 {
		return 0, fmt.Errorf("%w: it is on another disk", ErrUnknown)
	}
	start, err := v.linear(be.Uint64(super[48:]))
	if err != nil {
		return 0, err
	}
	l := &xfsLog{r: v.r, at: int64(start) << v.blockLog, sectors: int64(be.Uint32(super[96:])) << v.blockLog / logSector, uuid: super[32:48]}
	if l.sectors <= 0 || l.sectors > logMaxBytes/logSector || l.at+l.sectors*logSector > v.size {
		return 0, fmt.Errorf("%w: it has %d sectors", ErrDamaged, l.sectors)
	}
	records, err := l.records()
	if err != nil || len(records) == 0 {
		return 0, err
	}
	replay := &xfsReplay{xfs: v, overlay: &overlay{r: v.r, sectors: map[int64][]byte{}}, cancelled: map[cancelKey]int{}}
	for _, each := range []func(lsn uint64, items [][]byte) error{replay.cancel, replay.apply} {
		if err := replayRecords(records, each); err != nil {
			return 0, err
		}
	}
	if len(replay.overlay.sectors) == 0 {
		return 0, nil
	}
	v.r = replay.overlay
	return len(replay.overlay.sectors), nil
}

// overlay shows a disk with some of its sectors replaced.
type overlay struct {
	r       io.ReaderAt
	sectors map[int64][]byte
}

// ReadAt is of io.ReaderAt.
func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.r.ReadAt(p, off)
	for at := off / logSector; at*logSector < off+int64(n); at++ {
		if s := o.sectors[at]; s != nil {
			from := max(off, at*logSector)
			copy(p[from-off:n], s[from-at*logSector:])
		}
	}
	return n, err
}

// write replaces what is at off.
func (o *overlay) write(p []byte, off int64) error {
	for len(p) > 0 {
		at := off / logSector
		s := o.sectors[at]
		if s == nil {
			s = make([]byte, logSector)
			if _, err := o.r.ReadAt(s, at*logSector); err != nil {
				return fmt.Errorf("%w: reading what is replayed over: %w", ErrDamaged, err)
			}
			o.sectors[at] = s
		}
		n := copy(s[off-at*logSector:], p)
		p, off = p[n:], off+int64(n)
	}
	return nil
}

type xfsLog struct {
	r       io.ReaderAt
	at      int64 // bytes
	sectors int64
	uuid    []byte
}

// record is one of the log's.
type record struct {
	lsn, tail uint64 // which turn, and which sector of it
	sectors   int64  // of the headers and what follows
	headers   int64
	length    int
	count     uint32 // of operations
	content   []byte // of them, once they are read
}

// records are those to replay, in order: none if the file system was unmounted.
func (l *xfsLog) records() ([]record, error) {
	all, err := l.find()
	if err != nil || len(all) == 0 {
		return nil, err
	}
	// What was written last may have reached the disk in another order.
	for i := max(0, len(all)-logUnchecked); i < len(all); i++ {
		if ok, err := l.whole(&all[i]); err != nil {
			return nil, err
		} else if !ok || (i > 0 && all[i].lsn != l.after(&all[i-1])) {
			all = all[:i]
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	tail := all[len(all)-1].tail
	first, found := slices.BinarySearchFunc(all, tail, func(r record, lsn uint64) int { return cmp.Compare(r.lsn, lsn) })
	if !found && first == len(all) {
		return nil, nil // the tail is where the next record will be
	}
	for i := first; i < len(all); i++ {
		if i > first && all[i].lsn != l.after(&all[i-1]) {
			return nil, fmt.Errorf("%w: a record is missing after %#x", ErrDamaged, all[i-1].lsn)
		}
	}
	last, err := l.operations(&all[len(all)-1])
	if err != nil {
		return nil, err
	}
	if len(last) >= opHeader && last[9]&opUnmount != 0 {
		return nil, nil
	}
	for i := range all[first:] {
		r := &all[first+i]
		if r.content, err = l.operations(r); err != nil {
			return nil, err
		}
	}
	return all[first:], nil
}

// after is where the record after another begins.
func (l *xfsLog) after(r *record) uint64 {
	turn, at := r.lsn>>32, int64(uint32(r.lsn))+r.sectors
	if at >= l.sectors {
		turn, at = turn+1, at-l.sectors
	}
	return turn<<32 | uint64(at)
}

// find lists the headers that are in the ring, oldest first.
func (l *xfsLog) find() (out []record, err error) {
	const piece = 2048 // sectors at a time
	b := make([]byte, piece*logSector)
	for at := int64(0); at < l.sectors; at += piece {
		part := b[:min(piece, l.sectors-at)*logSector]
		if _, err := l.r.ReadAt(part, l.at+at*logSector); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		for i := range int64(len(part) / logSector) {
			h := part[i*logSector:][:logSector]
			if be.Uint32(h) != logMagic || !bytes.Equal(h[304:320], l.uuid) || be.Uint64(h[16:]) != uint64(be.Uint32(h[4:]))<<32|uint64(at+i) {
				continue
			}
			r := record{lsn: be.Uint64(h[16:]), tail: be.Uint64(h[24:]), length: int(be.Uint32(h[12:])), count: be.Uint32(h[40:]), headers: 1}
			if size := be.Uint32(h[320:]); be.Uint32(h[8:])&2 != 0 && size > logCycles*logSector {
				r.headers = int64(size+logCycles*logSector-1) / (logCycles * logSector)
			}
			r.sectors = r.headers + (int64(r.length)+logSector-1)/logSector
			// Mounting stamps what is ahead of the head with headers that nothing belongs to.
			if r.count == 0 || r.length > logMaxRecord || r.headers > logMaxRecord/logSector/logCycles || r.sectors > l.sectors {
				continue // overwritten, or never one
			}
			if be.Uint32(h[300:]) != logLinux {
				return nil, fmt.Errorf("%w: it was written by a machine of another byte order", ErrUnknown)
			}
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b record) int { return cmp.Compare(a.lsn, b.lsn) })
	// Only the newest turn and the one before it are the log.
	if n := len(out); n > 0 {
		newest := out[n-1].lsn
		out = slices.DeleteFunc(out, func(r record) bool { return r.lsn>>32+1 < newest>>32 })
		out = slices.DeleteFunc(out, func(r record) bool { return r.lsn>>32 != newest>>32 && uint32(r.lsn) <= uint32(newest) })
	}
	return out, nil
}

// raw is a record as it is in the ring, which it may go round in.
func (l *xfsLog) raw(r *record) ([]byte, error) {
	b := make([]byte, r.sectors*logSector)
	begin := int64(uint32(r.lsn))
	n := min(r.sectors, l.sectors-begin) * logSector
	if _, err := l.r.ReadAt(b[:n], l.at+begin*logSector); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if _, err := l.r.ReadAt(b[n:], l.at); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return b, nil
}

// whole tells whether all of a record is on the disk, by its checksum.
func (l *xfsLog) whole(r *record) (bool, error) {
	b, err := l.raw(r)
	if err != nil {
		return false, err
	}
	want := binary.LittleEndian.Uint32(b[32:])
	for _, counted := range []int{logHeaderSum, logHeaderSum2} {
		table := crc32.MakeTable(crc32.Castagnoli)
		header := bytes.Clone(b[:counted])
		clear(header[32:36])
		sum := crc32.Update(0, table, header)
		for i := int64(1); i < r.headers; i++ {
			sum = crc32.Update(sum, table, b[i*logSector:][:logExtraSum])
		}
		if sum = crc32.Update(sum, table, b[r.headers*logSector:][:r.length]); sum == want {
			return true, nil
		}
	}
	return want == 0, nil // of a log that mkfs made
}

// operations are what a record has, with the first words of its sectors put back.
func (l *xfsLog) operations(r *record) ([]byte, error) {
	b, err := l.raw(r)
	if err != nil {
		return nil, err
	}
	data := b[r.headers*logSector:]
	for i := range int64(len(data)) / logSector {
		words := b[44:] // of the first header
		if turn := i / logCycles; turn > 0 {
			if turn >= r.headers {
				return nil, fmt.Errorf("%w: a record of %d bytes has %d headers", ErrDamaged, r.length, r.headers)
			}
			words = b[turn*logSector+4:]
		}
		copy(data[i*logSector:][:4], words[i%logCycles*4:][:4])
	}
	return data[:r.length], nil
}

// replayRecords calls each for every transaction that has an end, with the parts of its items.
func replayRecords(records []record, each func(lsn uint64, items [][]byte) error) error {
	type transaction struct {
		lsn   uint64
		parts [][]byte
		open  bool // the last part goes on
	}
	running, held := map[uint32]*transaction{}, 0
	for _, r := range records {
		b := r.content
		for n := uint32(0); n < r.count && len(b) >= opHeader; n++ {
			id, length, flags := be.Uint32(b), int(be.Uint32(b[4:])), b[9]
			if length > len(b)-opHeader {
				return fmt.Errorf("%w: an operation of %d bytes", ErrDamaged, length)
			}
			part := b[opHeader:][:length]
			b = b[opHeader+length:]
			t := running[id]
			switch {
			case flags&opUnmount != 0:
				continue
			case flags&opStart != 0:
				running[id] = &transaction{lsn: r.lsn}
				continue
			case t == nil: // it began before the tail, and is done
				continue
			case flags&opCommit != 0:
				delete(running, id)
				for _, p := range t.parts {
					held -= len(p)
				}
				if err := each(t.lsn, t.parts); err != nil {
					return err
				}
				continue
			}
			if held += length; held > logMaxOpen {
				return fmt.Errorf("%w: its transactions are too large", ErrDamaged)
			}
			if n := len(t.parts); flags&opContinued != 0 && n > 0 {
				t.parts[n-1] = append(t.parts[n-1][:len(t.parts[n-1]):len(t.parts[n-1])], part...)
			} else {
				t.parts = append(t.parts, part)
			}
		}
	}
	return nil
}
