package actions

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerTags(t *api.Table) {
	api.Register(t, api.Action[ec2types.CreateTagsInput, ec2types.CreateTagsOutput]{
		Name: "CreateTags", Acts: []string{"Resources", "Tags"}, KeepEmpty: []string{"Tags.Value"}, Handler: a.createTags,
	})
	api.Register(t, api.Action[ec2types.DeleteTagsInput, ec2types.DeleteTagsOutput]{
		Name: "DeleteTags", Acts: []string{"Resources", "Tags"}, KeepEmpty: []string{"Tags.Value"}, Handler: a.deleteTags,
	})
	api.Register(t, api.Action[ec2types.DescribeTagsInput, ec2types.DescribeTagsOutput]{
		Name: "DescribeTags", Acts: []string{"Filters", "MaxResults", "NextToken"}, Handler: a.describeTags,
	})
}

func (a *Actions) createTags(ctx context.Context, in *ec2types.CreateTagsInput) (*ec2types.CreateTagsOutput, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if len(tags) == 0 {
		return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter Tags")
	}
	return &ec2types.CreateTagsOutput{}, a.account(ctx).EditTags(ctx, in.Resources, func(t model.Tags) { maps.Copy(t, tags) })
}

// deleteTags follows EC2: no tags given deletes all; a tag without a value is
// deleted whatever its value, one with a value only if it has that value.
func (a *Actions) deleteTags(ctx context.Context, in *ec2types.DeleteTagsInput) (*ec2types.DeleteTagsOutput, error) {
	return &ec2types.DeleteTagsOutput{}, a.account(ctx).EditTags(ctx, in.Resources, func(t model.Tags) {
		if len(in.Tags) == 0 {
			clear(t)
		}
		for _, tag := range in.Tags {
			if k := ec2types.Value(tag.Key); tag.Value == nil || t[k] == *tag.Value {
				delete(t, k)
			}
		}
	})
}

// tagged is one tag of one resource.
type tagged struct{ key, value, id, kind string }

func (a *Actions) describeTags(ctx context.Context, in *ec2types.DescribeTagsInput) (*ec2types.DescribeTagsOutput, error) {
	all, err := a.allTags(ctx)
	if err != nil {
		return nil, err
	}
	page, next, err := describe(a, query[tagged]{
		action: "DescribeTags", all: all, kind: objectKind[tagged]{id: func(t *tagged) string { return t.id + "/" + t.key }}, filters: in.Filters,
		fields: map[string]func(*tagged) []string{
			"key":           func(t *tagged) []string { return []string{t.key} },
			"resource-id":   func(t *tagged) []string { return []string{t.id} },
			"resource-type": func(t *tagged) []string { return []string{t.kind} },
			"value":         func(t *tagged) []string { return []string{t.value} },
		},
		tags: func(t *tagged) model.Tags { return model.Tags{t.key: t.value} },
		max:  in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeTagsOutput{NextToken: next}
	for _, t := range page {
		out.Tags = append(out.Tags, ec2types.TagDescription{Key: ptr(t.key), Value: ptr(t.value), ResourceId: ptr(t.id), ResourceType: ptr(t.kind)})
	}
	return out, nil
}

func (a *Actions) allTags(ctx context.Context) ([]tagged, error) {
	var out []tagged
	add := func(kind, id string, tags model.Tags) {
		for k, v := range tags {
			out = append(out, tagged{k, v, id, kind})
		}
	}
	insts, err := a.account(ctx).Instances(ctx)
	if err != nil {
		return nil, err
	}
	for _, i := range insts {
		add("instance", i.ID, i.Tags)
	}
	images, err := a.account(ctx).Images(ctx)
	if err != nil {
		return nil, err
	}
	for _, i := range images {
		add("image", i.ID, i.Tags)
	}
	snaps, err := a.account(ctx).Snapshots(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range snaps {
		add("snapshot", s.ID, s.Tags)
	}
	vols, err := a.account(ctx).Volumes(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range vols {
		add("volume", v.ID, v.Tags)
	}
	keys, err := a.account(ctx).KeyPairs(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		add("key-pair", k.ID, k.Tags)
	}
	slices.SortFunc(out, func(x, y tagged) int { return strings.Compare(x.id+"/"+x.key, y.id+"/"+y.key) })
	return out, nil
}
