package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/version"
)

// VersionOptions are the inputs of "version".
type VersionOptions struct {
	Factory *factory.Factory
	Output  output.Options
	Client  bool
}

// versions are both sides' versions.
type versions struct {
	Client version.Info  `json:"Client"`
	Daemon *version.Info `json:"Daemon,omitempty"`
}

// NewVersionCommand returns the command "version".
func NewVersionCommand(f *factory.Factory, run func(context.Context, *VersionOptions) error) *cobra.Command {
	o := &VersionOptions{Factory: f}
	if run == nil {
		run = printVersion
	}
	cmd := &cobra.Command{
		Use:               "version",
		Short:             "Print the versions of this program and of the daemon",
		Long:              "Print the versions of this program and, if it answers, of the daemon.",
		Args:              cobra.NoArgs,
		ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failure.Wrap(run(cmd.Context(), o), "print", "versions")
		},
	}
	o.Output.AddFlags(cmd)
	cmd.Flags().BoolVar(&o.Client, "client", false, "do not ask the daemon")
	return cmd
}

func printVersion(ctx context.Context, o *VersionOptions) error {
	v := versions{Client: version.Get()}
	if !o.Client {
		c, err := o.Factory.Client()
		if err != nil {
			return err
		}
		limited, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		var daemon version.Info
		switch err := c.Version(limited, &daemon); {
		case err == nil:
			v.Daemon = &daemon
		case !errors.Is(err, client.ErrUnreachable):
			fmt.Fprintln(o.Factory.IO.Err, "the daemon does not tell its version:", err)
		}
	}
	if !o.Output.ForPeople() && o.Output.Format != output.Name {
		return output.Data(o.Factory.IO, &o.Output, v)
	}
	fmt.Fprintln(o.Factory.IO.Out, v.Client)
	if v.Daemon != nil {
		fmt.Fprintln(o.Factory.IO.Out, "daemon: "+v.Daemon.String())
	}
	return nil
}

func machine() string { return string(resolve.HostArch()) }
