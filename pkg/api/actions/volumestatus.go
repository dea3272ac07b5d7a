package actions

import (
	"context"
	"strconv"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerVolumeStatus(t *api.Table) {
	pages := []string{"VolumeIds", "Filters", "MaxResults", "NextToken"}
	api.Register(t, api.Action[ec2types.DescribeVolumeStatusInput, ec2types.DescribeVolumeStatusOutput]{
		Name: "DescribeVolumeStatus", Handler: a.describeVolumeStatus, Acts: pages,
	})
	api.Register(t, api.Action[ec2types.DescribeVolumesModificationsInput, ec2types.DescribeVolumesModificationsOutput]{
		Name: "DescribeVolumesModifications", Handler: a.describeVolumesModifications, Acts: pages,
	})
	api.Register(t, api.Action[ec2types.DescribeVolumeAttributeInput, ec2types.DescribeVolumeAttributeOutput]{
		Name: "DescribeVolumeAttribute", Handler: a.describeVolumeAttribute, Acts: []string{"VolumeId", "Attribute"},
	})
	api.Register(t, api.Action[ec2types.ModifyVolumeAttributeInput, ec2types.ModifyVolumeAttributeOutput]{
		Name: "ModifyVolumeAttribute", Acts: []string{"VolumeId", "AutoEnableIO"},
		Handler: func(ctx context.Context, in *ec2types.ModifyVolumeAttributeInput) (*ec2types.ModifyVolumeAttributeOutput, error) {
			var on *bool
			if in.AutoEnableIO != nil {
				on = in.AutoEnableIO.Value
			}
			return &ec2types.ModifyVolumeAttributeOutput{}, a.account(ctx).SetAutoEnableIO(ctx, ec2types.Value(in.VolumeId), on)
		},
	})
}

// health is of volumes: those that are known to read from a damaged layer.
type health map[string]string

// of is EC2's status of a volume and of its check "io-enabled". Broken are volumes
// whose disk could not be made, and those of which a layer is damaged.
func (h health) of(v *model.Volume) (status, io string) {
	switch {
	case v.State == model.VolumeErrored, h[v.ID] != "":
		return "impaired", "failed"
	case v.State == model.VolumeCreating:
		return "insufficient-data", "passed"
	}
	return "ok", "passed"
}

func (a *Actions) describeVolumeStatus(ctx context.Context, in *ec2types.DescribeVolumeStatusInput) (*ec2types.DescribeVolumeStatusOutput, error) {
	found, err := a.account(ctx).FindVolumes(ctx, in.VolumeIds)
	if err != nil {
		return nil, err
	}
	damaged, err := a.account(ctx).Damaged(ctx)
	if err != nil {
		return nil, err
	}
	known := health(damaged)
	none := func(*model.Volume) []string { return nil } // there are no events and no actions
	page, next, err := describe(a, query[model.Volume]{
		action: "DescribeVolumeStatus", sorted: found, ids: in.VolumeIds, kind: volumeKind, filters: in.Filters,
		fields: map[string]func(*model.Volume) []string{
			"action.code": none, "action.description": none, "action.event-id": none,
			"event.description": none, "event.event-id": none, "event.event-type": none, "event.not-after": none, "event.not-before": none,
			"availability-zone":          volumeField(func(*model.Volume) string { return a.cloud.Zone() }),
			"volume-status.details-name": func(*model.Volume) []string { return []string{"io-enabled", "io-performance"} },
			"volume-status.details-status": func(v *model.Volume) []string {
				_, io := known.of(v)
				return []string{io, "not-applicable"}
			},
			"volume-status.status": volumeField(func(v *model.Volume) string {
				status, _ := known.of(v)
				return status
			}),
		},
		max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeVolumeStatusOutput{NextToken: next}
	for i := range page {
		out.VolumeStatuses = append(out.VolumeStatuses, a.volumeStatusOf(&page[i], known))
	}
	return out, nil
}

func (a *Actions) volumeStatusOf(v *model.Volume, known health) ec2types.VolumeStatusItem {
	status, io := known.of(v)
	out := ec2types.VolumeStatusItem{
		AvailabilityZone: ptr(a.cloud.Zone()), VolumeId: ptr(v.ID), Actions: []ec2types.VolumeStatusAction{}, Events: []ec2types.VolumeStatusEvent{},
		VolumeStatus: &ec2types.VolumeStatusInfo{Status: ptr(status), Details: []ec2types.VolumeStatusDetails{
			{Name: ptr("io-enabled"), Status: ptr(io)}, {Name: ptr("io-performance"), Status: ptr("not-applicable")},
		}},
	}
	if v.Attachment != nil {
		out.AttachmentStatuses = []ec2types.VolumeStatusAttachmentStatus{{InstanceId: ptr(v.Attachment.InstanceID), IoPerformance: ptr("not-applicable")}}
	}
	return out
}

func modificationOf(v *model.Volume) ec2types.VolumeModification {
	m := v.Modification
	out := ec2types.VolumeModification{
		VolumeId: ptr(v.ID), ModificationState: ptr(string(m.State)), StatusMessage: str(m.Message), Progress: ptr(int64(0)),
		StartTime: ptr(m.Started), EndTime: some(m.Ended),
		OriginalMultiAttachEnabled: ptr(false), TargetMultiAttachEnabled: ptr(false),
		OriginalSize: ptr(int32(m.OriginalSize)), TargetSize: ptr(int32(m.TargetSize)),
	}
	out.OriginalVolumeType, out.OriginalIops, out.OriginalThroughput = shownKind(m.Original, m.OriginalSize)
	out.TargetVolumeType, out.TargetIops, out.TargetThroughput = shownKind(m.Target, m.TargetSize)
	if m.State == model.ModificationCompleted {
		out.Progress = ptr(int64(100))
	}
	return out
}

func modificationFields() map[string]func(*model.Volume) []string {
	field := func(get func(m ec2types.VolumeModification) string) func(*model.Volume) []string {
		return func(v *model.Volume) []string { return []string{get(modificationOf(v))} }
	}
	number := func(get func(m ec2types.VolumeModification) *int32) func(*model.Volume) []string {
		return func(v *model.Volume) []string {
			n := get(modificationOf(v))
			if n == nil {
				return nil
			}
			return []string{strconv.Itoa(int(*n))}
		}
	}
	type shape = ec2types.VolumeModification
	return map[string]func(*model.Volume) []string{
		"modification-state":            field(func(m shape) string { return *m.ModificationState }),
		"original-iops":                 number(func(m shape) *int32 { return m.OriginalIops }),
		"original-multi-attach-enabled": field(func(shape) string { return "false" }),
		"original-size":                 number(func(m shape) *int32 { return m.OriginalSize }),
		"original-volume-type":          field(func(m shape) string { return *m.OriginalVolumeType }),
		"start-time":                    func(v *model.Volume) []string { return timeFilter(v.Modification.Started) },
		"target-iops":                   number(func(m shape) *int32 { return m.TargetIops }),
		"target-multi-attach-enabled":   field(func(shape) string { return "false" }),
		"target-size":                   number(func(m shape) *int32 { return m.TargetSize }),
		"target-volume-type":            field(func(m shape) string { return *m.TargetVolumeType }),
		"volume-id":                     field(func(m shape) string { return *m.VolumeId }),
	}
}

func (a *Actions) describeVolumesModifications(ctx context.Context, in *ec2types.DescribeVolumesModificationsInput) (*ec2types.DescribeVolumesModificationsOutput, error) {
	found, err := a.account(ctx).FindVolumes(ctx, in.VolumeIds)
	if err != nil {
		return nil, err
	}
	if len(in.VolumeIds) > 0 {
		if err := volumeKind.check(in.VolumeIds, idsOf(found, volumeKind.id)); err != nil {
			return nil, err
		}
		for _, v := range found {
			if v.Modification == nil {
				return nil, model.Errorf(model.CodeModificationNotFound, "Modification for volume '%s' does not exist.", v.ID)
			}
		}
	}
	found = those(found, func(v *model.Volume) bool { return v.Modification != nil })
	page, next, err := describe(a, query[model.Volume]{
		action: "DescribeVolumesModifications", sorted: found, ids: in.VolumeIds, kind: volumeKind, filters: in.Filters,
		fields: modificationFields(), max: in.MaxResults, token: in.NextToken, least: 1, most: 500,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeVolumesModificationsOutput{NextToken: next}
	for i := range page {
		out.VolumesModifications = append(out.VolumesModifications, modificationOf(&page[i]))
	}
	return out, nil
}

func (a *Actions) describeVolumeAttribute(ctx context.Context, in *ec2types.DescribeVolumeAttributeInput) (*ec2types.DescribeVolumeAttributeOutput, error) {
	v, err := a.account(ctx).Volume(ctx, ec2types.Value(in.VolumeId))
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeVolumeAttributeOutput{VolumeId: ptr(v.ID)}
	if ec2types.Value(in.Attribute) == ec2types.VolumeAttributeNameAutoEnableIO {
		out.AutoEnableIO = &ec2types.AttributeBooleanValue{Value: ptr(v.AutoEnableIO)}
	} else {
		out.ProductCodes = productCodesOf(v.ProductCodes)
	}
	return out, nil
}
