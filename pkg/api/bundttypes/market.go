package bundttypes

import "time"

// AddPublisherInput is the request of AddPublisher: show what a publisher's index
// offers. Only the admin account may.
type AddPublisherInput struct {
	DryRun    *bool   `json:"DryRun,omitempty" query:"DryRun"`
	Name      *string `json:"Name,omitempty" query:"Name" required:"true"`
	PlainHttp *bool   `json:"PlainHttp,omitempty" query:"PlainHttp"`                 // of oci://: without TLS
	PublicKey *string `json:"PublicKey,omitempty" query:"PublicKey" required:"true"` // PEM: what has to have signed the index
	Url       *string `json:"Url,omitempty" query:"Url" required:"true"`             // https://, http://, oci:// or file:///BUCKET/KEY
}

// AddPublisherOutput is the response of AddPublisher. The index is looked at soon:
// see State.
type AddPublisherOutput struct {
	Publisher Publisher `json:"Publisher" xml:"publisher"`
}

// RefreshPublisherInput is the request of RefreshPublisher: look at its index now.
type RefreshPublisherInput struct {
	DryRun *bool   `json:"DryRun,omitempty" query:"DryRun"`
	Name   *string `json:"Name,omitempty" query:"Name" required:"true"`
}

// RefreshPublisherOutput is the response of RefreshPublisher.
type RefreshPublisherOutput struct {
	Publisher Publisher `json:"Publisher" xml:"publisher"`
}

// RemovePublisherInput is the request of RemovePublisher: show its products no more,
// and deregister their images.
type RemovePublisherInput struct {
	DryRun *bool   `json:"DryRun,omitempty" query:"DryRun"`
	Name   *string `json:"Name,omitempty" query:"Name" required:"true"`
}

// RemovePublisherOutput is the response of RemovePublisher.
type RemovePublisherOutput struct{}

// DescribePublishersInput is the request of DescribePublishers.
type DescribePublishersInput struct{}

// DescribePublishersOutput is the response of DescribePublishers.
type DescribePublishersOutput struct {
	Publishers []Publisher `json:"Publishers,omitzero" xml:"publisherSet>item"`
}

// Publisher is somebody whose products the cloud shows.
type Publisher struct {
	CreatedAt   time.Time  `json:"CreatedAt" xml:"createdAt"`
	KeyId       string     `json:"KeyId" xml:"keyId"`
	Kind        string     `json:"Kind" xml:"kind"` // "market" or "community"
	LookedAt    *time.Time `json:"LookedAt,omitempty" xml:"lookedAt,omitempty"`
	Name        string     `json:"Name" xml:"name"`
	Serial      int64      `json:"Serial" xml:"serial"` // of the index that was seen last
	State       string     `json:"State" xml:"state"`   // model.PublisherState
	StateReason string     `json:"StateReason,omitempty" xml:"stateReason,omitempty"`
	Title       string     `json:"Title,omitempty" xml:"title,omitempty"` // what the index calls it
	Url         string     `json:"Url" xml:"url"`
}

// DescribeProductsInput is the request of DescribeProducts.
type DescribeProductsInput struct {
	Kind         *string  `json:"Kind,omitempty" query:"Kind"` // "market" or "community"
	MaxResults   *int32   `json:"MaxResults,omitempty" query:"MaxResults"`
	NextToken    *string  `json:"NextToken,omitempty" query:"NextToken"`
	ProductCodes []string `json:"ProductCodes,omitzero" query:"ProductCode"`
}

// DescribeProductsOutput is the response of DescribeProducts.
type DescribeProductsOutput struct {
	NextToken *string   `json:"NextToken,omitempty" xml:"nextToken,omitempty"`
	Products  []Product `json:"Products,omitzero" xml:"productSet>item"`
}

// Product is what a publisher offers.
type Product struct {
	Description  string           `json:"Description,omitempty" xml:"description,omitempty"`
	Kind         string           `json:"Kind" xml:"kind"` // "market" or "community"
	Price        string           `json:"Price,omitempty" xml:"price,omitempty"`
	ProductCode  string           `json:"ProductCode" xml:"productCode"`
	ProductId    string           `json:"ProductId" xml:"productId"` // in the publisher's index
	Publisher    string           `json:"Publisher" xml:"publisher"`
	SubscribedAt *time.Time       `json:"SubscribedAt,omitempty" xml:"subscribedAt,omitempty"`
	Support      string           `json:"Support,omitempty" xml:"support,omitempty"`
	Terms        string           `json:"Terms,omitempty" xml:"terms,omitempty"`
	TermsDigest  string           `json:"TermsDigest" xml:"termsDigest"`
	Title        string           `json:"Title" xml:"title"`
	Versions     []ProductVersion `json:"Versions,omitzero" xml:"versionSet>item"`
	Website      string           `json:"Website,omitempty" xml:"website,omitempty"`
}

// ProductVersion is an image of a product.
type ProductVersion struct {
	Architecture string    `json:"Architecture" xml:"architecture"`
	Image        string    `json:"Image" xml:"image"`                         // HOST[:PORT]/PATH@DIGEST
	ImageId      string    `json:"ImageId,omitempty" xml:"imageId,omitempty"` // once it is here
	Notes        string    `json:"Notes,omitempty" xml:"notes,omitempty"`
	ReleasedAt   time.Time `json:"ReleasedAt" xml:"releasedAt"`
	SizeGiB      int64     `json:"SizeGiB" xml:"sizeGiB"`
	Version      string    `json:"Version" xml:"version"`
}

// SubscribeToProductInput is the request of SubscribeToProduct: accept its terms.
type SubscribeToProductInput struct {
	DryRun      *bool   `json:"DryRun,omitempty" query:"DryRun"`
	ProductCode *string `json:"ProductCode,omitempty" query:"ProductCode" required:"true"`
	TermsDigest *string `json:"TermsDigest,omitempty" query:"TermsDigest" required:"true"` // of the terms that are accepted
}

// SubscribeToProductOutput is the response of SubscribeToProduct.
type SubscribeToProductOutput struct {
	SubscribedAt time.Time `json:"SubscribedAt" xml:"subscribedAt"`
}

// UnsubscribeFromProductInput is the request of UnsubscribeFromProduct: launch it no
// more. What runs goes on.
type UnsubscribeFromProductInput struct {
	DryRun      *bool   `json:"DryRun,omitempty" query:"DryRun"`
	ProductCode *string `json:"ProductCode,omitempty" query:"ProductCode" required:"true"`
}

// UnsubscribeFromProductOutput is the response of UnsubscribeFromProduct.
type UnsubscribeFromProductOutput struct{}

// PullProductImageInput is the request of PullProductImage: have the product's image
// be here.
type PullProductImageInput struct {
	Architecture *string `json:"Architecture,omitempty" query:"Architecture"`
	DryRun       *bool   `json:"DryRun,omitempty" query:"DryRun"`
	ProductCode  *string `json:"ProductCode,omitempty" query:"ProductCode" required:"true"`
	Version      *string `json:"Version,omitempty" query:"Version"` // default: the newest
}

// PullProductImageOutput is the response of PullProductImage. Without a Task the
// image is here; with one it is once the task is completed.
type PullProductImageOutput struct {
	ImageId string        `json:"ImageId" xml:"imageId"`
	Task    *RegistryTask `json:"Task,omitempty" xml:"task,omitempty"`
}

// SignIndexInput is the request of SignIndex: sign an index of products with the
// account's key.
type SignIndexInput struct {
	Index *string `json:"Index,omitempty" query:"Index" required:"true"` // JSON
}

// SignIndexOutput is the response of SignIndex.
type SignIndexOutput struct {
	Bundle string `json:"Bundle" xml:"bundle"` // the signed index: a sigstore bundle
}
