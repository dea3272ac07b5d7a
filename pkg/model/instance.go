package model

import (
	"slices"
	"time"
)

// InstanceState is an instance's state as EC2 shows it.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
type InstanceState string

// The states of an instance.
const (
	InstancePending      InstanceState = "pending"
	InstanceRunning      InstanceState = "running"
	InstanceStopping     InstanceState = "stopping"
	InstanceStopped      InstanceState = "stopped"
	InstanceShuttingDown InstanceState = "shutting-down"
	InstanceTerminated   InstanceState = "terminated"
)

// Code is the state's number in EC2's InstanceState shape.
func (s InstanceState) Code() int32 {
	switch s {
	case InstancePending:
		return 0
	case InstanceRunning:
		return 16
	case InstanceShuttingDown:
		return 32
	case InstanceTerminated:
		return 48
	case InstanceStopping:
		return 64
	case InstanceStopped:
		return 80
	}
	return -1
}

// CanBecome reports whether EC2's life cycle has a step from s to next. Clients'
// waiters fail on a state out of order, so nothing else may ever be stored.
func (s InstanceState) CanBecome(next InstanceState) bool {
	switch s {
	case InstancePending:
		return next == InstanceRunning || next == InstanceShuttingDown || next == InstanceTerminated || next == InstanceStopping || next == InstanceStopped
	case InstanceRunning:
		return next == InstanceStopping || next == InstanceShuttingDown
	case InstanceStopping:
		return next == InstanceStopped || next == InstanceShuttingDown
	case InstanceStopped:
		return next == InstancePending || next == InstanceShuttingDown || next == InstanceTerminated
	case InstanceShuttingDown:
		return next == InstanceTerminated
	}
	return false
}

// Reachability is the outcome of the instance status check.
type Reachability string

// The outcomes of the reachability check.
const (
	ReachabilityInitializing Reachability = "initializing"
	ReachabilityPassed       Reachability = "passed"
	ReachabilityFailed       Reachability = "failed"
)

// Accelerator is what executes a guest's instructions and why it was chosen.
type Accelerator struct {
	Name   string `json:"name"`   // "kvm" or "tcg"
	Reason string `json:"reason"` // for people: "software emulation: slow, because …"
}

// NetworkInterface is a place in the network: of an instance, or waiting for one.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterface.html
type NetworkInterface struct {
	ID            string           `json:"id"`
	OwnerID       string           `json:"ownerID"`
	VPCID         string           `json:"vpcID"`
	SubnetID      string           `json:"subnetID"`
	MAC           string           `json:"mac"`
	PrivateIP     string           `json:"privateIP"`
	Secondary     []PrivateAddress `json:"secondary,omitempty"`
	IPv6          []string         `json:"ipv6,omitempty"`          // the instance's for as long as the interface is, over stops too
	PublicIP      string           `json:"publicIP,omitempty"`      // in user mode a loopback address of its own
	AutoPublic    bool             `json:"autoPublic,omitempty"`    // gets a public address whenever its instance starts
	AllocationID  string           `json:"allocationID,omitempty"`  // if PublicIP is an elastic address
	AssociationID string           `json:"associationID,omitempty"` // if PublicIP is an elastic address
	Groups        []string         `json:"groups"`
	Description   string           `json:"description,omitempty"`
	// NoSourceDestCheck lets the guest forward others' packets.
	NoSourceDestCheck bool                 `json:"noSourceDestCheck,omitempty"`
	Routed            bool                 `json:"routed,omitempty"` // a route has led to it
	Attachment        *InterfaceAttachment `json:"attachment,omitempty"`
	Created           time.Time            `json:"created,omitzero"`
	Tags              Tags                 `json:"tags,omitempty"`
	Names             InterfaceNames       `json:"-"`
}

// ProfileAssociation ties an instance profile to an instance. The profile is the
// one of that id: another one of its name is not meant.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IamInstanceProfileAssociation.html
type ProfileAssociation struct {
	ID        string    `json:"id"`
	ProfileID string    `json:"profileID"`
	Name      string    `json:"name"`
	ARN       string    `json:"arn"`
	Since     time.Time `json:"since"`
}

// MetadataOptions are the instance's IMDS settings.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceMetadataOptionsResponse.html
type MetadataOptions struct {
	HTTPTokens   string `json:"httpTokens"` // "optional" or "required"
	HopLimit     int    `json:"hopLimit"`
	Disabled     bool   `json:"disabled,omitempty"`
	InstanceTags bool   `json:"instanceTags,omitempty"`
	IPv6         bool   `json:"ipv6,omitempty"` // the service answers at its IPv6 address too
	// Pending is set while a change has not reached the instance's metadata service.
	Pending bool `json:"pending,omitempty"`
}

// Instance is a virtual machine. The API writes Desired and the counters of
// requests; the node that it is placed on writes State and what follows from it.
type Instance struct {
	ID               string           `json:"id"`
	ReservationID    string           `json:"reservationID"`
	OwnerID          string           `json:"ownerID"`
	LaunchIndex      int              `json:"launchIndex"`
	ClientToken      string           `json:"clientToken,omitempty"`
	ImageID          string           `json:"imageID"`
	Type             string           `json:"type"`
	Arch             Arch             `json:"arch"`
	KeyName          string           `json:"keyName,omitempty"`
	PublicKey        string           `json:"publicKey,omitempty"`
	UserData         []byte           `json:"userData,omitempty"`
	LoginUser        string           `json:"loginUser,omitempty"`
	Boot             Boot             `json:"boot"`
	Node             string           `json:"node"`
	LaunchTime       time.Time        `json:"launchTime"`
	Interface        NetworkInterface `json:"interface"`
	Volumes          []InstanceVolume `json:"volumes"`
	RootDevice       string           `json:"rootDevice"`
	Metadata         MetadataOptions  `json:"metadata"`
	TerminateOnHalt  bool             `json:"terminateOnHalt,omitempty"` // InstanceInitiatedShutdownBehavior=terminate
	Options          InstanceOptions  `json:"options,omitzero"`
	Tags             Tags             `json:"tags,omitempty"`
	ProductCodes     []string         `json:"productCodes,omitempty"`   // of its image
	RequestedAccel   string           `json:"requestedAccel,omitempty"` // "" lets the node choose
	Display          bool             `json:"display,omitempty"`        // the machine has a graphics card
	State            InstanceState    `json:"state"`
	Desired          InstanceState    `json:"desired"` // running, stopped or terminated
	ForceStop        bool             `json:"forceStop,omitempty"`
	StateReason      Reason           `json:"stateReason,omitzero"`
	TransitionReason string           `json:"transitionReason,omitempty"`
	Accel            Accelerator      `json:"accel,omitzero"`
	Reachability     Reachability     `json:"reachability,omitempty"`
	ReachableSince   time.Time        `json:"reachableSince,omitzero"`
	StopRequested    time.Time        `json:"stopRequested,omitzero"` // start of the grace period
	RebootsRequested int              `json:"rebootsRequested,omitempty"`
	RebootsDone      int              `json:"rebootsDone,omitempty"`
	Booted           bool             `json:"booted,omitempty"`  // has been running at least once
	Crashes          []time.Time      `json:"crashes,omitempty"` // recent unexpected ends of its process
	TerminatedAt     time.Time        `json:"terminatedAt,omitzero"`
	ConsoleAtEnd     []byte           `json:"consoleAtEnd,omitempty"` // last console output of a terminated instance

	// Interface is a copy (see records.PutInterface), as are those beside it, by device index.
	Others []NetworkInterface `json:"otherInterfaces,omitempty"`

	// Build is the build that the instance works for, "" for anybody else's.
	Build string `json:"build,omitempty"`

	// Profile is the instance profile whose role the guest gets credentials of.
	Profile *ProfileAssociation `json:"profile,omitempty"`
}

// Interfaces returns the instance's interfaces, the primary one first.
func (i *Instance) Interfaces() []NetworkInterface {
	if i.Interface.ID == "" {
		return i.Others
	}
	return append([]NetworkInterface{i.Interface}, i.Others...)
}

// SetInterface puts a copy of an interface that is attached to the instance in
// its place.
func (i *Instance) SetInterface(n NetworkInterface) {
	if n.Attachment == nil || n.Attachment.DeviceIndex == 0 {
		i.Interface = n
		return
	}
	i.RemoveInterface(n.ID)
	i.Others = append(i.Others, n)
	slices.SortFunc(i.Others, func(a, b NetworkInterface) int { return a.Attachment.DeviceIndex - b.Attachment.DeviceIndex })
}

// RemoveInterface forgets an interface beside the primary one.
func (i *Instance) RemoveInterface(id string) {
	i.Others = slices.DeleteFunc(i.Others, func(n NetworkInterface) bool { return n.ID == id })
}

// Hostname is the private DNS name's first label, as EC2 makes it from the
// address, or from the id where the launch asked for that.
func (i *Instance) Hostname() string {
	if i.Options.ResourceHostname {
		return i.ID
	}
	return HostnameFor(i.Interface.PrivateIP)
}

// HostNames are the private DNS names' first labels that lead to the instance.
func (i *Instance) HostNames() []string {
	names := []string{HostnameFor(i.Interface.PrivateIP)}
	if i.Options.ResourceHostname || i.Options.ResourceARecord {
		names = append(names, i.ID)
	}
	return names
}

// HostnameFor returns EC2's IP-based host name: 10.0.0.5 is ip-10-0-0-5.
func HostnameFor(ip string) string {
	b := []byte("ip-" + ip)
	for i := range b {
		if b[i] == '.' || b[i] == ':' {
			b[i] = '-'
		}
	}
	return string(b)
}

// PrivateDomain is the domain of private DNS names in a region, as EC2 names it.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/hostname-types.html
func PrivateDomain(region string) string {
	if region == "us-east-1" {
		return "ec2.internal"
	}
	return region + ".compute.internal"
}

// PublicDomain is the domain of public DNS names: what EC2 has below
// amazonaws.com, which is not bundt's, is below bundt.internal.
const PublicDomain = "bundt.internal"

// PublicHostname is the public DNS name of an address without PublicDomain.
func PublicHostname(ip, region string) string {
	return "ec2-" + HostnameFor(ip)[len("ip-"):] + "." + region + ".compute"
}

// PublicDNSName is the public DNS name of the interface, "" if it has none.
func (n *NetworkInterface) PublicDNSName(ip, region string) string {
	if ip == "" || !n.Names.Public {
		return ""
	}
	return PublicHostname(ip, region) + "." + PublicDomain
}
