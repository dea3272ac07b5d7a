package lineage

import (
	"bytes"
	"testing"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/iostreams"
)

var family = []bundttypes.LineageNode{
	{Id: "sha256:0123456789abcdef0123456789abcdef", Kind: "recipe", Name: "web 1.0"},
	{Id: "ami-1", Kind: "image", Name: `a "name" \ <b>`, ParentId: "sha256:0123456789abcdef0123456789abcdef", State: "available"},
	{Id: "i-1", Kind: "instance", ParentId: "ami-1", State: "running"},
	{Id: "ami-2", Kind: "image", ParentId: "i-gone"},
}

func TestGraphs(t *testing.T) {
	for kind, want := range map[string]string{
		dot: `digraph lineage {
  rankdir=LR
  node [fontname="sans-serif"]
  n0 [shape=note, label="recipe\nweb 1.0\nsha256:0123456789ab"]
  n1 [shape=box, label="image\na \"name\" \\ <b>\nami-1\navailable"]
  n2 [shape=ellipse, label="instance\ni-1\nrunning"]
  n3 [shape=box, label="image\nami-2"]
  n0 -> n1
  n1 -> n2
}
`,
		mermaid: `flowchart LR
  n0[/"recipe<br/>web 1.0<br/>sha256:0123456789ab"/]
  n1["image<br/>a #34;name#34; #92; #60;b#62;<br/>ami-1<br/>available"]
  n2(["instance<br/>i-1<br/>running"])
  n3["image<br/>ami-2"]
  n0 --> n1
  n1 --> n2
`,
	} {
		var out bytes.Buffer
		if err := drawGraph(&iostreams.IOStreams{Out: &out}, kind, family); err != nil || out.String() != want {
			t.Errorf("%s is %s (%v)", kind, out.String(), err)
		}
	}
}
