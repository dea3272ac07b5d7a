package api

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// maxFilterValues is EC2's limit on the values of all filters of one request.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
const maxFilterValues = 200

// FilterBy says what an action's filters compare: for each filter's name, the
// values that an object has. Tags, if not nil, adds the filters tag:KEY and tag-key.
type FilterBy[T any] struct {
	Names map[string]func(T) []string
	Tags  func(T) model.Tags
}

// MatchFilters returns a function that reports whether an object passes all
// filters: one of its values must match one of the filter's, exactly or by * and
// ?, which a backslash makes ordinary. Values are compared case-sensitively. An
// unknown filter is an InvalidParameterValue error.
func MatchFilters[T any](filters []ec2types.Filter, by FilterBy[T]) (func(T) bool, error) {
	type test struct {
		values   func(T) []string
		patterns []string
	}
	var tests []test
	total := 0
	for _, f := range filters {
		name := ec2types.Value(f.Name)
		values, ok := by.values(name)
		if !ok {
			return nil, model.Errorf(model.CodeInvalidParameterValue, "The filter '%s' is invalid", name).
				WithHint("filters of this action: %s", strings.Join(by.known(), ", "))
		}
		if len(f.Values) == 0 {
			return nil, model.Errorf(model.CodeInvalidParameterValue, "The filter '%s' has no values", name)
		}
		if total += len(f.Values); total > maxFilterValues {
			return nil, model.Errorf("FilterLimitExceeded", "The request has more than %d filter values", maxFilterValues)
		}
		tests = append(tests, test{values, f.Values})
	}
	return func(object T) bool {
		for _, t := range tests {
			if !anyMatch(t.patterns, t.values(object)) {
				return false
			}
		}
		return true
	}, nil
}

// values returns the getter of a filter.
func (by FilterBy[T]) values(name string) (func(T) []string, bool) {
	if get, ok := by.Names[name]; ok {
		return get, true
	}
	if by.Tags == nil {
		return nil, false
	}
	if name == "tag-key" {
		return func(object T) []string {
			var keys []string
			for k := range by.Tags(object) {
				keys = append(keys, k)
			}
			return keys
		}, true
	}
	key, ok := strings.CutPrefix(name, "tag:")
	if !ok || key == "" {
		return nil, false
	}
	return func(object T) []string {
		if v, ok := by.Tags(object)[key]; ok {
			return []string{v}
		}
		return nil
	}, true
}

// known lists the filters for people.
func (by FilterBy[T]) known() []string {
	var names []string
	for n := range by.Names {
		names = append(names, n)
	}
	slices.Sort(names)
	if by.Tags != nil {
		names = append(names, "tag:<key>", "tag-key")
	}
	return names
}

func anyMatch(patterns, values []string) bool {
	for _, p := range patterns {
		for _, v := range values {
			if matchWildcard(p, v) {
				return true
			}
		}
	}
	return false
}

// matchWildcard reports whether s matches pattern, in which * stands for any
// characters, ? for one, and a backslash makes the next character ordinary. It
// goes back to the last * only, so its time is at most len(pattern) * len(s).
func matchWildcard(pattern, s string) bool {
	p, i := 0, 0
	star, resume := -1, 0
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			star, resume = p, i
			p++
			continue
		}
		if next, width, ok := step(pattern[p:], s[i:]); ok {
			p, i = p+next, i+width
			continue
		}
		if star < 0 {
			return false
		}
		_, width := utf8.DecodeRuneInString(s[resume:])
		resume += width
		p, i = star+1, resume
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// step matches the first character of s with the first of pattern, which is no
// *, and returns how many bytes of each that took.
func step(pattern, s string) (next, width int, ok bool) {
	if pattern == "" {
		return 0, 0, false
	}
	c, width := utf8.DecodeRuneInString(s)
	if pattern[0] == '?' {
		return 1, width, true
	}
	escape := 0
	if pattern[0] == '\\' && len(pattern) > 1 {
		escape = 1
	}
	want, next := utf8.DecodeRuneInString(pattern[escape:])
	return escape + next, width, want == c && next == width && pattern[escape:escape+next] == s[:width]
}
