package fake

import (
	"context"
	"fmt"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

// Variables returns a flash image that no firmware has written to.
func (d *Driver) Variables(ctx context.Context, id string) ([]byte, error) {
	if err := d.fault(ctx, OpVariables, id); err != nil {
		return nil, err
	}
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	m, ok := d.host.machines[id]
	if !ok {
		return nil, fmt.Errorf("%s: %w", id, hypervisor.ErrNotFound)
	}
	if m.spec.Boot.Firmware != model.FirmwareUEFI {
		return nil, fmt.Errorf("%s has no UEFI firmware: %w", id, hypervisor.ErrUnsupported)
	}
	return make([]byte, 64<<10), nil
}
