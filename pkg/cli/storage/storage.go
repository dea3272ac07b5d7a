// Package storage owns the commands on volumes and snapshots. It may import
// pkg/client, the API's types, pkg/model and its neighbours under pkg/cli only.
package storage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
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
		newVolumeListCommand(f), NewVolumeCreateCommand(f, nil), NewVolumeAttachCommand(f, nil), NewVolumeDetachCommand(f, nil),
		NewVolumeResizeCommand(f, nil), NewVolumeSnapshotCommand(f, nil), NewVolumeDeleteCommand(f, nil), newCheckCommand(f),
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
		newSnapshotListCommand(f), NewSnapshotCreateCommand(f, nil), NewSnapshotCopyCommand(f, nil),
		NewSnapshotShareCommand(f, nil), NewSnapshotDeleteCommand(f, nil),
		newLockCommand(f), newUnlockCommand(f), newRestoreCommand(f), newRetentionCommand(f),
	)
	return cmd
}

func newVolumeListCommand(f *factory.Factory) *cobra.Command {
	type volume = ec2types.Volume
	id := func(v volume) string { return ec2types.Value(v.VolumeId) }
	return command.List[volume]{
		What: "volumes", ID: id,
		All: func(ctx context.Context, s *command.Session, _ []string) ([]volume, error) {
			return resolve.Volumes(ctx, s.Client)
		},
		Columns: func(s *command.Session) []output.Column[volume] {
			return []output.Column[volume]{
				{Title: "VOLUME", Text: id, Style: func(volume) iostreams.Style { return iostreams.Mark }},
				command.Text("STATE", func(v volume) *string { return v.State }),
				{Title: "SIZE", Text: func(v volume) string { return gib(v.Size) }},
				{Title: "INSTANCE", Text: func(v volume) string { return attached(v).instance }},
				{Title: "DEVICE", Text: func(v volume) string { return attached(v).device }},
				command.Wide(command.Text("TYPE", func(v volume) *string { return v.VolumeType })),
				command.Text("SNAPSHOT", func(v volume) *string { return v.SnapshotId }),
				command.Age(s, func(v volume) *time.Time { return v.CreateTime }),
				command.Wide(command.Name(func(v volume) []ec2types.Tag { return v.Tags })),
			}
		},
	}.Command(f)
}

func attached(v ec2types.Volume) (a struct{ instance, device string }) {
	if len(v.Attachments) > 0 {
		a.instance, a.device = ec2types.Value(v.Attachments[0].InstanceId), ec2types.Value(v.Attachments[0].Device)
	}
	return a
}

func gib(size *int32) string { return fmt.Sprintf("%d GiB", ec2types.Value(size)) }

func newSnapshotListCommand(f *factory.Factory) *cobra.Command {
	bin := false
	return command.Verb{
		Use: "ls", Aliases: []string{"list"}, Short: "List snapshots", Object: "snapshots", Args: cobra.NoArgs, Shows: true,
		Flags: func(cmd *cobra.Command) { cmd.Flags().BoolVar(&bin, "bin", false, "list the recycle bin instead") },
		Run: func(ctx context.Context, s *command.Session, _ []string) error {
			if bin {
				return listBin(ctx, s)
			}
			return listSnapshots(ctx, s)
		},
	}.Command(f)
}

func listSnapshots(ctx context.Context, s *command.Session) error {
	all, err := snapshots(ctx, s)
	if err != nil {
		return err
	}
	type snapshot = ec2types.Snapshot
	id := func(s snapshot) string { return ec2types.Value(s.SnapshotId) }
	return command.Print(s, all, "", id, []output.Column[snapshot]{
		{Title: "SNAPSHOT", Text: id, Style: func(snapshot) iostreams.Style { return iostreams.Mark }},
		command.Text("STATE", func(s snapshot) *string { return s.State }),
		{Title: "SIZE", Text: func(s snapshot) string { return gib(s.VolumeSize) }},
		command.Text("VOLUME", func(s snapshot) *string { return s.VolumeId }),
		command.Age(s, func(s snapshot) *time.Time { return s.StartTime }),
		command.Text("DESCRIPTION", func(s snapshot) *string { return s.Description }),
	})
}

func listBin(ctx context.Context, s *command.Session) error {
	type snapshot = ec2types.SnapshotRecycleBinInfo
	var all []snapshot
	for page, err := range s.Client.ListSnapshotsInRecycleBinPages(ctx, &ec2types.ListSnapshotsInRecycleBinInput{}) {
		if err != nil {
			return err
		}
		all = append(all, page.Snapshots...)
	}
	id := func(s snapshot) string { return ec2types.Value(s.SnapshotId) }
	now := s.Factory.Now()
	return command.Print(s, all, "", id, []output.Column[snapshot]{
		{Title: "SNAPSHOT", Text: id, Style: func(snapshot) iostreams.Style { return iostreams.Mark }},
		command.Text("VOLUME", func(s snapshot) *string { return s.VolumeId }),
		{Title: "GONE IN", Text: func(s snapshot) string { return output.Age(ec2types.Value(s.RecycleBinExitTime), now) }},
		command.Text("DESCRIPTION", func(s snapshot) *string { return s.Description }),
	})
}

func snapshots(ctx context.Context, s *command.Session) (all []ec2types.Snapshot, err error) {
	for page, err := range s.DescribeSnapshotsPages(ctx, &ec2types.DescribeSnapshotsInput{}) {
		if err != nil {
			return nil, err
		}
		all = append(all, page.Snapshots...)
	}
	return all, nil
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
