package console

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bundt/bundt/pkg/api/bundttypes"
)

func TestDiffLines(t *testing.T) {
	got := diffLines("--- a\n+++ b\n@@ -1 +1,2 @@\n same\n-old\n+new\n+\n\\ No newline\n")
	want := []line{{"head", "--- a"}, {"head", "+++ b"}, {"at", "@@ -1 +1,2 @@"}, {"", " same"}, {"minus", "-old"}, {"plus", "+new"}, {"plus", "+"}, {"head", `\ No newline`}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestAncestor(t *testing.T) {
	tree := []branch{{Depth: 0, ID: "recipe"}, {Depth: 1, ID: "ami-1"}, {Depth: 2, ID: "i-1"}, {Depth: 3, ID: "ami-2"}, {Depth: 2, ID: "i-2"}, {Depth: 3, ID: "ami-3"}, {Depth: 4, ID: "i-3"}, {Depth: 0, ID: "ami-4"}}
	for id, want := range map[string]string{"ami-1": "", "ami-2": "ami-1", "ami-3": "ami-1", "i-3": "ami-3", "ami-4": ""} {
		for _, b := range tree {
			if b.ID == id {
				if got := ancestor(tree, b); got != want {
					t.Errorf("%s descends from %q, not from %q", id, got, want)
				}
			}
		}
	}
}

// TestDiffPage: what is different is shown as the text that it is.
func TestDiffPage(t *testing.T) {
	d := diff{ID: "ami-2", Name: "web", Others: []option{{Value: "ami-1", Text: "base", Selected: true}}}
	d.fill(&bundttypes.DiffImagesOutput{
		Files: []bundttypes.FileDiff{
			{Kind: bundttypes.DiffChanged, Path: "/etc/<b>motd", What: []string{"content", "mode"}, Before: &bundttypes.FileState{Mode: "-rw-------", Size: 10}, After: &bundttypes.FileState{Mode: "-rw-r--r--", Size: 2048}, Diff: "@@ -1 +1 @@\n-plain\n+<script>alert(1)</script>\n"},
			{Kind: bundttypes.DiffAdded, Path: "/srv/cake", After: &bundttypes.FileState{Mode: "drwxr-xr-x"}},
		},
		Items: []bundttypes.ItemDiff{{Kind: bundttypes.DiffAdded, What: "package", Name: "nginx", After: "1.22"}}, MoreFiles: 7,
		AfterLayers: []bundttypes.ImageLayer{{LayerId: "top", AllocatedBytes: 1 << 20}, {LayerId: "base", Shared: true}}, BeforeLayers: []bundttypes.ImageLayer{{LayerId: "base", Shared: true}, {LayerId: "gone"}},
	})
	body, err := render("diff", "main", &view{Main: d})
	if err != nil {
		t.Fatal(err)
	}
	page := string(body)
	for _, want := range []string{
		"/etc/&lt;b&gt;motd", `class="plus">&#43;&lt;script&gt;alert(1)&lt;/script&gt;`, `class="minus">-plain`, "content, mode", "-rw------- 10 B → -rw-r--r-- 2.0 KiB",
		"<b>1</b> added", "<b>1</b> changed", "<b>0</b> removed", "and 7 more", "nginx", "this one", "both", "the other one", "1.0 MiB",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "<script") || t.Failed() {
		t.Log(page)
	}
	var same diff
	same.fill(&bundttypes.DiffImagesOutput{})
	if body, err = render("diff", "main", &view{Main: same}); err != nil || !strings.Contains(string(body), "are the same") {
		t.Errorf("two that are the same: %v\n%s", err, body)
	}
}
