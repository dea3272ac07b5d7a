package cloud

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// SnapshotDeletion is what became of one snapshot when its image was deregistered,
// in EC2's words: "success", or "skipped" if something else still needs it.
type SnapshotDeletion struct {
	SnapshotID string
	Result     string
}

// DeregisterImage takes an image away: into the recycle bin, if the account has
// a rule for that, else for good. Its snapshots stay, as on EC2, unless they are
// to be deleted with it; from the recycle bin they go when the image does.
// Instances that run from it are not affected.
func (c *Account) DeregisterImage(ctx context.Context, id string, deleteSnapshots bool) (done []SnapshotDeletion, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		done, err = c.deregister(tx, id, deleteSnapshots)
		return err
	})
	return done, err
}

// deregister is DeregisterImage in a transaction.
func (c *Account) deregister(tx *store.Tx, id string, deleteSnapshots bool) (done []SnapshotDeletion, err error) {
	img, err := c.ownImage(tx, id)
	if err != nil {
		return nil, err
	}
	now := c.Now()
	if img.State == model.ImagePending || img.Build != "" {
		return nil, model.Errorf(model.CodeImageIDUnavailable, "The image %s is still being made", id).
			WithHint("wait until it is available")
	}
	if p := img.Protection; p.Protects(now) {
		e := model.Errorf("OperationNotPermitted", "The image %s is protected from deregistration", id)
		if p.Enabled {
			return nil, e.WithHint("end the protection first: bundt image unprotect %s", id)
		}
		return nil, e.WithHint("its protection has ended, with a cooldown until %s", p.Until.Format(time.RFC3339))
	}
	if err := records.Images.Delete(tx, id); err != nil {
		return nil, err
	}
	if err := records.Names.Delete(tx, records.NameKey(model.ImagePrefix, img.OwnerID, img.Name)); err != nil {
		return nil, err
	}
	if err := rememberGone(tx, &img, now); err != nil {
		return nil, err
	}
	keep, err := c.retention(tx)
	if err != nil {
		return nil, err
	}
	if keep > 0 {
		return nil, records.BinImages.Put(tx, &model.BinnedImage{Image: img, Entered: now, Exits: now.Add(keep), DeleteSnapshots: deleteSnapshots})
	}
	if deleteSnapshots {
		done, err = c.deleteSnapshotsOf(tx, &img)
	}
	return done, err
}

// goneFor is how long a deregistered image is described as nothing, before its id
// is not found: clients that wait for the end of an image expect to see that.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeImages.html
const goneFor = time.Hour

// rememberGone records that an image was deregistered, and forgets the others
// whose time is over.
func rememberGone(tx *store.Tx, img *model.Image, now time.Time) error {
	all, err := records.GoneImages.List(tx)
	if err != nil {
		return err
	}
	for _, g := range all {
		if !now.Before(g.Until) {
			if err := records.GoneImages.Delete(tx, g.ID); err != nil {
				return err
			}
		}
	}
	return records.GoneImages.Put(tx, &model.GoneImage{ID: img.ID, OwnerID: img.OwnerID, Until: now.Add(goneFor)})
}

// GoneImages returns the ids of the account's images that were deregistered lately.
func (c *Account) GoneImages(ctx context.Context) ([]string, error) {
	all, err := owned(ctx, c, records.GoneImages)
	var ids []string
	for _, g := range all {
		if c.Now().Before(g.Until) {
			ids = append(ids, g.ID)
		}
	}
	return ids, err
}

func (c *Account) deleteSnapshotsOf(tx *store.Tx, img *model.Image) ([]SnapshotDeletion, error) {
	var out []SnapshotDeletion
	for _, b := range img.BlockDevices {
		if b.SnapshotID == "" {
			continue
		}
		snap, err := records.Snapshots.Get(tx, b.SnapshotID)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		user, err := snapshotUser(tx, b.SnapshotID)
		if err != nil {
			return nil, err
		}
		if user != "" || snap.Locked(c.Now()) {
			out = append(out, SnapshotDeletion{b.SnapshotID, "skipped"})
			continue
		}
		if snap.OwnerID != img.OwnerID {
			out = append(out, SnapshotDeletion{b.SnapshotID, "missing-permissions"})
			continue
		}
		if err := c.dropSnapshot(tx, &snap); err != nil {
			return nil, err
		}
		out = append(out, SnapshotDeletion{b.SnapshotID, "success"})
	}
	return out, nil
}

// maxRetention is the longest that EC2's recycle bin keeps anything.
const maxRetention = 365 * 24 * time.Hour

// SetImageRetention says how long the account's deregistered images stay in the
// recycle bin, from now on; 0 for not at all.
func (c *Account) SetImageRetention(ctx context.Context, keep time.Duration) error {
	if keep < 0 || keep > maxRetention {
		return model.Errorf(model.CodeInvalidParameterValue, "A retention of %s: expect 0 to 365 days", keep)
	}
	return c.store.Update(ctx, func(tx *store.Tx) error {
		return records.ImageRules.Put(tx, &model.ImageRetention{OwnerID: c.id, Keep: keep})
	})
}

// ImageRetention is how long the account's deregistered images stay in the recycle bin.
func (c *Account) ImageRetention(ctx context.Context) (keep time.Duration, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		keep, err = c.retention(tx)
		return err
	})
	return keep, err
}

func (c *Account) retention(tx *store.Tx) (time.Duration, error) {
	rule, err := records.ImageRules.Get(tx, c.id)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	return rule.Keep, err
}

// BinnedImages returns the account's images that are in the recycle bin.
func (c *Account) BinnedImages(ctx context.Context) ([]model.BinnedImage, error) {
	all, err := owned(ctx, c, records.BinImages)
	now := c.Now()
	return slices.DeleteFunc(all, func(b model.BinnedImage) bool { return !now.Before(b.Exits) }), err
}

// RestoreImage takes an image out of the recycle bin. Its name must not have been
// given to another one since.
func (c *Account) RestoreImage(ctx context.Context, id string) error {
	if err := model.CheckID(model.ImagePrefix, id); err != nil {
		return model.Errorf(model.CodeImageIDMalformed, "Invalid id: %v", err)
	}
	return c.store.Update(ctx, func(tx *store.Tx) error {
		missing := model.Errorf(model.CodeImageIDNotFound, "The image id '[%s]' is not in the recycle bin", id).
			WithHint("bundt image ls --bin shows what is there")
		b, err := own(c, tx, records.BinImages, id, missing)
		if err != nil {
			return err
		}
		if !c.Now().Before(b.Exits) {
			return missing
		}
		if err := c.takeName(tx, b.Image.Name, id); err != nil {
			return err
		}
		if err := records.BinImages.Delete(tx, id); err != nil {
			return err
		}
		return c.putImage(tx, &b.Image)
	})
}

// binnedSnapshotUser returns the id of an image in the recycle bin that maps the
// snapshot, or "".
func binnedSnapshotUser(tx *store.Tx, snapshotID string) (string, error) {
	binned, err := records.BinImages.List(tx)
	if err != nil {
		return "", err
	}
	for _, b := range binned {
		if slices.ContainsFunc(b.Image.BlockDevices, func(d model.BlockDevice) bool { return d.SnapshotID == snapshotID }) {
			return b.Image.ID, nil
		}
	}
	return "", nil
}
