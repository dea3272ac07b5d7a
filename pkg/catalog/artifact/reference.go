package artifact

import (
	"fmt"
	"strings"

	"oras.land/oras-go/v2/registry"
)

// Scheme may begin a reference.
const Scheme = "oci://"

// Reference names a place in a registry: HOST[:PORT]/PATH[:TAG][@DIGEST].
type Reference struct {
	Registry   string // host and port
	Repository string
	Tag        string
	Digest     string // "sha256:…", "" if only a tag was said
}

// ParseReference reads a reference, with or without oci:// before it. Without a tag
// and a digest the tag is "latest". A bare name means no registry in particular and
// is an error.
func ParseReference(s string) (Reference, error) {
	s = strings.TrimPrefix(s, Scheme)
	rest, manifest, _ := strings.Cut(s, "@")
	if strings.HasSuffix(s, "@") || strings.HasSuffix(rest, ":") {
		return Reference{}, fmt.Errorf("%q is no reference: it ends before its tag or digest", s)
	}
	// The library drops a tag that is followed by a digest.
	tag := ""
	if at := strings.LastIndex(rest, ":"); at > strings.LastIndex(rest, "/") {
		rest, tag = rest[:at], rest[at+1:]
	}
	for _, version := range []string{tag, manifest} {
		if version == "" {
			continue
		}
		if err := (registry.Reference{Registry: "localhost", Repository: "x", Reference: version}).Validate(); err != nil {
			return Reference{}, fmt.Errorf("%q is no reference: %w", s, err)
		}
	}
	if manifest != "" && !sha256Digest.MatchString(manifest) {
		return Reference{}, fmt.Errorf("%q is no reference: %q is no digest by SHA-256", s, manifest)
	}
	ref, err := registry.ParseReference(rest)
	if err != nil {
		return Reference{}, fmt.Errorf("%q is no reference such as registry.example.com/images/web:v2: %w", s, err)
	}
	if tag == "" && manifest == "" {
		tag = "latest"
	}
	return Reference{Registry: ref.Registry, Repository: ref.Repository, Tag: tag, Digest: manifest}, nil
}

// Version is the tag or digest to ask a registry for.
func (r Reference) Version() string {
	if r.Digest != "" {
		return r.Digest
	}
	return r.Tag
}

// String is the reference without a scheme.
func (r Reference) String() string {
	s := r.Registry + "/" + r.Repository
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}
