package instance

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/client"
)

// ShowOptions are the inputs of "instance show".
type ShowOptions struct {
	Factory  *factory.Factory
	Output   output.Options
	Instance string
}

// NewShowCommand returns the command "instance show".
func NewShowCommand(f *factory.Factory, run func(context.Context, *ShowOptions) error) *cobra.Command {
	o := &ShowOptions{Factory: f}
	if run == nil {
		run = show
	}
	cmd := &cobra.Command{
		Use:   "show INSTANCE",
		Short: "Print all that is known of an instance",
		Long: `Print all that is known of an instance, as YAML unless -o says otherwise: what
EC2's DescribeInstances says of it, and what EC2 has no words for: its
accelerator and why it was chosen, its process, the layers of its disks.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: complete.First(complete.Instances(f)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Instance = args[0]
			return failure.Wrap(run(cmd.Context(), o), "show", o.Instance)
		},
	}
	o.Output.AddFlags(cmd)
	return cmd
}

func show(ctx context.Context, o *ShowOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	id, err := resolve.Instance(ctx, c, o.Instance)
	if err != nil {
		return err
	}
	found, err := resolve.InstancesByID(ctx, c, []string{id})
	if err != nil {
		return err
	}
	if len(found) != 1 {
		return failure.NotFoundf("instance %s does not exist", id)
	}
	details, err := detailsOf(ctx, c, found)
	if err != nil {
		return err
	}
	return output.One(o.Factory.IO, &o.Output, id, struct {
		Instance ec2types.Instance
		Details  bundttypes.InstanceDetails
	}{found[0], details[id]})
}

// detailsOf returns what EC2 has no words for, by instance.
func detailsOf(ctx context.Context, c *client.Client, instances []ec2types.Instance) (map[string]bundttypes.InstanceDetails, error) {
	byID := map[string]bundttypes.InstanceDetails{}
	if len(instances) == 0 {
		return byID, nil
	}
	in := &bundttypes.DescribeInstanceDetailsInput{}
	for _, i := range instances {
		in.InstanceIds = append(in.InstanceIds, instanceID(i))
	}
	out, err := c.DescribeInstanceDetails(ctx, in)
	if err != nil {
		return nil, err
	}
	for _, d := range out.InstanceDetails {
		byID[d.InstanceId] = d
	}
	return byID, nil
}
