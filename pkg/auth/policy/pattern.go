package policy

import (
	"slices"
	"strings"
	"unicode"
)

// Lookup returns a request's values of a condition key, whose name is in lower
// case; ok is false if the request has no such key.
type Lookup func(key string) (values []string, ok bool)

// The two wildcards among a pattern's characters; no character has these values.
const (
	anyText rune = -1 // *
	anyRune rune = -2 // ?
)

// part is a piece of a pattern: characters and wildcards, or a variable.
type part struct {
	runes    []rune
	variable string // its key in lower case; "" for none
	fallback string // used where the request has no such key
	optional bool   // a fallback is given
}

// pattern is text with wildcards and variables.
type pattern []part

// syntax is what has a meaning in a pattern besides its characters.
type syntax struct{ wildcards, variables bool }

// compile makes a pattern of a text; reason says what is wrong with it.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
func compile(text string, s syntax) (p pattern, reason string) {
	var runes []rune
	for {
		before, rest, found := text, "", false
		if s.variables {
			before, rest, found = strings.Cut(text, "${")
		}
		runes = append(runes, s.runes(before)...)
		if !found {
			return append(p, part{runes: runes}), ""
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, "a policy variable is not closed by }"
		}
		if name == "*" || name == "?" || name == "$" { // the characters themselves
			runes = append(runes, rune(name[0]))
		} else {
			v, reason := variable(name)
			if reason != "" {
				return nil, reason
			}
			p, runes = append(p, part{runes: runes}, v), nil
		}
		text = after
	}
}

func (s syntax) runes(text string) []rune {
	runes := []rune(text)
	for i, r := range runes {
		switch {
		case s.wildcards && r == '*':
			runes[i] = anyText
		case s.wildcards && r == '?':
			runes[i] = anyRune
		}
	}
	return runes
}

// variable parses what stands between ${ and }: a key, and perhaps what to use
// where a request does not have it, as in "aws:username, 'nobody'".
func variable(text string) (v part, reason string) {
	name, fallback, optional := strings.Cut(text, ",")
	v = part{variable: strings.ToLower(strings.TrimSpace(name)), optional: optional}
	if service, key, ok := strings.Cut(v.variable, ":"); !ok || service == "" || key == "" {
		return v, "the policy variable ${" + text + "} does not name a condition key"
	}
	if !optional {
		return v, ""
	}
	fallback = strings.TrimSpace(fallback)
	if len(fallback) < 2 || fallback[0] != '\'' || fallback[len(fallback)-1] != '\'' {
		return v, "the default value of the policy variable ${" + text + "} must stand in single quotes"
	}
	v.fallback = fallback[1 : len(fallback)-1]
	return v, ""
}

// matches reports whether the pattern matches all of a text. A variable that the
// request does not have, or has many values of, matches nothing.
func (p pattern) matches(text string, vars Lookup) bool {
	runes, ok := p.expand(vars)
	return ok && wildcard(runes, []rune(text))
}

// matchesFold is matches for a pattern without variables, whatever the case.
func (p pattern) matchesFold(text string) bool {
	return wildcard(fold(p[0].runes), fold([]rune(text)))
}

func fold(runes []rune) []rune {
	runes = slices.Clone(runes)
	for i, r := range runes {
		runes[i] = unicode.ToLower(r)
	}
	return runes
}

// expand replaces the variables by their values, in which nothing is a wildcard.
func (p pattern) expand(vars Lookup) ([]rune, bool) {
	if len(p) == 1 {
		return p[0].runes, true
	}
	var runes []rune
	for _, part := range p {
		if part.variable == "" {
			runes = append(runes, part.runes...)
			continue
		}
		values, ok := vars(part.variable)
		switch {
		case ok && len(values) == 1:
			runes = append(runes, []rune(values[0])...)
		case !ok && part.optional:
			runes = append(runes, []rune(part.fallback)...)
		default:
			return nil, false
		}
	}
	return runes, true
}

// wildcard reports whether a pattern of characters and wildcards matches all of a
// text. On a mismatch it goes back to the last * only, and lets that take one
// character more: time is bounded by the product of the lengths.
func wildcard(pattern, text []rune) bool {
	p, t := 0, 0
	star, taken := -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == anyText:
			star, taken = p, t
			p++
		case p < len(pattern) && (pattern[p] == anyRune || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			taken++
			p, t = star+1, taken
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == anyText {
		p++
	}
	return p == len(pattern)
}

// arnFields is how many fields an ARN has; the last may hold colons.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
const arnFields = 6

// arnPattern matches ARNs field by field: a wildcard does not reach over a colon,
// but in the last field. One that is nil matches everything.
type arnPattern []pattern

// compileARN makes a pattern of an ARN or "*". Fields that are left out at the
// end match everything.
func compileARN(text string, s syntax) (a arnPattern, reason string) {
	if text == "*" {
		return nil, ""
	}
	fields := splitARN(text)
	if fields[0] != "arn" || len(fields) < 3 {
		return nil, "must be in ARN format or \"*\""
	}
	for _, f := range fields {
		p, reason := compile(f, s)
		if reason != "" {
			return nil, reason
		}
		a = append(a, p)
	}
	for len(a) < arnFields {
		a = append(a, pattern{{runes: []rune{anyText}}})
	}
	return a, ""
}

// splitARN splits at the first colons that are not inside of a variable.
func splitARN(text string) []string {
	var fields []string
	start, inside := 0, false
	for i := range len(text) {
		switch {
		case strings.HasPrefix(text[i:], "${"):
			inside = true
		case text[i] == '}':
			inside = false
		case text[i] == ':' && !inside && len(fields) < arnFields-1:
			fields = append(fields, text[start:i])
			start = i + 1
		}
	}
	return append(fields, text[start:])
}

func (a arnPattern) matches(arn string, vars Lookup) bool {
	if a == nil {
		return true
	}
	fields := strings.SplitN(arn, ":", arnFields)
	if len(fields) != arnFields {
		return false
	}
	for i, p := range a {
		if !p.matches(fields[i], vars) {
			return false
		}
	}
	return true
}
