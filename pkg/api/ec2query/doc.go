// Package ec2query owns the Query protocols of AWS: requests are forms (GET or
// POST), answers are XML. EC2 speaks one dialect, STS and IAM another; which
// parameters and elements there are comes from the struct tags of the generated
// types (package ec2types says which), so there is no second definition of any
// shape. https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html
//
// Requests are read strictly: what no member of the action's input is called is
// an UnknownParameter, a parameter may be given once, a value must be of its
// member's type. Items of a list are taken in the order of their numbers, which
// may have gaps. Size, number of parameters and length of lists are bounded, and
// nesting is by the types.
//
// A Codec only turns bytes into an action's input and an output into bytes. It
// imports the generated types, pkg/model and the signature's reasons, and never
// what serves.
package ec2query
