//go:build vm

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocumentsStories runs the commands of the README and of the tutorial as a
// reader would type them, on a data directory of the test's own.
func TestDocumentsStories(t *testing.T) {
	root, err := filepath.Abs("../..")
	must(t, err)
	for _, file := range []string{"README.md", "docs/tutorial.md"} {
		t.Run(file, func(t *testing.T) {
			d := newDaemon(t)
			d.Stop() // the story starts its own
			show := exec.Command(tool("doccheck"), "story", file)
			show.Dir = root
			var why strings.Builder
			show.Stderr = &why
			story, err := show.Output()
			if err != nil {
				t.Fatalf("reading the story: %v: %s", err, why.String())
			}
			script := filepath.Join(d.Dir, "story.sh")
			prelude := "bundtd() { exec " + strings.Join(d.Command().Args, " ") + " \"$@\"; }\n"
			must(t, os.WriteFile(script, []byte(prelude+withoutSetup(string(story))), 0o600))
			cmd := exec.CommandContext(t.Context(), "bash", script)
			cmd.Dir = root
			cmd.Env = append(os.Environ(), "BUNDT_SOCKET="+d.Socket(), "XDG_DATA_HOME="+filepath.Join(d.Dir, "home"), "HOME="+d.Dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			must(t, d.Start(t.Context()))
			d.nothingLeft(t)
		})
	}
}

// withoutSetup drops the lines that make test has done already.
func withoutSetup(story string) string {
	var out strings.Builder
	for line := range strings.Lines(story) {
		if s := strings.TrimSpace(line); s == "make build" || strings.HasPrefix(s, "hack/setup") {
			continue
		}
		out.WriteString(line)
	}
	return out.String()
}
