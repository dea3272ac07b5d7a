package image

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/plan"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/cli/wait"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// nameTag is the tag of an import task that the daemon names the image by.
const nameTag = "bundt:image-name"

// importOptions are the inputs of "image import".
type importOptions struct {
	factory                                           *factory.Factory
	plan                                              plan.Options
	wait                                              wait.Options
	source, name, format, arch, bootMode, description string
}

// newImportCommand returns "image import".
func newImportCommand(f *factory.Factory) *cobra.Command {
	o := &importOptions{factory: f}
	cmd := &cobra.Command{
		Use: "import FILE --name NAME", Short: "Make an image of a disk image from elsewhere",
		Long: `Make an image of a disk image: RAW, QCOW2, VMDK or VHD. FILE is uploaded; an URL
s3://BUCKET/KEY names a file in the account's bucket directory, which is not copied
first, and an https:// or http:// URL what the daemon downloads; #sha256:HEX at its end
says what must be there. Prints the image's id.

The format is guessed by the file's name, architecture and boot mode by the disk's
partitions, unless flags say them.`,
		Example: "  bundt image import debian-12-generic-amd64.qcow2 --name debian-12\n  bundt image import s3://images/appliance.vmdk --name appliance",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.source = args[0]
			return failure.Wrap(o.run(cmd.Context()), "import", o.source)
		},
	}
	o.plan.AddFlags(cmd)
	o.wait.AddFlags(cmd)
	cmd.Flags().StringVarP(&o.name, "name", "n", "", "`name` of the image (required)")
	cmd.Flags().StringVar(&o.format, "format", "", "`format` of the disk: raw, qcow2, vmdk, vhd, vhdx or ova")
	cmd.Flags().StringVarP(&o.arch, "arch", "a", "", "`architecture`: "+archNames())
	cmd.Flags().StringVar(&o.bootMode, "boot-mode", "", "`mode`: legacy-bios, uefi or uefi-preferred")
	cmd.Flags().StringVar(&o.description, "description", "", "`text` that describes the image")
	_ = cmd.RegisterFlagCompletionFunc("name", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"raw", "qcow2", "vmdk", "vhd", "vhdx", "ova"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// formats are what the ends of files' names mean.
var formats = map[string]model.DiskFormat{
	".raw": model.FormatRaw, ".img": model.FormatRaw, ".qcow2": model.FormatQcow2, ".vmdk": model.FormatVMDK, ".vhd": model.FormatVHD, ".vpc": model.FormatVHD,
	".vhdx": model.FormatVHDX, ".ova": model.FormatOVA,
}

// packed are the ends of names of compressed files.
var packed = []string{".gz", ".xz", ".zst", ".bz2"}

func (o *importOptions) run(ctx context.Context) error {
	if o.name == "" {
		return failure.Usagef("--name is required: what the image shall be called")
	}
	format := strings.ToUpper(o.format)
	if format == "" {
		name := o.source
		if u, err := url.Parse(o.source); err == nil && u.Scheme != "" {
			name = u.Path
		}
		name = strings.ToLower(name)
		for _, end := range packed {
			name = strings.TrimSuffix(name, end)
		}
		if format = string(formats[filepath.Ext(name)]); format == "" {
			return failure.Usagef("the name %s does not tell the format: choose it with --format", filepath.Base(o.source))
		}
	}
	c, err := o.factory.Client()
	if err != nil {
		return err
	}
	source := o.source
	if !strings.Contains(source, "://") {
		if source, err = o.upload(ctx, c); err != nil {
			return err
		}
	}
	in := &ec2types.ImportImageInput{
		ClientToken: new(rand.Text()), DryRun: o.plan.Flag(),
		DiskContainers:    []ec2types.ImageDiskContainer{{Url: &source, Format: &format}},
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: new(ec2types.ResourceTypeImportImageTask), Tags: []ec2types.Tag{{Key: new(nameTag), Value: &o.name}}}},
	}
	for to, text := range map[**string]string{&in.Architecture: o.arch, &in.BootMode: o.bootMode, &in.Description: o.description} {
		if text != "" {
			*to = &text
		}
	}
	out, err := c.ImportImage(ctx, in)
	if o.plan.DryRun && plan.Passed(err) {
		return plan.Show(o.factory.IO, "ImportImage", in)
	}
	if err != nil {
		return err
	}
	return followImport(ctx, o.factory, c, o.wait, ec2types.Value(out.ImportTaskId), o.name)
}

// followImport waits for an import to complete and prints the image's id, or at once the
// task's.
func followImport(ctx context.Context, f *factory.Factory, c *client.Client, w wait.Options, id, name string) error {
	if w.NoWait {
		_, err := fmt.Fprintln(f.IO.Out, id)
		return err
	}
	image := ""
	p := f.IO.StartProgress("importing " + name)
	err := w.Until(ctx, p, func(ctx context.Context) (bool, string, error) {
		found, err := c.DescribeImportImageTasks(ctx, &ec2types.DescribeImportImageTasksInput{ImportTaskIds: []string{id}})
		if err != nil {
			return false, "", err
		}
		t := found.ImportImageTasks[0]
		image = ec2types.Value(t.ImageId)
		return over(t.Status, t.StatusMessage, t.Progress)
	})
	if err != nil {
		p.Stop()
		return err
	}
	p.Done(fmt.Sprintf("%s %s available", image, name))
	_, err = fmt.Fprintln(f.IO.Out, image)
	return err
}

// over tells of a task whether it is completed, and what it does.
func over(status, message, progress *string) (bool, string, error) {
	switch text := ec2types.Value(message); model.TaskState(ec2types.Value(status)) {
	case model.TaskCompleted:
		return true, "", nil
	case model.TaskDeleted, model.TaskDeleting:
		return false, "", fmt.Errorf("it failed: %s", text)
	default:
		return false, fmt.Sprintf("%s, %s%%", text, ec2types.Value(progress)), nil
	}
}

func (o *importOptions) upload(ctx context.Context, c *client.Client) (string, error) {
	file, err := os.Open(o.source)
	if err != nil {
		return "", fmt.Errorf("opening the disk image: %w", err)
	}
	defer file.Close()
	p := o.factory.IO.StartProgress("uploading " + filepath.Base(o.source))
	digest, err := c.Upload(ctx, file)
	p.Stop()
	return "upload:" + digest, err
}

// exportOptions are the inputs of "image export".
type exportOptions struct {
	factory                       *factory.Factory
	plan                          plan.Options
	wait                          wait.Options
	image, bucket, prefix, format string
}

// newExportCommand returns "image export".
func newExportCommand(f *factory.Factory) *cobra.Command {
	o := &exportOptions{factory: f}
	cmd := &cobra.Command{
		Use: "export IMAGE --bucket NAME", Short: "Write an image's disks to files",
		Long: `Write an image's disks to files, as RAW, QCOW2 (compressed), VMDK or VHD, in a bucket: a directory of
the daemon's bucket directory. Prints the root disk's file, from the bucket on. An OVA is one
file with all disks and a machine for them, which other hypervisors import.`,
		Example:           "  bundt image export web-v2 --bucket exports --format vmdk\n  bundt image export web-v2 --bucket exports --format ova",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: complete.First(complete.Images(f)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.image = args[0]
			return failure.Wrap(o.run(cmd.Context()), "export", o.image)
		},
	}
	o.plan.AddFlags(cmd)
	o.wait.AddFlags(cmd)
	cmd.Flags().StringVar(&o.bucket, "bucket", "", "`name` of the bucket (required)")
	cmd.Flags().StringVar(&o.prefix, "prefix", "", "what the files' names begin with, like `dir/`")
	cmd.Flags().StringVar(&o.format, "format", "raw", "`format`: "+strings.Join(exportFormats(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("bucket", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(exportFormats(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func exportFormats() []string { return []string{"raw", "qcow2", "vmdk", "vhd", "ova"} }

func (o *exportOptions) run(ctx context.Context) error {
	format := strings.ToUpper(o.format)
	switch {
	case o.bucket == "":
		return failure.Usagef("--bucket is required: where the files shall go")
	case !slices.Contains(exportFormats(), strings.ToLower(o.format)):
		return failure.Usagef("--format %s: must be one of %s", o.format, strings.Join(exportFormats(), ", "))
	}
	c, err := o.factory.Client()
	if err != nil {
		return err
	}
	image, err := resolve.Image(ctx, c, o.image)
	if err != nil {
		return err
	}
	in := &ec2types.ExportImageInput{
		ImageId: &image, DiskImageFormat: &format, ClientToken: new(rand.Text()), DryRun: o.plan.Flag(),
		S3ExportLocation: &ec2types.ExportTaskS3LocationRequest{S3Bucket: &o.bucket},
	}
	if o.prefix != "" {
		in.S3ExportLocation.S3Prefix = &o.prefix
	}
	out, err := c.ExportImage(ctx, in)
	if o.plan.DryRun && plan.Passed(err) {
		return plan.Show(o.factory.IO, "ExportImage", in)
	}
	if err != nil {
		return err
	}
	id := ec2types.Value(out.ExportImageTaskId)
	if !o.wait.NoWait {
		p := o.factory.IO.StartProgress("exporting " + o.image)
		err := o.wait.Until(ctx, p, func(ctx context.Context) (bool, string, error) {
			found, err := c.DescribeExportImageTasks(ctx, &ec2types.DescribeExportImageTasksInput{ExportImageTaskIds: []string{id}})
			if err != nil {
				return false, "", err
			}
			t := found.ExportImageTasks[0]
			return over(t.Status, t.StatusMessage, t.Progress)
		})
		p.Stop()
		if err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(o.factory.IO.Out, "%s/%s%s.%s\n", o.bucket, o.prefix, id, strings.ToLower(format))
	return err
}
