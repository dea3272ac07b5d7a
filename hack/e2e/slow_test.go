//go:build vm && slow

package e2e

import (
	"testing"
	"time"
)

// warmFor is how long all that is baked may take.
const warmFor = 90 * time.Minute

// slowBakes are baked for the tests of this file alone.
func slowBakes() []baked {
	return []baked{{"debian-12-offline", "i386"}, {"debian-12-offline", "arm64"}}
}

// TestSlowDebianBoots is the boot test of debian-12-offline for the other architectures, of which
// arm64 is installed by emulation on most hosts.
func TestSlowDebianBoots(t *testing.T) {
	t.Run("i386", func(t *testing.T) { debianBoots(t, "i386", "t3.micro") })
	t.Run("arm64", func(t *testing.T) { debianBoots(t, "arm64", "t4g.micro") })
}
