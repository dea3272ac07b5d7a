package layer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bundt/bundt/pkg/disk"
)

// A pool is another directory, most often on another disk, where new layers can be
// put. In layers/ such a layer is a symbolic link: QEMU resolves the name of a backing
// file beside the name that a file was opened by, so chains cross pools.

// WithPool adds a pool.
func WithPool(name, dir string) Option {
	return func(s *Store) { s.pools[name] = dir }
}

// openPools makes the pools' directories. Each is one of this store alone in the
// directory that was named, whose owner may name it to several daemons: what no store
// knows is garbage to it.
func (s *Store) openPools() error {
	if len(s.pools) == 0 {
		return nil
	}
	id, err := s.poolID()
	if err != nil {
		return fmt.Errorf("opening pools: %w", err)
	}
	for name, dir := range s.pools {
		abs, err := filepath.Abs(filepath.Join(dir, "bundt-"+id))
		if err == nil {
			err = os.Mkdir(abs, dirMode)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("opening pool %s: %s does not exist: make it, or mount it", name, dir)
		}
		if err == nil {
			err = syncDir(filepath.Dir(abs))
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("opening pool %s: %w", name, disk.NoSpace(err))
		}
		s.pools[name] = abs
	}
	return nil
}

// poolID is the store's name in pools, which it keeps.
func (s *Store) poolID() (string, error) {
	path := filepath.Join(s.dir, "pool.id")
	id, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		id = []byte(strings.ToLower(rand.Text()))
		err = s.place(path, func(w io.Writer) error {
			_, err := w.Write(id)
			return err
		})
	}
	if err == nil && !idPattern.Match(id) {
		err = fmt.Errorf("%s is damaged", path)
	}
	return string(id), err
}

// ErrNoPool: there is no pool of that name.
var ErrNoPool = errors.New("no such pool of layers")

// In returns a view of the store that puts the layers that it creates into a pool;
// "" is the store's own directory. Everything else is as in the store.
func (s *Store) In(pool string) (*Store, error) {
	if _, ok := s.pools[pool]; !ok && pool != "" {
		return nil, fmt.Errorf("%w: %s", ErrNoPool, pool)
	}
	view := *s
	view.into = pool
	return &view, nil
}

// inPool has a layer created where this view puts them, and makes the link to it
// afterwards. A layer that is there already stays where it is.
func (s *Store) inPool(id string, create func(path string) error) error {
	link := s.Path(id)
	if _, err := os.Lstat(link); s.into == "" || err == nil {
		return create(link)
	}
	dir := s.pools[s.into]
	path := filepath.Join(dir, id+layerSuffix)
	if err := create(path); err != nil {
		return err
	}
	if err := s.step("pool: link"); err != nil {
		return err
	}
	if err := os.Symlink(path, link); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(s.layers())
}

// deleteFile removes a layer's file, and its link if it is in a pool. Of a creation
// that was interrupted there may be no link.
func (s *Store) deleteFile(id string) error {
	link := s.Path(id)
	files := []string{link}
	if target, err := os.Readlink(link); err == nil { // perhaps in a pool that is not configured any more
		files = []string{target, link}
	}
	for _, dir := range s.pools {
		files = append(files, filepath.Join(dir, id+layerSuffix))
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// PoolBytes is what the layers of a pool take on its disk; "" is the store's own
// directory.
func (s *Store) PoolBytes(ctx context.Context, pool string) (sum int64, err error) {
	dir := s.layers()
	if pool != "" {
		dir = s.pools[pool]
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("measuring pool %s: %w", pool, err)
	}
	for _, e := range entries {
		st, err := e.Info()
		if err == nil && st.Mode().IsRegular() { // else it is gone, or a link to another pool
			sum += allocated(st)
		}
	}
	return sum, ctx.Err()
}

// RemovePools removes all that the store has in pools, for good.
func (s *Store) RemovePools() error {
	for name, dir := range s.pools {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing pool %s: %w", name, err)
		}
	}
	return nil
}

// PoolDir is a pool's directory; "" is the store's own.
func (s *Store) PoolDir(pool string) string {
	if pool == "" {
		return s.layers()
	}
	return s.pools[pool]
}
