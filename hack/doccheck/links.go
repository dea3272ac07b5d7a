package main

import (
	"regexp"
	"strings"
)

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// localLinks returns the files that a Markdown document links to, without
// fragments, as written: relative to the document.
func localLinks(markdown string) []string {
	var out []string
	for _, m := range link.FindAllStringSubmatch(markdown, -1) {
		target, _, _ := strings.Cut(m[1], "#")
		if target != "" && !strings.Contains(target, "://") && !strings.HasPrefix(target, "mailto:") {
			out = append(out, target)
		}
	}
	return out
}
