package main

import (
	"fmt"
	"strings"
)

// storyMark stands before each block that is part of a document's runnable story.
const storyMark = "<!-- test:story -->"

// block is a fenced block of shell commands.
type block struct {
	line  int // of its first command, from 1
	text  string
	story bool
}

// shellBlocks returns the ```sh blocks of a Markdown document in order.
func shellBlocks(markdown string) ([]block, error) {
	var out []block
	var open *block // nil outside of ```sh
	fence := ""     // "" outside of any block
	marked := 0     // line of a mark that awaits its block
	n := 0
	for line := range strings.Lines(markdown) {
		n++
		trimmed := strings.TrimSpace(line)
		switch {
		case fence != "" && trimmed == fence:
			if open != nil {
				out = append(out, *open)
			}
			open, fence = nil, ""
		case fence != "":
			if open != nil {
				open.text += line
			}
		case strings.HasPrefix(trimmed, "```"):
			info := strings.TrimLeft(trimmed, "`")
			fence = trimmed[:len(trimmed)-len(info)]
			if info == "sh" {
				open = &block{line: n + 1, story: marked != 0}
				marked = 0
			}
		case trimmed == storyMark:
			marked = n
			continue
		}
		if marked != 0 && trimmed != "" {
			return nil, fmt.Errorf("line %d: %s must stand right before a ```sh block", marked, storyMark)
		}
	}
	switch {
	case fence != "":
		return nil, fmt.Errorf("the last block is not closed")
	case marked != 0:
		return nil, fmt.Errorf("line %d: %s has no block", marked, storyMark)
	}
	return out, nil
}

// story is the script that a document's marked blocks are together. Like a
// reader, it stops at the first command that fails.
func story(name, markdown string) (string, error) {
	blocks, err := shellBlocks(markdown)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("set -euo pipefail\n")
	any := false
	for _, bl := range blocks {
		if !bl.story {
			continue
		}
		any = true
		fmt.Fprintf(&b, "\n# %s:%d\n%s", name, bl.line, bl.text)
	}
	if !any {
		return "", fmt.Errorf("no block is marked by %s", storyMark)
	}
	return b.String(), nil
}
