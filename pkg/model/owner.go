package model

import "slices"

// Owned is an object that belongs to an account.
type Owned interface {
	// Owner is the account's twelve digits.
	Owner() string
}

// Owner is the account that the image belongs to.
func (i *Image) Owner() string { return i.OwnerID }

// Owner is the account that the snapshot belongs to.
func (s *Snapshot) Owner() string { return s.OwnerID }

// Owner is the account that the volume belongs to.
func (v *Volume) Owner() string { return v.OwnerID }

// Owner is the account that the key pair belongs to.
func (k *KeyPair) Owner() string { return k.OwnerID }

// Owner is the account that the build belongs to.
func (b *Build) Owner() string { return b.OwnerID }

// Owner is the account that the instance belongs to.
func (i *Instance) Owner() string { return i.OwnerID }

// Sharing says who besides its owner may use an object.
type Sharing struct {
	Public   bool     `json:"public,omitempty"`   // every account
	Accounts []string `json:"accounts,omitempty"` // these accounts
}

// Includes reports whether the object is shared with the account.
func (s Sharing) Includes(account string) bool {
	return s.Public || slices.Contains(s.Accounts, account)
}

// UsableBy reports whether the account may see the image and launch it.
func (i *Image) UsableBy(account string) bool {
	return i.OwnerID == account || i.Launch.Includes(account)
}

// UsableBy reports whether the account may see the snapshot and make volumes of it.
func (s *Snapshot) UsableBy(account string) bool {
	return s.OwnerID == account || s.CreateVolume.Includes(account)
}
