package model

import "time"

// CachedBuild is what the volumes of an account's build instance were after the build
// steps of a component: a later build whose first components are the same goes on
// from there. It is no image and no snapshot, and nobody but builds of its account
// sees what is in it.
type CachedBuild struct {
	// Key is "sha256:…" of the parent image's content, the architecture and all
	// build steps up to here.
	Key       string `json:"key"`
	OwnerID   string `json:"ownerID"`
	Recipe    string `json:"recipe"`    // name of the recipe that it was made for
	Component string `json:"component"` // the last whose steps are in it
	Arch      Arch   `json:"arch"`
	BuildID   string `json:"buildID"` // that made it
	// Depth is how many components are in it.
	Depth int          `json:"depth"`
	Disks []CachedDisk `json:"disks"`
	// Bytes is what it takes on disk beyond what it was built on.
	Bytes int64 `json:"bytes"`
	// Outputs are what its steps have printed, for steps that refer to them.
	Outputs map[string]string `json:"outputs,omitempty"`
	// LoginKeys are the public keys that builds logged in with: what is made of it
	// must not have them.
	LoginKeys []string  `json:"loginKeys,omitempty"`
	Created   time.Time `json:"created"`
	Used      time.Time `json:"used"`
	// Expires is set where a step may give something else another time.
	Expires time.Time `json:"expires,omitzero"`
}

// CachedDisk is a volume of a CachedBuild.
type CachedDisk struct {
	Device       string   `json:"device"`
	LayerID      string   `json:"layerID"`
	SizeGiB      int64    `json:"sizeGiB"`
	ProductCodes []string `json:"productCodes,omitempty"`
}

// Owner is the account that the entry belongs to.
func (c *CachedBuild) Owner() string { return c.OwnerID }

// CachedIdle is how long an entry stays that no build uses.
const CachedIdle = 30 * 24 * time.Hour

// Stale reports whether no build may go on from the entry any more.
func (c *CachedBuild) Stale(now time.Time) bool {
	return !c.Expires.IsZero() && !now.Before(c.Expires) || now.Sub(c.Used) > CachedIdle
}
