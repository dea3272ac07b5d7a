package api

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

type thing struct {
	id   string
	tags model.Tags
}

var thingFilters = FilterBy[thing]{
	Names: map[string]func(thing) []string{"id": func(t thing) []string { return []string{t.id} }},
	Tags:  func(t thing) model.Tags { return t.tags },
}

func filter(name string, values ...string) ec2types.Filter {
	return ec2types.Filter{Name: &name, Values: values}
}

func TestMatchFilters(t *testing.T) {
	object := thing{"i-12", model.Tags{"Name": "web*1", "empty": ""}}
	for _, tc := range []struct {
		filters []ec2types.Filter
		want    bool
	}{
		{nil, true},
		{[]ec2types.Filter{filter("id", "i-12")}, true},
		{[]ec2types.Filter{filter("id", "I-12")}, false},
		{[]ec2types.Filter{filter("id", "i-1")}, false},
		{[]ec2types.Filter{filter("id", "nope", "i-1?")}, true},
		{[]ec2types.Filter{filter("id", "i-*"), filter("tag:Name", "db")}, false},
		{[]ec2types.Filter{filter("tag:Name", `web\*1`)}, true},
		{[]ec2types.Filter{filter("tag:Name", `web\?1`)}, false},
		{[]ec2types.Filter{filter("tag:empty", "")}, true},
		{[]ec2types.Filter{filter("tag:empty", "*")}, true},
		{[]ec2types.Filter{filter("tag:absent", "*")}, false},
		{[]ec2types.Filter{filter("tag-key", "Na?e")}, true},
		{[]ec2types.Filter{filter("tag-key", "name")}, false},
	} {
		match, err := MatchFilters(tc.filters, thingFilters)
		if err != nil {
			t.Fatal(err)
		}
		if got := match(object); got != tc.want {
			t.Errorf("filters %+v: %v", tc.filters, got)
		}
	}
}

func TestMatchFiltersRefuses(t *testing.T) {
	many := make([]string, maxFilterValues+1)
	for _, tc := range []struct {
		filter ec2types.Filter
		code   string
	}{
		{filter("colour", "red"), model.CodeInvalidParameterValue},
		{filter("tag:", "red"), model.CodeInvalidParameterValue},
		{filter("id"), model.CodeInvalidParameterValue},
		{ec2types.Filter{Values: []string{"x"}}, model.CodeInvalidParameterValue},
		{filter("id", many...), "FilterLimitExceeded"},
	} {
		if _, err := MatchFilters([]ec2types.Filter{tc.filter}, thingFilters); model.CodeOf(err) != tc.code {
			t.Errorf("filter %+v: %v, want %s", tc.filter.Name, err, tc.code)
		}
	}
	if _, err := MatchFilters([]ec2types.Filter{filter("tag-key", "x")}, FilterBy[thing]{}); err == nil {
		t.Error("objects without tags are filtered by tag")
	}
}

// asRegexp is another way to match, to compare with.
func asRegexp(pattern string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '*':
			b.WriteString(".*")
		case c == '?':
			b.WriteString(".")
		case c == '\\' && i+1 < len(pattern):
			i++
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String())
}

func FuzzMatchWildcard(f *testing.F) {
	for _, s := range [][2]string{{"*", ""}, {"a*b*c", "aXbYbc"}, {`\*`, "*"}, {`a\`, `a\`}, {"??", "ab"}, {"*a*a", "aaa"}, {`*\**`, "x*y"}, {"", ""}, {`\`, ``}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if strings.ContainsFunc(pattern+s, func(c rune) bool { return c > 127 }) {
			return // the reference takes bytes, the matcher characters
		}
		if got, want := matchWildcard(pattern, s), asRegexp(pattern).MatchString(s); got != want {
			t.Errorf("matchWildcard(%q, %q) = %v", pattern, s, got)
		}
	})
}

func TestMatchWildcardCharacters(t *testing.T) {
	for _, tc := range []struct {
		pattern, s string
		want       bool
	}{
		{"?", "é", true}, {"é", "é", true}, {`\é`, "é", true}, {"*é", "aéé", true},
		{"é", "è", false}, {"\xff", "\xfe", false}, {"\xff", "\ufffd", false}, {"*\xff", "a\xff", true},
	} {
		if got := matchWildcard(tc.pattern, tc.s); got != tc.want {
			t.Errorf("matchWildcard(%q, %q) = %v", tc.pattern, tc.s, got)
		}
	}
}

func TestMatchWildcardIsNotExponential(t *testing.T) {
	start := time.Now()
	if matchWildcard(strings.Repeat("*a", 200)+"b", strings.Repeat("a", 10_000)) {
		t.Error("matched")
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("took %v", d)
	}
}
