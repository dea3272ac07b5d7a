package qemu

import (
	"bufio"
	"context"
	"fmt"
	"image"
	"io"
	"os"

	"github.com/digitalocean/go-qemu/qmp/raw"

	"github.com/bundt/bundt/pkg/hypervisor"
)

// Screenshot has QEMU write a picture of the display to a file, and reads it.
func (d *Driver) Screenshot(ctx context.Context, id string) (image.Image, error) {
	m, err := d.known(id)
	if err != nil {
		return nil, err
	}
	m.op.Lock() // two pictures would be written to one file
	defer m.op.Unlock()
	if _, _, err := m.monitor(ctx); err != nil {
		return nil, err
	}
	m.mu.Lock()
	has := m.rec.Spec.Display
	m.mu.Unlock()
	if !has {
		return nil, fmt.Errorf("machine %s has no display: %w", id, hypervisor.ErrUnsupported)
	}
	path := m.paths.screen()
	defer os.Remove(path)
	if err := m.command(ctx, "screendump", func(c *raw.Monitor) error { return c.Screendump(path) }); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the picture of %s: %w", id, err)
	}
	defer f.Close()
	shot, err := readPPM(f)
	if err != nil {
		return nil, fmt.Errorf("reading the picture of %s: %w", id, err)
	}
	return shot, nil
}

// maxScreen bounds a display's width and height: the guest chooses them.
const maxScreen = 8192

// readPPM reads a picture in the format that QEMU writes without other libraries.
// https://netpbm.sourceforge.net/doc/ppm.html
func readPPM(r io.Reader) (image.Image, error) {
	in := bufio.NewReader(r)
	var width, height, top int
	if _, err := fmt.Fscanf(in, "P6\n%d %d\n%d\n", &width, &height, &top); err != nil {
		return nil, fmt.Errorf("its header: %w", err)
	}
	if width < 1 || height < 1 || width > maxScreen || height > maxScreen || top != 255 {
		return nil, fmt.Errorf("%d times %d points of %d shades are out of bounds", width, height, top)
	}
	shot := image.NewRGBA(image.Rect(0, 0, width, height))
	line := make([]byte, 3*width)
	for y := range height {
		if _, err := io.ReadFull(in, line); err != nil {
			return nil, fmt.Errorf("line %d of %d: %w", y, height, err)
		}
		to := shot.Pix[y*shot.Stride:]
		for x := range width {
			to[4*x], to[4*x+1], to[4*x+2], to[4*x+3] = line[3*x], line[3*x+1], line[3*x+2], 255
		}
	}
	return shot, nil
}
