package component_test

import (
	"testing"

	"github.com/bundt/bundt/pkg/component"
	"github.com/bundt/bundt/pkg/recipe"
)

func TestVolatile(t *testing.T) {
	run := func(text string) recipe.Step { return recipe.Step{Run: text} }
	inputs := func(v any) recipe.Step { return recipe.Step{Inputs: recipe.Inputs{Value: v}} }
	for name, tc := range map[string]struct {
		step recipe.Step
		want bool
	}{
		"script":            {run("echo hello > /etc/x"), false},
		"like a command":    {run("echo captain > /etc/aptitude-test.d"), true}, // errs on the side of yes
		"part of a word":    {run("mkdir /adapt /chapter\ncargohold --pipes"), false},
		"apt-get":           {run("set -e\nDEBIAN_FRONTEND=noninteractive apt-get -y install nginx"), true},
		"pip":               {run("/usr/bin/pip3 install x"), true},
		"git":               {run("git clone https://x.test/y"), true},
		"git without net":   {run("git init /srv/repo"), false},
		"bash":              {inputs(&recipe.ExecuteBash{Commands: []string{"true", "wget x"}}), true},
		"binary":            {inputs(&recipe.ExecuteBinary{Path: "/usr/bin/curl"}), true},
		"other binary":      {inputs(&recipe.ExecuteBinary{Path: "/bin/true"}), false},
		"update":            {inputs(&recipe.UpdateOS{}), true},
		"download, checked": {inputs(&recipe.WebDownloads{{Source: "x", Checksum: "00"}}), false},
		"download":          {inputs(&recipe.WebDownloads{{Source: "x", Checksum: "00"}, {Source: "y"}}), true},
		"file":              {inputs(&[]recipe.CreateFile{{Path: "/x", Content: "curl"}}), false},
	} {
		s := component.Step{Step: tc.step}
		if got := s.Volatile(); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
