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
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/output"
)

// NewCommand returns the command "type" with all its verbs.
func NewCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "type VERB",
		Aliases: []string{"types", "instance-type"},
		Short:   "See instance types: the sizes of machines",
	}
	cmd.AddCommand(newListCommand(f))
	return cmd
}

func newListCommand(f *factory.Factory) *cobra.Command {
	return command.List[ec2types.InstanceTypeInfo]{
		What: "instance types", Short: "List instance types, smallest first", All: bySize, ID: name,
		Columns: func(*command.Session) []output.Column[ec2types.InstanceTypeInfo] {
			return []output.Column[ec2types.InstanceTypeInfo]{
				{Title: "TYPE", Text: name},
				{Title: "VCPUS", Text: func(t ec2types.InstanceTypeInfo) string { return fmt.Sprint(cpus(t)) }},
				{Title: "MEMORY", Text: func(t ec2types.InstanceTypeInfo) string { return mebibytes(memory(t)) }},
				{Title: "ARCHITECTURES", Text: func(t ec2types.InstanceTypeInfo) string {
					if t.ProcessorInfo == nil {
						return ""
					}
					return strings.Join(t.ProcessorInfo.SupportedArchitectures, ",")
				}},
			}
		},
	}.Command(f)
}

func bySize(ctx context.Context, s *command.Session, _ []string) ([]ec2types.InstanceTypeInfo, error) {
	var all []ec2types.InstanceTypeInfo
	for page, err := range s.DescribeInstanceTypesPages(ctx, &ec2types.DescribeInstanceTypesInput{}) {
		if err != nil {
			return nil, err
		}
		all = append(all, page.InstanceTypes...)
	}
	slices.SortFunc(all, func(a, b ec2types.InstanceTypeInfo) int {
		return cmp.Or(cmp.Compare(memory(a), memory(b)), cmp.Compare(cpus(a), cpus(b)), strings.Compare(name(a), name(b)))
	})
	return all, nil
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
