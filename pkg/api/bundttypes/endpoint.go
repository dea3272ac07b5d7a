package bundttypes

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
