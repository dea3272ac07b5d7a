package model

import "time"

// MarketAccount is the owner of images that came from publishers' indexes: the account
// of AWS Marketplace on EC2, which has the alias aws-marketplace.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/finding-an-ami.html
const MarketAccount = "679593333241"

// PublisherState is how the latest look at a publisher's index went.
type PublisherState string

// The states of a publisher.
const (
	PublisherPending PublisherState = "pending" // nobody has looked yet
	PublisherReady   PublisherState = "ready"
	PublisherFailed  PublisherState = "failed" // what was there before stays
)

// Publisher is somebody whose index the cloud's owner has chosen to show.
type Publisher struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"` // unique in the cloud
	URL       string         `json:"url"`  // https:// or http://, oci:// or file:///BUCKET/KEY
	PlainHTTP bool           `json:"plainHTTP,omitempty"`
	PublicKey string         `json:"publicKey"` // PKIX, PEM: signs the index
	KeyID     string         `json:"keyID"`
	Node      string         `json:"node"` // that looks
	State     PublisherState `json:"state"`
	Message   string         `json:"message,omitempty"`
	Title     string         `json:"title,omitempty"` // what the index calls the publisher
	Community bool           `json:"community,omitempty"`
	Serial    int64          `json:"serial,omitempty"` // of the index; an older one is not taken
	Wanted    time.Time      `json:"wanted"`           // when somebody last asked to look
	Looked    time.Time      `json:"looked,omitzero"`
	Created   time.Time      `json:"created"`
}

// Product is what a publisher offers.
type Product struct {
	Code        string           `json:"code"` // EC2's product code
	PublisherID string           `json:"publisherID"`
	Publisher   string           `json:"publisher"` // its name here
	ProductID   string           `json:"productID"` // in the publisher's index
	Community   bool             `json:"community,omitempty"`
	Title       string           `json:"title"`
	Description string           `json:"description,omitempty"`
	Website     string           `json:"website,omitempty"`
	Support     string           `json:"support,omitempty"`
	Price       string           `json:"price,omitempty"`
	Terms       string           `json:"terms,omitempty"`
	TermsDigest string           `json:"termsDigest"`
	Versions    []ProductVersion `json:"versions"` // newest first
}

// ProductVersion is an image of a product.
type ProductVersion struct {
	Version  string    `json:"version"`
	Arch     Arch      `json:"arch"`
	Image    string    `json:"image"` // HOST[:PORT]/PATH@DIGEST
	SizeGiB  int64     `json:"sizeGiB"`
	Notes    string    `json:"notes,omitempty"`
	Released time.Time `json:"released"`
	ImageID  string    `json:"imageID,omitempty"` // once it is here
}

// Subscription is an account's consent to a product's terms.
type Subscription struct {
	OwnerID     string    `json:"ownerID"`
	Code        string    `json:"code"`
	TermsDigest string    `json:"termsDigest"`
	Accepted    time.Time `json:"accepted"`
}

// Owner is the account that has subscribed.
func (s *Subscription) Owner() string { return s.OwnerID }
