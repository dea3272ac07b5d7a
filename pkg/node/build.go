package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/bundt/bundt/pkg/bake"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
	"github.com/bundt/bundt/pkg/recipe/archive"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// reconcileBuild bakes a build that is not done. A bake that was interrupted
// begins again: its steps are cached.
func (n *Node) reconcileBuild(ctx context.Context, id string) (time.Duration, error) {
	b, err := n.build(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil || b.Node != n.ID || b.State.Over() || b.StageImage != "" {
		return 0, err
	}
	baking, stop := n.untilCancelled(ctx, id)
	cause := n.bake(baking, &b)
	cancelled := baking.Err() != nil
	stop()
	if ctx.Err() != nil {
		return 0, ctx.Err() // the daemon ends: the build goes on when it is back
	}
	n.wakeCollector()
	if cause != nil && cancelled {
		return 0, n.buildEnded(ctx, &b, model.BuildCancelled, model.Reason{Code: "Client.BuildCancelled", Message: "cancelled on request"})
	}
	if cause != nil {
		n.Logger.Error("building failed", "build", id, "recipe", b.RecipeName, "error", cause)
		return 0, n.buildEnded(ctx, &b, model.BuildFailed, model.Reason{Code: "Client.BuildFailed", Message: cause.Error()})
	}
	return 0, nil
}

// untilCancelled is a context that ends when the build's owner gives it up.
func (n *Node) untilCancelled(ctx context.Context, id string) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	changes := n.Store.Watch(ctx, records.Builds.Name())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if b, err := n.build(ctx, id); err == nil && b.Cancel {
				cancel()
				return
			}
			if _, ok := <-changes; !ok {
				return
			}
		}
	}()
	return ctx, func() { cancel(); <-done }
}

func (n *Node) build(ctx context.Context, id string) (b model.Build, err error) {
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		b, err = records.Builds.Get(tx, id)
		return err
	})
	return b, err
}

func (n *Node) bake(ctx context.Context, b *model.Build) error {
	steps := &stepLog{node: n, build: b}
	if err := steps.save(ctx, func(b *model.Build) { b.State, b.Steps = model.BuildRunning, nil }); err != nil {
		return err
	}
	if err := n.CheckSpace(); err != nil {
		return err
	}
	work := n.workOf(b)
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("clearing the work directory: %w", err)
	}
	if err := os.MkdirAll(work, 0o700); err != nil {
		return fmt.Errorf("making the work directory: %w", err)
	}
	defer os.RemoveAll(work)
	req, err := n.bakeRequest(b, work)
	if err != nil {
		return err
	}
	req.Progress = func(e bake.Event) { steps.event(ctx, e) }
	res, err := n.Bake(ctx, req)
	if err != nil {
		return err
	}
	return n.publish(ctx, b, res, steps)
}

func (n *Node) workOf(b *model.Build) string { return filepath.Join(n.WorkDir, b.ID) }

func (n *Node) bakeRequest(b *model.Build, work string) (bake.Request, error) {
	blob, err := n.Layers.OpenBlob(b.ContextDigest)
	if err != nil {
		return bake.Request{}, fmt.Errorf("opening the recipe: %w", err)
	}
	defer blob.Close()
	fsys, err := archive.Unpack(blob)
	if err != nil {
		return bake.Request{}, err
	}
	rec, err := n.LoadRecipe(fsys)
	if err != nil {
		return bake.Request{}, fmt.Errorf("reading the recipe: %w", err)
	}
	return bake.Request{Recipe: rec, Context: fsys, Arch: b.Arch, CacheDir: n.CacheDir, WorkDir: work, PackageMirror: n.Mirror, Fetch: n.Fetch, CheckSpace: n.CheckSpace}, nil
}

// ArchiveState identifies what the recipe of this digest would find in its
// distribution's archive now, "" if it takes nothing from there.
func (n *Node) ArchiveState(ctx context.Context, contextDigest string, arch model.Arch) (string, error) {
	req, err := n.bakeRequest(&model.Build{ContextDigest: contextDigest, Arch: arch}, "")
	if err != nil {
		return "", err
	}
	return bake.ArchiveState(ctx, req)
}

// publish moves the baked files into the layer store and makes the image.
func (n *Node) publish(ctx context.Context, b *model.Build, res *bake.Result, steps *stepLog) error {
	img := model.Image{
		ID: b.ImageID, OwnerID: b.OwnerID, Name: b.ImageName, Arch: b.Arch, State: model.ImageAvailable,
		Created: n.Now().UTC(), Boot: res.Boot, LoginUser: res.LoginUser, Tags: b.Tags, Consistency: model.ConsistencyStopped,
		ENA: true, Description: b.Describe(), Recipe: b.RecipeRef(nil),
	}
	img.Recipe.Inputs = res.Inputs
	img.Made = &model.Making{Kind: model.MadeOfRecipe, ID: b.ID, Started: b.Created, Finished: img.Created, Version: n.Version}
	if b.Guest {
		// Not the image yet, but what its build instance starts from.
		img.ID, img.Name, img.State, img.Tags, img.Build = model.NewID(model.ImagePrefix), b.ID, model.ImageTransient, nil, b.ID
	}
	img.Boot.Mode = model.BootModeOf(img.Boot.Firmware)
	if b.Guest {
		content, err := contentOf(res)
		if err != nil {
			return fmt.Errorf("reading what was baked: %w", err)
		}
		img.Content = content
	}
	lock, err := n.putLock(ctx, b.Arch, res.Pins)
	if err != nil {
		return fmt.Errorf("storing the lock file: %w", err)
	}
	defer func() { n.unpinBlob(lock) }()
	img.Recipe.Lock = lock
	var layers []model.Layer
	var snaps []model.Snapshot
	defer func() { n.unpin(layers, img.Boot) }()
	if err := n.putBoot(ctx, res, &img.Boot); err != nil {
		return err
	}
	for _, d := range res.Disks {
		l := model.Layer{ID: model.NewID(model.LayerPrefix), Frozen: true, SizeBytes: d.SizeBytes, Node: n.ID}
		layers = append(layers, l)
		n.pin(l.ID)
		if _, err := n.Layers.Import(ctx, l.ID, d.Path); err != nil {
			return fmt.Errorf("storing disk %s: %w", d.Device, err)
		}
		s := model.Snapshot{
			ID: model.NewID(model.SnapshotPrefix), OwnerID: b.OwnerID, LayerID: l.ID, SizeGiB: max(1, (d.SizeBytes+1<<30-1)>>30),
			State: model.SnapshotCompleted, Started: img.Created, Description: "Baked for " + img.ID,
		}
		snaps = append(snaps, s)
		img.BlockDevices = append(img.BlockDevices, model.BlockDevice{Device: d.Device, SnapshotID: s.ID, SizeGiB: s.SizeGiB, DeleteOnTermination: d.DeleteOnTermination})
	}
	img.RootDevice = img.BlockDevices[0].Device
	// Whoever sees the image finds nothing half-done beside it.
	if err := os.RemoveAll(n.workOf(b)); err != nil {
		return fmt.Errorf("removing the work directory: %w", err)
	}
	return n.Store.Update(ctx, func(tx *store.Tx) error {
		for i := range layers {
			if err := records.Layers.Put(tx, &layers[i]); err != nil {
				return err
			}
			if err := records.Snapshots.Put(tx, &snaps[i]); err != nil {
				return err
			}
		}
		if err := records.Images.Put(tx, &img); err != nil {
			return err
		}
		err := records.Lineages.Put(tx, &model.Lineage{ID: img.ID, OwnerID: img.OwnerID, Kind: model.LineageImage, Name: img.Name, Parent: b.RecipeDigest, Created: img.Created, Consistency: img.Consistency})
		if err != nil {
			return err
		}
		done, err := records.Builds.Get(tx, b.ID)
		if err != nil {
			return err
		}
		done.Steps = steps.all()
		if b.Guest {
			done.StageImage = img.ID
		} else {
			done.State, done.Finished = model.BuildAvailable, n.Now().UTC()
		}
		return records.Builds.Put(tx, &done)
	})
}

// contentOf is the digest of baked disks: the same for two bakes that gave the same.
func contentOf(res *bake.Result) (string, error) {
	sum := sha256.New()
	for _, d := range res.Disks {
		f, err := os.Open(d.Path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n", d.Device, d.SizeBytes)
		_, err = io.Copy(sum, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return "", err
		}
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// putBoot stores what a bake has for starting its image without firmware.
func (n *Node) putBoot(ctx context.Context, res *bake.Result, boot *model.Boot) (err error) {
	if boot.KernelDigest, err = n.putBlob(ctx, res.Kernel); err != nil {
		return fmt.Errorf("storing the kernel: %w", err)
	}
	if boot.InitrdDigest, err = n.putBlob(ctx, res.Initrd); err != nil {
		return fmt.Errorf("storing the initrd: %w", err)
	}
	if boot.VMLinuxDigest, err = n.putBlob(ctx, res.VMLinux); err != nil {
		return fmt.Errorf("storing the uncompressed kernel: %w", err)
	}
	return nil
}

// putLock stores the pins of a bake as a lock file; "" if there are none.
func (n *Node) putLock(ctx context.Context, arch model.Arch, pins []recipe.LockedPackage) (digest string, err error) {
	if len(pins) == 0 {
		return "", nil
	}
	lock := recipe.Lock{APIVersion: recipe.APIVersion, Packages: map[model.Arch][]recipe.LockedPackage{arch: pins}}
	text, err := lock.Marshal()
	if err != nil {
		return "", err
	}
	if digest, _, err = n.Layers.PutBlob(ctx, bytes.NewReader(text)); err == nil {
		n.pin(digest)
	}
	return digest, err
}

// Lock is the lock file that has an image baked again of the same packages.
func (n *Node) Lock(img *model.Image) ([]byte, error) {
	if img.Recipe == nil || img.Recipe.Lock == "" {
		return nil, model.Errorf(model.CodeUnsupportedOperation, "The image %s was not baked here of a distribution's packages: there is nothing to lock", img.ID)
	}
	blob, err := n.Layers.OpenBlob(img.Recipe.Lock)
	if err != nil {
		return nil, fmt.Errorf("opening the lock file: %w", err)
	}
	defer blob.Close()
	return io.ReadAll(blob)
}

func (n *Node) putBlob(ctx context.Context, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	digest, _, err := n.Layers.PutBlob(ctx, f)
	if err == nil {
		n.pin(digest)
	}
	return digest, err
}

func (n *Node) buildEnded(ctx context.Context, b *model.Build, state model.BuildState, why model.Reason) error {
	return n.Store.Update(ctx, func(tx *store.Tx) error {
		got, err := records.Builds.Get(tx, b.ID)
		if err != nil {
			return err
		}
		got.State, got.Finished, got.StateReason = state, n.Now().UTC(), why
		if err := records.Builds.Put(tx, &got); err != nil {
			return err
		}
		return records.Names.Delete(tx, records.NameKey(model.ImagePrefix, b.OwnerID, b.ImageName))
	})
}
