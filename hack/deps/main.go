// Command deps keeps docs/dependencies.md true: its table names exactly the
// modules that this project's own code imports, tests included, with the version
// of go.mod and the licence found in the module.
//
//	go run ./hack/deps       print the table as it should be
//	go run ./hack/deps -w    write it into docs/dependencies.md
//
// What a module is for and why it is used is written by people, and kept.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

const document = "docs/dependencies.md"

func main() {
	write := flag.Bool("w", false, "write the table into "+document)
	flag.Parse()
	if err := run(".", *write); err != nil {
		fmt.Fprintln(os.Stderr, "deps:", err)
		os.Exit(1)
	}
}

func run(root string, write bool) error {
	path := filepath.Join(root, document)
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err := updated(root, string(old))
	if err != nil {
		return err
	}
	if !write {
		_, err := fmt.Print(text)
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// updated is the document with its table made anew.
func updated(root, text string) (string, error) {
	modules, err := directModules(root)
	if err != nil {
		return "", err
	}
	t, err := findTable(text)
	if err != nil {
		return "", err
	}
	for i, m := range modules {
		modules[i].words = t.words[m.path]
	}
	return t.before + render(modules) + t.after, nil
}
