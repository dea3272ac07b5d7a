package cloud_test

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

const mine, others = "111111111111", "222222222222"

// cacheCloud is a cloud at a time of the test's, with a parent image and a build on it.
func cacheCloud(t *testing.T) (*cloud.Cloud, *store.Store, *time.Time, *model.Build) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: filepath.Join(t.TempDir(), "etcd"), Migrations: cloud.Migrations()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c, err := cloud.New(t.Context(), cloud.Options{Store: s, Region: "local-1", PublicPool: netip.MustParsePrefix("127.77.0.0/16"), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	b := &model.Build{ID: model.NewID(model.BuildPrefix), StageImage: model.NewID(model.ImagePrefix)}
	put(t, s, func(tx *store.Tx) error {
		return records.Images.Put(tx, &model.Image{ID: b.StageImage, OwnerID: mine, State: model.ImageAvailable})
	})
	return c, s, &now, b
}

func put(t *testing.T, s *store.Store, do func(*store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), do); err != nil {
		t.Fatal(err)
	}
}

// keep keeps what a build of an account is after a component, whose layer takes so much.
func keep(t *testing.T, c *cloud.Cloud, s *store.Store, account string, entry model.CachedBuild, bytes, limit int64) {
	t.Helper()
	image, snap := model.NewID(model.ImagePrefix), model.NewID(model.SnapshotPrefix)
	put(t, s, func(tx *store.Tx) error {
		if err := records.Snapshots.Put(tx, &model.Snapshot{ID: snap, OwnerID: account, LayerID: "layer-" + entry.Key, SizeGiB: 1}); err != nil {
			return err
		}
		return records.Images.Put(tx, &model.Image{ID: image, OwnerID: account, State: model.ImageTransient, BlockDevices: []model.BlockDevice{{Device: "/dev/sda1", SnapshotID: snap}}})
	})
	err := c.Account(account).KeepCached(t.Context(), entry, image, cloud.CacheLimits{Bytes: limit}, func(string) (int64, error) { return bytes, nil })
	if err != nil {
		t.Fatal(err)
	}
}

func keys(t *testing.T, c *cloud.Cloud, account string) string {
	t.Helper()
	all, err := c.Account(account).CachedBuilds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range all {
		out = append(out, e.Key)
	}
	return strings.Join(out, " ")
}

// Entries that have not been used longest go first, those that others are built on
// after these; each account has its own, and room of its own.
func TestBuildCacheIsBounded(t *testing.T) {
	c, s, now, b := cacheCloud(t)
	start := *now
	for i, key := range []string{"a1", "a2", "b1"} {
		began := start
		if key == "b1" {
			began = start.Add(time.Hour)
		}
		keep(t, c, s, mine, model.CachedBuild{Key: key, Depth: i%2 + 1, Used: began}, 10, 30)
	}
	keep(t, c, s, others, model.CachedBuild{Key: "a1", Depth: 1, Used: start}, 30, 30)
	if got := keys(t, c, mine); got != "b1 a1 a2" {
		t.Fatalf("it has %s", got)
	}
	keep(t, c, s, mine, model.CachedBuild{Key: "c1", Depth: 1, Used: start.Add(2 * time.Hour)}, 10, 30)
	if got := keys(t, c, mine); got != "c1 b1 a1" {
		t.Errorf("with one too much it has %s", got)
	}
	*now = start.Add(3 * time.Hour)
	entry, image, err := c.Account(mine).ResumeBuild(t.Context(), b, []string{"a1", "a2"}, *now)
	if err != nil || entry.Key != "a1" || image == "" {
		t.Errorf("it goes on from %s, %s, %v", entry.Key, image, err)
	}
	keep(t, c, s, mine, model.CachedBuild{Key: "d1", Depth: 1, Used: *now}, 10, 20)
	if got := keys(t, c, mine); got != "a1 d1" {
		t.Errorf("after a use it has %s", got)
	}
	keep(t, c, s, mine, model.CachedBuild{Key: "e1", Depth: 1, Used: *now}, 21, 20)
	if got := keys(t, c, mine); got != "a1 d1" {
		t.Errorf("after one larger than all it has %s", got)
	}
	if got := keys(t, c, others); got != "a1" {
		t.Errorf("the other account has %s", got)
	}
	if _, image, err := c.Account(others).ResumeBuild(t.Context(), b, []string{"d1"}, *now); err != nil || image != "" {
		t.Errorf("another account's entry gave %s, %v", image, err)
	}
	put(t, s, func(tx *store.Tx) error { // checkpoints are no images nor snapshots any more
		images, err := records.Images.List(tx)
		snaps, serr := records.Snapshots.List(tx)
		if len(images) != 2 || len(snaps) != 1 { // the parent, and what is gone on from
			t.Errorf("%d images, %d snapshots: %v %v", len(images), len(snaps), err, serr)
		}
		return nil
	})
}

// An entry is not used after its time, or when it was not used for long.
func TestBuildCacheExpires(t *testing.T) {
	c, s, now, b := cacheCloud(t)
	start := *now
	keep(t, c, s, mine, model.CachedBuild{Key: "a", Depth: 1, Used: start}, 1, 10)
	keep(t, c, s, mine, model.CachedBuild{Key: "b", Depth: 2, Used: start, Expires: start.Add(time.Hour)}, 1, 10)
	for _, tc := range []struct {
		after time.Duration
		want  string
	}{
		{time.Hour - 1, "b"}, {time.Hour, "a"}, {model.CachedIdle + time.Hour, "a"}, {2*model.CachedIdle + 2*time.Hour, ""},
	} {
		*now = start.Add(tc.after)
		entry, _, err := c.Account(mine).ResumeBuild(t.Context(), b, []string{"a", "b"}, *now)
		if err != nil || entry.Key != tc.want {
			t.Errorf("after %s it goes on from %q, not %q: %v", tc.after, entry.Key, tc.want, err)
		}
	}
}
