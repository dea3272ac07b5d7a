package disk_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/bundt/bundt/pkg/disk"
)

// bzipped is 100,000 zeros and "the end": Go packs no bzip2.
const bzipped = "QlpoOTFBWSZTWQe62qcAAMRRgMAARAAGQQQAAAggADEGTEBSqGGpgha9pRG/O95m84IX4u5IpwoSAPdbVOA="

func packed(t *testing.T, c disk.Compression, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch c {
	case disk.Gzip:
		w = gzip.NewWriter(&b)
	case disk.XZ:
		w, err = xz.NewWriter(&b)
	case disk.Zstd:
		w, err = zstd.NewWriter(&b)
	case disk.Bzip2:
		out, err := base64.StdEncoding.DecodeString(bzipped)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUnpack(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	plain := make([]byte, 3<<20+17)
	for i := range 200_000 {
		plain[i+1_000_000] = byte(r.IntN(256))
	}
	plain[len(plain)-1] = 1
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(src, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gone := func(what string) {
		t.Helper()
		if _, err := os.Stat(dst); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a file is left: %v", what, err)
		}
	}
	for _, c := range []disk.Compression{disk.Gzip, disk.XZ, disk.Zstd, disk.Bzip2} {
		plain, most := plain, int64(4<<20)
		if c == disk.Bzip2 {
			plain, most = append(make([]byte, 100_000), "the end"...), 100_007
		}
		whole := packed(t, c, plain)
		write(whole)
		var read int64
		got, err := disk.Unpack(t.Context(), src, dst, most, func(n int64) error { read = n; return nil })
		if err != nil || got != c || read != int64(len(whole)) {
			t.Fatalf("%s: %q, %d of %d bytes, %v", c, got, read, len(whole), err)
		}
		b, err := os.ReadFile(dst)
		if err != nil || !bytes.Equal(b, plain) {
			t.Errorf("%s: other content, %v", c, err)
		}
		var st syscall.Stat_t
		if err := syscall.Stat(dst, &st); err != nil || st.Blocks*512 > 1<<20 {
			t.Errorf("%s: it takes %d bytes, %v", c, st.Blocks*512, err)
		}
		if err := os.Remove(dst); err != nil {
			t.Fatal(err)
		}
		if _, err := disk.Unpack(t.Context(), src, dst, int64(len(plain))-1, nil); !errors.Is(err, disk.ErrHostile) {
			t.Errorf("%s, with more than it may have: %v", c, err)
		}
		gone(string(c))
		write(whole[:len(whole)/2])
		if _, err := disk.Unpack(t.Context(), src, dst, 4<<20, nil); err == nil {
			t.Errorf("%s, cut off: no error", c)
		}
		gone(string(c) + ", cut off")
		write(append(bytes.Clone(whole[:40]), bytes.Repeat([]byte{0x55}, 5000)...))
		if _, err := disk.Unpack(t.Context(), src, dst, 4<<20, nil); err == nil {
			t.Errorf("%s, damaged: no error", c)
		}
		gone(string(c) + ", damaged")
	}
	write(packed(t, disk.Gzip, plain))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := disk.Unpack(ctx, src, dst, 4<<20, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	full := errors.New("full")
	if _, err := disk.Unpack(t.Context(), src, dst, 4<<20, func(int64) error { return full }); !errors.Is(err, full) {
		t.Errorf("stopped: %v", err)
	}
	gone("stopped")
	sector := append([]byte("BZh"), make([]byte, 509)...)
	sector[510], sector[511] = 0x55, 0xaa
	for what, b := range map[string][]byte{"a boot sector": sector, "nothing": nil, "zeros": make([]byte, 4096)} {
		write(b)
		if c, err := disk.Unpack(t.Context(), src, dst, 4<<20, nil); c != disk.Uncompressed || err != nil {
			t.Errorf("%s: %q, %v", what, c, err)
		}
		gone(what)
	}
}

// What Convert makes of VHDX files, whole and broken.
func TestVHDX(t *testing.T) {
	dir := t.TempDir()
	raw, vhdx, dst := filepath.Join(dir, "raw"), filepath.Join(dir, "vhdx"), filepath.Join(dir, "dst")
	content := bytes.Repeat([]byte("a disk of hyper-v "), 100_000)
	content = content[:len(content)&^511]
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, subformat := range []string{"dynamic", "fixed"} {
		run(t, "qemu-img", "convert", "-f", "raw", "-O", "vhdx", "-o", "subformat="+subformat, raw, vhdx)
		if err := disk.Convert(t.Context(), vhdx, disk.FormatVHDX, dst, disk.ConvertOptions{}); err != nil {
			t.Fatal(err)
		}
		c, err := disk.OpenChain([]disk.ChainFile{{Path: dst}})
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(content))
		if _, err := c.ReadAt(got, 0); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: other content, %v", subformat, err)
		}
		c.Close()
		if err := os.Remove(dst); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(vhdx)
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(b []byte) []byte{
		"no signature":   func(b []byte) []byte { b[0] = 'x'; return b },
		"broken headers": func(b []byte) []byte { b[64<<10+20]++; b[128<<10+20]++; return b },
		"broken regions": func(b []byte) []byte { b[192<<10+40]++; b[256<<10+40]++; return b },
		"an open log": func(b []byte) []byte {
			for _, at := range []int{64 << 10, 128 << 10} {
				b[at+48] = 1
				binary.LittleEndian.PutUint32(b[at+4:], 0)
				binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(b[at:at+4<<10], crc32.MakeTable(crc32.Castagnoli)))
			}
			return b
		},
		"cut off":          func(b []byte) []byte { return b[:200<<10] },
		"almost nothing":   func(b []byte) []byte { return b[:5] },
		"cut off metadata": func(b []byte) []byte { return b[:bytes.LastIndex(b[:4<<20], []byte("metadata"))+100] },
	} {
		if err := os.WriteFile(vhdx, change(bytes.Clone(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := disk.Convert(t.Context(), vhdx, disk.FormatVHDX, dst, disk.ConvertOptions{}); !errors.Is(err, disk.ErrHostile) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
