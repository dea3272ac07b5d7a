package image

import (
	"context"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
)

// NewHistoryCommand returns the command "history".
func NewHistoryCommand(f *factory.Factory) *cobra.Command {
	type step = bundttypes.HistoryLayer
	return command.List[step]{
		What: "layers of an image", Use: "history IMAGE", Short: "List the layers of an image: what each came from, and what it takes",
		Args: cobra.ExactArgs(1), Complete: complete.First(complete.Images(f)),
		ID: func(l step) string { return l.LayerId },
		Columns: func(*command.Session) []output.Column[step] {
			return []output.Column[step]{
				{Title: "LAYER", Text: func(l step) string { return l.LayerId }},
				{Title: "CREATED", Text: func(l step) string {
					if l.CreatedAt == nil {
						return ""
					}
					return l.CreatedAt.Local().Format(time.DateTime)
				}},
				{Title: "SIZE", Text: func(l step) string { return humanize.IBytes(uint64(l.AllocatedBytes)) }},
				{Title: "OF", Text: func(l step) string { return l.By }},
				{Title: "IMAGES", Text: func(l step) string { return strings.Join(l.ImageIds, ",") }},
			}
		},
		All: func(ctx context.Context, s *command.Session, args []string) ([]step, error) {
			id, err := resolve.Image(ctx, s.Client, args[0])
			if err != nil {
				return nil, err
			}
			out, err := s.GetImageHistory(ctx, &bundttypes.GetImageHistoryInput{ImageId: &id})
			if err != nil {
				return nil, err
			}
			return out.Layers, nil
		},
	}.Command(f)
}
