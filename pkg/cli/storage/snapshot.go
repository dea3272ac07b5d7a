package storage

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/cli/wait"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

func describedFlags(cmd *cobra.Command, o *ChangeOptions) {
	cmd.Flags().StringVar(&o.Description, "description", "", "`text` that describes the snapshot")
	cmd.Flags().StringVarP(&o.Name, "name", "n", "", "`name` of the snapshot, its tag Name")
	for _, flag := range []string{"description", "name"} {
		_ = cmd.RegisterFlagCompletionFunc(flag, complete.None)
	}
}

// NewVolumeSnapshotCommand returns the command "volume snapshot".
func NewVolumeSnapshotCommand(f *factory.Factory, run func(context.Context, *ChangeOptions) error) *cobra.Command {
	return change{
		use: "snapshot VOLUME", short: "Take a snapshot of a volume", args: cobra.ExactArgs(1),
		verb: "snapshot", object: "volume", waits: true, run: snapshotVolume, complete: complete.First(complete.Volumes(f)), flags: describedFlags,
	}.make(f, run)
}

// NewSnapshotCreateCommand returns the command "snapshot create".
func NewSnapshotCreateCommand(f *factory.Factory, run func(context.Context, *ChangeOptions) error) *cobra.Command {
	return change{
		use: "create [VOLUME]", short: "Take a snapshot of a volume, or of all of an instance's at one moment", args: cobra.MaximumNArgs(1),
		verb: "create", object: "a snapshot", waits: true, complete: complete.First(complete.Volumes(f)),
		example: `  bundt snapshot create data
  bundt snapshot create --instance web`,
		flags: func(cmd *cobra.Command, o *ChangeOptions) {
			describedFlags(cmd, o)
			cmd.Flags().StringVar(&o.Instance, "instance", "", "`instance` whose volumes are all taken at one moment")
			_ = cmd.RegisterFlagCompletionFunc("instance", complete.Instances(f))
		},
		run: func(ctx context.Context, o *ChangeOptions) error {
			if (o.Ref == "") == (o.Instance == "") {
				return failure.Usagef("give either a volume or --instance")
			}
			if o.Instance != "" {
				return snapshotInstance(ctx, o)
			}
			return snapshotVolume(ctx, o)
		},
	}.make(f, run)
}

func snapshotVolume(ctx context.Context, o *ChangeOptions) error {
	c, id, err := o.volume(ctx)
	if err != nil {
		return err
	}
	request := &ec2types.CreateSnapshotInput{VolumeId: &id, Description: command.Given(o.Description), TagSpecifications: command.NameTag("snapshot", o.Name), DryRun: o.Plan.Flag()}
	var out *ec2types.CreateSnapshotOutput
	done, err := o.send("CreateSnapshot", request, func() (err error) {
		out, err = c.CreateSnapshot(ctx, request)
		return err
	})
	if done {
		return err
	}
	snap := ec2types.Value(out.SnapshotId)
	return o.await(ctx, snap, "taking a snapshot of "+id, snap+" completed", snapshotsDone(c, snap))
}

func snapshotInstance(ctx context.Context, o *ChangeOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	id, err := resolve.Instance(ctx, c, o.Instance)
	if err != nil {
		return err
	}
	request := &ec2types.CreateSnapshotsInput{
		InstanceSpecification: &ec2types.InstanceSpecification{InstanceId: &id}, Description: command.Given(o.Description),
		TagSpecifications: command.NameTag("snapshot", o.Name), DryRun: o.Plan.Flag(),
	}
	var out *ec2types.CreateSnapshotsOutput
	done, err := o.send("CreateSnapshots", request, func() (err error) {
		out, err = c.CreateSnapshots(ctx, request)
		return err
	})
	if done {
		return err
	}
	var ids []string
	for _, s := range out.Snapshots {
		ids = append(ids, ec2types.Value(s.SnapshotId))
	}
	for _, snap := range ids[1:] {
		fmt.Fprintln(o.Factory.IO.Out, snap)
	}
	return o.await(ctx, ids[0], "taking snapshots of "+id, fmt.Sprintf("%d snapshots completed", len(ids)), snapshotsDone(c, ids...))
}

// snapshotsDone returns a check that is done when all snapshots are completed.
func snapshotsDone(c *client.Client, ids ...string) wait.Check {
	return func(ctx context.Context) (bool, string, error) {
		out, err := c.DescribeSnapshots(ctx, &ec2types.DescribeSnapshotsInput{SnapshotIds: ids})
		if err != nil {
			return false, "", err
		}
		for _, s := range out.Snapshots {
			switch state := ec2types.Value(s.State); model.SnapshotState(state) {
			case model.SnapshotCompleted:
			case model.SnapshotError:
				return false, "", fmt.Errorf("snapshot %s failed: %s", ec2types.Value(s.SnapshotId), ec2types.Value(s.StateMessage))
			default:
				return false, state, nil
			}
		}
		return true, string(model.SnapshotCompleted), nil
	}
}

// NewSnapshotCopyCommand returns the command "snapshot copy".
func NewSnapshotCopyCommand(f *factory.Factory, run func(context.Context, *ChangeOptions) error) *cobra.Command {
	return change{
		use: "copy SNAPSHOT", short: "Make a snapshot of your own of the same content", args: cobra.ExactArgs(1),
		verb: "copy", object: "snapshot", run: copySnapshot, complete: complete.First(complete.Snapshots(f)),
		waits: true,
		flags: func(cmd *cobra.Command, o *ChangeOptions) {
			describedFlags(cmd, o)
			encryptedFlag(cmd, o)
			cmd.Flags().StringVar(&o.FromRegion, "from-region", "", "`region` that the snapshot is in, which is then named by its id (default: this one)")
			_ = cmd.RegisterFlagCompletionFunc("from-region", complete.Regions(f))
		},
	}.make(f, run)
}

func copySnapshot(ctx context.Context, o *ChangeOptions) error {
	c, err := o.snapshot()
	if err != nil {
		return err
	}
	region := o.FromRegion
	if region == "" {
		if region, err = resolve.Region(ctx, c); err != nil {
			return err
		}
	}
	request := &ec2types.CopySnapshotInput{
		SourceSnapshotId: &o.Ref, SourceRegion: &region, Description: command.Given(o.Description), Encrypted: command.Given(o.Encrypted),
		TagSpecifications: command.NameTag("snapshot", o.Name), DryRun: o.Plan.Flag(),
	}
	var out *ec2types.CopySnapshotOutput
	done, err := o.send("CopySnapshot", request, func() (err error) {
		out, err = c.CopySnapshot(ctx, request)
		return err
	})
	if done {
		return err
	}
	id := ec2types.Value(out.SnapshotId)
	return o.await(ctx, id, "copying "+o.Ref, id+" completed", snapshotsDone(c, id))
}

// NewSnapshotShareCommand returns the command "snapshot share".
func NewSnapshotShareCommand(f *factory.Factory, run func(context.Context, *ChangeOptions) error) *cobra.Command {
	return change{
		use: "share SNAPSHOT", short: "Let other accounts make volumes of a snapshot", args: cobra.ExactArgs(1),
		verb: "share", object: "snapshot", run: shareSnapshot, complete: complete.First(complete.Snapshots(f)),
		flags: func(cmd *cobra.Command, o *ChangeOptions) {
			cmd.Flags().StringSliceVar(&o.With, "with", nil, "`account` to share it with; may be repeated")
			cmd.Flags().BoolVar(&o.Public, "public", false, "share it with every account")
			cmd.Flags().BoolVar(&o.Private, "private", false, "share it with nobody any more")
			_ = cmd.RegisterFlagCompletionFunc("with", complete.None)
			cmd.MarkFlagsOneRequired("with", "public", "private")
			cmd.MarkFlagsMutuallyExclusive("with", "private")
			cmd.MarkFlagsMutuallyExclusive("public", "private")
		},
	}.make(f, run)
}

func shareSnapshot(ctx context.Context, o *ChangeOptions) error {
	c, err := o.snapshot()
	if err != nil {
		return err
	}
	attribute := new("createVolumePermission")
	action, request := "ModifySnapshotAttribute", any(nil)
	var call func() error
	if o.Private {
		in := &ec2types.ResetSnapshotAttributeInput{SnapshotId: &o.Ref, Attribute: attribute, DryRun: o.Plan.Flag()}
		action, request = "ResetSnapshotAttribute", in
		call = func() error {
			_, err := c.ResetSnapshotAttribute(ctx, in)
			return err
		}
	} else {
		in := &ec2types.ModifySnapshotAttributeInput{SnapshotId: &o.Ref, Attribute: attribute, OperationType: new("add"), UserIds: o.With, DryRun: o.Plan.Flag()}
		if o.Public {
			in.GroupNames = []string{"all"}
		}
		request = in
		call = func() error {
			_, err := c.ModifySnapshotAttribute(ctx, in)
			return err
		}
	}
	if done, err := o.send(action, request, call); done {
		return err
	}
	_, err = fmt.Fprintln(o.Factory.IO.Out, o.Ref)
	return err
}

// snapshot connects, and checks that the user means a snapshot.
func (o *ChangeOptions) snapshot() (*client.Client, error) {
	if err := model.CheckID(model.SnapshotPrefix, o.Ref); err != nil {
		return nil, failure.UsageError(err)
	}
	return o.Factory.Client()
}
