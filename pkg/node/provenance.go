package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/catalog/attestation"
	"github.com/bundt/bundt/pkg/catalog/signature"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// Provenance is a signed statement of how an image was made.
type Provenance struct {
	Statement []byte // in-toto's, JSON
	Bundle    []byte // the same, signed
	Summary   string // in one line
	SignedBy  string // name of the trusted key, "" if it is the account's own
}

// Provenance returns how an image was made. Of one that was made here, the account's
// key signs it; of one from a registry it is what came with it, which is looked at
// again: a trusted key must have signed it, and it must be about what the image is.
func (n *Node) Provenance(ctx context.Context, account string, img *model.Image) (p Provenance, err error) {
	content, err := n.contentOfImage(ctx, img)
	if err != nil {
		return p, err
	}
	if img.Made == nil && img.Origin != nil && len(img.Origin.Provenance) > 0 {
		return n.arrivedProvenance(ctx, account, img, content)
	}
	said, err := n.provenance(ctx, img)
	if errors.Is(err, attestation.ErrUnknown) {
		return p, model.Errorf(model.CodeUnsupportedOperation, "How the image %s was made is not known", img.ID).
			WithHint("it is of images that bundt build and bundt create-image make, and of signed ones of these that bundt image pull gets")
	}
	if err != nil {
		return p, err
	}
	statement, err := signature.NewStatement(img.Name, content, attestation.ProvenanceType, said)
	if err != nil {
		return p, err
	}
	key, err := n.imageKey(ctx, account)
	if err != nil {
		return p, err
	}
	if p.Bundle, err = key.Sign(statement); err != nil {
		return p, err
	}
	return p, p.show(&statement)
}

func (n *Node) arrivedProvenance(ctx context.Context, account string, img *model.Image, content string) (p Provenance, err error) {
	var trusted []model.TrustedKey
	err = n.Store.View(ctx, func(tx *store.Tx) (err error) {
		trusted, err = records.TrustedBy(tx, account)
		return err
	})
	if err != nil {
		return p, fmt.Errorf("reading the trusted keys: %w", err)
	}
	keys, err := publicKeys(trusted)
	if err != nil {
		return p, err
	}
	claims := signature.Claims([][]byte{img.Origin.Provenance}, content, keys)
	i := slices.IndexFunc(claims, func(c signature.Claim) bool { return c.PredicateType == attestation.ProvenanceType })
	if i < 0 {
		return p, model.Errorf(model.CodeUnsupportedOperation, "No key that the account trusts has signed how what the image %s is was made", img.ID).
			WithHint("bundt trust ls")
	}
	p.Bundle, p.SignedBy = claims[i].Bundle, trusted[claims[i].Key].Name
	return p, p.show(&claims[i].Statement)
}

// show sets what people read of a statement.
func (p *Provenance) show(s *signature.Statement) error {
	said, err := attestation.ReadProvenance(s)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err = e.Encode(s)
	p.Statement, p.Summary = out.Bytes(), attestation.Summary(said)
	return err
}

// provenance is the predicate of an image that was made here.
func (n *Node) provenance(ctx context.Context, img *model.Image) (json.RawMessage, error) {
	var f attestation.Facts
	if img.Made != nil && img.Made.Parent != nil && len(img.Made.Parent.Layers) > 0 {
		parent := img.Made.Parent
		chains, err := n.contents(ctx, parent.Layers)
		if err != nil && !errors.Is(err, store.ErrNotFound) { // something else may lie below by now
			return nil, err
		}
		if err == nil {
			if f.Parent, err = artifact.Content(parent.Arch, parent.Boot, chains); err != nil {
				return nil, err
			}
			f.ParentLayers = distinct(chains)
		}
	}
	return attestation.Provenance(img, f)
}

// distinct are the contents of chains, each once, in the order of devices and layers.
func distinct(chains map[string][]string) (out []string) {
	for _, device := range slices.Sorted(maps.Keys(chains)) {
		for _, l := range chains[device] {
			if !slices.Contains(out, l) {
				out = append(out, l)
			}
		}
	}
	return out
}

// contentOfImage is the digest of what an image is made of.
func (n *Node) contentOfImage(ctx context.Context, img *model.Image) (string, error) {
	tops := map[string]string{}
	err := n.Store.View(ctx, func(tx *store.Tx) error {
		for _, b := range img.BlockDevices {
			if b.SnapshotID == "" {
				continue
			}
			snap, err := records.Snapshots.Get(tx, b.SnapshotID)
			if err != nil {
				return err
			}
			tops[b.Device] = snap.LayerID
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("reading the disks of %s: %w", img.ID, err)
	}
	chains, err := n.contents(ctx, tops)
	if err != nil {
		return "", err
	}
	return artifact.Content(img.Arch, img.Boot, chains)
}

// contents are those of the layers of disks, given by the last ones, the lowest first.
func (n *Node) contents(ctx context.Context, tops map[string]string) (map[string][]string, error) {
	out := map[string][]string{}
	for device, top := range tops {
		layers, err := n.layersBelow(ctx, top)
		if err != nil {
			return nil, err
		}
		for _, l := range layers {
			out[device] = append(out[device], l.Content)
		}
	}
	return out, nil
}

// layersBelow are a layer and those below it, the lowest first, with their contents'
// digests.
func (n *Node) layersBelow(ctx context.Context, top string) (layers []model.Layer, err error) {
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		layers, err = chain(tx, top)
		return err
	})
	for i := range layers {
		if err == nil {
			err = n.digestLayer(ctx, &layers[i])
		}
	}
	return layers, err
}
