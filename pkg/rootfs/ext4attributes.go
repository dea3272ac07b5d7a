package rootfs

import (
	"encoding/binary"
	"fmt"
	"io"
)

// The layout of extended attributes is that of the kernel's
// Documentation/filesystems/ext4/attributes.rst.
const (
	attributeMagic  = 0xea020000
	attributeHeader = 32 // bytes before the entries of a block
	attributeEntry  = 16 // bytes before an entry's name
	// maxAttribute is what Linux lets a value have (XATTR_SIZE_MAX).
	maxAttribute = 64 << 10
)

// attributePrefixes are the beginnings of names, by the number that stands for them.
var attributePrefixes = map[byte]string{
	0: "", 1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.", 6: "security.", 7: "system.", 8: "system.richacl",
}

// attributeBlock is the block that has more of an inode's attributes; 0 if none has.
func (in inode) attributeBlock() uint64 { return uint64(le32(in[0x68:])) | uint64(le16(in[0x76:]))<<32 }

// attributes is where an inode itself has attributes; nil if it has none.
func (in inode) attributes() []byte {
	if len(in) <= smallestInode+2 {
		return nil
	}
	at := smallestInode + int(le16(in[smallestInode:]))
	if at+8 > len(in) || le32(in[at:]) != attributeMagic || le32(in[at+4:]) == 0 {
		return nil
	}
	return in[at+4:]
}

func (v *ext4) attributes(n uint64) (map[string]string, error) {
	in, err := v.inode(n)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	if b := in.attributes(); b != nil {
		if err := v.readAttributes(b, 0, found); err != nil {
			return nil, err
		}
	}
	if n := in.attributeBlock(); n != 0 {
		b := make([]byte, v.block)
		if _, err := v.r.ReadAt(b, int64(n)*v.block); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if le32(b) != attributeMagic {
			return nil, fmt.Errorf("%w: block %d has none", ErrDamaged, n)
		}
		if err := v.readAttributes(b, attributeHeader, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// readAttributes adds the attributes whose entries are in b from at on, and whose values
// are counted from the beginning of b.
func (v *ext4) readAttributes(b []byte, at int, found map[string]string) error {
	for at+4 <= len(b) && binary.LittleEndian.Uint32(b[at:]) != 0 {
		if at+attributeEntry > len(b) {
			return fmt.Errorf("%w: an attribute is cut off", ErrDamaged)
		}
		entry := b[at:]
		nameEnd := attributeEntry + int(entry[0])
		size := int64(le32(entry[8:]))
		if nameEnd > len(entry) || size > maxAttribute {
			return fmt.Errorf("%w: an attribute has a name of %d bytes and a value of %d", ErrDamaged, entry[0], size)
		}
		prefix, ok := attributePrefixes[entry[1]]
		if !ok {
			prefix = fmt.Sprintf("%d:", entry[1])
		}
		value, err := v.attributeValue(b, int64(le16(entry[2:])), size, le32(entry[4:]))
		if err != nil {
			return err
		}
		found[prefix+string(entry[attributeEntry:nameEnd])] = string(value)
		at += (nameEnd + 3) &^ 3
	}
	return nil
}

// attributeValue is a value in b, or a large one, which is the content of an inode.
func (v *ext4) attributeValue(b []byte, at, size int64, n uint32) ([]byte, error) {
	if n == 0 {
		if at+size > int64(len(b)) {
			return nil, fmt.Errorf("%w: an attribute's value of %d bytes at %d", ErrDamaged, size, at)
		}
		return b[at : at+size], nil
	}
	in, err := v.inode(uint64(n))
	if err != nil {
		return nil, err
	}
	c, err := v.file(in)
	if err != nil {
		return nil, err
	}
	value := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(c, 0, c.size), value); err != nil {
		return nil, fmt.Errorf("%w: an attribute's value: %w", ErrDamaged, err)
	}
	return value, nil
}
