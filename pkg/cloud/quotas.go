package cloud

import (
	"context"
	"errors"

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

// launchQuota returns how many of max instances of a type, with so many volumes
// of so many GiB each, the account's quotas let it launch; an error if less than
// min. The caller holds c.admission.
func (c *Account) launchQuota(ctx context.Context, tx *store.Tx, typ model.InstanceType, volumes []model.BlockDevice, min, max int) (int, error) {
	quotas, err := c.quotas(tx)
	if err != nil || len(quotas) == 0 {
		return max, err
	}
	instances, running, err := c.running(ctx)
	if err != nil {
		return 0, err
	}
	var gib int64
	for _, v := range volumes {
		gib += v.SizeGiB
	}
	used, err := c.volumeUse(tx, quotas)
	if err != nil {
		return 0, err
	}
	count := max
	for _, q := range []struct {
		quota     model.Quota
		code      string
		used, one int64
	}{
		{model.QuotaInstances, codeInstanceLimit, instances, 1},
		{model.QuotaVCPUs, codeVCPULimit, running.vcpus, int64(typ.VCPUs)},
		{model.QuotaMemory, codeInstanceLimit, running.memory, typ.MemoryMiB},
		{model.QuotaVolumes, codeVolumeLimit, used.count, int64(len(volumes))},
		{model.QuotaVolumesGiB, codeVolumeLimit, used.gib, gib},
	} {
		limit, bounded := quotas[q.quota]
		if !bounded || q.one == 0 {
			continue
		}
		fit := int((limit - q.used) / q.one)
		if fit < min {
			return 0, overQuota(q.code, q.quota, limit)
		}
		count = fitCount(fit, count)
	}
	return count, nil
}

// load is what running instances take.
type load struct{ vcpus, memory int64 }

func (l *load) add(t model.InstanceType) {
	l.vcpus += int64(t.VCPUs)
	l.memory += t.MemoryMiB
}

// running sums the account's instances, and what those that run or are to run take.
func (c *Account) running(ctx context.Context) (count int64, sum load, err error) {
	all, err := c.instances.All(ctx)
	for _, i := range all {
		if i.OwnerID != c.id || i.State == model.InstanceTerminated {
			continue
		}
		count++
		if t, ok := model.InstanceTypeByName(i.Type); ok && holdsMemory(i) {
			sum.add(t)
		}
	}
	return count, sum, err
}

// startQuota refuses to start one more instance of a type beyond the account's
// quotas; started is what the same call starts besides. The caller holds c.admission.
func (c *Account) startQuota(ctx context.Context, tx *store.Tx, typ model.InstanceType, started load) error {
	quotas, err := c.quotas(tx)
	if err != nil || len(quotas) == 0 {
		return err
	}
	_, sum, err := c.running(ctx)
	if err != nil {
		return err
	}
	sum.add(typ)
	if limit, bounded := quotas[model.QuotaVCPUs]; bounded && sum.vcpus+started.vcpus > limit {
		return overQuota(codeVCPULimit, model.QuotaVCPUs, limit)
	}
	if limit, bounded := quotas[model.QuotaMemory]; bounded && sum.memory+started.memory > limit {
		return overQuota(codeInstanceLimit, model.QuotaMemory, limit)
	}
	return nil
}

// volumeUse is what an account has of volumes.
type volumeUse struct{ count, gib int64 }

// volumeUse counts volumes within the transaction, so that no other can pass by;
// only if there is a quota, because it makes the transaction depend on all volumes.
func (c *Account) volumeUse(tx *store.Tx, quotas map[model.Quota]int64) (u volumeUse, err error) {
	_, count := quotas[model.QuotaVolumes]
	_, gib := quotas[model.QuotaVolumesGiB]
	if !count && !gib {
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
