package instance

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/model"
)

// NewListCommand returns the command "ls".
func NewListCommand(f *factory.Factory) *cobra.Command {
	var (
		terminated bool
		filters    []string
	)
	details := map[string]bundttypes.InstanceDetails{}
	return command.List[ec2types.Instance]{
		What: "instances", Empty: "no instances; bundt run starts one",
		Long: `List instances, newest last.

Terminated instances are left out unless --all is given. Filters are those of
EC2's DescribeInstances: --filter NAME=VALUE[,VALUE…], for example
--filter instance-state-name=running --filter tag:Name=web.`,
		Example: `  bundt ls
  bundt ls -o wide
  bundt ls --query '[].PublicIpAddress'`,
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().BoolVarP(&terminated, "all", "a", false, "show terminated instances too")
			cmd.Flags().StringArrayVarP(&filters, "filter", "f", nil, "show only what passes this EC2 filter, `NAME=VALUE[,VALUE…]`; may be repeated")
		},
		All: func(ctx context.Context, s *command.Session, _ []string) ([]ec2types.Instance, error) {
			found, err := find(ctx, s, filters, terminated)
			if err == nil && s.Output.Format == output.Wide {
				details, err = detailsOf(ctx, s.Client, found)
			}
			return found, err
		},
		ID:      instanceID,
		Columns: func(s *command.Session) []output.Column[ec2types.Instance] { return columns(s, details) },
	}.Command(f)
}

// find returns the instances that pass the filters, newest last.
func find(ctx context.Context, s *command.Session, flags []string, terminated bool) ([]ec2types.Instance, error) {
	filters, err := parseFilters(flags)
	if err != nil {
		return nil, err
	}
	found, err := resolve.Instances(ctx, s.Client, filters...)
	if err != nil {
		return nil, err
	}
	if !terminated {
		found = slices.DeleteFunc(found, resolve.Gone)
	}
	slices.SortStableFunc(found, func(a, b ec2types.Instance) int {
		return cmp.Or(
			ec2types.Value(a.LaunchTime).Compare(ec2types.Value(b.LaunchTime)),
			cmp.Compare(ec2types.Value(a.AmiLaunchIndex), ec2types.Value(b.AmiLaunchIndex)))
	})
	return found, nil
}

func parseFilters(flags []string) ([]ec2types.Filter, error) {
	var filters []ec2types.Filter
	for _, f := range flags {
		name, values, ok := strings.Cut(f, "=")
		if !ok || name == "" {
			return nil, failure.Usagef("filter %q is not of the form NAME=VALUE[,VALUE…]", f)
		}
		filters = append(filters, resolve.Filter(name, strings.Split(values, ",")...))
	}
	return filters, nil
}

func instanceID(i ec2types.Instance) string { return ec2types.Value(i.InstanceId) }

func columns(s *command.Session, details map[string]bundttypes.InstanceDetails) []output.Column[ec2types.Instance] {
	type instance = ec2types.Instance
	return []output.Column[instance]{
		{Title: "INSTANCE", Text: instanceID, Style: func(instance) iostreams.Style { return iostreams.Mark }},
		command.Name(func(i instance) []ec2types.Tag { return i.Tags }),
		{Title: "STATE", Text: resolve.State, Style: func(i instance) iostreams.Style { return StateStyle(resolve.State(i)) }},
		command.Text("TYPE", func(i instance) *string { return i.InstanceType }),
		command.Text("ARCH", func(i instance) *string { return i.Architecture }),
		command.Text("ADDRESS", func(i instance) *string { return i.PublicIpAddress }),
		command.Text("IMAGE", func(i instance) *string { return i.ImageId }),
		command.Age(s, func(i instance) *time.Time { return i.LaunchTime }),
		command.Wide(command.Text("PRIVATE", func(i instance) *string { return i.PrivateIpAddress })),
		command.Wide(command.Text("KEY", func(i instance) *string { return i.KeyName })),
		{Title: "ACCEL", Wide: true, Text: func(i instance) string { return details[instanceID(i)].Accelerator }},
		{Title: "REACHABILITY", Wide: true, Text: func(i instance) string { return details[instanceID(i)].Reachability }},
		{Title: "REASON", Wide: true, Text: func(i instance) string {
			if i.StateReason != nil && ec2types.Value(i.StateReason.Message) != "" {
				return *i.StateReason.Message
			}
			return ec2types.Value(i.StateTransitionReason)
		}},
	}
}

// StateStyle is how an instance's state is shown.
func StateStyle(state string) iostreams.Style {
	switch model.InstanceState(state) {
	case model.InstanceRunning:
		return iostreams.Good
	case model.InstanceStopped, model.InstanceTerminated:
		return iostreams.Dim
	}
	return iostreams.Busy
}
