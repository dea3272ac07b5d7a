package user_test

import (
	"bytes"
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/control"
	"github.com/bundt/bundt/pkg/network/nettest"
	"github.com/bundt/bundt/pkg/network/user"
)

// TestMain lets this binary be the switch's process.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "switch" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := user.Serve(ctx, user.ServeOptions{
			ServeOptions: control.ServeOptions{ControlSocket: os.Args[2], StateFile: os.Args[3]}, ResolvConf: os.Args[4],
		}); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	nettest.Run(t, newEnv)
}

func newEnv(t *testing.T) *nettest.Env {
	dir := t.TempDir()
	o := control.Options{
		ControlSocket: filepath.Join(dir, "c"), StateFile: filepath.Join(dir, "state"), LogFile: filepath.Join(dir, "log"),
	}
	o.Command = []string{os.Args[0], "switch", o.ControlSocket, o.StateFile, filepath.Join(dir, "no-resolv.conf")}
	open := func(t *testing.T) *control.Client {
		d, err := control.NewClient(o)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	current := open(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := current.Stop(ctx); err != nil {
			t.Error(err)
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
		Datapath: current,
		Kill:     func(t *testing.T) { nettest.KillSwitch(t, o.ControlSocket) },
		Reopen: func(t *testing.T) network.Datapath {
			current.Close()
			current = open(t)
			return current
		},
	}
}
