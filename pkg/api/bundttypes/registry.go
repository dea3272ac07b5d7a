package bundttypes

import "time"

// PushImageInput is the request of PushImage: send an image of the account to an
// OCI registry.
type PushImageInput struct {
	ClientToken *string `json:"ClientToken,omitempty" query:"ClientToken"`
	DryRun      *bool   `json:"DryRun,omitempty" query:"DryRun"`
	ImageId     *string `json:"ImageId,omitempty" query:"ImageId" required:"true"`
	Password    *string `json:"Password,omitempty" query:"Password" sensitive:"true"`  // at the registry; without a Username an identity token
	PlainHttp   *bool   `json:"PlainHttp,omitempty" query:"PlainHttp"`                 // without TLS
	Reference   *string `json:"Reference,omitempty" query:"Reference" required:"true"` // HOST[:PORT]/PATH[:TAG]
	Sign        *bool   `json:"Sign,omitempty" query:"Sign"`                           // with the account's key
	Username    *string `json:"Username,omitempty" query:"Username"`
}

// PushImageOutput is the response of PushImage.
type PushImageOutput struct {
	Task RegistryTask `json:"Task" xml:"task"`
}

// PullImageInput is the request of PullImage: make an image of what an OCI registry
// has.
type PullImageInput struct {
	ClientToken *string `json:"ClientToken,omitempty" query:"ClientToken"`
	DryRun      *bool   `json:"DryRun,omitempty" query:"DryRun"`
	Name        *string `json:"Name,omitempty" query:"Name"` // of the image; default: as it was sent
	Password    *string `json:"Password,omitempty" query:"Password" sensitive:"true"`
	PlainHttp   *bool   `json:"PlainHttp,omitempty" query:"PlainHttp"`
	Reference   *string `json:"Reference,omitempty" query:"Reference" required:"true"` // HOST[:PORT]/PATH[:TAG][@DIGEST]
	// RequireSignature takes it only if a key signed it that the account trusts.
	RequireSignature *bool   `json:"RequireSignature,omitempty" query:"RequireSignature"`
	Username         *string `json:"Username,omitempty" query:"Username"`
}

// PullImageOutput is the response of PullImage. The image exists under the task's
// ImageId once the task is completed.
type PullImageOutput struct {
	Task RegistryTask `json:"Task" xml:"task"`
}

// DescribeRegistryTasksInput is the request of DescribeRegistryTasks.
type DescribeRegistryTasksInput struct {
	MaxResults *int32   `json:"MaxResults,omitempty" query:"MaxResults"`
	NextToken  *string  `json:"NextToken,omitempty" query:"NextToken"`
	TaskIds    []string `json:"TaskIds,omitzero" query:"TaskId"`
}

// DescribeRegistryTasksOutput is the response of DescribeRegistryTasks. Tasks are
// shown for a week after their end.
type DescribeRegistryTasksOutput struct {
	NextToken *string        `json:"NextToken,omitempty" xml:"nextToken,omitempty"`
	Tasks     []RegistryTask `json:"Tasks,omitzero" xml:"taskSet>item"`
}

// CancelRegistryTaskInput is the request of CancelRegistryTask.
type CancelRegistryTaskInput struct {
	DryRun *bool   `json:"DryRun,omitempty" query:"DryRun"`
	Reason *string `json:"Reason,omitempty" query:"Reason"`
	TaskId *string `json:"TaskId,omitempty" query:"TaskId" required:"true"`
}

// CancelRegistryTaskOutput is the response of CancelRegistryTask.
type CancelRegistryTaskOutput struct {
	Task RegistryTask `json:"Task" xml:"task"`
}

// RegistryTask sends an image to a registry, or gets one from there.
type RegistryTask struct {
	CreatedAt   time.Time  `json:"CreatedAt" xml:"createdAt"`
	Digest      string     `json:"Digest,omitempty" xml:"digest,omitempty"` // of the manifest, once known
	Direction   string     `json:"Direction" xml:"direction"`               // "push" or "pull"
	FinishedAt  *time.Time `json:"FinishedAt,omitempty" xml:"finishedAt,omitempty"`
	ImageId     string     `json:"ImageId" xml:"imageId"`
	ImageName   string     `json:"ImageName,omitempty" xml:"imageName,omitempty"`
	MovedBytes  int64      `json:"MovedBytes" xml:"movedBytes"` // sent or received
	Progress    int32      `json:"Progress" xml:"progress"`     // per cent
	Reference   string     `json:"Reference" xml:"reference"`
	ReusedBytes int64      `json:"ReusedBytes" xml:"reusedBytes"`                     // that were there already
	SignedBy    string     `json:"SignedBy,omitempty" xml:"signedBy,omitempty"`       // name of the trusted key whose signature was found
	State       string     `json:"State" xml:"state"`                                 // model.TaskState
	StateReason string     `json:"StateReason,omitempty" xml:"stateReason,omitempty"` // what it does, or why it failed
	TaskId      string     `json:"TaskId" xml:"taskId"`
}

// GetImageSigningKeyInput is the request of GetImageSigningKey.
type GetImageSigningKeyInput struct{}

// ImageSigningKey is the public part of the key that an account signs images with.
type ImageSigningKey struct {
	KeyId     string `json:"KeyId" xml:"keyId"`         // as sigstore's tools name it
	PublicKey string `json:"PublicKey" xml:"publicKey"` // PEM
}

// ImportImageSigningKeyInput is the request of ImportImageSigningKey: sign images
// with a key from elsewhere from now on.
type ImportImageSigningKeyInput struct {
	DryRun      *bool   `json:"DryRun,omitempty" query:"DryRun"`
	KeyMaterial *string `json:"KeyMaterial,omitempty" query:"KeyMaterial" required:"true" sensitive:"true"` // PEM, PKCS #8
}

// TrustKeyInput is the request of TrustKey: trust what a key signs.
type TrustKeyInput struct {
	DryRun    *bool   `json:"DryRun,omitempty" query:"DryRun"`
	Name      *string `json:"Name,omitempty" query:"Name" required:"true"`
	PublicKey *string `json:"PublicKey,omitempty" query:"PublicKey" required:"true"` // PEM
}

// TrustKeyOutput is the response of TrustKey.
type TrustKeyOutput struct {
	Key TrustedKey `json:"Key" xml:"key"`
}

// DistrustKeyInput is the request of DistrustKey.
type DistrustKeyInput struct {
	DryRun *bool   `json:"DryRun,omitempty" query:"DryRun"`
	Name   *string `json:"Name,omitempty" query:"Name" required:"true"`
}

// DistrustKeyOutput is the response of DistrustKey.
type DistrustKeyOutput struct{}

// DescribeTrustedKeysInput is the request of DescribeTrustedKeys.
type DescribeTrustedKeysInput struct{}

// DescribeTrustedKeysOutput is the response of DescribeTrustedKeys.
type DescribeTrustedKeysOutput struct {
	Keys []TrustedKey `json:"Keys,omitzero" xml:"keySet>item"`
}

// TrustedKey is a key whose signatures the account trusts.
type TrustedKey struct {
	CreatedAt time.Time `json:"CreatedAt" xml:"createdAt"`
	KeyId     string    `json:"KeyId" xml:"keyId"`
	Name      string    `json:"Name" xml:"name"`
	PublicKey string    `json:"PublicKey" xml:"publicKey"` // PEM
}
