//go:build !libvirt

package libvirt

import (
	"fmt"

	"github.com/bundt/bundt/pkg/hypervisor"
)

// New says what to do for the driver, which this program does not have.
func New(opts Options) (Driver, error) {
	if err := CheckURI(opts.URI); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w: this bundtd was built without libvirt: build one that has it with `make build-libvirt` "+
		"and start bin/bundtd-libvirt, or use --hypervisor qemu, which needs no libvirt", hypervisor.ErrUnavailable)
}
