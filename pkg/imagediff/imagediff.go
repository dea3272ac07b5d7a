// Package imagediff owns what differs between two root file systems: files, and what
// they mean: packages, services, users and groups. It may import pkg/rootfs
// and pkg/inventory only.
package imagediff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/bundt/bundt/pkg/rootfs"
)

// Kind of a difference.
type Kind string

// The kinds.
const (
	Added   Kind = "added"
	Removed Kind = "removed"
	Changed Kind = "changed"
)

// Options say how to compare.
type Options struct {
	// SameOrigin says that both come from one file system. A file whose inode, times
	// and size are the same in both is not read then: a program cannot change it and
	// set back the time of its inode's change.
	SameOrigin bool
	// Path limits the files to one, or to those below a directory; "" is all.
	Path string
	// Content adds the lines that differ of text files.
	Content bool
	// MaxFiles is how many files are listed; those beyond are counted.
	MaxFiles int
}

// Result is what differs.
type Result struct {
	Files []File
	More  int // files that differ and are not listed
	Items []Item
	// Read are the bytes of files that were read to compare them.
	Read int64
}

// File is one that differs.
type File struct {
	Path          string
	Kind          Kind
	What          []string // of a changed one: type, content, mode, owner, target, device
	Before, After *rootfs.Entry
	Diff          string // unified, of a text
}

// Item is something that files mean.
type Item struct {
	What          string // package, service, user or group
	Name          string
	Kind          Kind
	Before, After string // version, or what else there is to say
}

const (
	maxText    = 256 << 10 // of a file whose lines are compared
	maxDiff    = 64 << 10
	readChunk  = 256 << 10
	checkEvery = 512 // files between two looks at the context
)

// Compare compares two file systems. It reads both at once, in the order of paths.
func Compare(ctx context.Context, before, after *rootfs.FS, o Options) (*Result, error) {
	c := &comparison{ctx: ctx, Options: o, before: before, after: after, result: &Result{}}
	if err := c.files(); err != nil {
		return nil, err
	}
	items, err := c.items()
	c.result.Items = items
	return c.result, err
}

type comparison struct {
	Options
	ctx           context.Context //nolint:containedctx // of one call
	before, after *rootfs.FS
	result        *Result
	buf           [2][]byte
}

var errStop = errors.New("the other side has ended")

// entries are those of a file system, as a sequence.
func entries(f *rootfs.FS) iter.Seq2[rootfs.Entry, error] {
	return func(yield func(rootfs.Entry, error) bool) {
		err := f.Walk(func(e rootfs.Entry) error {
			if !yield(e, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(rootfs.Entry{}, err)
		}
	}
}

// order compares paths as a walk meets them: a directory, what is in it, and then
// what comes after it.
func order(a, b string) int {
	return strings.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}

func (c *comparison) files() error {
	left, stopLeft := iter.Pull2(entries(c.before))
	defer stopLeft()
	right, stopRight := iter.Pull2(entries(c.after))
	defer stopRight()
	a, errA, okA := left()
	b, errB, okB := right()
	for n := 0; okA || okB; n++ {
		if n%checkEvery == 0 && c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		if errA != nil {
			return fmt.Errorf("reading the first one: %w", errA)
		}
		if errB != nil {
			return fmt.Errorf("reading the second one: %w", errB)
		}
		side := 0
		switch {
		case !okA:
			side = 1
		case !okB:
			side = -1
		default:
			side = order(a.Path, b.Path)
		}
		if err := c.pair(side, a, b); err != nil {
			return err
		}
		if side <= 0 {
			a, errA, okA = left()
		}
		if side >= 0 {
			b, errB, okB = right()
		}
	}
	return nil
}

// pair notes the difference of two entries of one path, or the one that only one side
// has: the first if side is below 0, the second above.
func (c *comparison) pair(side int, a, b rootfs.Entry) error {
	path := a.Path
	if side > 0 {
		path = b.Path
	}
	if c.Path != "" && path != c.Path && !strings.HasPrefix(path, strings.TrimSuffix(c.Path, "/")+"/") {
		return nil
	}
	f := File{Path: path}
	switch {
	case side < 0:
		f.Kind, f.Before = Removed, &a
	case side > 0:
		f.Kind, f.After = Added, &b
	default:
		what, err := c.changed(&a, &b)
		if err != nil || len(what) == 0 {
			return err
		}
		f.Kind, f.What, f.Before, f.After = Changed, what, &a, &b
	}
	if len(c.result.Files) >= c.MaxFiles {
		c.result.More++
		return nil
	}
	if c.Content {
		text, err := c.text(&f)
		if err != nil {
			return err
		}
		f.Diff = text
	}
	c.result.Files = append(c.result.Files, f)
	return nil
}

// changed says in what two entries differ. Times alone are no difference.
func (c *comparison) changed(a, b *rootfs.Entry) (what []string, err error) {
	if a.Mode.Type() != b.Mode.Type() {
		return []string{"type"}, nil
	}
	content := a.Size != b.Size
	untouched := c.SameOrigin && a.Inode == b.Inode && a.Changed.Equal(b.Changed) && a.Modified.Equal(b.Modified)
	if a.Mode.IsRegular() && !content && !untouched {
		same, err := c.same(a, b)
		if err != nil {
			return nil, err
		}
		content = !same
	}
	attributes := false
	if !untouched && (a.HasAttributes || b.HasAttributes) {
		if attributes, err = c.attributesDiffer(a, b); err != nil {
			return nil, err
		}
	}
	for _, d := range []struct {
		differs bool
		name    string
	}{
		{content, "content"}, {a.Mode != b.Mode, "mode"}, {a.UID != b.UID || a.GID != b.GID, "owner"},
		{a.Target != b.Target, "target"}, {a.Major != b.Major || a.Minor != b.Minor, "device"},
		{attributes, "attributes"},
	} {
		if d.differs {
			what = append(what, d.name)
		}
	}
	return what, nil
}

// attributesDiffer compares extended attributes: capabilities, ACLs, labels.
func (c *comparison) attributesDiffer(a, b *rootfs.Entry) (bool, error) {
	old, err := c.before.Attributes(a)
	if err != nil {
		return false, err
	}
	now, err := c.after.Attributes(b)
	return !maps.Equal(old, now), err
}

// same reads two files of one size side by side.
func (c *comparison) same(a, b *rootfs.Entry) (bool, error) {
	if a.Size == 0 {
		return true, nil
	}
	ra, err := c.before.Content(a)
	if err != nil {
		return false, err
	}
	rb, err := c.after.Content(b)
	if err != nil {
		return false, err
	}
	if c.buf[0] == nil {
		c.buf = [2][]byte{make([]byte, readChunk), make([]byte, readChunk)}
	}
	for left := a.Size; left > 0; {
		if c.ctx.Err() != nil {
			return false, c.ctx.Err()
		}
		n := min(left, readChunk)
		x, y := c.buf[0][:n], c.buf[1][:n]
		if _, err := io.ReadFull(ra, x); err != nil {
			return false, fmt.Errorf("reading %s: %w", a.Path, err)
		}
		if _, err := io.ReadFull(rb, y); err != nil {
			return false, fmt.Errorf("reading %s: %w", b.Path, err)
		}
		c.result.Read += 2 * n
		if !bytes.Equal(x, y) {
			return false, nil
		}
		left -= n
	}
	return true, nil
}

// text is the difference of a file's lines; "" if it is no text, or too long.
func (c *comparison) text(f *File) (string, error) {
	if f.Kind == Changed && !slices.Contains(f.What, "content") {
		return "", nil
	}
	old, okA, err := textOf(c.before, f.Before)
	if err != nil {
		return "", err
	}
	now, okB, err := textOf(c.after, f.After)
	if err != nil || !okA || !okB {
		return "", err
	}
	if bytes.Contains(old, privateKey) || bytes.Contains(now, privateKey) {
		return "", nil
	}
	names := [2]string{"a" + f.Path, "b" + f.Path}
	if f.Before == nil {
		names[0] = "/dev/null"
	}
	if f.After == nil {
		names[1] = "/dev/null"
	}
	out := diff.Diff(names[0], old, names[1], now)
	_, out, _ = bytes.Cut(out, []byte("\n")) // "diff a b", which patch does not need
	if len(out) > maxDiff {
		return "", nil
	}
	return string(out), nil
}

// privateKey is in files whose lines are not shown: who looks over a shoulder, or at a
// recording, must not get a machine's identity.
var privateKey = []byte("PRIVATE KEY-----")

// textOf is a file's content, nothing for no file; not ok if it is no text.
func textOf(f *rootfs.FS, e *rootfs.Entry) (text []byte, ok bool, err error) {
	if e == nil {
		return nil, true, nil
	}
	if !e.Mode.IsRegular() || e.Size > maxText {
		return nil, false, nil
	}
	text, err = read(f, e)
	return text, err == nil && utf8.Valid(text) && !bytes.ContainsRune(text, 0), err
}

func read(f *rootfs.FS, e *rootfs.Entry) ([]byte, error) {
	r, err := f.Content(e)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// Mode is a file's mode as ls shows it.
func Mode(m fs.FileMode) string {
	kind := "-"
	for bit, c := range map[fs.FileMode]string{fs.ModeDir: "d", fs.ModeSymlink: "l", fs.ModeNamedPipe: "p", fs.ModeSocket: "s"} {
		if m&bit != 0 {
			kind = c
		}
	}
	if m&fs.ModeDevice != 0 {
		kind = map[bool]string{true: "c", false: "b"}[m&fs.ModeCharDevice != 0]
	}
	out := []byte(kind + m.Perm().String()[1:])
	for _, s := range []struct {
		bit   fs.FileMode
		at    int
		small byte
	}{{fs.ModeSetuid, 3, 's'}, {fs.ModeSetgid, 6, 's'}, {fs.ModeSticky, 9, 't'}} {
		if m&s.bit == 0 {
			continue
		}
		if out[s.at] == 'x' {
			out[s.at] = s.small
		} else {
			out[s.at] = s.small - 'a' + 'A'
		}
	}
	return string(out)
}
