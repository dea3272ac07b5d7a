package cli_test

import (
	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
)

// lanTable is what the toy cloud has of interfaces: eth0 on trial, eth1 attached, and
// one that is not there.
func lanTable(t *api.Table) {
	register(t, "PreviewLan", []string{"Interface", "Addresses"}, func(in *bundttypes.PreviewLanInput) (*bundttypes.PreviewLanOutput, error) {
		return &bundttypes.PreviewLanOutput{Interface: *in.Interface, Keep: []string{"192.0.2.1/24"}, DefaultRoute: true, Add: in.Addresses}, nil
	})
	register(t, "AttachLan", []string{"Interface", "Addresses", "TrialSeconds"}, func(*bundttypes.AttachLanInput) (*bundttypes.AttachLanOutput, error) {
		return nil, nil
	})
	register(t, "ConfirmLan", []string{"Interface"}, func(*bundttypes.ConfirmLanInput) (*bundttypes.ConfirmLanOutput, error) { return nil, nil })
	register(t, "DetachLan", []string{"Interface"}, func(*bundttypes.DetachLanInput) (*bundttypes.DetachLanOutput, error) { return nil, nil })
	register(t, "DescribeLans", nil, func(*bundttypes.DescribeLansInput) (*bundttypes.DescribeLansOutput, error) {
		return &bundttypes.DescribeLansOutput{Lans: []bundttypes.Lan{
			{Interface: "eth0", State: "on-trial", Addresses: []string{"192.0.2.50"}, TrialEndsAt: &made},
			{Interface: "eth1", State: "attached"}, {Interface: "broken", State: "failed", StateReason: "there is no interface broken"},
		}}, nil
	})
}
