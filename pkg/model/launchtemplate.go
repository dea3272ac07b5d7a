package model

import "time"

// LaunchTemplate is a named series of versions of launch parameters.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LaunchTemplate.html
type LaunchTemplate struct {
	ID        string    `json:"id"`
	OwnerID   string    `json:"ownerID"`
	Name      string    `json:"name"`
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"createdBy"` // ARN
	Default   int64     `json:"default"`   // number of the default version
	Latest    int64     `json:"latest"`    // highest number there is
	Next      int64     `json:"next"`      // number of the next version: none is used twice
	Tags      Tags      `json:"tags,omitempty"`
}

// Owner is the account that the launch template belongs to.
func (l *LaunchTemplate) Owner() string { return l.OwnerID }

// LaunchTemplateVersion is one version of a launch template. It never changes.
type LaunchTemplateVersion struct {
	TemplateID  string    `json:"templateID"`
	Number      int64     `json:"number"`
	Description string    `json:"description,omitempty"`
	Created     time.Time `json:"created"`
	CreatedBy   string    `json:"createdBy"`
	// Data is EC2's RequestLaunchTemplateData in JSON.
	Data []byte `json:"data"`
}
