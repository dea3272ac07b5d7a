// Package market owns publishers' indexes: which products they offer, on what terms,
// and by which digests their images are found. An index is one file, a signed
// statement, wherever it lies. It knows neither accounts nor who has subscribed.
// It imports pkg/catalog and pkg/model only.
package market

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/catalog/signature"
	"github.com/bundt/bundt/pkg/model"
)

// PredicateType is what the statement that holds an index says that it is.
const PredicateType = "https://github.com/bundt/bundt/market-index/v1"

// MaxIndexBytes bounds a signed index.
const MaxIndexBytes = 4 << 20

// ErrInvalid: what was read is no index, or one that this version cannot take.
var ErrInvalid = errors.New("no index of products")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Kind says what products of an index ask of who launches them.
type Kind string

const (
	// Market means that accounts must accept a product's terms, and images carry its code.
	Market Kind = "market"
	// Community means that everybody may take them.
	Community Kind = "community"
)

// Index is what a publisher offers.
type Index struct {
	Schema    int       `json:"schema"`
	Kind      Kind      `json:"kind"`
	Publisher string    `json:"publisher"` // as people read it
	Serial    int64     `json:"serial"`    // an index with a smaller one is older: seconds since 1970 by default
	Products  []Product `json:"products"`
}

// Product is one thing offered.
type Product struct {
	ID          string    `json:"id"` // unique in the index, for ever
	Title       string    `json:"title"`
	Description string    `json:"description,omitempty"`
	Website     string    `json:"website,omitempty"` // https
	Support     string    `json:"support,omitempty"`
	Price       string    `json:"price,omitempty"` // in words: bundt takes no money
	Terms       string    `json:"terms,omitempty"` // of the licence
	Versions    []Version `json:"versions"`        // newest first
}

// Version is an image of a product.
type Version struct {
	Version      string     `json:"version"`
	Architecture model.Arch `json:"architecture"`
	Image        string     `json:"image"` // HOST[:PORT]/PATH@DIGEST
	SizeGiB      int64      `json:"sizeGiB"`
	Notes        string     `json:"notes,omitempty"`
	Released     time.Time  `json:"released"`
}

// TermsDigest tells one wording of a product's terms from another: who accepted the
// one has not accepted the other.
func (p *Product) TermsDigest() string {
	return artifact.Digest([]byte(p.Terms + "\x00" + p.Price))
}

// Code is the product code by which images, instances and subscriptions name a
// product: it follows from the publisher's key and the product's id, so that nobody
// can offer another's. 25 letters and digits, as EC2's.
func Code(keyID, productID string) string {
	sum := sha256.Sum256([]byte(keyID + "\x00" + productID))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:25]
}

// Sign returns the index as one signed file, a sigstore bundle.
func Sign(key *signature.Key, i *Index) ([]byte, error) {
	if err := i.check(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(i)
	if err != nil {
		return nil, fmt.Errorf("encoding an index: %w", err)
	}
	s, err := signature.NewStatement(i.Publisher, artifact.Digest(body), PredicateType, json.RawMessage(body))
	if err != nil {
		return nil, err
	}
	return key.Sign(s)
}

// Open reads a signed index, which nobody trusts: signature.ErrUntrusted if the key
// has not signed it, ErrInvalid if it is none.
func Open(file []byte, key *signature.PublicKey) (*Index, error) {
	if len(file) > MaxIndexBytes {
		return nil, invalid("it has %d bytes; %d are the most", len(file), MaxIndexBytes)
	}
	s, _, err := signature.Verify(file, []*signature.PublicKey{key})
	if err != nil {
		return nil, err
	}
	if s.PredicateType != PredicateType {
		return nil, invalid("the statement is of the type %q", s.PredicateType)
	}
	return Decode(s.Predicate)
}

// Decode reads an index without its signature.
func Decode(body []byte) (*Index, error) {
	var i Index
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields() // it might be a condition
	if err := d.Decode(&i); err != nil {
		return nil, invalid("%v", err)
	}
	return &i, i.check()
}

const (
	schema      = 1
	maxProducts = 1000
	maxVersions = 100
	maxTitle    = 100
	maxLong     = 64 << 10
)

var (
	productID   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)
	versionText = regexp.MustCompile(`^[0-9A-Za-z]([0-9A-Za-z._-]{0,30}[0-9A-Za-z])?$`)
)

func (i *Index) check() error {
	switch {
	case i.Schema != schema:
		return invalid("it has the version %d, not %d: use a newer bundt", i.Schema, schema)
	case i.Kind != Market && i.Kind != Community:
		return invalid("its kind is %q, neither %s nor %s", i.Kind, Market, Community)
	case i.Publisher == "" || len(i.Publisher) > maxTitle:
		return invalid("its publisher's name is empty or too long")
	case i.Serial <= 0:
		return invalid("its serial number is %d", i.Serial)
	case len(i.Products) > maxProducts:
		return invalid("it has %d products; %d are the most", len(i.Products), maxProducts)
	}
	seen := map[string]bool{}
	for n := range i.Products {
		p := &i.Products[n]
		if seen[p.ID] {
			return invalid("the product %s is there twice", p.ID)
		}
		seen[p.ID] = true
		if err := p.check(i.Kind); err != nil {
			return err
		}
	}
	return nil
}

func (p *Product) check(kind Kind) error {
	switch {
	case !productID.MatchString(p.ID):
		return invalid("the product id %q: 1 to 40 small letters, digits and - are allowed", p.ID)
	case p.Title == "" || len(p.Title) > maxTitle || len(p.Price) > maxTitle || len(p.Support) > maxTitle:
		return invalid("the product %s: its title is missing, or its title, price or support is longer than %d bytes", p.ID, maxTitle)
	case len(p.Description) > maxLong || len(p.Terms) > maxLong:
		return invalid("the product %s: its description or terms are longer than %d bytes", p.ID, maxLong)
	case kind == Market && p.Terms == "":
		return invalid("the product %s has no terms to accept", p.ID)
	case kind == Community && (p.Terms != "" || p.Price != ""):
		return invalid("the product %s has terms or a price, which only products of a market have", p.ID)
	}
	if u, err := url.Parse(p.Website); err != nil || p.Website != "" && (u.Scheme != "https" || u.Host == "") {
		return invalid("the product %s: its website is %q, not one by https", p.ID, p.Website)
	}
	return p.checkVersions()
}

func (p *Product) checkVersions() error {
	if len(p.Versions) == 0 || len(p.Versions) > maxVersions {
		return invalid("the product %s has %d versions, not 1 to %d", p.ID, len(p.Versions), maxVersions)
	}
	seen := map[string]bool{}
	for _, v := range p.Versions {
		key := v.Version + " " + string(v.Architecture)
		if seen[key] {
			return invalid("the product %s has the version %s twice", p.ID, key)
		}
		seen[key] = true
		if err := v.check(); err != nil {
			return fmt.Errorf("the product %s, version %q: %w", p.ID, v.Version, err)
		}
	}
	return nil
}

func (v *Version) check() error {
	ref, err := artifact.ParseReference(v.Image)
	switch {
	case err != nil:
		return invalid("%v", err)
	case ref.Digest == "":
		return invalid("its image %s has no digest", v.Image)
	case !versionText.MatchString(v.Version):
		return invalid("its name: 1 to 32 letters, digits and . _ - are allowed")
	case !v.Architecture.Valid():
		return invalid("its architecture is %q", v.Architecture)
	case v.SizeGiB < 1 || v.Released.IsZero() || len(v.Notes) > maxLong:
		return invalid("it has no size or no date, or notes longer than %d bytes", maxLong)
	}
	return nil
}
