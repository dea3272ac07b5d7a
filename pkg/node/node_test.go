package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/bundt/bundt/pkg/bake"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/fetch"
	fakehv "github.com/bundt/bundt/pkg/hypervisor/fake"
	"github.com/bundt/bundt/pkg/layer"
	"github.com/bundt/bundt/pkg/metrics"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/network"
	fakenet "github.com/bundt/bundt/pkg/network/fake"
	"github.com/bundt/bundt/pkg/node"
	"github.com/bundt/bundt/pkg/recipe"
	"github.com/bundt/bundt/pkg/recipe/archive"
	"github.com/bundt/bundt/pkg/store"
)

// world is a host whose daemon can be stopped and started again.
type world struct {
	t       *testing.T
	store   *store.Store
	layers  *layer.Store
	host    *fakehv.Host
	net     *fakenet.Datapath
	path    network.Datapath // of the node, made of net; nil: net itself
	region  *cloud.Cloud
	cloud   *cloud.Account
	node    *node.Node
	grace   time.Duration
	buckets string
	fetch   *fetch.Fetcher
	limits  bool // of volumes
	metrics *metrics.Store
	depth   int // of chains; 0 is the default

	stop func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, host: fakehv.NewHost(), net: &fakenet.Datapath{}, grace: 2 * time.Second, limits: true, buckets: filepath.Join(dir, "buckets")}
	err := os.Mkdir(w.buckets, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if w.store, err = store.Open(t.Context(), store.Options{Dir: filepath.Join(dir, "etcd"), Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	if w.layers, err = layer.Open(dir); err != nil {
		t.Fatal(err)
	}
	region, err := cloud.New(t.Context(), cloud.Options{Store: w.store, Blobs: w.layers, Region: "test-1", PublicPool: netip.MustParsePrefix("127.77.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	w.region, w.cloud = region, region.Account(region.Info().AccountID)
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

// start starts a daemon's node; the store stays open, as its durability has
// tests of its own.
func (w *world) start() {
	w.t.Helper()
	path := w.path
	if path == nil {
		path = w.net
	}
	w.node = node.New(node.Options{
		ID: "here", Store: w.store, Driver: fakehv.New(w.host), Layers: w.layers, Datapath: path,
		Cloud: w.cloud.Info(), Zone: w.cloud.Zone(), WorkDir: w.t.TempDir(), ArrivingDir: filepath.Join(w.buckets, "..", "arriving"), BucketDir: w.buckets, Fetch: w.fetch, Unlimited: !w.limits, ChainDepth: w.depth, ShutdownGrace: w.grace,
		Logger: slog.New(slog.DiscardHandler), Bake: bakeNothing, Metrics: w.metrics, MeasureEvery: 20 * time.Millisecond,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.node.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			w.t.Errorf("node: %v", err)
		}
		w.stop = func() {}
	}
}

// bakeNothing makes an empty disk.
func bakeNothing(_ context.Context, r bake.Request) (*bake.Result, error) {
	r.Progress(bake.Event{Step: "make disk"})
	path := filepath.Join(r.WorkDir, "root.qcow2")
	if err := disk.WriteOverlay(path, disk.Overlay{SizeBytes: 64 << 20}); err != nil {
		return nil, err
	}
	kernel, vmlinux := filepath.Join(r.WorkDir, "kernel"), filepath.Join(r.WorkDir, "vmlinux")
	if err := errors.Join(os.WriteFile(kernel, []byte("kernel"), 0o600), os.WriteFile(vmlinux, []byte("uncompressed"), 0o600)); err != nil {
		return nil, err
	}
	r.Progress(bake.Event{Step: "make disk", Done: true})
	return &bake.Result{
		Kernel: kernel, VMLinux: vmlinux,
		Disks: []bake.DiskFile{{Device: "/dev/sda1", Path: path, SizeBytes: 64 << 20, DeleteOnTermination: true}},
		Boot:  model.Boot{Firmware: model.FirmwareBIOS}, LoginUser: "root", Pins: pins(1),
	}, nil
}

// pins are packages that a bake took, of a version.
func pins(version int) []recipe.LockedPackage {
	v := fmt.Sprint(version)
	return []recipe.LockedPackage{{Name: "kernel", Package: "linux", Version: v, Suite: "bookworm", Path: "pool/linux_" + v + ".deb", Size: 1, SHA256: strings.Repeat(v, 64)}}
}

const testRecipe = `apiVersion: bundt/v1
name: plain
version: "1.0"
architectures: [x86_64]
boot:
  firmware: bios
source:
  disk:
    file: disk.img
blockDevices:
  - device: /dev/sda1
    size: 64MiB
metadata:
  loginUser: root
`

// upload uploads the recipe, with a lock file if there is one.
func (w *world) upload(locks ...*recipe.Lock) string {
	w.t.Helper()
	fsys := fstest.MapFS{"recipe.yaml": {Data: []byte(testRecipe), Mode: 0o644}, "disk.img": {Data: make([]byte, 512), Mode: 0o644}}
	for _, l := range locks {
		text, err := l.Marshal()
		if err != nil {
			w.t.Fatal(err)
		}
		fsys[recipe.LockFileName] = &fstest.MapFile{Data: text, Mode: 0o644}
	}
	if _, err := recipe.Load(fs.FS(fsys)); err != nil {
		w.t.Fatal(err)
	}
	r, wr := io.Pipe()
	go func() { wr.CloseWithError(archive.Pack(wr, fsys)) }()
	digest, _, err := w.layers.PutBlob(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return digest
}

// TestBuildOfLock: a lock file that pins what an image was baked of means that image.
func TestBuildOfLock(t *testing.T) {
	w := newWorld(t)
	img := w.build()
	for version, want := range map[int]string{1: img.ID, 2: ""} {
		lock := &recipe.Lock{APIVersion: recipe.APIVersion, Packages: map[model.Arch][]recipe.LockedPackage{model.X8664: pins(version), model.ARM64: pins(3)}}
		b, err := w.cloud.BuildImage(t.Context(), cloud.BuildRequest{ContextDigest: w.upload(lock), Arch: model.X8664})
		var refused *model.Error
		switch {
		case want != "" && (err != nil || b.ImageID != want):
			t.Errorf("pinned to what was baked: %q (%v), not %q", b.ImageID, err, want)
		case want == "" && (!errors.As(err, &refused) || refused.Code != "InvalidAMIName.Duplicate"):
			t.Errorf("pinned to another version: %v", err)
		}
	}
}

func (w *world) build() model.Image {
	w.t.Helper()
	var b model.Build
	w.eventually("accept a build", func() (err error) {
		b, err = w.cloud.BuildImage(w.t.Context(), cloud.BuildRequest{ContextDigest: w.upload(), Arch: model.X8664})
		return err
	})
	return w.image(b.ImageID)
}

// image waits until an image is available.
func (w *world) image(id string) (img model.Image) {
	w.t.Helper()
	w.eventually("make image "+id, func() error {
		all, err := w.cloud.FindImages(w.t.Context(), nil)
		if err != nil {
			return err
		}
		for _, i := range all {
			if i.ID == id && i.State == model.ImageAvailable {
				img = *i
				return nil
			}
			if i.ID == id {
				err = fmt.Errorf("image is %s: %s", i.State, i.StateReason.Message)
			}
		}
		return errors.Join(errors.New("not there"), err)
	})
	return img
}

func (w *world) run(image string) model.Instance {
	w.t.Helper()
	insts, err := w.cloud.Run(w.t.Context(), cloud.Launch{ImageID: image, Type: "b1.nano", MinCount: 1, MaxCount: 1, Metadata: model.MetadataOptions{HTTPTokens: "optional", HopLimit: 1}})
	if err != nil {
		w.t.Fatal(err)
	}
	return insts[0]
}

func (w *world) wait(id string, state model.InstanceState) (inst model.Instance) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s becomes %s", id, state), func() (err error) {
		inst, err = w.cloud.Instance(w.t.Context(), id)
		if err == nil && inst.State != state {
			err = fmt.Errorf("it is %s (%s)", inst.State, inst.StateReason.Message)
		}
		return err
	})
	return inst
}

func (w *world) reachable(id string) {
	w.t.Helper()
	w.eventually(id+" is reachable", func() error {
		i, err := w.cloud.Instance(w.t.Context(), id)
		if err == nil && i.Reachability != model.ReachabilityPassed {
			err = fmt.Errorf("it is %s", i.Reachability)
		}
		return err
	})
}

func (w *world) eventually(what string, f func() error) {
	w.t.Helper()
	var err error
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	w.t.Fatalf("waiting until %s: %v", what, err)
}

// clean fails unless nothing but the named layers is left on the host.
func (w *world) clean(layers int) {
	w.t.Helper()
	w.eventually("nothing is left", func() error {
		items, err := w.node.Inventory(w.t.Context())
		if err != nil {
			return err
		}
		found := 0
		for _, i := range items {
			switch {
			case i.Orphan, i.Kind == "process", i.Kind == "port":
				return fmt.Errorf("left over: %+v", i)
			case i.Kind == "layer":
				found++
			}
		}
		if found != layers {
			return fmt.Errorf("%d layers, want %d", found, layers)
		}
		return nil
	})
}

func TestStory(t *testing.T) {
	w := newWorld(t)
	img := w.build()
	first := w.run(img.ID)
	w.wait(first.ID, model.InstanceRunning)
	w.reachable(first.ID)

	live, err := w.cloud.CreateImage(t.Context(), cloud.ImageRequest{InstanceID: first.ID, Name: "live", NoReboot: true})
	if err != nil {
		t.Fatal(err)
	}
	live = w.image(live.ID)
	if live.Consistency != model.ConsistencyCrash && live.Consistency != model.ConsistencyFilesystem {
		t.Errorf("consistency of a live image is %q", live.Consistency)
	}
	twin := w.run(live.ID)
	w.wait(twin.ID, model.InstanceRunning)

	// The twin's chain survives its parent image and its parent.
	if _, err := w.cloud.DeregisterImage(t.Context(), live.ID, false); err != nil {
		t.Fatal(err)
	}
	if _, err := w.cloud.Terminate(t.Context(), []string{first.ID}); err != nil {
		t.Fatal(err)
	}
	w.wait(first.ID, model.InstanceTerminated)
	spec, err := w.node.Spec(t.Context(), ptr(w.wait(twin.ID, model.InstanceRunning)))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(spec.Disks[0].Layers); n != 3 {
		t.Errorf("the twin's disk has %d layers, want its own, the frozen one and the image's", n)
	}
	for _, l := range spec.Disks[0].Layers {
		if _, err := w.layers.Info(l.ID); err != nil {
			t.Error(err)
		}
	}
	if _, err := w.cloud.Terminate(t.Context(), []string{twin.ID}); err != nil {
		t.Fatal(err)
	}
	w.wait(twin.ID, model.InstanceTerminated)
	for _, b := range live.BlockDevices {
		if err := w.cloud.DeleteSnapshot(t.Context(), b.SnapshotID); err != nil {
			t.Fatal(err)
		}
	}
	w.clean(1)
}

func ptr[T any](v T) *T { return &v }

func TestStopStartReboot(t *testing.T) {
	w := newWorld(t)
	inst := w.run(w.build().ID)
	w.wait(inst.ID, model.InstanceRunning)
	if _, err := w.cloud.Stop(t.Context(), []string{inst.ID}, false); err != nil {
		t.Fatal(err)
	}
	stopped := w.wait(inst.ID, model.InstanceStopped)
	if stopped.StateReason.Code != "Client.UserInitiatedShutdown" {
		t.Errorf("reason %+v", stopped.StateReason)
	}
	if stopped.Interface.PrivateIP != inst.Interface.PrivateIP {
		t.Error("the private address changed")
	}
	if _, err := w.cloud.Start(t.Context(), []string{inst.ID}); err != nil {
		t.Fatal(err)
	}
	w.wait(inst.ID, model.InstanceRunning)
	if err := w.cloud.Reboot(t.Context(), []string{inst.ID}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the reboot is done", func() error {
		i, err := w.cloud.Instance(t.Context(), inst.ID)
		if err == nil && (i.RebootsDone != 1 || i.State != model.InstanceRunning) {
			err = fmt.Errorf("%+v", i)
		}
		return err
	})
}

func TestStopAfterRebootAsksTheGuestAgain(t *testing.T) {
	w := newWorld(t)
	w.stop()
	w.grace = time.Hour // only a guest that is asked powers off
	w.start()
	inst := w.run(w.build().ID)
	w.wait(inst.ID, model.InstanceRunning)
	if err := w.cloud.Reboot(t.Context(), []string{inst.ID}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the reboot is done", func() error {
		i, err := w.cloud.Instance(t.Context(), inst.ID)
		if err == nil && i.RebootsDone != 1 {
			err = errors.New("still rebooting")
		}
		return err
	})
	if _, err := w.cloud.Stop(t.Context(), []string{inst.ID}, false); err != nil {
		t.Fatal(err)
	}
	w.wait(inst.ID, model.InstanceStopped)
}

func TestImageWithRebootIsOfAHaltedGuest(t *testing.T) {
	w := newWorld(t)
	inst := w.run(w.build().ID)
	w.wait(inst.ID, model.InstanceRunning)
	img, err := w.cloud.CreateImage(t.Context(), cloud.ImageRequest{InstanceID: inst.ID, Name: "rebooted"})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.image(img.ID); got.Consistency != model.ConsistencyStopped {
		t.Errorf("consistency %q", got.Consistency)
	}
	got := w.wait(inst.ID, model.InstanceRunning)
	w.eventually("the instance runs again", func() error {
		got, err = w.cloud.Instance(t.Context(), inst.ID)
		if err == nil && got.RebootsDone != 1 {
			err = errors.New("still rebooting")
		}
		return err
	})
	if len(got.Crashes) != 0 {
		t.Error("the reboot counted as a crash")
	}
}

func TestGuestPowersOff(t *testing.T) {
	w := newWorld(t)
	inst := w.run(w.build().ID)
	w.wait(inst.ID, model.InstanceRunning)
	if err := w.host.Halt(inst.ID); err != nil {
		t.Fatal(err)
	}
	got := w.wait(inst.ID, model.InstanceStopped)
	if got.StateReason.Code != "Client.InstanceInitiatedShutdown" {
		t.Errorf("reason %+v", got.StateReason)
	}
}

func TestCrashedMachineIsStartedAgainButNotForEver(t *testing.T) {
	w := newWorld(t)
	inst := w.run(w.build().ID)
	w.wait(inst.ID, model.InstanceRunning)
	for range 3 {
		before := w.wait(inst.ID, model.InstanceRunning)
		if err := w.host.Crash(inst.ID, "killed"); err != nil {
			t.Fatal(err)
		}
		w.eventually("it is started again", func() error {
			i, err := w.cloud.Instance(t.Context(), inst.ID)
			if err == nil && (len(i.Crashes) != len(before.Crashes)+1 || i.State != model.InstanceRunning) {
				err = fmt.Errorf("%d crashes, %s", len(i.Crashes), i.State)
			}
			if err == nil {
				_, err = w.machine(inst.ID)
			}
			return err
		})
	}
	if err := w.host.Crash(inst.ID, "killed"); err != nil {
		t.Fatal(err)
	}
	if got := w.wait(inst.ID, model.InstanceStopped); got.StateReason.Code != "Server.InternalError" {
		t.Errorf("reason %+v", got.StateReason)
	}
}

// Without automatic recovery an instance whose machine ends stays stopped, and
// can be started again.
func TestCrashedMachineWithoutRecovery(t *testing.T) {
	w := newWorld(t)
	image := w.build().ID
	insts, err := w.cloud.Run(t.Context(), cloud.Launch{ImageID: image, Type: "b1.pico", MinCount: 1, MaxCount: 1, Options: model.InstanceOptions{NoAutoRecovery: true}})
	if err != nil {
		t.Fatal(err)
	}
	id := insts[0].ID
	w.wait(id, model.InstanceRunning)
	if err := w.host.Crash(id, "killed"); err != nil {
		t.Fatal(err)
	}
	got := w.wait(id, model.InstanceStopped)
	if got.StateReason.Code != "Server.InternalError" || !strings.Contains(got.StateReason.Message, "automatic recovery is disabled") {
		t.Errorf("reason %+v", got.StateReason)
	}
	if _, err := w.cloud.Start(t.Context(), []string{id}); err != nil {
		t.Fatal(err)
	}
	w.wait(id, model.InstanceRunning)
}

func (w *world) machine(id string) (pid int, err error) {
	st, err := fakehv.New(w.host).Status(w.t.Context(), id)
	if err == nil && st.State != "running" {
		err = fmt.Errorf("machine is %s", st.State)
	}
	return st.PID, err
}
