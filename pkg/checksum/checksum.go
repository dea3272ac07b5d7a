// Package checksum owns the files in which distributors tell the digests of what
// they publish, and whether such a file is really theirs: SHA256SUMS with a detached
// OpenPGP signature, CHECKSUM that is signed in itself, or a digest on its own. It is
// pure: it reads what it is given, and imports no package of ours.
package checksum

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"strings"
)

// Errors of checksum files (test with errors.Is).
var (
	// ErrNotListed: the file says nothing of what was asked for.
	ErrNotListed = errors.New("the checksum file does not list it")
	// ErrAmbiguous: the file says several things of it.
	ErrAmbiguous = errors.New("the checksum file lists it with different digests")
	// ErrSignature: nobody who is trusted has signed the file as it is.
	ErrSignature = errors.New("the signature does not hold")
)

// Digest is "sha256:" or "sha512:" and hexadecimal digits in lower case.
type Digest string

// The algorithms, by their names in digests, with the length of their digits.
const (
	sha256Name = "sha256"
	sha512Name = "sha512"
)

var digits = map[string]int{sha256Name: 2 * sha256.Size, sha512Name: 2 * sha512.Size}

// Parse checks that s is a digest of an algorithm that is good enough.
func Parse(s string) (Digest, error) {
	name, sum, _ := strings.Cut(s, ":")
	n, ok := digits[name]
	if _, err := hex.DecodeString(sum); !ok || err != nil || len(sum) != n || sum != strings.ToLower(sum) {
		return "", fmt.Errorf("%q is not sha256: with 64 or sha512: with 128 hexadecimal digits in lower case", s)
	}
	return Digest(s), nil
}

// Algorithm is "sha256" or "sha512".
func (d Digest) Algorithm() string {
	name, _, _ := strings.Cut(string(d), ":")
	return name
}

// Sum returns the digits without the name of the algorithm.
func (d Digest) Sum() string {
	_, sum, _ := strings.Cut(string(d), ":")
	return sum
}

// New returns the digest's hash, which has seen nothing yet.
func (d Digest) New() hash.Hash {
	if d.Algorithm() == sha512Name {
		return sha512.New()
	}
	return sha256.New()
}

// Of returns the digest of all that r has, by d's algorithm.
func (d Digest) Of(r io.Reader) (Digest, error) {
	h := d.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return Digest(d.Algorithm() + ":" + hex.EncodeToString(h.Sum(nil))), nil
}

var (
	// bsdLine is what "sha256sum --tag" writes.
	bsdLine = regexp.MustCompile(`^(SHA256|SHA512) \((.+)\) = ([0-9A-Fa-f]+)$`)
	// gnuLine is what "sha256sum" writes: a star for binary mode, else a blank.
	gnuLine  = regexp.MustCompile(`^([0-9A-Fa-f]+) [ *](.+)$`)
	bareLine = regexp.MustCompile(`^[0-9A-Fa-f]+$`)
)

// Find returns the digest that a checksum file has for the file of that name: its
// strongest, of the algorithms that are good enough. A file that has nothing but one
// digest, without a name, tells of whatever it stands beside.
func Find(text []byte, name string) (Digest, error) {
	found := map[string]string{}
	var bare []string
	others := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n \t")
		algorithm, file, sum := parseLine(line)
		switch {
		case algorithm == "" && line != "" && !strings.HasPrefix(line, "#"):
			others++
		case algorithm == "":
		case file == "":
			bare = append(bare, algorithm+":"+sum)
		case strings.TrimPrefix(file, "./") != name:
			others++
		case found[algorithm] != "" && found[algorithm] != sum:
			return "", fmt.Errorf("%s: %w", name, ErrAmbiguous)
		default:
			found[algorithm] = sum
		}
	}
	if len(found) == 0 && others == 0 && len(bare) == 1 {
		return Digest(bare[0]), nil
	}
	for _, algorithm := range []string{sha512Name, sha256Name} {
		if sum := found[algorithm]; sum != "" {
			return Digest(algorithm + ":" + sum), nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, ErrNotListed)
}

// parseLine takes a line apart; the algorithm is "" if it is none of a checksum that
// is good enough, and the file "" if there is no name.
func parseLine(line string) (algorithm, file, sum string) {
	if m := bsdLine.FindStringSubmatch(line); m != nil {
		algorithm, file, sum = strings.ToLower(m[1]), m[2], m[3]
		if len(sum) != digits[algorithm] {
			return "", "", ""
		}
		return algorithm, file, strings.ToLower(sum)
	}
	if m := gnuLine.FindStringSubmatch(line); m != nil {
		file, sum = m[2], m[1]
	} else if bareLine.MatchString(line) {
		sum = line
	}
	for name, n := range digits {
		if len(sum) == n {
			return name, file, strings.ToLower(sum)
		}
	}
	return "", "", ""
}
