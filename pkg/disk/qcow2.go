package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"syscall"
)

// Errors that callers distinguish (test with errors.Is).
var (
	// ErrNotQcow2: the file does not begin as a qcow2 image does.
	ErrNotQcow2 = errors.New("not a qcow2 image")
	// ErrHostile: the image uses something that bundt does not allow, or is
	// damaged; the error says what.
	ErrHostile = errors.New("qcow2 image refused")
	// ErrNoSpace: the filesystem or a quota is full.
	ErrNoSpace = errors.New("no space left")
)

// MaxVirtualBytes bounds the size of a disk: the largest EBS volume, 64 TiB.
const MaxVirtualBytes = 64 << 40

// The layout of the header is that of QEMU's docs/interop/qcow2.rst. All
// numbers are big-endian.
const (
	qcow2Magic      = "QFI\xfb"
	headerV2Bytes   = 72
	headerV3Bytes   = 104
	minClusterBits  = 9
	maxClusterBits  = 21
	maxRefcountBits = 6
	maxBackingBytes = 1023
	maxL1Bytes      = 32 << 20 // QEMU's own bound
	maxReftabBytes  = 8 << 20  // QEMU's own bound

	cryptLUKS = 2

	incompatCompression = 1 << 3
	compatLazyRefcounts = 1 << 0

	extEnd           = 0
	extBackingFormat = 0xe2792aca
	extFeatureNames  = 0x6803f857
	extEncryption    = 0x0537be77
)

// Header is what bundt reads of a qcow2 header.
type Header struct {
	Version       int   // 2 or 3
	ClusterBits   int   // a cluster has 1<<ClusterBits bytes
	SizeBytes     int64 // virtual size
	Backing       string
	BackingFormat string // "" if not recorded
	Zstd          bool   // compressed clusters are zstd, otherwise deflate
	Encrypted     bool   // by LUKS; only layers may be

	l1Entries     int64
	l1Offset      int64
	reftabOffset  int64
	reftabBytes   int64
	refcountOrder int
	luksOffset    int64
}

func hostile(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrHostile, fmt.Sprintf(format, args...))
}

// ReadHeader reads and checks the header of a qcow2 file. A backing file is
// allowed and reported. The tables that the header points to are not looked at;
// see Inspect.
func ReadHeader(path string) (Header, error) { return readHeaderOf(path, readHeader) }

func readHeaderOf(path string, read func(io.ReaderAt, int64) (Header, error)) (Header, error) {
	f, err := os.Open(path)
	if err != nil {
		return Header{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Header{}, err
	}
	h, err := read(f, st.Size())
	if err != nil {
		return Header{}, fmt.Errorf("reading header of %s: %w", path, err)
	}
	return h, nil
}

// ReadLayerHeader is ReadHeader for a file that bundt wrote itself: it may be
// encrypted.
func ReadLayerHeader(path string) (Header, error) {
	return readHeaderOf(path, readLayerHeader)
}

// readHeader parses the header of an image in a file of size bytes and checks
// all that can be checked without reading on. Encrypted images are refused: nobody
// could see what is in them.
func readHeader(r io.ReaderAt, size int64) (Header, error) {
	h, err := readLayerHeader(r, size)
	if err == nil && h.Encrypted {
		return Header{}, hostile("it is encrypted")
	}
	return h, err
}

func readLayerHeader(r io.ReaderAt, size int64) (Header, error) {
	buf := make([]byte, 4096)
	n, err := r.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Header{}, err
	}
	buf = buf[:n]
	if len(buf) < 4 || string(buf[:4]) != qcow2Magic {
		return Header{}, ErrNotQcow2
	}
	if len(buf) < headerV2Bytes {
		return Header{}, hostile("header is cut off")
	}
	h := Header{refcountOrder: 4}
	be := binary.BigEndian
	h.Version = int(be.Uint32(buf[4:]))
	if h.Version != 2 && h.Version != 3 {
		return Header{}, hostile("version %d is neither 2 nor 3", be.Uint32(buf[4:]))
	}
	if err := h.parseGeometry(buf, size); err != nil {
		return Header{}, err
	}
	headerBytes := int64(headerV2Bytes)
	if h.Version == 3 {
		if headerBytes, err = h.parseFeatures(buf); err != nil {
			return Header{}, err
		}
	}
	if err := h.parseExtensions(r, size, headerBytes, int64(be.Uint64(buf[8:])), int64(be.Uint32(buf[16:]))); err != nil {
		return Header{}, err
	}
	if h.Encrypted != (h.luksOffset != 0) {
		return Header{}, hostile("it is encrypted, and has no header for that")
	}
	return h, nil
}

// parseGeometry reads the fields that versions 2 and 3 have in common.
func (h *Header) parseGeometry(buf []byte, size int64) error {
	be := binary.BigEndian
	clusterBits := be.Uint32(buf[20:])
	virtual := be.Uint64(buf[24:])
	l1Entries := be.Uint32(buf[36:])
	reftabClusters := be.Uint32(buf[56:])
	switch {
	case clusterBits < minClusterBits || clusterBits > maxClusterBits:
		return hostile("cluster size of 2^%d bytes", clusterBits)
	case virtual == 0 || virtual > MaxVirtualBytes:
		return hostile("virtual size of %d bytes", virtual)
	case be.Uint32(buf[32:]) != 0 && be.Uint32(buf[32:]) != cryptLUKS:
		return hostile("it is encrypted")
	case be.Uint32(buf[60:]) != 0:
		return hostile("it has internal snapshots")
	case be.Uint64(buf[64:])&(1<<clusterBits-1) != 0 || be.Uint64(buf[64:]) > math.MaxInt64:
		return hostile("snapshot table at %#x", be.Uint64(buf[64:])) // QEMU minds, though it has no entries
	case int64(l1Entries) > maxL1Bytes/8:
		return hostile("L1 table of %d entries", l1Entries)
	case int64(reftabClusters)<<clusterBits > maxReftabBytes:
		return hostile("refcount table of %d clusters", reftabClusters)
	case reftabClusters == 0:
		return hostile("no refcount table")
	}
	h.ClusterBits = int(clusterBits)
	h.SizeBytes = int64(virtual)
	h.Encrypted = be.Uint32(buf[32:]) == cryptLUKS
	h.l1Entries = int64(l1Entries)
	h.reftabBytes = int64(reftabClusters) << clusterBits
	if need := h.l1Need(); h.l1Entries < need {
		return hostile("L1 table has %d entries, %d are needed", h.l1Entries, need)
	}
	var err error
	if h.l1Offset, err = h.table("L1 table", be.Uint64(buf[40:]), h.l1Entries*8, size); err != nil {
		return err
	}
	h.reftabOffset, err = h.table("refcount table", be.Uint64(buf[48:]), h.reftabBytes, size)
	return err
}

// table checks that a table is aligned and inside the file.
func (h *Header) table(what string, offset uint64, length, size int64) (int64, error) {
	switch {
	case offset&uint64(h.clusterBytes()-1) != 0:
		return 0, hostile("%s at %#x is not aligned to clusters", what, offset)
	case offset == 0 || offset > uint64(size) || length > size-int64(offset):
		return 0, hostile("%s of %d bytes at %#x is outside of the file of %d bytes", what, length, offset, size)
	}
	return int64(offset), nil
}

// parseFeatures reads the fields of version 3 and returns the header's length.
// Features are an allow-list: the specification lets readers ignore unknown
// compatible ones, but a reader that knows fewer than QEMU must not guess.
func (h *Header) parseFeatures(buf []byte) (int64, error) {
	if len(buf) < headerV3Bytes {
		return 0, hostile("header is cut off")
	}
	be := binary.BigEndian
	incompatible, compatible, autoclear := be.Uint64(buf[72:]), be.Uint64(buf[80:]), be.Uint64(buf[88:])
	order, length := be.Uint32(buf[96:]), be.Uint32(buf[100:])
	switch {
	case incompatible&1 != 0:
		return 0, hostile("it was not closed cleanly; run qemu-img check -r all on it")
	case incompatible&^incompatCompression != 0:
		return 0, hostile("incompatible features %#x", incompatible)
	case compatible&^compatLazyRefcounts != 0:
		return 0, hostile("compatible features %#x", compatible)
	case autoclear != 0:
		return 0, hostile("autoclear features %#x", autoclear)
	case order > maxRefcountBits:
		return 0, hostile("refcount order %d", order)
	case length < headerV3Bytes || length%8 != 0 || int64(length) > h.clusterBytes() || int(length) > len(buf):
		return 0, hostile("header length %d", length)
	}
	h.refcountOrder = int(order)
	compression := byte(0)
	if length > headerV3Bytes {
		compression = buf[104]
	}
	h.Zstd = compression == 1
	if compression > 1 || h.Zstd != (incompatible&incompatCompression != 0) {
		return 0, hostile("compression type %d", compression)
	}
	return int64(length), nil
}

// parseExtensions reads the header extensions, which lie between the header and
// the backing file's name, and that name; all of them in the first cluster.
func (h *Header) parseExtensions(r io.ReaderAt, size, start, backingOffset, backingBytes int64) error {
	end := min(h.clusterBytes(), size)
	if backingOffset != 0 {
		if backingBytes == 0 || backingBytes > maxBackingBytes ||
			backingOffset < start || backingOffset > end-backingBytes {
			return hostile("backing file name of %d bytes at %#x", backingBytes, backingOffset)
		}
		name := make([]byte, backingBytes)
		if _, err := r.ReadAt(name, backingOffset); err != nil {
			return hostile("backing file name is cut off")
		}
		h.Backing = string(name)
		end = backingOffset
	}
	var head [8]byte
	for start < end {
		if end-start < int64(len(head)) {
			return hostile("header extensions are cut off")
		}
		if _, err := r.ReadAt(head[:], start); err != nil {
			return hostile("header extensions are cut off")
		}
		kind, length := binary.BigEndian.Uint32(head[:]), int64(binary.BigEndian.Uint32(head[4:]))
		start += int64(len(head))
		if length > end-start {
			return hostile("header extension %#x of %d bytes does not fit", kind, length)
		}
		if kind == extEnd {
			return nil
		}
		if err := h.parseExtension(r, kind, start, length, size); err != nil {
			return err
		}
		start += (length + 7) &^ 7
	}
	return nil
}

func (h *Header) parseExtension(r io.ReaderAt, kind uint32, start, length, fileBytes int64) error {
	switch kind {
	case extFeatureNames:
		return nil
	case extBackingFormat:
		if length > 16 {
			return hostile("backing format of %d bytes", length)
		}
		format := make([]byte, length)
		if _, err := r.ReadAt(format, start); err != nil {
			return hostile("backing format is cut off")
		}
		h.BackingFormat = string(format)
		return nil
	case extEncryption:
		var at [16]byte
		if length != int64(len(at)) {
			return hostile("encryption extension of %d bytes", length)
		}
		if _, err := r.ReadAt(at[:], start); err != nil {
			return hostile("encryption extension is cut off")
		}
		if binary.BigEndian.Uint64(at[8:]) != luksBytes {
			return hostile("encryption header of %d bytes", binary.BigEndian.Uint64(at[8:]))
		}
		var err error
		h.luksOffset, err = h.table("encryption header", binary.BigEndian.Uint64(at[:]), luksBytes, fileBytes)
		return err
	default:
		return hostile("header extension %#x", kind)
	}
}

// encryptionExtension is the header extension that tells where LUKS's header is.
func (h *Header) encryptionExtension() []byte {
	be := binary.BigEndian
	b := be.AppendUint32(nil, extEncryption)
	b = be.AppendUint32(b, 16)
	b = be.AppendUint64(b, uint64(h.luksOffset))
	return be.AppendUint64(b, luksBytes)
}

func (h *Header) clusterBytes() int64 { return 1 << h.ClusterBits }

// l1Need is the number of L1 entries that the virtual size needs.
func (h *Header) l1Need() int64 {
	perEntry := int64(1) << (2*h.ClusterBits - 3)
	return (h.SizeBytes + perEntry - 1) / perEntry
}

// NoSpace wraps err in ErrNoSpace if it says that the filesystem, a quota or the
// process's file size limit is exhausted, and returns it as it is otherwise.
func NoSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
