// Package storage owns the commands on volumes and snapshots. It may import
// pkg/client, the API's types, pkg/model and its neighbours under pkg/cli only.
package storage

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/plan"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/model"
)

// NewVolumeCommand returns the command "volume" with all its verbs.
func NewVolumeCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "volume VERB",
		Aliases: []string{"volumes"},
		Short:   "Manage volumes: the disks of instances",
	}
	cmd.AddCommand(
		NewVolumeListCommand(f, nil), NewVolumeCreateCommand(f, nil), NewVolumeAttachCommand(f, nil), NewVolumeDetachCommand(f, nil),
		NewVolumeResizeCommand(f, nil), NewVolumeSnapshotCommand(f, nil), NewVolumeDeleteCommand(f, nil),
	)
	return cmd
}

// NewSnapshotCommand returns the command "snapshot" with all its verbs.
func NewSnapshotCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "snapshot VERB",
		Aliases: []string{"snapshots"},
		Short:   "Manage snapshots: what volumes were at a moment",
	}
	cmd.AddCommand(
		NewSnapshotListCommand(f, nil), NewSnapshotCreateCommand(f, nil), NewSnapshotCopyCommand(f, nil),
		NewSnapshotShareCommand(f, nil), NewSnapshotDeleteCommand(f, nil),
	)
	return cmd
}

// ListOptions are the inputs of "volume ls" and "snapshot ls".
type ListOptions struct {
	Factory *factory.Factory
	Output  output.Options
}

func newListCommand(f *factory.Factory, what string, run func(context.Context, *ListOptions) error) *cobra.Command {
	o := &ListOptions{Factory: f}
	cmd := &cobra.Command{
		Use:               "ls",
		Aliases:           []string{"list"},
		Short:             "List " + what,
		Args:              cobra.NoArgs,
		ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failure.Wrap(run(cmd.Context(), o), "list", what)
		},
	}
	o.Output.AddFlags(cmd)
	return cmd
}

// NewVolumeListCommand returns the command "volume ls".
func NewVolumeListCommand(f *factory.Factory, run func(context.Context, *ListOptions) error) *cobra.Command {
	if run == nil {
		run = listVolumes
	}
	return newListCommand(f, "volumes", run)
}

func listVolumes(ctx context.Context, o *ListOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	var all []ec2types.Volume
	for page, err := range c.DescribeVolumesPages(ctx, &ec2types.DescribeVolumesInput{}) {
		if err != nil {
			return err
		}
		all = append(all, page.Volumes...)
	}
	value, now := ec2types.Value[string], o.Factory.Now()
	return output.List(o.Factory.IO, &o.Output, all,
		func(v ec2types.Volume) string { return value(v.VolumeId) },
		[]output.Column[ec2types.Volume]{
			{Title: "VOLUME", Text: func(v ec2types.Volume) string { return value(v.VolumeId) }, Style: func(ec2types.Volume) iostreams.Style { return iostreams.Mark }},
			{Title: "STATE", Text: func(v ec2types.Volume) string { return value(v.State) }},
			{Title: "SIZE", Text: func(v ec2types.Volume) string { return gib(v.Size) }},
			{Title: "INSTANCE", Text: func(v ec2types.Volume) string { return attached(v).instance }},
			{Title: "DEVICE", Text: func(v ec2types.Volume) string { return attached(v).device }},
			{Title: "TYPE", Wide: true, Text: func(v ec2types.Volume) string { return value(v.VolumeType) }},
			{Title: "SNAPSHOT", Text: func(v ec2types.Volume) string { return value(v.SnapshotId) }},
			{Title: "AGE", Text: func(v ec2types.Volume) string { return output.Age(now, ec2types.Value(v.CreateTime)) }},
			{Title: "NAME", Wide: true, Text: func(v ec2types.Volume) string { return resolve.Tag(v.Tags, "Name") }},
		})
}

func attached(v ec2types.Volume) (a struct{ instance, device string }) {
	if len(v.Attachments) > 0 {
		a.instance, a.device = ec2types.Value(v.Attachments[0].InstanceId), ec2types.Value(v.Attachments[0].Device)
	}
	return a
}

func gib(size *int32) string { return fmt.Sprintf("%d GiB", ec2types.Value(size)) }

// NewSnapshotListCommand returns the command "snapshot ls".
func NewSnapshotListCommand(f *factory.Factory, run func(context.Context, *ListOptions) error) *cobra.Command {
	if run == nil {
		run = listSnapshots
	}
	return newListCommand(f, "snapshots", run)
}

func listSnapshots(ctx context.Context, o *ListOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	var all []ec2types.Snapshot
	for page, err := range c.DescribeSnapshotsPages(ctx, &ec2types.DescribeSnapshotsInput{}) {
		if err != nil {
			return err
		}
		all = append(all, page.Snapshots...)
	}
	value, now := ec2types.Value[string], o.Factory.Now()
	return output.List(o.Factory.IO, &o.Output, all,
		func(s ec2types.Snapshot) string { return value(s.SnapshotId) },
		[]output.Column[ec2types.Snapshot]{
			{Title: "SNAPSHOT", Text: func(s ec2types.Snapshot) string { return value(s.SnapshotId) }, Style: func(ec2types.Snapshot) iostreams.Style { return iostreams.Mark }},
			{Title: "STATE", Text: func(s ec2types.Snapshot) string { return value(s.State) }},
			{Title: "SIZE", Text: func(s ec2types.Snapshot) string { return gib(s.VolumeSize) }},
			{Title: "VOLUME", Text: func(s ec2types.Snapshot) string { return value(s.VolumeId) }},
			{Title: "AGE", Text: func(s ec2types.Snapshot) string { return output.Age(now, ec2types.Value(s.StartTime)) }},
			{Title: "DESCRIPTION", Text: func(s ec2types.Snapshot) string { return value(s.Description) }},
		})
}

// DeleteOptions are the inputs of "snapshot delete".
type DeleteOptions struct {
	Factory   *factory.Factory
	Plan      plan.Options
	Snapshots []string
}

// NewSnapshotDeleteCommand returns the command "snapshot delete".
func NewSnapshotDeleteCommand(f *factory.Factory, run func(context.Context, *DeleteOptions) error) *cobra.Command {
	o := &DeleteOptions{Factory: f}
	if run == nil {
		run = deleteSnapshots
	}
	cmd := &cobra.Command{
		Use:               "delete SNAPSHOT…",
		Aliases:           []string{"rm"},
		Short:             "Delete snapshots that no image uses",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: complete.Snapshots(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Snapshots = args
			return failure.Wrap(run(cmd.Context(), o), "delete snapshot", strings.Join(args, ", "))
		},
	}
	o.Plan.AddFlags(cmd)
	return cmd
}

func deleteSnapshots(ctx context.Context, o *DeleteOptions) error {
	for _, id := range o.Snapshots {
		if err := model.CheckID(model.SnapshotPrefix, id); err != nil {
			return failure.UsageError(err)
		}
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	for _, id := range o.Snapshots {
		request := &ec2types.DeleteSnapshotInput{SnapshotId: &id, DryRun: o.Plan.Flag()}
		_, err := c.DeleteSnapshot(ctx, request)
		if o.Plan.DryRun && plan.Passed(err) {
			if err := plan.Show(o.Factory.IO, "DeleteSnapshot", request); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(o.Factory.IO.Out, id)
	}
	return nil
}
