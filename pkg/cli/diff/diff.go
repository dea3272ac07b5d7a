// Package diff owns the command that tells what differs between an instance and the
// image it was launched from, or between two images. It may import pkg/client, the
// API's types, pkg/model and its neighbours under pkg/cli only.
package diff

import (
	"context"
	"fmt"
	"path"
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
	"github.com/bundt/bundt/pkg/cli/wait"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// Options are the inputs of "diff".
type Options struct {
	Factory  *factory.Factory
	Output   output.Options
	Wait     wait.Options
	Refs     []string
	Path     string
	Content  bool
	Most     int
	ExitCode bool
}

const defaultMost = 1000

// NewCommand returns the command "diff".
func NewCommand(f *factory.Factory, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if run == nil {
		run = compare
	}
	images, instances := complete.Images(f), complete.Instances(f)
	either := func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		found, _ := images(cmd, args, toComplete)
		more, directive := instances(cmd, args, toComplete)
		return append(found, more...), directive
	}
	cmd := &cobra.Command{
		Use:   "diff INSTANCE | diff FROM TO",
		Short: "Tell what differs between an instance and its image, or two of them",
		Long: `Tell what has changed in the root file system of an instance since it was launched
from its image; or what leads from one image or instance to another. Files come
first, then what they mean: packages (dpkg, apk), services that start at boot, users
and groups, and at last the layers of both disks.

Nothing is booted or mounted. A running instance goes on: a snapshot of its root
volume is compared, as a power cut at that moment would leave it, and deleted
afterwards. What the instance still holds in memory is not in it: sync in the guest
first. Times alone are no difference.`,
		Example: `  bundt diff web
  bundt diff tiny web-v2 --path /etc --content
  bundt diff web -o json --query 'Items[?What==` + "`\"package\"`" + `].Name'`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: complete.Each(either, either),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Refs = args
			return failure.Wrap(run(cmd.Context(), o), "compare", args[len(args)-1])
		},
	}
	o.Output.AddFlags(cmd)
	o.Wait.AddTimeoutFlag(cmd)
	cmd.Flags().StringVar(&o.Path, "path", "", "only the files at this `path`, or below it")
	cmd.Flags().BoolVar(&o.Content, "content", false, "show the lines that differ of text files")
	cmd.Flags().IntVar(&o.Most, "max-files", defaultMost, "list this `number` of files, and count the others")
	cmd.Flags().BoolVar(&o.ExitCode, "exit-code", false, "exit with 1 if something differs")
	_ = cmd.RegisterFlagCompletionFunc("path", complete.None)
	_ = cmd.RegisterFlagCompletionFunc("max-files", complete.None)
	return cmd
}

func compare(ctx context.Context, o *Options) (err error) {
	if o.Most < 1 || o.Most > 100_000 {
		return failure.Usagef("--max-files is 1 to 100000, not %d", o.Most)
	}
	if o.Path != "" && !path.IsAbs(o.Path) {
		return failure.Usagef("--path %s: paths in an image begin with /", o.Path)
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	s := &sides{Options: o, client: c}
	defer func() {
		if derr := s.forget(context.WithoutCancel(ctx)); err == nil {
			err = derr
		}
	}()
	before, after, err := s.both(ctx)
	if err != nil {
		return err
	}
	progress := o.Factory.IO.StartProgress("comparing")
	defer progress.Stop()
	limited, cancel := o.Wait.Limit(ctx)
	defer cancel()
	most := int32(o.Most)
	in := &bundttypes.DiffImagesInput{Before: &before, After: &after, MaxFiles: &most, Content: &o.Content}
	if o.Path != "" {
		in.Path = &o.Path
	}
	out, err := c.DiffImages(limited, in)
	progress.Stop()
	if err != nil {
		return err
	}
	if err := show(o, out); err != nil {
		return err
	}
	if o.ExitCode && len(out.Files)+len(out.Items) > 0 {
		return failure.Silent{Code: failure.Failed}
	}
	return nil
}

// sides resolves what is compared, and knows the snapshots that were taken for that.
type sides struct {
	*Options
	client    *client.Client
	snapshots []string
}

// both are the ids of what to compare.
func (s *sides) both(ctx context.Context) (before, after string, err error) {
	if len(s.Refs) == 2 {
		if before, _, err = s.side(ctx, s.Refs[0]); err == nil {
			after, _, err = s.side(ctx, s.Refs[1])
		}
		return before, after, err
	}
	after, inst, err := s.side(ctx, s.Refs[0])
	switch {
	case err != nil:
		return "", "", err
	case inst == nil:
		return "", "", failure.WithHint(failure.Usagef("%s is an image, and with what to compare it is not said", s.Refs[0]), "bundt diff FROM %s", s.Refs[0])
	}
	return ec2types.Value(inst.ImageId), after, nil
}

// side is an image's id, or that of a snapshot of an instance, which is returned too.
func (s *sides) side(ctx context.Context, ref string) (string, *ec2types.Instance, error) {
	if model.CheckID(model.InstancePrefix, ref) != nil {
		image, err := resolve.Image(ctx, s.client, ref)
		if err == nil || failure.ExitCode(err) != failure.NotFound {
			return image, nil, err
		}
	}
	id, err := resolve.Instance(ctx, s.client, ref)
	if failure.ExitCode(err) == failure.NotFound && err != nil {
		return "", nil, failure.NotFoundf("neither an image nor an instance has the id or name %q", ref)
	}
	if err != nil {
		return "", nil, err
	}
	found, err := resolve.InstancesByID(ctx, s.client, []string{id})
	if err != nil {
		return "", nil, err
	}
	snap, err := s.snapshot(ctx, &found[0])
	return snap, &found[0], err
}

// snapshot takes one of the instance's root volume, and waits until it is there.
func (s *sides) snapshot(ctx context.Context, inst *ec2types.Instance) (string, error) {
	volume := ""
	for _, m := range inst.BlockDeviceMappings {
		if m.Ebs != nil && ec2types.Value(m.DeviceName) == ec2types.Value(inst.RootDeviceName) {
			volume = ec2types.Value(m.Ebs.VolumeId)
		}
	}
	id := ec2types.Value(inst.InstanceId)
	if volume == "" {
		return "", failure.NotFoundf("%s has no root volume", id)
	}
	out, err := s.client.CreateSnapshot(ctx, &ec2types.CreateSnapshotInput{VolumeId: &volume, Description: new("for bundt diff " + id)})
	if err != nil {
		return "", err
	}
	snap := ec2types.Value(out.SnapshotId)
	s.snapshots = append(s.snapshots, snap)
	progress := s.Factory.IO.StartProgress("taking a snapshot of " + id)
	defer progress.Stop()
	return snap, s.Wait.Until(ctx, progress, func(ctx context.Context) (bool, string, error) {
		out, err := s.client.DescribeSnapshots(ctx, &ec2types.DescribeSnapshotsInput{SnapshotIds: []string{snap}})
		if err != nil {
			return false, "", err
		}
		state := ec2types.Value(out.Snapshots[0].State)
		if model.SnapshotState(state) == model.SnapshotError {
			return false, state, fmt.Errorf("snapshot %s failed: %s", snap, ec2types.Value(out.Snapshots[0].StateMessage))
		}
		return model.SnapshotState(state) == model.SnapshotCompleted, state, nil
	})
}

// forget deletes the snapshots, after an interrupt too.
func (s *sides) forget(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, snap := range s.snapshots {
		if _, err := s.client.DeleteSnapshot(ctx, &ec2types.DeleteSnapshotInput{SnapshotId: &snap}); err != nil {
			return failure.WithHint(fmt.Errorf("deleting the snapshot that was compared: %w", err), "bundt snapshot delete %s", snap)
		}
	}
	return nil
}

var marks = map[string]struct {
	text  string
	style iostreams.Style
}{bundttypes.DiffAdded: {"+", iostreams.Good}, bundttypes.DiffRemoved: {"-", iostreams.Bad}, bundttypes.DiffChanged: {"~", ""}}
