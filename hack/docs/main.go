// Command docs writes what is generated from the tree of commands: man pages and
// shell completions.
//
//	go run ./hack/docs -man docs/man -completions dist/completions
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/bundt/bundt/pkg/cli"
	"github.com/bundt/bundt/pkg/cli/factory"
)

func main() {
	man := flag.String("man", "docs/man", "directory of man pages")
	completions := flag.String("completions", "", "directory of shell completions; empty for none")
	flag.Parse()
	err := writeManPages(*man)
	if err == nil && *completions != "" {
		err = writeCompletions(*completions)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

func newRoot() *cobra.Command {
	root := cli.NewRootCommand(factory.System())
	root.DisableAutoGenTag = true
	root.InitDefaultCompletionCmd()
	return root
}

// writeManPages replaces the pages in dir. They carry no date, so that they
// change only when the commands do.
func writeManPages(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the directory of man pages: %w", err)
	}
	old, err := filepath.Glob(filepath.Join(dir, "bundt*.1"))
	if err != nil {
		return err
	}
	for _, page := range old {
		if err := os.Remove(page); err != nil {
			return fmt.Errorf("removing an old man page: %w", err)
		}
	}
	return writeManTree(newRoot(), dir)
}

func writeManTree(cmd *cobra.Command, dir string) error {
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.IsAdditionalHelpTopicCommand() {
			if err := writeManTree(c, dir); err != nil {
				return err
			}
		}
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	header := &doc.GenManHeader{
		Title: strings.ToUpper(name), Section: "1", Source: "bundt", Manual: "bundt manual", Date: &time.Time{},
	}
	var page bytes.Buffer
	if err := doc.GenMan(cmd, header, &page); err != nil {
		return fmt.Errorf("making the man page of %s: %w", name, err)
	}
	undated := bytes.Replace(page.Bytes(), []byte(`"Jan 0001"`), []byte(`""`), 1)
	if err := os.WriteFile(filepath.Join(dir, name+".1"), undated, 0o644); err != nil {
		return fmt.Errorf("writing a man page: %w", err)
	}
	return nil
}

func writeCompletions(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the directory of completions: %w", err)
	}
	root := newRoot()
	for file, write := range map[string]func(io.Writer) error{
		"bundt.bash": func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"_bundt":     root.GenZshCompletion,
		"bundt.fish": func(w io.Writer) error { return root.GenFishCompletion(w, true) },
	} {
		f, err := os.Create(filepath.Join(dir, file))
		if err != nil {
			return fmt.Errorf("writing completions: %w", err)
		}
		err = write(f)
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return fmt.Errorf("writing %s: %w", file, err)
		}
	}
	return nil
}
