// Package layer owns the layer store: qcow2 files on disk, each either the
// writable head of a volume or frozen for ever, and content-addressed blobs
// (kernels, initrds, recipe archives). It knows files, not objects: which layers
// must exist is decided by the node from the store's records. It may import
// pkg/model and pkg/disk only.
package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/keylock"
)

// Errors that callers distinguish (test with errors.Is).
var (
	// ErrNotFound: no such layer or blob.
	ErrNotFound = errors.New("not found in the layer store")
	// ErrExists: the id is taken by a different layer.
	ErrExists = errors.New("layer exists and is another one")
	// ErrNotFrozen: the parent of a new layer is still writable.
	ErrNotFrozen = errors.New("layer is not frozen")
	// ErrTooSmall: an overlay would be smaller than its parent.
	ErrTooSmall = errors.New("smaller than the parent layer")
	// ErrInvalidID: the text is no layer id.
	ErrInvalidID = errors.New("not a layer id")
	// ErrBadChain: a chain of layers has a cycle or leaves the store.
	ErrBadChain = errors.New("broken chain of layers")
	// ErrTooLarge: a blob is larger than the store accepts.
	ErrTooLarge = errors.New("blob is too large")
	// ErrDigest: the text is no digest of a blob.
	ErrDigest = errors.New("not a sha256 digest")
	// ErrNoSpace: the filesystem or a quota is full.
	ErrNoSpace = disk.ErrNoSpace
)

const (
	dirMode    fs.FileMode = 0o700
	headMode   fs.FileMode = 0o600
	frozenMode fs.FileMode = 0o444

	layerSuffix = ".qcow2"
	// maxChain is far above the depth at which the node flattens.
	maxChain = 1024
	// DefaultMaxBlobBytes bounds a blob unless WithMaxBlobBytes says otherwise.
	DefaultMaxBlobBytes = 1 << 30
)

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$`)

// Store is a directory of layers and blobs. It is safe for concurrent use; one
// process at a time may use a directory (bundtd's lock on its data directory
// sees to that).
//
//	layers/ID.qcow2   backing files are named relative to this directory
//	blobs/HEX         by SHA-256
//	tmp/              what is being written; see SweepTemp
//
// Layers in pools are links in layers/; see WithPool.
type Store struct {
	dir     string
	maxBlob int64
	pools   map[string]string // directories by name
	into    string            // pool that this view creates layers in
	locks   *keylock.Mutex
	// failpoint, when tests set it, is called before each step that changes the
	// directory; its error is what a crash at that point leaves behind.
	failpoint func(step string) error
}

// Option changes how a Store works.
type Option func(*Store)

// WithMaxBlobBytes bounds the size of each blob.
func WithMaxBlobBytes(n int64) Option { return func(s *Store) { s.maxBlob = n } }

// Open opens the layer store in dir, and makes it if there is none.
func Open(dir string, options ...Option) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening layer store: %w", err)
	}
	s := &Store{dir: dir, maxBlob: DefaultMaxBlobBytes, pools: map[string]string{}, locks: &keylock.Mutex{}}
	for _, o := range options {
		o(s)
	}
	for _, d := range []string{s.layers(), s.blobs(), s.temp()} {
		if err := os.MkdirAll(d, dirMode); err != nil {
			return nil, fmt.Errorf("opening layer store: %w", disk.NoSpace(err))
		}
	}
	if err := s.openPools(); err != nil {
		return nil, err
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := syncDir(d); err != nil {
			return nil, fmt.Errorf("opening layer store: %w", err)
		}
	}
	return s, nil
}

func (s *Store) layers() string { return filepath.Join(s.dir, "layers") }
func (s *Store) blobs() string  { return filepath.Join(s.dir, "blobs") }
func (s *Store) temp() string   { return filepath.Join(s.dir, "tmp") }

// Path returns the file of a layer, whether it exists or not, and "" when id is
// not a layer id.
func (s *Store) Path(id string) string {
	if checkID(id) != nil {
		return ""
	}
	return filepath.Join(s.layers(), id+layerSuffix)
}

func checkID(id string) error {
	if !idPattern.MatchString(id) {
		return fmt.Errorf("%w: %q", ErrInvalidID, id)
	}
	return nil
}

// idOf returns the layer id of a file name in the layers' directory.
func idOf(name string) (string, bool) {
	id, ok := strings.CutSuffix(name, layerSuffix)
	return id, ok && checkID(id) == nil
}

// step is where tests interrupt an operation.
func (s *Store) step(name string) error {
	if s.failpoint == nil {
		return nil
	}
	return s.failpoint(name)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(disk.NoSpace(d.Sync()), d.Close())
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(disk.NoSpace(f.Sync()), f.Close())
}

func notFound(err error, what, name string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s %s: %w", what, name, ErrNotFound)
	}
	return err
}

func isCrossDevice(err error) bool { return errors.Is(err, syscall.EXDEV) }
