package bundttypes

import "time"

// PreviewLanInput is the request of PreviewLan: say what AttachLan would do.
type PreviewLanInput struct {
	Addresses []string `json:"Addresses,omitzero" query:"Addresses" required:"true"`
	Interface *string  `json:"Interface,omitempty" query:"Interface" required:"true"`
}

// PreviewLanOutput is the response of PreviewLan.
type PreviewLanOutput struct {
	Add          []string `json:"Add,omitzero" xml:"addSet>item"`  // addresses that the interface would get
	DefaultRoute bool     `json:"DefaultRoute" xml:"defaultRoute"` // the host's default route leads by it, and stays
	Interface    string   `json:"Interface" xml:"interface"`
	Keep         []string `json:"Keep,omitzero" xml:"keepSet>item"` // what the interface has, and keeps
}

// AttachLanInput is the request of AttachLan: have addresses on an interface of the
// host, on trial until ConfirmLan. Only the admin account may.
type AttachLanInput struct {
	Addresses    []string `json:"Addresses,omitzero" query:"Addresses" required:"true"`
	DryRun       *bool    `json:"DryRun,omitempty" query:"DryRun"`
	Interface    *string  `json:"Interface,omitempty" query:"Interface" required:"true"`
	TrialSeconds *int32   `json:"TrialSeconds,omitempty" query:"TrialSeconds"` // default: 120
}

// AttachLanOutput is the response of AttachLan.
type AttachLanOutput struct {
	Lan Lan `json:"Lan" xml:"lan"`
}

// ConfirmLanInput is the request of ConfirmLan: keep what is on trial.
type ConfirmLanInput struct {
	DryRun    *bool   `json:"DryRun,omitempty" query:"DryRun"`
	Interface *string `json:"Interface,omitempty" query:"Interface" required:"true"`
}

// ConfirmLanOutput is the response of ConfirmLan.
type ConfirmLanOutput struct {
	Lan Lan `json:"Lan" xml:"lan"`
}

// DetachLanInput is the request of DetachLan: take the addresses from the interface.
type DetachLanInput struct {
	DryRun    *bool   `json:"DryRun,omitempty" query:"DryRun"`
	Interface *string `json:"Interface,omitempty" query:"Interface" required:"true"`
}

// DetachLanOutput is the response of DetachLan.
type DetachLanOutput struct{}

// DescribeLansInput is the request of DescribeLans.
type DescribeLansInput struct{}

// DescribeLansOutput is the response of DescribeLans.
type DescribeLansOutput struct {
	Lans []Lan `json:"Lans,omitzero" xml:"lanSet>item"`
}

// Lan is addresses that bundt has on an interface of the host.
type Lan struct {
	Addresses   []string   `json:"Addresses,omitzero" xml:"addressSet>item"`
	CreatedAt   time.Time  `json:"CreatedAt" xml:"createdAt"`
	Interface   string     `json:"Interface" xml:"interface"`
	State       string     `json:"State" xml:"state"` // model.LANState
	StateReason string     `json:"StateReason,omitempty" xml:"stateReason,omitempty"`
	TrialEndsAt *time.Time `json:"TrialEndsAt,omitempty" xml:"trialEndsAt,omitempty"`
}
