package cloud

import (
	"context"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// SnapshotLocking is what LockSnapshot asks for: a number of days or a date.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LockSnapshot.html
type SnapshotLocking struct {
	SnapshotID   string
	Mode         model.LockMode
	Days         int
	Expires      time.Time
	CoolOffHours int // of compliance: for how long the lock can still be changed
}

const (
	maxLockDays = 36500
	maxCoolOff  = 72
	lockDay     = 24 * time.Hour
)

func (r *SnapshotLocking) check(now time.Time) error {
	switch {
	case (r.Days == 0) == r.Expires.IsZero():
		return model.Errorf(model.CodeInvalidParameterCombination, "Either LockDuration or ExpirationDate must be specified, and not both")
	case r.Expires.IsZero() && (r.Days < 1 || r.Days > maxLockDays):
		return model.Errorf(model.CodeInvalidParameterValue, "LockDuration of %d days: expect 1 to %d", r.Days, maxLockDays)
	case !r.Expires.IsZero() && r.Expires.Before(now.Add(lockDay)):
		return model.Errorf(model.CodeInvalidParameterValue, "ExpirationDate must be one day from now at least")
	case r.CoolOffHours != 0 && r.Mode != model.LockCompliance:
		return model.Errorf(model.CodeInvalidParameterCombination, "CoolOffPeriod is for the mode compliance only")
	case r.CoolOffHours < 0 || r.CoolOffHours > maxCoolOff:
		return model.Errorf(model.CodeInvalidParameterValue, "CoolOffPeriod of %d hours: expect 1 to %d", r.CoolOffHours, maxCoolOff)
	}
	return nil
}

// LockSnapshot keeps a snapshot from being deleted, or changes its lock. A lock in
// compliance mode whose cool-off period is over can only be made longer.
func (c *Account) LockSnapshot(ctx context.Context, r SnapshotLocking) (snap model.Snapshot, err error) {
	now := c.Now()
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		if snap, err = c.ownSnapshot(tx, r.SnapshotID); err != nil {
			return err
		}
		if err := r.check(now); err != nil {
			return err
		}
		if snap.State == model.SnapshotError {
			return model.Errorf(model.CodeIncorrectState, "Snapshot %s is in error, and cannot be locked", snap.ID)
		}
		lock := &model.SnapshotLock{Mode: r.Mode, Created: now, Expires: r.Expires, Days: r.Days, CoolOffHours: r.CoolOffHours}
		if lock.Expires.IsZero() {
			lock.Expires = now.Add(time.Duration(r.Days) * lockDay)
		} else {
			lock.Days = int(lock.Expires.Sub(now) / lockDay)
		}
		if r.CoolOffHours > 0 {
			lock.CoolOffUntil = now.Add(time.Duration(r.CoolOffHours) * time.Hour)
		}
		if old := snap.Lock; old != nil && old.State(now) == string(model.LockCompliance) {
			if r.Mode != model.LockCompliance || lock.Expires.Before(old.Expires) || r.CoolOffHours > 0 {
				return locked(&snap)
			}
		}
		snap.Lock = lock
		return records.Snapshots.Put(tx, &snap)
	})
	return snap, err
}

// UnlockSnapshot ends a lock, unless it is one in compliance mode whose cool-off period is over.
func (c *Account) UnlockSnapshot(ctx context.Context, id string) error {
	return c.store.Update(ctx, func(tx *store.Tx) error {
		snap, err := c.ownSnapshot(tx, id)
		if err != nil {
			return err
		}
		switch {
		case snap.Lock == nil:
			return model.Errorf(model.CodeIncorrectState, "Snapshot %s is not locked", id)
		case snap.Lock.State(c.Now()) == string(model.LockCompliance):
			return locked(&snap)
		}
		snap.Lock = nil
		return records.Snapshots.Put(tx, &snap)
	})
}

func locked(s *model.Snapshot) *model.Error {
	return model.Errorf(model.CodeOperationNotPermitted, "The snapshot %s is locked in %s mode until %s", s.ID, s.Lock.Mode, s.Lock.Expires.Format(time.RFC3339))
}

// dropSnapshot deletes a snapshot that nothing uses: for good, or into the recycle
// bin if the account has a rule for that.
func (c *Account) dropSnapshot(tx *store.Tx, s *model.Snapshot) error {
	rules, err := c.volumeRules(tx)
	if err != nil {
		return err
	}
	if rules.KeepSnapshots > 0 && s.State == model.SnapshotCompleted {
		now := c.Now()
		if err := records.BinSnapshots.Put(tx, &model.BinnedSnapshot{Snapshot: *s, Entered: now, Exits: now.Add(rules.KeepSnapshots)}); err != nil {
			return err
		}
	}
	return records.Snapshots.Delete(tx, s.ID)
}

// SetSnapshotRetention says how long the account's deleted snapshots stay in the
// recycle bin, from now on; 0 for not at all.
func (c *Account) SetSnapshotRetention(ctx context.Context, keep time.Duration) error {
	if keep < 0 || keep > maxRetention {
		return model.Errorf(model.CodeInvalidParameterValue, "A retention of %s: expect 0 to 365 days", keep)
	}
	return c.store.Update(ctx, func(tx *store.Tx) error {
		rules, err := c.volumeRules(tx)
		if err != nil {
			return err
		}
		rules.KeepSnapshots = keep
		return records.VolumeRules.Put(tx, &rules)
	})
}

// SnapshotRetention is how long the account's deleted snapshots stay in the recycle bin.
func (c *Account) SnapshotRetention(ctx context.Context) (keep time.Duration, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		rules, err := c.volumeRules(tx)
		keep = rules.KeepSnapshots
		return err
	})
	return keep, err
}

// BinnedSnapshots returns the account's snapshots that are in the recycle bin.
func (c *Account) BinnedSnapshots(ctx context.Context) ([]model.BinnedSnapshot, error) {
	all, err := owned(ctx, c, records.BinSnapshots)
	now := c.Now()
	return slices.DeleteFunc(all, func(b model.BinnedSnapshot) bool { return !now.Before(b.Exits) }), err
}

// RestoreSnapshot takes a snapshot out of the recycle bin.
func (c *Account) RestoreSnapshot(ctx context.Context, id string) (snap model.Snapshot, err error) {
	if err := model.CheckID(model.SnapshotPrefix, id); err != nil {
		return snap, model.Errorf(model.CodeSnapshotIDMalformed, "Invalid id: %v", err)
	}
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		missing := model.Errorf(model.CodeSnapshotNotFound, "The snapshot '%s' is not in the recycle bin", id)
		b, err := own(c, tx, records.BinSnapshots, id, missing)
		if err != nil {
			return err
		}
		if !c.Now().Before(b.Exits) {
			return missing
		}
		snap = b.Snapshot
		if err := records.BinSnapshots.Delete(tx, id); err != nil {
			return err
		}
		return c.addSnapshot(tx, &snap)
	})
	return snap, err
}
