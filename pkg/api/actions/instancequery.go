package actions

import (
	"context"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// shownInstance is an instance and what EC2 shows of it. Filters look at what is
// shown, so the two cannot differ.
type shownInstance struct {
	record *model.Instance
	ec2    *ec2types.Instance // made when a filter or the answer first needs it
	show   func(*model.Instance) ec2types.Instance
}

func (s *shownInstance) shape() *ec2types.Instance {
	if s.ec2 == nil {
		s.ec2 = new(s.show(s.record))
	}
	return s.ec2
}

// instanceQuery selects instances by id, filters and page.
type instanceQuery struct {
	action  string
	ids     []string
	filters []ec2types.Filter
	fields  func() map[string]instanceFilter
	tags    func(*shownInstance) model.Tags
	keep    func(*model.Instance) bool // nil for all
	max     *int32
	token   *string
}

// findInstances returns what the query selects, in the order of ids. A query by id
// looks at no other instances, one for a page at few more than the page has.
func (a *Actions) findInstances(ctx context.Context, q instanceQuery) ([]shownInstance, *string, error) {
	if q.max != nil && len(q.ids) > 0 {
		return nil, nil, model.Errorf(model.CodeInvalidParameterCombination, "The parameter instancesSet cannot be used with the parameter maxResults")
	}
	by := api.FilterBy[*shownInstance]{Tags: q.tags}
	if len(q.filters) > 0 {
		by.Names = q.fields()
	}
	match, err := api.MatchFilters(q.filters, by)
	if err != nil {
		return nil, nil, err
	}
	insts, err := a.account(ctx).FindInstances(ctx, q.ids)
	if err != nil {
		return nil, nil, err
	}
	if len(q.filters) > 0 {
		if insts, err = a.account(ctx).Named(ctx, insts); err != nil {
			return nil, nil, err
		}
	}
	keep := func(i *model.Instance) bool {
		return (q.keep == nil || q.keep(i)) && (len(q.filters) == 0 || match(&shownInstance{record: i, show: a.instanceOf}))
	}
	page, next, err := api.PaginateSorted(a.pager, api.PageRequest{
		Action: q.action, NextToken: q.token, MaxResults: q.max, Query: []any{q.ids, q.filters}, Min: 5, Max: 1000,
	}, insts, keep, func(i *model.Instance) string { return i.ID })
	if err == nil && len(q.filters) == 0 {
		page, err = a.account(ctx).Named(ctx, page)
	}
	return a.shown(page), next, err
}

func (a *Actions) shown(insts []*model.Instance) []shownInstance {
	out := make([]shownInstance, len(insts))
	for i := range insts {
		out[i] = shownInstance{record: insts[i], show: a.instanceOf}
	}
	return out
}

func pointers[T any](list []T) []*T {
	out := make([]*T, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}
