package cli_test

import (
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	ociregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bundt/bundt/hack/daemontest"
	"github.com/bundt/bundt/pkg/daemon"
)

// TestNetworkScripts runs scripts against a whole daemon with simulated machines:
// what networks refuse is the daemon's own.
func TestNetworkScripts(t *testing.T) {
	runScripts(t, "testdata/network", serveDaemon)
}

// TestAccountScripts runs scripts against a whole daemon: who may do what is the
// daemon's own.
func TestAccountScripts(t *testing.T) {
	runScripts(t, "testdata/accounts", serveDaemon)
}

// TestStorageScripts runs scripts against a whole daemon: what volumes are made of is
// really on its disk.
func TestStorageScripts(t *testing.T) {
	runScripts(t, "testdata/storage", serveDaemon)
}

// TestAttestationScripts runs scripts against a whole daemon, which really bakes: what
// is said of an image is read from it.
func TestAttestationScripts(t *testing.T) {
	runScripts(t, "testdata/attestations", func(e *testscript.Env, dir string) {
		tb := e.T().(testing.TB)
		registry := httptest.NewServer(ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0))))
		tb.Cleanup(registry.Close)
		e.Setenv("REGISTRY", strings.TrimPrefix(registry.URL, "http://"))
		cfg := daemontest.Config(tb)
		cfg.RunDir, cfg.ImportFromHost = dir, true
		daemontest.Start(tb, cfg, daemon.Parts{})
	})
}

// serveDaemon lets a daemon with simulated machines answer in a directory.
func serveDaemon(e *testscript.Env, dir string) {
	tb := e.T().(testing.TB)
	cfg := daemontest.Config(tb)
	cfg.RunDir = dir
	daemontest.Start(tb, cfg, daemon.Parts{})
}
