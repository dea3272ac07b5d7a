package bake

import (
	"cmp"
	"strings"
)

// compareVersions orders Debian package versions, as deb-version(7) says:
// [epoch:]upstream[-revision].
func compareVersions(a, b string) int {
	ea, ua, ra := splitVersion(a)
	eb, ub, rb := splitVersion(b)
	return cmp.Or(comparePart(ea, eb), comparePart(ua, ub), comparePart(ra, rb))
}

func splitVersion(v string) (epoch, upstream, revision string) {
	epoch, upstream = "0", v
	if e, rest, ok := strings.Cut(v, ":"); ok {
		epoch, upstream = e, rest
	}
	if i := strings.LastIndexByte(upstream, '-'); i >= 0 {
		upstream, revision = upstream[:i], upstream[i+1:]
	}
	return epoch, upstream, revision
}

// comparePart compares runs of non-digits and of digits in turn.
func comparePart(a, b string) int {
	isDigit := func(r rune) bool { return '0' <= r && r <= '9' }
	for a != "" || b != "" {
		var x, y string
		x, a = cutRun(a, func(r rune) bool { return !isDigit(r) })
		y, b = cutRun(b, func(r rune) bool { return !isDigit(r) })
		if c := compareText(x, y); c != 0 {
			return c
		}
		x, a = cutRun(a, isDigit)
		y, b = cutRun(b, isDigit)
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		if c := cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)); c != 0 {
			return c
		}
	}
	return 0
}

func cutRun(s string, in func(rune) bool) (run, rest string) {
	for i, r := range s {
		if !in(r) {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// compareText orders "~" before the end, the end before letters, and letters
// before everything else.
func compareText(a, b string) int {
	weight := func(s string, i int) int {
		switch {
		case i >= len(s):
			return 0
		case s[i] == '~':
			return -1
		case 'A' <= s[i] && s[i] <= 'Z' || 'a' <= s[i] && s[i] <= 'z':
			return int(s[i])
		}
		return int(s[i]) + 256
	}
	for i := range max(len(a), len(b)) {
		if c := cmp.Compare(weight(a, i), weight(b, i)); c != 0 {
			return c
		}
	}
	return 0
}
