package cli

import "io/fs"

// builtIn are the recipes that this program carries: none yet.
type builtIn struct{}

func (builtIn) Names() []string { return nil }

func (builtIn) FS(name string) (fs.FS, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}
