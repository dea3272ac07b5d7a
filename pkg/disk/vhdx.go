package disk

import (
	"encoding/binary"
	"hash/crc32"
	"io"
)

// The layout of VHDX files ([MS-VHDX],
// https://learn.microsoft.com/openspecs/windows_protocols/ms-vhdx). Numbers are
// little-endian.
const (
	vhdxSignature   = "vhdxfile"
	vhdxHeadBytes   = 4 << 10
	vhdxRegionBytes = 64 << 10
	vhdxMaxEntries  = 2047
	vhdxHasParent   = 1 << 1
	vhdxMinBlock    = 1 << 20
	vhdxMaxBlock    = 256 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// GUIDs as they are in files.
const (
	vhdxBAT        = "2dc27766-f623-4200-9d64-115e9bfd4a08"
	vhdxMetadata   = "8b7ca206-4790-4b9a-b8fe-575f050f886e"
	vhdxParameters = "caa16737-fa36-4d43-b3b6-33f0aa44e76b"
	vhdxSize       = "2fa54224-cd1b-4876-b211-5dbed83bf4b8"
	vhdxParent     = "a8d35f2d-b30b-454d-abf7-d3d84834ab0c"
)

// inspectVHDX accepts fixed and dynamic disks that were closed cleanly: no parent, and
// no log, which QEMU would replay into a file that is the tenant's. What of the tables
// is not looked at here is checked by QEMU, and leads nowhere but into the file.
func inspectVHDX(r io.ReaderAt, size int64) error {
	head := make([]byte, len(vhdxSignature))
	if _, err := r.ReadAt(head, 0); err != nil {
		return shortFile(err)
	}
	if string(head) != vhdxSignature {
		return hostile("it is no VHDX")
	}
	if err := vhdxHeader(r); err != nil {
		return err
	}
	at, length, err := vhdxRegion(r, size)
	if err != nil {
		return err
	}
	return vhdxItems(r, at, length)
}

// vhdxHeader looks at the valid header with the higher number.
func vhdxHeader(r io.ReaderAt) error {
	le := binary.LittleEndian
	var current []byte
	for _, at := range []int64{64 << 10, 128 << 10} {
		h := make([]byte, vhdxHeadBytes)
		if _, err := r.ReadAt(h, at); err != nil {
			return shortFile(err)
		}
		if string(h[:4]) != "head" || !summed(h) || le.Uint16(h[66:]) != 1 {
			continue
		}
		if current == nil || le.Uint64(h[8:]) > le.Uint64(current[8:]) {
			current = h
		}
	}
	if current == nil {
		return hostile("neither of its headers is whole")
	}
	for _, b := range current[48:64] {
		if b != 0 {
			return hostile("it was not closed cleanly: its log has to be replayed where it comes from, for instance by qemu-img check -r all")
		}
	}
	return nil
}

// summed checks a structure's checksum, which is in its second word and counts as 0.
func summed(b []byte) bool {
	sum := crc32.Checksum(b[:4], castagnoli)
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, b[8:]) == binary.LittleEndian.Uint32(b[4:])
}

// vhdxRegion finds the metadata.
func vhdxRegion(r io.ReaderAt, size int64) (at, length int64, err error) {
	le := binary.LittleEndian
	b := make([]byte, vhdxRegionBytes)
	for _, copyAt := range []int64{192 << 10, 256 << 10} {
		if _, err := r.ReadAt(b, copyAt); err != nil {
			return 0, 0, shortFile(err)
		}
		if string(b[:4]) != "regi" || !summed(b) {
			continue
		}
		n := le.Uint32(b[8:])
		if n > vhdxMaxEntries {
			return 0, 0, hostile("its region table has %d entries", n)
		}
		for i := range int(n) {
			e := b[16+32*i:]
			offset, bytes := le.Uint64(e[16:]), int64(le.Uint32(e[24:]))
			if offset > uint64(size) || bytes > size-int64(offset) {
				return 0, 0, hostile("a region of %d bytes at %#x is outside of the file", bytes, offset)
			}
			switch guid(e[:16]) {
			case vhdxMetadata:
				at, length = int64(offset), bytes
			case vhdxBAT:
			default:
				if le.Uint32(e[28:])&1 != 0 {
					return 0, 0, hostile("it requires the region %s, which is not known", guid(e[:16]))
				}
			}
		}
		if length < vhdxRegionBytes {
			return 0, 0, hostile("it has no metadata")
		}
		return at, length, nil
	}
	return 0, 0, hostile("neither of its region tables is whole")
}

// vhdxItems reads the metadata.
func vhdxItems(r io.ReaderAt, at, length int64) error {
	le := binary.LittleEndian
	table := make([]byte, vhdxRegionBytes)
	if _, err := r.ReadAt(table, at); err != nil {
		return shortFile(err)
	}
	n := le.Uint16(table[10:])
	if string(table[:8]) != "metadata" || n > vhdxMaxEntries {
		return hostile("its metadata is none")
	}
	seen := map[string]bool{}
	for i := range int(n) {
		e := table[32+32*i:]
		id, offset, bytes := guid(e[:16]), int64(le.Uint32(e[16:])), int64(le.Uint32(e[20:]))
		if offset+bytes > length {
			return hostile("the metadata item %s is outside of the metadata", id)
		}
		if id == vhdxParent {
			return hostile("it has a parent")
		}
		if id != vhdxParameters && id != vhdxSize {
			continue
		}
		seen[id] = true
		item := make([]byte, 8)
		if _, err := r.ReadAt(item, at+offset); err != nil {
			return shortFile(err)
		}
		if err := vhdxItem(id, item); err != nil {
			return err
		}
	}
	if !seen[vhdxParameters] || !seen[vhdxSize] {
		return hostile("its metadata does not say how large it is")
	}
	return nil
}

func vhdxItem(id string, item []byte) error {
	le := binary.LittleEndian
	if id == vhdxSize {
		if virtual := le.Uint64(item); virtual == 0 || virtual > MaxVirtualBytes {
			return hostile("virtual size of %d bytes", virtual)
		}
		return nil
	}
	switch block, flags := le.Uint32(item), le.Uint32(item[4:]); {
	case flags&vhdxHasParent != 0:
		return hostile("it has a parent")
	case block < vhdxMinBlock || block > vhdxMaxBlock || block&(block-1) != 0:
		return hostile("blocks of %d bytes", block)
	}
	return nil
}
