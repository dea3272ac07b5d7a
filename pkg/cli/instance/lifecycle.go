package instance

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/plan"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/cli/wait"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// ChangeOptions are the inputs of the commands that take instances from one state
// to another.
type ChangeOptions struct {
	Factory   *factory.Factory
	Plan      plan.Options
	Wait      wait.Options
	Instances []string
	Force     bool   // stop: without asking the guest
	Condition string // what to wait for
}

// change is one way to change instances' state.
type change struct {
	verb, doing, done string // "stop", "stopping", "stopped"
	action            string // EC2's
	condition         string // where it leads
	request           func(o *ChangeOptions, ids []string) any
	send              func(ctx context.Context, c *client.Client, request any) error
}

var starting = change{
	verb: "start", doing: "starting", done: "reachable", action: "StartInstances", condition: wait.Reachable,
	request: func(o *ChangeOptions, ids []string) any {
		return &ec2types.StartInstancesInput{InstanceIds: ids, DryRun: o.Plan.Flag()}
	},
	send: func(ctx context.Context, c *client.Client, request any) error {
		_, err := c.StartInstances(ctx, request.(*ec2types.StartInstancesInput))
		return err
	},
}

var stopping = change{
	verb: "stop", doing: "stopping", done: "stopped", action: "StopInstances", condition: string(model.InstanceStopped),
	request: func(o *ChangeOptions, ids []string) any {
		in := &ec2types.StopInstancesInput{InstanceIds: ids, DryRun: o.Plan.Flag()}
		if o.Force {
			in.Force = &o.Force
		}
		return in
	},
	send: func(ctx context.Context, c *client.Client, request any) error {
		_, err := c.StopInstances(ctx, request.(*ec2types.StopInstancesInput))
		return err
	},
}

var rebooting = change{
	verb: "reboot", doing: "rebooting", done: "reachable again", action: "RebootInstances", condition: wait.Reachable,
	request: func(o *ChangeOptions, ids []string) any {
		return &ec2types.RebootInstancesInput{InstanceIds: ids, DryRun: o.Plan.Flag()}
	},
	send: func(ctx context.Context, c *client.Client, request any) error {
		_, err := c.RebootInstances(ctx, request.(*ec2types.RebootInstancesInput))
		return err
	},
}

var removing = change{
	verb: "terminate", doing: "terminating", done: "terminated", action: "TerminateInstances", condition: string(model.InstanceTerminated),
	request: func(o *ChangeOptions, ids []string) any {
		return &ec2types.TerminateInstancesInput{InstanceIds: ids, DryRun: o.Plan.Flag()}
	},
	send: func(ctx context.Context, c *client.Client, request any) error {
		_, err := c.TerminateInstances(ctx, request.(*ec2types.TerminateInstancesInput))
		return err
	},
}

// NewStartCommand returns the command "start".
func NewStartCommand(f *factory.Factory, run func(context.Context, *ChangeOptions) error) *cobra.Command {
	cmd, o := newChangeCommand(f, starting, run, model.InstanceStopped)
	cmd.Use, cmd.Short = "start INSTANCE…", "Start stopped instances"
	cmd.Long = `Start stopped instances and wait until their guests answer. Prints their ids.`
	addConditionFlag(cmd, o)
	return cmd
}

// NewStopCommand returns the command "stop".
func NewStopCommand(f *factory.Factory, run func(context.Context, *ChangeOptions) error) *cobra.Command {
	cmd, o := newChangeCommand(f, stopping, run, model.InstancePending, model.InstanceRunning, model.InstanceStopping)
	cmd.Use, cmd.Short = "stop INSTANCE…", "Stop running instances; their volumes stay"
	cmd.Long = `Stop running instances and wait until they are off. Prints their ids.

The guest is asked to shut down first and gets time to do so. --force takes its
power away at once, which loses what it has not written.`
	cmd.Flags().BoolVar(&o.Force, "force", false, "do not ask the guest: take its power away")
	return cmd
}

// NewRebootCommand returns the command "reboot".
func NewRebootCommand(f *factory.Factory, run func(context.Context, *ChangeOptions) error) *cobra.Command {
	cmd, o := newChangeCommand(f, rebooting, run, model.InstanceRunning)
	cmd.Use, cmd.Short = "reboot INSTANCE…", "Restart running instances"
	cmd.Long = `Restart the guests of running instances and wait until they answer again.
Prints their ids. Memory is lost; volumes and addresses stay.`
	addConditionFlag(cmd, o)
	return cmd
}

// NewRemoveCommand returns the command "rm".
func NewRemoveCommand(f *factory.Factory, run func(context.Context, *ChangeOptions) error) *cobra.Command {
	cmd, _ := newChangeCommand(f, removing, run)
	cmd.Use, cmd.Short = "rm INSTANCE…", "Terminate instances and free all that they have"
	cmd.Aliases = []string{"terminate", "delete"}
	cmd.Long = `Terminate instances and wait until all that they have is freed. Prints their ids.

Their root volumes are deleted, unless they were launched with
DeleteOnTermination=false. There is no way back: take an image of what you want
to keep with bundt create-image.`
	return cmd
}

func newChangeCommand(f *factory.Factory, ch change, run func(context.Context, *ChangeOptions) error, from ...model.InstanceState) (*cobra.Command, *ChangeOptions) {
	o := &ChangeOptions{Factory: f, Condition: ch.condition}
	if run == nil {
		run = ch.run
	}
	cmd := &cobra.Command{
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: complete.Instances(f, from...),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Instances = args
			return failure.Wrap(run(cmd.Context(), o), ch.verb, strings.Join(args, ", "))
		},
	}
	o.Plan.AddFlags(cmd)
	o.Wait.AddFlags(cmd)
	return cmd, o
}

func (ch change) run(ctx context.Context, o *ChangeOptions) error {
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
	request := ch.request(o, ids)
	err = ch.send(ctx, c, request)
	if o.Plan.DryRun && plan.Passed(err) {
		return plan.Show(o.Factory.IO, ch.action, request)
	}
	if err != nil {
		return err
	}
	if !o.Wait.NoWait {
		if err := ch.await(ctx, c, o, ids); err != nil {
			return err
		}
	}
	return printIDs(o.Factory, ids)
}

func (ch change) await(ctx context.Context, c *client.Client, o *ChangeOptions, ids []string) error {
	names := strings.Join(ids, ", ")
	p := o.Factory.IO.StartProgress(ch.doing + " " + names)
	check := wait.Instances(c, ids, o.Condition)
	if ch.condition == string(model.InstanceTerminated) {
		check = forgiving(check)
	}
	if err := o.Wait.Until(ctx, p, check); err != nil {
		p.Stop()
		return err
	}
	done := ch.done
	if o.Condition != ch.condition {
		done = o.Condition
	}
	p.Done(fmt.Sprintf("%s %s", names, done))
	return nil
}

// forgiving takes an instance that is not known any more for terminated: its
// record is kept for a while only.
func forgiving(check wait.Check) wait.Check {
	return func(ctx context.Context) (bool, string, error) {
		done, status, err := check(ctx)
		if errors.Is(err, &model.Error{Code: model.CodeInstanceIDNotFound}) {
			return true, "", nil
		}
		return done, status, err
	}
}

func addConditionFlag(cmd *cobra.Command, o *ChangeOptions) {
	cmd.Flags().StringVar(&o.Condition, "wait", wait.Reachable, "what to wait for: running or reachable")
	_ = cmd.RegisterFlagCompletionFunc("wait", cobra.FixedCompletions([]cobra.Completion{string(model.InstanceRunning), wait.Reachable}, cobra.ShellCompDirectiveNoFileComp))
	cmd.MarkFlagsMutuallyExclusive("wait", "no-wait")
}

func checkCondition(condition string) error {
	for _, c := range wait.Conditions() {
		if c == condition {
			return nil
		}
	}
	return failure.Usagef("cannot wait for an instance to be %q, only %s", condition, strings.Join(wait.Conditions(), ", "))
}

func printIDs(f *factory.Factory, ids []string) error {
	_, err := fmt.Fprintln(f.IO.Out, strings.Join(ids, "\n"))
	return err
}
