package ec2types

import (
	_ "embed"
	"slices"
	"strings"
)

// names are those of all actions of the EC2 API, version 2016-11-15, sorted:
// what "ec2gen names" prints of the full model.
//
//go:embed names.txt
var names string

var allNames = strings.Fields(names)

// Names returns the names of all actions that EC2 has, with types here or not, sorted.
func Names() []string { return slices.Clone(allNames) }

// IsName reports whether EC2 has an action of that name.
func IsName(name string) bool {
	_, ok := slices.BinarySearch(allNames, name)
	return ok
}
