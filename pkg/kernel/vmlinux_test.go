package kernel

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

// vmlinux is the smallest kernel: one page of code and a note of its entry.
type vmlinux struct {
	machine, class     uint16
	entry              uint64
	paddr, memsz, size uint64
	noteName           string
	noteType           uint32
}

func good() vmlinux {
	return vmlinux{machine: 62, class: 2, entry: 0x1000010, paddr: 0x1000000, memsz: 0x2000, size: 0x1000, noteName: "Xen\x00", noteType: xenPhys32Entry}
}

func (v vmlinux) bytes() []byte {
	var b bytes.Buffer
	put := func(values ...any) {
		for _, x := range values {
			_ = binary.Write(&b, binary.LittleEndian, x)
		}
	}
	const headers = 64 + 2*56
	note := []byte{}
	note = binary.LittleEndian.AppendUint32(note, uint32(len(v.noteName)))
	note = binary.LittleEndian.AppendUint32(note, 8)
	note = binary.LittleEndian.AppendUint32(note, v.noteType)
	note = append(note, v.noteName...)
	note = binary.LittleEndian.AppendUint64(note, v.entry)
	put([]byte("\x7fELF"), byte(v.class), byte(1), byte(1), make([]byte, 9))
	put(uint16(2), v.machine, uint32(1), v.paddr, uint64(64), uint64(0), uint32(0), uint16(64), uint16(56), uint16(2), uint16(0), uint16(0), uint16(0))
	put(uint32(1), uint32(5), uint64(0x1000), v.paddr, v.paddr, v.size, v.memsz, uint64(0x1000))
	put(uint32(4), uint32(4), uint64(headers), uint64(0), uint64(0), uint64(len(note)), uint64(len(note)), uint64(4))
	put(note)
	b.Write(make([]byte, 0x1000-b.Len()))
	b.Write(bytes.Repeat([]byte{0xf4}, 0x1000))
	return b.Bytes()
}

// bzImage wraps a payload as the kernel's build does.
func bzImage(payload []byte) []byte {
	b := make([]byte, 3*sector)
	b[offSetupSects] = 1
	copy(b[offMagic:], "HdrS")
	binary.LittleEndian.PutUint16(b[offVersion:], 0x20f)
	binary.LittleEndian.PutUint32(b[offPayload:], sector)
	binary.LittleEndian.PutUint32(b[offPayloadBytes:], uint32(len(payload)))
	return append(b, payload...)
}

func sized(compressed []byte) []byte { return append(compressed, 0, 0x20, 0, 0) }

func squeeze(t *testing.T, data []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func extract(t *testing.T, image []byte) ([]byte, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bzImage"), image, 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(filepath.Join(dir, "bzImage"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(dir, "vmlinux"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := ExtractVMLinux(in, out); err != nil {
		return nil, err
	}
	return os.ReadFile(out.Name())
}

func formats(t *testing.T, k []byte) map[string][]byte {
	return map[string][]byte{
		"gzip": squeeze(t, k, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }),
		"xz":   sized(squeeze(t, k, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) })),
		"zstd": sized(squeeze(t, k, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })),
		"lz4": sized(squeeze(t, k, func(w io.Writer) (io.WriteCloser, error) {
			l := lz4.NewWriter(w)
			return l, l.Apply(lz4.LegacyOption(true))
		})),
		"not compressed": sized(bytes.Clone(k)),
	}
}

func TestExtract(t *testing.T) {
	k := good().bytes()
	for name, payload := range formats(t, k) {
		t.Run(name, func(t *testing.T) {
			got, err := extract(t, bzImage(payload))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, k) {
				t.Errorf("%d bytes differ from the %d of the kernel", len(got), len(k))
			}
			if _, err := extract(t, bzImage(payload[:len(payload)/2])); !errors.Is(err, ErrNoPVH) {
				t.Errorf("half of it: %v", err)
			}
		})
	}
}

func TestExtractRefuses(t *testing.T) {
	edit := func(f func(*vmlinux)) []byte {
		v := good()
		f(&v)
		return bzImage(sized(v.bytes()))
	}
	spoil := func(at int, b ...byte) []byte {
		image := bzImage(sized(good().bytes()))
		copy(image[at:], b)
		return image
	}
	for name, c := range map[string]struct {
		image []byte
		want  string
	}{
		"empty":               {nil, "too short"},
		"text":                {bytes.Repeat([]byte("text"), 1000), "no bzImage"},
		"old protocol":        {spoil(offVersion, 7, 2), "no bzImage"},
		"unknown compression": {bzImage(bytes.Repeat([]byte("x"), 100)), "begins with 78787878"},
		"cut off":             {bzImage(sized(good().bytes()))[:2000], "cut off"},
		"payload of nothing":  {spoil(offPayloadBytes, 0, 0, 0, 0), "payload of 0 bytes"},
		"payload too large":   {spoil(offPayloadBytes, 0xff, 0xff, 0xff, 0xff), "payload of 4294967295 bytes"},
		"32 bit":              {edit(func(v *vmlinux) { v.class = 1 }), ""},
		"another machine":     {edit(func(v *vmlinux) { v.machine = 183 }), "EM_AARCH64"},
		"no note":             {edit(func(v *vmlinux) { v.noteType = 1 }), "CONFIG_PVH"},
		"another's note":      {edit(func(v *vmlinux) { v.noteName = "GNU\x00" }), "CONFIG_PVH"},
		"entry elsewhere":     {edit(func(v *vmlinux) { v.entry = 0x5000000 }), "CONFIG_PVH"},
		"too much memory":     {edit(func(v *vmlinux) { v.memsz = 1 << 40 }), "too much memory"},
		"out of reach":        {edit(func(v *vmlinux) { v.paddr = 1 << 40 }), "too much memory"},
		"outside of the file": {edit(func(v *vmlinux) { v.size = 0x1001 }), "outside of the file"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := extract(t, c.image); !errors.Is(err, ErrNoPVH) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzCheckPVH(f *testing.F) {
	f.Add(good().bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), "k")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		_ = checkPVH(k, int64(len(b))) // must not panic
	})
}
