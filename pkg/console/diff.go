package console

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

// maxDiffFiles is how many files a comparison lists: with their lines, all of them
// have to fit on a page.
const maxDiffFiles = 500

// diff is the page that compares an image with another one.
type diff struct {
	ID, Name   string
	Others     []option
	With       string // the other one; "" before it is chosen
	Error      error
	Tallies    []tally
	Files      []bundttypes.FileDiff
	MoreFiles  int32
	Tables     []table
	Same       bool
	ComparedTo string
}

// tally is how much of a kind there is.
type tally struct {
	Kind   string
	Number int
}

// diffPage shows what leads from the image that is asked for, by default the one that
// this one descends from, to this one. It is not live: images do not change, and reading
// two file systems is work.
func diffPage(ctx context.Context, r *request) (*view, error) {
	id := r.PathValue("id")
	tree, err := family(ctx, r, &bundttypes.DescribeLineageInput{ImageId: &id})
	if err != nil {
		return nil, err
	}
	own, err := ownImages(ctx, r)
	if err != nil {
		return nil, err
	}
	d := diff{ID: id, Name: id, With: r.URL.Query().Get("with")}
	var parent string
	known := map[string]bool{}
	offer := func(image, name string) {
		if image != id && !known[image] {
			known[image] = true
			d.Others = append(d.Others, option{Value: image, Text: strings.TrimSpace(name + "  " + image)})
		}
	}
	for _, b := range tree {
		if b.Current {
			d.Name, parent = b.Title, ancestor(tree, b)
		}
		if strings.HasPrefix(b.ID, "ami-") {
			offer(b.ID, b.Title)
		}
	}
	for _, i := range own {
		offer(ec2types.Value(i.ImageId), ec2types.Value(i.Name))
	}
	d.With = cmp.Or(d.With, parent)
	for n := range d.Others {
		if d.Others[n].Selected = d.Others[n].Value == d.With; d.Others[n].Selected {
			d.ComparedTo = d.Others[n].Text
		}
	}
	if d.With != "" {
		out, err := call[bundttypes.DiffImagesOutput](ctx, r, "DiffImages", &bundttypes.DiffImagesInput{Before: &d.With, After: &id, Content: new(true), MaxFiles: new(int32(maxDiffFiles))})
		if err != nil {
			d.Error = r.console.public(err)
		} else {
			d.fill(out)
		}
	}
	return &view{Title: "What is different in " + d.Name, Section: "images", Template: "diff", Main: d, Still: true}, nil
}

// ancestor is the nearest image that another one descends from, "" if there is none.
func ancestor(tree []branch, of branch) string {
	at := slices.IndexFunc(tree, func(b branch) bool { return b.ID == of.ID })
	depth := of.Depth
	for n := at - 1; n >= 0; n-- {
		if tree[n].Depth < depth {
			if depth = tree[n].Depth; strings.HasPrefix(tree[n].ID, "ami-") {
				return tree[n].ID
			}
		}
	}
	return ""
}

func (d *diff) fill(out *bundttypes.DiffImagesOutput) {
	d.Files, d.MoreFiles = out.Files, out.MoreFiles
	d.Same = len(out.Files) == 0 && len(out.Items) == 0
	for _, kind := range []string{bundttypes.DiffAdded, bundttypes.DiffChanged, bundttypes.DiffRemoved} {
		n := 0
		for _, f := range out.Files {
			if f.Kind == kind {
				n++
			}
		}
		d.Tallies = append(d.Tallies, tally{kind, n})
	}
	if len(out.Items) > 0 {
		t := table{ID: "diff-items", Title: "Packages, services and users", Columns: []column{{Title: ""}, {Title: "What"}, {Title: "Name"}, {Title: "Before"}, {Title: "After"}}}
		for _, i := range out.Items {
			t.Rows = append(t.Rows, row{Cells: []cell{{Kind: stateText, Text: i.Kind}, {Text: i.What}, {Text: i.Name}, {Text: i.Before}, {Text: i.After}}})
		}
		d.Tables = append(d.Tables, t)
	}
	t := table{ID: "diff-layers", Title: "Layers", Help: "What both have is there once.", Columns: []column{{Title: "Layer"}, {Title: "Size"}, {Title: "In"}}}
	for _, l := range out.AfterLayers {
		in := "this one"
		if l.Shared {
			in = "both"
		}
		t.Rows = append(t.Rows, row{Cells: []cell{{Kind: codeText, Text: l.LayerId}, bytesCell(l.AllocatedBytes), {Text: in}}})
	}
	for _, l := range out.BeforeLayers {
		if !l.Shared {
			t.Rows = append(t.Rows, row{Cells: []cell{{Kind: codeText, Text: l.LayerId}, bytesCell(l.AllocatedBytes), {Text: "the other one"}}})
		}
	}
	d.Tables = append(d.Tables, t)
}

// line is one of a unified diff.
type line struct {
	Tone, Text string
}

// diffLines are a unified diff's, each with what it is.
func diffLines(unified string) (lines []line) {
	for l := range strings.Lines(unified) {
		l = strings.TrimSuffix(l, "\n")
		tone := ""
		switch {
		case strings.HasPrefix(l, "+++ "), strings.HasPrefix(l, "--- "), strings.HasPrefix(l, `\ `):
			tone = "head"
		case strings.HasPrefix(l, "@@"):
			tone = "at"
		case strings.HasPrefix(l, "+"):
			tone = "plus"
		case strings.HasPrefix(l, "-"):
			tone = "minus"
		}
		lines = append(lines, line{tone, l})
	}
	return lines
}
