package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Formats of disk images besides qcow2, by QEMU's names.
const (
	FormatRaw   = "raw"
	FormatQcow2 = "qcow2"
	FormatVMDK  = "vmdk"
	FormatVPC   = "vpc" // Microsoft's VHD
	FormatVHDX  = "vhdx"
)

const (
	maxDescriptor     = 1 << 20
	vhdFixed          = 2
	vhdDynamic        = 3
	vmdkMagic         = "KDMV"
	vhdCookie         = "conectix"
	vmdkCapacityAt    = 12
	vmdkDescriptorAt  = 28
	vmdkDescriptorLen = 36
)

// inspectForeign checks an image of a format that can name other files on the
// host, of which QEMU would read. It returns ErrHostile unless the image is
// whole in its own file.
func inspectForeign(r io.ReaderAt, size int64, format string) error {
	switch format {
	case FormatVMDK:
		return inspectVMDK(r, size)
	case FormatVPC:
		return inspectVHD(r, size)
	case FormatVHDX:
		return inspectVHDX(r, size)
	}
	return fmt.Errorf("format %q is not supported: use raw, qcow2, vmdk, vpc or vhdx", format)
}

// inspectVMDK accepts sparse extents that have their data in themselves: no
// descriptor in a file of its own, no other extents, no parent.
// https://github.com/libyal/libvmdk/blob/main/documentation/VMWare%20Virtual%20Disk%20Format%20(VMDK).asciidoc
func inspectVMDK(r io.ReaderAt, size int64) error {
	head := make([]byte, sectorBytes)
	if _, err := r.ReadAt(head, 0); err != nil {
		return shortFile(err)
	}
	if string(head[:4]) != vmdkMagic {
		return hostile("it is no sparse VMDK; a descriptor that names other files is refused: convert it to streamOptimized or monolithicSparse")
	}
	le := binary.LittleEndian
	if le.Uint64(head[vmdkCapacityAt:]) == 0 {
		return hostile("its data is in other files")
	}
	at, length := le.Uint64(head[vmdkDescriptorAt:]), le.Uint64(head[vmdkDescriptorLen:])
	if at == 0 {
		return nil // no descriptor, so no parent
	}
	if at > uint64(size)/sectorBytes || length > maxDescriptor/sectorBytes {
		return hostile("its descriptor is outside of the file, or too large")
	}
	// QEMU reads 20 sectors of it, whatever the header says.
	text := make([]byte, max(length*sectorBytes, 20*sectorBytes))
	n, err := r.ReadAt(text, int64(at*sectorBytes))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if text = text[:n]; bytes.Contains(text, []byte("parentFileNameHint")) {
		return hostile("it has a parent")
	}
	return nil
}

// inspectVHD accepts fixed and dynamic disks, not differencing ones. As for QEMU,
// the copy of the footer at the start, which only dynamic ones have, is what
// counts; without one the footer is at the end.
func inspectVHD(r io.ReaderAt, size int64) error {
	start, err := vhdType(r, 0)
	if err != nil {
		return err
	}
	if start == vhdDynamic {
		return nil
	}
	end, err := vhdType(r, max(0, size-sectorBytes))
	switch {
	case err != nil:
		return err
	case start != 0:
		return hostile("VHD type %d has a parent, or is unknown", start)
	case end == vhdFixed:
		return nil
	case end != 0:
		return hostile("VHD type %d has a parent, or lacks its start", end)
	}
	return hostile("it is no VHD")
}

// vhdType is the type that a footer at this place tells, 0 if there is none.
func vhdType(r io.ReaderAt, at int64) (uint32, error) {
	footer := make([]byte, sectorBytes)
	if _, err := r.ReadAt(footer, at); err != nil {
		return 0, shortFile(err)
	}
	if string(footer[:len(vhdCookie)]) != vhdCookie {
		return 0, nil
	}
	return binary.BigEndian.Uint32(footer[60:]), nil
}

func shortFile(err error) error {
	if errors.Is(err, io.EOF) {
		return hostile("the file is too short")
	}
	return err
}
