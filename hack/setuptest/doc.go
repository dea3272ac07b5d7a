// Package setuptest tests hack/setup on distributions that are made up of a few
// files.
package setuptest
