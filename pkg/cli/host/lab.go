package host

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/lab"
)

// LabOptions are the inputs of "lab".
type LabOptions struct {
	Factory *factory.Factory
	Lesson  string // its name, or a file; "" lists them
	Check   bool
}

// NewLabCommand returns the command "lab".
func NewLabCommand(f *factory.Factory, run func(context.Context, *LabOptions) error) *cobra.Command {
	o := &LabOptions{Factory: f}
	if run == nil {
		run = runLab
	}
	cmd := &cobra.Command{
		Use:   "lab [LESSON|FILE]",
		Short: "Learn by doing: lessons whose steps are checked against the cloud",
		Long: `Show a lesson, and which of its steps are done, by what the account really has. Without an argument
the lessons that come with bundt are listed. FILE is a lesson of your own, as docs/lab.md describes.

--check prints nothing but "DONE of STEPS", and its exit code is 1 until all is done: for grading.`,
		Example: `  bundt lab
  bundt lab cake
  bundt lab cake --check --account alice
  bundt lab ./lesson.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Lesson = strings.Join(args, "")
			return failure.Wrap(run(cmd.Context(), o), "show", "the lesson")
		},
	}
	cmd.Flags().BoolVar(&o.Check, "check", false, "only say how many steps are done")
	return cmd
}

func runLab(ctx context.Context, o *LabOptions) error {
	lessons, err := lab.Lessons()
	if err != nil {
		return err
	}
	if o.Lesson != "" {
		one, err := findLesson(lessons, o.Lesson)
		if err != nil {
			return err
		}
		lessons = []lab.Lesson{*one}
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	out, err := c.DescribeLineage(ctx, &bundttypes.DescribeLineageInput{})
	if err != nil {
		return err
	}
	world := lab.World{Lineage: out.Nodes, Answers: func(id string, port int) bool { return answers(ctx, c, id, port) }}
	for i := range lessons {
		done := lessons[i].Done(world)
		switch {
		case o.Check:
			if err := grade(o, done); err != nil {
				return err
			}
		case o.Lesson == "":
			fmt.Fprintf(o.Factory.IO.Out, "%-12s %s (%d of %d steps are done)\n", lessons[i].Name, lessons[i].Title, count(done), len(done))
		default:
			tellLesson(o, &lessons[i], done)
		}
	}
	return nil
}

// findLesson is one that comes with bundt, or one in a file.
func findLesson(all []lab.Lesson, ref string) (*lab.Lesson, error) {
	if strings.ContainsAny(ref, "./") {
		text, err := os.ReadFile(ref)
		if err != nil {
			return nil, fmt.Errorf("reading the lesson: %w", err)
		}
		return lab.Parse(ref, text)
	}
	if i := slices.IndexFunc(all, func(l lab.Lesson) bool { return l.Name == ref }); i >= 0 {
		return &all[i], nil
	}
	return nil, failure.WithHint(failure.NotFoundf("there is no lesson %q", ref), "bundt lab lists them")
}

func count(done []bool) (n int) {
	for _, d := range done {
		if d {
			n++
		}
	}
	return n
}

// grade says how many steps are done; it fails until all are.
func grade(o *LabOptions, done []bool) error {
	fmt.Fprintf(o.Factory.IO.Out, "%d of %d\n", count(done), len(done))
	if count(done) < len(done) {
		return failure.Silent{Code: failure.Failed}
	}
	return nil
}

// tellLesson prints a lesson's texts up to the next step that is to be done.
func tellLesson(o *LabOptions, l *lab.Lesson, done []bool) {
	out := o.Factory.IO.Out
	fmt.Fprintf(out, "%s\n\n%s\n", l.Title, l.Intro)
	for i, s := range l.Steps {
		mark := "·"
		if done[i] {
			mark = "✓"
		}
		fmt.Fprintf(out, "%s %d. %s\n", mark, i+1, s.Title)
		if i == count(done) { // the next one
			fmt.Fprintf(out, "\n%s\n", s.Text)
		}
	}
	if count(done) == len(done) {
		fmt.Fprintf(out, "\n%s", l.End)
	}
}

// answers reports whether a guest answers on a TCP port.
func answers(ctx context.Context, c *client.Client, id string, port int) bool {
	out, err := c.GetInstanceDiagnosis(ctx, &bundttypes.GetInstanceDiagnosisInput{InstanceId: &id, Port: new(int32(port))})
	return err == nil && len(out.Checks) > 0 && !slices.ContainsFunc(out.Checks, func(c bundttypes.HostCheck) bool { return c.Status == bundttypes.CheckFail })
}
