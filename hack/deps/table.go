package main

import (
	"fmt"
	"strings"
)

const (
	header = "| Module | Version | Licence | For | Why not our own |"
	rule   = "|---|---|---|---|---|"
)

// table is the document's table of modules and what is around it.
type table struct {
	before, after string
	rows          []module
	words         map[string][]string // what people wrote, by module
}

func findTable(text string) (table, error) {
	t := table{words: map[string][]string{}}
	at := strings.Index(text, header+"\n")
	if at < 0 {
		return t, fmt.Errorf("%s has no table headed %q", document, header)
	}
	t.before = text[:at]
	rest := text[at:]
	for rest != "" && rest[0] == '|' {
		line, tail, _ := strings.Cut(rest, "\n")
		rest = tail
		if line == header || line == rule {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 5 {
			return t, fmt.Errorf("%s: %q has %d columns, not 5", document, line, len(cells))
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		m := module{path: strings.Trim(cells[0], "`"), version: cells[1], licence: cells[2], words: cells[3:]}
		t.rows = append(t.rows, m)
		t.words[m.path] = m.words
	}
	t.after = rest
	return t, nil
}

func render(modules []module) string {
	var b strings.Builder
	fmt.Fprintln(&b, header)
	fmt.Fprintln(&b, rule)
	for _, m := range modules {
		words := m.words
		if len(words) != 2 {
			words = []string{"", ""}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.path, m.version, m.licence, words[0], words[1])
	}
	return b.String()
}
