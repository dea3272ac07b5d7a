package bake

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// MirrorEnv names the environment variable that says where packages come from:
// the URL (http, https or file) of a Debian archive; its security archive is
// expected beside it, with "-security" appended.
const MirrorEnv = "BUNDT_PACKAGE_MIRROR"

// defaultMirror is Debian's own network of mirrors.
const defaultMirror = "http://deb.debian.org/debian"

// mirror is where one distribution's archives are.
type mirror struct {
	base     string // the main archive, no trailing slash
	security string
}

// archive returns the root that a suite's paths are relative to.
func (m mirror) archive(suite string) string {
	if strings.HasSuffix(suite, "-security") {
		return m.security
	}
	return m.base
}

// chooseMirror decides where Debian packages come from: the request, then the
// environment, then what this host's own apt uses, then Debian's network.
func chooseMirror(requested string) (mirror, error) {
	for _, s := range []string{requested, os.Getenv(MirrorEnv)} {
		if s == "" {
			continue
		}
		u, err := url.Parse(s)
		if err != nil || !slices.Contains([]string{"http", "https", "file"}, u.Scheme) || u.Path == "" {
			return mirror{}, fmt.Errorf("package mirror %q is not an http, https or file URL of a Debian archive", s)
		}
		base := strings.TrimRight(s, "/")
		return mirror{base, base + "-security"}, nil
	}
	return hostMirror("/etc/apt"), nil
}

// hostMirror reads apt's sources, in both of their formats, for the first Debian
// archive and the first security archive. Hosts that are not Debian have none.
func hostMirror(aptDir string) mirror {
	m := mirror{defaultMirror, defaultMirror + "-security"}
	files, _ := filepath.Glob(filepath.Join(aptDir, "sources.list.d", "*"))
	slices.Sort(files)
	var base, security string
	for _, f := range append([]string{filepath.Join(aptDir, "sources.list")}, files...) {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for _, u := range sourceURIs(f, string(b)) {
			u = strings.TrimRight(u, "/")
			switch {
			case !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "https://"):
			case strings.HasSuffix(u, "/debian") && base == "":
				base = u
			case strings.HasSuffix(u, "/debian-security") && security == "":
				security = u
			}
		}
	}
	if base != "" {
		m = mirror{base, base + "-security"}
	}
	if security != "" {
		m.security = security
	}
	return m
}

// sourceURIs returns the URIs of a sources.list(5) file in either format.
func sourceURIs(name, text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasSuffix(name, ".sources") {
			if v, ok := strings.CutPrefix(line, "URIs:"); ok {
				out = append(out, strings.Fields(v)...)
			}
			continue
		}
		if !strings.HasSuffix(name, ".list") || !strings.HasPrefix(line, "deb ") {
			continue
		}
		// deb [option=value …] URI suite component…
		rest := strings.TrimSpace(strings.TrimPrefix(line, "deb "))
		if strings.HasPrefix(rest, "[") {
			_, rest, _ = strings.Cut(rest, "]")
		}
		if f := strings.Fields(rest); len(f) > 0 {
			out = append(out, f[0])
		}
	}
	return out
}
