package actions

import (
	"context"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

// registerLANs registers the actions on addresses of the host's interfaces.
func (a *Actions) registerLANs(t *api.Table) {
	api.Register(t, api.Action[bundttypes.PreviewLanInput, bundttypes.PreviewLanOutput]{
		Name: "PreviewLan", Acts: []string{"Interface", "Addresses"},
		Handler: func(ctx context.Context, in *bundttypes.PreviewLanInput) (*bundttypes.PreviewLanOutput, error) {
			addresses, err := cloud.ParseLANAddresses(in.Addresses)
			if err != nil {
				return nil, err
			}
			return a.node.PreviewLAN(ctx, ec2types.Value(in.Interface), addresses)
		},
	})
	api.Register(t, api.Action[bundttypes.AttachLanInput, bundttypes.AttachLanOutput]{
		Name: "AttachLan", Acts: []string{"Interface", "Addresses", "TrialSeconds"},
		Handler: func(ctx context.Context, in *bundttypes.AttachLanInput) (*bundttypes.AttachLanOutput, error) {
			l, err := a.account(ctx).AttachLAN(ctx, cloud.LANRequest{
				Interface: ec2types.Value(in.Interface), Addresses: in.Addresses, Trial: time.Duration(ec2types.Value(in.TrialSeconds)) * time.Second,
			})
			return &bundttypes.AttachLanOutput{Lan: lanOf(&l)}, err
		},
	})
	api.Register(t, api.Action[bundttypes.ConfirmLanInput, bundttypes.ConfirmLanOutput]{
		Name: "ConfirmLan", Acts: []string{"Interface"},
		Handler: func(ctx context.Context, in *bundttypes.ConfirmLanInput) (*bundttypes.ConfirmLanOutput, error) {
			l, err := a.account(ctx).ConfirmLAN(ctx, ec2types.Value(in.Interface))
			return &bundttypes.ConfirmLanOutput{Lan: lanOf(&l)}, err
		},
	})
	api.Register(t, api.Action[bundttypes.DetachLanInput, bundttypes.DetachLanOutput]{
		Name: "DetachLan", Acts: []string{"Interface"},
		Handler: func(ctx context.Context, in *bundttypes.DetachLanInput) (*bundttypes.DetachLanOutput, error) {
			_, err := a.account(ctx).DetachLAN(ctx, ec2types.Value(in.Interface))
			return &bundttypes.DetachLanOutput{}, err
		},
	})
	api.Register(t, api.Action[bundttypes.DescribeLansInput, bundttypes.DescribeLansOutput]{
		Name: "DescribeLans",
		Handler: func(ctx context.Context, _ *bundttypes.DescribeLansInput) (*bundttypes.DescribeLansOutput, error) {
			all, err := a.account(ctx).LANs(ctx)
			out := &bundttypes.DescribeLansOutput{}
			for i := range all {
				out.Lans = append(out.Lans, lanOf(&all[i]))
			}
			return out, err
		},
	})
}

func lanOf(l *model.LAN) bundttypes.Lan {
	out := bundttypes.Lan{Addresses: l.Addresses, CreatedAt: l.Created, Interface: l.Interface, State: string(l.State), StateReason: l.Message}
	if l.State == model.LANTrial {
		out.TrialEndsAt = some(l.Until)
	}
	return out
}
