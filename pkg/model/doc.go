// Package model owns the vocabulary of bundt: ids, states and their state
// machines, instance types, and the objects that the store keeps. The words are
// EC2's. It imports no other package of this project, does no I/O, and never
// reads a clock.
package model
