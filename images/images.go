// Package images embeds the recipes that come with bundt, so that the binaries
// need no files beside them. It imports no package of this project.
package images

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed all:tiny all:boot-sector all:debian-12-offline
//go:embed debian-12 debian-13 ubuntu-24.04 fedora-44 alpine-3.24 rocky-9
var files embed.FS

// Names lists the recipes, sorted.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // the embedded root is always there
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// FS returns a recipe's directory: its context.
func FS(name string) (fs.FS, error) {
	if fi, err := fs.Stat(files, name); err != nil || !fi.IsDir() || name == "." || strings.Contains(name, "/") {
		return nil, fmt.Errorf("there is no recipe %q here; there are %s", name, strings.Join(Names(), ", "))
	}
	return fs.Sub(files, name)
}
