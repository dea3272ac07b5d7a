package image

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/plan"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/cli/wait"
	"github.com/bundt/bundt/pkg/model"
)

// CreateOptions are the inputs of "create-image".
type CreateOptions struct {
	Factory     *factory.Factory
	Plan        plan.Options
	Wait        wait.Options
	Instance    string
	Name        string
	Description string
	NoReboot    bool
}

// NewCreateCommand returns the command "create-image".
func NewCreateCommand(f *factory.Factory, run func(context.Context, *CreateOptions) error) *cobra.Command {
	o := &CreateOptions{Factory: f}
	if run == nil {
		run = createImage
	}
	cmd := &cobra.Command{
		Use:   "create-image INSTANCE --name NAME",
		Short: "Make an image of an instance",
		Long: `Make an image of an instance's disks and wait until it is available. Prints the
image's id.

A running instance is rebooted for it unless it has a guest agent that can freeze
its file systems, so that the image holds no half-written file: this is what EC2
does. With --no-reboot the instance goes on running and notices nothing; the
image is then what a power cut at that moment would have left, which file systems
with a journal are made for.`,
		Example: `  bundt create-image web --name web-v2 --no-reboot
  bundt run web-v2`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: complete.First(complete.Instances(f, model.InstanceRunning, model.InstanceStopped)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Instance = args[0]
			return failure.Wrap(run(cmd.Context(), o), "create an image of", o.Instance)
		},
	}
	o.Plan.AddFlags(cmd)
	o.Wait.AddFlags(cmd)
	cmd.Flags().StringVarP(&o.Name, "name", "n", "", "`name` of the image (required)")
	cmd.Flags().StringVar(&o.Description, "description", "", "`text` that describes the image")
	cmd.Flags().BoolVar(&o.NoReboot, "no-reboot", false, "take the disks as they are while the instance runs on")
	_ = cmd.RegisterFlagCompletionFunc("name", complete.None)
	return cmd
}

func createImage(ctx context.Context, o *CreateOptions) error {
	if o.Name == "" {
		return failure.Usagef("--name is required: what the image shall be called")
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	instance, err := resolve.Instance(ctx, c, o.Instance)
	if err != nil {
		return err
	}
	request := &ec2types.CreateImageInput{InstanceId: &instance, Name: &o.Name, NoReboot: &o.NoReboot, DryRun: o.Plan.Flag()}
	if o.Description != "" {
		request.Description = &o.Description
	}
	out, err := c.CreateImage(ctx, request)
	if o.Plan.DryRun && plan.Passed(err) {
		return plan.Show(o.Factory.IO, "CreateImage", request)
	}
	if err != nil {
		return err
	}
	id := ec2types.Value(out.ImageId)
	if _, err := fmt.Fprintln(o.Factory.IO.Out, id); err != nil || o.Wait.NoWait {
		return err
	}
	doing := "imaging " + instance
	if o.NoReboot {
		doing += " while it runs"
	}
	p := o.Factory.IO.StartProgress(doing)
	if err := o.Wait.Until(ctx, p, wait.Images(c, id)); err != nil {
		p.Stop()
		return err
	}
	p.Done(fmt.Sprintf("%s %s available", id, o.Name))
	return nil
}
