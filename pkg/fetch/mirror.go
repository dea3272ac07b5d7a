package fetch

import (
	"fmt"
	"net/url"
	"path"
	"strings"
)

// Mirror has the same files as the server that it stands for.
type Mirror struct{ From, To string }

// Mirrors are looked through for the one that stands for most of a URL.
type Mirrors []Mirror

// ParseMirrors reads mirrors from the form FROM=TO, each an http or https URL:
// what begins with the one is fetched from the other.
func ParseMirrors(texts []string) (Mirrors, error) {
	var out Mirrors
	for _, text := range texts {
		from, to, _ := strings.Cut(text, "=")
		m := Mirror{strings.TrimRight(from, "/"), strings.TrimRight(to, "/")}
		for _, s := range []string{m.From, m.To} {
			if u, err := url.Parse(s); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
				return nil, fmt.Errorf("%q is not of the form https://SERVER/DIRECTORY=https://MIRROR/DIRECTORY", text)
			}
		}
		out = append(out, m)
	}
	return out, nil
}

// Rewrite returns where a mirror has the file of that URL, if there is a mirror for it.
// It leads nowhere above the mirror's own directory.
func (m Mirrors) Rewrite(file string) (string, bool) {
	best := -1
	for i, one := range m {
		rest, ok := strings.CutPrefix(file, one.From+"/")
		if ok && clean(rest) && (best < 0 || len(one.From) > len(m[best].From)) {
			best = i
		}
	}
	if best < 0 {
		return "", false
	}
	return m[best].To + file[len(m[best].From):], true
}

// clean reports whether a path stays where it begins, however often it is decoded.
func clean(p string) bool {
	p, _, _ = strings.Cut(p, "?")
	decoded, err := url.PathUnescape(p)
	return err == nil && !strings.Contains(decoded, "%") && path.Clean("/"+decoded) == strings.TrimRight("/"+decoded, "/") && !strings.Contains(decoded, "\\")
}
