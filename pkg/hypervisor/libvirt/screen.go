//go:build libvirt

package libvirt

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"io"

	"libvirt.org/go/libvirt"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu"
	"github.com/bundt/bundt/pkg/model"
)

// maxPicture bounds what a picture may take on its way, in bytes: the guest chooses its
// size. It is one of 8192 times 8192 points.
const maxPicture = 3 * 8192 * 8192

// Screenshot has libvirt send a picture of the display.
func (d *driver) Screenshot(ctx context.Context, id string) (shot image.Image, err error) {
	err = d.on(ctx, id, func(m *domain) error {
		if !m.rec.Spec.Display {
			return fmt.Errorf("it has no display: %w", hypervisor.ErrUnsupported)
		}
		shot, err = m.picture()
		return err
	})
	return shot, err
}

func (m *domain) picture() (image.Image, error) {
	c, err := m.driver.connection()
	if err != nil {
		return nil, err
	}
	stream, err := c.NewStream(0)
	if err != nil {
		return nil, fmt.Errorf("opening a stream for its picture: %w", err)
	}
	defer func() { _ = stream.Free() }()
	kind, err := m.dom.Screenshot(stream, 0, 0)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = stream.RecvAll(func(_ *libvirt.Stream, part []byte) (int, error) {
		if text.Len()+len(part) > maxPicture {
			return 0, fmt.Errorf("its picture is larger than %d bytes", maxPicture)
		}
		return text.Write(part)
	})
	if err != nil {
		_ = stream.Abort()
		return nil, fmt.Errorf("receiving its picture: %w", err)
	}
	if err := stream.Finish(); err != nil {
		return nil, fmt.Errorf("receiving its picture: %w", err)
	}
	shot, err := decode(kind, &text)
	if err != nil {
		return nil, fmt.Errorf("reading its picture (%s): %w", kind, err)
	}
	return shot, nil
}

func decode(kind string, r io.Reader) (image.Image, error) {
	if kind == "image/png" {
		return png.Decode(r)
	}
	return qemu.ReadPPM(r)
}

// Variables reads the file that QEMU writes the guest's flash to.
func (d *driver) Variables(ctx context.Context, id string) (flash []byte, err error) {
	err = d.find(ctx, id, func(m *domain) error {
		if m.rec.Spec.Boot.Firmware != model.FirmwareUEFI {
			return fmt.Errorf("it has no UEFI firmware: %w", hypervisor.ErrUnsupported)
		}
		host, err := d.Host(ctx)
		if err != nil {
			return err
		}
		fw, err := qemu.Firmware(host, m.rec.Spec.Arch)
		if err != nil {
			return err
		}
		flash, err = qemu.ReadVariables(m.paths.Vars(fw.Vars))
		return err
	})
	return flash, err
}
