// Package complete owns completion of what users would have to look up: ids and
// names that the daemon knows. It answers nothing, and quickly, when the daemon
// does not. It may import pkg/client and its neighbours under pkg/cli only.
package complete

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// A shell hangs while it waits for completions.
const patience = time.Second

// None completes nothing, not even file names.
var None = cobra.NoFileCompletions

type lookup func(context.Context, *client.Client) ([]cobra.Completion, error)

// Instances completes the instances in one of these states; in any but
// terminated if none is given.
func Instances(f *factory.Factory, states ...model.InstanceState) cobra.CompletionFunc {
	return from(f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		all, err := resolve.Instances(ctx, c)
		var found []cobra.Completion
		for _, i := range all {
			state := resolve.State(i)
			if resolve.Gone(i) || len(states) > 0 && !slices.Contains(states, model.InstanceState(state)) {
				continue
			}
			name := resolve.Tag(i.Tags, "Name")
			found = append(found, cobra.CompletionWithDesc(ec2types.Value(i.InstanceId), output.Clean(name+" "+state)))
			if name != "" {
				found = append(found, cobra.CompletionWithDesc(name, state))
			}
		}
		return found, err
	})
}

// Images completes the images.
func Images(f *factory.Factory) cobra.CompletionFunc {
	return from(f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		all, err := resolve.Images(ctx, c)
		var found []cobra.Completion
		for _, i := range all {
			found = append(found,
				cobra.CompletionWithDesc(ec2types.Value(i.Name), ec2types.Value(i.Architecture)),
				cobra.CompletionWithDesc(ec2types.Value(i.ImageId), output.Clean(ec2types.Value(i.Name))))
		}
		return found, err
	})
}

// Regions completes the names of the other regions.
func Regions(f *factory.Factory) cobra.CompletionFunc {
	return from(f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		out, err := c.DescribeRegions(ctx, &ec2types.DescribeRegionsInput{})
		if err != nil {
			return nil, err
		}
		var found []cobra.Completion
		for i, r := range out.Regions {
			if i > 0 { // the first is this one
				found = append(found, cobra.CompletionWithDesc(ec2types.Value(r.RegionName), ec2types.Value(r.Endpoint)))
			}
		}
		return found, nil
	})
}

// Keys completes the names of key pairs.
func Keys(f *factory.Factory) cobra.CompletionFunc {
	return from(f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		out, err := c.DescribeKeyPairs(ctx, &ec2types.DescribeKeyPairsInput{})
		if err != nil {
			return nil, err
		}
		var found []cobra.Completion
		for _, k := range out.KeyPairs {
			found = append(found, cobra.CompletionWithDesc(ec2types.Value(k.KeyName), ec2types.Value(k.KeyPairId)))
		}
		return found, nil
	})
}

// Snapshots completes the ids of snapshots.
func Snapshots(f *factory.Factory) cobra.CompletionFunc {
	return from(f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		var found []cobra.Completion
		for page, err := range c.DescribeSnapshotsPages(ctx, &ec2types.DescribeSnapshotsInput{}) {
			if err != nil {
				return found, err
			}
			for _, s := range page.Snapshots {
				found = append(found, cobra.CompletionWithDesc(ec2types.Value(s.SnapshotId), output.Clean(ec2types.Value(s.Description))))
			}
		}
		return found, nil
	})
}

// Volumes completes the volumes, then the instances to attach one to.
func Volumes(f *factory.Factory) cobra.CompletionFunc {
	volumes := from(f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		all, err := resolve.Volumes(ctx, c)
		var found []cobra.Completion
		for _, v := range all {
			name := resolve.Tag(v.Tags, "Name")
			found = append(found, cobra.CompletionWithDesc(ec2types.Value(v.VolumeId), output.Clean(name+" "+ec2types.Value(v.State))))
			if name != "" {
				found = append(found, cobra.CompletionWithDesc(name, ec2types.Value(v.State)))
			}
		}
		return found, err
	})
	instances := Instances(f)
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return volumes(cmd, args, toComplete)
		case 1:
			return instances(cmd, args, toComplete)
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// InstanceTypes completes the names of instance types.
func InstanceTypes(f *factory.Factory) cobra.CompletionFunc {
	return from(f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		var found []cobra.Completion
		for page, err := range c.DescribeInstanceTypesPages(ctx, &ec2types.DescribeInstanceTypesInput{}) {
			if err != nil {
				return found, err
			}
			for _, t := range page.InstanceTypes {
				found = append(found, ec2types.Value(t.InstanceType))
			}
		}
		return found, nil
	})
}

// First completes the first argument only.
func First(complete cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, toComplete)
	}
}

func from(f *factory.Factory, look lookup) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		c, err := f.Client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), patience)
		defer cancel()
		found, _ := look(ctx, c)
		found = slices.DeleteFunc(found, func(s cobra.Completion) bool { return slices.Contains(args, s) })
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
