//go:build vm

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

// recipeOf writes a recipe that builds on tiny, with a component document beside it.
func recipeOf(t *testing.T, name, validate string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	must(t, os.Mkdir(dir, 0o755))
	write := func(file, text string) { must(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600)) }
	write("recipe.yaml", `apiVersion: bundt/v1
name: `+name+`
version: 1.0.0
architectures: [x86_64]
source: {image: "recipe:tiny"}
components:
  - name: web
    phases:
      - name: build
        steps:
          - {name: page, run: "mkdir -p /var/www\necho hello > /var/www/hello.html\nuname -r"}
          - {name: restart, action: Reboot}
          - {name: kernel, run: "echo 'the kernel of build: {{ build.page.outputs.stdout }}' > /etc/kernel-note"}
      - name: validate
        steps:
          - {name: page, run: "`+validate+`"}
          - {name: there, action: Assert, inputs: {fileExists: /var/www/hello.html}}
      - name: test
        steps:
          - {name: note, run: "grep 'kernel of build: [0-9]' /etc/kernel-note"}
  - name: doc
    document: doc.yaml
    parameters: {Greeting: "it's me"}
`)
	write("doc.yaml", `name: Greeting
schemaVersion: 1.0
parameters:
  - Greeting: {type: string}
phases:
  - name: build
    steps:
      - name: greet
        action: CreateFile
        inputs:
          - {path: /etc/greeting, content: "{{ Greeting }}", permissions: 640}
  - name: test
    steps:
      - name: greeted
        action: ExecuteBash
        inputs:
          commands: ["grep 'it.s me' /etc/greeting"]
`)
	return dir
}

// onlyTiny checks that a build has left no image, snapshot, instance or volume.
func (d daemon) onlyTiny(t *testing.T) {
	t.Helper()
	eventually(t, "nothing of the build is left", func() error {
		images, err := d.API.DescribeImages(t.Context(), &ec2types.DescribeImagesInput{Owners: []string{"self"}})
		if err != nil {
			return err
		}
		snapshots, err := d.API.DescribeSnapshots(t.Context(), &ec2types.DescribeSnapshotsInput{})
		if err != nil {
			return err
		}
		volumes, err := d.API.DescribeVolumes(t.Context(), &ec2types.DescribeVolumesInput{})
		if err == nil && (len(images.Images) != 1 || len(snapshots.Snapshots) != 1 || len(volumes.Volumes) != 0) {
			err = fmt.Errorf("%d images, %d snapshots, %d volumes", len(images.Images), len(snapshots.Snapshots), len(volumes.Volumes))
		}
		return err
	})
	d.nothingLeft(t)
}

// TestBuildOnParent builds on an image by components of both kinds, and launches what
// comes of it, which has an identity of its own.
func TestBuildOnParent(t *testing.T) {
	d := newDaemon(t)
	d.build(t, "tiny", "x86_64")
	image := strings.TrimSpace(d.cli(t, "build", recipeOf(t, "web", "grep hello /var/www/hello.html")))
	build := d.cli(t, "build", "ls", "-o", "json", "--query", "[?RecipeName=='web'].BuildId|[0]")
	logs := d.cli(t, "build", "logs", strings.Trim(build, "\" \n"))
	for _, want := range []string{"== 1: image: launch build instance", "build: web page\n6.", "validate: web page\nhello", "test: web note\nthe kernel of build: 6."} {
		if !strings.Contains(logs, want) {
			t.Errorf("the logs have no %q:\n%s", want, logs)
		}
	}
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", key)
	id := strings.TrimSpace(d.cli(t, "run", image, "--key", "k", "-o", "name"))
	out := d.cli(t, "ssh", "-i", key, id, "--", "cat /var/www/hello.html /etc/greeting; ls -l /etc/greeting; grep -c 'bundt build' /root/.ssh/authorized_keys || true")
	for _, want := range []string{"hello", "it's me", "-rw-r-----"} {
		if !strings.Contains(out, want) {
			t.Errorf("the guest has no %q: %s", want, out)
		}
	}
	if !strings.HasSuffix(strings.TrimSpace(out), "\n0") {
		t.Errorf("the build's key is in the image: %s", out)
	}
	if again := strings.TrimSpace(d.cli(t, "build", recipeOf(t, "web", "grep hello /var/www/hello.html"))); again != image {
		t.Errorf("the same recipe gave %s and %s", image, again)
	}
	if out := d.cli(t, "lineage"); !strings.Contains(out, image) {
		t.Errorf("the lineage is %s", out)
	}
}

// TestBuildFromCache: a second build on the same parent does not run again what the
// first one did, is faster for it, and has nothing of the first one's identity in it.
func TestBuildFromCache(t *testing.T) {
	d := newDaemon(t)
	d.build(t, "tiny", "x86_64")
	dir := recipeOf(t, "web", "grep hello /var/www/hello.html")
	file := filepath.Join(dir, "recipe.yaml")
	text, err := os.ReadFile(file)
	must(t, err)
	// What takes its time: the first component, as an installation would.
	slow := strings.Replace(string(text), "mkdir -p /var/www", "sleep 20\\nmkdir -p /var/www", 1)
	took := map[string]time.Duration{}
	image := ""
	for _, version := range []string{"1.0.0", "1.0.1"} {
		must(t, os.WriteFile(file, []byte(strings.Replace(slow, "version: 1.0.0", "version: "+version, 1)), 0o600))
		begin := time.Now()
		image = strings.TrimSpace(d.cli(t, "build", dir))
		took[version] = time.Since(begin)
	}
	t.Logf("cold %s, from the cache %s", took["1.0.0"], took["1.0.1"])
	if took["1.0.1"] > took["1.0.0"]-20*time.Second {
		t.Errorf("the second build took %s, the first %s", took["1.0.1"], took["1.0.0"])
	}
	steps := d.cli(t, "build", "ls", "-o", "json", "--query", "[?RecipeVersion=='1.0.1'].Steps[]|[?Cached].Name")
	for _, want := range []string{"web page", "web restart", "web kernel", "doc greet"} {
		if !strings.Contains(steps, want) {
			t.Errorf("%q is not from the cache: %s", want, steps)
		}
	}
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", key)
	id := strings.TrimSpace(d.cli(t, "run", image, "--key", "k", "-o", "name"))
	out := d.cli(t, "ssh", "-i", key, id, "--", "cat /var/www/hello.html /etc/greeting /etc/kernel-note; grep -c 'bundt build' /root/.ssh/authorized_keys || true")
	for _, want := range []string{"hello", "it's me", "kernel of build: 6."} {
		if !strings.Contains(out, want) {
			t.Errorf("the guest has no %q: %s", want, out)
		}
	}
	if !strings.HasSuffix(strings.TrimSpace(out), "\n0") {
		t.Errorf("a build's key is in the image: %s", out)
	}
	d.cli(t, "rm", id)

	// Killed while it keeps what the first component did, or just before or after.
	slower := strings.Replace(slow, "sleep 20", "sleep 3", 1)
	must(t, os.WriteFile(file, []byte(strings.Replace(slower, "version: 1.0.0", "version: 1.0.2", 1)), 0o600))
	d.cli(t, "build", dir, "--no-wait")
	build := d.underWay(t)
	eventually(t, "it keeps the first component", func() error {
		out, err := d.API.DescribeBuilds(t.Context(), &bundttypes.DescribeBuildsInput{BuildIds: []string{build}})
		if err != nil {
			return err
		}
		if s := out.Builds[0].Steps; len(s) == 0 || s[len(s)-1].Name != "keep web" && s[len(s)-1].Name != "doc greet" {
			return fmt.Errorf("it does %+v", s)
		}
		return nil
	})
	d.Kill()
	must(t, d.Start(t.Context()))
	d.ended(t, build, "available")
	for _, version := range []string{"1.0.0", "1.0.1", "1.0.2"} {
		d.cli(t, "image", "delete", "web-"+version+"-x86_64")
	}
	d.cli(t, "build", "cache", "clear")
	d.onlyTiny(t)
}

// TestBuildFails: what a failed or cancelled build, or one whose daemon was killed,
// has made is gone; the instance in which it failed can be seen before that.
func TestBuildFails(t *testing.T) {
	d := newDaemon(t)
	d.build(t, "tiny", "x86_64")
	dir := recipeOf(t, "fails", "echo searching; grep bye /var/www/hello.html")
	out, err := d.Bundt(t.Context(), "build", dir)
	if err == nil || !strings.Contains(err.Error(), "validate: web page: exit code 1: searching") {
		t.Fatalf("it did not fail as it should: %s, %v", out, err)
	}
	d.onlyTiny(t)

	// With a shell, whose input is here: the user looks, and logs out.
	cmd := d.CLI(t.Context(), "build", dir, "--shell-on-failure")
	cmd.Stdin = strings.NewReader("cat /var/www/hello.html | sed s/hello/seen/\nexit\n")
	seen, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(seen), "seen") || !strings.Contains(string(seen), "exit code 1") {
		t.Errorf("the shell shows %s, %v", seen, err)
	}
	d.onlyTiny(t)

	// Cancelled in a step that would take long.
	slow := recipeOf(t, "slow", "sleep 600")
	begin := func() string {
		d.cli(t, "build", slow, "--no-wait")
		id := d.underWay(t)
		eventually(t, "it sleeps", func() error {
			out, err := d.API.DescribeBuilds(t.Context(), &bundttypes.DescribeBuildsInput{BuildIds: []string{id}})
			if err != nil {
				return err
			}
			if steps := out.Builds[0].Steps; len(steps) == 0 || steps[len(steps)-1].Phase != "validate" {
				return fmt.Errorf("it does %+v", steps)
			}
			return nil
		})
		return id
	}
	id := begin()
	d.cli(t, "build", "cancel", id)
	d.ended(t, id, "cancelled")
	d.onlyTiny(t)

	// Killed, and cancelled when it is back: it begins again before that.
	id = begin()
	d.Kill()
	must(t, d.Start(t.Context()))
	d.cli(t, "build", "cancel", id)
	d.ended(t, id, "cancelled")
	d.onlyTiny(t)
}

// underWay is the build that is not over.
func (d daemon) underWay(t *testing.T) string {
	t.Helper()
	out, err := d.API.DescribeBuilds(t.Context(), &bundttypes.DescribeBuildsInput{})
	must(t, err)
	for _, b := range out.Builds {
		if b.State == "pending" || b.State == "running" {
			return b.BuildId
		}
	}
	t.Fatal("no build is under way")
	return ""
}

func (d daemon) ended(t *testing.T, build, state string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	last := ""
	for b, err := range d.API.WatchBuild(ctx, &bundttypes.WatchBuildInput{BuildId: &build}) {
		must(t, err)
		last = b.State
	}
	if last != state {
		t.Errorf("the build %s is %s, not %s", build, last, state)
	}
}
