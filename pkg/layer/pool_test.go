package layer

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bundt/bundt/pkg/disk"
)

// A chain crosses pools: each layer is where its view put it, and all is found by id.
func TestPools(t *testing.T) {
	fast := t.TempDir()
	if _, err := Open(t.TempDir(), WithPool("fast", filepath.Join(fast, "unmounted"))); err == nil {
		t.Error("a pool was made where nothing is mounted")
	}
	s := open(t, WithPool("fast", fast))
	fast = s.PoolDir("fast")
	ctx := t.Context()
	importFlat(t, s, "base", 1<<20)
	in, err := s.In("fast")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.In("slow"); !errors.Is(err, ErrNoPool) {
		t.Errorf("a pool that is not there: %v", err)
	}
	for range 2 {
		if err := in.CreateOverlay(ctx, "head", "base", 2<<20, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.CreateEmpty(ctx, "blank", 1<<20, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Freeze(ctx, "head"); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateOverlay(ctx, "top", "head", 2<<20, ""); err != nil { // back in the store's own
		t.Fatal(err)
	}
	if err := s.Grow(ctx, "blank", 3<<20, ""); err != nil {
		t.Fatal(err)
	}
	for id, in := range map[string]bool{"base": false, "head": true, "blank": true, "top": false} {
		_, err := os.Lstat(filepath.Join(fast, id+layerSuffix))
		if (err == nil) != in {
			t.Errorf("%s in the pool: %v", id, err)
		}
	}
	if chain, err := s.Chain("top"); err != nil || !slices.Equal(chain, []string{"top", "head", "base"}) {
		t.Errorf("the chain is %v, %v", chain, err)
	}
	if err := s.Rebase(ctx, "top", "base"); err != nil {
		t.Errorf("QEMU does not follow the chain: %v", err)
	}
	c, err := disk.OpenChain([]disk.ChainFile{{Path: s.Path("top")}, {Path: s.Path("base")}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size())); err != nil {
		t.Error(err)
	}
	used, err := s.PoolBytes(ctx, "fast")
	if own, err2 := s.PoolBytes(ctx, ""); err != nil || err2 != nil || used == 0 || own == 0 {
		t.Errorf("the pool takes %d, the store %d; %v %v", used, own, err, err2)
	}
	if err := s.Delete(ctx, "head"); err != nil {
		t.Fatal(err)
	}
	if ids, err := s.List(); err != nil || !slices.Equal(ids, []string{"base", "blank", "top"}) {
		t.Errorf("there are %v, %v", ids, err)
	}
	if left, _ := filepath.Glob(filepath.Join(fast, "head*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A file that has no link yet is listed, taken by the next creation, and deleted.
func TestPoolWithoutLink(t *testing.T) {
	s := open(t, WithPool("fast", t.TempDir()))
	fast := s.PoolDir("fast")
	ctx := t.Context()
	crash := errors.New("crash")
	s.failpoint = func(step string) error {
		if step == "pool: link" {
			return crash
		}
		return nil
	}
	in, _ := s.In("fast")
	if err := in.CreateEmpty(ctx, "new", 1<<20, ""); !errors.Is(err, crash) {
		t.Fatal(err)
	}
	if ids, err := s.List(); err != nil || !slices.Equal(ids, []string{"new"}) {
		t.Errorf("there are %v, %v", ids, err)
	}
	if _, err := s.Info("new"); !errors.Is(err, ErrNotFound) {
		t.Errorf("it is there before it is: %v", err)
	}
	s.failpoint = nil
	in, _ = s.In("fast")
	if err := in.CreateEmpty(ctx, "new", 1<<20, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Info("new"); err != nil {
		t.Error(err)
	}
	if err := os.Remove(s.Path("new")); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, "new"); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(fast); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	again, err := Open(s.Dir(), WithPool("fast", filepath.Dir(fast)))
	if err != nil || again.PoolDir("fast") != fast {
		t.Errorf("opened again it is %s, %v", again.PoolDir("fast"), err)
	}
	other := open(t, WithPool("fast", filepath.Dir(fast)))
	if other.PoolDir("fast") == fast {
		t.Error("two stores have one directory")
	}
	if err := s.RemovePools(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(fast), "*")); len(left) != 1 {
		t.Errorf("of the other store is left %v", left)
	}
}
