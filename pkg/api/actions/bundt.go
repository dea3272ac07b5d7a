package actions

import (
	"cmp"
	"context"
	"encoding/pem"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerBundt(t *api.Table) {
	api.Register(t, api.Action[bundttypes.BuildImageInput, bundttypes.BuildImageOutput]{
		Name: "BuildImage", Handler: a.buildImage, Acts: []string{"ContextDigest", "Architecture", "Name", "TagSpecifications", "ClientToken", "HoldKey", "NoCache"},
	})
	api.Register(t, api.Action[bundttypes.DescribeBuildsInput, bundttypes.DescribeBuildsOutput]{
		Name: "DescribeBuilds", Handler: a.describeBuilds, Acts: []string{"BuildIds", "Filters", "MaxResults", "NextToken"},
	})
	api.RegisterStream(t, api.Stream[bundttypes.WatchBuildInput, bundttypes.Build]{
		Name: "WatchBuild", Acts: []string{"BuildId"},
		Handler: func(ctx context.Context, in *bundttypes.WatchBuildInput, send func(bundttypes.Build) error) error {
			return a.account(ctx).WatchBuild(ctx, ec2types.Value(in.BuildId), func(b model.Build) error { return send(buildOf(&b)) })
		},
	})
	api.Register(t, api.Action[bundttypes.CancelBuildInput, bundttypes.CancelBuildOutput]{
		Name: "CancelBuild", Acts: []string{"BuildId"},
		Handler: func(ctx context.Context, in *bundttypes.CancelBuildInput) (*bundttypes.CancelBuildOutput, error) {
			b, err := a.account(ctx).CancelBuild(ctx, ec2types.Value(in.BuildId))
			return &bundttypes.CancelBuildOutput{Build: buildOf(&b)}, err
		},
	})
	api.Register(t, api.Action[bundttypes.DescribeBuildCacheInput, bundttypes.DescribeBuildCacheOutput]{
		Name: "DescribeBuildCache",
		Handler: func(ctx context.Context, _ *bundttypes.DescribeBuildCacheInput) (*bundttypes.DescribeBuildCacheOutput, error) {
			all, err := a.account(ctx).CachedBuilds(ctx)
			out := &bundttypes.DescribeBuildCacheOutput{}
			for i := range all {
				out.Entries = append(out.Entries, cachedBuildOf(&all[i]))
			}
			return out, err
		},
	})
	api.Register(t, api.Action[bundttypes.ClearBuildCacheInput, bundttypes.ClearBuildCacheOutput]{
		Name: "ClearBuildCache", Acts: []string{"RecipeName"},
		Handler: func(ctx context.Context, in *bundttypes.ClearBuildCacheInput) (*bundttypes.ClearBuildCacheOutput, error) {
			n, bytes, err := a.account(ctx).ForgetCachedBuilds(ctx, ec2types.Value(in.RecipeName))
			return &bundttypes.ClearBuildCacheOutput{Entries: int32(n), SizeBytes: bytes}, err
		},
	})
	api.Register(t, api.Action[bundttypes.GetBuildLogInput, bundttypes.GetBuildLogOutput]{
		Name: "GetBuildLog", Handler: a.getBuildLog, Acts: []string{"BuildId", "Step"},
	})
	api.Register(t, api.Action[bundttypes.DescribeLineageInput, bundttypes.DescribeLineageOutput]{
		Name: "DescribeLineage", Handler: a.describeLineage, Acts: []string{"ImageId", "InstanceId", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[bundttypes.DescribeHostInput, bundttypes.DescribeHostOutput]{
		Name: "DescribeHost", Acts: []string{"Refresh"},
		Handler: func(ctx context.Context, in *bundttypes.DescribeHostInput) (*bundttypes.DescribeHostOutput, error) {
			return a.node.Host(ctx, ec2types.Value(in.Refresh))
		},
	})
	api.Register(t, api.Action[bundttypes.DescribeInventoryInput, bundttypes.DescribeInventoryOutput]{
		Name: "DescribeInventory", Handler: a.describeInventory, Acts: []string{"OrphansOnly"},
	})
	api.Register(t, api.Action[bundttypes.DescribeInstanceDetailsInput, bundttypes.DescribeInstanceDetailsOutput]{
		Name: "DescribeInstanceDetails", Handler: a.describeInstanceDetails, Acts: []string{"InstanceIds"},
	})
	api.Register(t, api.Action[bundttypes.GetInstanceIdentityCertificateInput, bundttypes.GetInstanceIdentityCertificateOutput]{
		Name: "GetInstanceIdentityCertificate", Handler: a.getInstanceIdentityCertificate,
	})
}

func (a *Actions) buildImage(ctx context.Context, in *bundttypes.BuildImageInput) (*bundttypes.BuildImageOutput, error) {
	tags, err := tagSpecs(in.TagSpecifications, "image")
	if err != nil {
		return nil, err
	}
	b, err := a.account(ctx).BuildImage(ctx, cloud.BuildRequest{
		ContextDigest: ec2types.Value(in.ContextDigest), Arch: model.Arch(ec2types.Value(in.Architecture)),
		ImageName: ec2types.Value(in.Name), Tags: tags["image"], ClientToken: ec2types.Value(in.ClientToken),
		HoldKey: ec2types.Value(in.HoldKey), NoCache: ec2types.Value(in.NoCache),
	})
	if err != nil {
		return nil, err
	}
	return &bundttypes.BuildImageOutput{BuildId: b.ID, ImageId: b.ImageID}, nil
}

func (a *Actions) describeBuilds(ctx context.Context, in *bundttypes.DescribeBuildsInput) (*bundttypes.DescribeBuildsOutput, error) {
	all, err := a.account(ctx).Builds(ctx)
	if err != nil {
		return nil, err
	}
	page, next, err := describe(a, query[model.Build]{
		action: "DescribeBuilds", all: all, ids: in.BuildIds, kind: buildKind, filters: in.Filters,
		fields: map[string]func(*model.Build) []string{
			"architecture": func(b *model.Build) []string { return []string{string(b.Arch)} },
			"build-id":     func(b *model.Build) []string { return []string{b.ID} },
			"image-id":     func(b *model.Build) []string { return []string{b.ImageID} },
			"image-name":   func(b *model.Build) []string { return []string{b.ImageName} },
			"recipe-name":  func(b *model.Build) []string { return []string{b.RecipeName} },
			"state":        func(b *model.Build) []string { return []string{string(b.State)} },
		},
		tags: func(b *model.Build) model.Tags { return b.Tags }, max: in.MaxResults, token: in.NextToken, least: 1, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &bundttypes.DescribeBuildsOutput{NextToken: next}
	for i := range page {
		out.Builds = append(out.Builds, buildOf(&page[i]))
	}
	return out, nil
}

func (a *Actions) getBuildLog(ctx context.Context, in *bundttypes.GetBuildLogInput) (*bundttypes.GetBuildLogOutput, error) {
	b, err := a.account(ctx).Build(ctx, ec2types.Value(in.BuildId))
	if err != nil {
		return nil, err
	}
	step := int(ec2types.Value(in.Step))
	if step < 1 || step > len(b.Steps) {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "The build %s has steps 1 to %d, and no step %d", b.ID, len(b.Steps), step)
	}
	text, err := a.node.BuildLog(b.ID, step-1)
	return &bundttypes.GetBuildLogOutput{Log: text}, err
}

func buildOf(b *model.Build) bundttypes.Build {
	out := bundttypes.Build{
		Architecture: string(b.Arch), BuildId: b.ID, CreatedAt: b.Created, FinishedAt: some(b.Finished), ImageId: b.ImageID, ImageName: b.ImageName,
		RecipeDigest: b.RecipeDigest, RecipeName: b.RecipeName, RecipeVersion: b.RecipeVersion, State: string(b.State), Tags: tagsOf(b.Tags),
		ParentImageId: b.ParentImage, HeldInstanceId: b.HeldInstance,
	}
	if b.StateReason.Code != "" {
		out.StateReason = &bundttypes.StateReason{Code: b.StateReason.Code, Message: b.StateReason.Message}
	}
	for _, s := range b.Steps {
		out.Steps = append(out.Steps, bundttypes.BuildStep{Name: s.Name, Phase: s.Phase, Error: s.Error, Detail: s.Detail, Cached: s.Cached, StartedAt: s.Started, FinishedAt: some(s.Finished)})
	}
	return out
}

func cachedBuildOf(c *model.CachedBuild) bundttypes.CachedBuild {
	return bundttypes.CachedBuild{
		Architecture: string(c.Arch), BuildId: c.BuildID, Component: c.Component, CreatedAt: c.Created, Depth: int32(c.Depth), ExpiresAt: some(c.Expires),
		Key: c.Key, RecipeName: c.Recipe, SizeBytes: c.Bytes, UsedAt: c.Used,
	}
}

// some is nil for the zero time.
func some(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (a *Actions) describeLineage(ctx context.Context, in *bundttypes.DescribeLineageInput) (*bundttypes.DescribeLineageOutput, error) {
	forest, err := a.account(ctx).Lineage(ctx)
	if err != nil {
		return nil, err
	}
	nodes := forest.Nodes
	of := cmp.Or(ec2types.Value(in.ImageId), ec2types.Value(in.InstanceId))
	if of != "" {
		if nodes = forest.Family(of); nodes == nil {
			return nil, model.Errorf(model.CodeLineageUnknown, "nothing is known of where '%s' came from", of).WithHint("bundt lineage without an id shows everything")
		}
	}
	page, next, err := api.PaginateSorted(a.pager, api.PageRequest{
		Action: "DescribeLineage", NextToken: in.NextToken, MaxResults: in.MaxResults, Query: of, Min: 5, Max: 1000,
	}, nodes, func(*cloud.Ancestor) bool { return true }, func(n *cloud.Ancestor) string { return n.Key })
	if err != nil {
		return nil, err
	}
	looks, err := a.account(ctx).Looks(ctx)
	if err != nil {
		return nil, err
	}
	out := &bundttypes.DescribeLineageOutput{NextToken: next}
	for _, n := range page {
		state, arch := looks(n.ID)
		if n.Kind == model.LineageRecipe {
			state = "known"
		}
		out.Nodes = append(out.Nodes, bundttypes.LineageNode{
			Id: n.ID, Kind: string(n.Kind), Name: n.Name, ParentId: n.Parent, CreatedAt: some(n.Created), Consistency: string(n.Consistency),
			State: cmp.Or(state, "gone"), Architecture: arch,
		})
	}
	return out, nil
}

func (a *Actions) describeInventory(ctx context.Context, in *bundttypes.DescribeInventoryInput) (*bundttypes.DescribeInventoryOutput, error) {
	items, err := a.node.Inventory(ctx)
	if err != nil {
		return nil, err
	}
	if ec2types.Value(in.OrphansOnly) {
		items = slices.DeleteFunc(items, func(i bundttypes.InventoryItem) bool { return !i.Orphan })
	}
	return &bundttypes.DescribeInventoryOutput{Items: items}, nil
}

func (a *Actions) describeInstanceDetails(ctx context.Context, in *bundttypes.DescribeInstanceDetailsInput) (*bundttypes.DescribeInstanceDetailsOutput, error) {
	found, err := a.account(ctx).FindInstances(ctx, in.InstanceIds)
	if err != nil {
		return nil, err
	}
	page, err := a.account(ctx).Named(ctx, found)
	if err != nil {
		return nil, err
	}
	out := &bundttypes.DescribeInstanceDetailsOutput{}
	for _, i := range page {
		d, err := a.node.Details(ctx, i)
		if err != nil {
			return nil, err
		}
		out.InstanceDetails = append(out.InstanceDetails, d)
	}
	return out, nil
}

// getInstanceIdentityCertificate shows the certificate, which is for everybody to
// know, and never its key.
func (a *Actions) getInstanceIdentityCertificate(ctx context.Context, _ *bundttypes.GetInstanceIdentityCertificateInput) (*bundttypes.GetInstanceIdentityCertificateOutput, error) {
	key, err := a.cloud.SigningKey(ctx)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: key.Certificate})
	return &bundttypes.GetInstanceIdentityCertificateOutput{Certificate: string(text)}, nil
}
