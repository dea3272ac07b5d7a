package main

import (
	"os"
	"path/filepath"
	"testing"
)

const root = "../.."

func TestDocumentListsWhatIsImported(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, document))
	if err != nil {
		t.Fatal(err)
	}
	want, err := updated(root, string(text))
	if err != nil {
		t.Fatal(err)
	}
	if want != string(text) {
		explain(t, string(text), want)
		t.Fatal("bring it up to date with: go run ./hack/deps -w")
	}
	table, err := findTable(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(table.rows) == 0 {
		t.Error("no module is listed")
	}
	for _, m := range table.rows {
		if m.words[0] == "" || m.words[1] == "" {
			t.Errorf("%s: say what it is for and why it is used instead of code of our own", m.path)
		}
	}
}

// explain reports the rows that differ.
func explain(t *testing.T, have, want string) {
	t.Helper()
	old, err := findTable(have)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := findTable(want)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]module{}
	for _, m := range old.rows {
		listed[m.path] = m
	}
	for _, m := range fresh.rows {
		o, ok := listed[m.path]
		delete(listed, m.path)
		switch {
		case !ok:
			t.Errorf("%s %s (%s) is imported and not listed", m.path, m.version, m.licence)
		case o.version != m.version || o.licence != m.licence:
			t.Errorf("%s is listed as %s (%s) and is %s (%s)", m.path, o.version, o.licence, m.version, m.licence)
		}
	}
	for path := range listed {
		t.Errorf("%s is listed and not imported", path)
	}
}

func TestLicenceOf(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"LICENSE":     {"Apache License\n==============\n\n_Version 2.0, January 2004_", "Apache-2.0"},
		"LICENSE.md":  {"Permission is hereby granted, free of charge, to any\nperson obtaining a copy", "MIT"},
		"LICENSE.txt": {"Redistributions in binary form must reproduce the above copyright notice. Neither the name of X", "BSD-3-Clause"},
		"LICENCE":     {"Redistributions in binary form must reproduce the above copyright notice.", "BSD-2-Clause"},
		"License":     {"Nobody may use this.", ""},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := licenceOf(dir)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, tt.want)
		}
	}
}

func TestTableKeepsWhatPeopleWrote(t *testing.T) {
	const doc = "before\n\n" + header + "\n" + rule + "\n| `a` | v1 | MIT | for a | because |\n| `gone` | v1 | MIT | x | y |\n\nafter\n"
	table, err := findTable(doc)
	if err != nil {
		t.Fatal(err)
	}
	list := []module{{path: "a", version: "v2", licence: "MIT", words: table.words["a"]}, {path: "b", version: "v1", licence: "MIT"}}
	got := table.before + render(list) + table.after
	want := "before\n\n" + header + "\n" + rule + "\n| `a` | v2 | MIT | for a | because |\n| `b` | v1 | MIT |  |  |\n\nafter\n"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	for _, bad := range []string{"no table\n", header + "\n" + rule + "\n| a | b |\n"} {
		if _, err := findTable(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
