package actions

import (
	"context"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// describeInstances answers from the shape that filters look at, too.
func (a *Actions) describeInstances(ctx context.Context, in *ec2types.DescribeInstancesInput) (*ec2types.DescribeInstancesOutput, error) {
	page, next, err := a.findInstances(ctx, instanceQuery{
		action: "DescribeInstances", ids: in.InstanceIds, filters: in.Filters, fields: a.instanceFilters,
		tags: func(s *shownInstance) model.Tags { return s.record.Tags }, max: in.MaxResults, token: in.NextToken,
	})
	return &ec2types.DescribeInstancesOutput{Reservations: reservationsOf(page), NextToken: next}, err
}

func (a *Actions) describeInstanceStatus(ctx context.Context, in *ec2types.DescribeInstanceStatusInput) (*ec2types.DescribeInstanceStatusOutput, error) {
	all := ec2types.Value(in.IncludeAllInstances)
	page, next, err := a.findInstances(ctx, instanceQuery{
		action: "DescribeInstanceStatus", ids: in.InstanceIds, filters: in.Filters, fields: a.statusFilters, max: in.MaxResults, token: in.NextToken,
		// An instance that does not run is no error: it is just not shown.
		keep: func(i *model.Instance) bool { return all || i.State == model.InstanceRunning },
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeInstanceStatusOutput{NextToken: next}
	for i := range page {
		out.InstanceStatuses = append(out.InstanceStatuses, a.statusOf(page[i].record))
	}
	return out, nil
}

// statusFilters are the filters of DescribeInstanceStatus. bundt schedules no
// events, so nothing passes a filter on them.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceStatus.html
func (a *Actions) statusFilters() map[string]instanceFilter {
	filters := map[string]instanceFilter{}
	for _, name := range []string{"code", "description", "instance-event-id", "not-after", "not-before", "not-before-deadline"} {
		filters["event."+name] = func(*shownInstance) []string { return nil }
	}
	for name, get := range map[string]func(*ec2types.InstanceStatus) []string{
		"availability-zone":            func(s *ec2types.InstanceStatus) []string { return value(s.AvailabilityZone) },
		"instance-state-code":          func(s *ec2types.InstanceStatus) []string { return value(s.InstanceState.Code) },
		"instance-state-name":          func(s *ec2types.InstanceStatus) []string { return value(s.InstanceState.Name) },
		"instance-status.reachability": func(s *ec2types.InstanceStatus) []string { return over(s.InstanceStatus.Details, reachability) },
		"instance-status.status":       func(s *ec2types.InstanceStatus) []string { return value(s.InstanceStatus.Status) },
		"system-status.reachability":   func(s *ec2types.InstanceStatus) []string { return over(s.SystemStatus.Details, reachability) },
		"system-status.status":         func(s *ec2types.InstanceStatus) []string { return value(s.SystemStatus.Status) },
	} {
		filters[name] = func(s *shownInstance) []string { return get(new(a.statusOf(s.record))) }
	}
	return filters
}

func reachability(d *ec2types.InstanceStatusDetails) []string { return value(d.Status) }

// summary is EC2's word for the outcome of the reachability check.
func summary(r model.Reachability) string {
	switch r {
	case model.ReachabilityPassed:
		return "ok"
	case model.ReachabilityInitializing:
		return "initializing"
	case model.ReachabilityFailed:
		return "impaired"
	}
	return "not-applicable"
}

func (a *Actions) statusOf(i *model.Instance) ec2types.InstanceStatus {
	status := func(r model.Reachability) *ec2types.InstanceStatusSummary {
		s := &ec2types.InstanceStatusSummary{Status: ptr(summary(r))}
		if r != "" {
			s.Details = []ec2types.InstanceStatusDetails{{Name: ptr("reachability"), Status: ptr(string(r))}}
		}
		return s
	}
	var system model.Reachability
	if i.State == model.InstanceRunning {
		system = model.ReachabilityPassed // this node answers, so its system does
	}
	return ec2types.InstanceStatus{
		AvailabilityZone: ptr(a.cloud.Zone()), InstanceId: ptr(i.ID), InstanceState: stateOf(i.State),
		InstanceStatus: status(i.Reachability), SystemStatus: status(system),
	}
}
