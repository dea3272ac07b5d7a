package cli_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

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

// serveDaemon lets a daemon with simulated machines answer in a directory.
func serveDaemon(e *testscript.Env, dir string) {
	tb := e.T().(testing.TB)
	cfg := daemon.DefaultConfig()
	cfg.DataDir, cfg.CacheDir, cfg.RunDir = tb.TempDir(), tb.TempDir(), dir
	cfg.Listen = "127.0.0.1:0"
	cfg.Hypervisor, cfg.ShutdownGrace = "fake", time.Second
	d, err := daemon.New(tb.Context(), cfg, slog.New(slog.DiscardHandler), daemon.Parts{})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended, ready := make(chan error, 1), make(chan struct{})
	go func() { ended <- d.Run(ctx, func() { close(ready) }) }()
	tb.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			tb.Errorf("daemon: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		tb.Fatal(err)
	}
}
