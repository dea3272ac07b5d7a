package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/bundt/bundt/pkg/hypervisor"
	fakehv "github.com/bundt/bundt/pkg/hypervisor/fake"
	"github.com/bundt/bundt/pkg/hypervisor/libvirt"
	"github.com/bundt/bundt/pkg/hypervisor/qemu"
)

// What --hypervisor may be besides the URI of a libvirt.
const (
	hypervisorQEMU = "qemu"
	hypervisorFake = "fake"
)

// usesLibvirt reports whether a URI is given for the hypervisor.
func (c *Config) usesLibvirt() bool { return strings.Contains(c.Hypervisor, ":") }

func (c *Config) checkHypervisor() error {
	switch {
	case c.Hypervisor == hypervisorQEMU, c.Hypervisor == hypervisorFake:
		return nil
	case !c.usesLibvirt():
		return fmt.Errorf("--hypervisor %q: must be qemu, fake, or a libvirt's URI: %s", c.Hypervisor, libvirt.URIs)
	}
	if err := libvirt.CheckURI(c.Hypervisor); err != nil {
		return fmt.Errorf("--hypervisor: %w", err)
	}
	return nil
}

// newDriver picks the hypervisor driver.
func (d *Daemon) newDriver() (hypervisor.Driver, error) {
	switch {
	case d.cfg.usesLibvirt():
		if err := d.noProcesses(); err != nil {
			return nil, err
		}
		drv, err := libvirt.New(libvirt.Options{
			URI: d.cfg.Hypervisor, StateDir: d.path("domains"), RunDir: d.runPath("l"), ForceAccel: d.cfg.Accel, Logger: d.log,
		})
		if err != nil {
			return nil, fmt.Errorf("preparing the libvirt driver: %w", err)
		}
		return drv, nil
	case d.cfg.Hypervisor == hypervisorQEMU:
		if err := d.noDomains(); err != nil {
			return nil, err
		}
		drv, err := d.qemuDriver()
		if err != nil {
			return nil, err
		}
		return drv, nil
	}
	return fakehv.New(fakehv.NewHost()), nil
}

func (d *Daemon) qemuDriver() (*qemu.Driver, error) {
	drv, err := qemu.New(qemu.Options{StateDir: d.path("machines"), RunDir: d.runPath("m"), ForceAccel: d.cfg.Accel, Logger: d.log})
	if err != nil {
		return nil, fmt.Errorf("preparing the qemu driver: %w", err)
	}
	return drv, nil
}

// A machine that another driver still runs would be started a second time, and fail
// because its disks are in use.
const otherDriver = "--hypervisor %s: machine %s of this data directory runs with --hypervisor %s: start bundtd with that and stop its instances first"

func (d *Daemon) noProcesses() error {
	drv, err := d.qemuDriver()
	if err != nil {
		return err
	}
	defer func() { _ = drv.Close() }()
	list, err := drv.List(context.Background())
	if err != nil {
		return fmt.Errorf("looking for machines of the qemu driver: %w", err)
	}
	for _, m := range list {
		if m.State != hypervisor.StateStopped {
			return fmt.Errorf(otherDriver, d.cfg.Hypervisor, m.ID, hypervisorQEMU)
		}
	}
	return nil
}

// noDomains needs no libvirt, which may be gone: domains that run have their process's
// id in their directory of sockets.
func (d *Daemon) noDomains() error {
	files, err := filepath.Glob(d.runPath("l/*/pid"))
	if err != nil {
		return fmt.Errorf("looking for machines of the libvirt driver: %w", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			continue
		}
		if _, err := qemu.Started(pid); err == nil {
			return fmt.Errorf(otherDriver, d.cfg.Hypervisor, filepath.Base(filepath.Dir(f)), "qemu:///system or the URI that it was started with")
		}
	}
	return nil
}
