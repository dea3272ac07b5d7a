package model

import "time"

// DataKey is what some layers are encrypted with: those of one volume, of its
// snapshots and of the volumes that were made of them.
type DataKey struct {
	ID      string    `json:"id"`
	OwnerID string    `json:"ownerID"`
	Sealed  []byte    `json:"sealed"` // the key, encrypted with the account's
	Created time.Time `json:"created"`
}

// VolumeSettings are what holds for all volumes that an account makes.
type VolumeSettings struct {
	OwnerID string `json:"ownerID"`
	Encrypt bool   `json:"encrypt,omitempty"` // also what nobody asked to encrypt
	// KeepSnapshots is how long deleted ones stay in the recycle bin; 0 for not at all.
	KeepSnapshots time.Duration `json:"keepSnapshots,omitempty"`
}
