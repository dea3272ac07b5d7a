package cli_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bundt/bundt/pkg/cli"
	"github.com/bundt/bundt/pkg/rundir"
)

// A key pair of which nothing is ever logged in to.
const (
	testPublicKey  = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAq07ddFmnOkxIoBQYQq4eISf14+6IdMMbWyXfcU6/bi toy`
	testPrivateKey = `-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACAKtO3XRZpzpMSKAUGEKuHiEn9ePuiHTDG1sl33FOv24gAAAIjeTBed3kwX
nQAAAAtzc2gtZWQyNTUxOQAAACAKtO3XRZpzpMSKAUGEKuHiEn9ePuiHTDG1sl33FOv24g
AAAEBSUGmrLpi/t/w681JOOfiTO9MnWw7c7Cbpjd2rXlarAQq07ddFmnOkxIoBQYQq4eIS
f14+6IdMMbWyXfcU6/biAAAAA3RveQEC
-----END OPENSSH PRIVATE KEY-----
`
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bundt": func() { os.Exit(cli.Main()) }})
}

// TestScripts runs the acceptance tests of the command line: real processes that
// talk to a toy cloud.
func TestScripts(t *testing.T) {
	runScripts(t, "testdata/script", func(e *testscript.Env, dir string) {
		c := &toyCloud{looks: map[string]int{}, credentials: filepath.Join(e.WorkDir, "credentials")}
		c.serve(e.T().(testing.TB), filepath.Join(dir, rundir.Socket))
	})
}

// runScripts runs the scripts of a directory, each with a cloud of its own, which
// serve lets answer in the directory that it is given.
func runScripts(t *testing.T, scripts string, serve func(e *testscript.Env, dir string)) {
	testscript.Run(t, testscript.Params{
		Dir:                 scripts,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			// Paths of unix sockets are short; a test's directory is not.
			dir, err := os.MkdirTemp("", "bundt")
			if err != nil {
				return err
			}
			e.Defer(func() { _ = os.RemoveAll(dir) })
			serve(e, dir)
			e.Setenv("BUNDT_SOCKET", "unix://"+filepath.Join(dir, rundir.Socket))
			e.Setenv("XDG_DATA_HOME", filepath.Join(e.WorkDir, "data"))
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("USER", "baker")
			e.Setenv("GORACE", "atexit_sleep_ms=0") // else each process lingers a second under -race
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits,
		},
	})
}

// exits runs a command that must end with an exit code: exits CODE COMMAND [ARG…].
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
