package user

import (
	"context"
	"io"
	"log"
	"runtime/debug"

	"github.com/bundt/bundt/pkg/network/control"
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
			resolver:   resolver{path: o.ResolvConf},
			secret:     s.Secret,
			httpErrors: log.New(io.Discard, "", 0), // a guest must not fill the host's log
		}
		return newFabric(sh, s.Logger, s.OnLease), nil
	})
}
