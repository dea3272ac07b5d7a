package actions

import (
	"context"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

var binnedSnapshotKind = objectKind[model.BinnedSnapshot]{func(b *model.BinnedSnapshot) string { return b.Snapshot.ID }, isID(model.SnapshotPrefix), model.CodeSnapshotIDMalformed, model.CodeSnapshotNotFound, "snapshot id"}

func (a *Actions) registerSnapshotLocks(t *api.Table) {
	api.Register(t, api.Action[ec2types.LockSnapshotInput, ec2types.LockSnapshotOutput]{
		Name: "LockSnapshot", Handler: a.lockSnapshot, Acts: []string{"SnapshotId", "LockMode", "LockDuration", "ExpirationDate", "CoolOffPeriod"},
	})
	api.Register(t, api.Action[ec2types.UnlockSnapshotInput, ec2types.UnlockSnapshotOutput]{
		Name: "UnlockSnapshot", Acts: []string{"SnapshotId"},
		Handler: func(ctx context.Context, in *ec2types.UnlockSnapshotInput) (*ec2types.UnlockSnapshotOutput, error) {
			return &ec2types.UnlockSnapshotOutput{SnapshotId: in.SnapshotId}, a.account(ctx).UnlockSnapshot(ctx, ec2types.Value(in.SnapshotId))
		},
	})
	pages := []string{"SnapshotIds", "Filters", "MaxResults", "NextToken"}
	api.Register(t, api.Action[ec2types.DescribeLockedSnapshotsInput, ec2types.DescribeLockedSnapshotsOutput]{
		Name: "DescribeLockedSnapshots", Handler: a.describeLockedSnapshots, Acts: pages,
	})
	api.Register(t, api.Action[ec2types.ListSnapshotsInRecycleBinInput, ec2types.ListSnapshotsInRecycleBinOutput]{
		Name: "ListSnapshotsInRecycleBin", Handler: a.listSnapshotBin, Acts: []string{"SnapshotIds", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.RestoreSnapshotFromRecycleBinInput, ec2types.RestoreSnapshotFromRecycleBinOutput]{
		Name: "RestoreSnapshotFromRecycleBin", Handler: a.restoreSnapshot, Acts: []string{"SnapshotId"},
	})
	api.Register(t, api.Action[bundttypes.ModifySnapshotRetentionInput, bundttypes.SnapshotRetention]{
		Name: "ModifySnapshotRetention", Acts: []string{"RetentionDays"},
		Handler: func(ctx context.Context, in *bundttypes.ModifySnapshotRetentionInput) (*bundttypes.SnapshotRetention, error) {
			days := ec2types.Value(in.RetentionDays)
			return &bundttypes.SnapshotRetention{RetentionDays: days}, a.account(ctx).SetSnapshotRetention(ctx, time.Duration(days)*day)
		},
	})
	api.Register(t, api.Action[bundttypes.DescribeSnapshotRetentionInput, bundttypes.SnapshotRetention]{
		Name: "DescribeSnapshotRetention",
		Handler: func(ctx context.Context, _ *bundttypes.DescribeSnapshotRetentionInput) (*bundttypes.SnapshotRetention, error) {
			keep, err := a.account(ctx).SnapshotRetention(ctx)
			return &bundttypes.SnapshotRetention{RetentionDays: int32(keep / day)}, err
		},
	})
	api.Register(t, api.Action[ec2types.EnableFastSnapshotRestoresInput, ec2types.EnableFastSnapshotRestoresOutput]{
		Name: "EnableFastSnapshotRestores", Acts: []string{"AvailabilityZones", "SourceSnapshotIds"},
		Handler: func(context.Context, *ec2types.EnableFastSnapshotRestoresInput) (*ec2types.EnableFastSnapshotRestoresOutput, error) {
			return nil, model.Errorf(model.CodeUnsupportedOperation, "There is nothing to enable: a volume has all of its performance as soon as it is made of a snapshot")
		},
	})
	api.Register(t, api.Action[ec2types.DescribeFastSnapshotRestoresInput, ec2types.DescribeFastSnapshotRestoresOutput]{
		Name: "DescribeFastSnapshotRestores", Acts: []string{"Filters", "MaxResults", "NextToken"},
		Handler: func(_ context.Context, in *ec2types.DescribeFastSnapshotRestoresInput) (*ec2types.DescribeFastSnapshotRestoresOutput, error) {
			none := func(*model.Snapshot) []string { return nil } // of none that are enabled
			_, next, err := describe(a, query[model.Snapshot]{
				action: "DescribeFastSnapshotRestores", kind: snapshotKind, filters: in.Filters, max: in.MaxResults, token: in.NextToken, least: 1, most: 200,
				fields: map[string]func(*model.Snapshot) []string{"availability-zone": none, "owner-id": none, "snapshot-id": none, "state": none},
			})
			return &ec2types.DescribeFastSnapshotRestoresOutput{NextToken: next}, err
		},
	})
}

func (a *Actions) lockSnapshot(ctx context.Context, in *ec2types.LockSnapshotInput) (*ec2types.LockSnapshotOutput, error) {
	r := cloud.SnapshotLocking{
		SnapshotID: ec2types.Value(in.SnapshotId), Mode: model.LockMode(ec2types.Value(in.LockMode)),
		Days: int(ec2types.Value(in.LockDuration)), CoolOffHours: int(ec2types.Value(in.CoolOffPeriod)), Expires: ec2types.Value(in.ExpirationDate),
	}
	s, err := a.account(ctx).LockSnapshot(ctx, r)
	if err != nil {
		return nil, err
	}
	l := a.lockOf(&s)
	return &ec2types.LockSnapshotOutput{
		SnapshotId: l.SnapshotId, LockState: l.LockState, LockDuration: l.LockDuration, CoolOffPeriod: l.CoolOffPeriod, CoolOffPeriodExpiresOn: l.CoolOffPeriodExpiresOn,
		LockCreatedOn: l.LockCreatedOn, LockExpiresOn: l.LockExpiresOn, LockDurationStartTime: l.LockDurationStartTime,
	}, nil
}

func (a *Actions) lockOf(s *model.Snapshot) ec2types.LockedSnapshotsInfo {
	l := s.Lock
	return ec2types.LockedSnapshotsInfo{
		OwnerId: ptr(s.OwnerID), SnapshotId: ptr(s.ID), LockState: ptr(l.State(a.cloud.Now())), LockDuration: ptr(int32(l.Days)), CoolOffPeriod: count(int64(l.CoolOffHours)),
		CoolOffPeriodExpiresOn: some(l.CoolOffUntil), LockCreatedOn: ptr(l.Created), LockExpiresOn: ptr(l.Expires), LockDurationStartTime: ptr(l.Created),
	}
}

func (a *Actions) describeLockedSnapshots(ctx context.Context, in *ec2types.DescribeLockedSnapshotsInput) (*ec2types.DescribeLockedSnapshotsOutput, error) {
	found, err := a.account(ctx).FindSnapshots(ctx, in.SnapshotIds)
	if err != nil {
		return nil, err
	}
	self := api.PrincipalFrom(ctx).AccountID
	found = those(found, func(s *model.Snapshot) bool { return s.OwnerID == self && s.Lock != nil })
	page, next, err := describe(a, query[model.Snapshot]{
		action: "DescribeLockedSnapshots", sorted: found, ids: in.SnapshotIds, kind: snapshotKind, filters: in.Filters,
		fields: map[string]func(*model.Snapshot) []string{"lock-state": func(s *model.Snapshot) []string { return []string{s.Lock.State(a.cloud.Now())} }},
		max:    in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeLockedSnapshotsOutput{NextToken: next}
	for i := range page {
		out.Snapshots = append(out.Snapshots, a.lockOf(&page[i]))
	}
	return out, nil
}

func (a *Actions) listSnapshotBin(ctx context.Context, in *ec2types.ListSnapshotsInRecycleBinInput) (*ec2types.ListSnapshotsInRecycleBinOutput, error) {
	all, err := a.account(ctx).BinnedSnapshots(ctx)
	if err != nil {
		return nil, err
	}
	page, next, err := describe(a, query[model.BinnedSnapshot]{
		action: "ListSnapshotsInRecycleBin", all: all, ids: in.SnapshotIds, kind: binnedSnapshotKind, max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.ListSnapshotsInRecycleBinOutput{NextToken: next}
	for i := range page {
		b := &page[i]
		s := a.snapshotOf(&b.Snapshot)
		out.Snapshots = append(out.Snapshots, ec2types.SnapshotRecycleBinInfo{
			SnapshotId: s.SnapshotId, Description: s.Description, VolumeId: s.VolumeId, RecycleBinEnterTime: ptr(b.Entered), RecycleBinExitTime: ptr(b.Exits),
		})
	}
	return out, nil
}

func (a *Actions) restoreSnapshot(ctx context.Context, in *ec2types.RestoreSnapshotFromRecycleBinInput) (*ec2types.RestoreSnapshotFromRecycleBinOutput, error) {
	snap, err := a.account(ctx).RestoreSnapshot(ctx, ec2types.Value(in.SnapshotId))
	if err != nil {
		return nil, err
	}
	s := a.snapshotOf(&snap)
	return &ec2types.RestoreSnapshotFromRecycleBinOutput{
		SnapshotId: s.SnapshotId, Description: s.Description, Encrypted: s.Encrypted, OwnerId: s.OwnerId, Progress: s.Progress,
		StartTime: s.StartTime, State: s.State, VolumeId: s.VolumeId, VolumeSize: s.VolumeSize,
	}, nil
}
