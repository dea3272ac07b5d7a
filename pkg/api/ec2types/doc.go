// Package ec2types owns the types of EC2's API that bundt serves, generated from
// the EC2 API model by hack/ec2gen: the input and output of every action, the
// structures in them, the values of enums, and the table of actions. It has no
// behaviour and imports no other package of this project.
//
// Scalars and structures are pointers, so that an absent member differs from a
// zero one; lists are slices of values. The struct tags carry all that the codecs
// need:
//
//	json       member name in the JSON API
//	query      parameter name in a Query request; items of a list are name.1, name.2 …
//	xml        element name in a Query response; for a list with its items' name
//	required   the request is refused without the member (MissingParameter)
//	enum       name of the enum that the value is of, for EnumValues
//	min, max   bounds of a number
//	sensitive  never to be logged
package ec2types

import "slices"

//go:generate go run ../../../hack/ec2gen generate -service ec2 -model ../../../hack/ec2gen/model.json -types . -client ../../client

// Operation is an action of the EC2 API, or of another service's.
type Operation struct {
	Name      string
	NewInput  func() any // pointer to a zero <Name>Input
	NewOutput func() any // pointer to a zero <Name>Output
	DryRun    bool       // the input has a DryRun member
	Paginated bool       // takes NextToken and MaxResults, returns NextToken
	// IdempotencyTokens are the input's members that make a retry safe.
	IdempotencyTokens []string
}

// Operations returns every EC2 action that there are types for, sorted by name.
func Operations() []Operation { return slices.Clone(operations) }

// OperationByName returns the action of that name.
func OperationByName(name string) (Operation, bool) {
	i, ok := slices.BinarySearchFunc(operations, name, func(o Operation, n string) int {
		switch {
		case o.Name < n:
			return -1
		case o.Name > n:
			return 1
		}
		return 0
	})
	if !ok {
		return Operation{}, false
	}
	return operations[i], true
}

// EnumValues returns the values of the enum of that name, sorted; nil if there is none.
func EnumValues(name string) []string { return slices.Clone(enums[name]) }

// Value returns what p points to, or the zero value if it is nil.
func Value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
