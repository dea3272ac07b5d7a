package bake

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/disk"
)

// modules are the kernel modules of a package or a tree. Names are written with
// underscores, as the kernel does.
type modules struct {
	paths   map[string]string // name -> path in the tree
	builtin map[string]bool
	depends func(name string) ([]string, error)
}

func moduleName(file string) string {
	base, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(base, "-", "_")
}

// closure returns the wanted modules and all they depend on, sorted. A module
// that is built into the kernel is no error.
func (m modules) closure(wanted []string) ([]string, error) {
	found := map[string]bool{}
	var errs []error
	var visit func(name, from string)
	visit = func(name, from string) {
		name = strings.ReplaceAll(name, "-", "_")
		if found[name] || m.builtin[name] {
			return
		}
		if _, ok := m.paths[name]; !ok {
			errs = append(errs, fmt.Errorf("there is no kernel module %s%s", name, from))
			return
		}
		found[name] = true
		deps, err := m.depends(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("reading module %s: %w", name, err))
		}
		for _, d := range deps {
			visit(d, " (which "+name+" depends on)")
		}
	}
	for _, w := range wanted {
		visit(w, "")
	}
	names := make([]string, 0, len(found))
	for n := range found {
		names = append(names, n)
	}
	slices.Sort(names)
	return names, errors.Join(errs...)
}

// treeModules finds the modules below /lib/modules of a tree.
func treeModules(tree *disk.Tree) (modules, error) {
	m := modules{paths: map[string]string{}, builtin: map[string]bool{}}
	for _, p := range tree.Paths() {
		e, _ := tree.Lookup(p)
		if !strings.HasPrefix(p, "/lib/modules/") || !e.Mode.IsRegular() {
			continue
		}
		switch {
		case path.Base(p) == "modules.builtin":
			b, err := os.ReadFile(e.File)
			if err != nil {
				return m, err
			}
			addBuiltin(m.builtin, b)
		case strings.HasSuffix(p, ".ko"):
			m.paths[moduleName(p)] = p
		}
	}
	m.depends = func(name string) ([]string, error) {
		e, _ := tree.Lookup(m.paths[name])
		b, err := os.ReadFile(e.File)
		if err != nil {
			return nil, err
		}
		return moduleDepends(b)
	}
	return m, nil
}

// addBuiltin reads a modules.builtin file: one path a line.
func addBuiltin(to map[string]bool, list []byte) {
	for s := bufio.NewScanner(bytes.NewReader(list)); s.Scan(); {
		if line := strings.TrimSpace(s.Text()); line != "" {
			to[moduleName(line)] = true
		}
	}
}

// moduleDepends reads what a module says it depends on (modinfo's "depends").
func moduleDepends(image []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, fmt.Errorf("not a kernel module: %w", err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("not a kernel module: it has no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for entry := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
