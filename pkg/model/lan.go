package model

import "time"

// LANState is where an attachment to a LAN is.
type LANState string

// The states of an attachment.
const (
	LANPending    LANState = "pending"
	LANTrial      LANState = "on-trial"    // until it is confirmed; else it is rolled back
	LANAttached   LANState = "attached"    // its addresses can be allocated
	LANRolledBack LANState = "rolled-back" // nobody confirmed it in time
	LANFailed     LANState = "failed"
	LANDetaching  LANState = "detaching"
)

// Over reports whether the attachment has nothing on the host.
func (s LANState) Over() bool { return s == LANRolledBack || s == LANFailed }

// LAN is addresses that bundt has on an interface of a host, so that machines beside
// it reach instances by them.
type LAN struct {
	ID        string    `json:"id"`
	Node      string    `json:"node"`
	Interface string    `json:"interface"`
	Addresses []string  `json:"addresses"`
	State     LANState  `json:"state"`
	Message   string    `json:"message,omitempty"`
	Trial     int       `json:"trial"`          // seconds
	Until     time.Time `json:"until,omitzero"` // when the trial ends
	Confirmed bool      `json:"confirmed,omitempty"`
	Created   time.Time `json:"created"`
}
