package lab

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bundt/bundt/pkg/api/bundttypes"
)

func TestLessons(t *testing.T) {
	all, err := Lessons()
	if err != nil || len(all) == 0 {
		t.Fatalf("%d lessons: %v", len(all), err)
	}
	for _, l := range all {
		for _, text := range append([]string{l.Intro, l.End}, l.Steps[0].Text) {
			if html, err := HTML(text); err != nil || !strings.Contains(string(html), "<p>") {
				t.Errorf("%s: %q: %v", l.Name, html, err)
			}
		}
	}
}

// TestDone goes through the lesson's story.
func TestDone(t *testing.T) {
	all, err := Lessons()
	if err != nil {
		t.Fatal(err)
	}
	lesson := all[0]
	recipe := bundttypes.LineageNode{Id: "sha256:1", Kind: "recipe", State: "known"}
	image := bundttypes.LineageNode{Id: "ami-1", Kind: "image", ParentId: recipe.Id, State: "available"}
	cake := bundttypes.LineageNode{Id: "i-1", Kind: "instance", ParentId: image.Id, State: "running"}
	written := bundttypes.LineageNode{Id: "ami-2", Kind: "image", ParentId: cake.Id, State: "available"}
	twin := bundttypes.LineageNode{Id: "i-2", Kind: "instance", ParentId: written.Id, State: "running"}
	in := func(n bundttypes.LineageNode, state string) bundttypes.LineageNode { n.State = state; return n }
	for _, tt := range []struct {
		what  string
		nodes []bundttypes.LineageNode
		web   bool
		done  int
	}{
		{"nothing", nil, false, 0},
		{"an image that is being made", []bundttypes.LineageNode{recipe, in(image, "pending")}, false, 0},
		{"an image", []bundttypes.LineageNode{recipe, image}, false, 1},
		{"a cake", []bundttypes.LineageNode{recipe, image, cake}, false, 2},
		{"a cake with icing", []bundttypes.LineageNode{recipe, image, cake}, true, 3},
		{"a recipe of it", []bundttypes.LineageNode{recipe, image, cake, written}, true, 4},
		{"the twin", []bundttypes.LineageNode{recipe, image, cake, written, twin}, true, 5},
		{"the twin, and the web server was stopped", []bundttypes.LineageNode{recipe, image, cake, written, twin}, false, 5},
		{"one machine less", []bundttypes.LineageNode{recipe, image, in(cake, "terminated"), written, twin}, false, 5},
		{"images only", []bundttypes.LineageNode{recipe, image, in(cake, gone), written, in(twin, "terminated")}, false, 5},
		{"all is gone", []bundttypes.LineageNode{recipe, in(image, gone), in(cake, gone), in(written, gone), in(twin, "terminated")}, false, 6},
	} {
		want := make([]bool, len(lesson.Steps))
		for i := range tt.done {
			want[i] = true
		}
		got := lesson.Done(World{Lineage: tt.nodes, Answers: func(id string, port int) bool { return tt.web && id == "i-1" && port == 80 }})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", tt.what, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const good = "name: a\ntitle: A\nsteps:\n  - {title: B, text: C, check: {image: recipe}}\n  - {title: B, text: C, check: {gone: true}}\n"
	if _, err := Parse("good", []byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, edit := range [][2]string{
		{"name: a", "name: ../a"}, {"title: A\n", ""}, {"image: recipe", "image: cake"}, {"image: recipe", "gone: true"}, {"image: recipe", "answers: 70000"},
		{"image: recipe", ""}, {"image: recipe", "image: recipe, answers: 80"}, {"text: C,", ""}, {"title: A", "titel: A"}, {"steps:", "steps: []\nmore:"}, {"name: a", "name: [a"},
	} {
		if _, err := Parse("bad", []byte(strings.Replace(good, edit[0], edit[1], 1))); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "bad") {
			t.Errorf("%q for %q: %v", edit[1], edit[0], err)
		}
	}
}

func TestHTMLIsSafe(t *testing.T) {
	html, err := HTML("a <script>alert(1)</script> [a](javascript:alert(1)) ![b](x \"onerror=\") **c**")
	if err != nil {
		t.Fatal(err)
	}
	if s := string(html); strings.Contains(s, "<script") || strings.Contains(s, "javascript:") || !strings.Contains(s, "<strong>c</strong>") {
		t.Errorf("%s", s)
	}
}
