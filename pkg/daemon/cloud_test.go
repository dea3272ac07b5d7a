package daemon_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/hack/conformance"
	"github.com/bundt/bundt/hack/daemontest"
	"github.com/bundt/bundt/images"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/daemon"
	"github.com/bundt/bundt/pkg/model"
)

// cloud is a whole daemon with simulated machines, and a client of it.
type cloud struct {
	*client.Client
	t   *testing.T
	cfg daemon.Config
}

func config(t *testing.T) daemon.Config { return daemontest.Config(t) }

func newCloud(t *testing.T, parts daemon.Parts) *cloud {
	t.Helper()
	return cloudWith(t, config(t), parts)
}

func cloudWith(t *testing.T, cfg daemon.Config, parts daemon.Parts) *cloud {
	t.Helper()
	parts.Interceptors = append(parts.Interceptors, conformance.Interceptor(t)) // every answer of every test is checked
	return &cloud{daemontest.Start(t, cfg, parts), t, cfg}
}

func (c *cloud) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cloud) upload(fsys fs.FS) *string { return new(daemontest.Upload(c.t, c.Client, fsys)) }

// build bakes and returns the build as it ended.
func (c *cloud) build(digest, name *string) (*bundttypes.Build, error) {
	return daemontest.Build(c.t, c.Client, &bundttypes.BuildImageInput{ContextDigest: digest, Architecture: new("x86_64"), Name: name})
}

func (c *cloud) bootSector() *string {
	fsys, err := images.FS("boot-sector")
	c.must(err)
	return new(daemontest.Bake(c.t, c.Client, fsys))
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
