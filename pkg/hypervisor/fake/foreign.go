package fake

import (
	"context"
	"fmt"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

// SetForeign makes a machine that no driver of bundt made, or changes it.
func (h *Host) SetForeign(m model.ForeignMachine) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.foreign == nil {
		h.foreign = map[string]model.ForeignMachine{}
	}
	h.foreign[m.UUID] = m
}

// Foreign returns what SetForeign made.
func (d *Driver) Foreign(ctx context.Context, name string) (model.ForeignMachine, error) {
	if err := d.fault(ctx, OpForeign, name); err != nil {
		return model.ForeignMachine{}, err
	}
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	for _, m := range d.host.foreign {
		if m.Name == name || m.UUID == name {
			return m, nil
		}
	}
	return model.ForeignMachine{}, fmt.Errorf("%s: %w", name, hypervisor.ErrNotFound)
}
