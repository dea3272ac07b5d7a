package actions

import (
	"context"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
)

func (a *Actions) registerChecks(t *api.Table) {
	api.Register(t, api.Action[bundttypes.CheckVolumesInput, bundttypes.CheckVolumesOutput]{
		Name: "CheckVolumes", Handler: a.checkVolumes, Acts: []string{"ResourceIds"},
	})
}

func (a *Actions) checkVolumes(ctx context.Context, in *bundttypes.CheckVolumesInput) (*bundttypes.CheckVolumesOutput, error) {
	uses, err := a.account(ctx).LayerUses(ctx, in.ResourceIds)
	if err != nil {
		return nil, err
	}
	out := &bundttypes.CheckVolumesOutput{}
	for _, u := range uses {
		l, err := a.node.CheckLayer(ctx, u.LayerID)
		if err != nil {
			return nil, err
		}
		l.LayerId, l.VolumeIds, l.SnapshotIds, l.ImageIds = u.LayerID, u.Volumes, u.Snapshots, u.Images
		out.Layers = append(out.Layers, l)
	}
	return out, nil
}
