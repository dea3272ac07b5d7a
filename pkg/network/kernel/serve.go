package kernel

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/bundt/bundt/pkg/network/control"
	"github.com/bundt/bundt/pkg/network/gateway"
)

// DefaultNamespaces is where "ip netns" looks for namespaces.
const DefaultNamespaces = "/run/netns"

// ServeOptions say where a switch is controlled from and what it makes.
type ServeOptions struct {
	control.ServeOptions
	// Name tells what this switch makes on the host from what others make: eight
	// small letters and digits.
	Name string
	// Namespaces is the directory of the namespaces' files; "" is DefaultNamespaces.
	Namespaces string
	// ResolvConf is the file that names the resolvers for other names than the
	// VPCs' own; "" means /etc/resolv.conf.
	ResolvConf string
}

var namePattern = regexp.MustCompile("^[a-z0-9]{8}$")

// Serve is the main of the switch's process (control.Serve).
func Serve(ctx context.Context, o ServeOptions) error {
	if !namePattern.MatchString(o.Name) {
		return fmt.Errorf("switch: the name %q is not eight small letters and digits", o.Name)
	}
	if o.Namespaces == "" {
		o.Namespaces = DefaultNamespaces
	}
	if o.ResolvConf == "" {
		o.ResolvConf = "/etc/resolv.conf"
	}
	if reason := Problem(); reason != "" {
		return errors.New("switch: " + reason)
	}
	return control.Serve(ctx, o.ServeOptions, func(s control.Seed) (control.Fabric, error) {
		return newFabric(&shared{
			name: o.Name, namespaces: o.Namespaces, resolver: gateway.Resolver{Path: o.ResolvConf}, secret: s.Secret, onLease: s.OnLease,
		}, s.Logger), nil
	})
}
