package diff

import (
	"fmt"
	"io"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
)

// show prints what differs.
func show(o *Options, d *bundttypes.DiffImagesOutput) error {
	s := o.Factory.IO
	var b strings.Builder
	switch {
	case o.Output.Format == output.Name:
		for _, f := range d.Files {
			fmt.Fprintln(&b, output.Clean(f.Path))
		}
	case !o.Output.ForPeople():
		return output.Data(s, &o.Output, d)
	default:
		p := &printer{s: s, b: &b}
		p.files(d)
		p.items(d.Items)
		p.layers(d)
	}
	_, err := io.WriteString(s.Out, b.String())
	return err
}

type printer struct {
	s *iostreams.IOStreams
	b *strings.Builder
}

func (p *printer) mark(kind string) string {
	m := marks[kind]
	if m.style == "" {
		return m.text
	}
	return p.s.OnOut(m.style, m.text)
}

func (p *printer) files(d *bundttypes.DiffImagesOutput) {
	if len(d.Files) == 0 {
		fmt.Fprintln(p.b, "no file differs")
	}
	width := 0
	for _, f := range d.Files {
		width = max(width, min(len(output.Clean(f.Path)), 60))
	}
	for i := range d.Files {
		f := &d.Files[i]
		fmt.Fprintf(p.b, "%s %-*s  %s\n", p.mark(f.Kind), width, output.Clean(f.Path), about(f))
		p.lines(f.Diff)
	}
	if d.MoreFiles > 0 {
		fmt.Fprintf(p.b, "  and %d more files: --max-files lists them, --path narrows\n", d.MoreFiles)
	}
}

// about is what there is to say of a file.
func about(f *bundttypes.FileDiff) string {
	switch {
	case f.Before == nil && f.After != nil:
		return state(f.After)
	case f.After == nil && f.Before != nil:
		return state(f.Before)
	case f.Before == nil:
		return ""
	}
	var out []string
	for _, what := range f.What {
		a, b := f.Before, f.After
		switch what {
		case "content":
			what = fmt.Sprintf("content, %s → %s", size(a.Size), size(b.Size))
			if a.Size == b.Size {
				what = "content, " + size(a.Size)
			}
		case "mode", "type":
			what += " " + a.Mode + " → " + b.Mode
		case "owner":
			what += fmt.Sprintf(" %d:%d → %d:%d", a.UserId, a.GroupId, b.UserId, b.GroupId)
		case "target":
			what += " " + output.Clean(a.Target) + " → " + output.Clean(b.Target)
		}
		out = append(out, what)
	}
	return strings.Join(out, "; ")
}

func state(s *bundttypes.FileState) string {
	out := s.Mode
	if s.UserId != 0 || s.GroupId != 0 {
		out += fmt.Sprintf(" %d:%d", s.UserId, s.GroupId)
	}
	switch s.Mode[:min(1, len(s.Mode))] {
	case "-":
		out += " " + size(s.Size)
	case "l":
		out += " → " + output.Clean(s.Target)
	}
	return out
}

// lines shows a unified difference, coloured as others do.
func (p *printer) lines(diff string) {
	for line := range strings.Lines(diff) {
		line = output.Clean(strings.TrimRight(line, "\n"))
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
			continue // the file's line says so
		case strings.HasPrefix(line, "+"):
			line = p.s.OnOut(iostreams.Good, line)
		case strings.HasPrefix(line, "-"):
			line = p.s.OnOut(iostreams.Bad, line)
		}
		fmt.Fprintf(p.b, "    %s\n", line)
	}
}

func (p *printer) items(items []bundttypes.ItemDiff) {
	last := ""
	for _, i := range items {
		if i.What != last {
			fmt.Fprintf(p.b, "\n%ss\n", i.What)
			last = i.What
		}
		detail := i.After
		switch i.Kind {
		case bundttypes.DiffRemoved:
			detail = i.Before
		case bundttypes.DiffChanged:
			detail = i.Before + " → " + i.After
		}
		fmt.Fprintf(p.b, "%s %s  %s\n", p.mark(i.Kind), output.Clean(i.Name), output.Clean(detail))
	}
}

// layers tells what the disks have in common, and what each has of its own.
func (p *printer) layers(d *bundttypes.DiffImagesOutput) {
	fmt.Fprintln(p.b, "\nlayers")
	var shared int64
	count := 0
	for _, l := range d.AfterLayers {
		if l.Shared {
			shared += l.AllocatedBytes
			count++
		}
	}
	fmt.Fprintf(p.b, "  %d shared, %s\n", count, size(shared))
	p.own(bundttypes.DiffRemoved, d.BeforeLayers)
	p.own(bundttypes.DiffAdded, d.AfterLayers)
}

func (p *printer) own(kind string, layers []bundttypes.ImageLayer) {
	for _, l := range layers {
		if !l.Shared {
			fmt.Fprintf(p.b, "%s %s  %s\n", p.mark(kind), l.LayerId, size(l.AllocatedBytes))
		}
	}
}

// size is a number of bytes as people read it.
func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
