package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/catalog/attestation"
	"github.com/bundt/bundt/pkg/catalog/registry"
	"github.com/bundt/bundt/pkg/catalog/signature"
	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/sbom"
	"github.com/bundt/bundt/pkg/store"
)

// push is an image on its way to a registry.
type push struct {
	node *Node
	task *model.RegistryTask
	repo *registry.Repository
	work string
	sent map[string]artifact.Blob // by content
	// blobs are those of sent in the order in which they were sent.
	blobs []artifact.Blob
	todo  int // blobs of the image
}

func (p *push) run(ctx context.Context) error {
	var img model.Image
	chains := map[string][]model.Layer{}
	err := p.node.Store.View(ctx, func(tx *store.Tx) (err error) {
		if img, err = records.Images.Get(tx, p.task.ImageID); err != nil {
			return err
		}
		for device, top := range p.task.Layers {
			if chains[device], err = chain(tx, top); err != nil {
				return err
			}
			p.todo += len(chains[device])
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the image: %w", err)
	}
	p.todo += len(img.Boot.Blobs())
	contents := map[string][]string{}
	for _, b := range img.BlockDevices {
		for _, l := range chains[b.Device] {
			blob, err := p.layer(ctx, l)
			if err != nil {
				return err
			}
			contents[b.Device] = append(contents[b.Device], blob.Content)
		}
	}
	for _, digest := range img.Boot.Blobs() {
		if err := p.boot(ctx, digest); err != nil {
			return err
		}
	}
	if err := p.manifest(ctx, &img, &artifact.Image{Config: artifact.NewConfig(&img, contents), Blobs: p.blobs}); err != nil {
		return err
	}
	return p.node.finishRegistryTask(ctx, p.task, nil)
}

// layer sends a layer, unless the registry has it. What it is as a blob is recorded:
// frozen layers never change.
func (p *push) layer(ctx context.Context, l model.Layer) (artifact.Blob, error) {
	if l.Blob != "" {
		known := artifact.Blob{MediaType: artifact.LayerType, Content: l.Content, Size: l.Bytes, Digest: l.Blob, BlobBytes: l.BlobBytes}
		if has, err := p.has(ctx, known); has || err != nil {
			return known, err
		}
	}
	blob, err := p.packed(ctx, artifact.LayerType, func() (io.ReadCloser, error) { return disk.Portable(p.node.Layers.Path(l.ID)) })
	if err != nil {
		return blob, fmt.Errorf("layer %s: %w", l.ID, err)
	}
	return blob, p.node.Store.Update(ctx, func(tx *store.Tx) error {
		now, err := records.Layers.Get(tx, l.ID)
		if err != nil {
			return err
		}
		now.Content, now.Bytes, now.Blob, now.BlobBytes = blob.Content, blob.Size, blob.Digest, blob.BlobBytes
		return records.Layers.Put(tx, &now)
	})
}

// boot sends a kernel or an initial RAM disk.
func (p *push) boot(ctx context.Context, digest string) error {
	_, err := p.packed(ctx, artifact.BootType, func() (io.ReadCloser, error) { return p.node.Layers.OpenBlob(digest) })
	if err != nil {
		return fmt.Errorf("boot file %s: %w", digest, err)
	}
	return nil
}

// has reports whether a blob need not be sent: it was, or the registry has it.
func (p *push) has(ctx context.Context, b artifact.Blob) (bool, error) {
	if _, ok := p.sent[b.Content]; ok {
		return true, nil
	}
	has, err := p.repo.Has(ctx, b.Descriptor())
	if has {
		p.task.Reused += b.BlobBytes
		p.add(b)
	}
	return has, err
}

func (p *push) add(b artifact.Blob) {
	p.sent[b.Content] = b
	p.blobs = append(p.blobs, b)
}

// packed compresses a content, and sends it unless the registry has it.
func (p *push) packed(ctx context.Context, mediaType string, open func() (io.ReadCloser, error)) (blob artifact.Blob, err error) {
	done := min(100*len(p.blobs)/p.todo, 99)
	if err := errors.Join(p.node.CheckSpace(), p.node.registryStep(ctx, p.task, done, "packing %d of %d", len(p.blobs)+1, p.todo)); err != nil {
		return blob, err
	}
	content, err := open()
	if err != nil {
		return blob, err
	}
	defer content.Close()
	f, err := os.OpenFile(filepath.Join(p.work, "blob"), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return blob, disk.NoSpace(err)
	}
	defer f.Close()
	if blob, err = artifact.Pack(ctx, mediaType, f, content); err != nil {
		return blob, disk.NoSpace(err)
	}
	if has, err := p.has(ctx, blob); has || err != nil {
		return blob, err
	}
	if err := p.node.registryStep(ctx, p.task, done, "sending %d of %d: %d MiB", len(p.blobs)+1, p.todo, blob.BlobBytes>>20); err != nil {
		return blob, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return blob, err
	}
	if err := p.repo.Push(ctx, blob.Descriptor(), f); err != nil {
		return blob, err
	}
	p.task.Moved += blob.BlobBytes
	p.add(blob)
	return blob, nil
}

// manifest sends what names all blobs, and what is signed of it.
func (p *push) manifest(ctx context.Context, of *model.Image, img *artifact.Image) error {
	manifest, config, err := artifact.Encode(img)
	if err != nil {
		return err
	}
	if err := p.repo.PushSmall(ctx, artifact.ConfigType, config); err != nil {
		return err
	}
	if p.task.Digest, err = p.repo.PushManifest(ctx, manifest); err != nil || !p.task.Sign {
		return err
	}
	content, err := img.Config.Content()
	if err != nil {
		return err
	}
	if err := p.node.registryStep(ctx, p.task, 99, "signing"); err != nil {
		return err
	}
	return p.sign(ctx, manifest, of, content)
}

// sign attaches what the account says of the image: that it is its own, how it was
// made, and what is in it, as far as that is known.
func (p *push) sign(ctx context.Context, manifest []byte, img *model.Image, content string) error {
	key, err := p.node.imageKey(ctx, p.task.OwnerID)
	if err != nil {
		return err
	}
	subjects := []signature.Subject{signature.NewSubject(p.task.Reference, p.task.Digest), signature.NewSubject(img.Name, content)}
	var statements []signature.Statement
	add := func(subjects []signature.Subject, predicateType string, predicate any) error {
		s, err := signature.NewStatementAbout(subjects, predicateType, predicate)
		statements = append(statements, s)
		return err
	}
	if err := add(subjects[:1], signature.Signed, struct{}{}); err != nil {
		return err
	}
	said, err := p.node.provenance(ctx, img)
	if err == nil {
		err = add(subjects, attestation.ProvenanceType, said)
	}
	if err != nil && !errors.Is(err, attestation.ErrUnknown) {
		return err
	}
	document, err := p.node.SBOM(ctx, img)
	if err == nil {
		if said, err = attestation.Materials(sbom.MediaType, artifact.Digest(document)); err == nil {
			err = errors.Join(p.repo.Attach(ctx, manifest, sbom.MediaType, document), add(subjects, attestation.ReferenceType, said))
		}
	}
	var unreadable *model.Error
	if err != nil && (!errors.As(err, &unreadable) || unreadable.Code != model.CodeUnsupportedOperation) {
		return err
	}
	return p.attach(ctx, manifest, key, statements)
}

// attach signs statements and attaches those that are not there already.
func (p *push) attach(ctx context.Context, manifest []byte, key *signature.Key, statements []signature.Statement) error {
	there, err := p.repo.Attached(ctx, registry.Descriptor(manifest), signature.BundleType, maxBundleBytes)
	if err != nil {
		return err
	}
	claims := signature.Claims(there, p.task.Digest, []*signature.PublicKey{key.Public()})
	for _, s := range statements {
		if slices.ContainsFunc(claims, func(c signature.Claim) bool {
			return c.PredicateType == s.PredicateType && bytes.Equal(c.Predicate, s.Predicate)
		}) {
			continue
		}
		bundle, err := key.Sign(s)
		if err != nil {
			return err
		}
		if err := p.repo.Attach(ctx, manifest, signature.BundleType, bundle); err != nil {
			return err
		}
	}
	return nil
}

// imageKey is the key that an account signs images with.
func (n *Node) imageKey(ctx context.Context, account string) (*signature.Key, error) {
	var rec model.ImageKey
	err := n.Store.View(ctx, func(tx *store.Tx) (err error) {
		rec, err = records.ImageKeys.Get(tx, account)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the account's signing key: %w", err)
	}
	return signature.ParseKey(rec.Key)
}
