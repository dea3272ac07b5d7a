package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

func programs(t *testing.T) map[string]checker {
	t.Helper()
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]checker{"bundt": bundtArgs, "bundtd": bundtdArgs, "make": makeArgs(string(makefile))}
}

// documents are all Markdown files for people, man pages excepted: those are generated.
func documents(t *testing.T) []string {
	t.Helper()
	docs := []string{filepath.Join(root, "README.md")}
	for _, dir := range []string{"docs", "images"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && filepath.Ext(path) == ".md" {
				docs = append(docs, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return docs
}

func TestCommandsOfDocuments(t *testing.T) {
	progs, total := programs(t), 0
	for _, path := range documents(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		problems, n := check(strings.TrimPrefix(path, root+"/"), string(text), progs)
		total += n
		for _, p := range problems {
			t.Error(p)
		}
	}
	if total < 20 {
		t.Errorf("only %d commands were checked: are the blocks still found?", total)
	}
}

// A story is what a stranger does: it builds, goes all the way, and cleans up.
func TestStoriesAreWhole(t *testing.T) {
	for _, name := range []string{"README.md", "docs/tutorial.md"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		script, err := story(name, string(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		cs, err := commands(script)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var seen []string
		for _, c := range cs {
			seen = append(seen, strings.Join(c.words[:min(2, len(c.words))], " "))
		}
		for _, want := range []string{"make build", "bundt build", "bundt run", "bundt ssh", "bundt create-image", "bundt lineage", "bundt rm", "bundt image"} {
			if !slices.Contains(seen, want) {
				t.Errorf("%s: the story has no %q", name, want)
			}
		}
		if !slices.ContainsFunc(seen, func(s string) bool { return strings.HasPrefix(s, "bundtd") }) {
			t.Errorf("%s: the story does not start bundtd", name)
		}
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	for _, path := range documents(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range localLinks(string(text)) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), link)); err != nil {
				t.Errorf("%s links to %s, which is not there", strings.TrimPrefix(path, root+"/"), link)
			}
		}
	}
}

func TestCheckFindsMistakes(t *testing.T) {
	progs := programs(t)
	for _, tt := range []struct{ command, want string }{
		{"bundt frobnicate", "frobnicate"},
		{"bundt image frobnicate", "frobnicate"},
		{"bundt ls --frobnicate", "unknown flag"},
		{"bundt image show", "arguments"},
		{"bundt run tiny extra", "arguments"},
		{"bundt run tiny --count many", "invalid argument"},
		{"bundt run tiny --no-wait --timeout 1s", "no-wait"},
		{`id=$(bundt run tiny --nope)`, "unknown flag"},
		{"bundt ls -o name | while read -r i; do bundt stop; done", "arguments"},
		{"sudo bundtd --nope", "unknown flag"},
		{"bundtd extra", "extra"},
		{"bundtd --shutdown-grace soon", "shutdown-grace"},
		{"make everything", "no target"},
		{"bundt 'ls", "not a shell script"},
	} {
		problems, _ := check("x.md", "```sh\n"+tt.command+"\n```\n", progs)
		if len(problems) != 1 || !strings.Contains(problems[0], tt.want) || !strings.HasPrefix(problems[0], "x.md:2: ") {
			t.Errorf("%s: got %q, want one problem of line 2 with %q", tt.command, problems, tt.want)
		}
	}
}

func TestCheckAcceptsCommands(t *testing.T) {
	progs := programs(t)
	for _, command := range []string{
		"bundt ls", "bundt --help", "bundt run --help", "bundt run tiny --key demo --name web", "bundt completion bash",
		"bundt ssh web -- ls -la --color", `bundt forward "$id" 8080:80 &`, "bin/bundtd --data-dir /tmp/x --public-pool ''",
		"bundtd doctor --json", "make build test", "make VERSION=v1 build", "curl --frobnicate http://127.0.0.1",
	} {
		if problems, _ := check("x.md", "```sh\n"+command+"\n```\n", progs); len(problems) > 0 {
			t.Errorf("%s: %q", command, problems)
		}
	}
}

func TestShellBlocks(t *testing.T) {
	const doc = "# T\n\n```sh\na\n```\n\n" + storyMark + "\n\n```sh\nb\nc\n```\n\n```text\nd\n```\n\n````md\n```sh\ne\n```\n````\n"
	got, err := shellBlocks(doc)
	want := []block{{4, "a\n", false}, {10, "b\nc\n", true}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	script, err := story("x.md", doc)
	if err != nil || script != "set -euo pipefail\n\n# x.md:10\nb\nc\n" {
		t.Errorf("story: got %q, %v", script, err)
	}
	for _, bad := range []string{"```sh\na\n", storyMark + "\ntext\n```sh\na\n```\n", storyMark + "\n", storyMark + "\n```text\na\n```\n"} {
		if _, err := shellBlocks(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
	if _, err := story("x.md", "```sh\na\n```\n"); err == nil {
		t.Error("a story without blocks: no error")
	}
}
