package rootfs

import (
	"fmt"
	"strings"
)

// Flags of attributes.
const (
	xfsAttributeLocal      = 0x1 // its value is next to its name
	xfsAttributeTrusted    = 0x2
	xfsAttributeSecure     = 0x4
	xfsAttributeParent     = 0x8 // where the file is, which is no attribute
	xfsAttributeIncomplete = 0x80
)

// attributes lists those of an inode: in itself, or in blocks that are a tree by the hashes
// of their names.
func (v *xfs) attributes(n uint64) (map[string]string, error) {
	in, err := v.inode(n)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	f := in.attributes()
	switch {
	case len(f.data) == 0:
		return found, nil
	case f.format == xfsLocal:
		return found, shortAttributes(f.data, found)
	}
	x, err := v.extents(f)
	if err != nil || len(x) == 0 {
		return found, err
	}
	t := &xfsAttributes{xfs: v, file: &content{v.r, v.block, int64(x[len(x)-1].first+x[len(x)-1].count) << v.blockLog, x}, found: found}
	return found, t.node(0, 0)
}

// setAttribute adds an attribute by the name that Linux has for it.
func setAttribute(found map[string]string, flags byte, text, value string) {
	switch {
	case flags&(xfsAttributeParent|xfsAttributeIncomplete) != 0:
		return
	case flags&xfsAttributeTrusted != 0 && text == "SGI_ACL_FILE":
		text = attributePrefixes[2]
	case flags&xfsAttributeTrusted != 0 && text == "SGI_ACL_DEFAULT":
		text = attributePrefixes[3]
	case flags&xfsAttributeTrusted != 0:
		text = "trusted." + text
	case flags&xfsAttributeSecure != 0:
		text = "security." + text
	default:
		text = "user." + text
	}
	found[text] = value
}

// shortAttributes reads those in an inode: their size and number, and of each the lengths
// of its name and value, its flags, and both.
func shortAttributes(b []byte, found map[string]string) error {
	if len(b) < 4 || int(be.Uint16(b)) > len(b) || be.Uint16(b) < 4 {
		return fmt.Errorf("%w: attributes are cut off", ErrDamaged)
	}
	b = b[:be.Uint16(b)]
	at := 4
	for range b[2] {
		if at+3 > len(b) || at+3+int(b[at])+int(b[at+1]) > len(b) {
			return fmt.Errorf("%w: an attribute is cut off", ErrDamaged)
		}
		name, value := b[at+3:][:b[at]], b[at+3+int(b[at]):][:b[at+1]]
		setAttribute(found, b[at+2], string(name), string(value))
		at += 3 + len(name) + len(value)
	}
	return nil
}

type xfsAttributes struct {
	*xfs
	file  *content
	found map[string]string
	seen  int // blocks
}

// node reads the block n of the attributes, and what is below it.
func (t *xfsAttributes) node(n uint32, depth int) error {
	const leaf, node, header, entries = 0x3bee, 0x3ebe, 56, 64
	b := make([]byte, t.block)
	if t.seen++; int64(t.seen) > t.file.size>>t.blockLog || depth > xfsMaxForkLen {
		return fmt.Errorf("%w: the tree of attributes goes round", ErrDamaged)
	}
	if _, err := t.file.ReadAt(b, int64(n)<<t.blockLog); err != nil {
		return fmt.Errorf("%w: reading block %d of the attributes: %w", ErrDamaged, n, err)
	}
	count := int(be.Uint16(b[header:]))
	switch be.Uint16(b[8:]) {
	case leaf:
		return t.leaf(b, count)
	case node:
		if entries+8*count > len(b) {
			return fmt.Errorf("%w: a node with %d blocks of attributes", ErrDamaged, count)
		}
		for i := range count {
			if err := t.node(be.Uint32(b[entries+8*i+4:]), depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%w: block %d has no attributes", ErrDamaged, n)
}

// leaf reads a block of attributes: of each a hash, where its name is, and flags.
func (t *xfsAttributes) leaf(b []byte, count int) error {
	const entries = 80
	if entries+8*count > len(b) {
		return fmt.Errorf("%w: a block with %d attributes", ErrDamaged, count)
	}
	for i := range count {
		at, flags := int(be.Uint16(b[entries+8*i+4:])), b[entries+8*i+6]
		if at+9 > len(b) {
			return fmt.Errorf("%w: an attribute at byte %d of a block", ErrDamaged, at)
		}
		if flags&xfsAttributeLocal != 0 {
			size, named := int(be.Uint16(b[at:])), int(b[at+2])
			if at+3+named+size > len(b) {
				return fmt.Errorf("%w: an attribute with a name of %d bytes and a value of %d", ErrDamaged, named, size)
			}
			setAttribute(t.found, flags, string(b[at+3:][:named]), string(b[at+3+named:][:size]))
			continue
		}
		first, size, named := be.Uint32(b[at:]), int64(be.Uint32(b[at+4:])), int(b[at+8])
		if at+9+named > len(b) || size > maxAttribute {
			return fmt.Errorf("%w: an attribute with a name of %d bytes and a value of %d", ErrDamaged, named, size)
		}
		if flags&xfsAttributeIncomplete != 0 {
			continue
		}
		value, err := t.remote(first, size)
		if err != nil {
			return err
		}
		setAttribute(t.found, flags, string(b[at+9:][:named]), value)
	}
	return nil
}

// remote reads a value that has blocks of its own, each of which says whose it is.
func (t *xfsAttributes) remote(first uint32, size int64) (string, error) {
	const header = 56
	var value strings.Builder
	b := make([]byte, t.block)
	for n := int64(first); int64(value.Len()) < size; n++ {
		if _, err := t.file.ReadAt(b, n<<t.blockLog); err != nil {
			return "", fmt.Errorf("%w: reading an attribute's value: %w", ErrDamaged, err)
		}
		if string(b[:4]) != "XARM" {
			return "", fmt.Errorf("%w: block %d of the attributes has no value", ErrDamaged, n)
		}
		value.Write(b[header:][:min(t.block-header, size-int64(value.Len()))])
	}
	return value.String(), nil
}
