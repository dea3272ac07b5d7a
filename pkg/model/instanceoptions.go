package model

// InstanceOptions are the settings of an instance that its launch gives it and
// that only its owner changes.
type InstanceOptions struct {
	// DisableAPIStop and DisableAPITermination make StopInstances and
	// TerminateInstances refuse the instance. Its guest may power off all the same.
	DisableAPIStop        bool `json:"disableAPIStop,omitempty"`
	DisableAPITermination bool `json:"disableAPITermination,omitempty"`
	DetailedMonitoring    bool `json:"detailedMonitoring,omitempty"`
	EbsOptimized          bool `json:"ebsOptimized,omitempty"`
	// CPUCredits is "standard" or "unlimited" on burstable types, "" on others.
	CPUCredits string `json:"cpuCredits,omitempty"`
	// CoreCount is how many of its type's CPUs the instance has; 0 is all.
	CoreCount int `json:"coreCount,omitempty"`
	// NoAutoRecovery leaves the instance stopped when its machine ends unexpectedly.
	NoAutoRecovery bool `json:"noAutoRecovery,omitempty"`
	// ResourceHostname makes the instance's id its host name, not its address.
	ResourceHostname bool `json:"resourceHostname,omitempty"`
	// ResourceARecord gives the name that is made of the id an A record.
	ResourceARecord bool `json:"resourceARecord,omitempty"`
	// ResourceAAAARecord gives it an AAAA record, if the instance has an IPv6 address.
	ResourceAAAARecord bool `json:"resourceAAAARecord,omitempty"`
}

// DisplayTag is the instance tag by which a launch asks for a display, which
// RunInstances has no parameter for: "on" or "off".
const DisplayTag = "bundt:display"

// The values of InstanceOptions.CPUCredits.
const (
	CreditsStandard  = "standard"
	CreditsUnlimited = "unlimited"
)

// VCPUs is how many CPUs the instance has when it is of this type.
func (o *InstanceOptions) VCPUs(t InstanceType) int {
	if o.CoreCount > 0 {
		return o.CoreCount
	}
	return t.VCPUs
}
