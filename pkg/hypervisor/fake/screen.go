package fake

import (
	"context"
	"fmt"
	"image"
	"image/color"

	"github.com/bundt/bundt/pkg/hypervisor"
)

// Screenshot returns a text mode's dark screen with a cursor in its corner.
func (d *Driver) Screenshot(ctx context.Context, id string) (shot image.Image, err error) {
	if err := d.fault(ctx, OpScreenshot, id); err != nil {
		return nil, err
	}
	has := false
	if err := d.host.control(id, func(m *machine) { has = m.spec.Display }); err != nil {
		return nil, err
	}
	if !has {
		return nil, fmt.Errorf("machine %s has no display: %w", id, hypervisor.ErrUnsupported)
	}
	screen := image.NewGray(image.Rect(0, 0, 720, 400))
	for x := range 9 {
		screen.SetGray(x, 15, color.Gray{Y: 170})
	}
	return screen, nil
}
