package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/uefi"
)

// UEFIVariables returns the variables of the firmware of an instance that starts
// by UEFI, whether it runs or not.
func (n *Node) UEFIVariables(ctx context.Context, id string) ([]uefi.Variable, error) {
	d, ok := n.Driver.(hypervisor.Variables)
	if !ok {
		return nil, model.Errorf(model.CodeUnsupportedOperation, "The hypervisor driver %s has no UEFI variables", n.Driver.Name())
	}
	flash, err := d.Variables(ctx, id)
	switch {
	case errors.Is(err, hypervisor.ErrNotFound):
		return nil, model.Errorf(model.CodeIncorrectInstanceState, "The instance '%s' has no UEFI variables yet: it was never started", id)
	case errors.Is(err, hypervisor.ErrUnsupported):
		return nil, model.Errorf(model.CodeUnsupportedOperation, "The UEFI variables of the instance '%s' cannot be read: %v", id, err)
	case err != nil:
		return nil, err
	}
	vars, err := uefi.Parse(flash)
	if err != nil {
		return nil, fmt.Errorf("reading the UEFI variables of %s: %w", id, err)
	}
	return vars, nil
}
