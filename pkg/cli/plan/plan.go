// Package plan owns --dry-run: the daemon checks a request in full and does
// nothing, and the user sees what would have been done. It may import pkg/model
// and its neighbours under pkg/cli only.
package plan

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/model"
)

// Options are what a user chose by --dry-run.
type Options struct {
	DryRun bool
}

// AddFlags gives cmd the flag --dry-run.
func (o *Options) AddFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "let the daemon check the request and change nothing; show the request")
}

// Flag is the value of a request's DryRun member.
func (o *Options) Flag() *bool {
	if !o.DryRun {
		return nil
	}
	return &o.DryRun
}

// Passed reports whether err is the daemon's answer that the request would have
// been carried out.
func Passed(err error) bool {
	return errors.Is(err, &model.Error{Code: model.CodeDryRunOperation})
}

// Show prints a request that passed its dry run: on Out, as JSON, under the
// action's name.
func Show(s *iostreams.IOStreams, action string, request any) error {
	fmt.Fprintln(s.Err, "dry run: the request is valid and would be carried out; nothing was changed")
	return output.Data(s, &output.Options{Format: output.JSON}, map[string]any{action: request})
}
