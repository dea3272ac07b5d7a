package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// Pager makes and checks NextTokens. A token says after which key the next page
// starts, so pages neither repeat nor skip an object that stays, whatever else
// comes and goes. Tokens are authenticated: a client cannot make its own, or use
// one with other filters than those it was made for.
type Pager struct{ key []byte }

// NewPager returns a Pager with this secret key, which all daemons that serve
// one API share, so that a token outlives a restart.
func NewPager(key []byte) *Pager { return &Pager{key: slices.Clone(key)} }

// PageRequest is what a request says about pages.
type PageRequest struct {
	Action     string
	NextToken  *string
	MaxResults *int32
	// Query is everything else in the request that selects objects (ids,
	// filters); it must stay the same from page to page. Encoded as JSON.
	Query any
	// Min and Max bound MaxResults. Max is also the size of a page when a
	// request has a NextToken and names no size.
	Min, Max int32
}

const (
	macSize    = 16
	digestSize = 16
)

// Paginate returns the page of objects that the request asks for and the token
// of the one after it, nil after the last. Without MaxResults and NextToken the
// page is everything. The key of an object must be unique and never change; pages
// are in its order.
func Paginate[T any](p *Pager, req PageRequest, objects []T, key func(T) string) (page []T, next *string, err error) {
	digest, err := req.check()
	if err != nil {
		return nil, nil, err
	}
	compare := func(a, b T) int { return strings.Compare(key(a), key(b)) }
	page = objects
	if !slices.IsSortedFunc(page, compare) {
		page = slices.Clone(page)
		slices.SortFunc(page, compare)
	}
	if req.NextToken != nil {
		last, err := p.open(*req.NextToken, digest)
		if err != nil {
			return nil, nil, err
		}
		page = page[after(page, last, key):]
	}
	size, paged := req.size()
	if !paged || len(page) <= size {
		return page, nil, nil
	}
	page = page[:size]
	return page, new(p.seal(key(page[size-1]), digest)), nil
}

// PaginateSorted is Paginate for many objects, which are in the order of their
// keys already: it looks at no more of them than it takes to find a page of those
// that keep chooses.
func PaginateSorted[T any](p *Pager, req PageRequest, sorted []T, keep func(T) bool, key func(T) string) (page []T, next *string, err error) {
	digest, err := req.check()
	if err != nil {
		return nil, nil, err
	}
	if req.NextToken != nil {
		last, err := p.open(*req.NextToken, digest)
		if err != nil {
			return nil, nil, err
		}
		sorted = sorted[after(sorted, last, key):]
	}
	size, paged := req.size()
	for _, o := range sorted {
		switch {
		case !keep(o):
		case paged && len(page) == size:
			return page, new(p.seal(key(page[size-1]), digest)), nil
		default:
			page = append(page, o)
		}
	}
	return page, nil, nil
}

// after is the index of the first object after the one with this key, which may be gone.
func after[T any](sorted []T, last string, key func(T) string) int {
	start, found := slices.BinarySearchFunc(sorted, last, func(o T, k string) int { return strings.Compare(key(o), k) })
	if found {
		start++
	}
	return start
}

// size is the most that a page has.
func (r PageRequest) size() (n int, paged bool) {
	switch {
	case r.MaxResults != nil:
		return int(*r.MaxResults), true
	case r.NextToken != nil:
		return int(r.Max), true
	}
	return 0, false
}

// check refuses a size out of bounds and returns the query's digest.
func (r PageRequest) check() ([]byte, error) {
	if n := r.MaxResults; n != nil && (*n < r.Min || *n > r.Max) {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "Value (%d) for parameter MaxResults is invalid. Expecting a value from %d to %d", *n, r.Min, r.Max)
	}
	return r.digest()
}

// digest identifies what is asked for.
func (r PageRequest) digest() ([]byte, error) {
	query, err := json.Marshal(r.Query)
	if err != nil {
		return nil, fmt.Errorf("encoding the query of %s: %w", r.Action, err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%s", r.Action, query)
	return h.Sum(nil)[:digestSize], nil
}

// mac authenticates the key of the last object together with the query.
func (p *Pager) mac(digest []byte, last string) []byte {
	h := hmac.New(sha256.New, p.key)
	h.Write(digest)
	h.Write([]byte(last))
	return h.Sum(nil)[:macSize]
}

func (p *Pager) seal(last string, digest []byte) string {
	return base64.RawURLEncoding.EncodeToString(append(p.mac(digest, last), last...))
}

// open returns the key in a token that was made for this query.
func (p *Pager) open(token string, digest []byte) (string, error) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(data) < macSize || !hmac.Equal(data[:macSize], p.mac(digest, string(data[macSize:]))) {
		return "", model.Errorf(model.CodeInvalidNextToken, "The token is not valid for this request").
			WithHint("send the same parameters with every page, or start again without NextToken")
	}
	return string(data[macSize:]), nil
}

// MatchIDs returns a function that reports whether an id was asked for: any is,
// if none were named.
func MatchIDs(ids []string) func(id string) bool {
	if len(ids) == 0 {
		return func(string) bool { return true }
	}
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	return func(id string) bool { return wanted[id] }
}

// Tags returns tags as EC2 shows them, sorted by key.
func Tags(tags model.Tags) []ec2types.Tag {
	all := make([]ec2types.Tag, 0, len(tags))
	for k, v := range tags {
		all = append(all, ec2types.Tag{Key: &k, Value: &v})
	}
	slices.SortFunc(all, func(a, b ec2types.Tag) int { return strings.Compare(*a.Key, *b.Key) })
	return all
}
