package bake

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ulikunitz/xz"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
)

// Limits on what a mirror may send.
const (
	maxRelease  = 4 << 20
	maxPackages = 128 << 20 // of a compressed index
	maxPackage  = 1 << 30
)

const hostKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// debArch is Debian's name of an architecture.
func debArch(a model.Arch) string {
	return map[model.Arch]string{model.X8664: "amd64", model.ARM64: "arm64", model.I386: "i386"}[a]
}

// candidate is a package as a suite's index describes it.
type candidate struct {
	Package, Version, Filename, SHA256, Depends string
	Size                                        int64
	Suite                                       string
}

// index knows all packages of a suite, its updates and its security updates,
// newest version first come.
type index map[string]candidate

// suitesOf returns the suites that together make a release up to date.
func suitesOf(suite string) []string {
	return []string{suite, suite + "-updates", suite + "-security"}
}

// loadIndex fetches and verifies the indexes of a release: the signature of each
// InRelease with the keyring, then the index's digest in it.
func (b *baker) loadIndex(ctx context.Context, m mirror, p *recipe.Packages) (index, error) {
	keys, err := b.keyring(p.Keyring)
	if err != nil {
		return nil, err
	}
	idx := index{}
	for i, suite := range suitesOf(p.Suite) {
		err := b.loadSuite(ctx, m, p, suite, keys, idx)
		switch {
		case err == nil:
		case ctx.Err() != nil || i == 0 || errors.Is(err, errExpired):
			return nil, fmt.Errorf("suite %s: %w", suite, err)
		case errors.Is(err, errGone): // old releases have no updates
		default:
			// Mirrors in the middle of an update are inconsistent. What does not
			// verify is not used, and not passed over in silence.
			b.progress(Event{Step: "read suite " + suite, Detail: fmt.Sprintf("left out for %s: %v", b.Arch, err), Done: true})
		}
	}
	return idx, nil
}

func (b *baker) loadSuite(ctx context.Context, m mirror, p *recipe.Packages, suite string, keys openpgp.EntityList, idx index) error {
	base := m.archive(suite) + "/dists/" + suite
	release, err := b.fetchRelease(ctx, base, keys)
	if err != nil {
		return err
	}
	component := p.Component
	if component == "" {
		component = "main"
	}
	name := b.indexName(component)
	sum, size, err := releaseDigest(release, name)
	if err != nil {
		return err
	}
	return b.loadPackages(ctx, base, name, suiteState{suite, sum, size}, idx)
}

// loadPackages reads a suite's list of packages, which is named below base.
func (b *baker) loadPackages(ctx context.Context, base, name string, s suiteState, idx index) error {
	if s.Size > maxPackages {
		return fmt.Errorf("its index of %d bytes is too large", s.Size)
	}
	// By its digest first: the file of that name may be replaced at any moment.
	file, _, err := b.fetchDigest(ctx, base+"/"+path.Dir(name)+"/by-hash/SHA256/"+s.Index, s.Index, s.Size)
	if errors.Is(err, errGone) {
		file, _, err = b.fetchDigest(ctx, base+"/"+name, s.Index, s.Size)
	}
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	x, err := xz.NewReader(bufio.NewReader(f))
	if err != nil {
		return fmt.Errorf("reading its index: %w", err)
	}
	return idx.add(x, s.Name)
}

// fetchRelease returns the verified text of the InRelease file of a suite, which is
// at base.
func (b *baker) fetchRelease(ctx context.Context, base string, keys openpgp.EntityList) ([]byte, error) {
	signed, err := b.fetchBytes(ctx, base+"/InRelease", maxRelease)
	if err != nil {
		return nil, err
	}
	release, err := verifyRelease(signed, keys)
	if err != nil {
		return nil, err
	}
	return release, checkFresh(release, time.Now())
}

// indexName is where a suite has its list of a component's packages.
func (b *baker) indexName(component string) string {
	return path.Join(component, "binary-"+debArch(b.Arch), "Packages.xz")
}

// fetchBytes downloads something small that changes, and so is not cached.
func (b *baker) fetchBytes(ctx context.Context, url string, limit int64) ([]byte, error) {
	f, err := os.CreateTemp(b.WorkDir, "fetch-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := download(ctx, url, f, limit); err != nil {
		return nil, err
	}
	return os.ReadFile(f.Name())
}

// keyring reads the keys in a file of the context; name "" means the host's.
func (b *baker) keyring(name string) (openpgp.EntityList, error) {
	var r io.ReadCloser
	var err error
	if name != "" {
		r, err = b.Context.Open(name)
	} else {
		name = hostKeyring
		r, err = os.Open(name)
		if isNotExist(err) {
			return nil, fmt.Errorf("there is no keyring to verify packages with: install debian-archive-keyring, or put one beside the recipe (source.packages.keyring): %w", err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the keyring: %w", err)
	}
	defer r.Close()
	head := bufio.NewReader(io.LimitReader(r, maxRelease))
	read := openpgp.ReadKeyRing
	if start, _ := head.Peek(5); string(start) == "-----" {
		read = openpgp.ReadArmoredKeyRing
	}
	keys, err := read(head)
	if err != nil {
		return nil, fmt.Errorf("reading the keyring %s: %w", name, err)
	}
	return keys, nil
}

// verifyRelease returns the signed text of an InRelease file. One good signature
// is enough, as for apt: releases are signed by the old and the new key.
func verifyRelease(signed []byte, keys openpgp.EntityList) ([]byte, error) {
	block, _ := clearsign.Decode(signed)
	if block == nil {
		return nil, errors.New("its InRelease file is not signed")
	}
	if _, err := block.VerifySignature(keys, nil); err != nil {
		return nil, fmt.Errorf("verifying the signature of its InRelease file: %w", err)
	}
	return block.Plaintext, nil
}

// errExpired means that a mirror shows an old state of a suite, which may lack
// security updates. Packages that a lock pins need no index, so they can still be had.
var errExpired = errors.New("its InRelease file has expired")

// checkFresh refuses a Release file after the time that its signer set for it, if any.
// https://wiki.debian.org/DebianRepository/Format (Date, Valid-Until)
func checkFresh(release []byte, now time.Time) error {
	for line := range strings.Lines(string(release)) {
		value, ok := strings.CutPrefix(line, "Valid-Until:")
		if !ok {
			continue
		}
		until, err := time.Parse(time.RFC1123, strings.TrimSpace(value))
		if err != nil {
			return fmt.Errorf("reading its Valid-Until: %w", err)
		}
		if now.After(until) {
			return fmt.Errorf("%w: it was valid until %s, and this host's clock says %s: use another mirror (BUNDT_PACKAGE_MIRROR), correct the clock, or pin packages that the mirror has in recipe.lock",
				errExpired, until.UTC().Format(time.DateTime), now.UTC().Format(time.DateTime))
		}
	}
	return nil
}

// releaseDigest finds a file in the SHA256 section of a Release file.
func releaseDigest(release []byte, name string) (sum string, size int64, err error) {
	in := false
	for line := range strings.Lines(string(release)) {
		if !strings.HasPrefix(line, " ") {
			in = strings.HasPrefix(line, "SHA256:")
			continue
		}
		if f := strings.Fields(line); in && len(f) == 3 && f[2] == name {
			size, err = strconv.ParseInt(f[1], 10, 64)
			return f[0], size, err
		}
	}
	return "", 0, fmt.Errorf("its release file does not list %s", name)
}

// add reads a Packages file. Of a package in several versions the newest counts.
func (idx index) add(r io.Reader, suite string) error {
	return eachCandidate(r, suite, func(c candidate) {
		if old, ok := idx[c.Package]; !ok || compareVersions(c.Version, old.Version) > 0 {
			idx[c.Package] = c
		}
	})
}

// eachCandidate reads a list of packages: paragraphs of "Key: value" lines.
// https://www.debian.org/doc/debian-policy/ch-controlfields.html
func eachCandidate(r io.Reader, suite string, visit func(candidate)) error {
	c := candidate{Suite: suite}
	done := func() {
		if c.Package != "" {
			visit(c)
		}
		c = candidate{Suite: suite}
	}
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line := s.Bytes()
		if len(line) == 0 {
			done()
			continue
		}
		if key, value, ok := bytes.Cut(line, []byte(": ")); ok && line[0] != ' ' {
			c.set(string(key), string(value))
		}
	}
	done()
	if err := s.Err(); err != nil {
		return fmt.Errorf("reading its index: %w", err)
	}
	return nil
}

func (c *candidate) set(key, value string) {
	switch key {
	case "Package":
		c.Package = value
	case "Version":
		c.Version = value
	case "Filename":
		c.Filename = value
	case "SHA256":
		c.SHA256 = value
	case "Depends":
		c.Depends = value
	case "Size":
		c.Size, _ = strconv.ParseInt(value, 10, 64)
	}
}

// resolve finds what a recipe's package stands for today.
func (idx index) resolve(p recipe.Package) (recipe.LockedPackage, error) {
	c, ok := idx[p.Name]
	if !ok {
		return recipe.LockedPackage{}, fmt.Errorf("the distribution has no package %s", p.Name)
	}
	if p.Follow != "" {
		name, err := c.dependency(p.Follow)
		if err != nil {
			return recipe.LockedPackage{}, err
		}
		if c, ok = idx[name]; !ok {
			return recipe.LockedPackage{}, fmt.Errorf("the distribution has no package %s, which %s depends on", name, p.Name)
		}
	}
	return c.pin(p.Name)
}

// pin is the pin of a package that a recipe calls by name.
func (c candidate) pin(name string) (recipe.LockedPackage, error) {
	if c.Size <= 0 || len(c.SHA256) != 64 || c.Filename == "" {
		return recipe.LockedPackage{}, fmt.Errorf("the distribution's index of package %s is incomplete", c.Package)
	}
	return recipe.LockedPackage{
		Name: name, Package: c.Package, Version: c.Version, Suite: c.Suite, Path: c.Filename, Size: c.Size, SHA256: c.SHA256,
	}, nil
}

// dependency returns the first dependency whose name matches pattern.
func (c candidate) dependency(pattern string) (string, error) {
	for _, alternatives := range strings.Split(c.Depends, ",") {
		for _, d := range strings.Split(alternatives, "|") {
			name, _, _ := strings.Cut(strings.TrimSpace(d), " ")
			if ok, _ := path.Match(pattern, name); ok {
				return name, nil
			}
		}
	}
	return "", fmt.Errorf("package %s %s depends on nothing that matches %q", c.Package, c.Version, pattern)
}
