package disk

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Compression is how a file is compressed.
type Compression string

// The compressions that disk images come in.
const (
	Uncompressed Compression = ""
	Gzip         Compression = "gzip"
	Bzip2        Compression = "bzip2"
	XZ           Compression = "xz"
	Zstd         Compression = "zstd"
)

// maxWindow bounds the memory that a compressed file may want to be unpacked: xz -9
// and zstd --ultra take half of it.
const maxWindow = 128 << 20

// CompressionOf tells by the beginning of a file how it is compressed. A disk with a
// boot sector is none, whatever it begins with.
func CompressionOf(head []byte) Compression {
	if len(head) >= sectorBytes && head[510] == 0x55 && head[511] == 0xaa {
		return Uncompressed
	}
	for _, m := range []struct {
		magic string
		is    Compression
	}{{"\x1f\x8b\x08", Gzip}, {"BZh", Bzip2}, {"\xfd7zXZ\x00", XZ}, {"\x28\xb5\x2f\xfd", Zstd}} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.is
		}
	}
	return Uncompressed
}

// errNotPacked: a file is not compressed.
var errNotPacked = errors.New("not compressed")

// Unpack unpacks src into the new file dst, which has holes where there are zeros, if
// src is compressed; else it makes none. More than most bytes are ErrHostile. now, if
// not nil, is told what has been read of src, in bytes; its error ends the work. On
// an error dst does not exist.
func Unpack(ctx context.Context, src, dst string, most int64, now func(read int64) error) (Compression, error) {
	in, err := os.Open(src)
	if err != nil {
		return "", err
	}
	defer in.Close()
	c, err := unpacked(ctx, in, most, now, func(plain io.Reader) error {
		out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		n, err := copySparse(ctx, out, plain)
		if err == nil {
			err = out.Truncate(n)
		}
		if err = errors.Join(err, out.Close()); err != nil {
			return errors.Join(err, os.Remove(dst))
		}
		return nil
	})
	if errors.Is(err, errNotPacked) {
		return Uncompressed, nil
	}
	return c, err
}

// unpacked gives use what a compressed file has, as Unpack does; one that is not
// compressed is errNotPacked, and is at its beginning again.
func unpacked(ctx context.Context, in *os.File, most int64, now func(read int64) error, use func(io.Reader) error) (c Compression, err error) {
	counted := &counter{r: in, ctx: ctx, now: now}
	r := bufio.NewReaderSize(counted, 1<<20)
	head, err := r.Peek(sectorBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if c = CompressionOf(head); c == Uncompressed {
		_, err := in.Seek(0, io.SeekStart)
		return c, errors.Join(errNotPacked, err)
	}
	plain, done, err := unpacker(c, r)
	if err != nil {
		return c, hostile("it is no %s file: %v", c, err)
	}
	defer done()
	bounded := &bound{r: plain, left: most}
	err = use(bounded)
	switch {
	case err == nil:
		return c, nil
	case counted.err != nil:
		err = counted.err
	case bounded.left < 0:
		err = hostile("unpacked it has more than %d bytes", most)
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = hostile("it is cut off")
	}
	return c, fmt.Errorf("unpacking %s: %w", c, NoSpace(err))
}

// bound ends with an error when more is read of r than is left.
type bound struct {
	r    io.Reader
	left int64
}

func (b *bound) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, ErrHostile
	}
	return n, err
}

func unpacker(c Compression, r io.Reader) (io.Reader, func(), error) {
	nothing := func() {}
	switch c {
	case Gzip:
		z, err := gzip.NewReader(r)
		return z, nothing, err
	case Bzip2:
		return bzip2.NewReader(r), nothing, nil
	case XZ:
		z, err := xz.ReaderConfig{DictCap: maxWindow}.NewReader(r)
		return z, nothing, err
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, nothing, err
	}
	return z, z.Close, nil
}

// counter tells how far a file has been read.
type counter struct {
	r    io.Reader
	ctx  context.Context //nolint:containedctx // of one call
	now  func(int64) error
	read int64
	err  error // of ctx or now
}

func (c *counter) Read(p []byte) (int, error) {
	if c.err = c.ctx.Err(); c.err == nil && c.now != nil {
		c.err = c.now(c.read)
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p)
	c.read += int64(n)
	return n, err
}

// copySparse writes what r has, and leaves out blocks of zeros.
func copySparse(ctx context.Context, f *os.File, r io.Reader) (n int64, _ error) {
	buf := make([]byte, overlayClusterBytes)
	for {
		if ctx.Err() != nil { // little that is read can become much
			return n, ctx.Err()
		}
		k, rerr := readFull(r, buf)
		if !allZero(buf[:k]) {
			if _, err := f.WriteAt(buf[:k], n); err != nil {
				return n, err
			}
		}
		n += int64(k)
		if errors.Is(rerr, io.EOF) {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
	}
}
