package image

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/sbom"
)

// The formats of a bill of materials.
const (
	formatSPDX = "spdx-json"
	formatText = "text"
)

func newSbomCommand(f *factory.Factory) *cobra.Command {
	format := formatSPDX
	return command.Verb{
		Use: "sbom IMAGE", Short: "List the software in an image, as SPDX", Object: "image", Args: cobra.ExactArgs(1), NoDryRun: true,
		Long: `List the software in an image: a bill of materials (SBOM) in SPDX 2.3, JSON, or a table.

It is read from the image's root file system, which has to be ext4, without booting or mounting it:
the packages of dpkg and apk, and the modules of programs in Go; besides, the packages that its
recipe has taken files of. The same image has the same document, byte for byte.`,
		Example:  "  bundt image sbom web-v2 > web-v2.spdx.json\n  bundt image sbom web-v2 --format text",
		Complete: complete.First(complete.Images(f)),
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&format, "format", formatSPDX, "`format`: spdx-json or text")
			_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{formatSPDX, formatText}, cobra.ShellCompDirectiveNoFileComp))
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			if format != formatSPDX && format != formatText {
				return failure.Usagef("--format %q: it is spdx-json or text", format)
			}
			id, err := resolve.Image(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			progress := f.IO.StartProgress("reading " + args[0])
			out, err := s.GetImageSbom(ctx, &bundttypes.GetImageSbomInput{ImageId: &id})
			progress.Stop()
			if err != nil {
				return err
			}
			if format == formatSPDX {
				_, err = fmt.Fprint(f.IO.Out, out.Document)
				return err
			}
			return printSbom(f, []byte(out.Document))
		},
	}.Command(f)
}

func printSbom(f *factory.Factory, document []byte) error {
	name, entries, err := sbom.Entries(document)
	if err != nil {
		return err
	}
	fmt.Fprintf(f.IO.Out, "%s: %d packages\n", output.Clean(name), len(entries))
	w := tabwriter.NewWriter(f.IO.Out, 0, 0, 2, ' ', 0)
	for _, e := range entries {
		fmt.Fprintf(w, "%s\t%s\t%s\n", output.Clean(e.Name), output.Clean(e.Version), output.Clean(e.URL))
	}
	return w.Flush()
}
