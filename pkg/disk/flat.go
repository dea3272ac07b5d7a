package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// flatWriter writes a flat qcow2 file in one pass over a disk's content, from its
// beginning to its end: clusters one behind the other with the L2 tables between
// them, then the L1 table and the refcounts, and the header last, so that a file
// that was not finished is none.
type flatWriter struct {
	f    *os.File
	most int64 // bytes that the file may have
	end  int64 // of the file; a multiple of the cluster's size
	l1   []uint64
	l2   []uint64 // the table that is filled now
	at   int64    // its index in the L1 table
}

const (
	l2Entries = overlayClusterBytes / 8
	l2Bytes   = l2Entries * overlayClusterBytes // of the disk that an L2 table maps
	flatChunk = 16 * overlayClusterBytes
)

func newFlatWriter(f *os.File, most int64) *flatWriter {
	return &flatWriter{f: f, most: most, end: overlayClusterBytes, l2: make([]uint64, l2Entries)}
}

// append adds bytes to the file, and zeros up to the next cluster.
func (w *flatWriter) append(b []byte) (offset int64, err error) {
	offset = w.end
	w.end += clusters(int64(len(b))) * overlayClusterBytes
	if w.end > w.most {
		return 0, fmt.Errorf("%w: the image is larger than %d bytes", ErrNoSpace, w.most)
	}
	_, err = w.f.WriteAt(b, offset)
	return offset, err
}

// clusters is how many clusters n bytes need.
func clusters(n int64) int64 { return (n + overlayClusterBytes - 1) / overlayClusterBytes }

// put writes content of the disk, of one L2 table, at the beginning of a cluster.
func (w *flatWriter) put(guest int64, content []byte) error {
	if i := guest / l2Bytes; i != w.at {
		if err := w.flush(); err != nil {
			return err
		}
		w.at = i
	}
	offset, err := w.append(content)
	if err != nil {
		return err
	}
	first := guest % l2Bytes / overlayClusterBytes
	for i := range clusters(int64(len(content))) {
		w.l2[first+i] = uint64(offset+i*overlayClusterBytes) | entryCopied
	}
	return nil
}

// flush writes the L2 table, if there is anything in it.
func (w *flatWriter) flush() error {
	table := entries(w.l2)
	if allZero(table) {
		return nil
	}
	offset, err := w.append(table)
	for int64(len(w.l1)) <= w.at {
		w.l1 = append(w.l1, 0)
	}
	w.l1[w.at] = uint64(offset) | entryCopied
	clear(w.l2)
	return err
}

// entries are a table as the file has it.
func entries(table []uint64) []byte {
	b := make([]byte, 0, 8*len(table))
	for _, e := range table {
		b = binary.BigEndian.AppendUint64(b, e)
	}
	return b
}

// finish writes what describes a disk of that size.
func (w *flatWriter) finish(size int64) error {
	o := Overlay{SizeBytes: size}
	if err := o.check(); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	l1 := make([]uint64, o.l1Entries())
	copy(l1, w.l1)
	l1Offset, err := w.append(entries(l1))
	if err != nil {
		return err
	}
	// The refcounts count their own clusters, too: blocks of 16-bit counts, and
	// the table that lists the blocks.
	const counts = overlayClusterBytes / 2
	used, blocks, table := w.end/overlayClusterBytes, int64(0), int64(0)
	for {
		n := used + blocks + table
		b := (n + counts - 1) / counts
		t := clusters(8 * b)
		if b == blocks && t == table {
			break
		}
		blocks, table = b, t
	}
	list := make([]uint64, blocks)
	for i := range list {
		list[i] = uint64(w.end + int64(i)*overlayClusterBytes)
	}
	if _, err := w.append(bytes.Repeat([]byte{0, 1}, int(used+blocks+table))); err != nil {
		return err
	}
	tableOffset, err := w.append(entries(list))
	if err != nil {
		return err
	}
	if err := w.f.Truncate(w.end); err != nil {
		return err
	}
	_, err = w.f.WriteAt(o.headerFor(qcow2Layout{l1: l1Offset, reftab: tableOffset, reftabClusters: table}), 0)
	return err
}

// flatten writes a flat qcow2 file of what is read, which is a raw disk.
func flatten(ctx context.Context, r io.Reader, f *os.File, most int64) error {
	w := newFlatWriter(f, most)
	var at int64
	buf := make([]byte, flatChunk)
	for {
		if ctx.Err() != nil { // little that is read can become much
			return context.Cause(ctx)
		}
		if s, ok := r.(seeker); ok {
			next, err := s.nextData(at)
			if err != nil {
				return err
			}
			at = next
		}
		n, err := readFull(r, buf)
		if n > 0 {
			if err := w.putData(at, buf[:n]); err != nil {
				return err
			}
			at += int64(n)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	return w.finish((at + sectorBytes - 1) / sectorBytes * sectorBytes)
}

// putData puts a chunk's clusters, without those that have only zeros.
func (w *flatWriter) putData(at int64, chunk []byte) error {
	for len(chunk) > 0 {
		most := min(len(chunk), int(l2Bytes-at%l2Bytes))
		n := 0 // bytes before the next cluster of zeros, or the next table's
		for n < most && !allZero(chunk[n:min(n+overlayClusterBytes, most)]) {
			n = min(n+overlayClusterBytes, most)
		}
		if n > 0 {
			if err := w.put(at, chunk[:n]); err != nil {
				return err
			}
		}
		if n < most {
			n = min(n+overlayClusterBytes, most)
		}
		at, chunk = at+int64(n), chunk[n:]
	}
	return nil
}

var zeroCluster [overlayClusterBytes]byte

func allZero(b []byte) bool { return bytes.Equal(b, zeroCluster[:len(b)]) }

// readFull reads until buf is full. io.ReadFull would hide that r was cut off.
func readFull(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

// seeker is a reader of a file that may have holes.
type seeker interface {
	// nextData goes on at the first cluster from at on that is not in a hole: the
	// file's end if there is none.
	nextData(at int64) (int64, error)
}

// rawFile reads a raw disk and leaves out its holes.
type rawFile struct {
	f    *os.File
	size int64
	tell func(read int64)
	data int64 // up to here the file has data
}

func (r *rawFile) Read(p []byte) (int, error) { return r.f.Read(p) }

func (r *rawFile) nextData(at int64) (int64, error) {
	if r.tell != nil {
		r.tell(at)
	}
	if at < r.data {
		return at, nil
	}
	start, err := unix.Seek(int(r.f.Fd()), at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // nothing but a hole
		start = r.size
	case err != nil: // the file system does not tell
		start = at
	}
	if start < r.size {
		start -= start % overlayClusterBytes
	}
	r.data = r.size
	if end, err := unix.Seek(int(r.f.Fd()), start, unix.SEEK_HOLE); err == nil {
		r.data = end
	}
	_, err = r.f.Seek(start, io.SeekStart)
	return start, err
}
