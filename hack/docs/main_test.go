package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const committed = "../../docs/man"

func TestManPagesAreUpToDate(t *testing.T) {
	fresh := t.TempDir()
	if err := writeManPages(fresh); err != nil {
		t.Fatal(err)
	}
	want, have := pages(t, fresh), pages(t, committed)
	for name, text := range want {
		if have[name] != text {
			t.Errorf("docs/man/%s is out of date; run: make docs", name)
		}
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			t.Errorf("docs/man/%s is of no command; run: make docs", name)
		}
	}
	if len(want) < 20 {
		t.Errorf("only %d man pages were made", len(want))
	}
}

func pages(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(f)] = string(b)
	}
	return texts
}

func TestCompletionsParse(t *testing.T) {
	dir := t.TempDir()
	if err := writeCompletions(dir); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("bash", "-n", filepath.Join(dir, "bundt.bash")).CombinedOutput(); err != nil {
		t.Errorf("bash refuses its completions: %v\n%s", err, out)
	}
	for _, name := range []string{"_bundt", "bundt.fish"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("no completions in %s: %v", name, err)
		}
	}
}
