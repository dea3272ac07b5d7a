// Package bundttypes owns the input and output types of the actions that bundt
// has and EC2 does not. They follow the conventions of package ec2types (pointers
// for what may be absent in a request, slices of values, the same struct tags).
// It imports ec2types only.
package bundttypes

import (
	"time"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

// BuildImageInput is the request of BuildImage: bake an AMI from a recipe.
type BuildImageInput struct {
	Architecture  *string `json:"Architecture,omitempty" query:"Architecture" enum:"ArchitectureValues"` // default: the host's
	ClientToken   *string `json:"ClientToken,omitempty" query:"ClientToken"`
	ContextDigest *string `json:"ContextDigest,omitempty" query:"ContextDigest" required:"true"` // uploaded tar of the recipe's directory, "sha256:…"
	DryRun        *bool   `json:"DryRun,omitempty" query:"DryRun"`
	// HoldKey is a public key, as in authorized_keys. With one, an instance in which a
	// step fails is kept for an hour, or until CancelBuild, and the key lets in.
	HoldKey           *string                     `json:"HoldKey,omitempty" query:"HoldKey"`
	Name              *string                     `json:"Name,omitempty" query:"Name"`       // of the image; default: from the recipe
	NoCache           *bool                       `json:"NoCache,omitempty" query:"NoCache"` // run every step
	TagSpecifications []ec2types.TagSpecification `json:"TagSpecifications,omitzero" query:"TagSpecification"`
}

// BuildImageOutput is the response of BuildImage. The image exists under ImageId
// once the build is available.
type BuildImageOutput struct {
	BuildId string `json:"BuildId" xml:"buildId"`
	ImageId string `json:"ImageId" xml:"imageId"`
}

// DescribeBuildsInput is the request of DescribeBuilds.
type DescribeBuildsInput struct {
	BuildIds   []string          `json:"BuildIds,omitzero" query:"BuildId"`
	Filters    []ec2types.Filter `json:"Filters,omitzero" query:"Filter"`
	MaxResults *int32            `json:"MaxResults,omitempty" query:"MaxResults"`
	NextToken  *string           `json:"NextToken,omitempty" query:"NextToken"`
}

// DescribeBuildsOutput is the response of DescribeBuilds.
type DescribeBuildsOutput struct {
	Builds    []Build `json:"Builds,omitzero" xml:"buildSet>item"`
	NextToken *string `json:"NextToken,omitempty" xml:"nextToken,omitempty"`
}

// WatchBuildInput is the request of WatchBuild, a stream: the build at once and
// after each change, until it is over. Each event is a Build.
type WatchBuildInput struct {
	BuildId *string `json:"BuildId,omitempty" query:"BuildId" required:"true"`
}

// CancelBuildInput is the request of CancelBuild: give a build up. What it has made
// goes.
type CancelBuildInput struct {
	BuildId *string `json:"BuildId,omitempty" query:"BuildId" required:"true"`
	DryRun  *bool   `json:"DryRun,omitempty" query:"DryRun"`
}

// CancelBuildOutput is the response of CancelBuild.
type CancelBuildOutput struct {
	Build Build `json:"Build" xml:"build"`
}

// GetBuildLogInput is the request of GetBuildLog: what a step has printed so far.
type GetBuildLogInput struct {
	BuildId *string `json:"BuildId,omitempty" query:"BuildId" required:"true"`
	Step    *int32  `json:"Step,omitempty" query:"Step" required:"true"` // from 1, in the order of the build's Steps
}

// GetBuildLogOutput is the response of GetBuildLog. Steps of a bake print nothing.
type GetBuildLogOutput struct {
	Log string `json:"Log" xml:"log"`
}

// Build is one run of a recipe for one architecture.
type Build struct {
	Architecture string     `json:"Architecture" xml:"architecture"`
	BuildId      string     `json:"BuildId" xml:"buildId"`
	CreatedAt    time.Time  `json:"CreatedAt" xml:"createdAt"`
	FinishedAt   *time.Time `json:"FinishedAt,omitempty" xml:"finishedAt,omitempty"`
	// HeldInstanceId is the instance in which a step failed, while it is held: see HoldKey.
	HeldInstanceId string         `json:"HeldInstanceId,omitempty" xml:"heldInstanceId,omitempty"`
	ImageId        string         `json:"ImageId" xml:"imageId"`
	ImageName      string         `json:"ImageName" xml:"imageName"`
	ParentImageId  string         `json:"ParentImageId,omitempty" xml:"parentImageId,omitempty"`
	RecipeDigest   string         `json:"RecipeDigest,omitempty" xml:"recipeDigest,omitempty"`
	RecipeName     string         `json:"RecipeName" xml:"recipeName"`
	RecipeVersion  string         `json:"RecipeVersion" xml:"recipeVersion"`
	State          string         `json:"State" xml:"state"` // model.BuildState
	StateReason    *StateReason   `json:"StateReason,omitempty" xml:"stateReason,omitempty"`
	Steps          []BuildStep    `json:"Steps,omitzero" xml:"stepSet>item"`
	Tags           []ec2types.Tag `json:"Tags,omitzero" xml:"tagSet>item"`
}

// StateReason is why an object is in its state.
type StateReason struct {
	Code    string `json:"Code,omitempty" xml:"code,omitempty"`
	Message string `json:"Message,omitempty" xml:"message,omitempty"`
}

// BuildStep is the progress of one step of a build.
type BuildStep struct {
	Cached     bool       `json:"Cached,omitempty" xml:"cached,omitempty"`
	Phase      string     `json:"Phase,omitempty" xml:"phase,omitempty"` // of a step that runs in a guest: build, validate, test, or image
	Error      string     `json:"Error,omitempty" xml:"error,omitempty"` // why it failed
	Detail     string     `json:"Detail,omitempty" xml:"detail,omitempty"`
	FinishedAt *time.Time `json:"FinishedAt,omitempty" xml:"finishedAt,omitempty"`
	Name       string     `json:"Name" xml:"name"`
	StartedAt  time.Time  `json:"StartedAt" xml:"startedAt"`
}

// DescribeLineageInput is the request of DescribeLineage: of an image, an
// instance, or with neither of everything there is.
type DescribeLineageInput struct {
	ImageId    *string `json:"ImageId,omitempty" query:"ImageId"`
	InstanceId *string `json:"InstanceId,omitempty" query:"InstanceId"`
	MaxResults *int32  `json:"MaxResults,omitempty" query:"MaxResults"`
	NextToken  *string `json:"NextToken,omitempty" query:"NextToken"`
}

// DescribeLineageOutput is the response of DescribeLineage: a forest, the oldest
// first, parents before their children.
type DescribeLineageOutput struct {
	NextToken *string       `json:"NextToken,omitempty" xml:"nextToken,omitempty"`
	Nodes     []LineageNode `json:"Nodes,omitzero" xml:"nodeSet>item"`
}

// The kinds of things in a lineage.
const (
	LineageRecipe   = "recipe"
	LineageBuild    = "build"
	LineageImage    = "image"
	LineageInstance = "instance"
	LineageSnapshot = "snapshot"
)

// LineageNode is one thing and what it came from.
type LineageNode struct {
	Architecture string     `json:"Architecture,omitempty" xml:"architecture,omitempty"`
	Consistency  string     `json:"Consistency,omitempty" xml:"consistency,omitempty"` // model.Consistency, of an image made from an instance
	CreatedAt    *time.Time `json:"CreatedAt,omitempty" xml:"createdAt,omitempty"`
	Detail       string     `json:"Detail,omitempty" xml:"detail,omitempty"`
	Id           string     `json:"Id" xml:"id"` // of a recipe its digest
	Kind         string     `json:"Kind" xml:"kind"`
	Name         string     `json:"Name,omitempty" xml:"name,omitempty"`
	ParentId     string     `json:"ParentId,omitempty" xml:"parentId,omitempty"`
	State        string     `json:"State,omitempty" xml:"state,omitempty"`
}

// DescribeHostInput is the request of DescribeHost.
type DescribeHostInput struct {
	// Refresh measures again what the daemon otherwise remembers (probe guests take seconds).
	Refresh *bool `json:"Refresh,omitempty" query:"Refresh"`
}

// DescribeHostOutput is the response of DescribeHost: facts about the host that
// the daemon runs on, and checks of what it needs.
type DescribeHostOutput struct {
	Checks []HostCheck `json:"Checks,omitzero" xml:"checkSet>item"`
	Facts  []HostFact  `json:"Facts,omitzero" xml:"factSet>item"`
}

// The outcomes of a check.
const (
	CheckOK   = "ok"
	CheckWarn = "warn" // works, but worse than it could
	CheckFail = "fail" // something will not work
)

// HostCheck is one requirement, whether the host meets it, and how to make it so.
type HostCheck struct {
	Detail string `json:"Detail" xml:"detail"`
	Fix    string `json:"Fix,omitempty" xml:"fix,omitempty"`
	Name   string `json:"Name" xml:"name"`
	Status string `json:"Status" xml:"status"`
}

// HostFact is one property of the host.
type HostFact struct {
	Name  string `json:"Name" xml:"name"`
	Value string `json:"Value" xml:"value"`
}

// DescribeInventoryInput is the request of DescribeInventory.
type DescribeInventoryInput struct {
	// OrphansOnly leaves out what belongs to an object in the store.
	OrphansOnly *bool `json:"OrphansOnly,omitempty" query:"OrphansOnly"`
}

// DescribeInventoryOutput is the response of DescribeInventory: everything that
// bundt has on this host, found by looking at the host.
type DescribeInventoryOutput struct {
	Items []InventoryItem `json:"Items,omitzero" xml:"itemSet>item"`
}

// The kinds of things in an inventory.
const (
	InventoryProcess = "process"
	InventorySocket  = "socket"
	InventoryLayer   = "layer"
	InventoryBlob    = "blob"
	InventoryFile    = "file"
)

// InventoryItem is one thing on the host and the object that it belongs to.
type InventoryItem struct {
	Id        string `json:"Id" xml:"id"`
	Kind      string `json:"Kind" xml:"kind"`
	Orphan    bool   `json:"Orphan" xml:"orphan"`                           // no object in the store accounts for it
	Owner     string `json:"Owner,omitempty" xml:"owner,omitempty"`         // id of the object
	Path      string `json:"Path,omitempty" xml:"path,omitempty"`           // file or socket; for a process its command
	Pid       int32  `json:"Pid,omitempty" xml:"pid,omitempty"`             // of a process
	SizeBytes int64  `json:"SizeBytes,omitempty" xml:"sizeBytes,omitempty"` // bytes that it takes on disk
	Detail    string `json:"Detail,omitempty" xml:"detail,omitempty"`
}

// DescribeInstanceDetailsInput is the request of DescribeInstanceDetails.
type DescribeInstanceDetailsInput struct {
	InstanceIds []string `json:"InstanceIds,omitzero" query:"InstanceId"` // none: all
}

// DescribeInstanceDetailsOutput is the response of DescribeInstanceDetails.
type DescribeInstanceDetailsOutput struct {
	InstanceDetails []InstanceDetails `json:"InstanceDetails,omitzero" xml:"instanceDetailSet>item"`
}

// InstanceDetails are facts about an instance for which EC2's shapes have no place.
type InstanceDetails struct {
	Accelerator        string             `json:"Accelerator,omitempty" xml:"accelerator,omitempty"` // "kvm" or "tcg"
	AcceleratorReason  string             `json:"AcceleratorReason,omitempty" xml:"acceleratorReason,omitempty"`
	Architecture       string             `json:"Architecture,omitempty" xml:"architecture,omitempty"`
	InstanceId         string             `json:"InstanceId" xml:"instanceId"`
	Listening          []string           `json:"Listening,omitzero" xml:"listeningSet>item"`       // public address:port open on the host, by TCP
	ListeningUDP       []string           `json:"ListeningUDP,omitzero" xml:"listeningUDPSet>item"` // and by UDP
	LoginUser          string             `json:"LoginUser,omitempty" xml:"loginUser,omitempty"`
	StartedAt          *time.Time         `json:"StartedAt,omitempty" xml:"startedAt,omitempty"` // exec of the hypervisor's process
	Pid                int32              `json:"Pid,omitempty" xml:"pid,omitempty"`             // of the hypervisor's process
	Problems           []string           `json:"Problems,omitzero" xml:"problemSet>item"`
	Reachability       string             `json:"Reachability,omitempty" xml:"reachability,omitempty"` // model.Reachability
	ReachabilityReason string             `json:"ReachabilityReason,omitempty" xml:"reachabilityReason,omitempty"`
	ReachableSince     *time.Time         `json:"ReachableSince,omitempty" xml:"reachableSince,omitempty"`
	Traffic            []InterfaceTraffic `json:"Traffic,omitzero" xml:"trafficSet>item"` // of a running instance's interfaces
	Volumes            []VolumeLayers     `json:"Volumes,omitzero" xml:"volumeSet>item"`
}

// InterfaceTraffic counts what has passed a network interface since its instance
// was started, as the guest sees it, and what has not.
type InterfaceTraffic struct {
	DroppedPackets     int64  `json:"DroppedPackets" xml:"droppedPackets"` // the guest did not take them in time
	ForgedPackets      int64  `json:"ForgedPackets" xml:"forgedPackets"`   // refused for a sender that the guest is not
	NetworkInterfaceId string `json:"NetworkInterfaceId" xml:"networkInterfaceId"`
	ReceivedBytes      int64  `json:"ReceivedBytes" xml:"receivedBytes"`
	ReceivedPackets    int64  `json:"ReceivedPackets" xml:"receivedPackets"`
	RefusedEgress      *int64 `json:"RefusedEgress,omitempty" xml:"refusedEgress,omitempty"`   // packets that security groups did not let out; missing if they are not counted
	RefusedIngress     *int64 `json:"RefusedIngress,omitempty" xml:"refusedIngress,omitempty"` // of other instances of the VPC, that security groups did not let in
	SentBytes          int64  `json:"SentBytes" xml:"sentBytes"`
	SentPackets        int64  `json:"SentPackets" xml:"sentPackets"`
}

// VolumeLayers is the chain of layers that a volume is made of, its writable head first.
type VolumeLayers struct {
	Device   string   `json:"Device" xml:"device"`
	LayerIds []string `json:"LayerIds,omitzero" xml:"layerSet>item"`
	VolumeId string   `json:"VolumeId" xml:"volumeId"`
}

// ModifyImageRetentionInput is the request of ModifyImageRetention: how long
// images that the account deregisters from now on stay in the recycle bin.
type ModifyImageRetentionInput struct {
	DryRun        *bool  `json:"DryRun,omitempty" query:"DryRun"`
	RetentionDays *int32 `json:"RetentionDays,omitempty" query:"RetentionDays" required:"true" min:"0" max:"365"` // 0 turns the recycle bin off
}

// DescribeImageRetentionInput is the request of DescribeImageRetention.
type DescribeImageRetentionInput struct{}

// ImageRetention is the response of ModifyImageRetention and DescribeImageRetention.
type ImageRetention struct {
	RetentionDays int32 `json:"RetentionDays" xml:"retentionDays"`
}

// GetInstanceIdentityCertificateInput is the request of GetInstanceIdentityCertificate.
type GetInstanceIdentityCertificateInput struct{}

// GetInstanceIdentityCertificateOutput is the response of
// GetInstanceIdentityCertificate: what instances' identity documents are verified with.
type GetInstanceIdentityCertificateOutput struct {
	Certificate string `json:"Certificate" xml:"certificate"` // X.509, PEM
}

// GetNetworkTraceInput is the request of GetNetworkTrace: the first packet of a flow
// that could be. It is sent by an instance, by one of its interfaces, or, if neither
// is named, by a client beyond the VPCs to a public address.
type GetNetworkTraceInput struct {
	DestinationAddress *string `json:"DestinationAddress,omitempty" query:"DestinationAddress" required:"true"`
	DestinationPort    *int32  `json:"DestinationPort,omitempty" query:"DestinationPort"`
	IcmpCode           *int32  `json:"IcmpCode,omitempty" query:"IcmpCode"`
	IcmpType           *int32  `json:"IcmpType,omitempty" query:"IcmpType"` // 8, an echo request, if it is not given
	InstanceId         *string `json:"InstanceId,omitempty" query:"InstanceId"`
	NetworkInterfaceId *string `json:"NetworkInterfaceId,omitempty" query:"NetworkInterfaceId"`
	Protocol           *string `json:"Protocol,omitempty" query:"Protocol"`           // as in a security group's rule; tcp if it is not given
	SourceAddress      *string `json:"SourceAddress,omitempty" query:"SourceAddress"` // the interface's primary one, or 127.0.0.1, if it is not given
}

// GetNetworkTraceOutput is the response of GetNetworkTrace: each place that judges
// the packet, in their order. The last one decides.
type GetNetworkTraceOutput struct {
	Passes bool               `json:"Passes" xml:"passes"`
	Steps  []NetworkTraceStep `json:"Steps,omitzero" xml:"stepSet>item"`
}

// NetworkTraceStep is the judgement of one place on a packet's way.
type NetworkTraceStep struct {
	Component string `json:"Component,omitempty" xml:"component,omitempty"` // id of the object that judges; "" for the host
	Detail    string `json:"Detail" xml:"detail"`
	Passes    bool   `json:"Passes" xml:"passes"`
	Place     string `json:"Place" xml:"place"`
	Rule      string `json:"Rule,omitempty" xml:"rule,omitempty"` // that decided: a security group rule's id, or a route's destination
}

// GetInstanceDiagnosisInput is the request of GetInstanceDiagnosis.
type GetInstanceDiagnosisInput struct {
	InstanceId *string `json:"InstanceId,omitempty" query:"InstanceId" required:"true"`
	Port       *int32  `json:"Port,omitempty" query:"Port"` // TCP; 22 if it is not given
}

// GetInstanceDiagnosisOutput is the response of GetInstanceDiagnosis: what lies
// between a client on this host and the port of the instance, layer by layer. What
// depends on a layer that failed is left out.
type GetInstanceDiagnosisOutput struct {
	Checks []HostCheck `json:"Checks,omitzero" xml:"checkSet>item"`
}

// DiffImagesInput is the request of DiffImages. Before and After are images or
// completed snapshots of root volumes.
type DiffImagesInput struct {
	After    *string `json:"After,omitempty" query:"After" required:"true"`
	Before   *string `json:"Before,omitempty" query:"Before" required:"true"`
	Content  *bool   `json:"Content,omitempty" query:"Content"`                        // with the lines that differ of text files
	MaxFiles *int32  `json:"MaxFiles,omitempty" query:"MaxFiles" min:"1" max:"100000"` // 1000 if it is not given
	Path     *string `json:"Path,omitempty" query:"Path"`                              // only files there, or below
}

// DiffImagesOutput is the response of DiffImages: what leads from the file system of
// Before to that of After.
type DiffImagesOutput struct {
	AfterLayers  []ImageLayer `json:"AfterLayers,omitzero" xml:"afterLayerSet>item"` // the last one first
	BeforeLayers []ImageLayer `json:"BeforeLayers,omitzero" xml:"beforeLayerSet>item"`
	Files        []FileDiff   `json:"Files,omitzero" xml:"fileSet>item"`
	Items        []ItemDiff   `json:"Items,omitzero" xml:"itemSet>item"`
	MoreFiles    int32        `json:"MoreFiles" xml:"moreFiles"` // that differ and are not among Files
}

// ImageLayer is a layer of an image's disk.
type ImageLayer struct {
	AllocatedBytes int64  `json:"AllocatedBytes" xml:"allocatedBytes"` // that it takes
	LayerId        string `json:"LayerId" xml:"layerId"`
	Shared         bool   `json:"Shared" xml:"shared"` // the other image has it too
}

// The kinds of differences.
const (
	DiffAdded   = "added"
	DiffRemoved = "removed"
	DiffChanged = "changed"
)

// FileDiff is a file that differs.
type FileDiff struct {
	After  *FileState `json:"After,omitempty" xml:"after,omitempty"`
	Before *FileState `json:"Before,omitempty" xml:"before,omitempty"`
	Diff   string     `json:"Diff,omitempty" xml:"diff,omitempty"` // unified, of a text
	Kind   string     `json:"Kind" xml:"kind"`
	Path   string     `json:"Path" xml:"path"`
	What   []string   `json:"What,omitzero" xml:"whatSet>item"` // of a changed one: type, content, mode, owner, target, device
}

// FileState is a file on one side.
type FileState struct {
	GroupId int64  `json:"GroupId" xml:"groupId"`
	Mode    string `json:"Mode" xml:"mode"` // as ls shows it
	Size    int64  `json:"Size" xml:"size"` // in bytes
	Target  string `json:"Target,omitempty" xml:"target,omitempty"`
	UserId  int64  `json:"UserId" xml:"userId"`
}

// ItemDiff is something that files mean.
type ItemDiff struct {
	After  string `json:"After,omitempty" xml:"after,omitempty"` // a package's version, a user's numbers, what starts a service
	Before string `json:"Before,omitempty" xml:"before,omitempty"`
	Kind   string `json:"Kind" xml:"kind"`
	Name   string `json:"Name" xml:"name"`
	What   string `json:"What" xml:"what"` // package, service, user or group
}

// GetImageLockInput is the request of GetImageLock.
type GetImageLockInput struct {
	ImageId *string `json:"ImageId,omitempty" query:"ImageId" required:"true"`
}

// GetImageLockOutput is the response of GetImageLock: the recipe.lock that has the image baked
// again of the same packages, for its architecture.
type GetImageLockOutput struct {
	Lock string `json:"Lock" xml:"lock"`
}

// GetImageSbomInput is the request of GetImageSbom.
type GetImageSbomInput struct {
	ImageId *string `json:"ImageId,omitempty" query:"ImageId" required:"true"`
}

// GetImageSbomOutput is the response of GetImageSbom: what is in the image, as an SPDX
// 2.3 document in JSON. The same image has the same document.
type GetImageSbomOutput struct {
	Digest    string `json:"Digest" xml:"digest"` // of the document, "sha256:…"
	Document  string `json:"Document" xml:"document"`
	MediaType string `json:"MediaType" xml:"mediaType"`
}

// GetImageProvenanceInput is the request of GetImageProvenance.
type GetImageProvenanceInput struct {
	ImageId *string `json:"ImageId,omitempty" query:"ImageId" required:"true"`
}

// GetImageProvenanceOutput is the response of GetImageProvenance: how the image was
// made, as an in-toto statement with SLSA provenance.
type GetImageProvenanceOutput struct {
	Bundle    string `json:"Bundle" xml:"bundle"`                         // the statement signed, a sigstore bundle
	SignedBy  string `json:"SignedBy,omitempty" xml:"signedBy,omitempty"` // name of the trusted key; none: the account's own signed it now
	Statement string `json:"Statement" xml:"statement"`
	Summary   string `json:"Summary" xml:"summary"` // in one line
}

// GetImageHistoryInput is the request of GetImageHistory.
type GetImageHistoryInput struct {
	ImageId *string `json:"ImageId,omitempty" query:"ImageId" required:"true"`
}

// GetImageHistoryOutput is the response of GetImageHistory: the layers of the image's
// root disk, the last one first.
type GetImageHistoryOutput struct {
	Layers []HistoryLayer `json:"Layers,omitzero" xml:"layerSet>item"`
}

// HistoryLayer is a layer and what it came from.
type HistoryLayer struct {
	AllocatedBytes int64      `json:"AllocatedBytes" xml:"allocatedBytes"` // that it takes
	By             string     `json:"By" xml:"by"`
	CreatedAt      *time.Time `json:"CreatedAt,omitempty" xml:"createdAt,omitempty"`
	ImageIds       []string   `json:"ImageIds,omitzero" xml:"imageSet>item"` // that end with it
	LayerId        string     `json:"LayerId" xml:"layerId"`
	SnapshotIds    []string   `json:"SnapshotIds,omitzero" xml:"snapshotSet>item"`
}
