package policy

import (
	"strings"
	"testing"
)

// matchesByTrying is what wildcard should say, by trying every way to match.
func matchesByTrying(pattern, text string) bool {
	switch {
	case pattern == "":
		return text == ""
	case pattern[0] == '*':
		for i := 0; i <= len(text); i++ {
			if matchesByTrying(pattern[1:], text[i:]) {
				return true
			}
		}
		return false
	case text == "":
		return false
	}
	return (pattern[0] == '?' || pattern[0] == text[0]) && matchesByTrying(pattern[1:], text[1:])
}

// words returns every text over an alphabet of up to max characters.
func words(alphabet string, max int) []string {
	all := []string{""}
	for from := 0; max > 0; max-- {
		last := all[from:]
		from = len(all)
		for _, w := range last {
			for _, c := range alphabet {
				all = append(all, w+string(c))
			}
		}
	}
	return all
}

func TestWildcardAgainstTryingEverything(t *testing.T) {
	texts := words("ab", 5)
	n := 0
	for _, p := range words("a*?b", 5) {
		compiled, reason := compile(p, syntax{wildcards: true})
		if reason != "" {
			t.Fatalf("%q: %s", p, reason)
		}
		for _, text := range texts {
			n++
			if got, want := compiled.matches(text, NoKeys), matchesByTrying(p, text); got != want {
				t.Fatalf("%q on %q: %v, want %v", p, text, got, want)
			}
		}
	}
	if n < 50_000 {
		t.Fatalf("only %d pairs were tried", n)
	}
}

func TestWildcardIsNotExponential(t *testing.T) {
	p, _ := compile(strings.Repeat("*a", 200)+"b", syntax{wildcards: true})
	if p.matches(strings.Repeat("a", 5000), NoKeys) {
		t.Fatal("matched")
	}
}

func TestPatternVariables(t *testing.T) {
	keys := func(key string) ([]string, bool) {
		v, ok := map[string][]string{"aws:username": {"al*ce"}, "aws:tagkeys": {"a", "b"}}[key]
		return v, ok
	}
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"home/${aws:username}/*", "home/al*ce/x", true},
		{"home/${aws:username}/*", "home/alice/x", false}, // a value's star is no wildcard
		{"${AWS:UserName}", "al*ce", true},
		{"${aws:userid}", "", false},
		{"${aws:userid, 'nobody'}", "nobody", true},
		{"${aws:username, 'nobody'}", "nobody", false},
		{"${aws:TagKeys}", "a", false}, // which of two?
		{"a${*}b", "a*b", true},
		{"a${*}b", "axb", false},
		{"a${?}b${$}", "a?b$", true},
		{"$a{b}", "$a{b}", true},
	} {
		p, reason := compile(c.pattern, syntax{wildcards: true, variables: true})
		if reason != "" {
			t.Fatalf("%q: %s", c.pattern, reason)
		}
		if got := p.matches(c.text, keys); got != c.want {
			t.Errorf("%q on %q: %v", c.pattern, c.text, got)
		}
	}
	for _, bad := range []string{"${aws:username", "${}", "${name}", "${aws:username, nobody}", "${:x}"} {
		if _, reason := compile(bad, syntax{variables: true}); reason == "" {
			t.Errorf("%q is taken", bad)
		}
	}
	if p, reason := compile("${aws:username", syntax{}); reason != "" || !p.matches("${aws:username", NoKeys) {
		t.Error("without variables ${ is text")
	}
}

func TestARNs(t *testing.T) {
	const instance = "arn:aws:ec2:local-1:111122223333:instance/i-1"
	for _, c := range []struct {
		pattern, arn string
		want         bool
	}{
		{"*", instance, true},
		{"*", "*", true},
		{"arn:aws:ec2:*", "*", false},
		{"arn:aws:ec2", instance, true}, // fields left out match everything
		{"arn:aws:ec2:*:*:instance/*", instance, true},
		{"arn:aws:ec2:*:111122223333:instance/i-1", instance, true},
		{"arn:aws:ec2:*:111122223334:instance/i-1", instance, false},
		{"arn:aws:ec2:*instance/*", instance, false}, // a wildcard stays in its field
		{"arn:aws:ec2:local-1:*/i-1", instance, false},
		{"arn:aws:ec2:local-?:*:instance/i-?", instance, true},
		{"arn:aws:x:::a:b:c", "arn:aws:x:::a:b:c", true},
		{"arn:aws:x:::a:*", "arn:aws:x:::a:b:c", true},
		{"arn:aws:ec2:local-1:111122223333:Instance/i-1", instance, false}, // case matters
	} {
		p, reason := compileARN(c.pattern, syntax{wildcards: true})
		if reason != "" {
			t.Fatalf("%q: %s", c.pattern, reason)
		}
		if got := p.matches(c.arn, NoKeys); got != c.want {
			t.Errorf("%q on %q: %v", c.pattern, c.arn, got)
		}
	}
	for _, bad := range []string{"", "instance/i-1", "arn", "arn:aws", "urn:aws:ec2:::x"} {
		if _, reason := compileARN(bad, syntax{}); reason == "" {
			t.Errorf("%q is taken", bad)
		}
	}
}
