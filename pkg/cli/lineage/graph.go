package lineage

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
)

// The graphs that programs draw pictures of.
const (
	dot     = "dot"     // Graphviz: https://graphviz.org/doc/info/lang.html
	mermaid = "mermaid" // https://mermaid.js.org/syntax/flowchart.html
)

// drawGraph writes the nodes and what came from what.
func drawGraph(s *iostreams.IOStreams, kind string, nodes []bundttypes.LineageNode) error {
	places := map[string]int{}
	for i, n := range nodes {
		places[n.Id] = i
	}
	var b strings.Builder
	node, edge, end := dotNode, "  n%d -> n%d\n", "}\n"
	b.WriteString("digraph lineage {\n  rankdir=LR\n  node [fontname=\"sans-serif\"]\n")
	if kind == mermaid {
		b.Reset()
		b.WriteString("flowchart LR\n")
		node, edge, end = mermaidNode, "  n%d --> n%d\n", ""
	}
	for i := range nodes {
		node(&b, i, &nodes[i])
	}
	for i, n := range nodes {
		if parent, ok := places[n.ParentId]; ok && parent != i {
			fmt.Fprintf(&b, edge, parent, i)
		}
	}
	b.WriteString(end)
	_, err := io.WriteString(s.Out, b.String())
	return err
}

// label is what is written in a node: its kind, what it is called, its id.
func label(n *bundttypes.LineageNode) []string {
	lines := []string{n.Kind}
	if n.Name != "" {
		lines = append(lines, output.Clean(n.Name))
	}
	id := n.Id
	if n.Kind == bundttypes.LineageRecipe {
		id = shortDigest(id)
	}
	lines = append(lines, output.Clean(id))
	if n.State != "" {
		lines = append(lines, output.Clean(n.State))
	}
	return lines
}

func dotNode(b *strings.Builder, i int, n *bundttypes.LineageNode) {
	shape := map[string]string{bundttypes.LineageRecipe: "note", bundttypes.LineageImage: "box", bundttypes.LineageInstance: "ellipse"}[n.Kind]
	if shape == "" {
		shape = "plaintext"
	}
	var lines []string
	for _, l := range label(n) {
		lines = append(lines, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(l))
	}
	fmt.Fprintf(b, "  n%d [shape=%s, label=\"%s\"]\n", i, shape, strings.Join(lines, `\n`))
}

func mermaidNode(b *strings.Builder, i int, n *bundttypes.LineageNode) {
	shape := map[string][2]string{bundttypes.LineageRecipe: {"[/", "/]"}, bundttypes.LineageInstance: {"([", "])"}}[n.Kind]
	if shape[0] == "" {
		shape = [2]string{"[", "]"}
	}
	var lines []string
	for _, l := range label(n) {
		lines = append(lines, entities(l))
	}
	fmt.Fprintf(b, "  n%d%s\"%s\"%s\n", i, shape[0], strings.Join(lines, "<br/>"), shape[1])
}

// entities writes everything that Mermaid or HTML could take for their own as
// numbered characters.
func entities(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(" .-_:/@", r), r > 127:
			b.WriteRune(r)
		default:
			b.WriteString("#" + strconv.Itoa(int(r)) + ";")
		}
	}
	return b.String()
}
