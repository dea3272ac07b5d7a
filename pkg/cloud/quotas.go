package cloud

import (
	"context"
	"errors"
	"math"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// The error codes of quotas.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
const (
	codeInstanceLimit = "InstanceLimitExceeded"
	codeVCPULimit     = "VcpuLimitExceeded"
	codeVolumeLimit   = "VolumeLimitExceeded"
	codeSnapshotLimit = "SnapshotLimitExceeded"
	codeResourceLimit = "ResourceLimitExceeded"
)

// quotas returns the account's quotas; what is not in the map is not bounded.
func (c *Account) quotas(tx *store.Tx) (map[model.Quota]int64, error) {
	a, err := records.Accounts.Get(tx, c.id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return a.Quotas, err
}

func overQuota(code string, q model.Quota, limit int64) *model.Error {
	return model.Errorf(code, "You have reached the quota of this account: %s %d", q, limit).
		WithHint("delete what is not needed, or have an administrator raise it: bundt account quota ACCOUNT %s=N", q)
}

// fitQuota returns how many that take one of a quota each still fit; an error if
// less than min. What the quota does not bound is as many as there can be.
func fitQuota(quotas map[model.Quota]int64, q model.Quota, code string, used, one int64, min int) (int, error) {
	limit, bounded := quotas[q]
	if !bounded || one == 0 {
		return math.MaxInt, nil
	}
	fit := int((limit - used) / one)
	if fit < min {
		return 0, overQuota(code, q, limit)
	}
	return fit, nil
}

// volumesFit returns how many of max instances, with such volumes each, the
// quotas of volumes let the account launch; an error if less than min.
func (c *Account) volumesFit(tx *store.Tx, quotas map[model.Quota]int64, volumes []model.BlockDevice, least, most int) (int, error) {
	used, err := c.volumeUse(tx, quotas)
	if err != nil {
		return 0, err
	}
	var gib int64
	for _, v := range volumes {
		gib += v.SizeGiB
	}
	byCount, err := fitQuota(quotas, model.QuotaVolumes, codeVolumeLimit, used.count, int64(len(volumes)), least)
	if err != nil {
		return 0, err
	}
	bySize, err := fitQuota(quotas, model.QuotaVolumesGiB, codeVolumeLimit, used.gib, gib, least)
	return min(byCount, bySize, most), err
}

// inTurn keeps the account's launches, whose transactions depend on all volumes
// if volumes are bounded, from making each other start over.
func (c *Account) inTurn(ctx context.Context) (done func(), err error) {
	var quotas map[model.Quota]int64
	err = c.store.View(ctx, func(tx *store.Tx) error {
		quotas, err = c.quotas(tx)
		return err
	})
	if !boundsVolumes(quotas) {
		return func() {}, err
	}
	c.bounded.Lock()
	return c.bounded.Unlock, nil
}

func boundsVolumes(quotas map[model.Quota]int64) bool {
	_, count := quotas[model.QuotaVolumes]
	_, gib := quotas[model.QuotaVolumesGiB]
	return count || gib
}

// volumeUse is what an account has of volumes.
type volumeUse struct{ count, gib int64 }

// volumeUse counts volumes within the transaction, so that no other can pass by;
// only if there is a quota, because it makes the transaction depend on all volumes.
func (c *Account) volumeUse(tx *store.Tx, quotas map[model.Quota]int64) (u volumeUse, err error) {
	if !boundsVolumes(quotas) {
		return u, nil
	}
	all, err := records.Volumes.List(tx)
	for i := range all {
		if v := &all[i]; v.OwnerID == c.id {
			u.count++
			u.gib += v.SizeGiB
			if v.Modifying() { // it is promised the rest
				u.gib += v.Modification.TargetSize - v.SizeGiB
			}
		}
	}
	return u, err
}

// volumeQuota refuses so many more volumes, of so many GiB together, beyond the
// account's quotas. A volume that grows is no more volumes, and more GiB.
func (c *Account) volumeQuota(tx *store.Tx, count, gib int64) error {
	quotas, err := c.quotas(tx)
	if err != nil || len(quotas) == 0 {
		return err
	}
	used, err := c.volumeUse(tx, quotas)
	if err != nil {
		return err
	}
	if limit, bounded := quotas[model.QuotaVolumes]; bounded && used.count+count > limit {
		return overQuota(codeVolumeLimit, model.QuotaVolumes, limit)
	}
	if limit, bounded := quotas[model.QuotaVolumesGiB]; bounded && used.gib+gib > limit {
		return overQuota(codeVolumeLimit, model.QuotaVolumesGiB, limit)
	}
	return nil
}

// oneMore refuses one more object of a collection beyond the account's quota.
func oneMore[T any, P object[T]](c *Account, tx *store.Tx, col store.Collection[T], q model.Quota, code string) error {
	quotas, err := c.quotas(tx)
	limit, bounded := quotas[q]
	if err != nil || !bounded {
		return err
	}
	all, err := col.List(tx)
	if err != nil {
		return err
	}
	var used int64
	for i := range all {
		if P(&all[i]).Owner() == c.id {
			used++
		}
	}
	if used >= limit {
		return overQuota(code, q, limit)
	}
	return nil
}
