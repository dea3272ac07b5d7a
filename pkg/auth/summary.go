package auth

import (
	"context"

	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// Summary counts what an account has of IAM's objects, beside the limits that
// hold here, under the names that IAM gives them.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccountSummary.html
func (d *Directory) Summary(ctx context.Context, account string) (map[string]int32, error) {
	return view(ctx, d, func(tx *store.Tx) (map[string]int32, error) {
		s := map[string]int32{
			"AccessKeysPerUserQuota": maxKeys, "AttachedPoliciesPerUserQuota": maxAttached, "AttachedPoliciesPerRoleQuota": maxAttached,
			"UserPolicySizeQuota": maxUserInline, "RolePolicySizeQuota": maxRoleInline, "PolicySizeQuota": maxManaged,
			"AssumeRolePolicySizeQuota": maxTrust, "VersionsPerPolicyQuota": maxVersions,
			"Groups": 0, "MFADevices": 0, "AccountMFAEnabled": 0,
		}
		users, err := records.Users.ListPrefix(tx, account+".")
		if err != nil {
			return nil, err
		}
		roles, err := records.Roles.ListPrefix(tx, account+".")
		if err != nil {
			return nil, err
		}
		policies, err := records.Policies.ListPrefix(tx, account+".")
		if err != nil {
			return nil, err
		}
		profiles, err := records.Profiles.ListPrefix(tx, account+".")
		if err != nil {
			return nil, err
		}
		keys, err := keysOf(tx, account, "")
		s["Users"], s["Roles"], s["Policies"], s["InstanceProfiles"] = int32(len(users)), int32(len(roles)), int32(len(policies)), int32(len(profiles))
		if len(keys) > 0 {
			s["AccountAccessKeysPresent"] = 1
		}
		for _, p := range policies {
			s["PolicyVersionsInUse"] += int32(len(p.Versions))
		}
		return s, err
	})
}
