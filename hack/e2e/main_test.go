//go:build vm

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/bundt/bundt/hack/harness"
	"github.com/bundt/bundt/images"
)

// TestMain bakes the images while there is a network to fetch packages from,
// and then runs the tests in a namespace where no guest can reach anything but
// this host's loopback.
func TestMain(m *testing.M) {
	os.Exit(harness.Isolated(warmCache, m.Run))
}

// cacheDir keeps bakes from one run of the tests to the next.
func cacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "bundt-test")
}

const bin = "../../bin"

// tool is the path of a program of ours that a test runs.
func tool(name string) string { return filepath.Join(cacheDir(), "bin", name) }

// baked is an image that tests boot.
type baked struct{ recipe, arch string }

// warmCache builds and bakes everything that the tests use, while there is a
// network for modules and packages. No guest is ever run here.
func warmCache() (err error) {
	if err := checkClients(); err != nil {
		return err
	}
	for _, name := range []string{"demo", "doccheck"} {
		build := exec.Command("go", "build", "-buildvcs=false", "-o", tool(name), "./hack/"+name)
		build.Dir = filepath.Join("..", "..")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w: %s", name, err, out)
		}
	}
	if err := buildLedger(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bundt-e2e-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d, err := harness.New(harness.Options{Bin: bin, Dir: dir, Cache: cacheDir()})
	if err != nil {
		return err
	}
	defer func() {
		if perr := d.Purge(); err == nil {
			err = perr
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), warmFor)
	defer cancel()
	if err := d.Start(ctx); err != nil {
		return err
	}
	for _, b := range append([]baked{
		{"tiny", "x86_64"}, {"tiny", "arm64"}, {"tiny", "i386"}, {"boot-sector", "x86_64"}, {"debian-12-offline", "x86_64"},
	}, slowBakes()...) {
		fsys, err := images.FS(b.recipe)
		if err == nil {
			_, err = d.Build(ctx, fsys, b.arch)
		}
		if err != nil {
			return fmt.Errorf("baking %s for %s: %w", b.recipe, b.arch, err)
		}
	}
	return warmSlow(ctx)
}

// buildLedger builds the guests' database, which needs nothing of the guest but a kernel.
func buildLedger() error {
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", tool("ledger"), "./hack/ledger")
	build.Dir, build.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the ledger: %w: %s", err, out)
	}
	return nil
}
