// Package pipeline owns the commands on image pipelines. It may import pkg/client, the
// API's types, pkg/model and its neighbours under pkg/cli only.
package pipeline

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/wait"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

type (
	pipeline = bundttypes.ImagePipeline
	run      = bundttypes.ImagePipelineExecution
)

// NewCommand returns the command "pipeline" with all its verbs.
func NewCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "pipeline VERB", Short: "Manage pipelines, which build images of a recipe again and again",
		Long: `Manage pipelines. A pipeline builds images of one recipe: when it is told to, or by a schedule, each
time or only if something that goes into the image has changed. Its images have versions that rise;
they can be shared with accounts, sent to registries, and removed when there are newer ones.`,
	}
	cmd.AddCommand(newCreateCommand(f), newListCommand(f), newShowCommand(f), newUpdateCommand(f), newStatusCommand(f, true), newStatusCommand(f, false),
		newStartCommand(f), newRunsCommand(f), newRetryCommand(f), newDeleteCommand(f))
	return cmd
}

func pipelines(ctx context.Context, c *client.Client, refs ...string) ([]pipeline, error) {
	out, err := c.DescribeImagePipelines(ctx, &bundttypes.DescribeImagePipelinesInput{ImagePipelines: refs})
	if err != nil {
		return nil, err
	}
	return out.ImagePipelines, nil
}

func completePipelines(f *factory.Factory) cobra.CompletionFunc {
	return complete.First(func(cmd *cobra.Command, _ []string, _ string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
		c, err := f.Client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		all, _ := pipelines(cmd.Context(), c)
		for _, p := range all {
			names = append(names, cobra.CompletionWithDesc(p.Name, p.RecipeName+", "+strings.ToLower(p.Status)))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

func local(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.Local().Format("2006-01-02 15:04")
}

func newListCommand(f *factory.Factory) *cobra.Command {
	return command.List[pipeline]{
		What: "image pipelines", Empty: "no pipelines; bundt pipeline create NAME RECIPE makes one",
		All: func(ctx context.Context, s *command.Session, _ []string) ([]pipeline, error) {
			return pipelines(ctx, s.Client)
		},
		ID: func(p pipeline) string { return p.ImagePipelineId },
		Columns: func(*command.Session) []output.Column[pipeline] {
			return []output.Column[pipeline]{
				{Title: "NAME", Text: func(p pipeline) string { return p.Name }, Style: func(pipeline) iostreams.Style { return iostreams.Mark }},
				{Title: "RECIPE", Text: func(p pipeline) string { return p.RecipeName + " " + p.RecipeVersion }},
				{Title: "ARCH", Text: func(p pipeline) string { return p.Architecture }},
				{Title: "STATUS", Text: func(p pipeline) string { return strings.ToLower(p.Status) }},
				{Title: "SCHEDULE", Text: func(p pipeline) string {
					if p.Schedule == nil {
						return ""
					}
					return ec2types.Value(p.Schedule.ScheduleExpression)
				}},
				{Title: "LAST RUN", Text: func(p pipeline) string { return local(p.LastRunAt) }},
				{Title: "NEXT RUN", Text: func(p pipeline) string { return local(p.NextRunAt) }},
				{Title: "FAILURES", Text: func(p pipeline) string { return strconv.Itoa(int(p.Failures)) }, Wide: true},
				{Title: "PASSED OVER", Text: func(p pipeline) string { return p.PassedOverReason }, Wide: true},
				{Title: "ID", Text: func(p pipeline) string { return p.ImagePipelineId }, Wide: true},
			}
		},
	}.Command(f)
}

func newShowCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "show PIPELINE", Short: "Print all that is known of a pipeline", Object: "pipeline", Args: cobra.ExactArgs(1), Shows: true, Complete: completePipelines(f),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			all, err := pipelines(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			return output.One(f.IO, &s.Output, all[0].ImagePipelineId, all[0])
		},
	}.Command(f)
}

func newStatusCommand(f *factory.Factory, enable bool) *cobra.Command {
	verb, status, short, long := "enable", "ENABLED", "Have a pipeline run by its schedule", "Have a pipeline run by its schedule, from now on: times that were before are not made up for."
	if !enable {
		verb, status, short, long = "disable", "DISABLED", "Have a pipeline run only when it is told to", "Have a pipeline run only when it is told to: bundt pipeline start. A run that is under way goes on."
	}
	return command.Verb{
		Use: verb + " PIPELINE", Short: short, Long: long, Object: "pipeline", Args: cobra.ExactArgs(1), Complete: completePipelines(f),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			return command.Change(ctx, s, args[0], "UpdateImagePipeline", &bundttypes.UpdateImagePipelineInput{ImagePipeline: &args[0], Status: &status, DryRun: s.Plan.Flag()}, s.UpdateImagePipeline)
		},
	}.Command(f)
}

func newDeleteCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "delete PIPELINE", Short: "Delete a pipeline", Object: "pipeline", Args: cobra.ExactArgs(1), Complete: completePipelines(f),
		Long: "Delete a pipeline, and what is known of its runs. Its images stay.",
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			return command.Change(ctx, s, args[0], "DeleteImagePipeline", &bundttypes.DeleteImagePipelineInput{ImagePipeline: &args[0], DryRun: s.Plan.Flag()}, s.DeleteImagePipeline)
		},
	}.Command(f)
}

func newStartCommand(f *factory.Factory) *cobra.Command {
	var w wait.Options
	return command.Verb{
		Use: "start PIPELINE", Short: "Have a pipeline run now", Object: "pipeline", Args: cobra.ExactArgs(1), Complete: completePipelines(f), Flags: w.AddFlags,
		Long: `Have a pipeline run now, whatever its schedule and its start condition say, and wait until its image
is distributed. Prints the image's id; with --no-wait the run's.`,
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			out, err := command.Send(ctx, s, "StartImagePipelineExecution", &bundttypes.StartImagePipelineExecutionInput{
				ImagePipeline: &args[0], ClientToken: new(rand.Text()), DryRun: s.Plan.Flag(),
			}, s.StartImagePipelineExecution)
			if err != nil || out == nil {
				return err
			}
			if w.NoWait {
				return s.Print(out.Execution.ExecutionId)
			}
			r, err := follow(ctx, s, w, out.Execution.ExecutionId)
			if err != nil {
				return err
			}
			return s.Print(r.ImageId)
		},
	}.Command(f)
}

// follow waits for the end of a run. What of its distribution failed is told, and no error.
func follow(ctx context.Context, s *command.Session, w wait.Options, id string) (r run, err error) {
	p := s.Factory.IO.StartProgress("running the pipeline")
	defer p.Stop()
	err = w.Until(ctx, p, func(ctx context.Context) (bool, string, error) {
		out, err := s.DescribeImagePipelineExecutions(ctx, &bundttypes.DescribeImagePipelineExecutionsInput{ExecutionIds: []string{id}})
		if err != nil {
			return false, "", err
		}
		r = out.Executions[0]
		state := model.RunState(r.State)
		if state.Over() && state != model.RunAvailable {
			return false, "", fmt.Errorf("the run %s %s: %s", id, state, r.StateReason)
		}
		return state.Over(), r.State, nil
	})
	if err == nil {
		p.Done(r.ImageId + " " + r.ImageName + " available")
		if r.StateReason != "" {
			fmt.Fprintf(s.Factory.IO.Err, "%s\nbundt pipeline retry %s tries it again\n", r.StateReason, id)
		}
	}
	return r, err
}

func newRunsCommand(f *factory.Factory) *cobra.Command {
	return command.List[run]{
		What: "runs of pipelines", Use: "runs [PIPELINE]", Short: "List runs of pipelines", Args: cobra.MaximumNArgs(1), Complete: completePipelines(f),
		Long: "List the runs of a pipeline, or of all of them, the newest first. What became of each part of the distribution is in -o json.",
		All: func(ctx context.Context, s *command.Session, args []string) (all []run, err error) {
			in := &bundttypes.DescribeImagePipelineExecutionsInput{}
			if len(args) == 1 {
				in.ImagePipeline = &args[0]
			}
			for {
				page, err := s.DescribeImagePipelineExecutions(ctx, in)
				if err != nil {
					return nil, err
				}
				all = append(all, page.Executions...)
				if in.NextToken = page.NextToken; ec2types.Value(in.NextToken) == "" {
					return all, nil
				}
			}
		},
		ID:    func(r run) string { return r.ExecutionId },
		Empty: "no runs; bundt pipeline start PIPELINE begins one",
		Columns: func(s *command.Session) []output.Column[run] {
			return []output.Column[run]{
				{Title: "RUN", Text: func(r run) string { return r.ExecutionId }, Style: func(run) iostreams.Style { return iostreams.Mark }},
				{Title: "VERSION", Text: func(r run) string { return r.Version }},
				{Title: "DUE", Text: func(r run) string { return local(r.DueAt) }},
				{Title: "STATE", Text: func(r run) string { return r.State }, Style: runStyle},
				{Title: "IMAGE", Text: func(r run) string { return r.ImageId }},
				{Title: "BUILD", Text: func(r run) string { return r.BuildId }},
				{Title: "AGE", Text: func(r run) string { return output.Age(s.Factory.Now(), r.CreatedAt) }},
				{Title: "REASON", Text: func(r run) string { return r.StateReason }},
				{Title: "DISTRIBUTION", Wide: true, Text: func(r run) string {
					var parts []string
					for _, d := range r.Distributions {
						parts = append(parts, d.Target+" "+d.State)
					}
					return strings.Join(parts, ", ")
				}},
			}
		},
	}.Command(f)
}

func runStyle(r run) iostreams.Style {
	switch state := model.RunState(r.State); {
	case state == model.RunAvailable && r.StateReason == "":
		return iostreams.Good
	case state.Over():
		return iostreams.Bad
	}
	return iostreams.Busy
}

func newRetryCommand(f *factory.Factory) *cobra.Command {
	var w wait.Options
	return command.Verb{
		Use: "retry RUN", Short: "Try again what failed of a run's distribution", Object: "run", Args: cobra.ExactArgs(1), Flags: w.AddFlags,
		Long: "Try again, now, what failed of the distribution of a run's image. Prints the run's id.",
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			out, err := command.Send(ctx, s, "RetryImageDistribution", &bundttypes.RetryImageDistributionInput{ExecutionId: &args[0], DryRun: s.Plan.Flag()}, s.RetryImageDistribution)
			if err != nil || out == nil {
				return err
			}
			if !w.NoWait {
				if _, err := follow(ctx, s, w, args[0]); err != nil {
					return err
				}
			}
			return s.Print(args[0])
		},
	}.Command(f)
}
