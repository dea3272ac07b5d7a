package actions

import (
	"context"
	"slices"
	"strconv"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerStorage(t *api.Table) {
	api.Register(t, api.Action[ec2types.DescribeSnapshotsInput, ec2types.DescribeSnapshotsOutput]{
		Name: "DescribeSnapshots", Handler: a.describeSnapshots,
		Acts: []string{"SnapshotIds", "OwnerIds", "RestorableByUserIds", "Filters", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.DeleteSnapshotInput, ec2types.DeleteSnapshotOutput]{
		Name: "DeleteSnapshot", Acts: []string{"SnapshotId"},
		Handler: func(ctx context.Context, in *ec2types.DeleteSnapshotInput) (*ec2types.DeleteSnapshotOutput, error) {
			return &ec2types.DeleteSnapshotOutput{}, a.account(ctx).DeleteSnapshot(ctx, ec2types.Value(in.SnapshotId))
		},
	})
	api.Register(t, api.Action[ec2types.DescribeVolumesInput, ec2types.DescribeVolumesOutput]{
		Name: "DescribeVolumes", Handler: a.describeVolumes, Acts: []string{"VolumeIds", "Filters", "MaxResults", "NextToken"},
	})
}

func (a *Actions) describeSnapshots(ctx context.Context, in *ec2types.DescribeSnapshotsInput) (*ec2types.DescribeSnapshotsOutput, error) {
	all, err := a.account(ctx).Snapshots(ctx)
	if err != nil {
		return nil, err
	}
	if !mine(ctx, in.OwnerIds) || !mine(ctx, in.RestorableByUserIds) {
		if err := snapshotKind.check(in.SnapshotIds, func(id string) bool {
			return slices.ContainsFunc(all, func(s model.Snapshot) bool { return s.ID == id })
		}); err != nil {
			return nil, err
		}
		return &ec2types.DescribeSnapshotsOutput{}, nil
	}
	one := func(get func(*model.Snapshot) string) func(*model.Snapshot) []string {
		return func(s *model.Snapshot) []string { return []string{get(s)} }
	}
	page, next, err := describe(a, query[model.Snapshot]{
		action: "DescribeSnapshots", all: all, ids: in.SnapshotIds, kind: snapshotKind, filters: in.Filters,
		fields: map[string]func(*model.Snapshot) []string{
			"description":  one(func(s *model.Snapshot) string { return s.Description }),
			"encrypted":    one(func(*model.Snapshot) string { return "false" }),
			"owner-id":     one(func(s *model.Snapshot) string { return s.OwnerID }),
			"progress":     one(func(s *model.Snapshot) string { return *snapshotOf(s).Progress }),
			"snapshot-id":  one(func(s *model.Snapshot) string { return s.ID }),
			"start-time":   func(s *model.Snapshot) []string { return timeFilter(s.Started) },
			"status":       one(func(s *model.Snapshot) string { return string(s.State) }),
			"storage-tier": one(func(*model.Snapshot) string { return "standard" }),
			"volume-id":    one(func(s *model.Snapshot) string { return s.VolumeID }),
			"volume-size":  one(func(s *model.Snapshot) string { return strconv.FormatInt(s.SizeGiB, 10) }),
		},
		tags: func(s *model.Snapshot) model.Tags { return s.Tags }, max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeSnapshotsOutput{NextToken: next}
	for i := range page {
		out.Snapshots = append(out.Snapshots, snapshotOf(&page[i]))
	}
	return out, nil
}

func (a *Actions) describeVolumes(ctx context.Context, in *ec2types.DescribeVolumesInput) (*ec2types.DescribeVolumesOutput, error) {
	all, err := a.account(ctx).Volumes(ctx)
	if err != nil {
		return nil, err
	}
	one := func(get func(*model.Volume) string) func(*model.Volume) []string {
		return func(v *model.Volume) []string { return []string{get(v)} }
	}
	attached := func(get func(*model.Attachment) string) func(*model.Volume) []string {
		return func(v *model.Volume) []string {
			if v.Attachment == nil {
				return nil
			}
			return []string{get(v.Attachment)}
		}
	}
	page, next, err := describe(a, query[model.Volume]{
		action: "DescribeVolumes", all: all, ids: in.VolumeIds, kind: volumeKind, filters: in.Filters,
		fields: map[string]func(*model.Volume) []string{
			"attachment.delete-on-termination": attached(func(at *model.Attachment) string { return strconv.FormatBool(at.DeleteOnTermination) }),
			"attachment.device":                attached(func(at *model.Attachment) string { return at.Device }),
			"attachment.instance-id":           attached(func(at *model.Attachment) string { return at.InstanceID }),
			"attachment.status":                attached(func(*model.Attachment) string { return "attached" }),
			"availability-zone":                one(func(*model.Volume) string { return a.cloud.Zone() }),
			"create-time":                      func(v *model.Volume) []string { return timeFilter(v.Created) },
			"encrypted":                        one(func(*model.Volume) string { return "false" }),
			"multi-attach-enabled":             one(func(*model.Volume) string { return "false" }),
			"size":                             one(func(v *model.Volume) string { return strconv.FormatInt(v.SizeGiB, 10) }),
			"snapshot-id":                      one(func(v *model.Volume) string { return v.SnapshotID }),
			"status":                           one(func(v *model.Volume) string { return string(v.State) }),
			"volume-id":                        one(func(v *model.Volume) string { return v.ID }),
			"volume-type":                      one(func(*model.Volume) string { return volumeType }),
		},
		tags: func(v *model.Volume) model.Tags { return v.Tags }, max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeVolumesOutput{NextToken: next}
	for i := range page {
		out.Volumes = append(out.Volumes, a.volumeOf(&page[i]))
	}
	return out, nil
}
