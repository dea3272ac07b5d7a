// Package actions owns bundt's actions: each turns a request's shape into a use
// case of pkg/cloud and its result back into a response's shape. What is common
// to all (validation against the model, DryRun, errors, paging) is the
// dispatcher's in pkg/api. It may import pkg/api, pkg/cloud and pkg/model; what
// only the node knows comes through the Node interface.
package actions

import (
	"context"
	"image"
	"net/netip"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/uefi"
)

// Node answers what the store does not know: what is true on the host right now.
type Node interface {
	// Console returns the last max bytes of an instance's serial output.
	Console(ctx context.Context, instanceID string, max int) ([]byte, error)
	// Screenshot returns what a running instance's display shows; an
	// UnsupportedOperation error if it has none.
	Screenshot(ctx context.Context, instanceID string) (image.Image, error)
	// UEFIVariables returns the variables of an instance's UEFI firmware; an
	// IncorrectInstanceState error if it was never started.
	UEFIVariables(ctx context.Context, instanceID string) ([]uefi.Variable, error)
	// Details returns what an instance is like beyond EC2's shapes.
	Details(ctx context.Context, inst *model.Instance) (bundttypes.InstanceDetails, error)
	// Trace follows a packet. Addresses are resolved, and the sender is the caller's.
	Trace(ctx context.Context, p Packet) (*bundttypes.GetNetworkTraceOutput, error)
	// CheckLayer reads a layer and tells its State, Message, Bytes and CheckedAt.
	CheckLayer(ctx context.Context, layerID string) (bundttypes.CheckedLayer, error)
	// LayerBytes is what a layer takes on the disk.
	LayerBytes(layerID string) (int64, error)
	// Diff compares what is on two disks.
	Diff(ctx context.Context, c Comparison) (*bundttypes.DiffImagesOutput, error)
	// Lock is the lock file of a baked image.
	Lock(img *model.Image) ([]byte, error)
	// SBOM lists what is in an image: an SPDX document, and its media type.
	SBOM(ctx context.Context, img *model.Image) (document []byte, mediaType string, err error)
	// Provenance says how an image was made, to an account that has a signing key.
	Provenance(ctx context.Context, account string, img *model.Image) (*bundttypes.GetImageProvenanceOutput, error)
	// Diagnose looks at what lies between this host and a TCP port of an instance.
	Diagnose(ctx context.Context, inst *model.Instance, port uint16) ([]bundttypes.HostCheck, error)
	// Host returns facts and checks of the host; refresh measures again what is
	// otherwise remembered.
	Host(ctx context.Context, refresh bool) (*bundttypes.DescribeHostOutput, error)
	// Endpoint returns where AWS's clients are served.
	Endpoint() bundttypes.DescribeEndpointOutput
	// ConsoleLink makes a link by which the principal signs in to the web console, once.
	ConsoleLink(p api.Principal) (*bundttypes.CreateConsoleLinkOutput, error)
	// BuildLog returns what a step of a build, given by its index, has printed so far.
	BuildLog(buildID string, step int) (string, error)
	// PreviewLAN says what attaching these addresses to an interface would do.
	PreviewLAN(ctx context.Context, name string, addresses []netip.Addr) (*bundttypes.PreviewLanOutput, error)
	// Foreign returns a machine of the host that bundt did not make.
	Foreign(ctx context.Context, name string) (model.ForeignMachine, error)
	// Inventory returns everything bundt has on the host.
	Inventory(ctx context.Context) ([]bundttypes.InventoryItem, error)
}

// Actions are the handlers, on one cloud.
type Actions struct {
	cloud *cloud.Cloud
	node  Node
	pager *api.Pager
}

// Register adds every action to the table.
func Register(t *api.Table, c *cloud.Cloud, n Node) {
	a := &Actions{cloud: c, node: n, pager: api.NewPager(c.Info().Secret)}
	a.registerInstances(t)
	a.registerInstanceAttributes(t)
	a.registerInstanceData(t)
	a.registerProfiles(t)
	a.registerInstanceTypes(t)
	a.registerPlaces(t)
	a.registerImages(t)
	a.registerVolumes(t)
	a.registerEncryption(t)
	a.registerChecks(t)
	a.registerSnapshotLocks(t)
	a.registerVolumeStatus(t)
	a.registerSnapshots(t)
	a.registerKeys(t)
	a.registerTags(t)
	a.registerPipelines(t)
	a.registerLaunchTemplates(t)
	a.registerNetworks(t)
	a.registerBundt(t)
	a.registerDiff(t)
	a.registerRegistries(t)
	a.registerMarket(t)
	a.registerDiagnosis(t)
	a.registerEndpoint(t)
	a.registerLANs(t)
}

// account is the cloud as the caller's account sees it.
func (a *Actions) account(ctx context.Context) *cloud.Account {
	return a.cloud.Account(api.PrincipalFrom(ctx).AccountID)
}

func ptr[T any](v T) *T { return &v }

// str is nil for an empty string, which EC2 leaves out of responses.
func str(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
