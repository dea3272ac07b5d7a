package instance

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/model"
)

// ListOptions are the inputs of "ls".
type ListOptions struct {
	Factory *factory.Factory
	Output  output.Options
	All     bool
	Filters []string
}

// NewListCommand returns the command "ls".
func NewListCommand(f *factory.Factory, run func(context.Context, *ListOptions) error) *cobra.Command {
	o := &ListOptions{Factory: f}
	if run == nil {
		run = list
	}
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List instances",
		Long: `List instances, newest last.

Terminated instances are left out unless --all is given. Filters are those of
EC2's DescribeInstances: --filter NAME=VALUE[,VALUE…], for example
--filter instance-state-name=running --filter tag:Name=web.`,
		Example: `  bundt ls
  bundt ls -o wide
  bundt ls --query '[].PublicIpAddress'`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failure.Wrap(run(cmd.Context(), o), "list", "instances")
		},
	}
	o.Output.AddFlags(cmd)
	cmd.Flags().BoolVarP(&o.All, "all", "a", false, "show terminated instances too")
	cmd.Flags().StringArrayVarP(&o.Filters, "filter", "f", nil, "show only what passes this EC2 filter, `NAME=VALUE[,VALUE…]`; may be repeated")
	return cmd
}

func list(ctx context.Context, o *ListOptions) error {
	filters, err := parseFilters(o.Filters)
	if err != nil {
		return err
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	found, err := resolve.Instances(ctx, c, filters...)
	if err != nil {
		return err
	}
	if !o.All {
		found = slices.DeleteFunc(found, resolve.Gone)
	}
	slices.SortStableFunc(found, func(a, b ec2types.Instance) int {
		return cmp.Or(
			ec2types.Value(a.LaunchTime).Compare(ec2types.Value(b.LaunchTime)),
			cmp.Compare(ec2types.Value(a.AmiLaunchIndex), ec2types.Value(b.AmiLaunchIndex)))
	})
	if len(found) == 0 && o.Output.ForPeople() && o.Factory.IO.ErrIsTerminal() {
		fmt.Fprintln(o.Factory.IO.Err, "no instances; bundt run starts one")
		return nil
	}
	details := map[string]bundttypes.InstanceDetails{}
	if o.Output.Format == output.Wide {
		if details, err = detailsOf(ctx, c, found); err != nil {
			return err
		}
	}
	return output.List(o.Factory.IO, &o.Output, found, instanceID, columns(o.Factory.Now(), details))
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

func columns(now time.Time, details map[string]bundttypes.InstanceDetails) []output.Column[ec2types.Instance] {
	value := ec2types.Value[string]
	return []output.Column[ec2types.Instance]{
		{Title: "INSTANCE", Text: instanceID, Style: marked},
		{Title: "NAME", Text: func(i ec2types.Instance) string { return resolve.Tag(i.Tags, "Name") }},
		{Title: "STATE", Text: resolve.State, Style: func(i ec2types.Instance) iostreams.Style { return StateStyle(resolve.State(i)) }},
		{Title: "TYPE", Text: func(i ec2types.Instance) string { return value(i.InstanceType) }},
		{Title: "ARCH", Text: func(i ec2types.Instance) string { return value(i.Architecture) }},
		{Title: "ADDRESS", Text: func(i ec2types.Instance) string { return value(i.PublicIpAddress) }},
		{Title: "IMAGE", Text: func(i ec2types.Instance) string { return value(i.ImageId) }},
		{Title: "AGE", Text: func(i ec2types.Instance) string { return output.Age(now, ec2types.Value(i.LaunchTime)) }},
		{Title: "PRIVATE", Wide: true, Text: func(i ec2types.Instance) string { return value(i.PrivateIpAddress) }},
		{Title: "KEY", Wide: true, Text: func(i ec2types.Instance) string { return value(i.KeyName) }},
		{Title: "ACCEL", Wide: true, Text: func(i ec2types.Instance) string { return details[instanceID(i)].Accelerator }},
		{Title: "REACHABILITY", Wide: true, Text: func(i ec2types.Instance) string { return details[instanceID(i)].Reachability }},
		{Title: "REASON", Wide: true, Text: func(i ec2types.Instance) string {
			if i.StateReason != nil && value(i.StateReason.Message) != "" {
				return value(i.StateReason.Message)
			}
			return value(i.StateTransitionReason)
		}},
	}
}

func marked(ec2types.Instance) iostreams.Style { return iostreams.Mark }

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
