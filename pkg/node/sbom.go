package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/inventory"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/rootfs"
	"github.com/bundt/bundt/pkg/sbom"
	"github.com/bundt/bundt/pkg/store"
)

// SBOM lists what is in an image, as an SPDX document, read from its root disk. It is
// an UnsupportedOperation error if that has no file system that can be read.
func (n *Node) SBOM(ctx context.Context, img *model.Image) ([]byte, error) {
	select {
	case n.diffs <- struct{}{}:
		defer func() { <-n.diffs }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	layers, err := n.chainOf(ctx, img, img.RootDevice)
	if err != nil {
		return nil, err
	}
	if len(layers) == 0 {
		return nil, model.Errorf(model.CodeUnsupportedOperation, "The image %s has no root volume that could be read", img.ID)
	}
	found, err := n.inventory(ctx, img, layers[len(layers)-1].ID)
	if err != nil {
		return nil, err
	}
	about := &sbom.Image{Arch: string(img.Arch), Created: img.Baked(), Taken: takenOf(img), Inventory: found}
	for i, l := range layers {
		about.Layers = append(about.Layers, sbom.File{Name: fmt.Sprint(i + 1), Digest: l.Content})
	}
	for _, f := range []sbom.File{{Name: "kernel", Digest: img.Boot.KernelDigest}, {Name: "uncompressed kernel", Digest: img.Boot.VMLinuxDigest}, {Name: "initial RAM disk", Digest: img.Boot.InitrdDigest}} {
		if f.Digest != "" {
			about.Boot = append(about.Boot, f)
		}
	}
	return sbom.Encode(about)
}

func (n *Node) inventory(ctx context.Context, img *model.Image, top string) (*inventory.Inventory, error) {
	_, d, err := n.openChain(ctx, top)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	system, err := rootfs.Open(d, d.Size())
	if errors.Is(err, rootfs.ErrUnknown) {
		return nil, model.Errorf(model.CodeUnsupportedOperation, "What is in the image %s cannot be read: %v", img.ID, err)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the root disk of %s: %w", img.ID, err)
	}
	return inventory.Read(ctx, system)
}

// takenOf are the packages that the image's recipe has taken files of.
func takenOf(img *model.Image) (out []sbom.Taken) {
	for _, i := range img.Materials() {
		field := strings.Fields(i.Name)
		if len(field) < 3 || field[0] != "package" {
			continue
		}
		out = append(out, sbom.Taken{Name: field[1], Version: field[2], URL: i.URI, Digest: i.Digest})
	}
	return out
}

// chainOf are the layers of a disk of an image, the lowest first, with their contents'
// digests; none if the disk is blank.
func (n *Node) chainOf(ctx context.Context, img *model.Image, device string) (layers []model.Layer, err error) {
	i := slices.IndexFunc(img.BlockDevices, func(b model.BlockDevice) bool { return b.Device == device })
	if i < 0 || img.BlockDevices[i].SnapshotID == "" {
		return nil, nil
	}
	var top string
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		snap, err := records.Snapshots.Get(tx, img.BlockDevices[i].SnapshotID)
		top = snap.LayerID
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading disk %s of %s: %w", device, img.ID, err)
	}
	return n.layersBelow(ctx, top)
}

// digestLayer sets the digest of a frozen layer's content, which never changes, and
// records it.
func (n *Node) digestLayer(ctx context.Context, l *model.Layer) error {
	if l.Content != "" {
		return nil
	}
	if !l.Frozen {
		return fmt.Errorf("layer %s is being written to", l.ID)
	}
	r, err := disk.Portable(n.Layers.Path(l.ID))
	if err != nil {
		return err
	}
	defer r.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, contextReader{ctx, r})
	if err != nil {
		return fmt.Errorf("reading layer %s: %w", l.ID, err)
	}
	l.Content, l.Bytes = "sha256:"+hex.EncodeToString(sum.Sum(nil)), size
	return n.Store.Update(ctx, func(tx *store.Tx) error {
		now, err := records.Layers.Get(tx, l.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil // it goes with the image
		}
		if err != nil {
			return err
		}
		now.Content, now.Bytes = l.Content, l.Bytes
		return records.Layers.Put(tx, &now)
	})
}

// contextReader ends when nobody waits any more.
type contextReader struct {
	ctx context.Context //nolint:containedctx // of one call
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
