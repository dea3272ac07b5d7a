package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// PortableFile is a qcow2 file as it travels, to read from any place of it.
type PortableFile struct {
	*io.SectionReader
	file *os.File
}

// Close closes the file.
func (p *PortableFile) Close() error { return p.file.Close() }

// Portable reads a qcow2 file as it travels: without the name of its backing
// file, which means something on its own host only. Equal layers read equally,
// whatever their parents are called here. All else is as in the file. The caller
// closes it.
func Portable(path string) (*PortableFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening a layer to send: %w", err)
	}
	first, err := rebacked(f, "", "")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading header of %s: %w", path, err), f.Close())
	}
	st, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening a layer to send: %w", err), f.Close())
	}
	size := max(st.Size(), int64(len(first)))
	return &PortableFile{io.NewSectionReader(portable{first, f}, 0, size), f}, nil
}

// portable is a file with another first cluster.
type portable struct {
	first []byte
	rest  io.ReaderAt
}

func (p portable) ReadAt(b []byte, at int64) (n int, err error) {
	if at < int64(len(p.first)) {
		if n = copy(b, p.first[at:]); n == len(b) {
			return n, nil
		}
	}
	m, err := p.rest.ReadAt(b[n:], at+int64(n))
	return n + m, err
}

// SetBacking has a qcow2 file that nobody has open read from another one: backing
// is a file name relative to the file's directory. With the same name and format
// again it changes nothing. The caller synchronises the file.
func SetBacking(path, backing, format string) error {
	if err := (Overlay{Backing: backing, BackingFormat: format, SizeBytes: sectorBytes}).check(); err != nil {
		return fmt.Errorf("setting the backing file of %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("setting a backing file: %w", err)
	}
	first, err := rebacked(f, backing, format)
	if err == nil {
		_, err = f.WriteAt(first, 0)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("setting the backing file of %s: %w", path, err)
	}
	return nil
}

// rebacked is the first cluster of a qcow2 file with another backing file, or with
// none. The first cluster holds the header, its extensions and that name, and
// nothing else; extensions besides the backing file's format and where the encryption
// header is only name features.
func rebacked(f *os.File, backing, format string) ([]byte, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	h, err := readLayerHeader(f, st.Size())
	if err != nil {
		return nil, err
	}
	old := make([]byte, headerV3Bytes)
	if _, err := f.ReadAt(old, 0); err != nil {
		return nil, err
	}
	be := binary.BigEndian
	length := headerV2Bytes
	if h.Version == 3 {
		length = int(be.Uint32(old[100:]))
	}
	head := make([]byte, length, h.clusterBytes())
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, err
	}
	var extensions []byte
	if h.Encrypted {
		extensions = h.encryptionExtension()
	}
	extensions = appendBackingFormat(extensions, format)
	offset := 0
	if backing != "" {
		offset = length + len(extensions)
	}
	be.PutUint64(head[8:], uint64(offset))
	be.PutUint32(head[16:], uint32(len(backing)))
	head = append(append(head, extensions...), backing...)
	if len(head) > cap(head) {
		return nil, fmt.Errorf("a backing file's name of %d bytes does not fit into a cluster", len(backing))
	}
	return head[:cap(head)], nil
}

// appendBackingFormat appends the extension that says a backing file's format, if
// there is one, and the end of the extensions.
func appendBackingFormat(b []byte, format string) []byte {
	be := binary.BigEndian
	if format != "" {
		b = be.AppendUint32(b, extBackingFormat)
		b = be.AppendUint32(b, uint32(len(format)))
		b = append(b, format...)
		b = append(b, make([]byte, 8-len(format))...)
	}
	return be.AppendUint64(b, extEnd)
}
