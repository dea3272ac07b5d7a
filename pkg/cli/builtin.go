package cli

import (
	"io/fs"

	"github.com/bundt/bundt/images"
)

// builtIn are the recipes that this program carries.
type builtIn struct{}

func (builtIn) Names() []string { return images.Names() }

func (builtIn) FS(name string) (fs.FS, error) { return images.FS(name) }
