package actions

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

var pipelineRunKind = objectKind[model.PipelineRun]{
	func(r *model.PipelineRun) string { return r.ID }, isID(model.PipelineRunPrefix), "InvalidImagePipelineExecutionID.Malformed", "InvalidImagePipelineExecutionID.NotFound", "pipeline execution",
}

// The statuses of pipelines, by Image Builder's names.
const (
	statusEnabled  = "ENABLED"
	statusDisabled = "DISABLED"
)

// registerPipelines registers the actions on image pipelines.
func (a *Actions) registerPipelines(t *api.Table) {
	parts := []string{"ContextDigest", "Description", "Distribution", "Keep", "Schedule", "Status"}
	api.Register(t, api.Action[bundttypes.CreateImagePipelineInput, bundttypes.CreateImagePipelineOutput]{
		Name: "CreateImagePipeline", Handler: a.createPipeline, Acts: append([]string{"Architecture", "ClientToken", "Name"}, parts...),
	})
	api.Register(t, api.Action[bundttypes.UpdateImagePipelineInput, bundttypes.UpdateImagePipelineOutput]{
		Name: "UpdateImagePipeline", Handler: a.updatePipeline, Acts: append([]string{"ImagePipeline"}, parts...), KeepEmpty: []string{"Description", "Schedule.ScheduleExpression"},
	})
	api.Register(t, api.Action[bundttypes.DeleteImagePipelineInput, bundttypes.DeleteImagePipelineOutput]{
		Name: "DeleteImagePipeline", Acts: []string{"ImagePipeline"},
		Handler: func(ctx context.Context, in *bundttypes.DeleteImagePipelineInput) (*bundttypes.DeleteImagePipelineOutput, error) {
			return &bundttypes.DeleteImagePipelineOutput{}, a.account(ctx).DeletePipeline(ctx, ec2types.Value(in.ImagePipeline))
		},
	})
	api.Register(t, api.Action[bundttypes.DescribeImagePipelinesInput, bundttypes.DescribeImagePipelinesOutput]{
		Name: "DescribeImagePipelines", Handler: a.describePipelines, Acts: []string{"ImagePipelines"},
	})
	api.Register(t, api.Action[bundttypes.StartImagePipelineExecutionInput, bundttypes.StartImagePipelineExecutionOutput]{
		Name: "StartImagePipelineExecution", Acts: []string{"ImagePipeline", "ClientToken"},
		Handler: func(ctx context.Context, in *bundttypes.StartImagePipelineExecutionInput) (*bundttypes.StartImagePipelineExecutionOutput, error) {
			r, err := a.account(ctx).StartPipeline(ctx, ec2types.Value(in.ImagePipeline), ec2types.Value(in.ClientToken))
			return &bundttypes.StartImagePipelineExecutionOutput{Execution: executionOf(&r)}, err
		},
	})
	api.Register(t, api.Action[bundttypes.DescribeImagePipelineExecutionsInput, bundttypes.DescribeImagePipelineExecutionsOutput]{
		Name: "DescribeImagePipelineExecutions", Handler: a.describeExecutions, Acts: []string{"ExecutionIds", "ImagePipeline", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[bundttypes.RetryImageDistributionInput, bundttypes.RetryImageDistributionOutput]{
		Name: "RetryImageDistribution", Acts: []string{"ExecutionId"},
		Handler: func(ctx context.Context, in *bundttypes.RetryImageDistributionInput) (*bundttypes.RetryImageDistributionOutput, error) {
			r, err := a.account(ctx).RetryDeliveries(ctx, ec2types.Value(in.ExecutionId))
			return &bundttypes.RetryImageDistributionOutput{Execution: executionOf(&r)}, err
		},
	})
}

// pipelineStatus reads whether a pipeline is enabled; nil if there is none.
func pipelineStatus(status *string) (*bool, error) {
	switch ec2types.Value(status) {
	case "":
		return nil, nil
	case statusEnabled:
		return new(true), nil
	case statusDisabled:
		return new(false), nil
	}
	return nil, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter Status is invalid. Valid values: %s, %s", *status, statusEnabled, statusDisabled)
}

func scheduleFrom(s *bundttypes.PipelineSchedule) *model.PipelineSchedule {
	if s == nil {
		return nil
	}
	return &model.PipelineSchedule{
		Expression: ec2types.Value(s.ScheduleExpression), Zone: ec2types.Value(s.Timezone), Condition: model.StartCondition(ec2types.Value(s.PipelineExecutionStartCondition)),
	}
}

func (a *Actions) distributionFrom(d *bundttypes.DistributionConfiguration) (*model.Distribution, error) {
	if d == nil {
		return nil, nil
	}
	out := &model.Distribution{Name: ec2types.Value(d.Name)}
	for _, r := range d.Regions {
		if r != a.cloud.Info().Region { // where the images are anyway
			out.Regions = append(out.Regions, r)
		}
	}
	if len(d.AmiTags) > 0 {
		var err error
		if out.Tags, err = tagMap(d.AmiTags); err != nil {
			return nil, err
		}
	}
	if p := d.LaunchPermission; p != nil {
		for _, g := range p.UserGroups {
			if g != "all" {
				return nil, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter UserGroups is invalid: the only group is all", g)
			}
			out.Launch.Public = true
		}
		out.Launch.Accounts = p.UserIds
	}
	for _, r := range d.Registries {
		out.Registries = append(out.Registries, model.RegistryTarget{
			Reference: ec2types.Value(r.Reference), PlainHTTP: ec2types.Value(r.PlainHttp), Sign: ec2types.Value(r.Sign),
			Login: model.RegistryLogin{Username: ec2types.Value(r.Username), Password: ec2types.Value(r.Password)},
		})
	}
	return out, nil
}

func (a *Actions) createPipeline(ctx context.Context, in *bundttypes.CreateImagePipelineInput) (*bundttypes.CreateImagePipelineOutput, error) {
	on, err := pipelineStatus(in.Status)
	if err != nil {
		return nil, err
	}
	distribution, err := a.distributionFrom(in.Distribution)
	if err != nil {
		return nil, err
	}
	p, err := a.account(ctx).CreatePipeline(ctx, cloud.PipelineRequest{
		Name: ec2types.Value(in.Name), Description: ec2types.Value(in.Description), ContextDigest: ec2types.Value(in.ContextDigest), Arch: model.Arch(ec2types.Value(in.Architecture)),
		Disabled: on != nil && !*on, Schedule: ec2types.Value(scheduleFrom(in.Schedule)), Distribution: ec2types.Value(distribution),
		Keep: int(ec2types.Value(in.Keep)), ClientToken: ec2types.Value(in.ClientToken),
	})
	return &bundttypes.CreateImagePipelineOutput{ImagePipeline: pipelineOf(&p)}, err
}

func (a *Actions) updatePipeline(ctx context.Context, in *bundttypes.UpdateImagePipelineInput) (*bundttypes.UpdateImagePipelineOutput, error) {
	on, err := pipelineStatus(in.Status)
	if err != nil {
		return nil, err
	}
	ch := cloud.PipelineChange{Description: in.Description, ContextDigest: in.ContextDigest, Enabled: on, Schedule: scheduleFrom(in.Schedule)}
	if in.Keep != nil {
		ch.Keep = new(int(*in.Keep))
	}
	if ch.Distribution, err = a.distributionFrom(in.Distribution); err != nil {
		return nil, err
	}
	p, err := a.account(ctx).UpdatePipeline(ctx, ec2types.Value(in.ImagePipeline), ch)
	return &bundttypes.UpdateImagePipelineOutput{ImagePipeline: pipelineOf(&p)}, err
}

func (a *Actions) describePipelines(ctx context.Context, in *bundttypes.DescribeImagePipelinesInput) (*bundttypes.DescribeImagePipelinesOutput, error) {
	out := &bundttypes.DescribeImagePipelinesOutput{}
	if len(in.ImagePipelines) == 0 {
		all, err := a.account(ctx).Pipelines(ctx)
		for i := range all {
			out.ImagePipelines = append(out.ImagePipelines, pipelineOf(&all[i]))
		}
		return out, err
	}
	for _, ref := range in.ImagePipelines {
		p, err := a.account(ctx).Pipeline(ctx, ref)
		if err != nil {
			return nil, err
		}
		out.ImagePipelines = append(out.ImagePipelines, pipelineOf(&p))
	}
	slices.SortFunc(out.ImagePipelines, func(x, y bundttypes.ImagePipeline) int { return cmp.Compare(x.Name, y.Name) })
	return out, nil
}

func (a *Actions) describeExecutions(ctx context.Context, in *bundttypes.DescribeImagePipelineExecutionsInput) (*bundttypes.DescribeImagePipelineExecutionsOutput, error) {
	all, err := a.account(ctx).PipelineRuns(ctx, ec2types.Value(in.ImagePipeline))
	if err != nil {
		return nil, err
	}
	page, next, err := describe(a, query[model.PipelineRun]{
		action: "DescribeImagePipelineExecutions", all: all, ids: in.ExecutionIds, kind: pipelineRunKind, order: newestRunFirst, also: in.ImagePipeline, max: in.MaxResults, token: in.NextToken, least: 1, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &bundttypes.DescribeImagePipelineExecutionsOutput{NextToken: next}
	for i := range page {
		out.Executions = append(out.Executions, executionOf(&page[i]))
	}
	return out, nil
}

func newestRunFirst(r *model.PipelineRun) string {
	return fmt.Sprintf("%019d %s", math.MaxInt64-r.Created.UnixNano(), r.ID)
}

func pipelineOf(p *model.Pipeline) bundttypes.ImagePipeline {
	out := bundttypes.ImagePipeline{
		Architecture: string(p.Arch), ContextDigest: p.ContextDigest, CreatedAt: p.Created, Description: p.Description, Failures: int32(p.Failures), ImagePipelineId: p.ID,
		Keep: int32(p.Keep), LastRunAt: some(p.LastRun), Name: p.Name, NextRunAt: some(cloud.NextRun(p)), PassedOverAt: some(p.Noted), PassedOverReason: p.Note,
		RecipeName: p.RecipeName, RecipeVersion: p.RecipeVersion, Status: statusDisabled, UpdatedAt: p.Updated, Distribution: distributionOf(&p.Distribution),
	}
	if p.Enabled {
		out.Status = statusEnabled
	}
	if s := p.Schedule; s.Expression != "" {
		out.Schedule = &bundttypes.PipelineSchedule{ScheduleExpression: &s.Expression, PipelineExecutionStartCondition: new(string(s.Condition))}
		if s.Zone != "" {
			out.Schedule.Timezone = &s.Zone
		}
	}
	return out
}

func distributionOf(d *model.Distribution) *bundttypes.DistributionConfiguration {
	out := &bundttypes.DistributionConfiguration{AmiTags: tagsOf(d.Tags), Name: &d.Name, Regions: d.Regions}
	if d.Launch.Public || len(d.Launch.Accounts) > 0 {
		out.LaunchPermission = &bundttypes.PipelineLaunchPermission{UserIds: d.Launch.Accounts}
		if d.Launch.Public {
			out.LaunchPermission.UserGroups = []string{"all"}
		}
	}
	for _, r := range d.Registries {
		to := bundttypes.RegistryDistribution{Reference: &r.Reference, PlainHttp: &r.PlainHTTP, Sign: &r.Sign}
		if r.Login.Username != "" {
			to.Username = &r.Login.Username
		}
		out.Registries = append(out.Registries, to)
	}
	return out
}

func executionOf(r *model.PipelineRun) bundttypes.ImagePipelineExecution {
	out := bundttypes.ImagePipelineExecution{
		BuildId: r.BuildID, CreatedAt: r.Created, DueAt: some(r.Due), ExecutionId: r.ID, FinishedAt: some(r.Finished), ImageId: r.ImageID, ImageName: r.ImageName,
		ImagePipelineId: r.PipelineID, PackagesDigest: r.Built.Packages, ParentImageId: r.Built.Parent, RecipeDigest: r.Built.Recipe, State: string(r.State),
		StateReason: r.StateReason.Message, Version: r.Version,
	}
	for i := range r.Deliveries {
		d := &r.Deliveries[i]
		part := bundttypes.ImageDistribution{
			Attempts: int32(d.Attempts), FinishedAt: some(d.Finished), Kind: "launch-permission", NextAt: some(d.Next), State: string(d.State), StateReason: d.Message,
			Target: d.Target(), TaskId: d.TaskID,
		}
		switch {
		case d.Registry != nil:
			part.Kind = "registry"
		case d.Region != "":
			part.Kind, part.ImageId = "region", d.ImageID
			if d.State == model.DeliveryActive {
				part.NextAt = nil // it is only looked at then
			}
		}
		out.Distributions = append(out.Distributions, part)
	}
	return out
}
