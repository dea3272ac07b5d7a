package host

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
)

// EnvOptions are the inputs of "env".
type EnvOptions struct {
	Factory *factory.Factory
}

// NewEnvCommand returns the command "env".
func NewEnvCommand(f *factory.Factory, run func(context.Context, *EnvOptions) error) *cobra.Command {
	o := &EnvOptions{Factory: f}
	if run == nil {
		run = printEnv
	}
	return &cobra.Command{
		Use:   "env",
		Short: "Print the environment that points programs at this cloud",
		Long: `Print shell commands that set BUNDT_SOCKET, so that programs started from this
shell talk to the daemon that this command talks to. The variables of AWS's tools
are not set: this version's daemon has no EC2 endpoint for them yet.`,
		Example:           `  eval "$(bundt env --socket unix:///tmp/cloud/bundtd.sock)"`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failure.Wrap(run(cmd.Context(), o), "print", "the environment")
		},
	}
}

func printEnv(_ context.Context, o *EnvOptions) error {
	// Refuses an endpoint that no client could use.
	if _, err := o.Factory.Client(); err != nil {
		return err
	}
	quoted := "'" + strings.ReplaceAll(o.Factory.Endpoint(), "'", `'\''`) + "'"
	_, err := fmt.Fprintf(o.Factory.IO.Out, "export BUNDT_SOCKET=%s\n", quoted)
	return err
}
