package storage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
)

// newCheckCommand returns the command "volume check". It fails if anything is damaged.
func newCheckCommand(f *factory.Factory) *cobra.Command {
	type layer = bundttypes.CheckedLayer
	var damaged []string
	cmd := command.List[layer]{
		What: "layers", Use: "check [ID...]", Short: "Read the layers of volumes, snapshots and images, and tell which are damaged",
		Long: `Read the frozen layers of volumes, snapshots and images, given by their ids, or of all,
and compare each with its digest. A layer whose digest is not known yet has it
recorded. Of layers that are written to, the header alone is read. The command
fails if a layer is damaged; it shows what depends on it.`,
		Args: cobra.ArbitraryArgs, Complete: complete.Volumes(f),
		ID: func(l layer) string { return l.LayerId },
		Columns: func(*command.Session) []output.Column[layer] {
			return []output.Column[layer]{
				{Title: "LAYER", Text: func(l layer) string { return l.LayerId }},
				{Title: "STATE", Text: func(l layer) string { return l.State }, Style: func(l layer) iostreams.Style {
					if l.Message != "" {
						return iostreams.Bad
					}
					return iostreams.Good
				}},
				{Title: "READ", Text: func(l layer) string { return humanize.IBytes(uint64(l.Bytes)) }},
				{Title: "USED BY", Text: func(l layer) string {
					return strings.Join(slices.Concat(l.VolumeIds, l.SnapshotIds, l.ImageIds), ",")
				}},
				{Title: "MESSAGE", Text: func(l layer) string { return l.Message }},
			}
		},
		All: func(ctx context.Context, s *command.Session, args []string) ([]layer, error) {
			out, err := s.CheckVolumes(ctx, &bundttypes.CheckVolumesInput{ResourceIds: args})
			if err != nil {
				return nil, err
			}
			for _, l := range out.Layers {
				if l.Message != "" {
					damaged = append(damaged, l.LayerId)
				}
			}
			return out.Layers, nil
		},
	}.Command(f)
	list := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := list(cmd, args); err != nil || len(damaged) == 0 {
			return err
		}
		return failure.WithHint(fmt.Errorf("damaged: %s", strings.Join(damaged, ", ")),
			"what depends on it may still be read in part: save that, then make it anew from a snapshot or image that does not")
	}
	return cmd
}
