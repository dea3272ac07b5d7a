package model

import (
	"slices"
	"time"
)

// Arch is a CPU architecture by EC2's name.
type Arch string

// The architectures that images can have.
const (
	X8664 Arch = "x86_64"
	ARM64 Arch = "arm64"
	I386  Arch = "i386"
)

// Archs lists every architecture bundt knows.
var Archs = []Arch{X8664, ARM64, I386}

// Valid reports whether a is one of Archs.
func (a Arch) Valid() bool { return a == X8664 || a == ARM64 || a == I386 }

// Tags are an object's key-value pairs.
type Tags map[string]string

// Reason is why an object is in its state, as EC2's StateReason.
type Reason struct {
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// Firmware starts a machine.
type Firmware string

// The firmwares a machine can start with. FirmwareNone needs a kernel.
const (
	FirmwareNone Firmware = "none"
	FirmwareBIOS Firmware = "bios"
	FirmwareUEFI Firmware = "uefi"
)

// Boot is how an image starts. With KernelDigest set the kernel is loaded
// directly, otherwise the firmware boots the root disk.
type Boot struct {
	Firmware     Firmware `json:"firmware"`
	KernelDigest string   `json:"kernelDigest,omitempty"` // "sha256:…" of a blob in the layer store
	InitrdDigest string   `json:"initrdDigest,omitempty"`
	Cmdline      string   `json:"cmdline,omitempty"`
	Mode         BootMode `json:"mode,omitempty"` // as registered
	// VMLinuxDigest is the same kernel, not compressed: a blob that machines with
	// a PVH loader start instead. Empty if the kernel holds none.
	VMLinuxDigest string `json:"vmlinuxDigest,omitempty"`
}

// Blobs are the digests of all blobs that the boot needs.
func (b Boot) Blobs() []string {
	return slices.DeleteFunc([]string{b.KernelDigest, b.InitrdDigest, b.VMLinuxDigest}, func(d string) bool { return d == "" })
}

// BlockDevice is one entry of an image's block device mapping.
type BlockDevice struct {
	Device              string `json:"device"`               // "/dev/sda1"
	SnapshotID          string `json:"snapshotID,omitempty"` // none: a blank volume
	SizeGiB             int64  `json:"sizeGiB"`
	DeleteOnTermination bool   `json:"deleteOnTermination"`
	VolumeType          string `json:"volumeType,omitempty"` // EC2's name, "" for the default
	IOPS                int64  `json:"iops,omitempty"`       // 0 for the type's default
	Throughput          int64  `json:"throughput,omitempty"` // MiB/s, 0 for the type's default
	Encrypted           bool   `json:"encrypted,omitempty"`  // its snapshot is, or its volume is to be
}

// ImageState is an AMI's state.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Image.html
type ImageState string

// The states of an image.
const (
	ImagePending      ImageState = "pending"
	ImageAvailable    ImageState = "available"
	ImageTransient    ImageState = "transient" // complete, but its build has not passed yet
	ImageFailed       ImageState = "failed"
	ImageDisabled     ImageState = "disabled" // its owner does not want it launched
	ImageDeregistered ImageState = "deregistered"
)

// Consistency says what a snapshot of a live disk guarantees.
type Consistency string

// The consistencies, best first: the guest was off, its filesystems were
// frozen, or the disk is as after a power cut.
const (
	ConsistencyStopped    Consistency = "stopped"
	ConsistencyFilesystem Consistency = "filesystem"
	ConsistencyCrash      Consistency = "crash"
)

// Image is an AMI.
type Image struct {
	ID             string        `json:"id"`
	OwnerID        string        `json:"ownerID"`
	Name           string        `json:"name"`
	Description    string        `json:"description,omitempty"`
	Arch           Arch          `json:"arch"`
	State          ImageState    `json:"state"`
	StateReason    Reason        `json:"stateReason,omitzero"`
	Created        time.Time     `json:"created"`
	RootDevice     string        `json:"rootDevice"`
	BlockDevices   []BlockDevice `json:"blockDevices"`
	Boot           Boot          `json:"boot"`
	LoginUser      string        `json:"loginUser,omitempty"`
	Tags           Tags          `json:"tags,omitempty"`
	Consistency    Consistency   `json:"consistency,omitempty"`    // of an image made from an instance
	SourceInstance string        `json:"sourceInstance,omitempty"` // instance it was made from
	ParentImage    string        `json:"parentImage,omitempty"`    // image that the source instance was launched from
	NoReboot       bool          `json:"noReboot,omitempty"`       // taken while the instance runs on
	Recipe         *RecipeRef    `json:"recipe,omitempty"`         // set on images baked from a recipe
	ClientToken    string        `json:"clientToken,omitempty"`
	Launch         Sharing       `json:"launch,omitzero"` // EC2's launch permissions
	ENA            bool          `json:"ena,omitempty"`
	SriovNet       string        `json:"sriovNet,omitempty"`    // "simple", or ""
	IMDS           string        `json:"imds,omitempty"`        // "v2.0": instances ask for tokens unless the launch says otherwise
	DeprecateAt    time.Time     `json:"deprecateAt,omitzero"`  // from then on only its owner finds it
	LastLaunched   time.Time     `json:"lastLaunched,omitzero"` // to the hour
	Protection     Protection    `json:"protection,omitzero"`
	Origin         *ImageOrigin  `json:"origin,omitempty"` // of an image from a registry
	Made           *Making       `json:"made,omitempty"`   // of one that was made here
	ProductCodes   []string      `json:"productCodes,omitempty"`
	Build          string        `json:"build,omitempty"`   // the build that it belongs to, until that is published
	Content        string        `json:"content,omitempty"` // digest of what was baked, of an image that components are to run in
}

// RecipeRef is an image's provenance: which recipe it was baked from, and with what.
type RecipeRef struct {
	Name    string  `json:"name"`
	Version string  `json:"version"`
	Digest  string  `json:"digest"` // "sha256:…" of the recipe's canonical form
	BuildID string  `json:"buildID"`
	Inputs  []Input `json:"inputs,omitempty"`
	Lock    string  `json:"lock,omitempty"` // blob: the lock file that has it baked of the same packages
}

// Input is one thing that went into a bake.
type Input struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	URI    string `json:"uri,omitempty"` // a package URL, or where it was downloaded
}

// SnapshotState is an EBS snapshot's state.
type SnapshotState string

// The states of a snapshot.
const (
	SnapshotPending   SnapshotState = "pending"
	SnapshotCompleted SnapshotState = "completed"
	SnapshotError     SnapshotState = "error"
)

// Snapshot is a point-in-time copy of a volume: a reference to a frozen layer.
type Snapshot struct {
	ID           string        `json:"id"`
	OwnerID      string        `json:"ownerID"`
	LayerID      string        `json:"layerID"`
	VolumeID     string        `json:"volumeID,omitempty"` // volume it was taken of; none if baked
	Set          string        `json:"set,omitempty"`      // what all of one moment have in common: an image's id, or one of CreateSnapshots
	SizeGiB      int64         `json:"sizeGiB"`
	State        SnapshotState `json:"state"`
	StateReason  Reason        `json:"stateReason,omitzero"`
	Started      time.Time     `json:"started"`
	Description  string        `json:"description,omitempty"`
	Tags         Tags          `json:"tags,omitempty"`
	Consistency  Consistency   `json:"consistency,omitempty"`
	CreateVolume Sharing       `json:"createVolume,omitzero"` // EC2's create volume permissions
	ProductCodes []string      `json:"productCodes,omitempty"`
	Key          string        `json:"key,omitempty"`    // id of its data key; none: it is not encrypted
	CopyOf       string        `json:"copyOf,omitempty"` // layer that a pending copy is written anew from
	Lock         *SnapshotLock `json:"lock,omitempty"`
}

// Layer is one qcow2 file of the layer store. A writable layer is the head of
// exactly one volume; a frozen one never changes again.
type Layer struct {
	ID        string `json:"id"`
	Parent    string `json:"parent,omitempty"`
	Frozen    bool   `json:"frozen"`
	SizeBytes int64  `json:"sizeBytes"`     // virtual size
	Node      string `json:"node"`          // node whose disk holds it
	Key       string `json:"key,omitempty"` // id of the data key that it is encrypted with
	// Content is the digest of the layer as it travels (see disk.Portable), and Blob
	// that as compressed; both "" until it was sent or got.
	Content string `json:"content,omitempty"`
	Bytes   int64  `json:"bytes,omitempty"` // of the content
	// Sum is the SHA-256 of a frozen layer's file when it was first checked, and Damage
	// what was wrong when it was Checked last.
	Sum       string    `json:"sum,omitempty"`
	Checked   time.Time `json:"checked,omitzero"`
	Damage    string    `json:"damage,omitempty"`
	Blob      string    `json:"blob,omitempty"`
	BlobBytes int64     `json:"blobBytes,omitempty"`
}

// KeyPair is a public key that instances can be launched with. Private keys are never kept.
type KeyPair struct {
	ID          string    `json:"id"`
	OwnerID     string    `json:"ownerID"`
	Name        string    `json:"name"`
	Type        string    `json:"type"`        // "ed25519" or "rsa"
	Fingerprint string    `json:"fingerprint"` // as EC2 computes it for this type and origin
	PublicKey   string    `json:"publicKey"`   // authorized_keys line
	Created     time.Time `json:"created"`
	Tags        Tags      `json:"tags,omitempty"`
}

// BuildState is the state of a bake.
type BuildState string

// The states of a build.
const (
	BuildPending   BuildState = "pending"
	BuildRunning   BuildState = "running"
	BuildAvailable BuildState = "available"
	BuildFailed    BuildState = "failed"
	BuildCancelled BuildState = "cancelled"
)

// Over reports whether nothing more becomes of the build.
func (s BuildState) Over() bool { return s != BuildPending && s != BuildRunning }

// Build is one run of a recipe for one architecture, ending in an image.
type Build struct {
	ID            string     `json:"id"`
	OwnerID       string     `json:"ownerID"`
	Node          string     `json:"node"`
	State         BuildState `json:"state"`
	StateReason   Reason     `json:"stateReason,omitzero"`
	Arch          Arch       `json:"arch"`
	RecipeName    string     `json:"recipeName"`
	RecipeVersion string     `json:"recipeVersion"`
	RecipeDigest  string     `json:"recipeDigest"`
	ContextDigest string     `json:"contextDigest"`      // blob: the recipe's directory as a tar
	Unlocked      string     `json:"unlocked,omitempty"` // digest of the directory but for its lock file
	ImageName     string     `json:"imageName"`
	ImageID       string     `json:"imageID"` // allotted at the start; available when the build is
	// ParentImage is the image that the recipe builds on, "" if it is baked.
	ParentImage string `json:"parentImage,omitempty"`
	// Guest says that the recipe has components, whose steps run in guests.
	Guest bool `json:"guest,omitempty"`
	// StageImage is what the build instance is launched from: the parent, or what
	// was baked. Until there is one, the build is the baker's.
	StageImage string `json:"stageImage,omitempty"`
	// NoCache has every step run, whatever the cache has.
	NoCache bool `json:"noCache,omitempty"`
	// Cancel says that its owner does not want it any more.
	Cancel bool `json:"cancel,omitempty"`
	// HoldKey is the public key by which its owner logs in to an instance in which a
	// step failed: HeldInstance, until the build is cancelled. "" holds none.
	HoldKey      string      `json:"holdKey,omitempty"`
	HeldInstance string      `json:"heldInstance,omitempty"`
	Steps        []BuildStep `json:"steps,omitempty"`
	Created      time.Time   `json:"created"`
	Finished     time.Time   `json:"finished,omitzero"`
	Tags         Tags        `json:"tags,omitempty"`
	ClientToken  string      `json:"clientToken,omitempty"`
}

// RecipeRef is the provenance of the build's image; parent is the image that it is
// built on, nil if it is baked.
func (b *Build) RecipeRef(parent *Image) *RecipeRef {
	ref := &RecipeRef{Name: b.RecipeName, Version: b.RecipeVersion, Digest: b.RecipeDigest, BuildID: b.ID}
	if parent == nil {
		return ref
	}
	ref.Inputs = slices.Clone(parent.Materials())
	ref.Inputs = append(ref.Inputs, Input{Name: "parent image", Digest: parent.ID})
	return ref
}

// Describe is the description of the build's image.
func (b *Build) Describe() string {
	how := "Baked"
	if b.ParentImage != "" {
		how = "Built on " + b.ParentImage
	}
	return how + " from recipe " + b.RecipeName + " " + b.RecipeVersion
}

// BuildStep is the progress of one step of a build. Steps of a bake have no phase.
type BuildStep struct {
	Name     string    `json:"name"`
	Phase    string    `json:"phase,omitempty"`
	Error    string    `json:"error,omitempty"` // why it failed
	Detail   string    `json:"detail,omitempty"`
	Cached   bool      `json:"cached,omitempty"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`
}

// Node is a machine that instances are placed on.
type Node struct {
	ID        string    `json:"id"`
	Archs     []Arch    `json:"archs"` // that guests can have
	VCPUs     int       `json:"vcpus"`
	MemoryMiB int64     `json:"memoryMiB"`
	Started   time.Time `json:"started"` // of the daemon
	// FullTypes are the types of volumes that it has no space for, and why.
	FullTypes map[string]string `json:"fullTypes,omitempty"`
}

// LineageKind is the kind of a step from recipe to twin.
type LineageKind string

// The kinds of lineage.
const (
	LineageRecipe   LineageKind = "recipe"
	LineageImage    LineageKind = "image"
	LineageInstance LineageKind = "instance"
)

// Lineage remembers where an object came from. It outlives the object for as
// long as anything descends from it.
type Lineage struct {
	ID          string      `json:"id"`                // the object's id; a recipe's digest
	OwnerID     string      `json:"ownerID,omitempty"` // none for a recipe, which is known by its content
	Kind        LineageKind `json:"kind"`
	Name        string      `json:"name,omitempty"`
	Parent      string      `json:"parent,omitempty"`
	Created     time.Time   `json:"created"`
	Consistency Consistency `json:"consistency,omitempty"`
}
