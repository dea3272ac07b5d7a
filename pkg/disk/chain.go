package disk

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/crypto/xts"
)

// Chain reads the disk that a qcow2 image shows over its backing files, without QEMU.
// It may be used by several goroutines.
type Chain struct {
	images []*chainImage // the top one first

	mu         sync.Mutex // of what is cached
	compressed struct {
		image *chainImage
		entry uint64
		data  []byte
	}
}

// chainImage is one file of a chain.
type chainImage struct {
	Header
	f    *os.File
	size int64
	data *xts.Cipher // of an encrypted image
	l1   []uint64
	l2   map[uint64][]byte // by the table's offset
}

// maxL2Tables are kept of each image: 64 KiB each, for 512 MiB of the disk, with
// QEMU's default size of clusters.
const maxL2Tables = 32

// ChainFile is one file of a chain, with the key that opens it if it is encrypted.
type ChainFile struct {
	Path string
	Key  Passphrase
}

// OpenChain opens the files of a chain, the top one first, each the backing file of
// the one before: what their headers name as such is not looked at. No file may be
// written to while it is open.
func OpenChain(files []ChainFile) (_ *Chain, err error) {
	c := &Chain{}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if len(files) == 0 {
		return nil, errors.New("opening a chain of no images")
	}
	for _, file := range files {
		f, err := os.Open(file.Path)
		if err != nil {
			return nil, err
		}
		im := &chainImage{f: f, l2: map[uint64][]byte{}}
		c.images = append(c.images, im)
		if err := im.load(file.Key); err != nil {
			return nil, fmt.Errorf("opening %s: %w", file.Path, err)
		}
	}
	return c, nil
}

// Close closes the files.
func (c *Chain) Close() error {
	var errs []error
	for _, im := range c.images {
		errs = append(errs, im.f.Close())
	}
	return errors.Join(errs...)
}

// Size is that of the disk, in bytes.
func (c *Chain) Size() int64 { return c.images[0].SizeBytes }

// ReadAt is of io.ReaderAt. Damage is ErrHostile.
func (c *Chain) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("reading at %d: %w", off, os.ErrInvalid)
	}
	for n < len(p) {
		if off >= c.Size() {
			return n, io.EOF
		}
		part := p[n:min(len(p), n+int(min(c.Size()-off, int64(len(p)-n))))]
		k, err := c.read(part, off)
		n, off = n+k, off+int64(k)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// read fills a part of p, not beyond a cluster of any image.
func (c *Chain) read(p []byte, off int64) (int, error) {
	for _, im := range c.images {
		if off >= im.SizeBytes { // a smaller backing file is followed by zeros
			return zero(p), nil
		}
		in := off & (im.clusterBytes() - 1)
		p = p[:min(int64(len(p)), im.clusterBytes()-in, im.SizeBytes-off)]
		entry, err := c.entry(im, off)
		switch {
		case err != nil:
			return 0, err
		case entry&entryCompressed != 0:
			return c.readCompressed(im, entry, p, in)
		case entry&entryZero != 0 && im.Version >= 3:
			return zero(p), nil
		case entry&entryOffsetMask != 0:
			return im.readAt(p, int64(entry&entryOffsetMask)+in)
		}
	}
	return zero(p), nil
}

func zero(p []byte) int {
	clear(p)
	return len(p)
}

// readAt reads data of the image from its file.
func (im *chainImage) readAt(p []byte, at int64) (int, error) {
	switch {
	case im.data != nil:
		return im.decrypt(p, at)
	case at > im.size-int64(len(p)):
		return im.short(p, at)
	}
	return im.f.ReadAt(p, at)
}

// decrypt reads the sectors that the bytes are in. Where they are in the file is
// part of how they are encrypted.
func (im *chainImage) decrypt(p []byte, at int64) (int, error) {
	first := at &^ (sectorBytes - 1)
	sectors := make([]byte, (at+int64(len(p))+sectorBytes-1)&^(sectorBytes-1)-first)
	if first > im.size-int64(len(sectors)) { // QEMU writes whole clusters of encrypted images
		return 0, hostile("an encrypted cluster at %#x is outside of the file of %d bytes", at, im.size)
	}
	if _, err := im.f.ReadAt(sectors, first); err != nil {
		return 0, err
	}
	cryptSectors(im.data.Decrypt, sectors, uint64(first/sectorBytes))
	return copy(p, sectors[at-first:]), nil
}

// short reads a cluster at the end of a file that was not filled up.
func (im *chainImage) short(p []byte, at int64) (int, error) {
	if at >= im.size {
		return 0, hostile("a cluster at %#x is outside of the file of %d bytes", at, im.size)
	}
	n, err := im.f.ReadAt(p[:im.size-at], at)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, err
	}
	clear(p[n:])
	return len(p), nil
}

// Allocated calls fn for each range of the disk that the image n of the chain, counted
// from the top, has itself, in order. Ranges that it has as zeros are among them.
func (c *Chain) Allocated(n int, fn func(offset, length int64) error) error {
	im := c.images[n]
	start := int64(-1)
	flush := func(end int64) error {
		if start < 0 {
			return nil
		}
		from := start
		start = -1
		return fn(from, min(end, im.SizeBytes)-from)
	}
	perTable := im.clusterBytes() / 8 * im.clusterBytes()
	for off := int64(0); off < im.SizeBytes; {
		if im.l1[off/perTable]&entryOffsetMask == 0 {
			if err := flush(off); err != nil {
				return err
			}
			off = (off/perTable + 1) * perTable
			continue
		}
		entry, err := c.entry(im, off)
		if err != nil {
			return err
		}
		if entry == 0 {
			err = flush(off)
		} else if start < 0 {
			start = off
		}
		if err != nil {
			return err
		}
		off += im.clusterBytes()
	}
	return flush(im.SizeBytes)
}

// load reads the header and the L1 table.
func (im *chainImage) load(key Passphrase) error {
	st, err := im.f.Stat()
	if err != nil {
		return err
	}
	im.size = st.Size()
	read := readHeader
	if key != "" {
		read = readLayerHeader
	}
	if im.Header, err = read(im.f, im.size); err != nil {
		return err
	}
	if im.Encrypted {
		if im.data, err = openLUKS(im.f, im.luksOffset, key); err != nil {
			return err
		}
	}
	table := make([]byte, im.l1Need()*8)
	if _, err := im.f.ReadAt(table, im.l1Offset); err != nil {
		return fmt.Errorf("reading the L1 table: %w", err)
	}
	im.l1 = make([]uint64, im.l1Need())
	for i := range im.l1 {
		im.l1[i] = binary.BigEndian.Uint64(table[i*8:])
	}
	return nil
}

// entry is the L2 entry of the cluster at an offset of the disk, 0 if there is none.
func (c *Chain) entry(im *chainImage, off int64) (uint64, error) {
	perTable := im.clusterBytes() / 8
	cluster := off >> im.ClusterBits
	at := im.l1[cluster/perTable] & entryOffsetMask
	if at == 0 {
		return 0, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	table := im.l2[at]
	if table == nil {
		if at > uint64(im.size) || int64(at) > im.size-im.clusterBytes() || at&uint64(im.clusterBytes()-1) != 0 {
			return 0, hostile("an L2 table at %#x is not a cluster of the file", at)
		}
		table = make([]byte, im.clusterBytes())
		if _, err := im.f.ReadAt(table, int64(at)); err != nil {
			return 0, fmt.Errorf("reading an L2 table: %w", err)
		}
		if len(im.l2) >= maxL2Tables {
			for victim := range im.l2 { // whichever comes
				delete(im.l2, victim)
				break
			}
		}
		im.l2[at] = table
	}
	return binary.BigEndian.Uint64(table[cluster%perTable*8:]), nil
}

// readCompressed reads from a compressed cluster; the last one is kept.
func (c *Chain) readCompressed(im *chainImage, entry uint64, p []byte, in int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.compressed.image != im || c.compressed.entry != entry {
		data, err := im.decompress(entry)
		if err != nil {
			return 0, err
		}
		c.compressed.image, c.compressed.entry, c.compressed.data = im, entry, data
	}
	return copy(p, c.compressed.data[in:]), nil
}

func (im *chainImage) decompress(entry uint64) ([]byte, error) {
	bits := 62 - (im.ClusterBits - 8)
	at := int64(entry & (1<<bits - 1))
	sectors := int64(entry&^(entryCompressed|entryCopied))>>bits + 1
	length := min(sectors*compressedSector-at%compressedSector, im.size-at)
	if at >= im.size || length <= 0 {
		return nil, hostile("a compressed cluster at %#x is outside of the file of %d bytes", at, im.size)
	}
	packed := make([]byte, length)
	if _, err := im.f.ReadAt(packed, at); err != nil {
		return nil, fmt.Errorf("reading a compressed cluster: %w", err)
	}
	var r io.Reader = flate.NewReader(bytes.NewReader(packed))
	if im.Zstd {
		d, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(4*im.clusterBytes())+1<<20))
		if err != nil {
			return nil, hostile("a compressed cluster at %#x: %v", at, err)
		}
		defer d.Close()
		r = d
	}
	data := make([]byte, im.clusterBytes())
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, hostile("a compressed cluster at %#x: %v", at, err)
	}
	return data, nil
}
