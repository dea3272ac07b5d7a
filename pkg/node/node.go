// Package node owns the reconciler: it watches what the store wants of this node
// and drives the world there in idempotent steps, so that ending the daemon at
// any point loses nothing acknowledged and leaks nothing. Every step looks at
// what is really there, does what is missing, and records what it saw. It
// imports the hypervisor, network, layer and bake contracts, pkg/records and
// pkg/model; never the API, and no driver by name.
package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bundt/bundt/pkg/bake"
	"github.com/bundt/bundt/pkg/fetch"
	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/keylock"
	"github.com/bundt/bundt/pkg/layer"
	"github.com/bundt/bundt/pkg/metrics"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/recipe"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// Options are what a Node works with.
type Options struct {
	ID       string
	Store    *store.Store
	Driver   hypervisor.Driver
	Layers   *layer.Store
	Datapath network.Datapath
	// Keys open what is encrypted; without them nothing is.
	Keys Keys
	// Pools are where volumes of some types have their layers. Volumes of all others
	// have them in the layer store's own directory.
	Pools []Pool
	// ChainDepth is how many layers a volume may have before its chain is shortened; 0
	// is the default.
	ChainDepth int
	// Unlimited leaves volumes without the limits of their types.
	Unlimited bool
	MTU       int // of guests' interfaces, in bytes; 0 is Ethernet's, as outside a VPC
	Cloud     records.Cloud
	Zone      string
	CacheDir  string // of bakes
	WorkDir   string // of bakes; emptied at start
	// ArrivingDir is where blobs of registries are that have not arrived whole.
	ArrivingDir string
	// BucketDir has a directory for each account, and in it one for each bucket that
	// its disk images are imported from and exported to.
	BucketDir string
	Fetch     *fetch.Fetcher // of disk images by URL; one that refuses the host's own addresses if nil
	Mirror    string         // of distribution packages; "" is the default
	// GuestMemoryMiB is what all guests together may take; 0 is nine tenths of the host's.
	GuestMemoryMiB int64
	// ShutdownGrace is how long a guest may take to power off when asked.
	ShutdownGrace time.Duration
	// Regions are the others; nil is none.
	Regions Regions
	// Roles hand out the credentials of instance profiles. Without one there are none.
	Roles Roles
	// Metrics keeps what instances use; nothing is measured if it is nil.
	Metrics *metrics.Store
	// MeasureEvery is how often; once a minute if it is 0.
	MeasureEvery time.Duration
	Logger       *slog.Logger
	// Version is bundt's, for the provenance of images.
	Version string
	Now     func() time.Time // time.Now if nil
	// Bake and LoadRecipe are bake.Bake and recipe.Load, except in tests.
	Bake       func(context.Context, bake.Request) (*bake.Result, error)
	LoadRecipe func(fs.FS) (*recipe.Recipe, error)
}

// terminatedFor is how long a terminated instance is still shown, as on EC2.
const terminatedFor = time.Hour

// Node is the reconciler of one host.
type Node struct {
	Options
	queue     *queue
	builds    *queue
	volumes   *queue        // of what is attached to no instance
	flattens  *queue        // of volumes whose chain may be too long
	transfers *queue        // copies that are written, imports, exports, tasks with registries, publishers' indexes and LANs
	arrivals  keylock.Mutex // of files of blobs that arrive
	// instances are those of all nodes.
	instances *store.Mirror[model.Instance]
	// interfaces are those of all nodes, of no instance too.
	interfaces *store.Mirror[model.NetworkInterface]
	gc         chan struct{}
	ready      chan struct{} // closed when the node is registered and has swept

	netMu      sync.Mutex // one Apply at a time
	netTickets atomic.Int64
	netApplied int64   // the newest ticket that an Apply has covered
	wiring     *wiring // what the datapath was to be last; nil at first
	netIsReal  bool    // and it is
	netChanged chan struct{}
	diffs      chan struct{}    // as many as are computed now
	grants     map[string]grant // by instance; guarded by netMu
	grantsRead int64            // of rolesChanged, when grants were made
	renewal    *time.Timer      // of the next grant to renew; guarded by netMu

	prober  *prober
	started time.Time

	mu      sync.Mutex
	sockets map[string]map[string]string // instance id -> interface id -> socket of its machine
	pressed map[string]bool              // instances whose machine was asked to power off
	pinned  map[string]int               // layers and blobs of builds in progress: not garbage yet
}

// New returns a node; Run makes it work.
func New(o Options) *Node {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Bake == nil {
		o.Bake = bake.Bake
	}
	if o.LoadRecipe == nil {
		o.LoadRecipe = recipe.Load
	}
	if o.Fetch == nil {
		o.Fetch = fetch.New(fetch.Options{})
	}
	n := &Node{
		Options: o,
		started: o.Now().UTC(),
		gc:      make(chan struct{}, 1),
		ready:   make(chan struct{}),

		netChanged: make(chan struct{}, 1),
		diffs:      make(chan struct{}, maxDiffs),
		prober:     newProber(),

		sockets: map[string]map[string]string{},
		pressed: map[string]bool{},
		pinned:  map[string]int{},
	}
	n.instances = store.NewMirror(o.Store, records.Instances)
	n.interfaces = store.NewMirror(o.Store, records.Interfaces)
	n.queue = newQueue(16, n.reconcileInstance, o.Logger)
	n.builds = newQueue(1, n.reconcileBuild, o.Logger)
	n.volumes = newQueue(4, n.reconcileVolume, o.Logger)
	n.flattens = newQueue(1, n.reconcileFlatten, o.Logger)
	n.transfers = newQueue(4, n.reconcileTransfer, o.Logger)
	return n
}

// Run registers the node, adopts what is there, and reconciles until ctx ends.
// Machines and the network go on without it.
func (n *Node) Run(ctx context.Context) error {
	watched := append(slices.Clone(topologyCollections), records.Interfaces.Name(), records.Profiles.Name(), records.Roles.Name(),
		records.Instances.Name(), records.Images.Name(), records.Snapshots.Name(), records.Volumes.Name(), records.Builds.Name(), records.CachedBuilds.Name(), records.Imports.Name(), records.Exports.Name(), records.RegistryTasks.Name(), records.Publishers.Name(), records.LANs.Name())
	changes := n.Store.Watch(ctx, watched...)
	events := n.Driver.Events(ctx)
	if err := n.register(ctx); err != nil {
		return err
	}
	if err := n.sweepMachines(ctx); err != nil {
		return err
	}
	close(n.ready)
	var wg sync.WaitGroup
	for _, work := range []func(context.Context){n.queue.run, n.builds.run, n.volumes.run, n.flattens.run, n.transfers.run, n.collectGarbage, n.scrub, n.followPools, n.followNetwork, n.followGuests, n.measure} {
		wg.Go(func() { work(ctx) })
	}
	defer wg.Wait()
	if err := n.enqueueAll(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			n.queue.add(e.ID)
		case ch, ok := <-changes:
			if !ok {
				return nil
			}
			if err := n.changed(ctx, ch); err != nil {
				return err
			}
		}
	}
}

// Ready is closed when a running node can be given work.
func (n *Node) Ready() <-chan struct{} { return n.ready }

func (n *Node) changed(ctx context.Context, ch store.Change) error {
	switch {
	case ch.Resync:
		n.wakeNetwork()
		return n.enqueueAll(ctx)
	case ch.Collection == records.Interfaces.Name() || slices.Contains(topologyCollections, ch.Collection):
		n.wakeNetwork()
	case ch.Collection == records.Profiles.Name(), ch.Collection == records.Roles.Name():
		n.wakeNetwork() // what guests get of them
	case ch.Collection == records.Instances.Name():
		n.queue.add(ch.Key)
		n.wakeNetwork() // its names and metadata
	case ch.Collection == records.Builds.Name():
		n.builds.add(ch.Key)
	case ch.Collection == records.Imports.Name(), ch.Collection == records.Exports.Name(), ch.Collection == records.RegistryTasks.Name(), ch.Collection == records.Publishers.Name(), ch.Collection == records.LANs.Name():
		n.transfers.add(ch.Key)
	case ch.Deleted:
		n.wakeCollector()
	case ch.Collection == records.Images.Name():
		return n.enqueueImage(ctx, ch.Key)
	case ch.Collection == records.Volumes.Name():
		return n.enqueueVolume(ctx, ch.Key)
	case ch.Collection == records.Snapshots.Name():
		return n.enqueueSnapshot(ctx, ch.Key)
	}
	return nil
}

// enqueueImage looks at the instance of an image in the making.
func (n *Node) enqueueImage(ctx context.Context, id string) error {
	return n.Store.View(ctx, func(tx *store.Tx) error {
		img, err := records.Images.Get(tx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err == nil && img.State == model.ImagePending && img.SourceInstance != "" {
			n.queue.add(img.SourceInstance)
		}
		return err
	})
}

func (n *Node) enqueueAll(ctx context.Context) error {
	n.wakeCollector()
	return n.Store.View(ctx, func(tx *store.Tx) error {
		insts, err := records.Instances.List(tx)
		if err != nil {
			return err
		}
		for i := range insts {
			n.queue.add(insts[i].ID)
		}
		builds, err := records.Builds.List(tx)
		if err != nil {
			return err
		}
		for i := range builds {
			n.builds.add(builds[i].ID)
		}
		volumes, err := records.Volumes.List(tx)
		if err != nil {
			return err
		}
		for i := range volumes {
			if volumes[i].Attachment == nil {
				n.volumes.add(volumes[i].ID)
			} else {
				n.flattens.add(volumes[i].ID)
			}
		}
		if err := n.enqueueCopies(tx); err != nil {
			return err
		}
		imports, err := records.Imports.List(tx)
		if err != nil {
			return err
		}
		for i := range imports {
			n.transfers.add(imports[i].ID)
		}
		exports, err := records.Exports.List(tx)
		if err != nil {
			return err
		}
		for i := range exports {
			n.transfers.add(exports[i].ID)
		}
		tasks, err := records.RegistryTasks.List(tx)
		if err != nil {
			return err
		}
		for i := range tasks {
			n.transfers.add(tasks[i].ID)
		}
		publishers, err := records.Publishers.List(tx)
		if err != nil {
			return err
		}
		for i := range publishers {
			n.transfers.add(publishers[i].ID)
		}
		lans, err := records.LANs.List(tx)
		if err != nil {
			return err
		}
		for i := range lans {
			n.transfers.add(lans[i].ID)
		}
		return nil
	})
}

// enqueueCopies looks at the snapshots that are written anew.
func (n *Node) enqueueCopies(tx *store.Tx) error {
	snaps, err := records.Snapshots.List(tx)
	for i := range snaps {
		if snaps[i].CopyOf != "" {
			n.transfers.add(snaps[i].ID)
		}
	}
	return err
}

// register tells the cloud what this node can run.
func (n *Node) register(ctx context.Context) error {
	host, err := n.Driver.Host(ctx)
	if err != nil {
		return fmt.Errorf("asking the hypervisor what it can run: %w", err)
	}
	rec := model.Node{ID: n.ID, Started: n.started, FullTypes: n.fullTypes(ctx)}
	for _, a := range model.Archs {
		if s, ok := host.Archs[a]; ok && s.Problem == "" {
			rec.Archs = append(rec.Archs, a)
		}
	}
	if rec.VCPUs, rec.MemoryMiB, err = hostSize(); err != nil {
		return err
	}
	if n.GuestMemoryMiB > 0 {
		rec.MemoryMiB = n.GuestMemoryMiB
	}
	return n.Store.Update(ctx, func(tx *store.Tx) error { return records.Nodes.Put(tx, &rec) })
}

// Refresh measures the host again and tells the cloud what it can run now.
func (n *Node) Refresh(ctx context.Context) error {
	if r, ok := n.Driver.(hypervisor.Refresher); ok {
		r.Refresh()
	}
	return n.register(ctx)
}

// sweepMachines removes machines that no instance of this node wants: what a
// daemon left behind that was killed between two steps. The others keep their
// places on the network: its first configuration has them all.
func (n *Node) sweepMachines(ctx context.Context) error {
	machines, err := n.Driver.List(ctx)
	if err != nil {
		return fmt.Errorf("listing the machines on this host: %w", err)
	}
	for _, m := range machines {
		inst, err := n.instance(ctx, m.ID)
		if err == nil && inst.Node == n.ID && inst.State != model.InstanceTerminated {
			if m.State != hypervisor.StateStopped {
				n.mu.Lock()
				n.sockets[m.ID] = m.NICSockets
				n.mu.Unlock()
			}
			continue
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		n.Logger.Warn("removing a machine without an instance", "machine", m.ID, "pid", m.PID)
		if err := n.Driver.Remove(ctx, m.ID); err != nil {
			return fmt.Errorf("removing the orphaned machine %s: %w", m.ID, err)
		}
	}
	n.wakeNetwork()
	return nil
}

// instance returns an instance's record, of which what it points to is shared with
// other readers.
func (n *Node) instance(ctx context.Context, id string) (model.Instance, error) {
	inst, err := n.instances.Get(ctx, id)
	if err != nil {
		return model.Instance{}, err
	}
	if inst == nil {
		return model.Instance{}, fmt.Errorf("instance %s: %w", id, store.ErrNotFound)
	}
	return *inst, nil
}

// edit changes an instance's record; a record that vanished is left alone.
func (n *Node) edit(ctx context.Context, id string, change func(*model.Instance)) error {
	return n.Store.Update(ctx, func(tx *store.Tx) error {
		inst, err := records.Instances.Get(tx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		change(&inst)
		return records.Instances.Put(tx, &inst)
	})
}
