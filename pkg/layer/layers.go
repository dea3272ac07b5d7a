package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/bundt/bundt/pkg/disk"
)

// Info describes a layer.
type Info struct {
	ID             string
	Parent         string // "" for a flat layer
	SizeBytes      int64  // virtual size
	AllocatedBytes int64  // on disk, without the parents
	Encrypted      bool
	Frozen         bool
}

// CreateOverlay makes a writable layer on a frozen parent, and returns when it
// is on stable storage. sizeBytes is the virtual size, at least the parent's. A
// layer of that id, parent and size that exists already is success; one that a
// crash left incomplete is replaced. key encrypts what is written to it, "" for not.
func (s *Store) CreateOverlay(ctx context.Context, id, parentID string, sizeBytes int64, key disk.Passphrase) error {
	return s.createOverlay(ctx, id, parentID, sizeBytes, key, true)
}

// CreateEmpty makes a writable layer without a parent, the disk of a volume that
// was made from no snapshot, under the same promises as CreateOverlay.
func (s *Store) CreateEmpty(ctx context.Context, id string, sizeBytes int64, key disk.Passphrase) error {
	if err := errors.Join(ctx.Err(), checkID(id)); err != nil {
		return err
	}
	defer s.locks.Lock(id)()
	create := func(path string) error { return s.writeOverlay(path, disk.Overlay{SizeBytes: sizeBytes, Key: key}) }
	if err := s.inPool(id, create); err != nil {
		return fmt.Errorf("creating layer %s: %w", id, err)
	}
	return nil
}

// CreateSnapshotOverlay is CreateOverlay on a parent that is still the writable
// head of a running machine, and is frozen once the machine writes to the new
// layer.
func (s *Store) CreateSnapshotOverlay(ctx context.Context, id, parentID string, sizeBytes int64, key disk.Passphrase) error {
	return s.createOverlay(ctx, id, parentID, sizeBytes, key, false)
}

func (s *Store) createOverlay(ctx context.Context, id, parentID string, sizeBytes int64, key disk.Passphrase, frozen bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := errors.Join(checkID(id), checkID(parentID)); err != nil {
		return err
	}
	defer s.locks.Lock(id)()
	if err := s.checkParent(id, parentID, sizeBytes, frozen); err != nil {
		return fmt.Errorf("creating layer %s: %w", id, err)
	}
	o := disk.Overlay{Backing: parentID + layerSuffix, BackingFormat: "qcow2", SizeBytes: sizeBytes, Key: key}
	if err := s.inPool(id, func(path string) error { return s.writeOverlay(path, o) }); err != nil {
		return fmt.Errorf("creating layer %s: %w", id, err)
	}
	return nil
}

func (s *Store) checkParent(id, parentID string, sizeBytes int64, frozen bool) error {
	if id == parentID {
		return fmt.Errorf("%w: a layer cannot be its own parent", ErrBadChain)
	}
	st, err := os.Stat(s.Path(parentID))
	if err != nil {
		return notFound(err, "parent layer", parentID)
	}
	if frozen && st.Mode().Perm()&0o222 != 0 {
		return fmt.Errorf("parent %w: %s", ErrNotFrozen, parentID)
	}
	h, err := disk.ReadLayerHeader(s.Path(parentID))
	if err != nil {
		return err
	}
	if sizeBytes < h.SizeBytes {
		return fmt.Errorf("%d bytes are %w %s of %d bytes", sizeBytes, ErrTooSmall, parentID, h.SizeBytes)
	}
	return nil
}

// writeOverlay writes under the final name at once: a file that a crash leaves
// incomplete is recognised by its content and replaced, which saves the second
// commit of the filesystem's journal that a rename would cost.
func (s *Store) writeOverlay(path string, o disk.Overlay) error {
	if err := s.step("overlay: write"); err != nil {
		return err
	}
	err := disk.WriteOverlay(path, o)
	if errors.Is(err, fs.ErrExist) {
		err = s.adoptOverlay(path, o)
	}
	if err != nil {
		return err
	}
	if err := s.step("overlay: sync directory"); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// adoptOverlay accepts a file that exists if it is complete, and else writes it
// again.
func (s *Store) adoptOverlay(path string, o disk.Overlay) error {
	complete, err := disk.CheckOverlay(path, o)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrExists, err)
	}
	if complete {
		return syncFile(path)
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	if err := s.step("overlay: replace"); err != nil {
		return err
	}
	return disk.WriteOverlay(path, o)
}

// Grow makes a writable layer that no machine has open larger; one that is that
// large already is success. It never shrinks.
func (s *Store) Grow(ctx context.Context, id string, sizeBytes int64, key disk.Passphrase) error {
	if err := errors.Join(ctx.Err(), checkID(id)); err != nil {
		return err
	}
	defer s.locks.Lock(id)()
	st, err := os.Stat(s.Path(id))
	if err != nil {
		return fmt.Errorf("growing layer: %w", notFound(err, "layer", id))
	}
	if st.Mode().Perm()&0o222 == 0 {
		return fmt.Errorf("growing layer %s: it is frozen", id)
	}
	if err := disk.Grow(ctx, disk.ChainFile{Path: s.Path(id), Key: key}, sizeBytes); err != nil {
		return fmt.Errorf("growing layer %s: %w", id, err)
	}
	return nil
}

// Rebase makes a writable layer that no machine has open read from another one of
// its chain, or from none (""): it gets what it read from those in between. It is as
// large as before, and interrupted at any point it shows the same. No layer of the
// chain may be encrypted.
func (s *Store) Rebase(ctx context.Context, id, parentID string) error {
	if err := errors.Join(ctx.Err(), checkID(id)); err != nil {
		return err
	}
	defer s.locks.Lock(id)()
	info, err := s.Info(id)
	if err != nil {
		return fmt.Errorf("rebasing layer: %w", err)
	}
	backing := ""
	switch {
	case info.Frozen:
		return fmt.Errorf("rebasing layer %s: it is frozen", id)
	case info.Parent == parentID:
		return nil
	case parentID != "":
		chain, err := s.Chain(id)
		if err != nil {
			return fmt.Errorf("rebasing layer: %w", err)
		}
		if !slices.Contains(chain, parentID) {
			return fmt.Errorf("rebasing layer %s: %w: %s is not below it", id, ErrBadChain, parentID)
		}
		backing = parentID + layerSuffix
	}
	if err := disk.Rebase(ctx, s.Path(id), backing); err != nil {
		return fmt.Errorf("rebasing layer %s: %w", id, err)
	}
	return nil
}

// Freeze makes a layer immutable: nothing in bundt writes to it again.
func (s *Store) Freeze(ctx context.Context, id string) error {
	if err := errors.Join(ctx.Err(), checkID(id)); err != nil {
		return err
	}
	defer s.locks.Lock(id)()
	path := s.Path(id)
	if err := os.Chmod(path, frozenMode); err != nil {
		return fmt.Errorf("freezing layer: %w", notFound(err, "layer", id))
	}
	if err := s.step("freeze: sync"); err != nil {
		return err
	}
	if err := syncFile(path); err != nil {
		return fmt.Errorf("freezing layer %s: %w", id, err)
	}
	return nil
}

// Info describes a layer, or returns ErrNotFound.
func (s *Store) Info(id string) (Info, error) {
	if err := checkID(id); err != nil {
		return Info{}, err
	}
	path := s.Path(id)
	st, err := os.Stat(path)
	if err != nil {
		return Info{}, notFound(err, "layer", id)
	}
	h, err := disk.ReadLayerHeader(path)
	if err != nil {
		return Info{}, notFound(err, "layer", id)
	}
	info := Info{ID: id, SizeBytes: h.SizeBytes, Encrypted: h.Encrypted, AllocatedBytes: allocated(st), Frozen: st.Mode().Perm()&0o222 == 0}
	if h.Backing != "" {
		parent, ok := idOf(h.Backing)
		if !ok || h.BackingFormat != "qcow2" {
			return Info{}, fmt.Errorf("layer %s: %w: backing file %q (%s) is no layer", id, ErrBadChain, h.Backing, h.BackingFormat)
		}
		info.Parent = parent
	}
	return info, nil
}

func allocated(st fs.FileInfo) int64 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return sys.Blocks * 512
	}
	return st.Size()
}

// Chain returns the ids of a layer and all its parents, the layer first. It
// fails with ErrBadChain on a cycle or a backing file that is no layer, and with
// ErrNotFound when a parent is missing.
func (s *Store) Chain(id string) ([]string, error) {
	var chain []string
	for next := id; next != ""; {
		if slices.Contains(chain, next) || len(chain) == maxChain {
			return nil, fmt.Errorf("chain of layer %s: %w: %s comes back after %d layers", id, ErrBadChain, next, len(chain))
		}
		info, err := s.Info(next)
		if err != nil {
			return nil, fmt.Errorf("chain of layer %s: %w", id, err)
		}
		chain = append(chain, next)
		next = info.Parent
	}
	return chain, nil
}

// Delete removes a layer; it need not exist. Whether others need it is for the
// caller to know. After a power cut the layer may be back, and is an orphan then
// as any other.
func (s *Store) Delete(ctx context.Context, id string) error {
	if err := errors.Join(ctx.Err(), checkID(id)); err != nil {
		return err
	}
	defer s.locks.Lock(id)()
	if err := s.deleteFile(id); err != nil {
		return fmt.Errorf("deleting layer: %w", err)
	}
	return nil
}

// List returns the ids of all layers, sorted, those included that a crash left
// incomplete (Info fails for them).
func (s *Store) List() ([]string, error) {
	var ids []string
	for _, dir := range slices.Concat([]string{s.layers()}, slices.Collect(maps.Values(s.pools))) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("listing layers: %w", err)
		}
		for _, e := range entries {
			if id, ok := idOf(e.Name()); ok {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// SweepTemp removes what was being written longer ago than olderThan and never
// got its place. It returns the names of the removed files.
func (s *Store) SweepTemp(olderThan time.Duration) ([]string, error) {
	entries, err := os.ReadDir(s.temp())
	if err != nil {
		return nil, fmt.Errorf("sweeping temporary files: %w", err)
	}
	var removed []string
	var errs []error
	for _, e := range entries {
		st, err := e.Info()
		if err != nil || time.Since(st.ModTime()) < olderThan {
			continue // gone meanwhile, or too young
		}
		if err := os.Remove(s.tempFile(e.Name())); err != nil {
			errs = append(errs, fmt.Errorf("sweeping temporary files: %w", err))
			continue
		}
		removed = append(removed, e.Name())
	}
	return removed, errors.Join(errs...)
}
