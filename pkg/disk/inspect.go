package disk

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	// maxClusters bounds the memory of an inspection: two bitmaps of one bit a
	// cluster. It allows files of 2 TiB with QEMU's default cluster size.
	maxClusters = 32 << 20
	// minCompressedBytes is less than deflate or zstd need for any cluster.
	minCompressedBytes = 16

	entryOffsetMask  = 0x00fffffffffffe00
	entryCopied      = 1 << 63
	entryCompressed  = 1 << 62
	entryZero        = 1 << 0
	l2StandardBits   = entryOffsetMask | entryCopied | entryZero
	l1Bits           = entryOffsetMask | entryCopied
	tableChunkBytes  = 64 << 10
	compressedSector = 512
)

// Info is what an inspection found out about a qcow2 image.
type Info struct {
	Header
	// DataClusters and CompressedClusters are stored in the image; the rest of
	// the virtual disk is read from the backing file, or as zeros.
	DataClusters       int64
	CompressedClusters int64
}

// Inspect checks a qcow2 image, in a file of size bytes, that nobody trusts. It
// returns ErrNotQcow2 or ErrHostile unless the image is one that cannot make
// QEMU open anything else, and that cannot claim more data than the file has:
// no backing or data file, no encryption, no internal snapshots, no feature
// that bundt does not know, all tables inside the file, no cluster used twice.
// Reference counts are not compared with use, because the image is only ever
// read. An image that it accepts needs time in proportion to its tables, and at
// most 8 MiB of memory.
func Inspect(r io.ReaderAt, size int64) (Info, error) {
	info, err := InspectOverlay(r, size)
	if err == nil && info.Backing != "" {
		return Info{}, hostile("it has a backing file (%q); flatten it with qemu-img convert", info.Backing)
	}
	return info, err
}

// InspectOverlay is Inspect for an image that may have a backing file, which is
// reported and not looked at.
func InspectOverlay(r io.ReaderAt, size int64) (Info, error) {
	h, err := readHeader(r, size)
	if err != nil {
		return Info{}, err
	}
	clusters := (size + h.clusterBytes() - 1) >> h.ClusterBits
	if clusters > maxClusters {
		return Info{}, hostile("%d clusters are more than %d", clusters, int64(maxClusters))
	}
	in := &inspection{
		r: r, size: size, clusters: clusters,
		used:       make(bitmap, (clusters+63)/64),
		compressed: make(bitmap, (clusters+63)/64),
		Info:       Info{Header: h},
	}
	if err := in.run(); err != nil {
		return Info{}, err
	}
	return in.Info, nil
}

// bitmap is a set of clusters of the file.
type bitmap []uint64

func (b bitmap) has(i int64) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b bitmap) add(i int64)      { b[i/64] |= 1 << (i % 64) }

type inspection struct {
	Info
	r        io.ReaderAt
	size     int64
	clusters int64
	// used clusters belong to one owner: metadata or one guest cluster.
	used bitmap
	// compressed clusters hold parts of any number of compressed ones.
	compressed bitmap
}

func (in *inspection) run() error {
	if err := in.claim("header", 0, 1); err != nil {
		return err
	}
	if err := in.claim("L1 table", in.l1Offset, in.l1Entries*8); err != nil {
		return err
	}
	if err := in.claim("refcount table", in.reftabOffset, in.reftabBytes); err != nil {
		return err
	}
	if err := in.entries(in.reftabOffset, in.reftabBytes/8, in.refcountBlock); err != nil {
		return fmt.Errorf("reading refcount table: %w", err)
	}
	if err := in.entries(in.l1Offset, in.l1Entries, in.l2Table); err != nil {
		return fmt.Errorf("reading L1 table: %w", err)
	}
	if limit := in.size / minCompressedBytes; in.CompressedClusters > limit {
		return hostile("%d compressed clusters cannot be in a file of %d bytes", in.CompressedClusters, in.size)
	}
	return nil
}

// entries calls fn with each non-zero entry of a table of 64-bit numbers.
func (in *inspection) entries(offset, count int64, fn func(index int64, entry uint64) error) error {
	buf := make([]byte, min(tableChunkBytes, count*8))
	for index := int64(0); index < count; {
		chunk := buf[:min(int64(len(buf)), (count-index)*8)]
		if n, err := in.r.ReadAt(chunk, offset+index*8); n < len(chunk) {
			if err == io.EOF {
				return hostile("table at %#x is cut off", offset)
			}
			return err
		}
		for ; len(chunk) > 0; chunk, index = chunk[8:], index+1 {
			if entry := binary.BigEndian.Uint64(chunk); entry != 0 {
				if err := fn(index, entry); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// claim marks the clusters of [offset, offset+length) as used by what, unless
// they are outside of the file or used already.
func (in *inspection) claim(what string, offset, length int64) error {
	first := offset >> in.ClusterBits
	last := (offset + length - 1) >> in.ClusterBits
	if offset&(in.clusterBytes()-1) != 0 {
		return hostile("%s at %#x is not aligned to clusters", what, offset)
	}
	if last >= in.clusters {
		return hostile("%s at %#x is outside of the file of %d bytes", what, offset, in.size)
	}
	for i := first; i <= last; i++ {
		if in.used.has(i) || in.compressed.has(i) {
			return hostile("%s at %#x is used for something else too", what, offset)
		}
		in.used.add(i)
	}
	return nil
}

func (in *inspection) refcountBlock(_ int64, entry uint64) error {
	if entry > entryOffsetMask {
		return hostile("refcount table entry %#x", entry)
	}
	return in.claim("refcount block", int64(entry), in.clusterBytes())
}

func (in *inspection) l2Table(_ int64, entry uint64) error {
	if entry&^uint64(l1Bits) != 0 {
		return hostile("L1 entry %#x has reserved bits", entry)
	}
	offset := int64(entry & entryOffsetMask)
	if offset == 0 {
		return hostile("L1 entry %#x without a table", entry)
	}
	if err := in.claim("L2 table", offset, in.clusterBytes()); err != nil {
		return err
	}
	// A table must be wholly in the file, even if it is the last cluster.
	if offset+in.clusterBytes() > in.size {
		return hostile("L2 table at %#x is cut off", offset)
	}
	return in.entries(offset, in.clusterBytes()/8, in.l2Entry)
}

func (in *inspection) l2Entry(_ int64, entry uint64) error {
	if entry&entryCompressed != 0 {
		return in.compressedCluster(entry)
	}
	if entry&^uint64(l2StandardBits) != 0 {
		return hostile("L2 entry %#x has reserved bits", entry)
	}
	if entry&entryZero != 0 && in.Version < 3 {
		return hostile("L2 entry %#x is of version 3", entry)
	}
	offset := int64(entry & entryOffsetMask)
	if offset == 0 {
		if entry&entryCopied != 0 {
			return hostile("L2 entry %#x refers to the header", entry)
		}
		return nil
	}
	in.DataClusters++
	return in.claim("data cluster", offset, in.clusterBytes())
}

// compressedCluster checks an entry for a compressed cluster, which begins at any
// byte and ends in some sector. Several share a cluster of the file, so
// that their number is bounded by what compression can reach (see run).
func (in *inspection) compressedCluster(entry uint64) error {
	if entry&entryCopied != 0 {
		return hostile("compressed L2 entry %#x has reserved bits", entry)
	}
	sizeShift := 62 - (in.ClusterBits - 8)
	offset := int64(entry & (1<<sizeShift - 1))
	sectors := int64(entry&(entryCompressed-1)) >> sizeShift
	end := offset&^(compressedSector-1) + (sectors+1)*compressedSector
	last := (end - 1) >> in.ClusterBits
	if offset == 0 || offset >= in.size {
		return hostile("compressed cluster at %#x is outside of the file of %d bytes", offset, in.size)
	}
	// QEMU counts whole sectors and may count one beyond the end of the file.
	last = min(last, in.clusters-1)
	for i := offset >> in.ClusterBits; i <= last; i++ {
		if in.used.has(i) {
			return hostile("compressed cluster at %#x overlaps something else", offset)
		}
		in.compressed.add(i)
	}
	in.CompressedClusters++
	return nil
}
