package identity

import (
	"context"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerAccessKeys(t *api.Table) {
	add(t, "CreateAccessKey", a.createAccessKey, "UserName")
	add(t, "ListAccessKeys", a.listAccessKeys, "UserName", "Marker", "MaxItems")
	add(t, "UpdateAccessKey", a.updateAccessKey, "UserName", "AccessKeyId", "Status")
	add(t, "DeleteAccessKey", a.deleteAccessKey, "UserName", "AccessKeyId")
	add(t, "GetAccessKeyLastUsed", a.getAccessKeyLastUsed, "AccessKeyId")
}

func status(active bool) *string {
	if active {
		return new(iamtypes.StatusTypeActive)
	}
	return new(iamtypes.StatusTypeInactive)
}

func (a *Actions) createAccessKey(ctx context.Context, in *iamtypes.CreateAccessKeyInput) (*iamtypes.CreateAccessKeyOutput, error) {
	user, err := userOf(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	k, secret, err := a.directory.CreateAccessKey(ctx, caller(ctx).AccountID, user)
	return &iamtypes.CreateAccessKeyOutput{AccessKey: &iamtypes.AccessKey{
		AccessKeyId: &k.ID, SecretAccessKey: &secret, Status: status(k.Active), UserName: str(k.UserName), CreateDate: &k.Created,
	}}, err
}

func (a *Actions) listAccessKeys(ctx context.Context, in *iamtypes.ListAccessKeysInput) (*iamtypes.ListAccessKeysOutput, error) {
	user, err := userOf(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	all, err := a.directory.AccessKeys(ctx, caller(ctx).AccountID, user)
	if err != nil {
		return nil, err
	}
	part, truncated, marker, err := page(a, listing{"ListAccessKeys", in.Marker, in.MaxItems, user}, all, func(k model.AccessKey) string { return k.ID })
	out := &iamtypes.ListAccessKeysOutput{IsTruncated: truncated, Marker: marker}
	for i := range part {
		k := &part[i]
		out.AccessKeyMetadata = append(out.AccessKeyMetadata, iamtypes.AccessKeyMetadata{
			AccessKeyId: &k.ID, CreateDate: &k.Created, Status: status(k.Active), UserName: str(k.UserName),
		})
	}
	return out, err
}

func (a *Actions) updateAccessKey(ctx context.Context, in *iamtypes.UpdateAccessKeyInput) (*iamtypes.UpdateAccessKeyOutput, error) {
	user, err := userOf(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	active := value(in.Status) == iamtypes.StatusTypeActive
	return nil, a.directory.SetAccessKeyActive(ctx, caller(ctx).AccountID, user, value(in.AccessKeyId), active)
}

func (a *Actions) deleteAccessKey(ctx context.Context, in *iamtypes.DeleteAccessKeyInput) (*iamtypes.DeleteAccessKeyOutput, error) {
	user, err := userOf(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	return nil, a.directory.DeleteAccessKey(ctx, caller(ctx).AccountID, user, value(in.AccessKeyId))
}

func (a *Actions) getAccessKeyLastUsed(ctx context.Context, in *iamtypes.GetAccessKeyLastUsedInput) (*iamtypes.GetAccessKeyLastUsedOutput, error) {
	k, use, err := a.directory.OwnerOfKey(ctx, caller(ctx).AccountID, value(in.AccessKeyId))
	if err != nil {
		return nil, err
	}
	out := &iamtypes.GetAccessKeyLastUsedOutput{
		UserName:          str(k.UserName),
		AccessKeyLastUsed: &iamtypes.AccessKeyLastUsed{Region: new("N/A"), ServiceName: new("N/A")}, // as AWS says of one never used
	}
	if !use.Time.IsZero() {
		out.AccessKeyLastUsed = &iamtypes.AccessKeyLastUsed{LastUsedDate: &use.Time, Region: new(a.directory.Region()), ServiceName: &use.Service}
	}
	return out, nil
}
