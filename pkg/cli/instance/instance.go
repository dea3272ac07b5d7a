// Package instance owns the commands on instances: run, ls, show, start, stop,
// reboot, rm, wait, logs and identity-certificate. It may import pkg/client, the
// API's types, pkg/model and its neighbours under pkg/cli only.
package instance

import (
	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/cli/factory"
)

// NewCommand returns the command "instance" with all its verbs.
func NewCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "instance VERB",
		Aliases: []string{"instances"},
		Short:   "Manage instances: virtual machines",
		Long: `Manage instances: the virtual machines that are launched from images.

An instance is named by its id (i-…) or by its Name tag, if only one instance
that is not terminated has it.`,
	}
	cmd.AddCommand(
		NewRunCommand(f, nil), NewListCommand(f), newShowCommand(f),
		NewStartCommand(f, nil), NewStopCommand(f, nil), NewRebootCommand(f, nil), NewRemoveCommand(f, nil),
		NewWaitCommand(f, nil), NewLogsCommand(f, nil), NewCertificateCommand(f, nil),
	)
	return cmd
}
