package image

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
)

type cached = bundttypes.CachedBuild

func newCacheCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "cache VERB", Short: "See and empty the cache of build steps",
		Long: `See and empty the cache of build steps: what build instances were after each component. A build
whose first components and parent are the same goes on from there. A recipe in a directory called
cache is ./cache.`,
	}
	cmd.AddCommand(newCacheListCommand(f), newCacheClearCommand(f))
	return cmd
}

func newCacheListCommand(f *factory.Factory) *cobra.Command {
	return command.List[cached]{
		What: "cached build steps", Empty: "nothing is cached; bundt build of a recipe with components caches what its steps do",
		All: func(ctx context.Context, s *command.Session, _ []string) ([]cached, error) {
			out, err := s.DescribeBuildCache(ctx, &bundttypes.DescribeBuildCacheInput{})
			if err != nil {
				return nil, err
			}
			return out.Entries, nil
		},
		ID: func(c cached) string { return c.Key },
		Columns: func(s *command.Session) []output.Column[cached] {
			age := func(at time.Time) string { return output.Age(s.Factory.Now(), at) }
			return []output.Column[cached]{
				{Title: "RECIPE", Text: func(c cached) string { return c.RecipeName }, Style: func(cached) iostreams.Style { return iostreams.Mark }},
				{Title: "AFTER", Text: func(c cached) string { return fmt.Sprintf("%d: %s", c.Depth, c.Component) }},
				{Title: "ARCH", Text: func(c cached) string { return c.Architecture }},
				{Title: "SIZE", Text: func(c cached) string { return fmt.Sprintf("%d MiB", (c.SizeBytes+1<<20-1)>>20) }},
				{Title: "BUILD", Text: func(c cached) string { return c.BuildId }},
				{Title: "USED", Text: func(c cached) string { return age(c.UsedAt) }},
				{Title: "AGE", Text: func(c cached) string { return age(c.CreatedAt) }},
				{Title: "EXPIRES", Text: func(c cached) string {
					if c.ExpiresAt == nil {
						return ""
					}
					return c.ExpiresAt.Local().Format(time.DateTime)
				}},
			}
		},
	}.Command(f)
}

func newCacheClearCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "clear [RECIPE]", Short: "Empty the cache of build steps", Object: "cached steps", Args: cobra.MaximumNArgs(1),
		Long: "Empty the cache of build steps, or drop what was kept for the recipe of this name. Images stay.",
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			in := &bundttypes.ClearBuildCacheInput{DryRun: s.Plan.Flag()}
			if len(args) == 1 {
				in.RecipeName = &args[0]
			}
			out, err := command.Send(ctx, s, "ClearBuildCache", in, s.ClearBuildCache)
			if err != nil || out == nil {
				return err
			}
			fmt.Fprintf(f.IO.Err, "%d entries of %d MiB dropped\n", out.Entries, (out.SizeBytes+1<<20-1)>>20)
			return nil
		},
	}.Command(f)
}
