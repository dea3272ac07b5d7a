package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/cli"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/daemon"
)

// bundtArgs checks arguments of bundt: the command exists, its flags parse, and
// the number of its arguments is right. Nothing is run.
func bundtArgs(args []string) error {
	root := newRoot()
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if cmd == root && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		return fmt.Errorf("no command %q", rest[0])
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if help, _ := cmd.Flags().GetBool("help"); help {
		return nil
	}
	return errors.Join(arguments(cmd), cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups())
}

func arguments(cmd *cobra.Command) error {
	if cmd.HasSubCommands() && strings.HasSuffix(cmd.Use, " VERB") && cmd.Flags().NArg() > 0 { // "build RECIPE" has both
		return fmt.Errorf("%s has no command %q", cmd.CommandPath(), cmd.Flags().Arg(0))
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

func newRoot() *cobra.Command {
	root := cli.NewRootCommand(newFactory())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range append(root.Commands(), root) {
		c.InitDefaultHelpFlag()
	}
	return root
}

func newFactory() *factory.Factory {
	f := factory.System()
	f.Recipes = noRecipes{}
	return f
}

// noRecipes: the commands' arguments do not depend on what is built in.
type noRecipes struct{}

func (noRecipes) Names() []string               { return nil }
func (noRecipes) FS(name string) (fs.FS, error) { return nil, fs.ErrNotExist }

// bundtdArgs checks arguments of bundtd. An empty data directory, given last,
// ends it before it does anything, with this message, if all else was right.
func bundtdArgs(args []string) error {
	const stop = "--data-dir must not be empty"
	code, said, err := captured(func() int { return daemon.Main(append(args[:len(args):len(args)], "--data-dir=")) })
	if err != nil || code == 0 || strings.Contains(said, stop) {
		return err
	}
	return errors.New(strings.TrimSpace(said))
}

// captured runs f with standard output and standard error as its second result.
func captured(f func() int) (code int, said string, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, "", err
	}
	text := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(r)
		text <- string(b)
	}()
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = w, w
	code = f()
	os.Stdout, os.Stderr = stdout, stderr
	w.Close()
	return code, <-text, nil
}

var makeTarget = regexp.MustCompile(`(?m)^([a-z][a-z0-9_-]*):`)

// makeArgs returns the check of targets against a Makefile.
func makeArgs(makefile string) checker {
	known := map[string]bool{}
	for _, m := range makeTarget.FindAllStringSubmatch(makefile, -1) {
		known[m[1]] = true
	}
	return func(args []string) error {
		for _, a := range args {
			if !known[a] && !strings.Contains(a, "=") && !strings.HasPrefix(a, "-") {
				return fmt.Errorf("the Makefile has no target %q", a)
			}
		}
		return nil
	}
}
