package kernel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/control"
	"github.com/bundt/bundt/pkg/network/kernel"
	"github.com/bundt/bundt/pkg/network/nettest"
)

// sandboxed tells a test's process that its host is a namespace.
const sandboxed = "BUNDT_TEST_SANDBOXED"

// TestMain lets this binary be the switch's process, and runs the tests with
// namespaces of their own for a host: nothing of the machine's is touched.
func TestMain(m *testing.M) {
	if len(os.Args) == 6 && os.Args[1] == "switch" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		err := kernel.Serve(ctx, kernel.ServeOptions{
			ServeOptions: control.ServeOptions{ControlSocket: os.Args[2], StateFile: os.Args[3]},
			Name:         os.Args[4], Namespaces: os.Args[5], ResolvConf: os.Args[3] + ".none",
		})
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(sandboxed) == "" && os.Geteuid() == 0 {
		if code, ok := sandbox(); ok {
			os.Exit(code)
		}
	}
	os.Exit(m.Run())
}

// sandbox runs the tests again in a sandbox; not ok where there can be none, as in
// a container without the rights.
func sandbox() (code int, ok bool) {
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), sandboxed+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), true
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "no sandbox:", err)
	}
	return 0, err == nil
}

func TestConformance(t *testing.T) {
	nettest.Run(t, newEnv)
}

// needRoot skips where the datapath cannot be.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getenv(sandboxed) == "" {
		t.Skip("the kernel's networks need root, and namespaces")
	}
	if problem := kernel.Problem(); problem != "" {
		t.Fatal(problem)
	}
	run(t, "ip", "link", "set", "lo", "up")
}

func run(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", argv, err, out)
	}
}

func newEnv(t *testing.T) *nettest.Env {
	needRoot(t)
	dir := t.TempDir()
	o := control.Options{
		ControlSocket: filepath.Join(dir, "c"), StateFile: filepath.Join(dir, "state"), LogFile: filepath.Join(dir, "log"),
	}
	o.Command = []string{os.Args[0], "switch", o.ControlSocket, o.StateFile, "testtest", filepath.Join(dir, "netns")}
	open := func(t *testing.T) control.Attacher {
		d, err := control.NewClient(o)
		if err != nil {
			t.Fatal(err)
		}
		return control.Attacher{Client: d}
	}
	current := open(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := current.Stop(ctx); err != nil {
			t.Error(err)
		}
		left, _ := os.ReadDir(filepath.Join(dir, "netns"))
		if len(left) > 0 {
			t.Errorf("namespaces are left: %v", left)
		}
		b, _ := os.ReadFile(o.LogFile)
		if bytes.Contains(b, []byte("DATA RACE")) || bytes.Contains(b, []byte("panic:")) {
			t.Error("the switch raced or panicked")
		}
		if t.Failed() && len(b) > 0 {
			t.Logf("the switch said: %s", b)
		}
	})
	return &nettest.Env{
		Datapath:   current,
		Routed:     true,
		OneTracker: true,
		Card: func(t testing.TB, p network.Port) nettest.Card {
			return newCard(func() (*os.File, error) { return current.Attach(context.Background(), p.ID) })
		},
		Kill: func(t *testing.T) { nettest.KillSwitch(t, o.ControlSocket) },
		Reopen: func(t *testing.T) network.Datapath {
			current.Close()
			current = open(t)
			return current
		},
	}
}
