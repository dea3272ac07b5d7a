package rootfs

import (
	"fmt"
	"io/fs"
)

// names lists a directory: in its inode, or in blocks of entries. Those of an index are
// behind all of them, and not needed.
func (v *xfs) names(n uint64) ([]name, error) {
	in, err := v.inode(n)
	if err != nil {
		return nil, err
	}
	if unixMode(be.Uint16(in[2:]))&fs.ModeDir == 0 {
		return nil, fmt.Errorf("%w: inode %d is no directory", ErrDamaged, n)
	}
	if f := in.content(); f.format == xfsLocal {
		return shortNames(f.data, in.size())
	}
	c, err := v.file(in)
	if err != nil {
		return nil, err
	}
	if c.size > maxDirBytes || c.size%v.dirBlock != 0 {
		return nil, fmt.Errorf("%w: a directory of %d bytes", ErrDamaged, c.size)
	}
	var out []name
	b := make([]byte, v.dirBlock)
	for off := int64(0); off < c.size; off += v.dirBlock {
		if _, err := c.ReadAt(b, off); err != nil {
			return nil, err
		}
		if out, err = blockNames(out, b); err != nil {
			return nil, err
		}
	}
	return sorted(out), nil
}

// shortNames reads a directory that has room in its inode (xfs_dir2_sf): how many entries,
// how many of those have numbers of 8 bytes and not 4, the parent; of each entry the
// length of its name, where it would be in a block, the name, its kind and its number.
func shortNames(b []byte, size int64) (out []name, err error) {
	if size < 6 || size > int64(len(b)) {
		return nil, fmt.Errorf("%w: a directory of %d bytes in its inode", ErrDamaged, size)
	}
	b = b[:size]
	count, number := int(b[0]), 4
	if b[1] != 0 {
		number = 8
	}
	at := 2 + number
	for range count {
		if at+3 > len(b) || at+3+int(b[at])+1+number > len(b) {
			return nil, fmt.Errorf("%w: an entry of a directory is cut off", ErrDamaged)
		}
		text := string(b[at+3:][:b[at]])
		if err := checkName(text); err != nil {
			return nil, err
		}
		at += 3 + len(text) + 1
		inode := uint64(0)
		for _, digit := range b[at : at+number] {
			inode = inode<<8 | uint64(digit)
		}
		out = append(out, name{text, inode})
		at += number
	}
	return sorted(out), nil
}

// blockNames adds the entries of a block: of a directory's only one, which ends with an
// index, or of one of several.
func blockNames(out []name, b []byte) ([]name, error) {
	const header = 64
	end := len(b)
	switch string(b[:4]) {
	case "\x00\x00\x00\x00": // a hole
		return out, nil
	case "XDD3":
	case "XDB3":
		if end -= 8 + 8*int(be.Uint32(b[len(b)-8:])); end < header {
			return nil, fmt.Errorf("%w: a directory with an index of %d entries", ErrDamaged, be.Uint32(b[len(b)-8:]))
		}
	default:
		return nil, fmt.Errorf("%w: a block of a directory begins with %q", ErrDamaged, b[:4])
	}
	for at := header; at < end; {
		length := 0
		if at+8 > end {
			return nil, fmt.Errorf("%w: an entry of a directory is cut off", ErrDamaged)
		}
		if be.Uint16(b[at:]) == 0xffff { // nothing is here
			length = int(be.Uint16(b[at+2:]))
		} else if at+9 <= end {
			length = (8 + 1 + int(b[at+8]) + 1 + 2 + 7) &^ 7
		}
		if length < 8 || at+length > end || length%8 != 0 {
			return nil, fmt.Errorf("%w: an entry of a directory with %d bytes", ErrDamaged, length)
		}
		if be.Uint16(b[at:]) != 0xffff {
			text := string(b[at+9:][:b[at+8]])
			if text != "." && text != ".." {
				if err := checkName(text); err != nil {
					return nil, err
				}
				out = append(out, name{text, be.Uint64(b[at:])})
			}
		}
		at += length
	}
	return out, nil
}
