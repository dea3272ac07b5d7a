// Package instancetype owns the commands on instance types. It may import
// pkg/client, the API's types and its neighbours under pkg/cli only.
package instancetype

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
)

// NewCommand returns the command "type" with all its verbs.
func NewCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "type VERB",
		Aliases: []string{"types", "instance-type"},
		Short:   "See instance types: the sizes of machines",
	}
	cmd.AddCommand(NewListCommand(f, nil))
	return cmd
}

// ListOptions are the inputs of "type ls".
type ListOptions struct {
	Factory *factory.Factory
	Output  output.Options
}

// NewListCommand returns the command "type ls".
func NewListCommand(f *factory.Factory, run func(context.Context, *ListOptions) error) *cobra.Command {
	o := &ListOptions{Factory: f}
	if run == nil {
		run = list
	}
	cmd := &cobra.Command{
		Use:               "ls",
		Aliases:           []string{"list"},
		Short:             "List instance types, smallest first",
		Args:              cobra.NoArgs,
		ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failure.Wrap(run(cmd.Context(), o), "list", "instance types")
		},
	}
	o.Output.AddFlags(cmd)
	return cmd
}

func list(ctx context.Context, o *ListOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	var all []ec2types.InstanceTypeInfo
	for page, err := range c.DescribeInstanceTypesPages(ctx, &ec2types.DescribeInstanceTypesInput{}) {
		if err != nil {
			return err
		}
		all = append(all, page.InstanceTypes...)
	}
	slices.SortFunc(all, func(a, b ec2types.InstanceTypeInfo) int {
		return cmp.Or(cmp.Compare(memory(a), memory(b)), cmp.Compare(cpus(a), cpus(b)), strings.Compare(name(a), name(b)))
	})
	return output.List(o.Factory.IO, &o.Output, all, name, []output.Column[ec2types.InstanceTypeInfo]{
		{Title: "TYPE", Text: name},
		{Title: "VCPUS", Text: func(t ec2types.InstanceTypeInfo) string { return fmt.Sprint(cpus(t)) }},
		{Title: "MEMORY", Text: func(t ec2types.InstanceTypeInfo) string { return mebibytes(memory(t)) }},
		{Title: "ARCHITECTURES", Text: func(t ec2types.InstanceTypeInfo) string {
			if t.ProcessorInfo == nil {
				return ""
			}
			return strings.Join(t.ProcessorInfo.SupportedArchitectures, ",")
		}},
	})
}

func name(t ec2types.InstanceTypeInfo) string { return ec2types.Value(t.InstanceType) }

func memory(t ec2types.InstanceTypeInfo) int64 {
	if t.MemoryInfo == nil {
		return 0
	}
	return ec2types.Value(t.MemoryInfo.SizeInMiB)
}

func cpus(t ec2types.InstanceTypeInfo) int32 {
	if t.VCpuInfo == nil {
		return 0
	}
	return ec2types.Value(t.VCpuInfo.DefaultVCpus)
}

func mebibytes(n int64) string {
	if n >= 1024 && n%1024 == 0 {
		return fmt.Sprintf("%d GiB", n/1024)
	}
	return fmt.Sprintf("%d MiB", n)
}
