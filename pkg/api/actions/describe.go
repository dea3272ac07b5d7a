package actions

import (
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// objectKind is how ids of one kind of object are checked.
type objectKind[T any] struct {
	id                  func(*T) string
	valid               func(id string) bool
	malformed, notFound string // EC2's error codes
	noun                string
}

var (
	instanceKind = objectKind[model.Instance]{func(i *model.Instance) string { return i.ID }, isID(model.InstancePrefix), model.CodeInstanceIDMalformed, model.CodeInstanceIDNotFound, "instance ID"}
	imageKind    = objectKind[model.Image]{func(i *model.Image) string { return i.ID }, isID(model.ImagePrefix), model.CodeImageIDMalformed, model.CodeImageIDNotFound, "image id"}
	snapshotKind = objectKind[model.Snapshot]{func(s *model.Snapshot) string { return s.ID }, isID(model.SnapshotPrefix), model.CodeSnapshotIDMalformed, model.CodeSnapshotNotFound, "snapshot"}
	volumeKind   = objectKind[model.Volume]{func(v *model.Volume) string { return v.ID }, isID(model.VolumePrefix), model.CodeVolumeIDMalformed, model.CodeVolumeNotFound, "volume"}
	keyKind      = objectKind[model.KeyPair]{func(k *model.KeyPair) string { return k.ID }, isID(model.KeyPairPrefix), "InvalidKeyPairID.Malformed", model.CodeKeyPairNotFound, "key pair"}
	buildKind    = objectKind[model.Build]{func(b *model.Build) string { return b.ID }, isID(model.BuildPrefix), "InvalidBuildID.Malformed", model.CodeBuildNotFound, "build"}
)

func isID(p model.IDPrefix) func(string) bool {
	return func(id string) bool { return model.CheckID(p, id) == nil }
}

// check fails the whole call for one id that is malformed or does not exist, as EC2 does.
func (k objectKind[T]) check(ids []string, exists func(string) bool) error {
	for _, id := range ids {
		if !k.valid(id) {
			return model.Errorf(k.malformed, "Invalid id: \"%s\"", id)
		}
	}
	for _, id := range ids {
		if !exists(id) {
			return model.Errorf(k.notFound, "The %s '%s' does not exist", k.noun, id)
		}
	}
	return nil
}

// query is a Describe request on objects of one kind.
type query[T any] struct {
	action      string
	all         []T
	sorted      []*T // instead of all: shared objects in the order of pages
	kind        objectKind[T]
	order       func(*T) string // key that pages are in the order of; nil: the id
	ids         []string
	filters     []ec2types.Filter
	fields      map[string]func(*T) []string
	tags        func(*T) model.Tags
	also        any // other parameters that select objects
	max         *int32
	token       *string
	least, most int32 // bounds of max
}

// describe selects by ids and filters and cuts a page.
func describe[T any](a *Actions, q query[T]) ([]T, *string, error) {
	if q.max != nil && len(q.ids) > 0 {
		return nil, nil, model.Errorf(model.CodeInvalidParameterCombination, "The parameter MaxResults cannot be used together with ids")
	}
	match, err := api.MatchFilters(q.filters, api.FilterBy[*T]{Names: q.fields, Tags: q.tags})
	if err != nil {
		return nil, nil, err
	}
	order := q.kind.id
	if q.order != nil {
		order = q.order
	}
	if q.sorted == nil {
		q.sorted = pointers(q.all)
		slices.SortFunc(q.sorted, func(x, y *T) int { return strings.Compare(order(x), order(y)) })
	}
	keep := match
	if len(q.ids) > 0 {
		if err := q.kind.check(q.ids, idsOf(q.sorted, q.kind.id)); err != nil {
			return nil, nil, err
		}
		wanted := api.MatchIDs(q.ids)
		keep = func(o *T) bool { return wanted(q.kind.id(o)) && match(o) }
	}
	page, next, err := api.PaginateSorted(a.pager, api.PageRequest{
		Action: q.action, NextToken: q.token, MaxResults: q.max, Query: []any{q.ids, q.filters, q.also}, Min: q.least, Max: q.most,
	}, q.sorted, keep, order)
	if err != nil {
		return nil, nil, err
	}
	result := make([]T, len(page))
	for i, o := range page {
		result[i] = *o
	}
	return result, next, nil
}

// idsOf returns a function that reports whether an id is among those of the objects.
func idsOf[T any](objects []*T, id func(*T) string) func(string) bool {
	known := make(map[string]bool, len(objects))
	for _, o := range objects {
		known[id(o)] = true
	}
	return func(id string) bool { return known[id] }
}

// those are the objects that pass. The list itself is shared and stays as it is.
func those[T any](objects []*T, pass func(*T) bool) []*T {
	var out []*T
	for _, o := range objects {
		if pass(o) {
			out = append(out, o)
		}
	}
	return out
}
