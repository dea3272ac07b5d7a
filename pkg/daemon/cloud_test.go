package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/hack/conformance"
	"github.com/bundt/bundt/images"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/daemon"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe/archive"
	"github.com/bundt/bundt/pkg/rundir"
)

// cloud is a whole daemon with simulated machines, and a client of it.
type cloud struct {
	*client.Client
	t   *testing.T
	cfg daemon.Config
}

func config(t *testing.T) daemon.Config {
	t.Helper()
	run, err := os.MkdirTemp("", "bundt-t-") // short: sockets' paths are
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	cfg := daemon.DefaultConfig()
	cfg.DataDir, cfg.CacheDir, cfg.RunDir = t.TempDir(), t.TempDir(), run
	cfg.Listen = "127.0.0.1:0"
	cfg.Hypervisor, cfg.ShutdownGrace = "fake", time.Second
	return cfg
}

func newCloud(t *testing.T, parts daemon.Parts) *cloud {
	t.Helper()
	parts.Interceptors = append(parts.Interceptors, conformance.Interceptor(t)) // every answer of every test is checked
	cfg := config(t)
	d, err := daemon.New(t.Context(), cfg, slog.New(slog.DiscardHandler), parts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended, ready := make(chan error, 1), make(chan struct{})
	go func() { ended <- d.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("daemon: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	c, err := client.New(client.Options{Endpoint: "unix://" + filepath.Join(cfg.RunDir, rundir.Socket)})
	if err != nil {
		t.Fatal(err)
	}
	return &cloud{c, t, cfg}
}

func (c *cloud) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cloud) upload(fsys fs.FS) *string {
	c.t.Helper()
	r, w := io.Pipe()
	go func() { w.CloseWithError(archive.Pack(w, fsys)) }()
	digest, err := c.Upload(c.t.Context(), r)
	c.must(err)
	return &digest
}

// build bakes and returns the build as it ended.
func (c *cloud) build(digest, name *string) (last *bundttypes.Build, err error) {
	out, err := c.BuildImage(c.t.Context(), &bundttypes.BuildImageInput{ContextDigest: digest, Architecture: new("x86_64"), Name: name})
	if err != nil {
		return nil, err
	}
	for b, err := range c.WatchBuild(c.t.Context(), &bundttypes.WatchBuildInput{BuildId: &out.BuildId}) {
		c.must(err)
		last = b
	}
	return last, nil
}

func (c *cloud) bootSector() *string {
	fsys, err := images.FS("boot-sector")
	c.must(err)
	b, err := c.build(c.upload(fsys), nil)
	c.must(err)
	if b.State != "available" {
		c.t.Fatalf("the image is %s: %+v", b.State, b.StateReason)
	}
	return &b.ImageId
}

func (c *cloud) run(image *string) string {
	out, err := c.RunInstances(c.t.Context(), &ec2types.RunInstancesInput{ImageId: image, InstanceType: new("b1.pico"), MinCount: new(int32(1)), MaxCount: new(int32(1))})
	c.must(err)
	id := *out.Instances[0].InstanceId
	c.await(id, "running")
	return id
}

func (c *cloud) await(id, state string) {
	c.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		out, err := c.DescribeInstances(c.t.Context(), &ec2types.DescribeInstancesInput{InstanceIds: []string{id}})
		c.must(err)
		is := *out.Reservations[0].Instances[0].State.Name
		if is == state {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("instance %s is %s and does not become %s", id, is, state)
		}
	}
}

// everything is what the cloud has: every object, and every thing on the host.
func (c *cloud) everything() string {
	c.t.Helper()
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	ctx := c.t.Context()
	instances, err := c.DescribeInstances(ctx, &ec2types.DescribeInstancesInput{})
	c.must(err)
	for _, r := range instances.Reservations {
		for _, i := range r.Instances {
			add("instance %s %s", *i.InstanceId, *i.State.Name)
		}
	}
	found, err := c.DescribeImages(ctx, &ec2types.DescribeImagesInput{})
	c.must(err)
	for _, i := range found.Images {
		add("image %s %s", *i.ImageId, *i.State)
	}
	snaps, err := c.DescribeSnapshots(ctx, &ec2types.DescribeSnapshotsInput{})
	c.must(err)
	for _, s := range snaps.Snapshots {
		add("snapshot %s %s", *s.SnapshotId, *s.State)
	}
	volumes, err := c.DescribeVolumes(ctx, &ec2types.DescribeVolumesInput{})
	c.must(err)
	for _, v := range volumes.Volumes {
		add("volume %s %s", *v.VolumeId, *v.State)
	}
	keys, err := c.DescribeKeyPairs(ctx, &ec2types.DescribeKeyPairsInput{})
	c.must(err)
	for _, k := range keys.KeyPairs {
		add("key %s", *k.KeyName)
	}
	there, err := c.DescribeInventory(ctx, &bundttypes.DescribeInventoryInput{})
	c.must(err)
	for _, i := range there.Items {
		if i.Kind != bundttypes.InventoryBlob { // an upload that no call used stays for an hour
			add("%s %s orphan=%v", i.Kind, i.Id, i.Orphan)
		}
	}
	work, err := os.ReadDir(filepath.Join(c.cfg.DataDir, "work"))
	c.must(err)
	for _, w := range work {
		add("work %s", w.Name())
	}
	half, err := filepath.Glob(filepath.Join(c.cfg.CacheDir, "*", ".new-*"))
	c.must(err)
	out = append(out, half...)
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// refused checks that a call is answered with this code and a text that says
// what is wrong, and changes nothing.
func (c *cloud) refused(name, code, want string, call func() error) {
	c.t.Run(name, func(t *testing.T) {
		before := c.everything()
		err := call()
		var e *model.Error
		if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message+"\n"+e.Hint, want) {
			t.Errorf("error is %#v, want %s and %q", err, code, want)
		}
		if after := c.everything(); after != before {
			t.Errorf("something changed:\n%s\n---\n%s", before, after)
		}
	})
}
