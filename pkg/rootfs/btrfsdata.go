package rootfs

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// What an extent is, and how it is compressed.
const (
	btrfsInline   = 0
	btrfsPrealloc = 2 // nothing was written to it yet

	btrfsPlain = 0
	btrfsZlib  = 1
	btrfsLZO   = 2
	btrfsZstd  = 3

	btrfsMaxInflated = 128 << 10 // bytes of a compressed extent, by the kernel's rule
)

// btrfsPart is a part of a file that is somewhere; all others are zeros.
type btrfsPart struct {
	first, length uint64 // in the file
	at, stored    uint64 // where the extent is, and its size there
	skip, whole   uint64 // where the part begins in it, and its size
	compression   byte
	inline        []byte
}

// btrfsContent is a file's.
type btrfsContent struct {
	*btrfs
	size  int64
	parts []btrfsPart

	mu       sync.Mutex // of what follows: the part that was unpacked last
	last     int
	unpacked []byte
}

// add adds an extent by its item.
func (c *btrfsContent) add(first uint64, b []byte) error {
	const header, regular = 21, 53
	if len(b) < header || b[17] != 0 || len(c.parts) >= maxExtents {
		return fmt.Errorf("%w: an extent of a file", ErrDamaged)
	}
	p := btrfsPart{first: first, whole: le.Uint64(b[8:]), compression: b[16]}
	switch {
	case p.compression == btrfsLZO:
		return fmt.Errorf("%w: it is compressed by LZO", ErrUnknown)
	case p.compression > btrfsZstd, p.compression != btrfsPlain && p.whole > btrfsMaxInflated:
		return fmt.Errorf("%w: an extent of %d bytes is compressed by %d", ErrDamaged, p.whole, p.compression)
	case b[20] == btrfsInline:
		p.inline, p.length = b[header:], p.whole
		if p.compression == btrfsPlain && p.length > uint64(len(p.inline)) || p.length > btrfsMaxInflated {
			return fmt.Errorf("%w: an extent of %d bytes has %d", ErrDamaged, p.length, len(p.inline))
		}
	case len(b) < regular:
		return fmt.Errorf("%w: an extent of a file is cut off", ErrDamaged)
	default:
		p.at, p.stored, p.skip, p.length = le.Uint64(b[21:]), le.Uint64(b[29:]), le.Uint64(b[37:]), le.Uint64(b[45:])
		if p.at == 0 || b[20] == btrfsPrealloc {
			return nil
		}
		// A compressed extent is never larger on the disk.
		if p.skip+p.length < p.skip || p.compression != btrfsPlain && (p.stored > btrfsMaxInflated+4096 || p.skip+p.length > p.whole) {
			return fmt.Errorf("%w: %d bytes at %d of an extent of %d", ErrDamaged, p.length, p.skip, p.whole)
		}
	}
	if p.first+p.length < p.first || p.first+p.length > 1<<63 {
		return fmt.Errorf("%w: an extent of %d bytes at %d", ErrDamaged, p.length, p.first)
	}
	if n := len(c.parts); n > 0 && p.first < c.parts[n-1].first+c.parts[n-1].length {
		return fmt.Errorf("%w: extents overlap at %d", ErrDamaged, p.first)
	}
	c.parts = append(c.parts, p)
	return nil
}

// ReadAt is of io.ReaderAt.
func (c *btrfsContent) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) && off < c.size {
		piece := b[n:min(int64(len(b)), int64(n)+c.size-off)]
		i, found := slices.BinarySearchFunc(c.parts, uint64(off), func(p btrfsPart, at uint64) int {
			switch {
			case at < p.first:
				return 1
			case at >= p.first+p.length:
				return -1
			}
			return 0
		})
		until := uint64(c.size)
		if i < len(c.parts) {
			until = c.parts[i].first
		}
		if found {
			until = c.parts[i].first + c.parts[i].length
		}
		piece = piece[:min(uint64(len(piece)), until-uint64(off))]
		if !found {
			clear(piece)
		} else if err := c.read(i, piece, uint64(off)-c.parts[i].first); err != nil {
			return n, fmt.Errorf("reading a file's blocks: %w", err)
		}
		n, off = n+len(piece), off+int64(len(piece))
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// read reads what is at off of a part.
func (c *btrfsContent) read(i int, b []byte, off uint64) error {
	p := &c.parts[i]
	if p.compression == btrfsPlain {
		if p.inline != nil {
			copy(b, p.inline[off:])
			return nil
		}
		return c.btrfs.read(b, p.at+p.skip+off)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unpacked == nil || c.last != i {
		packed := p.inline
		if packed == nil {
			packed = make([]byte, p.stored)
			if err := c.btrfs.read(packed, p.at); err != nil {
				return err
			}
		}
		unpacked, err := unpackExtent(packed, p.compression, p.whole)
		if err != nil {
			return err
		}
		c.last, c.unpacked = i, unpacked
	}
	copy(b, c.unpacked[p.skip+off:])
	return nil
}

// unpackExtent unpacks an extent of so many bytes; what it has not got is zeros.
func unpackExtent(packed []byte, compression byte, whole uint64) ([]byte, error) {
	var r io.Reader
	if compression == btrfsZlib {
		z, err := zlib.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, fmt.Errorf("%w: an extent that is compressed by zlib: %w", ErrDamaged, err)
		}
		r = z
	} else {
		z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(btrfsMaxInflated*8))
		if err != nil {
			return nil, fmt.Errorf("%w: an extent that is compressed by zstd: %w", ErrDamaged, err)
		}
		defer z.Close()
		r = z
	}
	out := make([]byte, whole)
	// After the compressed data are zeros up to the end of its sector.
	if _, err := io.ReadFull(r, out); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: unpacking an extent: %w", ErrDamaged, err)
	}
	return out, nil
}
