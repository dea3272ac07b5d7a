// Package kernel owns what bundt knows of Linux kernel files: it takes the
// uncompressed kernel out of an x86 bzImage, so that a machine can start it at
// its PVH entry point without decompressing it first. It imports nothing of bundt.
package kernel

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

// ErrNoPVH: the file holds no kernel that can be started directly: it is no
// bzImage, is compressed in a way that is not known here, or was built without
// CONFIG_PVH. It may boot all the same, by its own means. Test with errors.Is.
var ErrNoPVH = errors.New("no kernel with a PVH entry point")

// Limits on what a kernel may be; it may be anybody's.
const (
	maxCompressed = 256 << 20
	maxVMLinux    = 512 << 20 // as a file and, separately, in memory
	maxNotes      = 64 << 10
)

// The setup header of a bzImage.
// https://docs.kernel.org/arch/x86/boot.html
const (
	setupHeaderEnd  = 0x250
	offSetupSects   = 0x1f1
	offMagic        = 0x202 // "HdrS"
	offVersion      = 0x206
	offPayload      = 0x248 // relative to the protected-mode code
	offPayloadBytes = 0x24c
	payloadVersion  = 0x208 // the first protocol version with a payload's place
	sector          = 512
	defaultSects    = 4
)

// ExtractVMLinux writes the kernel inside of a bzImage to dst, an empty file, and
// checks that a PVH loader can start it: an x86_64 ELF executable with a Xen note
// that names its 32-bit entry point, whose segments fit into the file and into
// 512 MiB. It returns ErrNoPVH for any other kernel; dst is of no use then.
// https://xenbits.xen.org/docs/unstable/misc/pvh.html
func ExtractVMLinux(bzImage *os.File, dst *os.File) error {
	payload, err := findPayload(bzImage)
	if err != nil {
		return err
	}
	r, err := decompressor(payload)
	if err != nil {
		return err
	}
	n, err := io.Copy(dst, io.LimitReader(r, maxVMLinux+1))
	var onDisk *os.PathError
	switch {
	case errors.As(err, &onDisk):
		return fmt.Errorf("writing the kernel: %w", err)
	case err != nil:
		return fmt.Errorf("%w: decompressing it: %w", ErrNoPVH, err)
	case n > maxVMLinux:
		return fmt.Errorf("%w: it is larger than %d bytes", ErrNoPVH, int64(maxVMLinux))
	}
	return checkPVH(dst, n)
}

// findPayload returns the compressed kernel of a bzImage.
func findPayload(f *os.File) ([]byte, error) {
	header := make([]byte, setupHeaderEnd)
	if _, err := f.ReadAt(header, 0); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: the file is too short", ErrNoPVH)
	} else if err != nil {
		return nil, fmt.Errorf("reading the kernel: %w", err)
	}
	le := binary.LittleEndian
	if string(header[offMagic:offMagic+4]) != "HdrS" || le.Uint16(header[offVersion:]) < payloadVersion {
		return nil, fmt.Errorf("%w: it is no bzImage", ErrNoPVH)
	}
	sects := int64(header[offSetupSects])
	if sects == 0 {
		sects = defaultSects
	}
	start := (sects+1)*sector + int64(le.Uint32(header[offPayload:]))
	length := int64(le.Uint32(header[offPayloadBytes:]))
	if length < 8 || length > maxCompressed {
		return nil, fmt.Errorf("%w: a payload of %d bytes", ErrNoPVH, length)
	}
	payload := make([]byte, length)
	if _, err := f.ReadAt(payload, start); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: the file is cut off", ErrNoPVH)
	} else if err != nil {
		return nil, fmt.Errorf("reading the kernel: %w", err)
	}
	return payload, nil
}

// decompressor reads a payload by its magic number. The kernel's build appends
// the uncompressed size, except where the format has it at its end already.
func decompressor(payload []byte) (io.Reader, error) {
	body := bytes.NewReader(payload[:len(payload)-4])
	var r io.Reader
	var err error
	switch {
	case bytes.HasPrefix(payload, []byte("\x1f\x8b")):
		r, err = gzip.NewReader(bytes.NewReader(payload))
	case bytes.HasPrefix(payload, []byte("\xfd7zXZ\x00")):
		r, err = xz.NewReader(body) // refuses x86's BCJ filter, which not every kernel is built with
	case bytes.HasPrefix(payload, []byte("\x28\xb5\x2f\xfd")):
		r, err = zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxVMLinux))
	case bytes.HasPrefix(payload, []byte("\x02\x21\x4c\x18")): // lz4's legacy frame
		r = lz4.NewReader(body)
	case bytes.HasPrefix(payload, []byte("BZh")):
		r = bzip2.NewReader(body)
	case bytes.HasPrefix(payload, []byte(elf.ELFMAG)): // CONFIG_KERNEL_UNCOMPRESSED
		r = body
	default:
		return nil, fmt.Errorf("%w: a payload that begins with %x", ErrNoPVH, payload[:4])
	}
	if err != nil {
		return nil, fmt.Errorf("%w: decompressing it: %w", ErrNoPVH, err)
	}
	return r, nil
}

// checkPVH looks at what a loader relies on.
func checkPVH(f *os.File, size int64) error {
	e, err := elf.NewFile(f)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoPVH, err)
	}
	if e.Class != elf.ELFCLASS64 || e.Machine != elf.EM_X86_64 || e.Type != elf.ET_EXEC {
		return fmt.Errorf("%w: %s %s %s", ErrNoPVH, e.Class, e.Machine, e.Type)
	}
	entry, err := checkSegments(e.Progs, uint64(size))
	if err != nil {
		return err
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_LOAD && entry >= p.Paddr && entry < p.Paddr+p.Memsz {
			return nil
		}
	}
	return fmt.Errorf("%w: it was built without CONFIG_PVH", ErrNoPVH)
}

// checkSegments returns the entry point that the segments' notes name, 0 for none.
func checkSegments(segments []*elf.Prog, size uint64) (entry uint64, err error) {
	var memory uint64
	for _, p := range segments {
		if p.Off > size || p.Filesz > size-p.Off || p.Filesz > p.Memsz && p.Type == elf.PT_LOAD {
			return 0, fmt.Errorf("%w: a segment lies outside of the file", ErrNoPVH)
		}
		switch p.Type {
		case elf.PT_LOAD:
			if memory += p.Memsz; p.Memsz > maxVMLinux || memory > maxVMLinux || p.Paddr > 1<<32-maxVMLinux {
				return 0, fmt.Errorf("%w: it needs too much memory", ErrNoPVH)
			}
		case elf.PT_NOTE:
			if entry == 0 {
				if entry, err = xenEntry(p); err != nil {
					return 0, err
				}
			}
		}
	}
	return entry, nil
}

// xenPhys32Entry is XEN_ELFNOTE_PHYS32_ENTRY.
const xenPhys32Entry = 18

// xenEntry finds the entry point in a segment of notes, 0 if it names none.
func xenEntry(p *elf.Prog) (uint64, error) {
	if p.Filesz > maxNotes {
		return 0, fmt.Errorf("%w: %d bytes of notes", ErrNoPVH, p.Filesz)
	}
	notes := make([]byte, p.Filesz)
	if _, err := p.ReadAt(notes, 0); err != nil {
		return 0, fmt.Errorf("reading the kernel's notes: %w", err)
	}
	le := binary.LittleEndian
	padded := func(n uint32) int { return (int(n) + 3) &^ 3 }
	for len(notes) >= 12 {
		nameBytes, descBytes, kind := le.Uint32(notes), le.Uint32(notes[4:]), le.Uint32(notes[8:])
		notes = notes[12:]
		if nameBytes > maxNotes || descBytes > maxNotes || padded(nameBytes)+padded(descBytes) > len(notes) {
			break
		}
		name, desc := notes[:nameBytes], notes[padded(nameBytes):][:descBytes]
		if kind == xenPhys32Entry && string(name) == "Xen\x00" {
			switch len(desc) {
			case 4:
				return uint64(le.Uint32(desc)), nil
			case 8:
				return le.Uint64(desc), nil
			}
		}
		notes = notes[padded(nameBytes)+padded(descBytes):]
	}
	return 0, nil
}
