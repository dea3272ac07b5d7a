package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/builder"
	"github.com/bundt/bundt/pkg/daemon"
	"github.com/bundt/bundt/pkg/model"
)

// builderGuests are pretended ones: they note the scripts and print their first lines.
// Scripts fail, hang or ask for reboots by the words in them.
type builderGuests struct {
	mu      sync.Mutex
	scripts []string // "INSTANCE: first line"
	asked   map[string]int
}

type guestSession struct {
	*builderGuests
	id string
}

func (g *builderGuests) Open(_ context.Context, inst *model.Instance, key *builder.Key) (builder.Session, error) {
	if inst.LoginUser == "" || key.Authorized() != inst.PublicKey {
		return nil, fmt.Errorf("%s does not let %q in", inst.ID, inst.LoginUser)
	}
	return &guestSession{g, inst.ID}, nil
}

func (s *guestSession) Close() error { return nil }

func (s *guestSession) Run(ctx context.Context, script string, _ bool, stdout, stderr io.Writer) (int, error) {
	line, _, _ := strings.Cut(strings.TrimSpace(script), "\n")
	s.mu.Lock()
	s.scripts = append(s.scripts, s.id+": "+line)
	s.asked[line]++
	times := s.asked[line]
	s.mu.Unlock()
	fmt.Fprintln(stdout, line)
	switch {
	case strings.HasPrefix(line, "hang"):
		<-ctx.Done()
		return 0, errors.New("the connection broke")
	case strings.HasPrefix(line, "fail"), strings.HasPrefix(line, "flaky") && times == 1:
		fmt.Fprintln(stderr, "no such thing")
		return 3, nil
	case strings.HasPrefix(line, "reboot") && times == 1:
		return 194, nil
	}
	return 0, nil
}

// ran are the scripts without the instances' ids, in their order.
func (g *builderGuests) ran() (lines []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.scripts {
		_, line, _ := strings.Cut(s, ": ")
		if !strings.HasPrefix(line, "KEYS=") && !strings.HasPrefix(line, "cd ~") && line != "sync" {
			lines = append(lines, line)
		}
	}
	return lines
}

// recipeWith is a recipe on the image "base" with these steps.
func recipeWith(build, validate, test string) fs.FS {
	phase := func(name, steps string) string {
		if steps == "" {
			return ""
		}
		return "      - name: " + name + "\n        steps:\n" + steps
	}
	return fstest.MapFS{"recipe.yaml": {Mode: 0o644, Data: []byte(`apiVersion: bundt/v1
name: web
version: "1.0"
architectures: [x86_64]
source: {image: base}
metadata: {loginUser: admin}
components:
  - name: web
    phases:
` + phase("build", build) + phase("validate", validate) + phase("test", test))}}
}

func step(name, run string, more ...string) string {
	return "          - {name: " + name + ", run: \"" + run + "\"" + strings.Join(append([]string{""}, more...), ", ") + "}\n"
}

// builderCloud is a cloud with the image base, and its guests.
func builderCloud(t *testing.T) (*cloud, *builderGuests) {
	g := &builderGuests{asked: map[string]int{}}
	c := newCloud(t, daemon.Parts{Guests: g})
	baseOf(c)
	return c, g
}

// baseOf makes the image base.
func baseOf(c *cloud) {
	base := c.bootSector()
	_, err := c.CopyImage(c.t.Context(), &ec2types.CopyImageInput{SourceImageId: base, SourceRegion: new("local-1"), Name: new("base")})
	c.must(err)
}

// built builds to the end, whatever that is.
func (c *cloud) built(fsys fs.FS, holdKey *string) (b bundttypes.Build) {
	c.t.Helper()
	out, err := c.BuildImage(c.t.Context(), &bundttypes.BuildImageInput{ContextDigest: c.upload(fsys), Architecture: new("x86_64"), HoldKey: holdKey})
	c.must(err)
	for now, err := range c.WatchBuild(c.t.Context(), &bundttypes.WatchBuildInput{BuildId: &out.BuildId}) {
		c.must(err)
		b = *now
		if b.HeldInstanceId != "" {
			_, err := c.CancelBuild(c.t.Context(), &bundttypes.CancelBuildInput{BuildId: &out.BuildId})
			c.must(err)
		}
	}
	return b
}

func TestBuildInGuests(t *testing.T) {
	c, g := builderCloud(t)
	fsys := recipeWith(
		step("one", "echo one")+step("two", "reboot me")+step("three", "flaky thing", "maxAttempts: 2")+step("four", "fail softly", "onFailure: Ignore")+step("five", "got {{ build.one.outputs.stdout }}"),
		step("check", "check it"), step("try", "try it"))
	b := c.built(fsys, nil)
	if b.State != "available" || b.ParentImageId == "" {
		t.Fatalf("%+v", b)
	}
	want := "echo one|reboot me|reboot me|flaky thing|flaky thing|fail softly|got echo one|check it|try it"
	if got := strings.Join(g.ran(), "|"); got != want {
		t.Errorf("ran %s, want %s", got, want)
	}
	first, last := g.scripts[0], g.scripts[len(g.scripts)-1]
	if first[:19] == last[:19] {
		t.Error("the test ran in the build instance")
	}
	log, err := c.GetBuildLog(t.Context(), &bundttypes.GetBuildLogInput{BuildId: &b.BuildId, Step: new(int32(4))})
	if err != nil || !strings.Contains(log.Log, "attempt 1 of 2 failed: exit code 3") {
		t.Errorf("the flaky step's log is %+v, %v", log, err)
	}
	for _, step := range []int32{0, 99} {
		_, err := c.GetBuildLog(t.Context(), &bundttypes.GetBuildLogInput{BuildId: &b.BuildId, Step: &step})
		fails(t, "InvalidParameterValue", err)
	}
	found, err := c.DescribeImages(t.Context(), &ec2types.DescribeImagesInput{ImageIds: []string{b.ImageId}})
	c.must(err)
	if i := found.Images[0]; *i.State != "available" || *i.Name != "web-1.0-x86_64" || i.SourceInstanceId != nil {
		t.Errorf("%+v", i)
	}
	// The same again is the same image.
	again, err := c.BuildImage(t.Context(), &bundttypes.BuildImageInput{ContextDigest: c.upload(fsys), Architecture: new("x86_64")})
	if err != nil || again.ImageId != b.ImageId {
		t.Errorf("%+v, %v", again, err)
	}
	_, err = c.CancelBuild(t.Context(), &bundttypes.CancelBuildInput{BuildId: &b.BuildId})
	fails(t, "IncorrectState", err)
}

// TestBuildThatFails: whatever ends a build, what was there before is there after it.
func TestBuildThatFails(t *testing.T) {
	key := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsABgH5C9okWi0dh2l9GKJl me"
	for name, tc := range map[string]struct {
		fsys     fs.FS
		hold     *string
		message  string
		cancelAt string
	}{
		"in build":    {recipeWith(step("one", "fail"), "", ""), nil, "build: web one: exit code 3: fail\nno such thing", ""},
		"in validate": {recipeWith(step("one", "ok"), step("two", "fail"), ""), nil, "validate: web two: exit code 3", ""},
		"in test":     {recipeWith(step("one", "ok"), "", step("two", "fail")), nil, "test: web two: exit code 3", ""},
		"later":       {recipeWith(step("one", "fail", "onFailure: Continue")+step("two", "ok"), "", ""), nil, "build: web one: exit code 3", ""},
		"by time":     {recipeWith(step("one", "hang", "timeoutSeconds: 1"), "", ""), nil, "took longer than 1s", ""},
		"held":        {recipeWith(step("one", "fail"), "", ""), &key, "build: web one: exit code 3", ""},
		"cancelled":   {recipeWith(step("one", "hang"), "", ""), nil, "cancelled on request", "hang"},
		"reboots":     {recipeWith("          - {name: one, action: Reboot}\n"+step("two", "fail"), "", ""), nil, "build: web two", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, g := builderCloud(t)
			before := c.everything()
			state := "failed"
			if tc.cancelAt != "" {
				state = "cancelled"
				go func() {
					for !strings.Contains(strings.Join(g.ran(), "|"), tc.cancelAt) {
						if t.Context().Err() != nil {
							return
						}
					}
					if builds, err := c.DescribeBuilds(t.Context(), &bundttypes.DescribeBuildsInput{Filters: []ec2types.Filter{{Name: new("recipe-name"), Values: []string{"web"}}}}); err == nil {
						_, _ = c.CancelBuild(t.Context(), &bundttypes.CancelBuildInput{BuildId: &builds.Builds[0].BuildId})
					}
				}()
			}
			b := c.built(tc.fsys, tc.hold)
			if b.State != state || b.StateReason == nil || !strings.Contains(b.StateReason.Message, tc.message) {
				t.Fatalf("%s: %+v", b.State, b.StateReason)
			}
			if b.HeldInstanceId != "" {
				t.Error("an instance is held after the build's end")
			}
			_, err := c.ClearBuildCache(t.Context(), &bundttypes.ClearBuildCacheInput{}) // of the steps that succeeded
			c.must(err)
			c.until("nothing is left", func() error {
				after := c.everything()
				var kept []string
				for line := range strings.Lines(after) {
					if !strings.HasSuffix(strings.TrimSpace(line), "terminated") { // shown for an hour
						kept = append(kept, line)
					}
				}
				if got := strings.Join(kept, ""); got != before {
					return fmt.Errorf("before:\n%s\nafter:\n%s", before, got)
				}
				return nil
			})
		})
	}
}

func TestBuildRefused(t *testing.T) {
	c, _ := builderCloud(t)
	recipe := func(change ...string) *string {
		text := string(recipeWith(step("one", "ok"), "", "").(fstest.MapFS)["recipe.yaml"].Data)
		return c.upload(fstest.MapFS{"recipe.yaml": {Mode: 0o644, Data: []byte(strings.NewReplacer(change...).Replace(text))}})
	}
	for name, tc := range map[string]struct {
		digest *string
		hold   *string
		code   string
	}{
		"no such parent":  {recipe("image: base", "image: nothing"), nil, "InvalidParameterValue"},
		"no such recipe":  {recipe("image: base", "image: recipe:nothing"), nil, "InvalidParameterValue"},
		"unknown action":  {recipe(`run: "ok"`, "action: S3Download, inputs: {}"), nil, "InvalidRecipe"},
		"unknown output":  {recipe(`run: "ok"`, `run: "{{ build.zero.outputs.stdout }}"`), nil, "InvalidRecipe"},
		"no key":          {recipe(), new("not a key"), "InvalidKey.Format"},
		"files on parent": {recipe("metadata:", "files: [{path: /etc/x, content: y}]\nmetadata:"), nil, "InvalidRecipe"},
	} {
		before := c.everything()
		_, err := c.BuildImage(t.Context(), &bundttypes.BuildImageInput{ContextDigest: tc.digest, Architecture: new("x86_64"), HoldKey: tc.hold})
		if model.CodeOf(err) != tc.code {
			t.Errorf("%s: %v", name, err)
		}
		if after := c.everything(); after != before {
			t.Errorf("%s changed something:\n%s\n%s", name, before, after)
		}
	}
}
