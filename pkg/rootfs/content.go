package rootfs

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// extent is a part of a file that has blocks of its own.
type extent struct {
	first uint64 // block of the file
	count uint64
	at    uint64 // block of the file system; 0 for one in which there are zeros
}

// content is a file's, holes being zeros.
type content struct {
	r       io.ReaderAt // the file system
	block   int64       // bytes
	size    int64
	extents []extent // in order
}

// ReadAt is of io.ReaderAt.
func (c *content) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && off < c.size {
		part := p[n:min(int64(len(p)), int64(n)+c.size-off)]
		block := uint64(off / c.block)
		i, found := slices.BinarySearchFunc(c.extents, block, func(e extent, b uint64) int {
			switch {
			case b < e.first:
				return 1
			case b >= e.first+e.count:
				return -1
			}
			return 0
		})
		until := c.size // of the hole
		if i < len(c.extents) {
			until = int64(c.extents[i].first) * c.block
		}
		if found {
			until = int64(c.extents[i].first+c.extents[i].count) * c.block
		}
		part = part[:min(int64(len(part)), until-off)]
		if found && c.extents[i].at != 0 {
			at := int64(c.extents[i].at)*c.block + off - int64(c.extents[i].first)*c.block
			if k, err := c.r.ReadAt(part, at); err != nil {
				return n + k, fmt.Errorf("%w: reading a file's blocks: %w", ErrDamaged, err)
			}
		} else {
			clear(part)
		}
		n, off = n+len(part), off+int64(len(part))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// checkName refuses the name of a file that none can have.
func checkName(text string) error {
	if text == "" || path.Base(text) != text {
		return fmt.Errorf("%w: a file is named %q", ErrDamaged, text)
	}
	return nil
}

func sorted(list []name) []name {
	slices.SortFunc(list, func(a, b name) int { return strings.Compare(a.text, b.text) })
	return list
}

// unixMode is the type and the permissions of a file, as all of Linux's file systems keep them.
func unixMode(m uint16) fs.FileMode {
	const typeMask = 0xf000
	out := fs.FileMode(m & 0o777)
	for bit, mode := range map[uint16]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&bit != 0 {
			out |= mode
		}
	}
	return out | map[uint16]fs.FileMode{
		0x1000: fs.ModeNamedPipe, 0x2000: fs.ModeDevice | fs.ModeCharDevice, 0x4000: fs.ModeDir, 0x6000: fs.ModeDevice, 0xa000: fs.ModeSymlink, 0xc000: fs.ModeSocket,
	}[m&typeMask]
}
