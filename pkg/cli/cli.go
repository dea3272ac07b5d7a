// Package cli owns the command line as a whole: the tree of commands, what their
// errors look like, and the exit code. Each group of commands is a package below
// it. It is a client of the API like any other: it may import pkg/client, the
// API's types, pkg/recipe, pkg/model, pkg/version and images; never the daemon or
// anything behind it.
package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
)

// Main runs the command line that this process was started with and returns its
// exit code.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The second interrupt ends the process at once.
	context.AfterFunc(ctx, stop)
	return Run(ctx, factory.System(), os.Args[1:])
}

// Run runs one command line and returns its exit code.
func Run(ctx context.Context, f *factory.Factory, args []string) int {
	root := NewRootCommand(f)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return failure.OK
	}
	if !failure.IsOurs(err) {
		err = failure.WithHint(failure.UsageError(err), "%s --help", cmd.CommandPath())
	}
	failure.Print(f.IO.Err, err)
	return failure.ExitCode(err)
}
