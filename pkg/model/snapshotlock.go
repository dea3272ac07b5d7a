package model

import "time"

// LockMode is how firm a snapshot's lock is.
// https://docs.aws.amazon.com/ebs/latest/userguide/snapshot-lock-concepts.html
type LockMode string

// The modes. Compliance cannot be ended by anybody once its cool-off period is over.
const (
	LockGovernance LockMode = "governance"
	LockCompliance LockMode = "compliance"
)

// SnapshotLock keeps a snapshot from being deleted until it expires.
type SnapshotLock struct {
	Mode         LockMode  `json:"mode"`
	Created      time.Time `json:"created"`
	Expires      time.Time `json:"expires"`
	Days         int       `json:"days"`
	CoolOffHours int       `json:"coolOffHours,omitempty"`
	CoolOffUntil time.Time `json:"coolOffUntil,omitzero"`
}

// State is EC2's state of the lock.
func (l *SnapshotLock) State(now time.Time) string {
	switch {
	case !now.Before(l.Expires):
		return "expired"
	case l.Mode == LockCompliance && now.Before(l.CoolOffUntil):
		return "compliance-cooloff"
	}
	return string(l.Mode)
}

// Locked reports whether the snapshot must not be deleted now.
func (s *Snapshot) Locked(now time.Time) bool { return s.Lock != nil && now.Before(s.Lock.Expires) }

// BinnedSnapshot is a deleted snapshot that can still be restored.
type BinnedSnapshot struct {
	Snapshot Snapshot  `json:"snapshot"`
	Entered  time.Time `json:"entered"`
	Exits    time.Time `json:"exits"`
}

// Owner is the account that the snapshot belongs to.
func (b *BinnedSnapshot) Owner() string { return b.Snapshot.OwnerID }
