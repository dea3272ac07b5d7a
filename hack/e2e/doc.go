// Package e2e holds the tests of the whole: real binaries, real machines, in a
// network namespace that has nothing but loopback. They are built with the tag
// vm and never skip.
package e2e
