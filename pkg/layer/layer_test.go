package layer

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/disk"
)

const gib = 1 << 30

func open(t testing.TB, options ...Option) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"), options...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func importFlat(t testing.TB, s *Store, id string, size int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flat.qcow2")
	if err := disk.WriteOverlay(path, disk.Overlay{SizeBytes: size}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(t.Context(), id, path); err != nil {
		t.Fatal(err)
	}
}

func TestLifecycle(t *testing.T) {
	s := open(t)
	importFlat(t, s, "base", gib)
	if err := s.CreateOverlay(t.Context(), "head", "base", 2*gib, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateOverlay(t.Context(), "head", "base", 2*gib, ""); err != nil {
		t.Fatalf("creating again: %v", err)
	}
	if err := s.CreateOverlay(t.Context(), "twin", "head", 2*gib, ""); !errors.Is(err, ErrNotFrozen) {
		t.Fatalf("on a writable parent: got %v, want ErrNotFrozen", err)
	}
	if err := s.CreateSnapshotOverlay(t.Context(), "next", "head", 2*gib, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Freeze(t.Context(), "head"); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateOverlay(t.Context(), "small", "head", gib, ""); !errors.Is(err, ErrTooSmall) {
		t.Fatalf("got %v, want ErrTooSmall", err)
	}
	chain, err := s.Chain("next")
	if err != nil || !slices.Equal(chain, []string{"next", "head", "base"}) {
		t.Fatalf("chain %v, %v", chain, err)
	}
	info, err := s.Info("head")
	if err != nil || !info.Frozen || info.Parent != "base" || info.SizeBytes != 2*gib {
		t.Fatalf("got %+v, %v", info, err)
	}
	if err := errors.Join(s.Delete(t.Context(), "next"), s.Delete(t.Context(), "next")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Info("next"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("got %v, want ErrNotFound", err)
	}
}

func TestBlobs(t *testing.T) {
	s := open(t, WithMaxBlobBytes(10))
	d, n, err := s.PutBlob(t.Context(), strings.NewReader("kernel"))
	if err != nil || n != 6 {
		t.Fatal(n, err)
	}
	if ok, err := s.HasBlob(d); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, _, err := s.PutBlob(t.Context(), strings.NewReader("01234567890")); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("got %v, want ErrTooLarge", err)
	}
	if list, err := s.ListBlobs(); err != nil || !slices.Equal(list, []string{d}) {
		t.Fatal(list, err)
	}
}
