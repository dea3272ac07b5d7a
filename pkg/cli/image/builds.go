package image

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

func builds(ctx context.Context, c *client.Client) (all []bundttypes.Build, err error) {
	in := &bundttypes.DescribeBuildsInput{}
	for {
		page, err := c.DescribeBuilds(ctx, in)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Builds...)
		if in.NextToken = page.NextToken; ec2types.Value(in.NextToken) == "" {
			return all, nil
		}
	}
}

func completeBuilds(f *factory.Factory) cobra.CompletionFunc {
	return complete.First(func(cmd *cobra.Command, _ []string, _ string) (ids []cobra.Completion, _ cobra.ShellCompDirective) {
		c, err := f.Client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		all, _ := builds(cmd.Context(), c)
		for _, b := range all {
			ids = append(ids, cobra.CompletionWithDesc(b.BuildId, b.ImageName+", "+b.State))
		}
		return ids, cobra.ShellCompDirectiveNoFileComp
	})
}

func newBuildListCommand(f *factory.Factory) *cobra.Command {
	type build = bundttypes.Build
	return command.List[build]{
		What:  "builds",
		Long:  "List builds: those under way, and those that ended in the last week. A recipe in a directory called ls is ./ls.",
		Empty: "no builds; bundt build RECIPE begins one",
		All: func(ctx context.Context, s *command.Session, _ []string) ([]build, error) {
			return builds(ctx, s.Client)
		},
		ID: func(b build) string { return b.BuildId },
		Columns: func(s *command.Session) []output.Column[build] {
			return []output.Column[build]{
				{Title: "BUILD", Text: func(b build) string { return b.BuildId }, Style: func(build) iostreams.Style { return iostreams.Mark }},
				{Title: "RECIPE", Text: func(b build) string { return b.RecipeName + " " + b.RecipeVersion }},
				{Title: "ARCH", Text: func(b build) string { return b.Architecture }},
				{Title: "STATE", Text: func(b build) string { return b.State }, Style: buildStyle},
				{Title: "STEP", Text: lastStep},
				{Title: "IMAGE", Text: func(b build) string { return b.ImageId }},
				{Title: "AGE", Text: func(b build) string { return output.Age(s.Factory.Now(), b.CreatedAt) }},
				{Title: "PARENT", Text: func(b build) string { return b.ParentImageId }, Wide: true},
			}
		},
	}.Command(f)
}

func buildStyle(b bundttypes.Build) iostreams.Style {
	switch state := model.BuildState(b.State); {
	case state == model.BuildAvailable:
		return iostreams.Good
	case state.Over():
		return iostreams.Bad
	}
	return iostreams.Busy
}

// lastStep is where a build is, or where it has failed.
func lastStep(b bundttypes.Build) string {
	if len(b.Steps) == 0 || b.State == string(model.BuildAvailable) {
		return ""
	}
	return fmt.Sprintf("%d: %s", len(b.Steps), stepText(b.Steps[len(b.Steps)-1]))
}

func findBuild(ctx context.Context, c *client.Client, id string) (bundttypes.Build, error) {
	out, err := c.DescribeBuilds(ctx, &bundttypes.DescribeBuildsInput{BuildIds: []string{id}})
	if err != nil {
		return bundttypes.Build{}, err
	}
	if len(out.Builds) != 1 {
		return bundttypes.Build{}, failure.NotFoundf("build %s does not exist", id)
	}
	return out.Builds[0], nil
}

func newBuildShowCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "show BUILD", Short: "Print all that is known of a build", Object: "build", Args: cobra.ExactArgs(1), Shows: true,
		Complete: completeBuilds(f),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			b, err := findBuild(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			return output.One(f.IO, &s.Output, b.BuildId, b)
		},
	}.Command(f)
}

func newBuildLogCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "logs BUILD [STEP]", Aliases: []string{"log"}, Short: "Print what the steps of a build have printed", Object: "build", Doing: "read the logs of",
		Args: cobra.RangeArgs(1, 2), NoDryRun: true,
		Long:     "Print what the steps of a build have printed so far, each under its name; or of one STEP, by its number, nothing else.",
		Complete: completeBuilds(f),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			if len(args) == 2 {
				n, err := strconv.ParseInt(args[1], 10, 32)
				if err != nil {
					return failure.Usagef("a step is a number, not %q", args[1])
				}
				text, err := stepLog(ctx, s.Client, args[0], int32(n))
				if err != nil {
					return err
				}
				_, err = io.WriteString(f.IO.Out, text)
				return err
			}
			b, err := findBuild(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			return printLogs(ctx, s, &b)
		},
	}.Command(f)
}

func stepLog(ctx context.Context, c *client.Client, build string, step int32) (string, error) {
	out, err := c.GetBuildLog(ctx, &bundttypes.GetBuildLogInput{BuildId: &build, Step: &step})
	if err != nil {
		return "", err
	}
	return out.Log, nil
}

func printLogs(ctx context.Context, s *command.Session, b *bundttypes.Build) error {
	for i, step := range b.Steps {
		if _, err := fmt.Fprintf(s.Factory.IO.Out, "== %d: %s\n", i+1, stepText(step)); err != nil {
			return err
		}
		text, err := stepLog(ctx, s.Client, b.BuildId, int32(i+1))
		if err != nil {
			return err
		}
		if _, err := io.WriteString(s.Factory.IO.Out, text); err != nil {
			return err
		}
	}
	return nil
}

func newBuildCancelCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "cancel BUILD", Short: "Give a build up", Object: "build", Args: cobra.ExactArgs(1),
		Long:     "Give a build up: what it has made goes. Prints the build's id.",
		Complete: completeBuilds(f),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			return command.Change(ctx, s, args[0], "CancelBuild", &bundttypes.CancelBuildInput{BuildId: &args[0], DryRun: s.Plan.Flag()}, s.CancelBuild)
		},
	}.Command(f)
}
