package cloud

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// What is here is the cache of builds: what build instances were after each
// component, for later builds of the same account to go on from.

// CacheLimits bound the cache of each account.
type CacheLimits struct {
	Bytes int64 // 0: nothing is kept
	// Volatile is how long an entry may be used in which a step may give something
	// else another time.
	Volatile time.Duration
}

// CacheBase identifies what a build instance is launched from, by content: equal
// bakes and copies of an image are the same.
func (c *Account) CacheBase(ctx context.Context, imageID string) (digest string, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		img, err := get(tx, records.Images, imageID, imageNotFound(imageID))
		if err != nil {
			return err
		}
		base := struct {
			Arch    model.Arch
			Boot    model.Boot
			Content string
			Disks   []model.CachedDisk
		}{Arch: img.Arch, Boot: img.Boot, Content: img.Content}
		for _, d := range img.BlockDevices {
			disk := model.CachedDisk{Device: d.Device, SizeGiB: d.SizeGiB}
			if d.SnapshotID != "" && img.Content == "" {
				snap, err := get(tx, records.Snapshots, d.SnapshotID, snapshotNotFound(d.SnapshotID))
				if err != nil {
					return err
				}
				disk.LayerID = snap.LayerID
			}
			base.Disks = append(base.Disks, disk)
		}
		text, err := json.Marshal(base)
		if err != nil {
			return fmt.Errorf("encoding what image %s is: %w", imageID, err)
		}
		sum := sha256.Sum256(text)
		digest = "sha256:" + hex.EncodeToString(sum[:])
		return nil
	})
	return digest, err
}

// ResumeBuild finds the last of these keys, which are in the order of the steps,
// that the cache has, and makes an image of it for the build to launch. Without one
// the image's id is empty. What the entry was built on counts as used at the same
// time, too, so that it is not dropped before what is built on it.
func (c *Account) ResumeBuild(ctx context.Context, b *model.Build, keys []string, now time.Time) (entry model.CachedBuild, image string, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		image = ""
		for _, key := range slices.Backward(keys) {
			got, err := records.CachedBuilds.Get(tx, records.CachedKey(c.id, key))
			if errors.Is(err, store.ErrNotFound) || err == nil && got.Stale(c.Now()) {
				continue
			}
			if err != nil {
				return err
			}
			got.Used = now
			if err := records.CachedBuilds.Put(tx, &got); err != nil {
				return err
			}
			if image == "" {
				if image, err = c.imageOfCached(tx, b, &got); err != nil {
					return err
				}
				entry = got
			}
		}
		return nil
	})
	return entry, image, err
}

// imageOfCached is an image of the build's own, which goes with it. Like what is
// baked it does not count against quotas.
func (c *Account) imageOfCached(tx *store.Tx, b *model.Build, entry *model.CachedBuild) (string, error) {
	img, err := get(tx, records.Images, b.StageImage, imageNotFound(b.StageImage))
	if err != nil {
		return "", err
	}
	img = copyOf(&img, model.NewID(model.ImagePrefix), c.id, c.Now())
	img.Name, img.Description, img.State, img.Build = img.ID, "Kept after "+entry.Component+" by "+entry.BuildID, model.ImageTransient, b.ID
	img.BlockDevices = nil
	for _, d := range entry.Disks {
		key, err := keyOfLayer(tx, d.LayerID)
		if err != nil {
			return "", err
		}
		snap := model.Snapshot{
			ID: model.NewID(model.SnapshotPrefix), OwnerID: c.id, LayerID: d.LayerID, Key: key, SizeGiB: d.SizeGiB, State: model.SnapshotCompleted,
			Started: img.Created, Description: "For " + b.ID, ProductCodes: d.ProductCodes,
		}
		if err := records.Snapshots.Put(tx, &snap); err != nil {
			return "", err
		}
		img.BlockDevices = append(img.BlockDevices, model.BlockDevice{Device: d.Device, SnapshotID: snap.ID, SizeGiB: d.SizeGiB, DeleteOnTermination: true, Encrypted: key != ""})
	}
	return img.ID, records.Images.Put(tx, &img)
}

// CheckpointBuild writes the intent to make an image of what a build's instance is
// now, while it runs on. It is transient when it is complete, and goes with the build
// or into the cache.
func (c *Account) CheckpointBuild(ctx context.Context, b *model.Build, instanceID string) (model.Image, error) {
	of := *b
	of.ImageID = model.NewID(model.ImagePrefix)
	return c.CreateImage(ctx, ImageRequest{InstanceID: instanceID, Name: of.ImageID, Description: "A stage of " + b.ID, NoReboot: true, build: &of})
}

// KeepCached makes a cache entry of a checkpoint, which is no image any more, and
// drops what has not been used longest until the account's entries fit. All entries
// of a build count as used when it began. measure gives the bytes that a layer takes.
func (c *Account) KeepCached(ctx context.Context, entry model.CachedBuild, checkpoint string, limits CacheLimits, measure func(layer string) (int64, error)) error {
	entry.OwnerID = c.id
	return c.store.Update(ctx, func(tx *store.Tx) error {
		img, err := get(tx, records.Images, checkpoint, imageNotFound(checkpoint))
		if err != nil {
			return err
		}
		entry.Disks, entry.Bytes = nil, 0
		for _, d := range img.BlockDevices {
			snap, err := get(tx, records.Snapshots, d.SnapshotID, snapshotNotFound(d.SnapshotID))
			if err != nil {
				return err
			}
			bytes, err := measure(snap.LayerID)
			if err != nil {
				return fmt.Errorf("measuring layer %s: %w", snap.LayerID, err)
			}
			entry.Bytes += bytes
			entry.Disks = append(entry.Disks, model.CachedDisk{Device: d.Device, LayerID: snap.LayerID, SizeGiB: snap.SizeGiB, ProductCodes: snap.ProductCodes})
		}
		entry.Created = c.Now()
		if err := errors.Join(c.discardImage(tx, &img), records.Lineages.Delete(tx, img.ID), records.CachedBuilds.Put(tx, &entry)); err != nil {
			return err
		}
		return c.evictCached(tx, limits)
	})
}

// evictCached drops entries until the rest fits. Of entries that were used at the
// same time, one that is built on another goes before that.
func (c *Account) evictCached(tx *store.Tx, limits CacheLimits) error {
	all, err := c.cachedBuilds(tx)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b model.CachedBuild) int {
		return cmp.Or(b.Used.Compare(a.Used), cmp.Compare(a.Depth, b.Depth), cmp.Compare(a.Key, b.Key))
	})
	var sum int64
	now := c.Now()
	for i := range all {
		sum += all[i].Bytes
		if sum <= limits.Bytes && !all[i].Stale(now) {
			continue
		}
		sum -= all[i].Bytes
		if err := records.CachedBuilds.Delete(tx, records.CachedKey(c.id, all[i].Key)); err != nil {
			return err
		}
	}
	return nil
}

func (c *Account) cachedBuilds(tx *store.Tx) ([]model.CachedBuild, error) {
	all, err := records.CachedBuilds.List(tx)
	return slices.DeleteFunc(all, func(e model.CachedBuild) bool { return e.OwnerID != c.id }), err
}

// CachedBuilds returns the account's cache of builds, what was used last first.
func (c *Account) CachedBuilds(ctx context.Context) (all []model.CachedBuild, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		all, err = c.cachedBuilds(tx)
		return err
	})
	slices.SortFunc(all, func(a, b model.CachedBuild) int {
		return cmp.Or(b.Used.Compare(a.Used), cmp.Compare(a.Depth, b.Depth), cmp.Compare(a.Key, b.Key))
	})
	return all, err
}

// ForgetCachedBuilds empties the account's cache, or drops what was made for one
// recipe. It returns how many entries it dropped, and their bytes.
func (c *Account) ForgetCachedBuilds(ctx context.Context, recipe string) (dropped int, bytes int64, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		dropped, bytes = 0, 0
		all, err := c.cachedBuilds(tx)
		for _, e := range all {
			if recipe == "" || e.Recipe == recipe {
				dropped, bytes = dropped+1, bytes+e.Bytes
				err = errors.Join(err, records.CachedBuilds.Delete(tx, records.CachedKey(c.id, e.Key)))
			}
		}
		return err
	})
	return dropped, bytes, err
}

func forgetCached(tx *store.Tx, account string) error {
	all, err := records.CachedBuilds.List(tx)
	for _, e := range all {
		if e.OwnerID == account {
			err = errors.Join(err, records.CachedBuilds.Delete(tx, records.CachedKey(account, e.Key)))
		}
	}
	return err
}
