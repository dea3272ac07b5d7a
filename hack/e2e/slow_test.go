//go:build vm && slow

package e2e

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/model"
)

// warmFor is how long all that is baked may take.
const warmFor = 2 * time.Hour

// slowBakes are baked for the tests of this file alone.
func slowBakes() []baked {
	return []baked{{"debian-12-offline", "i386"}, {"debian-12-offline", "arm64"}}
}

// warmSlow installs what is in the images that stand for distributors'.
func warmSlow(ctx context.Context) error {
	for _, arch := range []model.Arch{model.X8664, model.ARM64} {
		dir, err := os.MkdirTemp("", "bundt-e2e-")
		if err != nil {
			return err
		}
		_, err = bakeGenericCloud(ctx, arch, dir)
		if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
			return err
		}
	}
	return nil
}

// TestSlowDebianBoots is the boot test of debian-12-offline for the other architectures, of which
// arm64 is installed by emulation on most hosts.
func TestSlowDebianBoots(t *testing.T) {
	t.Run("i386", func(t *testing.T) { debianBoots(t, "i386", "t3.micro") })
	t.Run("arm64", func(t *testing.T) { debianBoots(t, "arm64", "t4g.micro") })
}
