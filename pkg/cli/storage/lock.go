package storage

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
)

// newLockCommand returns the command "snapshot lock".
func newLockCommand(f *factory.Factory) *cobra.Command {
	var days, coolOff int32
	compliance := false
	return change{
		use: "lock SNAPSHOT --days DAYS", short: "Keep a snapshot from being deleted", args: cobra.ExactArgs(1),
		verb: "lock", object: "snapshot", complete: complete.First(complete.Snapshots(f)),
		long: `Keep a snapshot from being deleted for so many days. The lock can be ended by
bundt snapshot unlock; not so with --compliance: then nobody can end it once the
hours of --cool-off are over, and it can only be made longer.`,
		flags: func(cmd *cobra.Command, _ *ChangeOptions) {
			cmd.Flags().Int32Var(&days, "days", 0, "for how many `days` (required)")
			cmd.Flags().BoolVar(&compliance, "compliance", false, "let nobody end it")
			cmd.Flags().Int32Var(&coolOff, "cool-off", 0, "with --compliance: for how many `hours` it can still be ended")
		},
		run: func(ctx context.Context, o *ChangeOptions) error {
			if days == 0 {
				return failure.Usagef("--days is required: how long the snapshot shall be kept")
			}
			c, err := o.snapshot()
			if err != nil {
				return err
			}
			mode := "governance"
			if compliance {
				mode = "compliance"
			}
			request := &ec2types.LockSnapshotInput{
				SnapshotId: &o.Ref, LockMode: &mode, LockDuration: &days, CoolOffPeriod: command.Given(coolOff), DryRun: o.Plan.Flag(),
			}
			_, err = o.send("LockSnapshot", request, func() error {
				_, err := c.LockSnapshot(ctx, request)
				return err
			})
			return err
		},
	}.make(f, nil)
}

// newUnlockCommand returns the command "snapshot unlock".
func newUnlockCommand(f *factory.Factory) *cobra.Command {
	return change{
		use: "unlock SNAPSHOT", short: "End the lock of a snapshot", args: cobra.ExactArgs(1),
		verb: "unlock", object: "snapshot", complete: complete.First(complete.Snapshots(f)),
		run: func(ctx context.Context, o *ChangeOptions) error {
			c, err := o.snapshot()
			if err != nil {
				return err
			}
			request := &ec2types.UnlockSnapshotInput{SnapshotId: &o.Ref, DryRun: o.Plan.Flag()}
			_, err = o.send("UnlockSnapshot", request, func() error {
				_, err := c.UnlockSnapshot(ctx, request)
				return err
			})
			return err
		},
	}.make(f, nil)
}

// newRestoreCommand returns the command "snapshot restore".
func newRestoreCommand(f *factory.Factory) *cobra.Command {
	return change{
		use: "restore SNAPSHOT", short: "Take a deleted snapshot out of the recycle bin", args: cobra.ExactArgs(1),
		verb: "restore", object: "snapshot",
		long: `Take a deleted snapshot out of the recycle bin: bundt snapshot retention turns that
on, and bundt snapshot ls --bin shows what is there.`,
		run: func(ctx context.Context, o *ChangeOptions) error {
			c, err := o.snapshot()
			if err != nil {
				return err
			}
			request := &ec2types.RestoreSnapshotFromRecycleBinInput{SnapshotId: &o.Ref, DryRun: o.Plan.Flag()}
			_, err = o.send("RestoreSnapshotFromRecycleBin", request, func() error {
				_, err := c.RestoreSnapshotFromRecycleBin(ctx, request)
				return err
			})
			return err
		},
	}.make(f, nil)
}

// newRetentionCommand returns the command "snapshot retention".
func newRetentionCommand(f *factory.Factory) *cobra.Command {
	return &cobra.Command{
		Use: "retention [DAYS]", Short: "Show or set how long deleted snapshots stay in the recycle bin",
		Long: `Show for how many days snapshots that are deleted stay in the recycle bin, from which
bundt snapshot restore takes them, or set it for those that are deleted from now
on. 0, as it is at first, turns the recycle bin off. What they need stays on disk
for as long.`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.Client()
			if err != nil {
				return failure.Wrap(err, "show", "retention")
			}
			var out *bundttypes.SnapshotRetention
			if len(args) == 0 {
				out, err = c.DescribeSnapshotRetention(cmd.Context(), &bundttypes.DescribeSnapshotRetentionInput{})
			} else {
				days, perr := strconv.ParseInt(args[0], 10, 32)
				if perr != nil {
					return failure.Usagef("%q is not a number of days", args[0])
				}
				out, err = c.ModifySnapshotRetention(cmd.Context(), &bundttypes.ModifySnapshotRetentionInput{RetentionDays: new(int32(days))})
			}
			if err != nil {
				return failure.Wrap(err, "set", "retention")
			}
			_, err = fmt.Fprintln(f.IO.Out, out.RetentionDays)
			return err
		},
	}
}
