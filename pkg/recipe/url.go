package recipe

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/model"
)

// URLSource is a disk image somewhere else, such as a distributor's own cloud image.
// What it must be is said by its digest, or by a file of checksums that is fetched
// first. In URLs, {arch} is replaced.
type URLSource struct {
	URL string `yaml:"url" required:"true" json:"url"`
	// Arch has the names by which the distributor calls architectures, and whatever
	// else of a URL depends on them; those without one are called as here.
	Arch      map[model.Arch]string `yaml:"arch" json:"arch,omitempty"`
	Format    string                `yaml:"format" json:"format,omitempty" enum:"qcow2|raw"` // qcow2 if empty
	Digest    string                `yaml:"digest" json:"digest,omitempty"`                  // of the only architecture
	Digests   map[model.Arch]string `yaml:"digests" json:"digests,omitempty"`
	Checksums *Checksums            `yaml:"checksums" json:"checksums,omitempty"`
}

// Checksums is a file in which a distributor has the digests of its images. With a
// key it must be signed: in itself, or by a signature of its own.
type Checksums struct {
	URL          string   `yaml:"url" required:"true" json:"url"`
	Signature    string   `yaml:"signature" json:"signature,omitempty"`       // URL; without one the file is signed in itself
	Key          string   `yaml:"key" json:"key,omitempty"`                   // file of the context with OpenPGP keys
	Fingerprints []string `yaml:"fingerprints" json:"fingerprints,omitempty"` // of the keys in it that count
}

// For replaces {arch} in one of the source's URLs.
func (u *URLSource) For(a model.Arch, raw string) string {
	name := u.Arch[a]
	if name == "" {
		name = string(a)
	}
	return strings.ReplaceAll(raw, "{arch}", name)
}

// FileName is the name of the image for an architecture, as checksum files have it.
func (u *URLSource) FileName(a model.Arch) string {
	parsed, err := url.Parse(u.For(a, u.URL))
	if err != nil {
		return ""
	}
	return path.Base(parsed.Path)
}

// DigestFor is the digest that the recipe itself has for an architecture, or "".
func (u *URLSource) DigestFor(a model.Arch) string {
	if u.Digest != "" {
		return u.Digest
	}
	return u.Digests[a]
}

// Verification says how the content of an image is known to be what was meant.
type Verification string

// The verifications.
const (
	// VerifiedBuilt: it is built here, of packages that the distribution signed or of
	// what the recipe holds.
	VerifiedBuilt Verification = "built"
	// VerifiedSigned: by checksums that the distributor signed.
	VerifiedSigned Verification = "signed"
	// VerifiedChecksum: by checksums that nobody signed, from the distributor's server
	// by HTTPS. Who has the server has the image.
	VerifiedChecksum Verification = "checksum"
	// VerifiedDigest: by a digest in the recipe.
	VerifiedDigest Verification = "digest"
	// VerifiedParent: as its parent image is.
	VerifiedParent Verification = "parent"
)

// Verification says how what the source gives is verified.
func (s Source) Verification() Verification {
	switch u := s.URL; {
	case s.Image != "":
		return VerifiedParent
	case u == nil && s.OCI == "":
		return VerifiedBuilt
	case u == nil || u.Checksums == nil:
		return VerifiedDigest
	case u.Checksums.Key != "":
		return VerifiedSigned
	}
	return VerifiedChecksum
}

func (d *decoder) checkURL(u *URLSource, r *Recipe) {
	const at = "source.url"
	for a := range u.Arch {
		if !slices.Contains(r.Architectures, a) {
			d.at(at+".arch."+string(a), "source.url.arch: %q is not one of the recipe's architectures", a)
		}
	}
	d.checkLocation(at+".url", u, u.URL, r, true)
	d.match(at+".digest", u.Digest, digestPattern, "a digest of the form sha256:<64 hexadecimal digits> or sha512:<128>")
	given := 0
	for _, set := range []bool{u.Digest != "", len(u.Digests) > 0, u.Checksums != nil} {
		if set {
			given++
		}
	}
	switch {
	case given != 1:
		d.at(at, "source.url needs exactly one of digest, digests and checksums")
	case u.Digest != "" && len(r.Architectures) > 1:
		d.at(at+".digest", "source.url.digest: one digest cannot be that of %d architectures: use digests", len(r.Architectures))
	case len(u.Digests) > 0:
		d.checkDigests(u, r)
	case u.Checksums != nil:
		d.checkChecksums(u, r)
	}
}

func (d *decoder) checkDigests(u *URLSource, r *Recipe) {
	for a, sum := range u.Digests {
		here := "source.url.digests." + string(a)
		switch {
		case !slices.Contains(r.Architectures, a):
			d.at(here, "source.url.digests: %q is not one of the recipe's architectures", a)
		case !digestPattern.MatchString(sum):
			d.at(here, "%s: %q is not a digest of the form sha256:<64 hexadecimal digits> or sha512:<128>", here, clip(sum))
		}
	}
	for _, a := range r.Architectures {
		if _, ok := u.Digests[a]; !ok {
			d.at("source.url.digests", "source.url.digests lacks that of %s", a)
		}
	}
}

func (d *decoder) checkChecksums(u *URLSource, r *Recipe) {
	const at = "source.url.checksums"
	c := u.Checksums
	d.checkLocation(at+".url", u, c.URL, r, false)
	if c.Signature != "" {
		d.checkLocation(at+".signature", u, c.Signature, r, false)
	}
	if c.Key != "" {
		d.contextPath(at+".key", c.Key)
	}
	for i, f := range c.Fingerprints {
		d.match(fmt.Sprintf("%s.fingerprints[%d]", at, i), f, printPattern, "a fingerprint of 40 or 64 hexadecimal digits in capitals")
	}
	switch {
	case c.Key == "" && (c.Signature != "" || len(c.Fingerprints) > 0):
		d.at(at, "source.url.checksums: a signature needs a key to be checked with")
	case c.Key != "" && len(c.Fingerprints) == 0:
		d.at(at, "source.url.checksums: a key needs fingerprints that say which of the file's keys count")
	case c.Key == "" && !strings.HasPrefix(c.URL, "https://") && !d.failedAt(at+".url"):
		d.at(at+".url", "source.url.checksums.url: checksums that nobody signed must come by https")
	}
}

// checkLocation checks a URL as it is for each architecture. That of an image must
// differ between them.
func (d *decoder) checkLocation(at string, u *URLSource, raw string, r *Recipe, image bool) {
	seen := map[string]model.Arch{}
	for _, a := range r.Architectures {
		if d.failedAt(at) {
			return // told once, not once per architecture
		}
		is := u.For(a, raw)
		p, err := url.Parse(is)
		if err != nil || p.Scheme != "https" && p.Scheme != "http" || p.Host == "" || p.User != nil || p.Fragment != "" {
			d.at(at, "%s: %q is not an http or https URL", at, clip(is))
			return
		}
		if path.Clean(p.Path) != p.Path || p.Path == "/" {
			d.at(at, "%s: %q is not the URL of a file", at, clip(is))
			return
		}
		if other, ok := seen[is]; ok && image {
			d.at(at, "%s is the same for %s and %s: use {arch}, and arch for what it stands for", at, other, a)
		}
		seen[is] = a
	}
}
