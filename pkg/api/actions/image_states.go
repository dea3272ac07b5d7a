package actions

import (
	"context"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

func (a *Actions) registerImageStates(t *api.Table) {
	id := []string{"ImageId"}
	api.Register(t, api.Action[ec2types.EnableImageInput, ec2types.EnableImageOutput]{
		Name: "EnableImage", Acts: id,
		Handler: func(ctx context.Context, in *ec2types.EnableImageInput) (*ec2types.EnableImageOutput, error) {
			return &ec2types.EnableImageOutput{Return: ptr(true)}, a.account(ctx).EnableImage(ctx, ec2types.Value(in.ImageId))
		},
	})
	api.Register(t, api.Action[ec2types.DisableImageInput, ec2types.DisableImageOutput]{
		Name: "DisableImage", Acts: id,
		Handler: func(ctx context.Context, in *ec2types.DisableImageInput) (*ec2types.DisableImageOutput, error) {
			return &ec2types.DisableImageOutput{Return: ptr(true)}, a.account(ctx).DisableImage(ctx, ec2types.Value(in.ImageId))
		},
	})
	api.Register(t, api.Action[ec2types.EnableImageDeprecationInput, ec2types.EnableImageDeprecationOutput]{
		Name: "EnableImageDeprecation", Acts: []string{"ImageId", "DeprecateAt"},
		Handler: func(ctx context.Context, in *ec2types.EnableImageDeprecationInput) (*ec2types.EnableImageDeprecationOutput, error) {
			return &ec2types.EnableImageDeprecationOutput{Return: ptr(true)}, a.account(ctx).DeprecateImage(ctx, ec2types.Value(in.ImageId), ec2types.Value(in.DeprecateAt))
		},
	})
	api.Register(t, api.Action[ec2types.DisableImageDeprecationInput, ec2types.DisableImageDeprecationOutput]{
		Name: "DisableImageDeprecation", Acts: id,
		Handler: func(ctx context.Context, in *ec2types.DisableImageDeprecationInput) (*ec2types.DisableImageDeprecationOutput, error) {
			return &ec2types.DisableImageDeprecationOutput{Return: ptr(true)}, a.account(ctx).UndeprecateImage(ctx, ec2types.Value(in.ImageId))
		},
	})
	api.Register(t, api.Action[ec2types.EnableImageDeregistrationProtectionInput, ec2types.EnableImageDeregistrationProtectionOutput]{
		Name: "EnableImageDeregistrationProtection", Acts: []string{"ImageId", "WithCooldown"},
		Handler: func(ctx context.Context, in *ec2types.EnableImageDeregistrationProtectionInput) (*ec2types.EnableImageDeregistrationProtectionOutput, error) {
			p, err := a.account(ctx).ProtectImage(ctx, ec2types.Value(in.ImageId), ec2types.Value(in.WithCooldown))
			return &ec2types.EnableImageDeregistrationProtectionOutput{Return: ptr(p.String())}, err
		},
	})
	api.Register(t, api.Action[ec2types.DisableImageDeregistrationProtectionInput, ec2types.DisableImageDeregistrationProtectionOutput]{
		Name: "DisableImageDeregistrationProtection", Acts: id,
		Handler: func(ctx context.Context, in *ec2types.DisableImageDeregistrationProtectionInput) (*ec2types.DisableImageDeregistrationProtectionOutput, error) {
			p, err := a.account(ctx).UnprotectImage(ctx, ec2types.Value(in.ImageId))
			return &ec2types.DisableImageDeregistrationProtectionOutput{Return: ptr(p.String())}, err
		},
	})
}
