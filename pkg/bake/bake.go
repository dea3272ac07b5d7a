// Package bake owns the pipeline from a recipe to the layers of an AMI: fetch
// inputs, make the tree, make the disk, verify. Steps are idempotent and cached
// by the digest of what goes into them. It imports pkg/recipe, pkg/disk and
// pkg/model; never the store, the API, a hypervisor or a network.
package bake

import (
	"io/fs"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
)

// Request is what to bake and where to work.
type Request struct {
	Recipe   *recipe.Recipe
	Context  fs.FS // the recipe's directory
	Arch     model.Arch
	CacheDir string // kept between bakes: downloads by digest, finished steps
	WorkDir  string // empty directory for this bake; the caller removes it
	// PackageMirror overrides where distribution packages come from.
	PackageMirror string
	// Progress is told of each step as it starts and ends; may be nil.
	Progress func(Event)
}

// Event is progress of a bake.
type Event struct {
	Step   string // "fetch linux-image-cloud-amd64"
	Detail string
	Done   bool
	Cached bool
}

// Result is a finished bake. The files are in Request.WorkDir.
type Result struct {
	Disks     []DiskFile
	Kernel    string // file, "" when the firmware boots the disk
	Initrd    string // file, "" for none
	Boot      model.Boot
	LoginUser string
	Inputs    []model.Input // every input with its digest, sorted by name
}

// DiskFile is one disk of the AMI as a flat qcow2 file.
type DiskFile struct {
	Device              string
	Path                string
	SizeBytes           int64 // virtual size
	DeleteOnTermination bool
}
