package daemon_test

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/daemon"
)

// layered is a recipe on base of components, each of whose build phases are these steps;
// the last one's validate phase refers to the first one's first step.
func layered(version string, builds ...string) fs.FS {
	text := "apiVersion: bundt/v1\nname: layered\nversion: \"" + version + "\"\narchitectures: [x86_64]\nsource: {image: base}\nmetadata: {loginUser: admin}\ncomponents:\n"
	for i, steps := range builds {
		text += fmt.Sprintf("  - name: c%d\n    phases:\n      - name: build\n        steps:\n%s", i, steps)
		if i == 0 {
			text += "      - name: validate\n        steps:\n" + step("check", "check {{ build.a.outputs.stdout }}") +
				"      - name: test\n        steps:\n" + step("try", "try {{ build.a.outputs.stdout }}")
		}
	}
	return fstest.MapFS{"recipe.yaml": {Mode: 0o644, Data: []byte(text)}}
}

// steps runs a build and returns what it ran in guests since the last time.
func (g *builderGuests) steps(c *cloud, fsys fs.FS, noCache bool) (ran string, b *bundttypes.Build) {
	c.t.Helper()
	before := len(g.ran())
	out, err := c.BuildImage(c.t.Context(), &bundttypes.BuildImageInput{ContextDigest: c.upload(fsys), Architecture: new("x86_64"), NoCache: &noCache})
	c.must(err)
	for now, err := range c.WatchBuild(c.t.Context(), &bundttypes.WatchBuildInput{BuildId: &out.BuildId}) {
		c.must(err)
		b = now
	}
	if b.State != "available" {
		c.t.Fatalf("%s: %+v", b.State, b.StateReason)
	}
	return strings.Join(g.ran()[before:], "|"), b
}

func cachedSteps(b *bundttypes.Build) (names []string) {
	for _, s := range b.Steps {
		if s.Cached {
			names = append(names, s.Phase+": "+s.Name)
		}
	}
	return names
}

// TestBuildCache: what earlier builds of the account have done on the same parent is not
// done again, and what they have printed is known.
func TestBuildCache(t *testing.T) {
	c, g := builderCloud(t)
	a, b, changed := step("a", "do a"), step("b", "do b")+step("bb", "do bb"), step("b", "do other")
	const after = "|check do a|try do a"
	for _, tc := range []struct {
		name    string
		fsys    fs.FS
		noCache bool
		ran     string
		cached  []string
	}{
		{"cold", layered("1", a, b), false, "do a|do b|do bb" + after, nil},
		{"all the same", layered("2", a, b), false, after[1:], []string{"build: c0 a", "build: c1 b", "build: c1 bb"}},
		{"second changed", layered("3", a, changed), false, "do other" + after, []string{"build: c0 a"}},
		{"a third", layered("4", a, b, step("c", "do c")), false, "do c" + after, []string{"build: c0 a", "build: c1 b", "build: c1 bb"}},
		{"first changed", layered("5", step("a", "do a", "timeoutSeconds: 9"), b), false, "do a|do b|do bb" + after, nil},
		{"not wanted", layered("6", a, b), true, "do a|do b|do bb" + after, nil},
		{"less", layered("7", a), false, after[1:], []string{"build: c0 a"}},
	} {
		ran, build := g.steps(c, tc.fsys, tc.noCache)
		if ran != tc.ran {
			t.Errorf("%s: ran %s, want %s", tc.name, ran, tc.ran)
		}
		if got := cachedSteps(build); !slices.Equal(got, tc.cached) {
			t.Errorf("%s: cached are %q, want %q", tc.name, got, tc.cached)
		}
		if tc.name == "cold" {
			if images := strings.Count(c.everything(), "image "); images != 3 { // boot-sector, base and this
				t.Errorf("%d images are shown", images)
			}
		}
	}
	cache, err := c.DescribeBuildCache(t.Context(), &bundttypes.DescribeBuildCacheInput{})
	c.must(err)
	if len(cache.Entries) != 6 { // a, a+b, a+changed, a+b+c, the other a, and b on that
		t.Errorf("%d entries: %+v", len(cache.Entries), cache.Entries)
	}
	cleared, err := c.ClearBuildCache(t.Context(), &bundttypes.ClearBuildCacheInput{RecipeName: new("layered")})
	c.must(err)
	if cleared.Entries != 6 || cleared.SizeBytes == 0 {
		t.Errorf("%+v", cleared)
	}
	if ran, _ := g.steps(c, layered("8", a), false); ran != "do a"+after {
		t.Errorf("after clearing it ran %s", ran)
	}
}

// TestBuildCacheStops: what may be different another time, or what a failed step has
// left, is not kept, and nothing that comes after it.
func TestBuildCacheStops(t *testing.T) {
	for name, tc := range map[string]struct {
		first string
		fresh bool
		keeps int
	}{
		"deterministic":       {step("a", "do a"), false, 2},
		"from outside":        {step("a", "apt-get install x"), false, 0},
		"from outside, fresh": {step("a", "apt-get install x"), true, 2},
		"download":            {"          - {name: a, action: WebDownload, inputs: [{source: \"https://x.test/y\", destination: /y}]}\n", false, 0},
		"update":              {"          - {name: a, action: UpdateOS}\n", false, 0},
		"ignored failure":     {step("a", "fail", "onFailure: Ignore"), true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &builderGuests{asked: map[string]int{}}
			cfg := config(t)
			if !tc.fresh {
				cfg.BuildCacheFresh = 0
			}
			c := cloudWith(t, cfg, daemon.Parts{Guests: g})
			baseOf(c)
			fsys := strings.NewReplacer("{{ build.a.outputs.stdout }}", "it")
			first := layered("1", tc.first, step("b", "do b")).(fstest.MapFS)
			first["recipe.yaml"].Data = []byte(fsys.Replace(string(first["recipe.yaml"].Data)))
			g.steps(c, first, false)
			cache, err := c.DescribeBuildCache(t.Context(), &bundttypes.DescribeBuildCacheInput{})
			c.must(err)
			if len(cache.Entries) != tc.keeps {
				t.Errorf("%d entries: %+v", len(cache.Entries), cache.Entries)
			}
			for _, e := range cache.Entries {
				if (e.ExpiresAt != nil) != strings.HasPrefix(name, "from outside") {
					t.Errorf("%s expires at %v", e.Component, e.ExpiresAt)
				}
			}
		})
	}
}
