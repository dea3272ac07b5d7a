package actions

import (
	"context"
	"slices"
	"strconv"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerSnapshots(t *api.Table) {
	api.Register(t, api.Action[ec2types.CreateSnapshotInput, ec2types.CreateSnapshotOutput]{
		Name: "CreateSnapshot", Handler: a.createSnapshot, Acts: []string{"VolumeId", "Description", "TagSpecifications"},
	})
	api.Register(t, api.Action[ec2types.CreateSnapshotsInput, ec2types.CreateSnapshotsOutput]{
		Name: "CreateSnapshots", Handler: a.createSnapshots,
		Acts: []string{"InstanceSpecification", "Description", "TagSpecifications", "CopyTagsFromSource"},
	})
	api.Register(t, api.Action[ec2types.CopySnapshotInput, ec2types.CopySnapshotOutput]{
		Name: "CopySnapshot", Handler: a.copySnapshot,
		Acts: []string{"SourceSnapshotId", "SourceRegion", "DestinationRegion", "Description", "TagSpecifications", "Encrypted", "KmsKeyId"},
	})
	api.Register(t, api.Action[ec2types.DeleteSnapshotInput, ec2types.DeleteSnapshotOutput]{
		Name: "DeleteSnapshot", Acts: []string{"SnapshotId"},
		Handler: func(ctx context.Context, in *ec2types.DeleteSnapshotInput) (*ec2types.DeleteSnapshotOutput, error) {
			return &ec2types.DeleteSnapshotOutput{}, a.account(ctx).DeleteSnapshot(ctx, ec2types.Value(in.SnapshotId))
		},
	})
	api.Register(t, api.Action[ec2types.DescribeSnapshotsInput, ec2types.DescribeSnapshotsOutput]{
		Name: "DescribeSnapshots", Handler: a.describeSnapshots,
		Acts: []string{"SnapshotIds", "OwnerIds", "RestorableByUserIds", "Filters", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.DescribeSnapshotAttributeInput, ec2types.DescribeSnapshotAttributeOutput]{
		Name: "DescribeSnapshotAttribute", Handler: a.describeSnapshotAttribute, Acts: []string{"SnapshotId", "Attribute"},
	})
	api.Register(t, api.Action[ec2types.ModifySnapshotAttributeInput, ec2types.ModifySnapshotAttributeOutput]{
		Name: "ModifySnapshotAttribute", Handler: a.modifySnapshotAttribute,
		Acts: []string{"SnapshotId", "Attribute=createVolumePermission", "OperationType", "UserIds", "GroupNames", "CreateVolumePermission"},
	})
	api.Register(t, api.Action[ec2types.ResetSnapshotAttributeInput, ec2types.ResetSnapshotAttributeOutput]{
		Name: "ResetSnapshotAttribute", Acts: []string{"SnapshotId", "Attribute=createVolumePermission"},
		Handler: func(ctx context.Context, in *ec2types.ResetSnapshotAttributeInput) (*ec2types.ResetSnapshotAttributeOutput, error) {
			return &ec2types.ResetSnapshotAttributeOutput{}, a.account(ctx).UnshareSnapshot(ctx, ec2types.Value(in.SnapshotId))
		},
	})
}

func (a *Actions) createSnapshot(ctx context.Context, in *ec2types.CreateSnapshotInput) (*ec2types.CreateSnapshotOutput, error) {
	tags, err := tagSpecs(in.TagSpecifications, "snapshot")
	if err != nil {
		return nil, err
	}
	s, err := a.account(ctx).CreateSnapshot(ctx, cloud.SnapshotRequest{
		VolumeID: ec2types.Value(in.VolumeId), Description: ec2types.Value(in.Description), Tags: tags["snapshot"],
	})
	if err != nil {
		return nil, err
	}
	out := a.snapshotOf(&s)
	return &out, nil
}

func (a *Actions) createSnapshots(ctx context.Context, in *ec2types.CreateSnapshotsInput) (*ec2types.CreateSnapshotsOutput, error) {
	tags, err := tagSpecs(in.TagSpecifications, "snapshot")
	if err != nil {
		return nil, err
	}
	spec := in.InstanceSpecification
	snaps, err := a.account(ctx).CreateSnapshots(ctx, cloud.SnapshotsRequest{
		InstanceID: ec2types.Value(spec.InstanceId), ExcludeRoot: ec2types.Value(spec.ExcludeBootVolume), Exclude: spec.ExcludeDataVolumeIds,
		Description: ec2types.Value(in.Description), Tags: tags["snapshot"], CopyTagsOfVol: ec2types.Value(in.CopyTagsFromSource) == "volume",
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.CreateSnapshotsOutput{}
	for i := range snaps {
		s := a.snapshotOf(&snaps[i])
		out.Snapshots = append(out.Snapshots, ec2types.SnapshotInfo{
			Description: s.Description, Encrypted: s.Encrypted, OwnerId: s.OwnerId, Progress: s.Progress, SnapshotId: s.SnapshotId,
			StartTime: s.StartTime, State: s.State, Tags: s.Tags, VolumeId: s.VolumeId, VolumeSize: s.VolumeSize,
		})
	}
	return out, nil
}

func (a *Actions) copySnapshot(ctx context.Context, in *ec2types.CopySnapshotInput) (*ec2types.CopySnapshotOutput, error) {
	tags, err := tagSpecs(in.TagSpecifications, "snapshot")
	if err != nil {
		return nil, err
	}
	if d := ec2types.Value(in.DestinationRegion); d != "" && d != a.cloud.Info().Region {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter destinationRegion is invalid: a copy goes to the region that is asked, %s", d, a.cloud.Info().Region)
	}
	s, err := a.account(ctx).CopySnapshot(ctx, cloud.CopyRequest{
		SourceID: ec2types.Value(in.SourceSnapshotId), Region: ec2types.Value(in.SourceRegion), Description: ec2types.Value(in.Description), Tags: tags["snapshot"],
		Encryption: encryption(in.Encrypted, in.KmsKeyId),
	})
	if err != nil {
		return nil, err
	}
	return &ec2types.CopySnapshotOutput{SnapshotId: ptr(s.ID), Tags: tagsOf(s.Tags)}, nil
}

func (a *Actions) snapshotFields() map[string]func(*model.Snapshot) []string {
	one := func(get func(*model.Snapshot) string) func(*model.Snapshot) []string {
		return func(s *model.Snapshot) []string { return []string{get(s)} }
	}
	return map[string]func(*model.Snapshot) []string{
		"description":  one(func(s *model.Snapshot) string { return s.Description }),
		"encrypted":    one(func(s *model.Snapshot) string { return strconv.FormatBool(s.Key != "") }),
		"owner-id":     one(func(s *model.Snapshot) string { return s.OwnerID }),
		"progress":     one(func(s *model.Snapshot) string { return *a.snapshotOf(s).Progress }),
		"snapshot-id":  one(func(s *model.Snapshot) string { return s.ID }),
		"start-time":   func(s *model.Snapshot) []string { return timeFilter(s.Started) },
		"status":       one(func(s *model.Snapshot) string { return string(s.State) }),
		"storage-tier": one(func(*model.Snapshot) string { return "standard" }),
		"volume-id":    one(func(s *model.Snapshot) string { return *a.snapshotOf(s).VolumeId }),
		"volume-size":  one(func(s *model.Snapshot) string { return strconv.FormatInt(s.SizeGiB, 10) }),
	}
}

// selfOr is an account's id as requests write it, "self" for the caller's own.
func selfOr(id, self string) string {
	if id == "self" {
		return self
	}
	return id
}

func (a *Actions) describeSnapshots(ctx context.Context, in *ec2types.DescribeSnapshotsInput) (*ec2types.DescribeSnapshotsOutput, error) {
	self := api.PrincipalFrom(ctx).AccountID
	found, err := a.account(ctx).FindSnapshots(ctx, in.SnapshotIds)
	if err != nil {
		return nil, err
	}
	if len(in.SnapshotIds) > 0 {
		if err := snapshotKind.check(in.SnapshotIds, idsOf(found, snapshotKind.id)); err != nil {
			return nil, err
		}
	}
	// An id of a snapshot that these do not let pass is no error: it is not shown.
	passes := func(s *model.Snapshot) bool {
		owner := len(in.OwnerIds) == 0 || slices.ContainsFunc(in.OwnerIds, func(o string) bool { return selfOr(o, self) == s.OwnerID })
		user := len(in.RestorableByUserIds) == 0 || slices.ContainsFunc(in.RestorableByUserIds, func(u string) bool {
			return u == "all" && s.CreateVolume.Public || u != "all" && s.UsableBy(selfOr(u, self))
		})
		return owner && user
	}
	if len(in.OwnerIds)+len(in.RestorableByUserIds) > 0 {
		found = those(found, passes)
	}
	if len(in.SnapshotIds) > 0 {
		in.SnapshotIds = slices.DeleteFunc(slices.Clone(in.SnapshotIds), func(id string) bool {
			return !slices.ContainsFunc(found, func(s *model.Snapshot) bool { return s.ID == id })
		})
		if len(in.SnapshotIds) == 0 {
			return &ec2types.DescribeSnapshotsOutput{}, nil
		}
	}
	page, next, err := describe(a, query[model.Snapshot]{
		action: "DescribeSnapshots", sorted: found, ids: in.SnapshotIds, kind: snapshotKind, filters: in.Filters,
		fields: a.snapshotFields(), tags: func(s *model.Snapshot) model.Tags { return s.Tags }, max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeSnapshotsOutput{NextToken: next}
	for i := range page {
		shown := a.snapshotOf(&page[i])
		if page[i].OwnerID != self {
			shown.Tags = nil // are for their owner's eyes only
		}
		out.Snapshots = append(out.Snapshots, shown)
	}
	return out, nil
}

func (a *Actions) describeSnapshotAttribute(ctx context.Context, in *ec2types.DescribeSnapshotAttributeInput) (*ec2types.DescribeSnapshotAttributeOutput, error) {
	s, err := a.account(ctx).Snapshot(ctx, ec2types.Value(in.SnapshotId))
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeSnapshotAttributeOutput{SnapshotId: ptr(s.ID)}
	if ec2types.Value(in.Attribute) == ec2types.SnapshotAttributeNameProductCodes {
		out.ProductCodes = productCodesOf(s.ProductCodes)
		return out, nil
	}
	if s.CreateVolume.Public {
		out.CreateVolumePermissions = append(out.CreateVolumePermissions, ec2types.CreateVolumePermission{Group: ptr("all")})
	}
	for _, id := range s.CreateVolume.Accounts {
		out.CreateVolumePermissions = append(out.CreateVolumePermissions, ec2types.CreateVolumePermission{UserId: ptr(id)})
	}
	return out, nil
}

// modifySnapshotAttribute takes both of EC2's forms: OperationType with lists,
// and CreateVolumePermission.
func (a *Actions) modifySnapshotAttribute(ctx context.Context, in *ec2types.ModifySnapshotAttributeInput) (*ec2types.ModifySnapshotAttributeOutput, error) {
	if _, err := a.account(ctx).Snapshot(ctx, ec2types.Value(in.SnapshotId)); err != nil {
		return nil, err
	}
	var add, remove []string
	flat := slices.Concat(in.UserIds, in.GroupNames)
	switch op := ec2types.Value(in.OperationType); {
	case op == "add":
		add = flat
	case op == "remove":
		remove = flat
	case len(flat) > 0:
		return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter OperationType")
	}
	if m := in.CreateVolumePermission; m != nil {
		add, remove = append(add, grantees(m.Add)...), append(remove, grantees(m.Remove)...)
	}
	if len(add)+len(remove) == 0 {
		return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter CreateVolumePermission or UserIds or GroupNames")
	}
	return &ec2types.ModifySnapshotAttributeOutput{}, a.account(ctx).ShareSnapshot(ctx, ec2types.Value(in.SnapshotId), add, remove)
}

func grantees(list []ec2types.CreateVolumePermission) (out []string) {
	for _, p := range list {
		if g := ec2types.Value(p.Group); g != "" {
			out = append(out, g)
		}
		if u := ec2types.Value(p.UserId); u != "" {
			out = append(out, u)
		}
	}
	return out
}

func (a *Actions) snapshotOf(s *model.Snapshot) ec2types.Snapshot {
	progress := "0%"
	if s.State == model.SnapshotCompleted {
		progress = "100%"
	}
	volume := s.VolumeID
	if volume == "" {
		volume = "vol-ffffffff" // EC2's placeholder for a snapshot that was not taken of a volume
	}
	return ec2types.Snapshot{
		Description: ptr(s.Description), Encrypted: ptr(s.Key != ""), KmsKeyId: a.keyARN(s.OwnerID, s.Key), OwnerId: ptr(s.OwnerID), Progress: ptr(progress), SnapshotId: ptr(s.ID),
		StartTime: ptr(s.Started), State: ptr(string(s.State)), StateMessage: str(s.StateReason.Message), StorageTier: ptr("standard"),
		Tags: tagsOf(s.Tags), VolumeId: ptr(volume), VolumeSize: ptr(int32(s.SizeGiB)),
	}
}
