package actions

import (
	"context"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

var binnedKind = objectKind[model.BinnedImage]{func(b *model.BinnedImage) string { return b.Image.ID }, isID(model.ImagePrefix), model.CodeImageIDMalformed, model.CodeImageIDNotFound, "image id"}

func (a *Actions) registerImageBin(t *api.Table) {
	api.Register(t, api.Action[ec2types.ListImagesInRecycleBinInput, ec2types.ListImagesInRecycleBinOutput]{
		Name: "ListImagesInRecycleBin", Handler: a.listBin, Acts: []string{"ImageIds", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.RestoreImageFromRecycleBinInput, ec2types.RestoreImageFromRecycleBinOutput]{
		Name: "RestoreImageFromRecycleBin", Acts: []string{"ImageId"},
		Handler: func(ctx context.Context, in *ec2types.RestoreImageFromRecycleBinInput) (*ec2types.RestoreImageFromRecycleBinOutput, error) {
			return &ec2types.RestoreImageFromRecycleBinOutput{Return: ptr(true)}, a.account(ctx).RestoreImage(ctx, ec2types.Value(in.ImageId))
		},
	})
	api.Register(t, api.Action[bundttypes.ModifyImageRetentionInput, bundttypes.ImageRetention]{
		Name: "ModifyImageRetention", Acts: []string{"RetentionDays"},
		Handler: func(ctx context.Context, in *bundttypes.ModifyImageRetentionInput) (*bundttypes.ImageRetention, error) {
			days := ec2types.Value(in.RetentionDays)
			return &bundttypes.ImageRetention{RetentionDays: days}, a.account(ctx).SetImageRetention(ctx, time.Duration(days)*day)
		},
	})
	api.Register(t, api.Action[bundttypes.DescribeImageRetentionInput, bundttypes.ImageRetention]{
		Name: "DescribeImageRetention",
		Handler: func(ctx context.Context, _ *bundttypes.DescribeImageRetentionInput) (*bundttypes.ImageRetention, error) {
			keep, err := a.account(ctx).ImageRetention(ctx)
			return &bundttypes.ImageRetention{RetentionDays: int32(keep / day)}, err
		},
	})
}

const day = 24 * time.Hour

func (a *Actions) listBin(ctx context.Context, in *ec2types.ListImagesInRecycleBinInput) (*ec2types.ListImagesInRecycleBinOutput, error) {
	all, err := a.account(ctx).BinnedImages(ctx)
	if err != nil {
		return nil, err
	}
	page, next, err := describe(a, query[model.BinnedImage]{
		action: "ListImagesInRecycleBin", all: all, ids: in.ImageIds, kind: binnedKind, max: in.MaxResults, token: in.NextToken, least: 1, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.ListImagesInRecycleBinOutput{NextToken: next}
	for i := range page {
		b := &page[i]
		out.Images = append(out.Images, ec2types.ImageRecycleBinInfo{
			ImageId: ptr(b.Image.ID), Name: ptr(b.Image.Name), Description: str(b.Image.Description),
			RecycleBinEnterTime: ptr(b.Entered), RecycleBinExitTime: ptr(b.Exits),
		})
	}
	return out, nil
}
