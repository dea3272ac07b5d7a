package storage

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/plan"
	"github.com/bundt/bundt/pkg/cli/wait"
	"github.com/bundt/bundt/pkg/client"
)

// ChangeOptions are the inputs of the commands that make or change a volume or a
// snapshot.
type ChangeOptions struct {
	Factory     *factory.Factory
	Plan        plan.Options
	Wait        wait.Options
	Ref         string // the object: a volume's id or name, a snapshot's id
	Instance    string
	Device      string
	Size        int32 // GiB
	Snapshot    string
	Type        string
	IOPS        int32
	Throughput  int32 // MiB/s
	Zone        string
	Name        string
	Description string
	Force       bool
	Encrypted   bool
	FromRegion  string   // of a snapshot that is copied; "" for this one
	With        []string // accounts
	Public      bool
	Private     bool
}

// command is what the commands have in common.
type change struct {
	use, short, long, example string
	args                      cobra.PositionalArgs
	complete                  cobra.CompletionFunc
	verb, object              string // of errors
	waits                     bool
	flags                     func(cmd *cobra.Command, o *ChangeOptions)
	take                      func(o *ChangeOptions, args []string) error
	run                       func(context.Context, *ChangeOptions) error
}

func (d change) make(f *factory.Factory, run func(context.Context, *ChangeOptions) error) *cobra.Command {
	o := &ChangeOptions{Factory: f}
	if run == nil {
		run = d.run
	}
	if d.complete == nil {
		d.complete = complete.None
	}
	cmd := &cobra.Command{
		Use: d.use, Short: d.short, Long: d.long, Example: d.example, Args: d.args, ValidArgsFunction: d.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.Ref = args[0]
			}
			object := d.object
			if o.Ref != "" {
				object += " " + o.Ref
			}
			if d.take != nil {
				if err := d.take(o, args); err != nil {
					return failure.Wrap(err, d.verb, object)
				}
			}
			return failure.Wrap(run(cmd.Context(), o), d.verb, object)
		},
	}
	o.Plan.AddFlags(cmd)
	if d.waits {
		o.Wait.AddFlags(cmd)
	}
	if d.flags != nil {
		d.flags(cmd, o)
	}
	return cmd
}

// send makes a request. After a dry run that passed it shows the request instead
// and reports that there is nothing more to do.
func (o *ChangeOptions) send(action string, request any, call func() error) (done bool, err error) {
	err = call()
	if o.Plan.DryRun && plan.Passed(err) {
		return true, plan.Show(o.Factory.IO, action, request)
	}
	return err != nil, err
}

// await prints the object's id and waits until check is done.
func (o *ChangeOptions) await(ctx context.Context, id, doing, done string, check wait.Check) error {
	if _, err := fmt.Fprintln(o.Factory.IO.Out, id); err != nil || o.Wait.NoWait {
		return err
	}
	p := o.Factory.IO.StartProgress(doing)
	if err := o.Wait.Until(ctx, p, check); err != nil {
		p.Stop()
		return err
	}
	p.Done(done)
	return nil
}

// volumeState returns a check that is done when a volume's state, and its
// attachment's if it has one, are right.
func volumeState(c *client.Client, id string, right func(state, attachment string) bool) wait.Check {
	return func(ctx context.Context) (bool, string, error) {
		out, err := c.DescribeVolumes(ctx, &ec2types.DescribeVolumesInput{VolumeIds: []string{id}})
		if err != nil {
			return false, "", err
		}
		v := out.Volumes[0]
		state, attachment := ec2types.Value(v.State), ""
		if len(v.Attachments) > 0 {
			attachment = ec2types.Value(v.Attachments[0].State)
		}
		if state == "error" {
			return false, "", fmt.Errorf("volume %s is in state error", id)
		}
		shown := state
		if attachment != "" {
			shown = attachment
		}
		return right(state, attachment), shown, nil
	}
}
