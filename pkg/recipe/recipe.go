// Package recipe owns recipe files: their format (v1), strict parsing with
// line-numbered errors, the JSON Schema for editors, the lock file, and digests.
// It is pure: it reads what it is given and touches neither disk nor network. It
// may import pkg/model only.
package recipe

// Recipe is a parsed recipe file.
type Recipe struct{}
