package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/network"
)

// idle is a fabric without guests.
type idle struct{ Fabric }

func (idle) Apply(network.Config) error      { return nil }
func (idle) Leases() map[string]time.Time    { return nil }
func (idle) SetLeases(map[string]time.Time)  {}
func (idle) Close(bool)                      {}
func (idle) Status(...string) network.Status { return network.Status{} }
func noFabric(Seed) (Fabric, error)          { return idle{}, nil }
func optionsIn(dir string) (o Options) {
	return Options{ControlSocket: filepath.Join(dir, "s"), StateFile: filepath.Join(dir, "state")}
}
func serveOptions(o Options) (s ServeOptions) {
	return ServeOptions{ControlSocket: o.ControlSocket, StateFile: o.StateFile, LookEvery: 5 * time.Millisecond}
}

// slowEnv has the switch of these tests wait for a file before it listens.
const slowEnv = "BUNDT_TEST_SWITCH_WAITS_FOR"

// TestMain is also the switch's process: with a control socket and a state file.
func TestMain(m *testing.M) {
	if len(os.Args) != 3 || os.Getenv(lockEnv) == "" {
		os.Exit(m.Run())
	}
	err := Serve(context.Background(), ServeOptions{ControlSocket: os.Args[1], StateFile: os.Args[2]}, func(Seed) (Fabric, error) {
		for wait := os.Getenv(slowEnv); wait != ""; time.Sleep(time.Millisecond) {
			if _, err := os.Stat(wait); err == nil {
				break
			}
		}
		return idle{}, nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A switch that its daemon has only just started when it was killed is found, waited
// for and ended: it has the lock before it runs, and it has not yet a state file.
func TestStopJustStarted(t *testing.T) {
	dir := t.TempDir()
	o := optionsIn(dir)
	ready := filepath.Join(dir, "ready")
	t.Setenv(slowEnv, ready)
	o.Command = []string{os.Args[0], o.ControlSocket, o.StateFile}
	killed, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, kill := context.WithCancel(t.Context())
	started := make(chan error, 1)
	go func() { started <- killed.start(ctx) }()
	for {
		if running, err := Running(o.ControlSocket); err != nil {
			t.Fatal(err)
		} else if running {
			break
		}
		time.Sleep(time.Millisecond)
	}
	kill()
	if err := <-started; err == nil {
		t.Fatal("it was waited for")
	}
	if running, err := Running(o.ControlSocket); !running || err != nil {
		t.Fatalf("the process has not the lock: %v", err)
	}
	next, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { _ = os.WriteFile(ready, nil, 0o600) })
	if err := next.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if running, err := Running(o.ControlSocket); running || err != nil {
		t.Errorf("after Stop there is a switch still (%v)", err)
	}
	if err := next.Stop(t.Context()); err != nil {
		t.Errorf("where there is none: %v", err)
	}
}

// The lock that a process inherits must be the one of its control socket.
func TestInheritedLockOfAnother(t *testing.T) {
	o := optionsIn(t.TempDir())
	held, err := lock(o.ControlSocket)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := os.Remove(lockFile(o.ControlSocket)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], o.ControlSocket, o.StateFile)
	cmd.ExtraFiles, cmd.Env = []*os.File{held}, append(os.Environ(), lockEnv+"=3")
	var exit *exec.ExitError
	if out, err := cmd.CombinedOutput(); !errors.As(err, &exit) {
		t.Errorf("it ended with %v: %s", err, out)
	}
}

// A switch whose control socket is gone ends, and leaves that of its successor alone.
func TestEndsUnreachable(t *testing.T) {
	for name, after := range map[string]func(path string) error{
		"deleted":  func(string) error { return nil },
		"replaced": func(path string) error { return os.WriteFile(path, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			o := optionsIn(t.TempDir())
			ended := make(chan error, 1)
			go func() { ended <- Serve(t.Context(), serveOptions(o), noFabric) }()
			c, err := NewClient(o)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for c.call(t.Context(), http.MethodGet, "/v1/version", nil, nil) != nil {
				time.Sleep(time.Millisecond)
			}
			if err := errors.Join(os.Remove(o.ControlSocket), after(o.ControlSocket)); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
			_, err = os.Stat(o.ControlSocket)
			if there := err == nil; there != (name == "replaced") {
				t.Errorf("the successor's socket: %v", err)
			}
		})
	}
}
