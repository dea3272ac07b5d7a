package actions

import (
	"context"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

func (a *Actions) registerInstanceData(t *api.Table) {
	api.Register(t, api.Action[ec2types.GetPasswordDataInput, ec2types.GetPasswordDataOutput]{
		Name: "GetPasswordData", Handler: a.getPasswordData, Acts: []string{"InstanceId"},
	})
}

// getPasswordData is the encrypted password of a Windows guest's administrator,
// which its own launch agent writes to the console. As on EC2 other guests have
// none, and the answer is empty.
func (a *Actions) getPasswordData(ctx context.Context, in *ec2types.GetPasswordDataInput) (*ec2types.GetPasswordDataOutput, error) {
	i, err := a.account(ctx).Instance(ctx, *in.InstanceId)
	if err != nil {
		return nil, err
	}
	return &ec2types.GetPasswordDataOutput{InstanceId: ptr(i.ID), PasswordData: ptr(""), Timestamp: ptr(a.cloud.Now())}, nil
}
