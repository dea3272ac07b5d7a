package image

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/plan"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/cli/wait"
	"github.com/bundt/bundt/pkg/client"
)

// copyOptions are those of "image copy".
type copyOptions struct {
	factory           *factory.Factory
	plan              plan.Options
	wait              wait.Options
	image             string // an id or a name; of another region an id
	fromRegion        string // "" for this one
	name, description string
	tags, encrypted   bool
}

func newCopyCommand(f *factory.Factory) *cobra.Command {
	o := &copyOptions{factory: f}
	cmd := &cobra.Command{
		Use: "copy IMAGE --name NAME", Short: "Make an image of your own of another",
		Long: `Make an image of your own of one that is yours or shared with you. It takes no
time and no space: both stand on the same layers, and neither needs the other.
With --encrypted what is not encrypted yet is written anew; the image is pending
until that is done.

With --from-region IMAGE is the id of one of another region, from where its
content comes; what is here already is not sent again. "bundt image tasks" shows
how far it is.`,
		Example: `  bundt image copy ami-0123456789abcdef0 --name base
  bundt image copy ami-0123456789abcdef0 --from-region west-1 --name base`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: complete.First(complete.Images(f)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.image = args[0]
			return failure.Wrap(copyImage(cmd.Context(), o), "copy image", o.image)
		},
	}
	o.plan.AddFlags(cmd)
	o.wait.AddFlags(cmd)
	cmd.Flags().StringVarP(&o.name, "name", "n", "", "`name` of the copy (required)")
	cmd.Flags().StringVar(&o.description, "description", "", "`text` that describes the copy")
	cmd.Flags().StringVar(&o.fromRegion, "from-region", "", "`region` that the image is in (default: this one)")
	cmd.Flags().BoolVar(&o.tags, "tags", false, "copy the tags too")
	cmd.Flags().BoolVar(&o.encrypted, "encrypted", false, "encrypt its disks with the account's key")
	_ = cmd.RegisterFlagCompletionFunc("name", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("from-region", complete.Regions(f))
	return cmd
}

func copyImage(ctx context.Context, o *copyOptions) error {
	if o.name == "" {
		return failure.Usagef("--name is required: what the copy shall be called")
	}
	c, err := o.factory.Client()
	if err != nil {
		return err
	}
	id, region, err := o.source(ctx, c)
	if err != nil {
		return err
	}
	request := &ec2types.CopyImageInput{
		SourceImageId: &id, SourceRegion: &region, Name: &o.name, Description: command.Given(o.description), CopyImageTags: command.Given(o.tags),
		Encrypted: command.Given(o.encrypted), DryRun: o.plan.Flag(),
	}
	out, err := c.CopyImage(ctx, request)
	if o.plan.DryRun && plan.Passed(err) {
		return plan.Show(o.factory.IO, "CopyImage", request)
	}
	if err != nil {
		return err
	}
	copied := ec2types.Value(out.ImageId)
	if _, err := fmt.Fprintln(o.factory.IO.Out, copied); err != nil || o.wait.NoWait {
		return err
	}
	p := o.factory.IO.StartProgress("copying " + id)
	if err := o.wait.Until(ctx, p, wait.Images(c, copied)); err != nil {
		p.Stop()
		return err
	}
	p.Done(fmt.Sprintf("%s %s available", copied, o.name))
	return nil
}

// source is the image's id and the region that it is in.
func (o *copyOptions) source(ctx context.Context, c *client.Client) (id, region string, err error) {
	if o.fromRegion != "" {
		return o.image, o.fromRegion, nil
	}
	if id, err = resolve.Image(ctx, c, o.image); err != nil {
		return "", "", err
	}
	region, err = resolve.Region(ctx, c)
	return id, region, err
}
