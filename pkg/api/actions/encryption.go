package actions

import (
	"context"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
)

func (a *Actions) registerEncryption(t *api.Table) {
	api.Register(t, api.Action[ec2types.EnableEbsEncryptionByDefaultInput, ec2types.EnableEbsEncryptionByDefaultOutput]{
		Name: "EnableEbsEncryptionByDefault",
		Handler: func(ctx context.Context, _ *ec2types.EnableEbsEncryptionByDefaultInput) (*ec2types.EnableEbsEncryptionByDefaultOutput, error) {
			return &ec2types.EnableEbsEncryptionByDefaultOutput{EbsEncryptionByDefault: ptr(true)}, a.account(ctx).SetEncryptByDefault(ctx, true)
		},
	})
	api.Register(t, api.Action[ec2types.DisableEbsEncryptionByDefaultInput, ec2types.DisableEbsEncryptionByDefaultOutput]{
		Name: "DisableEbsEncryptionByDefault",
		Handler: func(ctx context.Context, _ *ec2types.DisableEbsEncryptionByDefaultInput) (*ec2types.DisableEbsEncryptionByDefaultOutput, error) {
			return &ec2types.DisableEbsEncryptionByDefaultOutput{EbsEncryptionByDefault: ptr(false)}, a.account(ctx).SetEncryptByDefault(ctx, false)
		},
	})
	api.Register(t, api.Action[ec2types.GetEbsEncryptionByDefaultInput, ec2types.GetEbsEncryptionByDefaultOutput]{
		Name: "GetEbsEncryptionByDefault",
		Handler: func(ctx context.Context, _ *ec2types.GetEbsEncryptionByDefaultInput) (*ec2types.GetEbsEncryptionByDefaultOutput, error) {
			on, err := a.account(ctx).EncryptByDefault(ctx)
			return &ec2types.GetEbsEncryptionByDefaultOutput{EbsEncryptionByDefault: ptr(on), SseType: ptr("sse-kms")}, err
		},
	})
	api.Register(t, api.Action[ec2types.GetEbsDefaultKmsKeyIdInput, ec2types.GetEbsDefaultKmsKeyIdOutput]{
		Name: "GetEbsDefaultKmsKeyId",
		Handler: func(ctx context.Context, _ *ec2types.GetEbsDefaultKmsKeyIdInput) (*ec2types.GetEbsDefaultKmsKeyIdOutput, error) {
			arn, err := a.account(ctx).KeyARN()
			return &ec2types.GetEbsDefaultKmsKeyIdOutput{KmsKeyId: ptr(arn)}, err
		},
	})
	api.Register(t, api.Action[ec2types.ModifyEbsDefaultKmsKeyIdInput, ec2types.ModifyEbsDefaultKmsKeyIdOutput]{
		Name: "ModifyEbsDefaultKmsKeyId", Acts: []string{"KmsKeyId"},
		Handler: func(ctx context.Context, in *ec2types.ModifyEbsDefaultKmsKeyIdInput) (*ec2types.ModifyEbsDefaultKmsKeyIdOutput, error) {
			arn, err := a.account(ctx).SetDefaultKey(ec2types.Value(in.KmsKeyId))
			return &ec2types.ModifyEbsDefaultKmsKeyIdOutput{KmsKeyId: ptr(arn)}, err
		},
	})
	api.Register(t, api.Action[ec2types.ResetEbsDefaultKmsKeyIdInput, ec2types.ResetEbsDefaultKmsKeyIdOutput]{
		Name: "ResetEbsDefaultKmsKeyId",
		Handler: func(ctx context.Context, _ *ec2types.ResetEbsDefaultKmsKeyIdInput) (*ec2types.ResetEbsDefaultKmsKeyIdOutput, error) {
			arn, err := a.account(ctx).KeyARN()
			return &ec2types.ResetEbsDefaultKmsKeyIdOutput{KmsKeyId: ptr(arn)}, err
		},
	})
}

// encryption is what a request says of it.
func encryption(encrypted *bool, keyID *string) cloud.Encryption {
	return cloud.Encryption{Encrypted: encrypted, KeyID: ec2types.Value(keyID)}
}

// keyARN is how the key of something encrypted is shown; dataKey is empty if it is not.
func (a *Actions) keyARN(owner, dataKey string) *string {
	if dataKey == "" {
		return nil
	}
	arn, err := a.cloud.Account(owner).KeyARN()
	if err != nil {
		return nil // what is encrypted with keys that are not there now
	}
	return ptr(arn)
}
