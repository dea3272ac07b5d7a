package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/catalog/attestation"
	"github.com/bundt/bundt/pkg/catalog/registry"
	"github.com/bundt/bundt/pkg/catalog/signature"
	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/fetch"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/sbom"
	"github.com/bundt/bundt/pkg/store"
)

// maxBundleBytes bounds a signature.
const maxBundleBytes = 1 << 20

// pull is an image on its way from a registry.
type pull struct {
	node *Node
	task *model.RegistryTask
	repo *registry.Repository
	work string

	img    *artifact.Image
	here   map[place]model.Layer // layers that the account may use, and those made
	files  map[string]bool       // boot files of images that the account may use, by digest
	made   []model.Layer         // in the order in which they were made
	pinned []model.Layer
	boot   model.Boot // the boot files that were stored
	done   int        // blobs
	// said is what the one who signed the image says of it besides.
	said attestation.Attested
}

// place is where in a chain a content is.
type place struct{ content, parent string }

func (p *pull) run(ctx context.Context) error {
	if err := p.node.registryStep(ctx, p.task, 0, "asking the registry"); err != nil {
		return err
	}
	about, manifest, err := p.repo.Manifest(ctx)
	if err != nil {
		return err
	}
	p.task.Digest = about.Digest.String()
	config, err := artifact.ConfigOf(manifest)
	if err != nil {
		return err
	}
	data, err := p.repo.Blob(ctx, config, artifact.MaxConfigBytes)
	if err != nil {
		return err
	}
	if p.img, err = artifact.Decode(manifest, data); err != nil {
		return err
	}
	if err := p.trust(ctx, about); err != nil {
		return err
	}
	if err := p.takeName(ctx); err != nil {
		return err
	}
	if err := p.findLayers(ctx); err != nil {
		return err
	}
	tops := map[string]model.Layer{}
	for _, d := range p.img.Config.Disks {
		if len(d.Layers) == 0 {
			continue
		}
		if tops[d.Device], err = p.disk(ctx, d); err != nil {
			return fmt.Errorf("disk %s: %w", d.Device, err)
		}
	}
	if err := p.bootFiles(ctx); err != nil {
		return err
	}
	return p.publish(ctx, tops)
}

// trust finds out who vouches for the image: of a product that is its publisher,
// whose index says the digest. Regions are the owner's own.
func (p *pull) trust(ctx context.Context, about ocispec.Descriptor) error {
	if p.task.Copy != nil {
		return nil
	}
	product := p.task.Product
	if product == nil {
		return p.verify(ctx, about)
	}
	if p.task.SignedBy = product.Publisher; p.img.Config.Architecture != product.Arch {
		return fmt.Errorf("%w: it is for %s, and its publisher says %s", artifact.ErrInvalid, p.img.Config.Architecture, product.Arch)
	}
	return nil
}

// verify looks for a signature of a key that the owner trusts.
func (p *pull) verify(ctx context.Context, about ocispec.Descriptor) error {
	var trusted []model.TrustedKey
	err := p.node.Store.View(ctx, func(tx *store.Tx) (err error) {
		trusted, err = records.TrustedBy(tx, p.task.OwnerID)
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the trusted keys: %w", err)
	}
	if p.task.SignedBy = ""; len(trusted) > 0 {
		bundles, err := p.repo.Attached(ctx, about, signature.BundleType, maxBundleBytes)
		if err != nil {
			return err
		}
		if err := p.claims(trusted, bundles); err != nil {
			return err
		}
	}
	if p.task.RequireSignature && p.task.SignedBy == "" {
		return fmt.Errorf("%w: none of the %d keys that this account trusts has signed %s (bundt trust ls)", signature.ErrUntrusted, len(trusted), p.task.Digest)
	}
	return nil
}

// maxProvenanceBytes bounds the bundle that is kept with an image.
const maxProvenanceBytes = 256 << 10

// claims takes what trusted keys say: whose image it is, and how it was made. Without
// the first the second is worth nothing.
func (p *pull) claims(trusted []model.TrustedKey, bundles [][]byte) error {
	keys, err := publicKeys(trusted)
	if err != nil {
		return err
	}
	i := signature.Signer(bundles, p.task.Digest, keys)
	if i < 0 {
		return nil
	}
	p.task.SignedBy = trusted[i].Name
	if p.said, err = attestation.Read(signature.Claims(bundles, p.task.Digest, keys[i:i+1]), sbom.MediaType); err != nil {
		return err
	}
	if n := len(p.said.Bundle); n > maxProvenanceBytes {
		return fmt.Errorf("%w: the provenance has %d bytes; %d are the most", artifact.ErrInvalid, n, maxProvenanceBytes)
	}
	return nil
}

func publicKeys(trusted []model.TrustedKey) (keys []*signature.PublicKey, err error) {
	for _, t := range trusted {
		k, err := signature.ParsePublicKey([]byte(t.PublicKey))
		if err != nil {
			return nil, fmt.Errorf("reading the trusted key %s: %w", t.Name, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// takeName has the image be called as it was where it came from, if the request did
// not say a name.
func (p *pull) takeName(ctx context.Context) error {
	if p.task.ImageName != "" || p.task.Copy != nil {
		return nil
	}
	p.task.ImageName = p.img.Config.Name
	return p.node.saveRegistryTask(ctx, p.task, func(tx *store.Tx) error {
		return records.TakeImageName(tx, p.task.OwnerID, p.task.ImageName, p.task.ImageID)
	})
}

// findLayers finds the layers and boot files that need not be fetched: those of
// snapshots and images that the image's owner may use. What others have is fetched,
// though it is here: who knows a digest has not got what it is of.
func (p *pull) findLayers(ctx context.Context) error {
	return p.node.Store.View(ctx, func(tx *store.Tx) error {
		images, err := records.Images.List(tx)
		if err != nil {
			return err
		}
		p.files = map[string]bool{}
		for _, i := range images {
			if i.State != model.ImageAvailable || !i.UsableBy(p.task.ImageOwner()) {
				continue
			}
			for _, b := range i.Boot.Blobs() {
				p.files[b] = true
			}
		}
		p.here = map[place]model.Layer{}
		snaps, err := records.Snapshots.List(tx)
		if err != nil {
			return err
		}
		for _, s := range snaps {
			if s.State != model.SnapshotCompleted || !s.UsableBy(p.task.ImageOwner()) {
				continue
			}
			layers, err := chain(tx, s.LayerID)
			if err != nil {
				return err
			}
			for _, l := range layers {
				if l.Content != "" && l.Frozen && l.Node == p.node.ID {
					p.here[place{l.Content, l.Parent}] = l
				}
			}
		}
		return nil
	})
}

// disk makes the layers of a disk and returns the topmost.
func (p *pull) disk(ctx context.Context, d artifact.Disk) (top model.Layer, err error) {
	for _, content := range d.Layers {
		blob, ok := p.img.Blob(content)
		if !ok {
			return top, fmt.Errorf("the content %s has no blob", content)
		}
		at := place{content, top.ID}
		l, ok := p.here[at]
		if ok {
			p.task.Reused += blob.BlobBytes
			p.done++
			p.pin(l)
		} else if l, err = p.layer(ctx, blob, top); err != nil {
			return top, err
		}
		p.here[at], top = l, l
	}
	if top.SizeBytes > d.SizeGiB<<30 {
		return top, fmt.Errorf("it has %d bytes and shall have %d GiB", top.SizeBytes, d.SizeGiB)
	}
	return top, nil
}

func (p *pull) pin(l model.Layer) {
	p.node.pin(l.ID)
	p.pinned = append(p.pinned, l)
}

func (p *pull) unpin() { p.node.unpin(p.pinned, p.boot) }

// layer fetches a layer that lies on another one, none if its id is empty.
func (p *pull) layer(ctx context.Context, blob artifact.Blob, parent model.Layer) (model.Layer, error) {
	l := model.Layer{
		ID: model.NewID(model.LayerPrefix), Parent: parent.ID, Frozen: true, Node: p.node.ID,
		Content: blob.Content, Bytes: blob.Size,
	}
	if !blob.Plain() {
		l.Blob, l.BlobBytes = blob.Digest, blob.BlobBytes
	}
	path := filepath.Join(p.work, l.ID)
	if err := p.fetch(ctx, blob, path); err != nil {
		return l, err
	}
	p.pin(l)
	var info disk.Info
	var err error
	if parent.ID == "" {
		info, err = p.node.Layers.Import(ctx, l.ID, path)
	} else {
		info, err = p.node.Layers.ImportOverlay(ctx, l.ID, path, parent.ID)
	}
	if err != nil {
		return l, err
	}
	l.SizeBytes = info.SizeBytes
	p.made = append(p.made, l)
	return l, nil
}

// fetch gets a blob and unpacks it.
func (p *pull) fetch(ctx context.Context, blob artifact.Blob, path string) error {
	arrived, unlock, err := p.node.arriving(p.task.OwnerID, blob.Digest)
	if err != nil {
		return err
	}
	defer unlock()
	if err := p.arrive(ctx, blob, arrived); err != nil {
		return disk.NoSpace(err)
	}
	if err := p.unpack(ctx, blob, arrived, path); err != nil {
		return disk.NoSpace(err)
	}
	p.done++
	p.task.Moved += blob.BlobBytes
	return os.Remove(arrived)
}

// The tries at a blob, each of which goes on where the one before ended, and the
// pause after the first, which doubles.
const (
	arriveTries = 5
	arrivePause = time.Second
)

// arrive gets a blob, over the lines that break.
func (p *pull) arrive(ctx context.Context, blob artifact.Blob, path string) error {
	percent := min(100*p.done/len(p.img.Blobs), 99)
	var refused error // not by the registry
	progress := func(bytes int64) error {
		refused = p.node.CheckSpace()
		if refused == nil {
			refused = p.node.registryStep(ctx, p.task, percent, "getting %d of %d: %d of %d MiB", p.done+1, len(p.img.Blobs), bytes>>20, blob.BlobBytes>>20)
		}
		return refused
	}
	if err := progress(0); err != nil {
		return err
	}
	for try, pause := 1, arrivePause; ; try, pause = try+1, 2*pause {
		err := p.repo.Fetch(ctx, blob.Descriptor(), path, progress)
		if err == nil || refused != nil || try == arriveTries || errors.Is(err, registry.ErrNotFound) || errors.Is(err, fetch.ErrRefused) || errors.Is(disk.NoSpace(err), disk.ErrNoSpace) {
			return err
		}
		p.node.Logger.Warn("getting a blob again", "task", p.task.ID, "blob", blob.Digest, "try", try, "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (p *pull) unpack(ctx context.Context, blob artifact.Blob, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(blob.Unpack(ctx, out, in, p.node.CheckSpace), out.Close())
}

// bootFiles gets the kernel and the initial RAM disk.
func (p *pull) bootFiles(ctx context.Context) error {
	b := p.img.Config.Boot
	for _, f := range []struct {
		content string
		to      *string
	}{{b.Kernel, &p.boot.KernelDigest}, {b.VMLinux, &p.boot.VMLinuxDigest}, {b.Initrd, &p.boot.InitrdDigest}} {
		if f.content == "" {
			continue
		}
		digest, err := p.bootFile(ctx, f.content)
		if err != nil {
			return fmt.Errorf("boot file %s: %w", f.content, err)
		}
		*f.to = digest
	}
	return nil
}

func (p *pull) bootFile(ctx context.Context, content string) (string, error) {
	blob, ok := p.img.Blob(content)
	if !ok {
		return "", errors.New("it has no blob")
	}
	if p.files[content] {
		p.node.pin(content)
		path, err := p.node.Layers.BlobPath(content)
		if err == nil {
			_, err = os.Stat(path)
		}
		if err == nil {
			p.task.Reused += blob.BlobBytes
			p.done++
			return content, nil
		}
		p.node.unpinBlob(content) // it was forgotten meanwhile
	}
	path := filepath.Join(p.work, "boot")
	if err := p.fetch(ctx, blob, path); err != nil {
		return "", err
	}
	digest, err := p.node.putBlob(ctx, path)
	return digest, errors.Join(err, os.Remove(path))
}

// publish makes the image of the layers that are here.
func (p *pull) publish(ctx context.Context, tops map[string]model.Layer) error {
	img := p.img.Config.Image()
	img.ID, img.OwnerID, img.Name, img.Created = p.task.ImageID, p.task.ImageOwner(), p.task.ImageName, p.node.Now().UTC()
	if p.task.SignedBy == "" {
		img.Recipe = nil // anybody can claim one
	}
	if img.Recipe != nil {
		img.Recipe.Lock = "" // which stayed where it was baked
	}
	img.Origin = &model.ImageOrigin{Reference: p.task.Reference, Digest: p.task.Digest, SignedBy: p.task.SignedBy, Baked: p.img.Config.Created, Provenance: p.said.Bundle, Inputs: attestation.Inputs(p.said.Provenance)}
	if product := p.task.Product; product != nil {
		img.Origin.PublisherID, img.Launch.Public = product.PublisherID, true
		if !product.Community {
			img.ProductCodes = []string{product.Code}
		}
	}
	var snaps []model.Snapshot
	for i := range img.BlockDevices {
		b := &img.BlockDevices[i]
		top, ok := tops[b.Device]
		if !ok {
			continue
		}
		s := model.Snapshot{
			ID: model.NewID(model.SnapshotPrefix), OwnerID: img.OwnerID, LayerID: top.ID, SizeGiB: max(1, (top.SizeBytes+1<<30-1)>>30),
			State: model.SnapshotCompleted, Started: img.Created, Description: "Pulled from " + p.task.Reference, Consistency: img.Consistency,
			ProductCodes: img.ProductCodes,
		}
		snaps, b.SnapshotID = append(snaps, s), s.ID
	}
	return p.node.finishRegistryTask(ctx, p.task, func(tx *store.Tx) error { return p.put(tx, &img, snaps) })
}

func (p *pull) put(tx *store.Tx, img *model.Image, snaps []model.Snapshot) error {
	for i := range p.made {
		if err := records.Layers.Put(tx, &p.made[i]); err != nil {
			return err
		}
	}
	for _, l := range p.pinned {
		// One that was here may have been forgotten since.
		if _, err := records.Layers.Get(tx, l.ID); err != nil {
			return fmt.Errorf("reading layer %s: %w", l.ID, err)
		}
	}
	if p.task.Copy != nil {
		return p.completeCopy(tx, img, snaps)
	}
	for i := range snaps {
		if err := records.Snapshots.Put(tx, &snaps[i]); err != nil {
			return err
		}
	}
	if err := putLineage(tx, img); err != nil {
		return err
	}
	if err := putProductImage(tx, p.task.Product, p.task.Reference, img.ID); err != nil {
		return err
	}
	return records.Images.Put(tx, img)
}

// putProductImage notes that a product's image is here.
func putProductImage(tx *store.Tx, p *model.ProductImage, reference, image string) error {
	if p == nil {
		return nil
	}
	product, err := records.Products.Get(tx, p.Code)
	if err != nil {
		return fmt.Errorf("reading the product %s: %w", p.Code, err)
	}
	for i := range product.Versions {
		if v := &product.Versions[i]; v.Image == reference {
			v.ImageID = image
		}
	}
	return records.Products.Put(tx, &product)
}

// putLineage remembers an image and the recipe that it comes from.
func putLineage(tx *store.Tx, img *model.Image) error {
	l := &model.Lineage{ID: img.ID, OwnerID: img.OwnerID, Kind: model.LineageImage, Name: img.Name, Created: img.Created, Consistency: img.Consistency}
	if img.Recipe != nil {
		l.Parent = img.Recipe.Digest
		_, err := records.Lineages.Get(tx, l.Parent)
		if errors.Is(err, store.ErrNotFound) {
			err = records.Lineages.Put(tx, &model.Lineage{
				ID: l.Parent, Kind: model.LineageRecipe, Name: img.Recipe.Name + " " + img.Recipe.Version, Created: img.Created,
			})
		}
		if err != nil {
			return err
		}
	}
	return records.Lineages.Put(tx, l)
}
