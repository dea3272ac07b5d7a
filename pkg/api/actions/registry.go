package actions

import (
	"context"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

var registryTaskKind = objectKind[model.RegistryTask]{
	func(t *model.RegistryTask) string { return t.ID }, isID(model.RegistryTaskPrefix), "InvalidRegistryTaskID.Malformed", "InvalidRegistryTaskID.NotFound", "registry task",
}

func (a *Actions) registerRegistries(t *api.Table) {
	api.Register(t, api.Action[bundttypes.PushImageInput, bundttypes.PushImageOutput]{
		Name: "PushImage", Acts: []string{"ImageId", "Reference", "PlainHttp", "Username", "Password", "Sign", "ClientToken"},
		Handler: func(ctx context.Context, in *bundttypes.PushImageInput) (*bundttypes.PushImageOutput, error) {
			t, err := a.account(ctx).PushImage(ctx, cloud.ImagePush{
				RegistryRequest: registryRequest(in.Reference, in.Username, in.Password, in.ClientToken, in.PlainHttp),
				ImageID:         ec2types.Value(in.ImageId), Sign: ec2types.Value(in.Sign),
			})
			return &bundttypes.PushImageOutput{Task: registryTaskOf(&t)}, err
		},
	})
	api.Register(t, api.Action[bundttypes.PullImageInput, bundttypes.PullImageOutput]{
		Name: "PullImage", Acts: []string{"Reference", "PlainHttp", "Username", "Password", "Name", "RequireSignature", "ClientToken"},
		Handler: func(ctx context.Context, in *bundttypes.PullImageInput) (*bundttypes.PullImageOutput, error) {
			t, err := a.account(ctx).PullImage(ctx, cloud.ImagePull{
				RegistryRequest: registryRequest(in.Reference, in.Username, in.Password, in.ClientToken, in.PlainHttp),
				Name:            ec2types.Value(in.Name), RequireSignature: ec2types.Value(in.RequireSignature),
			})
			return &bundttypes.PullImageOutput{Task: registryTaskOf(&t)}, err
		},
	})
	api.Register(t, api.Action[bundttypes.DescribeRegistryTasksInput, bundttypes.DescribeRegistryTasksOutput]{
		Name: "DescribeRegistryTasks", Handler: a.describeRegistryTasks, Acts: []string{"TaskIds", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[bundttypes.CancelRegistryTaskInput, bundttypes.CancelRegistryTaskOutput]{
		Name: "CancelRegistryTask", Acts: []string{"TaskId", "Reason"},
		Handler: func(ctx context.Context, in *bundttypes.CancelRegistryTaskInput) (*bundttypes.CancelRegistryTaskOutput, error) {
			t, err := a.account(ctx).CancelRegistryTask(ctx, ec2types.Value(in.TaskId), ec2types.Value(in.Reason))
			return &bundttypes.CancelRegistryTaskOutput{Task: registryTaskOf(&t)}, err
		},
	})
	a.registerTrust(t)
}

func registryRequest(reference, user, password, token *string, plain *bool) cloud.RegistryRequest {
	return cloud.RegistryRequest{
		Reference: ec2types.Value(reference), PlainHTTP: ec2types.Value(plain), ClientToken: ec2types.Value(token),
		Login: model.RegistryLogin{Username: ec2types.Value(user), Password: ec2types.Value(password)},
	}
}

func (a *Actions) describeRegistryTasks(ctx context.Context, in *bundttypes.DescribeRegistryTasksInput) (*bundttypes.DescribeRegistryTasksOutput, error) {
	all, err := a.account(ctx).RegistryTasks(ctx)
	if err != nil {
		return nil, err
	}
	page, next, err := describe(a, query[model.RegistryTask]{
		action: "DescribeRegistryTasks", all: all, ids: in.TaskIds, kind: registryTaskKind, max: in.MaxResults, token: in.NextToken, least: 1, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &bundttypes.DescribeRegistryTasksOutput{NextToken: next}
	for i := range page {
		out.Tasks = append(out.Tasks, registryTaskOf(&page[i]))
	}
	return out, nil
}

func registryTaskOf(t *model.RegistryTask) bundttypes.RegistryTask {
	out := bundttypes.RegistryTask{
		CreatedAt: t.Created, Digest: t.Digest, Direction: "pull", FinishedAt: some(t.Finished), ImageId: t.ImageID, ImageName: t.ImageName,
		MovedBytes: t.Moved, Progress: int32(t.Progress), Reference: t.Reference, ReusedBytes: t.Reused, SignedBy: t.SignedBy,
		State: string(t.State), StateReason: t.Message, TaskId: t.ID,
	}
	if t.Push {
		out.Direction = "push"
	}
	return out
}

// registerTrust registers the actions on keys that sign images.
func (a *Actions) registerTrust(t *api.Table) {
	api.Register(t, api.Action[bundttypes.GetImageSigningKeyInput, bundttypes.ImageSigningKey]{
		Name: "GetImageSigningKey",
		Handler: func(ctx context.Context, _ *bundttypes.GetImageSigningKeyInput) (*bundttypes.ImageSigningKey, error) {
			return signingKeyOf(a.account(ctx).ImageKey(ctx))
		},
	})
	api.Register(t, api.Action[bundttypes.ImportImageSigningKeyInput, bundttypes.ImageSigningKey]{
		Name: "ImportImageSigningKey", Acts: []string{"KeyMaterial"},
		Handler: func(ctx context.Context, in *bundttypes.ImportImageSigningKeyInput) (*bundttypes.ImageSigningKey, error) {
			return signingKeyOf(a.account(ctx).ImportImageKey(ctx, ec2types.Value(in.KeyMaterial)))
		},
	})
	api.Register(t, api.Action[bundttypes.TrustKeyInput, bundttypes.TrustKeyOutput]{
		Name: "TrustKey", Acts: []string{"Name", "PublicKey"},
		Handler: func(ctx context.Context, in *bundttypes.TrustKeyInput) (*bundttypes.TrustKeyOutput, error) {
			k, err := a.account(ctx).TrustKey(ctx, ec2types.Value(in.Name), ec2types.Value(in.PublicKey))
			return &bundttypes.TrustKeyOutput{Key: trustedKeyOf(&k)}, err
		},
	})
	api.Register(t, api.Action[bundttypes.DistrustKeyInput, bundttypes.DistrustKeyOutput]{
		Name: "DistrustKey", Acts: []string{"Name"},
		Handler: func(ctx context.Context, in *bundttypes.DistrustKeyInput) (*bundttypes.DistrustKeyOutput, error) {
			return &bundttypes.DistrustKeyOutput{}, a.account(ctx).DistrustKey(ctx, ec2types.Value(in.Name))
		},
	})
	api.Register(t, api.Action[bundttypes.DescribeTrustedKeysInput, bundttypes.DescribeTrustedKeysOutput]{
		Name: "DescribeTrustedKeys",
		Handler: func(ctx context.Context, _ *bundttypes.DescribeTrustedKeysInput) (*bundttypes.DescribeTrustedKeysOutput, error) {
			all, err := a.account(ctx).TrustedKeys(ctx)
			out := &bundttypes.DescribeTrustedKeysOutput{}
			for i := range all {
				out.Keys = append(out.Keys, trustedKeyOf(&all[i]))
			}
			return out, err
		},
	})
}

func signingKeyOf(k cloud.SigningKey, err error) (*bundttypes.ImageSigningKey, error) {
	return &bundttypes.ImageSigningKey{KeyId: k.ID, PublicKey: k.PublicKey}, err
}

func trustedKeyOf(k *model.TrustedKey) bundttypes.TrustedKey {
	return bundttypes.TrustedKey{CreatedAt: k.Created, KeyId: k.KeyID, Name: k.Name, PublicKey: k.PublicKey}
}
