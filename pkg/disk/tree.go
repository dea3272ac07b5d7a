package disk

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Tree is the content of a file system to be made: paths and what is there.
// Ownership and modes are the tree's own, whoever's the files on this host are,
// so that no root is needed to make a root file system.
type Tree struct {
	entries map[string]Entry
}

// Entry is one path of a Tree.
type Entry struct {
	Mode     fs.FileMode // type and permission bits; 0 type bits mean a regular file
	UID, GID int
	File     string // of a regular file: a file on this host with its content
	Target   string // of a symbolic link
}

// NewTree returns a tree that holds only its root directory.
func NewTree() *Tree {
	return &Tree{entries: map[string]Entry{"/": {Mode: fs.ModeDir | 0o755}}}
}

// Put sets the entry at a clean absolute path, making missing parents as
// directories of root's with mode 0755. What was there is replaced; a directory
// may only be replaced by a directory.
func (t *Tree) Put(name string, e Entry) error {
	if !strings.HasPrefix(name, "/") || path.Clean(name) != name || strings.ContainsAny(name+e.Target, "\"\n\r\x00") {
		return fmt.Errorf("%q is not a path that a tree can hold", name)
	}
	if len(path.Base(name)) > 255 {
		return fmt.Errorf("%q: the name is longer than 255 bytes", name)
	}
	if old, ok := t.entries[name]; ok && old.Mode.IsDir() && !e.Mode.IsDir() {
		return fmt.Errorf("%s is a directory already", name)
	}
	if name != "/" {
		parent := path.Dir(name)
		p, ok := t.entries[parent]
		if !ok {
			if err := t.Put(parent, Entry{Mode: fs.ModeDir | 0o755}); err != nil {
				return err
			}
		} else if !p.Mode.IsDir() {
			return fmt.Errorf("%s lies below %s, which is not a directory", name, parent)
		}
	}
	t.entries[name] = e
	return nil
}

// Lookup returns the entry at name.
func (t *Tree) Lookup(name string) (Entry, bool) {
	e, ok := t.entries[name]
	return e, ok
}

// Remove takes the file or link at name out of the tree, if it is there.
func (t *Tree) Remove(name string) {
	if e, ok := t.entries[name]; ok && !e.Mode.IsDir() {
		delete(t.entries, name)
	}
}

// Paths returns every path, parents before children, in a fixed order.
func (t *Tree) Paths() []string { return slices.Sorted(maps.Keys(t.entries)) }
