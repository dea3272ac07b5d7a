// Package policy owns IAM's JSON policy language: parsing documents strictly,
// with the position of what is wrong, and deciding whether documents allow a
// request. It is pure: it imports no other package of this project, reads no
// clock and keeps no state.
//
// The language:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
// How a decision is made:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
package policy
