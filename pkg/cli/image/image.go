// Package image owns the commands on images: build, create-image, ls, show and
// delete. It may import pkg/client, pkg/recipe,
// pkg/catalog, the API's types, pkg/model and its
// neighbours under pkg/cli only.
package image

import (
	"context"
	"fmt"
	"slices"
	"strings"

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
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// NewCommand returns the command "image" with all its verbs.
func NewCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "image VERB",
		Aliases: []string{"ami", "images"},
		Short:   "Manage images: what instances are launched from",
		Long: `Manage images (AMIs): what instances are launched from.

An image is named by its id (ami-…) or name; or by the recipe that it was baked
from, which means the newest image of that recipe for this host's architecture.`,
	}
	create := NewCreateCommand(f, nil)
	create.Use = strings.Replace(create.Use, "create-image", "create", 1)
	cmd.AddCommand(NewBuildCommand(f, nil), create, newListCommand(f), newShowCommand(f), NewDeleteCommand(f, nil),
		newShareCommand(f, false), newShareCommand(f, true), newCopyCommand(f), newDeprecateCommand(f), newProtectCommand(f), newUnprotectCommand(f),
		newDisableCommand(f), newEnableCommand(f), newRestoreCommand(f), newRetentionCommand(f), newImportCommand(f), newExportCommand(f),
		newSbomCommand(f), newProvenanceCommand(f), newPushCommand(f), newPullCommand(f), newVerifyCommand(f), newTasksCommand(f), newCancelCommand(f))
	return cmd
}

func newListCommand(f *factory.Factory) *cobra.Command {
	bin := false
	return command.Verb{
		Use: "ls", Aliases: []string{"list"}, Short: "List images, newest first", Object: "images", Args: cobra.NoArgs, Shows: true,
		Flags: func(cmd *cobra.Command) { cmd.Flags().BoolVar(&bin, "bin", false, "list the recycle bin instead") },
		Run: func(ctx context.Context, s *command.Session, _ []string) error {
			if bin {
				return listBin(ctx, s)
			}
			return list(ctx, s)
		},
	}.Command(f)
}

func list(ctx context.Context, s *command.Session) error {
	found, err := resolve.Images(ctx, s.Client)
	if err != nil {
		return err
	}
	type image = ec2types.Image
	id := func(i image) string { return ec2types.Value(i.ImageId) }
	now := s.Factory.Now()
	return command.Print(s, found, "no images; bundt build makes one from a recipe, for instance: bundt build tiny", id, []output.Column[image]{
		{Title: "IMAGE", Text: id, Style: func(image) iostreams.Style { return iostreams.Mark }},
		command.Text("NAME", func(i image) *string { return i.Name }),
		{Title: "STATE", Text: func(i image) string { return ec2types.Value(i.State) }, Style: stateStyle},
		command.Text("ARCH", func(i image) *string { return i.Architecture }),
		{Title: "SIZE", Text: size},
		{Title: "FROM", Text: origin},
		{Title: "AGE", Text: func(i image) string { return output.Age(now, output.ParseTime(ec2types.Value(i.CreationDate))) }},
		{Title: "ROOT SNAPSHOT", Wide: true, Text: func(i image) string { return strings.Join(snapshots(i), ",") }},
		command.Wide(command.Text("DESCRIPTION", func(i image) *string { return i.Description })),
	})
}

// origin is what the image was made of: an instance, or a recipe.
func origin(i ec2types.Image) string {
	if from := ec2types.Value(i.SourceInstanceId); from != "" {
		return from
	}
	if recipe := resolve.Tag(i.Tags, resolve.RecipeTag); recipe != "" {
		return "recipe " + recipe
	}
	return ""
}

func size(i ec2types.Image) string {
	var sum int32
	for _, d := range i.BlockDeviceMappings {
		if d.Ebs != nil {
			sum += ec2types.Value(d.Ebs.VolumeSize)
		}
	}
	return fmt.Sprintf("%d GiB", sum)
}

func snapshots(i ec2types.Image) []string {
	var ids []string
	for _, d := range i.BlockDeviceMappings {
		if d.Ebs != nil && d.Ebs.SnapshotId != nil {
			ids = append(ids, *d.Ebs.SnapshotId)
		}
	}
	return ids
}

func stateStyle(i ec2types.Image) iostreams.Style {
	switch model.ImageState(ec2types.Value(i.State)) {
	case model.ImageAvailable:
		return iostreams.Good
	case model.ImageFailed:
		return iostreams.Bad
	}
	return iostreams.Busy
}

func newShowCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "show IMAGE", Short: "Print all that is known of an image", Object: "image", Args: cobra.ExactArgs(1), Shows: true,
		Long:     "Print all that EC2's DescribeImages says of an image, as YAML unless -o says otherwise.",
		Complete: complete.First(complete.Images(f)),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			found, err := describe(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			return output.One(f.IO, &s.Output, ec2types.Value(found.ImageId), found)
		},
	}.Command(f)
}

func describe(ctx context.Context, c *client.Client, ref string) (ec2types.Image, error) {
	id, err := resolve.Image(ctx, c, ref)
	if err != nil {
		return ec2types.Image{}, err
	}
	out, err := c.DescribeImages(ctx, &ec2types.DescribeImagesInput{ImageIds: []string{id}})
	if err != nil {
		return ec2types.Image{}, err
	}
	if len(out.Images) != 1 {
		return ec2types.Image{}, failure.NotFoundf("image %s does not exist", id)
	}
	return out.Images[0], nil
}

// DeleteOptions are the inputs of "image delete".
type DeleteOptions struct {
	Factory       *factory.Factory
	Plan          plan.Options
	Images        []string
	KeepSnapshots bool
}

// NewDeleteCommand returns the command "image delete".
func NewDeleteCommand(f *factory.Factory, run func(context.Context, *DeleteOptions) error) *cobra.Command {
	o := &DeleteOptions{Factory: f}
	if run == nil {
		run = deleteImages
	}
	cmd := &cobra.Command{
		Use:     "delete IMAGE…",
		Aliases: []string{"rm", "deregister"},
		Short:   "Deregister images and delete their snapshots",
		Long: `Deregister images and delete their snapshots; what nobody else uses of them is
freed. Prints the images' ids. Instances and other images that came from them go
on as before: they keep the layers that they need. With --keep-snapshots only the
images are deregistered, as by EC2's DeregisterImage.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: complete.Images(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Images = args
			return failure.Wrap(run(cmd.Context(), o), "delete image", strings.Join(args, ", "))
		},
	}
	o.Plan.AddFlags(cmd)
	cmd.Flags().BoolVar(&o.KeepSnapshots, "keep-snapshots", false, "deregister only")
	return cmd
}

func deleteImages(ctx context.Context, o *DeleteOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	// All of them exist, or none is touched.
	var found []ec2types.Image
	for _, ref := range o.Images {
		i, err := describe(ctx, c, ref)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(found, func(j ec2types.Image) bool { return ec2types.Value(j.ImageId) == ec2types.Value(i.ImageId) }) {
			found = append(found, i)
		}
	}
	for _, i := range found {
		if err := deleteOne(ctx, c, o, i); err != nil {
			return err
		}
	}
	return nil
}

func deleteOne(ctx context.Context, c *client.Client, o *DeleteOptions, i ec2types.Image) error {
	request := &ec2types.DeregisterImageInput{ImageId: i.ImageId, DryRun: o.Plan.Flag()}
	_, err := c.DeregisterImage(ctx, request)
	if o.Plan.DryRun && plan.Passed(err) {
		return plan.Show(o.Factory.IO, "DeregisterImage", request)
	}
	if err != nil {
		return err
	}
	if !o.KeepSnapshots {
		for _, id := range snapshots(i) {
			if _, err := c.DeleteSnapshot(ctx, &ec2types.DeleteSnapshotInput{SnapshotId: &id}); err != nil {
				return fmt.Errorf("deleting its snapshot %s: %w", id, err)
			}
		}
	}
	_, err = fmt.Fprintln(o.Factory.IO.Out, ec2types.Value(i.ImageId))
	return err
}
