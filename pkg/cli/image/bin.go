package image

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
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// binned returns what is in the recycle bin.
func binned(ctx context.Context, c *client.Client) ([]ec2types.ImageRecycleBinInfo, error) {
	var all []ec2types.ImageRecycleBinInfo
	for page, err := range c.ListImagesInRecycleBinPages(ctx, &ec2types.ListImagesInRecycleBinInput{}) {
		if err != nil {
			return nil, err
		}
		all = append(all, page.Images...)
	}
	return all, nil
}

func listBin(ctx context.Context, s *command.Session) error {
	found, err := binned(ctx, s.Client)
	if err != nil {
		return err
	}
	type image = ec2types.ImageRecycleBinInfo
	now := s.Factory.Now()
	return command.Print(s, found, "", func(i image) string { return ec2types.Value(i.ImageId) }, []output.Column[image]{
		command.Text("IMAGE", func(i image) *string { return i.ImageId }),
		command.Text("NAME", func(i image) *string { return i.Name }),
		{Title: "GONE IN", Text: func(i image) string { return output.Age(ec2types.Value(i.RecycleBinExitTime), now) }},
		command.Wide(command.Text("DESCRIPTION", func(i image) *string { return i.Description })),
	})
}

// newRestoreCommand returns "image restore".
func newRestoreCommand(f *factory.Factory) *cobra.Command {
	return &cobra.Command{
		Use: "restore IMAGE…", Short: "Take deleted images out of the recycle bin",
		Long:    "Take deleted images, by id or name, out of the recycle bin: bundt image ls --bin shows what is there.",
		Example: "  bundt image restore web-v1", Args: cobra.MinimumNArgs(1), ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, ref := range args {
				if err := failure.Wrap(restore(cmd.Context(), f, ref), "restore image", ref); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func restore(ctx context.Context, f *factory.Factory, ref string) error {
	c, err := f.Client()
	if err != nil {
		return err
	}
	id := ref
	if model.CheckID(model.ImagePrefix, ref) != nil {
		found, err := binned(ctx, c)
		if err != nil {
			return err
		}
		var ids []string
		for _, i := range found {
			if ec2types.Value(i.Name) == ref {
				ids = append(ids, ec2types.Value(i.ImageId))
			}
		}
		switch len(ids) {
		case 0:
			return failure.WithHint(failure.NotFoundf("no image of that name is in the recycle bin"), "bundt image ls --bin shows what is there")
		case 1:
			id = ids[0]
		default:
			return failure.WithHint(fmt.Errorf("%d images of that name are in the recycle bin: %v", len(ids), ids), "give the id of the one you mean")
		}
	}
	if _, err := c.RestoreImageFromRecycleBin(ctx, &ec2types.RestoreImageFromRecycleBinInput{ImageId: &id}); err != nil {
		return err
	}
	_, err = fmt.Fprintln(f.IO.Out, id)
	return err
}

// newRetentionCommand returns "image retention".
func newRetentionCommand(f *factory.Factory) *cobra.Command {
	return &cobra.Command{
		Use: "retention [DAYS]", Short: "Show or set how long deleted images stay in the recycle bin",
		Long: `Show for how many days images that are deleted stay in the recycle bin, from which
bundt image restore takes them; with DAYS, set it for what is deleted from now on.
0, as it is at first, turns the recycle bin off. What images need stays on disk for as
long as they are in it.`,
		Example: "  bundt image retention 7", Args: cobra.MaximumNArgs(1), ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, args []string) error {
			return failure.Wrap(retention(cmd.Context(), f, args), "set", "retention of images")
		},
	}
}

func retention(ctx context.Context, f *factory.Factory, args []string) error {
	c, err := f.Client()
	if err != nil {
		return err
	}
	var out *bundttypes.ImageRetention
	if len(args) == 0 {
		out, err = c.DescribeImageRetention(ctx, &bundttypes.DescribeImageRetentionInput{})
	} else {
		days, bad := strconv.ParseInt(args[0], 10, 32)
		if bad != nil {
			return failure.Usagef("%q is no number of days", args[0])
		}
		out, err = c.ModifyImageRetention(ctx, &bundttypes.ModifyImageRetentionInput{RetentionDays: new(int32(days))})
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f.IO.Out, out.RetentionDays)
	return err
}
