// Package lineage owns the command that draws where images and instances come
// from. It may import pkg/client, the API's types, pkg/model and its neighbours
// under pkg/cli only.
package lineage

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// Options are the inputs of "lineage".
type Options struct {
	Factory *factory.Factory
	Output  output.Options
	Ref     string
	Graph   string // dot or mermaid; "" draws a tree
}

// NewCommand returns the command "lineage".
func NewCommand(f *factory.Factory, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if run == nil {
		run = draw
	}
	images, instances := complete.Images(f), complete.Instances(f)
	cmd := &cobra.Command{
		Use:   "lineage [IMAGE|INSTANCE]",
		Short: "Draw which image came from which recipe or instance",
		Long: `Draw the family tree of an image or an instance, or of everything: recipes, the
images that were baked from them, the instances that were launched from those,
the images that were made of the instances. What was deleted stays in the tree as
long as something that came from it is there.

--graph writes it for Graphviz (dot) or Mermaid, which draw pictures.`,
		Example: "  bundt lineage web-2\n  bundt lineage --graph dot | dot -Tsvg > lineage.svg",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: complete.First(func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			found, _ := images(cmd, args, toComplete)
			more, directive := instances(cmd, args, toComplete)
			return append(found, more...), directive
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			what := "everything"
			if len(args) > 0 {
				o.Ref, what = args[0], args[0]
			}
			return failure.Wrap(run(cmd.Context(), o), "draw the lineage of", what)
		},
	}
	o.Output.AddFlags(cmd)
	cmd.Flags().StringVar(&o.Graph, "graph", "", "write a graph: `dot` or mermaid")
	_ = cmd.RegisterFlagCompletionFunc("graph", cobra.FixedCompletions([]string{dot, mermaid}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func draw(ctx context.Context, o *Options) error {
	if o.Graph != "" && o.Graph != dot && o.Graph != mermaid {
		return failure.Usagef("--graph is dot or mermaid, not %q", o.Graph)
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	request, err := o.request(ctx, c)
	if err != nil {
		return err
	}
	out, err := c.DescribeLineage(ctx, request)
	if err != nil {
		return err
	}
	switch {
	case o.Graph != "":
		return drawGraph(o.Factory.IO, o.Graph, out.Nodes)
	case !o.Output.ForPeople():
		return output.List(o.Factory.IO, &o.Output, out.Nodes, func(n bundttypes.LineageNode) string { return n.Id }, nil)
	case len(out.Nodes) == 0:
		fmt.Fprintln(o.Factory.IO.Err, "nothing was ever built here; bundt build makes an image from a recipe")
		return nil
	}
	return drawForest(o.Factory.IO, out.Nodes)
}

// request asks for an image if there is one of that id or name, else for an instance.
func (o *Options) request(ctx context.Context, c *client.Client) (*bundttypes.DescribeLineageInput, error) {
	switch {
	case o.Ref == "":
		return &bundttypes.DescribeLineageInput{}, nil
	case model.CheckID(model.InstancePrefix, o.Ref) == nil:
		return &bundttypes.DescribeLineageInput{InstanceId: &o.Ref}, nil
	}
	image, imageErr := resolve.Image(ctx, c, o.Ref)
	if imageErr == nil {
		return &bundttypes.DescribeLineageInput{ImageId: &image}, nil
	}
	if failure.ExitCode(imageErr) != failure.NotFound {
		return nil, imageErr
	}
	instance, err := resolve.Instance(ctx, c, o.Ref)
	if err == nil {
		return &bundttypes.DescribeLineageInput{InstanceId: &instance}, nil
	}
	if failure.ExitCode(err) != failure.NotFound {
		return nil, err
	}
	return nil, failure.NotFoundf("neither an image nor an instance has the id or name %q", o.Ref)
}

// drawForest draws each node below its parent. A node whose parent is not there
// is a root.
func drawForest(s *iostreams.IOStreams, nodes []bundttypes.LineageNode) error {
	kinds := map[string]string{}
	for _, n := range nodes {
		kinds[n.Id] = n.Kind
	}
	children := map[string][]bundttypes.LineageNode{}
	for _, n := range nodes {
		parent := n.ParentId
		if kinds[parent] == "" || parent == n.Id {
			parent = ""
		}
		if kinds[parent] != bundttypes.LineageInstance {
			n.Consistency = "" // says something of images made of instances only
		}
		children[parent] = append(children[parent], n)
	}
	t := &tree{s: s, children: children}
	for _, root := range children[""] {
		t.line("", root)
		t.below(root.Id, "")
	}
	_, err := io.WriteString(s.Out, t.text.String())
	return err
}

type tree struct {
	s        *iostreams.IOStreams
	children map[string][]bundttypes.LineageNode
	text     strings.Builder
}

func (t *tree) below(id, indent string) {
	nodes := t.children[id]
	for i, n := range nodes {
		branch, stem := "├── ", "│   "
		if i == len(nodes)-1 {
			branch, stem = "└── ", "    "
		}
		t.line(indent+branch, n)
		t.below(n.Id, indent+stem)
	}
}

func (t *tree) line(indent string, n bundttypes.LineageNode) {
	style := func(st iostreams.Style, text string) string { return t.s.OnOut(st, output.Clean(text)) }
	words := []string{style(iostreams.Dim, n.Kind)}
	if n.Kind == bundttypes.LineageRecipe {
		words = append(words, style(iostreams.Bold, n.Name), style(iostreams.Dim, shortDigest(n.Id)))
	} else {
		words = append(words, style(iostreams.Mark, n.Id))
		if n.Name != "" {
			words = append(words, style(iostreams.Bold, n.Name))
		}
	}
	var facts []string
	for _, fact := range []string{n.Architecture, n.State, consistency(n.Consistency), n.Detail} {
		if fact != "" {
			facts = append(facts, fact)
		}
	}
	if len(facts) > 0 {
		words = append(words, style(iostreams.Dim, "("+strings.Join(facts, ", ")+")"))
	}
	fmt.Fprintf(&t.text, "%s%s\n", t.s.OnOut(iostreams.Dim, indent), strings.Join(words, " "))
}

func consistency(c string) string {
	switch model.Consistency(c) {
	case model.ConsistencyStopped:
		return "taken while stopped"
	case model.ConsistencyFilesystem:
		return "file systems frozen"
	case model.ConsistencyCrash:
		return "crash-consistent"
	}
	return c
}

// shortDigest is the start of a digest, enough to tell two apart.
func shortDigest(digest string) string {
	const enough = len("sha256:") + 12
	return digest[:min(len(digest), enough)]
}
