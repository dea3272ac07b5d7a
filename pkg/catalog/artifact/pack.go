package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// chunkBytes is how much is written at a time, and the least hole that is left.
const chunkBytes = 64 << 10

// roomChunks are written between two questions whether there is room for more.
const roomChunks = 512

// maxWindow bounds the memory that unpacking takes, whatever a blob asks for.
const maxWindow = 64 << 20

// digester hashes and counts what is written to it.
type digester struct {
	hash.Hash
	n int64
}

func newDigester() *digester { return &digester{Hash: sha256.New()} }

func (d *digester) Write(p []byte) (int, error) {
	d.n += int64(len(p))
	return d.Hash.Write(p)
}

func (d *digester) digest() string { return "sha256:" + hex.EncodeToString(d.Sum(nil)) }

// Pack compresses a content into a blob and says which blob that is. The same
// content gives the same blob, as long as the library compresses in the same way.
func Pack(ctx context.Context, mediaType string, to io.Writer, content io.Reader) (Blob, error) {
	blob, plain := newDigester(), newDigester()
	z, err := zstd.NewWriter(io.MultiWriter(to, blob), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return Blob{}, fmt.Errorf("packing: %w", err)
	}
	_, err = io.Copy(io.MultiWriter(z, plain), contextReader{ctx, content})
	if closed := z.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return Blob{}, fmt.Errorf("packing: %w", err)
	}
	return Blob{MediaType: mediaType, Content: plain.digest(), Size: plain.n, Digest: blob.digest(), BlobBytes: blob.n}, nil
}

// Unpack writes a blob's content into an empty file, with holes for its zeros. It
// returns ErrInvalid if the content is not the one that the blob claims. room is
// asked now and then whether there is room for more: a small blob may hold much.
func (b Blob) Unpack(ctx context.Context, to *os.File, blob io.Reader, room func() error) error {
	packed := io.Reader(contextReader{ctx, blob})
	if !b.Plain() {
		z, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return fmt.Errorf("unpacking %s: %w", b.Digest, err)
		}
		defer z.Close()
		packed = z
	}
	plain := newDigester()
	err := copySparse(to, io.TeeReader(io.LimitReader(packed, b.Size+1), plain), room)
	switch {
	case err != nil:
		return fmt.Errorf("unpacking %s: %w", b.Digest, err)
	case plain.n != b.Size || plain.digest() != b.Content:
		return invalid("%s holds %d bytes with the digest %s, not %d with %s", b.Digest, plain.n, plain.digest(), b.Size, b.Content)
	}
	return nil
}

// copySparse copies to an empty file; what is zero is left out.
func copySparse(to *os.File, from io.Reader, room func() error) error {
	buf, zeros := make([]byte, chunkBytes), make([]byte, chunkBytes)
	for at, written := int64(0), 0; ; {
		n, err := io.ReadFull(from, buf)
		if n > 0 && !bytes.Equal(buf[:n], zeros[:n]) {
			if written%roomChunks == 0 {
				if err := room(); err != nil {
					return err
				}
			}
			if _, err := to.WriteAt(buf[:n], at); err != nil {
				return err
			}
			written++
		}
		at += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return to.Truncate(at)
		}
		if err != nil {
			return err
		}
	}
}

// contextReader fails when its context has ended.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
