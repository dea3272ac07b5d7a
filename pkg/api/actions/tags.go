package actions

import (
	"context"
	"maps"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
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
	for _, tag := range in.Tags {
		if strings.HasPrefix(strings.ToLower(ec2types.Value(tag.Key)), "aws:") {
			return nil, model.Errorf(model.CodeInvalidParameterValue, "Tag keys starting with 'aws:' are reserved: %q", *tag.Key)
		}
	}
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

func (a *Actions) describeTags(ctx context.Context, in *ec2types.DescribeTagsInput) (*ec2types.DescribeTagsOutput, error) {
	all, err := a.account(ctx).Tags(ctx)
	if err != nil {
		return nil, err
	}
	page, next, err := describe(a, query[cloud.Tag]{
		action: "DescribeTags", all: all, kind: objectKind[cloud.Tag]{id: func(t *cloud.Tag) string { return t.ResourceID + "/" + t.Key }}, filters: in.Filters,
		fields: map[string]func(*cloud.Tag) []string{
			"key":           func(t *cloud.Tag) []string { return []string{t.Key} },
			"resource-id":   func(t *cloud.Tag) []string { return []string{t.ResourceID} },
			"resource-type": func(t *cloud.Tag) []string { return []string{t.ResourceType} },
			"value":         func(t *cloud.Tag) []string { return []string{t.Value} },
		},
		tags: func(t *cloud.Tag) model.Tags { return model.Tags{t.Key: t.Value} },
		max:  in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeTagsOutput{NextToken: next}
	for _, t := range page {
		out.Tags = append(out.Tags, ec2types.TagDescription{Key: ptr(t.Key), Value: ptr(t.Value), ResourceId: ptr(t.ResourceID), ResourceType: ptr(t.ResourceType)})
	}
	return out, nil
}
