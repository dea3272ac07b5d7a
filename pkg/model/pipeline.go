package model

import (
	"strconv"
	"strings"
	"time"
)

// StartCondition says when a pipeline's schedule has it build, by EC2 Image Builder's
// names.
// https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_Schedule.html
type StartCondition string

// The start conditions: at every time of the schedule, or only if something that goes
// into the image has changed since the last image.
const (
	StartAlways    StartCondition = "EXPRESSION_MATCH_ONLY"
	StartOnChanges StartCondition = "EXPRESSION_MATCH_AND_DEPENDENCY_UPDATES_AVAILABLE"
)

// Pipeline builds images of one recipe, when it is told to or by a schedule. Its
// terms are EC2 Image Builder's.
// https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_ImagePipeline.html
type Pipeline struct {
	ID            string           `json:"id"`
	OwnerID       string           `json:"ownerID"`
	Name          string           `json:"name"`
	Description   string           `json:"description,omitempty"`
	ContextDigest string           `json:"contextDigest"` // blob: the recipe's directory as a tar
	RecipeName    string           `json:"recipeName"`
	RecipeVersion string           `json:"recipeVersion"`
	Arch          Arch             `json:"arch"`
	Enabled       bool             `json:"enabled"`
	Schedule      PipelineSchedule `json:"schedule,omitzero"`
	Distribution  Distribution     `json:"distribution,omitzero"`
	Keep          int              `json:"keep,omitempty"` // how many of its newest images stay; 0: all

	Runs int64 `json:"runs"` // how many there were
	// Handled is the time up to which the schedule has been looked at.
	Handled time.Time `json:"handled,omitzero"`
	// Failures is how often it has failed since it last did not, and NotBefore the end of
	// the pause after that.
	Failures  int       `json:"failures,omitempty"`
	NotBefore time.Time `json:"notBefore,omitzero"`
	// Note is why the schedule had nothing built at the time Noted.
	Note  string    `json:"note,omitempty"`
	Noted time.Time `json:"noted,omitzero"`
	// Built is what its last image was built of.
	Built   Dependencies `json:"built,omitzero"`
	LastRun time.Time    `json:"lastRun,omitzero"` // when it was begun last

	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
	ClientToken string    `json:"clientToken,omitempty"`
}

// Owner is the account that the pipeline belongs to.
func (p *Pipeline) Owner() string { return p.OwnerID }

// PipelineSchedule is when a pipeline runs by itself.
type PipelineSchedule struct {
	Expression string         `json:"expression,omitempty"` // "cron(…)", "" for never
	Zone       string         `json:"zone,omitempty"`       // of the IANA database, "" for UTC
	Condition  StartCondition `json:"condition,omitempty"`
}

// Dependencies is what an image is built of, as far as a change of it can be seen.
type Dependencies struct {
	Recipe   string `json:"recipe,omitempty"`   // digest of its directory: components and their documents are in it
	Parent   string `json:"parent,omitempty"`   // id of the image that the recipe's source means
	Packages string `json:"packages,omitempty"` // digest of the distribution's lists of packages
}

// Distribution is what becomes of a pipeline's images.
type Distribution struct {
	Name       string           `json:"name,omitempty"` // template of the images' names
	Tags       Tags             `json:"tags,omitempty"`
	Launch     Sharing          `json:"launch,omitzero"`
	Registries []RegistryTarget `json:"registries,omitempty"`
	Regions    []string         `json:"regions,omitempty"` // that are told to copy the image
}

// RegistryTarget is where an image is sent to.
type RegistryTarget struct {
	Reference string        `json:"reference"` // template of HOST[:PORT]/PATH[:TAG]
	PlainHTTP bool          `json:"plainHTTP,omitempty"`
	Sign      bool          `json:"sign,omitempty"` // with the account's key
	Login     RegistryLogin `json:"login,omitzero"`
}

// PipelineVersion is the version of a pipeline's image of this number: the first two
// numbers of the recipe's version, and the run's.
func PipelineVersion(recipe string, number int64) string {
	parts := strings.Split(recipe, ".")
	for len(parts) < 2 {
		parts = append(parts, "0")
	}
	return parts[0] + "." + parts[1] + "." + strconv.FormatInt(number, 10)
}

// RunState is the state of a run of a pipeline.
type RunState string

// The states of a run. One that is available may have deliveries that failed.
const (
	RunPending      RunState = "pending"
	RunBuilding     RunState = "building"
	RunDistributing RunState = "distributing"
	RunAvailable    RunState = "available"
	RunFailed       RunState = "failed"
	RunCancelled    RunState = "cancelled"
)

// Over reports whether nothing more becomes of the run.
func (s RunState) Over() bool { return s == RunAvailable || s == RunFailed || s == RunCancelled }

// PipelineRun is one execution of a pipeline, for one image.
type PipelineRun struct {
	ID         string `json:"id"`
	OwnerID    string `json:"ownerID"`
	PipelineID string `json:"pipelineID"`
	Number     int64  `json:"number"` // among its pipeline's, from 1
	Version    string `json:"version"`
	// Due is the time of the schedule that it was begun for; zero if it was asked for.
	Due         time.Time    `json:"due,omitzero"`
	State       RunState     `json:"state"`
	StateReason Reason       `json:"stateReason,omitzero"`
	BuildID     string       `json:"buildID,omitempty"`
	ImageID     string       `json:"imageID,omitempty"`
	ImageName   string       `json:"imageName"`
	Arch        Arch         `json:"arch"`
	Tags        Tags         `json:"tags,omitempty"` // of the image
	Built       Dependencies `json:"built,omitzero"`
	Deliveries  []Delivery   `json:"deliveries,omitempty"`
	Created     time.Time    `json:"created"`
	Finished    time.Time    `json:"finished,omitzero"`
}

// Owner is the account that the run belongs to.
func (r *PipelineRun) Owner() string { return r.OwnerID }

// DeliveryState is the state of one part of a distribution.
type DeliveryState string

// The states of a delivery.
const (
	DeliveryPending DeliveryState = "pending"
	DeliveryActive  DeliveryState = "active" // a registry task, or another region's copy, is on its way
	DeliveryDone    DeliveryState = "completed"
	DeliveryFailed  DeliveryState = "failed" // for good, unless it is asked for again
)

// Over reports whether nothing more becomes of the delivery by itself.
func (s DeliveryState) Over() bool { return s == DeliveryDone || s == DeliveryFailed }

// Delivery is one part of the distribution of a run's image: it has launch
// permissions, or is in a registry or another region.
type Delivery struct {
	Launch   *Sharing        `json:"launch,omitempty"`
	Registry *RegistryTarget `json:"registry,omitempty"` // its reference is no template any more
	Region   string          `json:"region,omitempty"`
	ImageID  string          `json:"imageID,omitempty"` // of the copy in the region
	State    DeliveryState   `json:"state"`
	Attempts int             `json:"attempts,omitempty"`
	Round    int             `json:"round,omitempty"` // how often it was asked for again
	Next     time.Time       `json:"next,omitzero"`   // not tried before
	Message  string          `json:"message,omitempty"`
	TaskID   string          `json:"taskID,omitempty"` // registry task
	Finished time.Time       `json:"finished,omitzero"`
}

// Target says in words where the image is delivered to.
func (d *Delivery) Target() string {
	switch {
	case d.Registry != nil:
		return d.Registry.Reference
	case d.Region != "":
		return d.Region
	}
	to := strings.Join(d.Launch.Accounts, ",")
	if d.Launch.Public {
		to = strings.TrimPrefix(to+",all", ",")
	}
	return to
}
