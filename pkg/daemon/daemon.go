package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/audit"
	"github.com/bundt/bundt/pkg/api/jsonapi"
	"github.com/bundt/bundt/pkg/api/throttle"
	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/builder"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/console"
	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/keyring"
	"github.com/bundt/bundt/pkg/layer"
	"github.com/bundt/bundt/pkg/metadata"
	"github.com/bundt/bundt/pkg/metrics"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/network"
	fakenet "github.com/bundt/bundt/pkg/network/fake"
	"github.com/bundt/bundt/pkg/node"
	"github.com/bundt/bundt/pkg/pipeline"
	"github.com/bundt/bundt/pkg/region"
	"github.com/bundt/bundt/pkg/rundir"
	"github.com/bundt/bundt/pkg/store"
	"github.com/bundt/bundt/pkg/version"
)

// Daemon is a wired bundtd.
type Daemon struct {
	cfg      Config
	log      *slog.Logger
	store    *store.Store
	accounts *auth.Directory
	audit    *audit.Log
	metrics  *metrics.Store
	limiter  *throttle.Limiter
	layers   *layer.Store
	driver   hypervisor.Driver
	datapath network.Datapath
	cloud    *cloud.Cloud
	node     *node.Node
	builder  *builder.Builder
	pipeline *pipeline.Runner
	handler  http.Handler
	watch    []api.Interceptor // of tests
	endpoint http.Handler
	// distribution gives other regions the content of images.
	distribution http.Handler
	console      *console.Console
	url          atomic.Pointer[string] // of the endpoint, once it listens
}

// Parts replaces what touches the host, and watches the API, for tests.
type Parts struct {
	Driver       hypervisor.Driver
	Datapath     network.Datapath
	Guests       builder.Guests    // that builds log in to; nil: by SSH
	Interceptors []api.Interceptor // around those of the daemon's own
}

// New opens the data directory and wires the daemon. Nothing is served and
// nothing changes on the host until Run. Close it if Run is not called.
func New(ctx context.Context, cfg Config, log *slog.Logger, parts Parts) (*Daemon, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	d := &Daemon{cfg: cfg, log: log, watch: parts.Interceptors}
	if err := d.open(ctx, parts); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Daemon) open(ctx context.Context, parts Parts) error {
	// The socket's group must get as far as the socket.
	if err := os.MkdirAll(d.cfg.RunDir, 0o711); err != nil {
		return fmt.Errorf("making the directory %s: %w", d.cfg.RunDir, err)
	}
	for _, dir := range []string{d.cfg.DataDir, d.cfg.CacheDir, d.path("machines"), d.path("work")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making the directory %s: %w", dir, err)
		}
	}
	if err := d.checkOwners(); err != nil {
		return err
	}
	var err error
	if d.store, err = store.Open(ctx, store.Options{Dir: d.path("etcd"), Endpoints: d.cfg.EtcdEndpoints, Migrations: cloud.Migrations(), Logger: d.log}); err != nil {
		return err
	}
	pools, options, err := d.cfg.pools()
	if err != nil {
		return err
	}
	if d.layers, err = layer.Open(d.cfg.DataDir, append(options, layer.WithMaxBlobBytes(maxUpload))...); err != nil {
		return fmt.Errorf("opening the layer store: %w", err)
	}
	if d.driver = parts.Driver; d.driver == nil {
		if d.driver, err = d.newDriver(); err != nil {
			return err
		}
	}
	if d.datapath = parts.Datapath; d.datapath == nil {
		if d.datapath, err = d.newDatapath(ctx); err != nil {
			return err
		}
	}
	keys, err := keyring.Open(ctx, d.store, d.cfg.VolumeKeyFile)
	if err != nil {
		return err
	}
	regions, err := region.Load(d.cfg.RegionsFile, d.cfg.Region)
	if err != nil {
		return err
	}
	d.cloud, err = cloud.New(ctx, cloud.Options{
		Store: d.store, Blobs: d.layers, Region: d.cfg.Region, PublicPool: d.cfg.publicPool(), HostAddresses: d.cfg.hostAddresses(), NewSigningKey: metadata.NewSigningKey, Keys: keys, Regions: regions,
		Version: version.Get().Version,
	})
	if err != nil {
		return err
	}
	d.accounts, err = auth.Open(ctx, auth.Options{Store: d.store, Dir: d.cfg.DataDir, Cloud: d.cloud.Info(), Log: d.log})
	if err != nil {
		return err
	}
	regions.SetAdmin(d.accounts.AdminAccount())
	if err := settleBuckets(d.path("buckets"), d.accounts.AdminAccount()); err != nil {
		return err
	}
	if d.audit, err = audit.Open(audit.Options{Path: d.path("audit.log"), Region: d.cfg.Region, Log: d.log}); err != nil {
		return err
	}
	d.limiter = throttle.New(throttle.PerSecond(d.cfg.ReadRate), throttle.PerSecond(d.cfg.ChangeRate), nil)
	mtu := 0
	if _, kernel := d.datapath.(network.Attacher); kernel {
		mtu = jumboMTU
	}
	if d.metrics, err = metrics.Open(d.path("metrics")); err != nil {
		return err
	}
	d.node = node.New(node.Options{
		ID: d.cfg.NodeID, Store: d.store, Driver: d.driver, Layers: d.layers, Datapath: d.datapath, MTU: mtu, Keys: keys, Pools: pools, Unlimited: d.cfg.VolumesUnlimited,
		Cloud: d.cloud.Info(), Zone: d.cloud.Zone(), CacheDir: d.cfg.CacheDir, WorkDir: d.path("work"), ArrivingDir: d.path("arriving"), BucketDir: d.path("buckets"),
		Fetch: d.cfg.fetcher(), Mirror: d.cfg.PackageMirror, ShutdownGrace: d.cfg.ShutdownGrace, GuestMemoryMiB: d.cfg.GuestMemoryMiB, Roles: roles{d.accounts}, Regions: regions, Metrics: d.metrics,
		Logger: d.log, Version: version.Get().Version,
	})
	if err := d.makeBuilder(parts.Guests); err != nil {
		return err
	}
	return d.buildHandler()
}

// makeBuilder makes what runs the components of builds, in guests.
func (d *Daemon) makeBuilder(guests builder.Guests) error {
	logs, err := builder.OpenLogs(d.path("build-logs"))
	if err != nil {
		return err
	}
	if guests == nil {
		guests = builder.SSH{Dial: d.node.Dial}
	}
	d.builder = builder.New(builder.Options{
		Node: d.cfg.NodeID, Cloud: d.cloud, Store: d.store, Blobs: d.layers, Guests: guests, Logs: logs, Logger: d.log,
		Cache: builder.Cache{CacheLimits: d.cfg.cacheLimits(), Measure: d.layerBytes},
	})
	d.pipeline = pipeline.New(pipeline.Options{Cloud: d.cloud, Store: d.store, Logger: d.log, Packages: d.node.ArchiveState})
	return nil
}

// layerBytes is what a layer takes on disk.
func (d *Daemon) layerBytes(id string) (int64, error) {
	info, err := d.layers.Info(id)
	return info.AllocatedBytes, err
}

// checkOwners refuses directories that somebody else may have made first.
func (d *Daemon) checkOwners() error {
	if err := rundir.Check(d.cfg.RunDir); err != nil {
		return err
	}
	if filepath.Dir(d.cfg.CacheDir) == filepath.Clean(os.TempDir()) {
		return rundir.Check(d.cfg.CacheDir)
	}
	return nil
}

// buildHandler makes the API that the unix socket serves.
func (d *Daemon) buildHandler() error {
	dispatcher, err := d.dispatcher(d.registerCloud, d.identity().RegisterSTS, d.identity().RegisterIAM, d.registerMonitoring)
	if err != nil {
		return err
	}
	d.handler, err = jsonapi.Handler(dispatcher, jsonapi.Options{
		Authenticate: d.socketPrincipal,
		Uploads:      jsonapi.UploadFunc(d.upload),
		Connect:      d.connect,
		Serial:       d.connectSerial,
		Version:      version.Get(),
	})
	if err != nil {
		return err
	}
	if err := d.buildConsole(dispatcher); err != nil {
		return err
	}
	return d.buildEndpoint()
}

// upload keeps a blob, unless that would take the space that the store needs.
func (d *Daemon) upload(ctx context.Context, blob io.Reader) (digest string, size int64, err error) {
	if err = d.node.CheckSpace(); err == nil {
		digest, size, err = d.layers.PutBlob(ctx, &spaced{blob: blob, check: d.node.CheckSpace})
	}
	switch {
	case errors.Is(err, disk.ErrNoSpace):
		err = model.Errorf(model.CodeStorageFull, "There is no space for the upload: %v", err).
			WithHint("free some space in %s, or remove images: bundt image ls, bundt image delete", d.cfg.DataDir)
	case errors.Is(err, layer.ErrTooLarge):
		err = model.Errorf(model.CodeInvalidParameterValue, "The upload is too large: %v", err)
	}
	return digest, size, err
}

// maxUpload is the largest upload, which may be a disk: 64 TiB, like a volume.
const maxUpload = 64 << 40

// spacedBytes is how much of an upload is taken before the space is looked at again.
const spacedBytes = 64 << 20

// spaced ends an upload when there is no more space.
type spaced struct {
	blob  io.Reader
	check func() error
	read  int // since the last check
}

func (s *spaced) Read(b []byte) (int, error) {
	if s.read >= spacedBytes {
		if err := s.check(); err != nil {
			return 0, err
		}
		s.read = 0
	}
	n, err := s.blob.Read(b)
	s.read += n
	return n, err
}

func (d *Daemon) path(name string) string { return filepath.Join(d.cfg.DataDir, name) }

// Handler serves the JSON API.
func (d *Daemon) Handler() http.Handler { return d.handler }

// Close releases the data directory. Machines and the network go on.
func (d *Daemon) Close() error {
	var err error
	if d.audit != nil {
		err = d.audit.Close()
	}
	if d.store != nil {
		err = errors.Join(err, d.store.Close())
	}
	return err
}

// Run serves and reconciles until ctx ends or something fails for good. It
// closes the daemon. ready, if not nil, is called when clients can connect.
func (d *Daemon) Run(ctx context.Context, ready func()) (err error) {
	defer func() { err = errors.Join(err, d.Close()) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	listener, err := d.listen()
	if err != nil {
		return err
	}
	network, err := d.listenEndpoint()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{Handler: d.handler, ReadHeaderTimeout: idleTime, BaseContext: func(net.Listener) context.Context { return ctx }}
	endpoint := d.endpointServer(ctx)
	serving := make(chan error, 2)
	reconciling := make(chan error, 1)
	go func() { reconciling <- d.node.Run(ctx) }()
	var background sync.WaitGroup
	for _, work := range []func(context.Context){d.accounts.Run, d.audit.Run, d.builder.Run, d.pipeline.Run, d.makeSigningKey, trimMemory} {
		background.Go(func() { work(ctx) })
	}
	defer func() { cancel(nil); background.Wait() }()
	select {
	case <-d.node.Ready():
	case err := <-reconciling:
		return errors.Join(err, listener.Close(), closeListener(network))
	}
	go func() { serving <- server.Serve(listener) }()
	if network != nil {
		go func() { serving <- endpoint.Serve(network) }()
	}
	d.log.Info("ready", "socket", d.cfg.Socket, "endpoint", d.Endpoint(), "data", d.cfg.DataDir, "region", d.cfg.Region, "node", d.cfg.NodeID)
	if ready != nil {
		ready()
	}
	running := true
	select {
	case <-ctx.Done():
	case <-d.store.Failed():
		err = fmt.Errorf("the store failed: %w", d.store.Err())
	case err = <-reconciling:
		running = false
	case err = <-serving:
	}
	cancel(err)
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	for _, s := range []*http.Server{endpoint, server} {
		if e := s.Shutdown(stop); e != nil {
			s.Close()
		}
	}
	if running {
		err = errors.Join(err, d.awaitNode(stop, reconciling))
	}
	return err
}

// makeSigningKey makes the key of identity documents at the first start; guests
// that are faster find no signature yet. Simulated guests ask for none.
func (d *Daemon) makeSigningKey(ctx context.Context) {
	if _, simulated := d.datapath.(*fakenet.Datapath); simulated {
		return
	}
	if _, err := d.cloud.SigningKey(ctx); err != nil && ctx.Err() == nil {
		d.log.Error("identity documents will not be signed", "error", err)
	}
}

// awaitNode waits for the end of the reconciler. In a store that has failed it
// may wait for ever: then it is given up when ctx ends.
func (d *Daemon) awaitNode(ctx context.Context, reconciling <-chan error) error {
	var err error
	select {
	case err = <-reconciling:
	case <-ctx.Done():
		select {
		case err = <-reconciling:
		case <-d.store.Failed():
			return errors.New("the reconciler did not end after the failure of the store")
		}
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// listen opens the API's socket. The store's lock is held, so a socket that is
// there is a leftover.
func (d *Daemon) listen() (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(d.cfg.Socket), 0o755); err != nil {
		return nil, fmt.Errorf("making the socket's directory: %w", err)
	}
	if c, err := net.Dial("unix", d.cfg.Socket); err == nil {
		c.Close()
		return nil, fmt.Errorf("another daemon serves %s: stop it, or use another --socket", d.cfg.Socket)
	}
	if err := os.Remove(d.cfg.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the old socket: %w", err)
	}
	l, err := net.Listen("unix", d.cfg.Socket)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", d.cfg.Socket, err)
	}
	if err := shareSocket(d.cfg.Socket); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// socketGroup may use the API of a daemon that runs as root.
const socketGroup = "bundt"

func shareSocket(path string) error {
	if err := os.Chmod(path, 0o660); err != nil {
		return fmt.Errorf("protecting the socket: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil // its owner alone may connect
	}
	g, err := user.LookupGroup(socketGroup)
	var none user.UnknownGroupError
	if errors.As(err, &none) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sharing the socket with group %s: %w", socketGroup, err)
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return fmt.Errorf("sharing the socket with group %s: %w", socketGroup, err)
	}
	return os.Chown(path, -1, gid)
}

// connectSerial joins the serial port of an instance of the caller's.
func (d *Daemon) connectSerial(ctx context.Context, instanceID string) (net.Conn, error) {
	inst, err := d.cloud.Account(api.PrincipalFrom(ctx).AccountID).Instance(ctx, instanceID)
	if err != nil {
		return nil, err
	}
	return d.node.SerialPort(ctx, inst.ID)
}

// connect opens a connection to a port of a running instance's guest.
func (d *Daemon) connect(ctx context.Context, instanceID string, port uint16) (net.Conn, error) {
	inst, err := d.cloud.Account(api.PrincipalFrom(ctx).AccountID).Instance(ctx, instanceID)
	if err != nil {
		return nil, err
	}
	return d.node.Dial(ctx, &inst, port)
}
