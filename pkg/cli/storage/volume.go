package storage

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

func performanceFlags(cmd *cobra.Command, o *ChangeOptions) {
	cmd.Flags().StringVar(&o.Type, "type", "", "volume `type`: gp3, gp2, io1, io2, st1, sc1 or standard")
	cmd.Flags().Int32Var(&o.IOPS, "iops", 0, "provisioned operations per second (gp3, io1, io2)")
	cmd.Flags().Int32Var(&o.Throughput, "throughput", 0, "provisioned throughput in MiB/s (gp3)")
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions([]cobra.Completion{"gp3", "gp2", "io1", "io2", "st1", "sc1", "standard"}, cobra.ShellCompDirectiveNoFileComp))
	for _, flag := range []string{"iops", "throughput"} {
		_ = cmd.RegisterFlagCompletionFunc(flag, complete.None)
	}
}

func encryptedFlag(cmd *cobra.Command, o *ChangeOptions) {
	cmd.Flags().BoolVar(&o.Encrypted, "encrypted", false, "encrypt it with the account's key")
}

// NewVolumeCreateCommand returns the command "volume create".
func NewVolumeCreateCommand(f *factory.Factory, run func(context.Context, *ChangeOptions) error) *cobra.Command {
	return change{
		use: "create", short: "Make a volume, blank or of a snapshot", args: cobra.NoArgs, verb: "create", object: "a volume", waits: true, run: createVolume,
		example: `  bundt volume create --size 10 --name data
  bundt volume create --snapshot snap-0123456789abcdef0`,
		flags: func(cmd *cobra.Command, o *ChangeOptions) {
			cmd.Flags().Int32Var(&o.Size, "size", 0, "size in `GiB`; the snapshot's if it is not given")
			cmd.Flags().StringVar(&o.Snapshot, "snapshot", "", "`snapshot` that the volume begins with")
			cmd.Flags().StringVarP(&o.Name, "name", "n", "", "`name` of the volume, its tag Name")
			cmd.Flags().StringVar(&o.Zone, "zone", "", "availability `zone`; default: the cloud's")
			encryptedFlag(cmd, o)
			_ = cmd.RegisterFlagCompletionFunc("snapshot", complete.Snapshots(f))
			for _, flag := range []string{"size", "name", "zone"} {
				_ = cmd.RegisterFlagCompletionFunc(flag, complete.None)
			}
			performanceFlags(cmd, o)
		},
	}.make(f, run)
}

func createVolume(ctx context.Context, o *ChangeOptions) error {
	if o.Size == 0 && o.Snapshot == "" {
		return failure.Usagef("--size or --snapshot is required: how large the volume shall be, or what it begins with")
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	zone, err := o.zone(ctx, c)
	if err != nil {
		return err
	}
	request := &ec2types.CreateVolumeInput{
		AvailabilityZone: &zone, Size: command.Given(o.Size), SnapshotId: command.Given(o.Snapshot), VolumeType: command.Given(o.Type), Iops: command.Given(o.IOPS),
		Throughput: command.Given(o.Throughput), Encrypted: command.Given(o.Encrypted), TagSpecifications: command.NameTag("volume", o.Name), ClientToken: new(rand.Text()), DryRun: o.Plan.Flag(),
	}
	var out *ec2types.CreateVolumeOutput
	done, err := o.send("CreateVolume", request, func() (err error) {
		out, err = c.CreateVolume(ctx, request)
		return err
	})
	if done {
		return err
	}
	id := ec2types.Value(out.VolumeId)
	return o.await(ctx, id, "making volume "+id, id+" available", volumeState(c, id, func(state, _ string) bool { return state == string(model.VolumeAvailable) }))
}

// zone is the zone that was chosen, or the cloud's only one.
func (o *ChangeOptions) zone(ctx context.Context, c *client.Client) (string, error) {
	if o.Zone != "" {
		return o.Zone, nil
	}
	out, err := c.DescribeAvailabilityZones(ctx, &ec2types.DescribeAvailabilityZonesInput{})
	if err != nil {
		return "", err
	}
	if len(out.AvailabilityZones) == 0 {
		return "", failure.NotFoundf("the cloud has no availability zone")
	}
	return ec2types.Value(out.AvailabilityZones[0].ZoneName), nil
}

// NewVolumeAttachCommand returns the command "volume attach".
func NewVolumeAttachCommand(f *factory.Factory, run func(context.Context, *ChangeOptions) error) *cobra.Command {
	return change{
		use: "attach VOLUME INSTANCE", short: "Attach a volume to an instance, which may run", args: cobra.ExactArgs(2),
		verb: "attach", object: "volume", waits: true, run: attachVolume, complete: complete.Volumes(f),
		long: `Attach a volume to an instance. A running guest gets the disk at once; it finds it
by the volume's id, which is the disk's serial number.`,
		example: `  bundt volume attach data web
  bundt ssh web cat /sys/block/vdb/serial`,
		take: func(o *ChangeOptions, args []string) error {
			o.Instance = args[1]
			return nil
		},
		flags: func(cmd *cobra.Command, o *ChangeOptions) {
			cmd.Flags().StringVar(&o.Device, "device", "", "EC2's `name` of the place; default: the first free of /dev/sdf to /dev/sdz")
			_ = cmd.RegisterFlagCompletionFunc("device", complete.None)
		},
	}.make(f, run)
}

func attachVolume(ctx context.Context, o *ChangeOptions) error {
	c, id, err := o.volume(ctx)
	if err != nil {
		return err
	}
	instance, err := resolve.Instance(ctx, c, o.Instance)
	if err != nil {
		return err
	}
	device := o.Device
	if device == "" {
		if device, err = freeDevice(ctx, c, instance); err != nil {
			return err
		}
	}
	request := &ec2types.AttachVolumeInput{VolumeId: &id, InstanceId: &instance, Device: &device, DryRun: o.Plan.Flag()}
	done, err := o.send("AttachVolume", request, func() error {
		_, err := c.AttachVolume(ctx, request)
		return err
	})
	if done {
		return err
	}
	return o.await(ctx, id, "attaching "+id+" to "+instance, id+" attached as "+device,
		volumeState(c, id, func(_, attachment string) bool { return attachment == string(model.Attached) }))
}

// freeDevice is the first name of those that EC2 recommends for data volumes that
// the instance does not use.
func freeDevice(ctx context.Context, c *client.Client, instance string) (string, error) {
	found, err := resolve.InstancesByID(ctx, c, []string{instance})
	if err != nil {
		return "", err
	}
	taken := map[string]bool{}
	for _, i := range found {
		for _, m := range i.BlockDeviceMappings {
			taken[strings.TrimPrefix(ec2types.Value(m.DeviceName), "/dev/")] = true
		}
	}
	for letter := 'f'; letter <= 'z'; letter++ {
		if name := "sd" + string(letter); !taken[name] {
			return "/dev/" + name, nil
		}
	}
	return "", failure.WithHint(fmt.Errorf("the devices /dev/sdf to /dev/sdz of %s are all in use", instance), "choose another one by --device")
}

// NewVolumeDetachCommand returns the command "volume detach".
func NewVolumeDetachCommand(f *factory.Factory, run func(context.Context, *ChangeOptions) error) *cobra.Command {
	return change{
		use: "detach VOLUME", short: "Take a volume away from its instance", args: cobra.ExactArgs(1),
		verb: "detach", object: "volume", waits: true, run: detachVolume, complete: complete.First(complete.Volumes(f)),
		long: `Take a volume away from its instance. Unmount its file systems in the guest first:
what the guest has not written is lost, as when a disk is pulled.`,
		flags: func(cmd *cobra.Command, o *ChangeOptions) {
			cmd.Flags().BoolVar(&o.Force, "force", false, "take it away though the guest holds it: what it has not written is lost")
		},
	}.make(f, run)
}

func detachVolume(ctx context.Context, o *ChangeOptions) error {
	c, id, err := o.volume(ctx)
	if err != nil {
		return err
	}
	request := &ec2types.DetachVolumeInput{VolumeId: &id, Force: command.Given(o.Force), DryRun: o.Plan.Flag()}
	done, err := o.send("DetachVolume", request, func() error {
		_, err := c.DetachVolume(ctx, request)
		return err
	})
	if done {
		return err
	}
	return o.await(ctx, id, "detaching "+id, id+" available", volumeState(c, id, func(state, _ string) bool { return state == string(model.VolumeAvailable) }))
}

// NewVolumeResizeCommand returns the command "volume resize".
func NewVolumeResizeCommand(f *factory.Factory, run func(context.Context, *ChangeOptions) error) *cobra.Command {
	return change{
		use: "resize VOLUME [GIB]", short: "Grow a volume, also one in use, or change its type", args: cobra.RangeArgs(1, 2),
		verb: "resize", object: "volume", waits: true, run: resizeVolume, complete: complete.First(complete.Volumes(f)), flags: performanceFlags,
		long: `Grow a volume to a size in GiB, change its type, or both. A running guest sees the
larger disk at once; partition and file system in it are the guest's to grow.`,
		take: func(o *ChangeOptions, args []string) error {
			if len(args) < 2 {
				return nil
			}
			n, err := strconv.ParseInt(args[1], 10, 32)
			if err != nil || n < 1 {
				return failure.Usagef("%q is not a size in GiB", args[1])
			}
			o.Size = int32(n)
			return nil
		},
	}.make(f, run)
}

func resizeVolume(ctx context.Context, o *ChangeOptions) error {
	c, id, err := o.volume(ctx)
	if err != nil {
		return err
	}
	request := &ec2types.ModifyVolumeInput{
		VolumeId: &id, Size: command.Given(o.Size), VolumeType: command.Given(o.Type), Iops: command.Given(o.IOPS), Throughput: command.Given(o.Throughput), DryRun: o.Plan.Flag(),
	}
	done, err := o.send("ModifyVolume", request, func() error {
		_, err := c.ModifyVolume(ctx, request)
		return err
	})
	if done {
		return err
	}
	return o.await(ctx, id, "resizing "+id, id+" resized", func(ctx context.Context) (bool, string, error) {
		out, err := c.DescribeVolumesModifications(ctx, &ec2types.DescribeVolumesModificationsInput{VolumeIds: []string{id}})
		if err != nil {
			return false, "", err
		}
		m := out.VolumesModifications[0]
		switch state := ec2types.Value(m.ModificationState); model.ModificationState(state) {
		case model.ModificationCompleted:
			return true, state, nil
		case model.ModificationFailed:
			return false, "", fmt.Errorf("the modification failed: %s", ec2types.Value(m.StatusMessage))
		default:
			return false, state, nil
		}
	})
}

// NewVolumeDeleteCommand returns the command "volume delete".
func NewVolumeDeleteCommand(f *factory.Factory, run func(context.Context, *ChangeOptions) error) *cobra.Command {
	cmd := change{
		use: "delete VOLUME", short: "Delete a volume that is attached to nothing", args: cobra.ExactArgs(1),
		verb: "delete", object: "volume", run: deleteVolume, complete: complete.First(complete.Volumes(f)),
	}.make(f, run)
	cmd.Aliases = []string{"rm"}
	return cmd
}

func deleteVolume(ctx context.Context, o *ChangeOptions) error {
	c, id, err := o.volume(ctx)
	if err != nil {
		return err
	}
	request := &ec2types.DeleteVolumeInput{VolumeId: &id, DryRun: o.Plan.Flag()}
	done, err := o.send("DeleteVolume", request, func() error {
		_, err := c.DeleteVolume(ctx, request)
		return err
	})
	if done {
		return err
	}
	_, err = fmt.Fprintln(o.Factory.IO.Out, id)
	return err
}

// volume connects, and finds the volume that the user means.
func (o *ChangeOptions) volume(ctx context.Context) (*client.Client, string, error) {
	c, err := o.Factory.Client()
	if err != nil {
		return nil, "", err
	}
	id, err := resolve.Volume(ctx, c, o.Ref)
	return c, id, err
}
