package bundttypes

import "time"

// DescribeEndpointInput is the request of DescribeEndpoint: how AWS's clients
// reach this cloud.
type DescribeEndpointInput struct{}

// DescribeEndpointOutput is the response of DescribeEndpoint. Without an endpoint
// all but Region is empty. The files are on the daemon's host.
type DescribeEndpointOutput struct {
	CertificateFile string `json:"CertificateFile,omitempty" xml:"certificateFile,omitempty"` // PEM, to be trusted; "" if clients do already
	CredentialsFile string `json:"CredentialsFile,omitempty" xml:"credentialsFile,omitempty"` // of the admin, in the form of AWS's shared credentials
	Region          string `json:"Region" xml:"region"`
	Url             string `json:"Url,omitempty" xml:"url,omitempty"`
}

// CreateConsoleLinkInput is the request of CreateConsoleLink: a link by which the caller
// signs in to the web console, once, within some minutes.
type CreateConsoleLinkInput struct {
	DryRun *bool `json:"DryRun,omitempty" query:"DryRun"`
}

// CreateConsoleLinkOutput is the response of CreateConsoleLink. Whoever has the link is
// the caller.
type CreateConsoleLinkOutput struct {
	ExpiresAt time.Time `json:"ExpiresAt" xml:"expiresAt"`
	Url       string    `json:"Url" xml:"url"`
}
