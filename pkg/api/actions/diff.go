package actions

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// Comparison is what two disks are to be compared in.
type Comparison struct {
	Before, After string // layers
	Path          string // of the files; "" is all
	Content       bool
	MaxFiles      int
}

const defaultDiffFiles = 1000

func (a *Actions) registerDiff(t *api.Table) {
	api.Register(t, api.Action[bundttypes.DiffImagesInput, bundttypes.DiffImagesOutput]{
		Name: "DiffImages", Handler: a.diffImages, Acts: []string{"After", "Before", "Content", "MaxFiles", "Path"},
	})
	api.Register(t, api.Action[bundttypes.GetImageHistoryInput, bundttypes.GetImageHistoryOutput]{
		Name: "GetImageHistory", Handler: a.getImageHistory, Acts: []string{"ImageId"},
	})
	api.Register(t, api.Action[bundttypes.GetImageSbomInput, bundttypes.GetImageSbomOutput]{
		Name: "GetImageSbom", Handler: a.getImageSbom, Acts: []string{"ImageId"},
	})
	api.Register(t, api.Action[bundttypes.GetImageProvenanceInput, bundttypes.GetImageProvenanceOutput]{
		Name: "GetImageProvenance", Handler: a.getImageProvenance, Acts: []string{"ImageId"},
	})
	api.Register(t, api.Action[bundttypes.GetImageLockInput, bundttypes.GetImageLockOutput]{
		Name: "GetImageLock", Handler: a.getImageLock, Acts: []string{"ImageId"},
	})
}

func (a *Actions) getImageProvenance(ctx context.Context, in *bundttypes.GetImageProvenanceInput) (*bundttypes.GetImageProvenanceOutput, error) {
	account := a.account(ctx)
	img, err := account.ExplainedImage(ctx, ec2types.Value(in.ImageId))
	if err != nil {
		return nil, err
	}
	if _, err := account.ImageKey(ctx); err != nil { // there is one from now on
		return nil, err
	}
	return a.node.Provenance(ctx, account.ID(), &img)
}

func (a *Actions) getImageLock(ctx context.Context, in *bundttypes.GetImageLockInput) (*bundttypes.GetImageLockOutput, error) {
	img, err := a.account(ctx).MadeImage(ctx, ec2types.Value(in.ImageId))
	if err != nil {
		return nil, err
	}
	text, err := a.node.Lock(&img)
	return &bundttypes.GetImageLockOutput{Lock: string(text)}, err
}

func (a *Actions) getImageSbom(ctx context.Context, in *bundttypes.GetImageSbomInput) (*bundttypes.GetImageSbomOutput, error) {
	img, err := a.account(ctx).MadeImage(ctx, ec2types.Value(in.ImageId))
	if err != nil {
		return nil, err
	}
	document, mediaType, err := a.node.SBOM(ctx, &img)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(document)
	return &bundttypes.GetImageSbomOutput{Document: string(document), MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(sum[:])}, nil
}

func (a *Actions) getImageHistory(ctx context.Context, in *bundttypes.GetImageHistoryInput) (*bundttypes.GetImageHistoryOutput, error) {
	steps, err := a.account(ctx).ImageHistory(ctx, ec2types.Value(in.ImageId))
	if err != nil {
		return nil, err
	}
	out := &bundttypes.GetImageHistoryOutput{}
	for _, s := range steps {
		l := bundttypes.HistoryLayer{LayerId: s.LayerID, By: s.By, ImageIds: s.Images, SnapshotIds: s.Snapshots}
		if !s.Created.IsZero() {
			l.CreatedAt = &s.Created
		}
		if l.AllocatedBytes, err = a.node.LayerBytes(s.LayerID); err != nil {
			return nil, err
		}
		out.Layers = append(out.Layers, l)
	}
	return out, nil
}

func (a *Actions) diffImages(ctx context.Context, in *bundttypes.DiffImagesInput) (*bundttypes.DiffImagesOutput, error) {
	c := Comparison{Path: ec2types.Value(in.Path), Content: ec2types.Value(in.Content), MaxFiles: defaultDiffFiles}
	if in.MaxFiles != nil {
		c.MaxFiles = int(*in.MaxFiles)
	}
	if c.Path != "" && (!path.IsAbs(c.Path) || strings.ContainsRune(c.Path, 0)) {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter Path is invalid: it has to begin with /", c.Path)
	}
	if c.Path = path.Clean(c.Path); c.Path == "." || c.Path == "/" {
		c.Path = ""
	}
	for id, layer := range map[*string]*string{in.Before: &c.Before, in.After: &c.After} {
		found, err := a.account(ctx).RootLayer(ctx, ec2types.Value(id))
		if err != nil {
			return nil, err
		}
		*layer = found
	}
	return a.node.Diff(ctx, c)
}
