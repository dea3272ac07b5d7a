package disk

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// WriteCPIO writes a tree as an initial RAM file system: a cpio archive in the
// "newc" format, which the kernel documents in
// Documentation/driver-api/early-userspace/buffer-format.rst.
func WriteCPIO(w io.Writer, tree *Tree) error {
	c := &cpioWriter{w: bufio.NewWriterSize(w, 1<<16)}
	for i, name := range tree.Paths() {
		if name == "/" {
			continue
		}
		e, _ := tree.Lookup(name)
		if err := c.entry(i+1, strings.TrimPrefix(name, "/"), e); err != nil {
			return fmt.Errorf("archiving %s: %w", name, err)
		}
	}
	if err := c.header("TRAILER!!!", cpioHeader{links: 1}); err != nil {
		return err
	}
	return c.w.Flush()
}

type cpioWriter struct {
	w *bufio.Writer
	n int64
}

type cpioHeader struct {
	inode, mode, uid, gid, links int
	size                         int64
}

func (c *cpioWriter) entry(inode int, name string, e Entry) error {
	h := cpioHeader{inode: inode, uid: e.UID, gid: e.GID, links: 1}
	perm := int(e.Mode.Perm())
	switch {
	case e.Mode.IsDir():
		h.mode, h.links = 0o040000|perm, 2
		return c.header(name, h)
	case e.Mode&fs.ModeSymlink != 0:
		h.mode, h.size = 0o120777, int64(len(e.Target))
		if err := c.header(name, h); err != nil {
			return err
		}
		return c.data(strings.NewReader(e.Target), h.size)
	case e.Mode.IsRegular():
		f, err := os.Open(e.File)
		if err != nil {
			return err
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		h.mode, h.size = 0o100000|perm, fi.Size()
		if h.size > 1<<32-1 {
			return fmt.Errorf("a file of %d bytes is too large for the format", h.size)
		}
		if err := c.header(name, h); err != nil {
			return err
		}
		return c.data(f, h.size)
	}
	return fmt.Errorf("not a directory, file or symbolic link: %s", e.Mode.Type())
}

// header writes the magic, 13 fields of 8 hexadecimal digits, and the name; time
// stamps and device numbers are 0.
func (c *cpioWriter) header(name string, h cpioHeader) error {
	n, err := fmt.Fprintf(c.w, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		h.inode, h.mode, h.uid, h.gid, h.links, 0, h.size, 0, 0, 0, 0, len(name)+1, 0, name)
	c.n += int64(n)
	if err != nil {
		return err
	}
	return c.pad()
}

func (c *cpioWriter) data(r io.Reader, size int64) error {
	n, err := io.CopyN(c.w, r, size)
	c.n += n
	if err != nil {
		return err
	}
	return c.pad()
}

// pad fills up to a multiple of 4 bytes.
func (c *cpioWriter) pad() error {
	fill := (4 - c.n%4) % 4
	n, err := c.w.Write(make([]byte, fill))
	c.n += int64(n)
	return err
}
