// Package monitoringtypes owns the types of the part of CloudWatch's API that bundt serves,
// generated from the CloudWatch API model by hack/ec2gen, as package ec2types says of
// EC2's. It has no behaviour and imports nothing of this project but ec2types.
package monitoringtypes

import (
	"slices"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

//go:generate go run ../../../hack/ec2gen generate -service monitoring -model ../../../hack/ec2gen/monitoring/model.json -types . -client ../../client

// Operations returns every CloudWatch action that there are types for, sorted by name.
func Operations() []ec2types.Operation { return slices.Clone(operations) }

// EnumValues returns the values of the enum of that name, sorted; nil if there is none.
func EnumValues(name string) []string { return slices.Clone(enums[name]) }
