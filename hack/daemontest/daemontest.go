// Package daemontest runs whole daemons with simulated machines, for tests of
// what talks to them.
package daemontest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/daemon"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe/archive"
	"github.com/bundt/bundt/pkg/rundir"
)

// Config is the configuration of a daemon with simulated machines, of which
// nothing is left after the test. Its network endpoint is on a free port.
func Config(tb testing.TB) daemon.Config {
	tb.Helper()
	run, err := os.MkdirTemp("", "bundt-t-") // short: sockets' paths are
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(run) })
	cfg := daemon.DefaultConfig()
	cfg.DataDir, cfg.CacheDir, cfg.RunDir = tb.TempDir(), tb.TempDir(), run
	cfg.Listen = "127.0.0.1:0"
	cfg.Hypervisor, cfg.ShutdownGrace = "fake", time.Second
	return cfg
}

// Start runs a daemon until the test ends, and returns a client of it once it
// answers.
func Start(tb testing.TB, cfg daemon.Config, parts daemon.Parts) *client.Client {
	tb.Helper()
	d, err := daemon.New(tb.Context(), cfg, slog.New(slog.DiscardHandler), parts)
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
		ended <- nil
		tb.Fatalf("daemon: %v", err)
	}
	c, err := client.New(client.Options{Endpoint: "unix://" + filepath.Join(cfg.RunDir, rundir.Socket)})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// Upload sends a recipe's directory, and returns its digest.
func Upload(tb testing.TB, c *client.Client, recipe fs.FS) string {
	tb.Helper()
	r, w := io.Pipe()
	go func() { w.CloseWithError(archive.Pack(w, recipe)) }()
	digest, err := c.Upload(tb.Context(), r)
	if err != nil {
		tb.Fatal(err)
	}
	return digest
}

// Build asks for an image of what was uploaded, and returns the build
// as it ended. The error is the request's.
func Build(tb testing.TB, c *client.Client, in *bundttypes.BuildImageInput) (last *bundttypes.Build, err error) {
	tb.Helper()
	out, err := c.BuildImage(tb.Context(), in)
	if err != nil {
		return nil, err
	}
	for b, err := range c.WatchBuild(tb.Context(), &bundttypes.WatchBuildInput{BuildId: &out.BuildId}) {
		if err != nil {
			tb.Fatal(err)
		}
		last = b
	}
	return last, nil
}

// Bake bakes a recipe for x86_64, and returns the image's id.
func Bake(tb testing.TB, c *client.Client, recipe fs.FS) string {
	tb.Helper()
	b, err := Build(tb, c, &bundttypes.BuildImageInput{ContextDigest: new(Upload(tb, c, recipe)), Architecture: new(string(model.X8664))})
	if err != nil {
		tb.Fatal(err)
	}
	if b.State != string(model.BuildAvailable) {
		tb.Fatalf("the image is %s: %+v", b.State, b.StateReason)
	}
	return b.ImageId
}
