package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

// variablesSize is as much of a flash image as holds variables: the volumes of
// OVMF and AAVMF are smaller, the images on arm64 are padded to 64 MiB.
const variablesSize = 2 << 20

// Variables reads the file that QEMU writes the guest's flash to, as it does.
func (d *Driver) Variables(ctx context.Context, id string) ([]byte, error) {
	m, err := d.known(id)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	spec := m.rec.Spec
	m.mu.Unlock()
	if spec.Boot.Firmware != model.FirmwareUEFI {
		return nil, fmt.Errorf("machine %s has no UEFI firmware: %w", id, hypervisor.ErrUnsupported)
	}
	host, err := d.Host(ctx)
	if err != nil {
		return nil, err
	}
	fw, err := firmwareFor(host, spec.Arch)
	if err != nil {
		return nil, err
	}
	flash, err := readVariables(m.paths.Vars(fw.Vars))
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", id, err)
	}
	return flash, nil
}

func readVariables(path string) ([]byte, error) {
	if format := imageFormat(path); format != "raw" {
		return nil, fmt.Errorf("its UEFI variables are in the format %s: %w", format, hypervisor.ErrUnsupported)
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("it has no UEFI variables yet: %w", hypervisor.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the UEFI variables: %w", err)
	}
	defer f.Close()
	flash, err := io.ReadAll(io.LimitReader(f, variablesSize))
	if err != nil {
		return nil, fmt.Errorf("reading the UEFI variables: %w", err)
	}
	return flash, nil
}
