package model

import "time"

// RegistryTask sends an image to an OCI registry, or gets one from there.
type RegistryTask struct {
	ID        string    `json:"id"`
	OwnerID   string    `json:"ownerID"`
	Node      string    `json:"node"`
	State     TaskState `json:"state"`
	Message   string    `json:"message,omitempty"`  // what is being done, or why it failed
	Progress  int       `json:"progress,omitempty"` // per cent
	Push      bool      `json:"push,omitempty"`     // it sends; otherwise it gets
	Reference string    `json:"reference"`          // HOST[:PORT]/PATH[:TAG][@DIGEST]; of a copy from another region REGION/ID
	PlainHTTP bool      `json:"plainHTTP,omitempty"`
	// Login is how the registry knows the user; forgotten when the task is over.
	Login     RegistryLogin `json:"login,omitzero"`
	ImageID   string        `json:"imageID"` // that is sent; or allotted at the start, and there once completed
	ImageName string        `json:"imageName"`
	// Layers are the layers of the image that is sent, by device. They stay until the
	// task is over.
	Layers map[string]string `json:"layers,omitempty"`
	Sign   bool              `json:"sign,omitempty"` // with the owner's key, after sending
	// Product is what the image is got for: by the digest in a publisher's index,
	// for everybody.
	Product *ProductImage `json:"product,omitempty"`
	// Copy is set on a task that copies an image or a snapshot from another region.
	Copy *RegionCopy `json:"copy,omitempty"`
	// RequireSignature has an image be taken only if a key signed it that the owner trusts.
	RequireSignature bool `json:"requireSignature,omitempty"`

	Digest   string    `json:"digest,omitempty"`   // of the manifest, once known
	SignedBy string    `json:"signedBy,omitempty"` // name of the trusted key whose signature was found
	Moved    int64     `json:"moved,omitempty"`    // bytes that were sent or received
	Reused   int64     `json:"reused,omitempty"`   // bytes that were there already
	Created  time.Time `json:"created"`
	Finished time.Time `json:"finished,omitzero"`

	ClientToken string `json:"clientToken,omitempty"`
}

// ImageOwner is the account that an image that is got belongs to.
func (t *RegistryTask) ImageOwner() string {
	if t.Product != nil {
		return MarketAccount
	}
	return t.OwnerID
}

// RegionCopy says what is copied from another region. What it becomes is there, pending,
// from the beginning.
type RegionCopy struct {
	Region       string `json:"region"`
	SourceID     string `json:"sourceID"`
	SnapshotID   string `json:"snapshotID,omitempty"` // of the copy, if it is one of a snapshot
	SnapshotTags Tags   `json:"snapshotTags,omitempty"`
}

// ProductImage says which image of which product a task gets.
type ProductImage struct {
	Code        string `json:"code"`
	PublisherID string `json:"publisherID"`
	Publisher   string `json:"publisher"` // whose key signed the index
	Version     string `json:"version"`
	Arch        Arch   `json:"arch"`
	Community   bool   `json:"community,omitempty"` // no code goes into the image
}

// RegistryLogin is a user of a registry; without a name, anybody.
type RegistryLogin struct {
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

// Owner is the account that the task belongs to.
func (t *RegistryTask) Owner() string { return t.OwnerID }

// ImageOrigin is where an image was got from.
type ImageOrigin struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"` // of its manifest
	// Region and ImageID are where a copy from another region comes from.
	Region   string `json:"region,omitempty"`
	ImageID  string `json:"imageID,omitempty"`
	SignedBy string `json:"signedBy,omitempty"` // name of the trusted key whose signature was found
	// PublisherID is set on images of a publisher's products.
	PublisherID string `json:"publisherID,omitempty"`
	// Baked is when the image was made where it came from.
	Baked time.Time `json:"baked,omitzero"`
	// Provenance is a bundle with how it was made there, signed by SignedBy.
	Provenance []byte `json:"provenance,omitempty"`
	// Inputs are what that says that it is made of.
	Inputs []Input `json:"inputs,omitempty"`
}

// ImageKey is the key that an account signs images with: PKCS #8, DER.
type ImageKey struct {
	OwnerID string    `json:"ownerID"`
	Key     []byte    `json:"key"`
	Created time.Time `json:"created"`
}

// Owner is the account that the key belongs to.
func (k *ImageKey) Owner() string { return k.OwnerID }

// TrustedKey is a public key whose signatures an account trusts: PKIX, PEM.
type TrustedKey struct {
	OwnerID   string    `json:"ownerID"`
	Name      string    `json:"name"`
	KeyID     string    `json:"keyID"` // as sigstore's tools name it
	PublicKey string    `json:"publicKey"`
	Created   time.Time `json:"created"`
}

// Owner is the account that trusts the key.
func (k *TrustedKey) Owner() string { return k.OwnerID }
