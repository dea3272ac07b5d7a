package instance

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/client"
)

func newShowCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "show INSTANCE", Short: "Print all that is known of an instance", Object: "instance", Args: cobra.ExactArgs(1), Shows: true,
		Long: `Print all that is known of an instance, as YAML unless -o says otherwise: what
EC2's DescribeInstances says of it, and what EC2 has no words for: its
accelerator and why it was chosen, its process, the layers of its disks.`,
		Complete: complete.First(complete.Instances(f)), Run: show,
	}.Command(f)
}

func show(ctx context.Context, s *command.Session, args []string) error {
	id, err := resolve.Instance(ctx, s.Client, args[0])
	if err != nil {
		return err
	}
	found, err := resolve.InstancesByID(ctx, s.Client, []string{id})
	if err != nil {
		return err
	}
	if len(found) != 1 {
		return failure.NotFoundf("instance %s does not exist", id)
	}
	details, err := detailsOf(ctx, s.Client, found)
	if err != nil {
		return err
	}
	return output.One(s.Factory.IO, &s.Output, id, struct {
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
