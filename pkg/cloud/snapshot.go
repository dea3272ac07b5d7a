package cloud

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// SnapshotRequest is what CreateSnapshot asks for.
type SnapshotRequest struct {
	VolumeID    string
	Description string
	Tags        model.Tags
}

// CreateSnapshot writes the intent to take a snapshot of a volume and returns it
// as pending.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSnapshot.html
func (c *Account) CreateSnapshot(ctx context.Context, r SnapshotRequest) (snap model.Snapshot, err error) {
	if err := checkTags(r.Tags); err != nil {
		return snap, err
	}
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		vol, err := c.volume(tx, r.VolumeID)
		if err != nil {
			return err
		}
		if vol.State != model.VolumeAvailable && vol.State != model.VolumeInUse {
			return incorrectState(&vol, "available' or 'in-use")
		}
		if err := staying(tx, &vol); err != nil {
			return err
		}
		snap = pendingSnapshot(&vol, model.NewID(model.SetPrefix), c.now().UTC())
		snap.Description, snap.Tags = r.Description, r.Tags
		return c.addSnapshot(tx, &snap)
	})
	return snap, err
}

// staying refuses a volume whose instance is being terminated: it may be gone
// before the node gets to it.
func staying(tx *store.Tx, vol *model.Volume) error {
	if vol.Attachment == nil {
		return nil
	}
	i, err := records.Instances.Get(tx, vol.Attachment.InstanceID)
	if err != nil {
		return err
	}
	if i.State == model.InstanceShuttingDown {
		return model.Errorf(model.CodeIncorrectState, "Volume '%s' is attached to %s, which is shutting down", vol.ID, i.ID)
	}
	return nil
}

// pendingSnapshot is a snapshot of the volume that the node is to take together
// with the others of its set.
func pendingSnapshot(vol *model.Volume, set string, now time.Time) model.Snapshot {
	return model.Snapshot{
		ID: model.NewID(model.SnapshotPrefix), OwnerID: vol.OwnerID, VolumeID: vol.ID, Set: set, SizeGiB: vol.SizeGiB,
		State: model.SnapshotPending, Started: now, ProductCodes: vol.ProductCodes, Key: vol.Key,
	}
}

// SnapshotsRequest is what CreateSnapshots asks for: one moment of several
// volumes of an instance.
type SnapshotsRequest struct {
	InstanceID    string
	ExcludeRoot   bool
	Exclude       []string // ids of data volumes
	Description   string
	Tags          model.Tags
	CopyTagsOfVol bool // each snapshot gets its volume's tags, too
}

// CreateSnapshots writes the intent to take crash-consistent snapshots of an
// instance's volumes, all of one moment, and returns them as pending.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSnapshots.html
func (c *Account) CreateSnapshots(ctx context.Context, r SnapshotsRequest) (snaps []model.Snapshot, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		i, err := c.instance(tx, r.InstanceID)
		if err != nil {
			return err
		}
		if i.State != model.InstanceRunning && i.State != model.InstanceStopped {
			return wrongState(&i, "snapshotted")
		}
		if err := checkExcluded(&i, r.Exclude); err != nil {
			return err
		}
		snaps, err = c.snapshotInstance(tx, &i, r)
		return err
	})
	return snaps, err
}

func checkExcluded(i *model.Instance, ids []string) error {
	for _, id := range ids {
		at := slices.IndexFunc(i.Volumes, func(v model.InstanceVolume) bool { return v.VolumeID == id })
		switch {
		case model.CheckID(model.VolumePrefix, id) != nil:
			return model.Errorf(model.CodeVolumeIDMalformed, "Invalid id: \"%s\"", id)
		case at < 0:
			return model.Errorf(model.CodeInvalidParameterValue, "The volume '%s' is not attached to instance '%s'", id, i.ID)
		case model.SameDevice(i.Volumes[at].Device, i.RootDevice):
			return model.Errorf(model.CodeInvalidParameterValue, "The volume '%s' is the root volume, no data volume", id).WithHint("leave it out by ExcludeBootVolume")
		}
	}
	return nil
}

func (c *Account) snapshotInstance(tx *store.Tx, i *model.Instance, r SnapshotsRequest) (snaps []model.Snapshot, err error) {
	set, now := model.NewID(model.SetPrefix), c.now().UTC()
	for _, v := range i.Volumes {
		if slices.Contains(r.Exclude, v.VolumeID) || r.ExcludeRoot && model.SameDevice(v.Device, i.RootDevice) {
			continue
		}
		vol, err := c.volume(tx, v.VolumeID)
		if err != nil {
			return nil, err
		}
		if vol.Attachment.State.Leaving() {
			continue
		}
		snap := pendingSnapshot(&vol, set, now)
		snap.Description, snap.Tags = r.Description, model.Tags{}
		if r.CopyTagsOfVol {
			maps.Copy(snap.Tags, vol.Tags)
		}
		maps.Copy(snap.Tags, r.Tags)
		if err := checkTags(snap.Tags); err != nil {
			return nil, err
		}
		if err := c.addSnapshot(tx, &snap); err != nil {
			return nil, err
		}
		snaps = append(snaps, snap)
	}
	if len(snaps) == 0 {
		return nil, model.Errorf(model.CodeInvalidParameterCombination, "Every volume of instance '%s' is excluded", i.ID)
	}
	return snaps, nil
}

// CopyRequest is what CopySnapshot asks for.
type CopyRequest struct {
	SourceID    string
	Region      string // of the source
	Description string
	Encryption  Encryption
	Tags        model.Tags
}

// CopySnapshot makes another snapshot of the same content, owned by this
// account. Both refer to one frozen layer, so it is completed at once, whatever
// its size, and outlives the source; unless the copy is to be encrypted and the
// source is not: then the node writes it anew.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CopySnapshot.html
func (c *Account) CopySnapshot(ctx context.Context, r CopyRequest) (snap model.Snapshot, err error) {
	if err := checkTags(r.Tags); err != nil {
		return snap, err
	}
	here, err := c.here(r.Region)
	if err != nil {
		return snap, err
	}
	if !here {
		return c.copySnapshotFrom(ctx, r)
	}
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		src, err := c.usableSnapshot(tx, r.SourceID)
		if err != nil {
			return err
		}
		snap = model.Snapshot{
			ID: model.NewID(model.SnapshotPrefix), OwnerID: c.id, LayerID: src.LayerID, SizeGiB: src.SizeGiB,
			State: model.SnapshotCompleted, Started: c.now().UTC(), Description: r.Description, Tags: r.Tags, Consistency: src.Consistency,
			ProductCodes: src.ProductCodes, Key: src.Key,
		}
		if err := c.encryptCopy(tx, &snap, r.Encryption); err != nil {
			return err
		}
		return c.addSnapshot(tx, &snap)
	})
	return snap, err
}

// encryptCopy makes a copy of a snapshot one that is yet to be written with a key of
// its own, if it is to be encrypted and its source is not.
func (c *Account) encryptCopy(tx *store.Tx, snap *model.Snapshot, e Encryption) error {
	key, err := c.dataKey(tx, snap.Key, e)
	if err != nil || key == snap.Key {
		return err
	}
	snap.Key, snap.CopyOf, snap.LayerID, snap.State = key, snap.LayerID, "", model.SnapshotPending
	return nil
}

// Snapshot returns one of the account's own snapshots.
func (c *Account) Snapshot(ctx context.Context, id string) (s model.Snapshot, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		s, err = c.ownSnapshot(tx, id)
		return err
	})
	return s, err
}

func (c *Account) ownSnapshot(tx *store.Tx, id string) (model.Snapshot, error) {
	if err := model.CheckID(model.SnapshotPrefix, id); err != nil {
		return model.Snapshot{}, model.Errorf(model.CodeSnapshotIDMalformed, "Invalid id: %v", err)
	}
	return own(c, tx, records.Snapshots, id, snapshotNotFound(id))
}

// accountID is the form of an account's id.
var accountID = regexp.MustCompile(`^[0-9]{12}$`)

// ShareSnapshot adds and removes who may make volumes of a snapshot: accounts'
// ids, and "all" for everybody.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifySnapshotAttribute.html
func (c *Account) ShareSnapshot(ctx context.Context, id string, add, remove []string) error {
	for _, who := range slices.Concat(add, remove) {
		if who != everybody && !accountID.MatchString(who) {
			return model.Errorf(model.CodeInvalidParameterValue, "Invalid user or group '%s': it must be an account's twelve digits, or the group all", who)
		}
	}
	return c.store.Update(ctx, func(tx *store.Tx) error {
		s, err := c.ownSnapshot(tx, id)
		if err != nil {
			return err
		}
		if len(add) > 0 && s.Key != "" {
			return model.Errorf(model.CodeInvalidParameterValue, "The snapshot %s is encrypted with the key of its account, and cannot be shared", id).
				WithHint("share what is in it: copy it in a guest to a volume that is not encrypted")
		}
		s.CreateVolume = share(s.CreateVolume, add, remove)
		return records.Snapshots.Put(tx, &s)
	})
}

// everybody is the group of all accounts.
const everybody = "all"

func share(s model.Sharing, add, remove []string) model.Sharing {
	s.Accounts = slices.Clone(s.Accounts)
	for _, who := range add {
		switch {
		case who == everybody:
			s.Public = true
		case !slices.Contains(s.Accounts, who):
			s.Accounts = append(s.Accounts, who)
		}
	}
	for _, who := range remove {
		if who == everybody {
			s.Public = false
		}
		s.Accounts = slices.DeleteFunc(s.Accounts, func(a string) bool { return a == who })
	}
	return s
}

// UnshareSnapshot makes a snapshot its owner's alone.
func (c *Account) UnshareSnapshot(ctx context.Context, id string) error {
	return c.store.Update(ctx, func(tx *store.Tx) error {
		s, err := c.ownSnapshot(tx, id)
		if err != nil {
			return err
		}
		s.CreateVolume = model.Sharing{}
		return records.Snapshots.Put(tx, &s)
	})
}

// usableSnapshot returns a completed snapshot that the account may make volumes of.
func (c *Account) usableSnapshot(tx *store.Tx, id string) (model.Snapshot, error) {
	if err := model.CheckID(model.SnapshotPrefix, id); err != nil {
		return model.Snapshot{}, model.Errorf(model.CodeSnapshotIDMalformed, "Invalid id: %v", err)
	}
	snap, err := get(tx, records.Snapshots, id, snapshotNotFound(id))
	if err != nil {
		return snap, err
	}
	if !snap.UsableBy(c.id) {
		return model.Snapshot{}, snapshotNotFound(id)
	}
	if snap.State != model.SnapshotCompleted {
		return snap, model.Errorf(model.CodeIncorrectState, "Snapshot %s is %s, not completed", id, snap.State)
	}
	return snap, nil
}

// snapshotUser returns the id of an image that maps the snapshot, or "".
func snapshotUser(tx *store.Tx, snapshotID string) (string, error) {
	images, err := records.Images.List(tx)
	if err != nil {
		return "", err
	}
	for _, img := range images {
		for _, b := range img.BlockDevices {
			if b.SnapshotID == snapshotID {
				return img.ID, nil
			}
		}
	}
	return binnedSnapshotUser(tx, snapshotID)
}

// DeleteSnapshot forgets a snapshot that no image uses. Volumes made from it are
// not affected: its layer stays for as long as one of them needs it.
func (c *Account) DeleteSnapshot(ctx context.Context, id string) error {
	return c.store.Update(ctx, func(tx *store.Tx) error {
		snap, err := c.ownSnapshot(tx, id)
		if err != nil {
			return err
		}
		if snap.Locked(c.Now()) {
			return locked(&snap)
		}
		user, err := snapshotUser(tx, id)
		if err != nil {
			return err
		}
		if user != "" {
			return model.Errorf(model.CodeSnapshotInUse, "The snapshot %s is currently in use by %s", id, user).
				WithHint("deregister the image first: bundt image delete %s", user)
		}
		return c.dropSnapshot(tx, &snap)
	})
}

func snapshotNotFound(id string) *model.Error {
	return model.Errorf(model.CodeSnapshotNotFound, "The snapshot '%s' does not exist.", id)
}
