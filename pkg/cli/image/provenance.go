package image

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
)

// The formats of a provenance, beside text.
const (
	formatSLSA   = "slsa-json"
	formatBundle = "bundle"
)

func newProvenanceCommand(f *factory.Factory) *cobra.Command {
	format := formatSLSA
	return command.Verb{
		Use: "provenance IMAGE", Short: "Tell how an image was made, as SLSA provenance", Object: "image", Args: cobra.ExactArgs(1), NoDryRun: true,
		Long: `Tell how an image was made: an in-toto statement with SLSA provenance v1, of which recipe
or instance, on which image, with which packages, when and by which bundt. What was pulled shows
what came with it, if a key signed that which the account trusts (bundt trust ls), and if it is about
what the image really is.

The format bundle is the statement signed with the account's key (bundt signing-key show), or with
the one that it came with, as a sigstore bundle. The format text is one line.`,
		Example:  "  bundt image provenance web-v2\n  bundt image provenance web-v2 --format bundle > web-v2.sigstore.json",
		Complete: complete.First(complete.Images(f)),
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&format, "format", formatSLSA, "`format`: slsa-json, bundle or text")
			_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{formatSLSA, formatBundle, formatText}, cobra.ShellCompDirectiveNoFileComp))
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			if format != formatSLSA && format != formatBundle && format != formatText {
				return failure.Usagef("--format %q: it is slsa-json, bundle or text", format)
			}
			id, err := resolve.Image(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			progress := f.IO.StartProgress("reading " + args[0])
			out, err := s.GetImageProvenance(ctx, &bundttypes.GetImageProvenanceInput{ImageId: &id})
			progress.Stop()
			if err != nil {
				return err
			}
			switch format {
			case formatBundle:
				_, err = fmt.Fprintln(f.IO.Out, out.Bundle)
			case formatText:
				by := ""
				if out.SignedBy != "" {
					by = "; signed by " + out.SignedBy
				}
				_, err = fmt.Fprintln(f.IO.Out, output.Clean(out.Summary+by))
			default:
				_, err = fmt.Fprint(f.IO.Out, out.Statement)
			}
			return err
		},
	}.Command(f)
}
