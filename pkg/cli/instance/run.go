package instance

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/image"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/plan"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/cli/wait"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// RunOptions are the inputs of "run".
type RunOptions struct {
	Factory   *factory.Factory
	Output    output.Options
	Plan      plan.Options
	Wait      wait.Options
	Condition string

	Parameters
	Count    int32
	Template string // launch template, TEMPLATE or TEMPLATE:VERSION
}

// NewRunCommand returns the command "run".
func NewRunCommand(f *factory.Factory, run func(context.Context, *RunOptions) error) *cobra.Command {
	o := &RunOptions{Factory: f}
	if run == nil {
		run = runInstances
	}
	cmd := &cobra.Command{
		Use:   "run [IMAGE]",
		Short: "Launch instances of an image",
		Long: `Launch instances of an image, given by its id (ami-…) or name, and wait until
their guests answer. Prints their ids. The name of a recipe that is built in (see bundt
catalog ls) means its newest image; if there is none, it is baked first.

--launch-template gives what is not given here: the image, too. See bundt
launch-template. TEMPLATE:VERSION means a version of it by its number, or as $Latest;
TEMPLATE alone its default version.

--key names the key pair whose owner may log in. With --key auto your own SSH key
(~/.ssh/id_ed25519.pub or id_rsa.pub) is imported if the cloud does not have it
yet. Without --key, as on EC2, nobody may log in with a key.

--accel kvm|tcg sets what executes the guest: the processor itself or software
emulation. Without it the node takes the best that works; bundt doctor explains
which. It is passed as the tag ` + AccelTag + `, so that any EC2 client can give it.

` + volumeHelp,
		Example: `  bundt run tiny --key demo --name web
  bundt run ami-0123456789abcdef0 --type t3.small --user-data setup.sh --count 3
  bundt run tiny --volume /dev/sdf=20,encrypted,keep --volume /dev/sda1=16
  bundt run tiny --subnet lab-1 --security-group web
  bundt run --launch-template web --count 3
  id=$(bundt run tiny --no-wait)`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: complete.First(complete.Images(f)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Image = strings.Join(args, "")
			return failure.Wrap(run(cmd.Context(), o), "run", cmp.Or(o.Image, o.Template, "an instance"))
		},
	}
	o.addFlags(cmd)
	return cmd
}

func (o *RunOptions) addFlags(cmd *cobra.Command) {
	f := o.Factory
	o.Output.AddFlags(cmd)
	o.Plan.AddFlags(cmd)
	o.Wait.AddFlags(cmd)
	o.AddFlags(f, cmd)
	cmd.Flags().Int32VarP(&o.Count, "count", "c", 1, "`number` of instances; all or none are launched")
	cmd.Flags().StringVar(&o.Template, "launch-template", "", "launch `template` that gives the rest: TEMPLATE or TEMPLATE:VERSION")
	cmd.Flags().StringVar(&o.Condition, "wait", wait.Reachable, "what to wait for: running or reachable")
	cmd.MarkFlagsMutuallyExclusive("wait", "no-wait")
	_ = cmd.RegisterFlagCompletionFunc("launch-template", complete.LaunchTemplates(f))
	command.FlagValues(cmd, "wait", string(model.InstanceRunning), wait.Reachable)
	command.FlagValues(cmd, "count")
}

func (o *RunOptions) check() error {
	switch {
	case o.Image == "" && o.Template == "":
		return failure.Usagef("IMAGE or --launch-template is required: what to launch")
	case o.Condition != wait.Reachable && o.Condition != string(model.InstanceRunning):
		return failure.Usagef("--wait is running or reachable, not %q", o.Condition)
	case o.Count < 1:
		return failure.Usagef("--count is %d: at least one instance", o.Count)
	}
	return nil
}

func runInstances(ctx context.Context, o *RunOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	if !o.Plan.DryRun {
		if err := image.Ensure(ctx, o.Factory, c, o.Image, o.Wait); err != nil {
			return err
		}
	}
	request, err := o.request(ctx, c)
	if err != nil {
		return err
	}
	out, err := c.RunInstances(ctx, request)
	if o.Plan.DryRun && plan.Passed(err) {
		return plan.Show(o.Factory.IO, "RunInstances", request)
	}
	if err != nil {
		return withLaunchHint(err, o)
	}
	var ids []string
	for _, i := range out.Instances {
		ids = append(ids, instanceID(i))
	}
	// Ids come out at once, so that whoever interrupts the waiting has them.
	if o.Output.ForPeople() || o.Output.Format == output.Name {
		if err := printIDs(o.Factory, ids); err != nil {
			return err
		}
	}
	if !o.Wait.NoWait {
		if err := awaitLaunch(ctx, c, o, ids); err != nil {
			return err
		}
	}
	if o.Output.ForPeople() || o.Output.Format == output.Name {
		return nil
	}
	launched, err := resolve.InstancesByID(ctx, c, ids)
	if err != nil {
		return err
	}
	return output.Data(o.Factory.IO, &o.Output, launched)
}

func (o *RunOptions) request(ctx context.Context, c *client.Client) (*ec2types.RunInstancesInput, error) {
	in, err := o.Request(ctx, o.Factory, c, o.Plan.DryRun)
	if err != nil {
		return nil, err
	}
	in.MinCount, in.MaxCount, in.ClientToken, in.DryRun = &o.Count, &o.Count, new(rand.Text()), o.Plan.Flag()
	if o.Template != "" {
		ref, version, _ := strings.Cut(o.Template, ":")
		in.LaunchTemplate = &ec2types.LaunchTemplateSpecification{Version: command.Given(version)}
		in.LaunchTemplate.LaunchTemplateId, in.LaunchTemplate.LaunchTemplateName = resolve.LaunchTemplate(ref)
	}
	return in, nil
}

func awaitLaunch(ctx context.Context, c *client.Client, o *RunOptions, ids []string) error {
	names := strings.Join(ids, ", ")
	p := o.Factory.IO.StartProgress("launching " + names)
	if err := o.Wait.Until(ctx, p, wait.Instances(c, ids, o.Condition)); err != nil {
		p.Stop()
		return wait.Unreached(err, ids, o.Condition)
	}
	p.Done(names + " " + o.Condition)
	if o.Factory.IO.ErrIsTerminal() && len(ids) == 1 {
		tell(o, ids[0])
	}
	return nil
}

// tell says what one can do with the new instance.
func tell(o *RunOptions, id string) {
	ref := id
	if o.Name != "" {
		ref = o.Name
	}
	if o.Key == "" && o.Template == "" {
		fmt.Fprintln(o.Factory.IO.Err, "  launched without --key: see what it says with: bundt logs "+ref)
		return
	}
	fmt.Fprintln(o.Factory.IO.Err, "  log in with: bundt ssh "+ref)
}

func withLaunchHint(err error, o *RunOptions) error {
	switch {
	case errors.Is(err, &model.Error{Code: model.CodeKeyPairNotFound}):
		return failure.WithHint(err, "make one with: bundt key create %s (or use your own SSH key: --key auto)", o.Key)
	case errors.Is(err, &model.Error{Code: model.CodeInvalidInstanceType}):
		return failure.WithHint(err, "bundt type ls lists the instance types")
	}
	return err
}
