package instance

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/cli/wait"
	"github.com/bundt/bundt/pkg/model"
)

// WaitOptions are the inputs of "wait".
type WaitOptions struct {
	Factory   *factory.Factory
	Wait      wait.Options
	Instances []string
	Condition string
}

// NewWaitCommand returns the command "wait".
func NewWaitCommand(f *factory.Factory, run func(context.Context, *WaitOptions) error) *cobra.Command {
	o := &WaitOptions{Factory: f}
	if run == nil {
		run = waitFor
	}
	instances := complete.Instances(f)
	cmd := &cobra.Command{
		Use:   "wait INSTANCE… " + strings.Join(wait.Conditions(), "|"),
		Short: "Wait until instances are running, stopped, terminated or reachable",
		Long: `Wait until all the instances are in a state, or are reachable: running, and the
guest answers. Fails at once when one of them can no longer get there.`,
		Example: `  bundt wait web reachable
  bundt wait i-0123456789abcdef0 stopped --timeout 1m`,
		Args: cobra.MinimumNArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			found, directive := instances(cmd, args, toComplete)
			if len(args) > 0 {
				found = append(found, wait.Conditions()...)
			}
			return found, directive
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Instances, o.Condition = args[:len(args)-1], args[len(args)-1]
			return failure.Wrap(run(cmd.Context(), o), "wait for", strings.Join(o.Instances, ", "))
		},
	}
	o.Wait.AddTimeoutFlag(cmd)
	return cmd
}

func waitFor(ctx context.Context, o *WaitOptions) error {
	if err := checkCondition(o.Condition); err != nil {
		return err
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	ids, err := resolve.InstanceIDs(ctx, c, o.Instances)
	if err != nil {
		return err
	}
	check := wait.Instances(c, ids, o.Condition)
	if o.Condition == string(model.InstanceTerminated) {
		check = forgiving(check)
	}
	names := strings.Join(ids, ", ")
	p := o.Factory.IO.StartProgress(fmt.Sprintf("waiting for %s to be %s", names, o.Condition))
	if err := o.Wait.Until(ctx, p, check); err != nil {
		p.Stop()
		return wait.Unreached(err, ids, o.Condition)
	}
	p.Done(names + " " + o.Condition)
	return nil
}
