package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// module is a row of the table.
type module struct {
	path, version, licence string
	words                  []string // the columns that people write
}

type goModule struct {
	Path, Version, Dir string
	Main               bool
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Module     *goModule
}

// directModules returns the modules whose packages this project's code imports,
// by path. Every build tag of the tests counts.
func directModules(root string) ([]module, error) {
	cmd := exec.Command("go", "list", "-deps", "-test", "-tags", "vm,libvirt,libvirt_dlopen", "-json=ImportPath,Imports,Module", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing packages: %w\n%s", err, &stderr)
	}
	owner := map[string]*goModule{}
	imported := map[string]bool{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("reading the list of packages: %w", err)
		}
		if p.Module == nil {
			continue // the standard library
		}
		owner[plain(p.ImportPath)] = p.Module
		if p.Module.Main {
			for _, i := range p.Imports {
				imported[plain(i)] = true
			}
		}
	}
	found := map[string]module{}
	for path := range imported {
		m := owner[path]
		if m == nil || m.Main {
			continue
		}
		licence, err := licenceOf(m.Dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Path, err)
		}
		found[m.Path] = module{path: m.Path, version: m.Version, licence: licence}
	}
	var list []module
	for _, m := range found {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b module) int { return strings.Compare(a.path, b.path) })
	return list, nil
}

// plain is an import path without the test that it was built for: "p [q.test]".
func plain(importPath string) string {
	path, _, _ := strings.Cut(importPath, " ")
	return path
}

// licences are told by a sentence that only they have. The order matters: the
// three-clause BSD licence has the sentences of the two-clause one.
var licences = []struct{ spdx, sentence string }{
	{"Apache-2.0", "Apache License Version 2.0"},
	{"MPL-2.0", "Mozilla Public License Version 2.0"},
	{"MIT", "Permission is hereby granted, free of charge, to any person obtaining a copy"},
	{"ISC", "Permission to use, copy, modify, and/or distribute this software for any purpose"},
	{"ISC", "Permission to use, copy, modify, and distribute this software for any purpose"}, // as OpenBSD has it
	{"BSD-3-Clause", "Neither the name"},
	{"BSD-2-Clause", "Redistributions in binary form must reproduce the above copyright"},
}

// licenceOf returns the SPDX name of the licence in a module's directory.
func licenceOf(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "[Ll][Ii][Cc][Ee][Nn][SsCc][Ee]*"))
	if err != nil {
		return "", err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		words := bare(string(text))
		for _, l := range licences {
			if strings.Contains(words, bare(l.sentence)) {
				return l.spdx, nil
			}
		}
	}
	return "", fmt.Errorf("no licence that this program knows in %s", dir)
}

// bare is a text's words alone: licences come wrapped and marked up.
func bare(text string) string {
	isMark := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	return strings.Join(strings.FieldsFunc(strings.ToLower(text), isMark), " ")
}
