package host

import (
	"context"
	"fmt"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
)

// ConsoleOptions are the inputs of "console".
type ConsoleOptions struct {
	Factory *factory.Factory
	Print   bool
	// Open shows an address in a browser.
	Open func(ctx context.Context, url string) error
}

// NewConsoleCommand returns the command "console".
func NewConsoleCommand(f *factory.Factory, run func(context.Context, *ConsoleOptions) error) *cobra.Command {
	o := &ConsoleOptions{Factory: f, Open: openBrowser}
	if run == nil {
		run = openConsole
	}
	cmd := &cobra.Command{
		Use:   "console",
		Short: "Open the web console in a browser",
		Long: `Open the web console in a browser, signed in as whoever bundt acts as: the admin account's root, or
with --account and --user somebody else. Where there is no browser, or with --print, the link is
printed: it is good for one sign-in within five minutes.`,
		Example: `  bundt console
  bundt console --print
  bundt console --account class --user alice --print`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failure.Wrap(run(cmd.Context(), o), "open", "the console")
		},
	}
	cmd.Flags().BoolVar(&o.Print, "print", false, "print the link and open nothing")
	return cmd
}

func openConsole(ctx context.Context, o *ConsoleOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	out, err := c.CreateConsoleLink(ctx, &bundttypes.CreateConsoleLinkInput{})
	if err != nil {
		return err
	}
	if !o.Print && o.Factory.IO.OutIsTerminal() {
		if err := o.Open(ctx, out.Url); err == nil {
			fmt.Fprintln(o.Factory.IO.Err, "the console is in your browser")
			return nil
		}
	}
	_, err = fmt.Fprintln(o.Factory.IO.Out, out.Url)
	return err
}

// openBrowser opens the user's browser, as the desktop knows it.
// https://portland.freedesktop.org/doc/xdg-open.html
func openBrowser(ctx context.Context, url string) error {
	return exec.CommandContext(ctx, "xdg-open", url).Run()
}
