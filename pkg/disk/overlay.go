package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Overlay describes a fresh qcow2 file, which reads from another one.
type Overlay struct {
	// Backing is a file name relative to the overlay's directory. Without one
	// the disk is empty.
	Backing       string
	BackingFormat string // "qcow2" or "raw"; never left to probing
	SizeBytes     int64  // virtual size, a multiple of 512
	// Key encrypts what is written to the overlay, and not what it reads from its
	// backing file, which has a key of its own or none.
	Key Passphrase
}

const (
	overlayClusterBits  = 16
	overlayClusterBytes = 1 << overlayClusterBits
	sectorBytes         = 512

	// A fresh overlay is: header, refcount table, refcount block, L1 table and, if it
	// is encrypted, LUKS's header with its key slots.
	overlayReftab = 1
	overlayBlock  = 2
	overlayL1     = 3
)

func checkSize(n int64) error {
	if n <= 0 || n > MaxVirtualBytes || n%sectorBytes != 0 {
		return fmt.Errorf("virtual size of %d bytes is not a positive multiple of %d up to %d",
			n, sectorBytes, int64(MaxVirtualBytes))
	}
	return nil
}

func (o Overlay) check() error {
	if err := checkSize(o.SizeBytes); err != nil {
		return err
	}
	switch {
	case o.Backing == "" && o.BackingFormat == "":
		return nil
	case o.BackingFormat != "qcow2" && o.BackingFormat != "raw":
		return fmt.Errorf("backing format %q is neither qcow2 nor raw", o.BackingFormat)
	case o.Backing == "" || len(o.Backing) > maxBackingBytes:
		return fmt.Errorf("backing file name has %d bytes, not 1 to %d", len(o.Backing), maxBackingBytes)
	case strings.ContainsAny(o.Backing, ":\x00"):
		// QEMU would take what is before a colon for a protocol.
		return fmt.Errorf("backing file name %q is not a plain file name", o.Backing)
	}
	return nil
}

func (o Overlay) l1Entries() int64 {
	h := Header{ClusterBits: overlayClusterBits, SizeBytes: o.SizeBytes}
	return h.l1Need()
}

// l1Clusters is the length of the L1 table; one cluster of it maps 4 TiB.
func (o Overlay) l1Clusters() int64 {
	return (o.l1Entries()*8 + overlayClusterBytes - 1) / overlayClusterBytes
}

// luksOffset is where an encrypted overlay has LUKS's header.
func (o Overlay) luksOffset() int64 { return (overlayL1 + o.l1Clusters()) * overlayClusterBytes }

func (o Overlay) clusters() int64 {
	n := overlayL1 + o.l1Clusters()
	if o.Key != "" {
		n += (luksBytes + overlayClusterBytes - 1) / overlayClusterBytes
	}
	return n
}

func (o Overlay) fileBytes() int64 { return o.clusters() * overlayClusterBytes }

// qcow2Layout is where a file has its tables.
type qcow2Layout struct {
	l1, reftab, reftabClusters int64
}

// header is the first cluster's content up to its trailing zeros.
func (o Overlay) header() []byte {
	return o.headerFor(qcow2Layout{overlayL1 * overlayClusterBytes, overlayReftab * overlayClusterBytes, 1})
}

func (o Overlay) headerFor(layout qcow2Layout) []byte {
	const reserved = 8 // compression type and padding, as QEMU writes them
	b := make([]byte, 0, 256)
	be := binary.BigEndian
	backingOffset, crypt := 0, uint32(0)
	if o.Backing != "" {
		backingOffset = headerV3Bytes + reserved + 8 + 8 + 8
	}
	if o.Key != "" {
		crypt = cryptLUKS
		if backingOffset > 0 {
			backingOffset += 8 + 16
		}
	}
	b = append(b, qcow2Magic...)
	b = be.AppendUint32(b, 3)
	b = be.AppendUint64(b, uint64(backingOffset))
	b = be.AppendUint32(b, uint32(len(o.Backing)))
	b = be.AppendUint32(b, overlayClusterBits)
	b = be.AppendUint64(b, uint64(o.SizeBytes))
	b = be.AppendUint32(b, crypt)
	b = be.AppendUint32(b, uint32(o.l1Entries()))
	b = be.AppendUint64(b, uint64(layout.l1))
	b = be.AppendUint64(b, uint64(layout.reftab))
	b = be.AppendUint32(b, uint32(layout.reftabClusters))
	b = be.AppendUint32(b, 0) // internal snapshots
	b = be.AppendUint64(b, 0)
	b = be.AppendUint64(b, 0) // incompatible features
	b = be.AppendUint64(b, 0) // compatible features
	b = be.AppendUint64(b, 0) // autoclear features
	b = be.AppendUint32(b, 4) // refcounts of 16 bits
	b = be.AppendUint32(b, headerV3Bytes+reserved)
	b = be.AppendUint64(b, 0)
	if o.Key != "" {
		h := Header{luksOffset: o.luksOffset()}
		b = append(b, h.encryptionExtension()...)
	}
	return append(appendBackingFormat(b, o.BackingFormat), o.Backing...)
}

// parts are the written parts of a fresh overlay by their offset; all else is
// zeros that the file does not store.
func (o Overlay) parts() (map[int64][]byte, error) {
	parts := map[int64][]byte{
		0:                                   o.header(),
		overlayReftab * overlayClusterBytes: binary.BigEndian.AppendUint64(nil, overlayBlock*overlayClusterBytes),
		overlayBlock * overlayClusterBytes:  bytes.Repeat([]byte{0, 1}, int(o.clusters())),
	}
	if o.Key == "" {
		return parts, nil
	}
	header, slot, err := freshLUKS(o.Key)
	parts[o.luksOffset()], parts[o.luksOffset()+luksFirstSlot*sectorBytes] = header, slot
	return parts, err
}

// WriteOverlay writes a fresh overlay to a file that must not exist yet, with
// mode 0600, and waits until it is on stable storage. The entry in the directory
// is the caller's to synchronise. Nothing is left behind on an error. The time
// does not depend on the size.
func WriteOverlay(path string, o Overlay) (err error) {
	if err := o.check(); err != nil {
		return fmt.Errorf("writing overlay %s: %w", path, err)
	}
	parts, err := o.parts()
	if err != nil {
		return fmt.Errorf("writing overlay %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing overlay: %w", NoSpace(err))
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = fmt.Errorf("writing overlay %s: %w", path, errors.Join(NoSpace(err), os.Remove(path)))
		}
	}()
	if err := f.Truncate(o.fileBytes()); err != nil {
		return err
	}
	for offset, data := range parts {
		if _, err := f.WriteAt(data, offset); err != nil {
			return err
		}
	}
	return f.Sync()
}

// CheckOverlay reports whether the file at path was written completely as
// overlay o, be it fresh or changed by its guest since: false after a write that
// was interrupted by a crash. A file that is something else is an error.
func CheckOverlay(path string, o Overlay) (complete bool, err error) {
	if err := o.check(); err != nil {
		return false, fmt.Errorf("checking overlay %s: %w", path, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("checking overlay: %w", err)
	}
	defer f.Close()
	if complete, err = o.completeIn(f); err != nil {
		return false, fmt.Errorf("checking overlay %s: %w", path, err)
	}
	return complete, nil
}

func (o Overlay) completeIn(f *os.File) (bool, error) {
	st, err := f.Stat()
	if err != nil {
		return false, err
	}
	want := o.header()
	head := make([]byte, len(want))
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	torn := len(bytes.Trim(head, "\x00")) == 0 || bytes.HasPrefix(want, head[:n])
	if torn && (n < len(want) || head[0] == 0 || st.Size() < o.fileBytes()) {
		return false, nil
	}
	h, err := readLayerHeader(f, st.Size())
	if err != nil {
		return false, err
	}
	if h.Backing != o.Backing || h.BackingFormat != o.BackingFormat || h.SizeBytes != o.SizeBytes || h.Encrypted != (o.Key != "") {
		return false, fmt.Errorf("it is another one: %d bytes on %q (%s)", h.SizeBytes, h.Backing, h.BackingFormat)
	}
	// Where these are, a complete image has no zeros, whatever its guest wrote.
	var entry [8]byte
	for _, offset := range []int64{h.reftabOffset, overlayBlock * overlayClusterBytes} {
		if _, err := f.ReadAt(entry[:], offset); err != nil {
			return false, err
		}
		if entry == [8]byte{} {
			return false, nil
		}
	}
	if !h.Encrypted {
		return true, nil
	}
	return o.opens(f, h, st.Size())
}

// opens reports whether the key opens an encrypted overlay: false if that was not
// written wholly.
func (o Overlay) opens(f *os.File, h Header, size int64) (bool, error) {
	// A header or a slot that was not written wholly opens with no key. Neither does
	// one of another key; but what a guest has written to is no torn file.
	_, err := openLUKS(f, h.luksOffset, o.Key)
	if size == o.fileBytes() && (errors.Is(err, ErrPassphrase) || errors.Is(err, ErrHostile)) {
		return false, nil
	}
	return err == nil, err
}
