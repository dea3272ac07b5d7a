// Package metadata owns the instance metadata service (IMDS v1 and v2) that
// guests ask at 169.254.169.254 and fd00:ec2::254. It is an http.Handler that a datapath serves;
// who asks is decided by the port a request came in by, never by an address it
// claims. It imports no other package of this project but pkg/model.
package metadata

import "time"

// Document is what one instance may learn about itself. Paths and formats:
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html
type Document struct {
	InstanceID       string            `json:"instanceID"`
	ImageID          string            `json:"imageID"`
	InstanceType     string            `json:"instanceType"`
	Architecture     string            `json:"architecture"`
	AccountID        string            `json:"accountID"`
	ReservationID    string            `json:"reservationID"`
	LaunchIndex      int               `json:"launchIndex"`
	PendingTime      time.Time         `json:"pendingTime"`
	Region           string            `json:"region"`
	AvailabilityZone string            `json:"availabilityZone"`
	ZoneID           string            `json:"zoneID,omitempty"`
	ProductCodes     []string          `json:"productCodes,omitempty"`
	Monitoring       bool              `json:"monitoring,omitempty"` // detailed monitoring is on
	Hostname         string            `json:"hostname"`             // fully qualified private name
	PublicHostname   string            `json:"publicHostname,omitempty"`
	PrivateIP        string            `json:"privateIP"`
	PublicIP         string            `json:"publicIP,omitempty"`
	MAC              string            `json:"mac"`
	SecurityGroups   []NamedID         `json:"securityGroups"`
	Interfaces       []Interface       `json:"interfaces"` // all of the instance's, the primary one too
	KeyName          string            `json:"keyName,omitempty"`
	PublicKey        string            `json:"publicKey,omitempty"`
	UserData         []byte            `json:"userData,omitempty"`
	RootDevice       string            `json:"rootDevice"`
	BlockDevices     map[string]string `json:"blockDevices,omitempty"` // "ami", "ebs1" … -> device
	Tags             map[string]string `json:"tags,omitempty"`         // only if the instance exposes them
	Options          Options           `json:"options"`
	Profile          *Profile          `json:"profile,omitempty"` // nil without an instance profile
}

// Interface is one of the instance's network interfaces.
type Interface struct {
	ID             string      `json:"id"`
	DeviceIndex    int         `json:"deviceIndex"`
	MAC            string      `json:"mac"`
	Hostname       string      `json:"hostname"` // fully qualified private name
	PublicHostname string      `json:"publicHostname,omitempty"`
	PrivateIPs     []PrivateIP `json:"privateIPs"` // the primary one first
	VPCID          string      `json:"vpcID"`
	VPCCIDR        string      `json:"vpcCIDR"`
	MoreVPCCIDRs   []string    `json:"moreVPCCIDRs,omitempty"`
	IPv6s          []string    `json:"ipv6s,omitempty"`
	VPCCIDRsV6     []string    `json:"vpcCIDRsV6,omitempty"`
	SubnetCIDRsV6  []string    `json:"subnetCIDRsV6,omitempty"`
	SubnetID       string      `json:"subnetID"`
	SubnetCIDR     string      `json:"subnetCIDR"`
	SecurityGroups []NamedID   `json:"securityGroups"`
}

// PrivateIP is a private address, and the public one that leads to it, if any.
type PrivateIP struct {
	IP     string `json:"ip"`
	Public string `json:"public,omitempty"`
}

// Profile is the instance's IAM instance profile with the role that it hands out.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html
type Profile struct {
	ARN  string `json:"arn"`
	ID   string `json:"id"`
	Role string `json:"role,omitempty"` // name; "" if the profile has none, or is gone
	// Problem says why there are no credentials.
	Problem     string      `json:"problem,omitempty"`
	Credentials Credentials `json:"credentials,omitzero"`
	Updated     time.Time   `json:"updated"`
}

// Credentials are temporary ones of a role.
type Credentials struct {
	AccessKeyID string    `json:"accessKeyID"`
	Secret      string    `json:"secret"`
	Token       string    `json:"token"`
	Expires     time.Time `json:"expires"`
}

// NamedID is an object's id and name.
type NamedID struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Options are the instance's metadata options.
type Options struct {
	Disabled       bool `json:"disabled,omitempty"`
	TokensRequired bool `json:"tokensRequired,omitempty"` // IMDSv2 only
	HopLimit       int  `json:"hopLimit,omitempty"`
	IPv6           bool `json:"ipv6,omitempty"` // served at fd00:ec2::254 too
}
