package boot

import (
	"bytes"
	"debug/elf"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// LoadModules loads every kernel module below dir, each after those it depends
// on, as their .modinfo sections say: the images carry only modules that they
// need, and no index files.
func LoadModules(dir string) {
	files := map[string]string{}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".ko") {
			files[moduleName(strings.TrimSuffix(filepath.Base(path), ".ko"))] = path
		}
		return nil
	})
	loaded := map[string]bool{}
	var load func(name string)
	load = func(name string) {
		path, ok := files[name]
		if !ok || loaded[name] {
			return
		}
		loaded[name] = true
		if _, err := os.Stat("/sys/module/" + name + "/initstate"); err == nil {
			return // by the first stage
		}
		image, err := os.ReadFile(path)
		if err != nil {
			Logf("module %s: %v", name, err)
			return
		}
		for _, dep := range moduleDepends(image) {
			load(dep)
		}
		if err := unix.InitModule(image, ""); err != nil && err != unix.EEXIST {
			// ENODEV: the driver's hardware is not in this machine.
			if err != unix.ENODEV {
				Logf("module %s: %v", name, err)
			}
		}
	}
	for name := range files {
		load(name)
	}
}

func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

func moduleDepends(image []byte) []string {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil
	}
	info, err := section.Data()
	if err != nil {
		return nil
	}
	for entry := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			deps := strings.Split(list, ",")
			for i := range deps {
				deps[i] = moduleName(deps[i])
			}
			return deps
		}
	}
	return nil
}
