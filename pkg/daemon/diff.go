package daemon

import (
	"context"
	"slices"

	"github.com/bundt/bundt/pkg/api/actions"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/imagediff"
	"github.com/bundt/bundt/pkg/layer"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/rootfs"
	"github.com/bundt/bundt/pkg/sbom"
)

func (v *view) Diff(ctx context.Context, c actions.Comparison) (*bundttypes.DiffImagesOutput, error) {
	found, chains, err := v.daemon.node.Diff(ctx, c.Before, c.After, imagediff.Options{Path: c.Path, Content: c.Content, MaxFiles: c.MaxFiles})
	if err != nil {
		return nil, err
	}
	out := &bundttypes.DiffImagesOutput{MoreFiles: int32(found.More), BeforeLayers: layersOf(chains[0], chains[1]), AfterLayers: layersOf(chains[1], chains[0])}
	for _, f := range found.Files {
		out.Files = append(out.Files, bundttypes.FileDiff{
			Path: f.Path, Kind: string(f.Kind), What: f.What, Diff: f.Diff, Before: fileState(f.Before), After: fileState(f.After),
		})
	}
	for _, i := range found.Items {
		out.Items = append(out.Items, bundttypes.ItemDiff{What: i.What, Name: i.Name, Kind: string(i.Kind), Before: i.Before, After: i.After})
	}
	return out, nil
}

func (v *view) SBOM(ctx context.Context, img *model.Image) (document []byte, mediaType string, err error) {
	document, err = v.daemon.node.SBOM(ctx, img)
	return document, sbom.MediaType, err
}

func (v *view) Provenance(ctx context.Context, account string, img *model.Image) (*bundttypes.GetImageProvenanceOutput, error) {
	p, err := v.daemon.node.Provenance(ctx, account, img)
	if err != nil {
		return nil, err
	}
	return &bundttypes.GetImageProvenanceOutput{Statement: string(p.Statement), Bundle: string(p.Bundle), SignedBy: p.SignedBy, Summary: p.Summary}, nil
}

func (v *view) Lock(img *model.Image) ([]byte, error) { return v.daemon.node.Lock(img) }

func (v *view) CheckLayer(ctx context.Context, id string) (bundttypes.CheckedLayer, error) {
	c, err := v.daemon.node.CheckLayer(ctx, id)
	return bundttypes.CheckedLayer{State: string(c.State), Message: c.Message, Bytes: c.Bytes, CheckedAt: &c.Checked}, err
}

func (v *view) LayerBytes(id string) (int64, error) {
	info, err := v.daemon.layers.Info(id)
	return info.AllocatedBytes, err
}

func layersOf(chain, other []layer.Info) (out []bundttypes.ImageLayer) {
	for _, l := range chain {
		out = append(out, bundttypes.ImageLayer{
			LayerId: l.ID, AllocatedBytes: l.AllocatedBytes, Shared: slices.ContainsFunc(other, func(o layer.Info) bool { return o.ID == l.ID }),
		})
	}
	return out
}

func fileState(e *rootfs.Entry) *bundttypes.FileState {
	if e == nil {
		return nil
	}
	return &bundttypes.FileState{Mode: imagediff.Mode(e.Mode), UserId: int64(e.UID), GroupId: int64(e.GID), Size: e.Size, Target: e.Target}
}
