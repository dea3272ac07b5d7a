package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bundt/bundt/pkg/disk"
)

// Import moves a flat qcow2 file into the store as a frozen layer, after
// disk.Inspect has found nothing wrong with it, and returns when it is on stable
// storage. A refused file stays where it is. The caller must not have the file
// open for writing. Importing again what became this layer already is success,
// whether the file at path is still there or not.
func (s *Store) Import(ctx context.Context, id, path string) (disk.Info, error) {
	if err := errors.Join(ctx.Err(), checkID(id)); err != nil {
		return disk.Info{}, err
	}
	defer s.locks.Lock(id)()
	info, err := s.importFile(ctx, path, s.Path(id))
	if err != nil {
		return disk.Info{}, fmt.Errorf("importing layer %s: %w", id, err)
	}
	return info, nil
}

// ImportOverlay is Import for a file that is to read from a frozen layer what it
// does not hold itself: the file is flat, and gets the parent here.
func (s *Store) ImportOverlay(ctx context.Context, id, path, parentID string) (disk.Info, error) {
	if err := errors.Join(ctx.Err(), checkID(id), checkID(parentID)); err != nil {
		return disk.Info{}, err
	}
	defer s.locks.Lock(id)()
	info, err := inspectFile(path)
	if err == nil {
		err = s.checkParent(id, parentID, info.SizeBytes, true)
	}
	if err == nil {
		err = disk.SetBacking(path, parentID+layerSuffix, disk.FormatQcow2)
	}
	if err == nil {
		err = s.moveIn(ctx, path, s.Path(id))
	}
	if err != nil {
		return disk.Info{}, fmt.Errorf("importing layer %s on %s: %w", id, parentID, err)
	}
	return info, nil
}

// Place is Import for a file that bundt wrote itself, which may be encrypted and is
// not inspected.
func (s *Store) Place(ctx context.Context, id, path string) error {
	if err := errors.Join(ctx.Err(), checkID(id)); err != nil {
		return err
	}
	defer s.locks.Lock(id)()
	if err := s.moveIn(ctx, path, s.Path(id)); err != nil {
		return fmt.Errorf("placing layer %s: %w", id, err)
	}
	return nil
}

func (s *Store) importFile(ctx context.Context, path, dest string) (disk.Info, error) {
	if done, info, err := s.imported(path, dest); done || err != nil {
		return info, err
	}
	info, err := inspectFile(path)
	if err != nil {
		return disk.Info{}, err
	}
	if err := s.moveIn(ctx, path, dest); err != nil {
		return disk.Info{}, err
	}
	return info, nil
}

// imported reports whether dest is what an earlier call made of path.
func (s *Store) imported(path, dest string) (bool, disk.Info, error) {
	have, err := os.Stat(dest)
	if errors.Is(err, fs.ErrNotExist) {
		return false, disk.Info{}, nil
	}
	if err != nil {
		return false, disk.Info{}, err
	}
	info, err := inspectFile(dest)
	if err != nil {
		return false, disk.Info{}, fmt.Errorf("%w: %w", ErrExists, err)
	}
	if src, err := os.Stat(path); err == nil {
		same, err := sameContent(path, dest)
		switch {
		case err != nil:
			return false, disk.Info{}, err
		case !same || have.Size() != src.Size():
			return false, disk.Info{}, ErrExists
		}
		if err := os.Remove(path); err != nil {
			return false, disk.Info{}, err
		}
	}
	err = errors.Join(os.Chmod(dest, frozenMode), syncFile(dest), syncDir(s.layers()))
	return err == nil, info, err
}

// moveIn renames the file to its place, or copies it when it is on another
// filesystem.
func (s *Store) moveIn(ctx context.Context, path, dest string) error {
	if err := s.step("import: freeze"); err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(path, frozenMode), syncFile(path)); err != nil {
		return err
	}
	if err := s.step("import: rename"); err != nil {
		return err
	}
	err := os.Rename(path, dest)
	if isCrossDevice(err) {
		if err = s.copyIn(ctx, path, dest); err == nil {
			err = os.Remove(path)
		}
	}
	if err != nil {
		return disk.NoSpace(err)
	}
	if err := s.step("import: sync directory"); err != nil {
		return err
	}
	return syncDir(s.layers())
}

func (s *Store) copyIn(ctx context.Context, path, dest string) error {
	src, err := os.Open(path)
	if err != nil {
		return err
	}
	defer src.Close()
	return s.place(dest, func(w io.Writer) error {
		_, err := io.Copy(w, contextReader{ctx, src})
		return err
	})
}

func inspectFile(path string) (disk.Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return disk.Info{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return disk.Info{}, err
	}
	if !st.Mode().IsRegular() {
		return disk.Info{}, fmt.Errorf("%s is not a regular file", path)
	}
	info, err := disk.Inspect(f, st.Size())
	if err != nil {
		return disk.Info{}, fmt.Errorf("inspecting %s: %w", path, err)
	}
	return info, nil
}

func sameContent(a, b string) (bool, error) {
	da, err := fileDigest(a)
	if err != nil {
		return false, err
	}
	db, err := fileDigest(b)
	return da == db, err
}

// place writes a file completely and durably before it gets its name. The
// directory of dest is the caller's to synchronise.
func (s *Store) place(dest string, write func(io.Writer) error) error {
	temp, err := s.writeTemp(write)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, dest); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// writeTemp writes a durable, frozen file in tmp/ and returns its path. Nothing
// is left behind on an error.
func (s *Store) writeTemp(write func(io.Writer) error) (path string, err error) {
	f, err := os.CreateTemp(s.temp(), "new.*")
	if err != nil {
		return "", disk.NoSpace(err)
	}
	if err = write(f); err == nil {
		err = errors.Join(f.Chmod(frozenMode), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(disk.NoSpace(err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func (s *Store) tempFile(name string) string { return filepath.Join(s.temp(), name) }

// contextReader fails when its context has ended.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
