package model

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// VolumeState is an EBS volume's state.
type VolumeState string

// The states of a volume.
const (
	VolumeCreating  VolumeState = "creating"
	VolumeAvailable VolumeState = "available"
	VolumeInUse     VolumeState = "in-use"
	VolumeDeleting  VolumeState = "deleting"
	VolumeErrored   VolumeState = "error"
)

// Volume is a disk that a machine writes to: a chain of layers with a writable head.
type Volume struct {
	ID           string              `json:"id"`
	OwnerID      string              `json:"ownerID"`
	SnapshotID   string              `json:"snapshotID,omitempty"`
	SizeGiB      int64               `json:"sizeGiB"`
	State        VolumeState         `json:"state"`
	StateReason  Reason              `json:"stateReason,omitzero"`
	Head         string              `json:"head"`               // id of the writable layer
	NextHead     string              `json:"nextHead,omitempty"` // layer that replaces Head once a snapshot in progress is done
	NextFor      string              `json:"nextFor,omitempty"`  // the set of snapshots that NextHead was made for
	Created      time.Time           `json:"created"`
	Attachment   *Attachment         `json:"attachment,omitempty"`
	Modification *VolumeModification `json:"modification,omitempty"` // the latest
	Flattening   *Flattening         `json:"flattening,omitempty"`
	AutoEnableIO bool                `json:"autoEnableIO,omitempty"`
	Tags         Tags                `json:"tags,omitempty"`
	ProductCodes []string            `json:"productCodes,omitempty"`
	Key          string              `json:"key,omitempty"` // id of its data key; none: it is not encrypted
	VolumeKind
}

// Flattening is a change of the layer that a head reads from, which its file may show
// before the layers' records do.
type Flattening struct {
	Head string `json:"head"`
	Base string `json:"base,omitempty"` // none: the head is to have everything itself
}

// AttachmentState is the state of the tie between a volume and an instance.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VolumeAttachment.html
type AttachmentState string

// The states of an attachment. Busy is a detachment that the guest does not let happen.
const (
	Attaching AttachmentState = "attaching"
	Attached  AttachmentState = "attached"
	Detaching AttachmentState = "detaching"
	Busy      AttachmentState = "busy"
)

// Leaving reports whether the volume is on its way out of its instance.
func (s AttachmentState) Leaving() bool { return s == Detaching || s == Busy }

// Attachment ties a volume to an instance.
type Attachment struct {
	InstanceID          string          `json:"instanceID"`
	Device              string          `json:"device"`
	DeleteOnTermination bool            `json:"deleteOnTermination"`
	Attached            time.Time       `json:"attached"`
	State               AttachmentState `json:"state"`
	// Force takes the volume away though its guest holds it.
	Force bool `json:"force,omitempty"`
}

// InstanceVolume is one disk of an instance, the root disk first, then in order
// of attachment. It repeats what the volume's Attachment says.
type InstanceVolume struct {
	Device              string          `json:"device"`
	VolumeID            string          `json:"volumeID"`
	DeleteOnTermination bool            `json:"deleteOnTermination"`
	Attached            time.Time       `json:"attached,omitzero"` // the instance's launch if it is zero
	State               AttachmentState `json:"state,omitempty"`   // Attached if it is empty
}

// ModificationState is how far a change of a volume is.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VolumeModification.html
type ModificationState string

// The states of a modification. There is no "optimizing": a volume is as it
// shall be as soon as it has its size.
const (
	ModificationModifying ModificationState = "modifying"
	ModificationCompleted ModificationState = "completed"
	ModificationFailed    ModificationState = "failed"
)

// VolumeModification is a change of a volume's size and kind.
type VolumeModification struct {
	State        ModificationState `json:"state"`
	Message      string            `json:"message,omitempty"`
	Started      time.Time         `json:"started"`
	Ended        time.Time         `json:"ended,omitzero"`
	OriginalSize int64             `json:"originalSize"` // GiB
	TargetSize   int64             `json:"targetSize"`   // GiB
	Original     VolumeKind        `json:"original"`
	Target       VolumeKind        `json:"target"`
}

// Modifying reports whether a change of the volume is not done yet.
func (v *Volume) Modifying() bool {
	return v.Modification != nil && v.Modification.State == ModificationModifying
}

// VolumeKind is a volume's type with its provisioned performance.
type VolumeKind struct {
	Type       string `json:"volumeType,omitempty"` // "" is DefaultVolumeType
	IOPS       int64  `json:"iops,omitempty"`       // 0: the type has none to provision
	Throughput int64  `json:"throughput,omitempty"` // MiB/s; gp3 only
}

// Kind is the type and performance of the volumes that the entry makes.
func (b *BlockDevice) Kind() VolumeKind {
	return VolumeKind{Type: b.VolumeType, IOPS: b.IOPS, Throughput: b.Throughput}
}

// SetKind changes the type and performance of the volumes that the entry makes.
func (b *BlockDevice) SetKind(k VolumeKind) {
	b.VolumeType, b.IOPS, b.Throughput = k.Type, k.IOPS, k.Throughput
}

// DefaultVolumeType is the type of volumes that nobody chose one for. EC2's own
// default, gp2, is its oldest; this is what its current images have.
const DefaultVolumeType = "gp3"

// volumeType is EC2's rule for one volume type.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
type volumeType struct {
	minGiB, maxGiB   int64
	minIOPS, maxIOPS int64 // 0: not provisioned
	iopsPerGiB       int64
	iopsRequired     bool
	throughput       bool
}

// MaxVolumeGiB is the size of the largest volume of any type: 64 TiB.
const MaxVolumeGiB = 64 << 10

var volumeTypes = map[string]volumeType{
	"standard": {minGiB: 1, maxGiB: 1024},
	"gp2":      {minGiB: 1, maxGiB: 16 << 10},
	"gp3":      {minGiB: 1, maxGiB: MaxVolumeGiB, minIOPS: 3000, maxIOPS: 80000, iopsPerGiB: 500, throughput: true},
	"io1":      {minGiB: 4, maxGiB: 16 << 10, minIOPS: 100, maxIOPS: 64000, iopsPerGiB: 50, iopsRequired: true},
	"io2":      {minGiB: 4, maxGiB: MaxVolumeGiB, minIOPS: 100, maxIOPS: 256000, iopsPerGiB: 1000, iopsRequired: true},
	"st1":      {minGiB: 125, maxGiB: 16 << 10},
	"sc1":      {minGiB: 125, maxGiB: 16 << 10},
}

// VolumeTypes are the names of all types, sorted.
func VolumeTypes() []string { return slices.Sorted(maps.Keys(volumeTypes)) }

// gp3's throughput, in MiB/s.
const (
	minThroughput = 125
	maxThroughput = 2000
)

// Complete returns the kind with what EC2 fills in for a volume of this size, or
// the error that EC2 answers a forbidden combination with.
func (k VolumeKind) Complete(sizeGiB int64) (VolumeKind, error) {
	if k.Type == "" {
		k.Type = DefaultVolumeType
	}
	t, ok := volumeTypes[k.Type]
	if !ok {
		return k, Errorf("UnknownVolumeType", "Unknown volume type '%s'", k.Type).WithHint("the types are gp3, gp2, io1, io2, st1, sc1 and standard")
	}
	switch {
	case sizeGiB < t.minGiB:
		return k, Errorf(CodeInvalidParameterValue, "Volume of %dGiB is too small for volume type %s; minimum is %dGiB.", sizeGiB, k.Type, t.minGiB)
	case sizeGiB > t.maxGiB:
		return k, Errorf(CodeInvalidParameterValue, "Volume of %dGiB is too large for volume type %s; maximum is %dGiB.", sizeGiB, k.Type, t.maxGiB)
	case k.Throughput != 0 && !t.throughput:
		return k, Errorf(CodeInvalidParameterCombination, "The parameter throughput is not supported for %s volumes.", k.Type)
	}
	if err := k.completeIOPS(t, sizeGiB); err != nil {
		return k, err
	}
	return k, k.completeThroughput(t)
}

// Asked is the kind without what follows from the volume's size.
func (k VolumeKind) Asked() VolumeKind {
	if k.Type == "gp2" {
		k.IOPS = 0
	}
	return k
}

func (k *VolumeKind) completeIOPS(t volumeType, sizeGiB int64) error {
	switch {
	case k.Type == "gp2":
		// What gp2 has follows from its size, so it is computed and not asked for.
		derived := min(max(3*sizeGiB, 100), 16000)
		if k.IOPS != 0 && k.IOPS != derived {
			return Errorf(CodeInvalidParameterCombination, "The parameter iops is not supported for gp2 volumes.")
		}
		k.IOPS = derived
		return nil
	case t.maxIOPS == 0 && k.IOPS != 0:
		return Errorf(CodeInvalidParameterCombination, "The parameter iops is not supported for %s volumes.", k.Type)
	case t.maxIOPS == 0:
		return nil
	case k.IOPS == 0 && t.iopsRequired:
		return Errorf(CodeMissingParameter, "The parameter iops must be specified for %s volumes.", k.Type)
	case k.IOPS == 0:
		k.IOPS = t.minIOPS
	}
	switch {
	case k.IOPS < t.minIOPS:
		return Errorf(CodeInvalidParameterValue, "Volume iops of %d is too low; minimum is %d.", k.IOPS, t.minIOPS)
	case k.IOPS > t.maxIOPS:
		return Errorf(CodeInvalidParameterValue, "Volume iops of %d is too high; maximum is %d.", k.IOPS, t.maxIOPS)
	case k.IOPS > t.minIOPS && k.IOPS > t.iopsPerGiB*sizeGiB:
		return Errorf(CodeInvalidParameterValue, "Iops to volume size ratio of %.1f is too high; maximum is %d", float64(k.IOPS)/float64(sizeGiB), t.iopsPerGiB)
	}
	return nil
}

func (k *VolumeKind) completeThroughput(t volumeType) error {
	if !t.throughput {
		return nil
	}
	if k.Throughput == 0 {
		k.Throughput = minThroughput
	}
	switch {
	case k.Throughput < minThroughput || k.Throughput > maxThroughput:
		return Errorf(CodeInvalidParameterValue, "Throughput of %d MiB/s is out of range; it must be %d to %d.", k.Throughput, minThroughput, maxThroughput)
	case 4*k.Throughput > k.IOPS:
		return Errorf(CodeInvalidParameterValue, "Throughput (MiBps) to iops ratio of %.2f is too high; maximum is 0.25 MiBps per iops.", float64(k.Throughput)/float64(k.IOPS))
	}
	return nil
}

// deviceName is what EC2 takes as the place of a volume.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html
var deviceName = regexp.MustCompile(`^(/dev/)?(sd|xvd|hd|vd)[a-z]{1,2}([1-9][0-9]?)?$`)

// CheckDevice returns EC2's error unless name can be the place of a volume.
func CheckDevice(name string) error {
	if !deviceName.MatchString(name) {
		return Errorf(CodeInvalidParameterValue, "Value (%s) for parameter device is invalid. %s is not a valid EBS device name.", name, name).
			WithHint("use /dev/sdf to /dev/sdp")
	}
	return nil
}

// SameDevice reports whether two names stand for one place: with /dev/ or without.
func SameDevice(a, b string) bool {
	return strings.TrimPrefix(a, "/dev/") == strings.TrimPrefix(b, "/dev/")
}
