package user

import (
	"context"
	"runtime/debug"

	"github.com/bundt/bundt/pkg/network/control"
	"github.com/bundt/bundt/pkg/network/gateway"
)

const memoryLimit = 32 << 20 // the collector works harder above it

// ServeOptions say where a switch is controlled from and what it asks.
type ServeOptions struct {
	control.ServeOptions
	// ResolvConf is the file that names the resolvers for other names than the
	// VPCs' own; "" means /etc/resolv.conf.
	ResolvConf string
}

// Serve is the main of the switch's process (control.Serve).
func Serve(ctx context.Context, o ServeOptions) error {
	if o.ResolvConf == "" {
		o.ResolvConf = "/etc/resolv.conf"
	}
	debug.SetMemoryLimit(memoryLimit)
	return control.Serve(ctx, o.ServeOptions, func(s control.Seed) (control.Fabric, error) {
		sh := &shared{
			resolver: gateway.Resolver{Path: o.ResolvConf},
			secret:   s.Secret,
		}
		return newFabric(sh, s.Logger, s.OnLease), nil
	})
}
