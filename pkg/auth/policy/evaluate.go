package policy

import "slices"

// Request is what documents are asked about: one action on one resource.
type Request struct {
	Action   string // "ec2:RunInstances"
	Resource string // an ARN; "*" where an action is not on a resource
	Keys     Lookup // the condition keys; it may compute them when asked
}

// Decision is what documents say about a request.
type Decision int

// The decisions. Their order is their strength.
const (
	ImplicitDeny Decision = iota // nothing allows it
	Allowed
	ExplicitDeny // something denies it, whatever allows it
)

// String is the decision as IAM's policy simulator names it.
func (d Decision) String() string {
	return [...]string{"implicitDeny", "allowed", "explicitDeny"}[d]
}

// Match is a statement that applies to a request.
type Match struct {
	Document int // which of those asked
	*Statement
}

// Evaluate decides whether documents allow a request, and returns the statements
// that applied. An explicit deny ends the search.
func Evaluate(documents []*Document, r Request) (Decision, []Match) {
	decision := ImplicitDeny
	var matches []Match
	for i, d := range documents {
		for _, s := range d.Statements {
			if !s.applies(r) {
				continue
			}
			matches = append(matches, Match{i, s})
			if !s.Allow {
				return ExplicitDeny, matches
			}
			decision = Allowed
		}
	}
	return decision, matches
}

// applies reports whether a statement is about a request, whoever makes it.
func (s *Statement) applies(r Request) bool {
	onAction := slices.ContainsFunc(s.actions, func(p pattern) bool { return p.matchesFold(r.Action) })
	if onAction == s.notActions {
		return false
	}
	if s.resources != nil {
		on := slices.ContainsFunc(s.resources, func(a arnPattern) bool { return a.matches(r.Resource, r.Keys) })
		if on == s.notResources {
			return false
		}
	}
	return !slices.ContainsFunc(s.conditions, func(c condition) bool { return !c.holds(r.Keys) })
}

// ConditionKeys returns the keys that the document's conditions and variables
// name, sorted, in lower case.
func (d *Document) ConditionKeys() []string {
	var keys []string
	for _, s := range d.Statements {
		for _, c := range s.conditions {
			keys = append(keys, c.key)
		}
		for _, a := range s.resources {
			for _, p := range a {
				for _, part := range p {
					if part.variable != "" {
						keys = append(keys, part.variable)
					}
				}
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// NoKeys is the Lookup of a request without condition keys.
func NoKeys(string) ([]string, bool) { return nil, false }
