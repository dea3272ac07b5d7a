//go:build slow

package bake_test

import (
	"os"
	"testing"

	"github.com/bundt/bundt/images"
	"github.com/bundt/bundt/pkg/bake"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
)

// TestSameLockSameBytes installs a whole Debian twice, of the packages that it was installed of
// once: with nothing cached, its disk, kernel and initial RAM disk have the same bytes.
func TestSameLockSameBytes(t *testing.T) {
	fsys, err := images.FS("debian-12-offline")
	if err != nil {
		t.Fatal(err)
	}
	rec, err := recipe.Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	rec.Architectures = []model.Arch{model.X8664}
	req := bake.Request{Recipe: rec, Context: fsys, Arch: model.X8664, CacheDir: t.TempDir(), WorkDir: t.TempDir()}
	if rec.Lock, err = bake.ResolveLock(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	rec.Lock.Strict = true
	var sums [2][]string
	for i := range sums {
		req.CacheDir, req.WorkDir = t.TempDir(), t.TempDir()
		res := mustBake(t, req)
		for _, name := range []string{res.Disks[0].Path, res.Kernel, res.Initrd} {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			sums[i] = append(sums[i], sum(content))
		}
	}
	for i, what := range []string{"disk", "kernel", "initial RAM disk"} {
		if sums[0][i] != sums[1][i] {
			t.Errorf("the %s is another one: %s, %s", what, sums[0][i], sums[1][i])
		}
	}
}
