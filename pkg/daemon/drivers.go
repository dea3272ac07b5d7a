package daemon

import (
	"fmt"

	"github.com/bundt/bundt/pkg/hypervisor"
	fakehv "github.com/bundt/bundt/pkg/hypervisor/fake"
	"github.com/bundt/bundt/pkg/hypervisor/qemu"
)

// newDriver picks the hypervisor driver.
func (d *Daemon) newDriver() (hypervisor.Driver, error) {
	switch d.cfg.Hypervisor {
	case "qemu":
		drv, err := qemu.New(qemu.Options{StateDir: d.path("machines"), RunDir: d.runPath("m"), ForceAccel: d.cfg.Accel, Logger: d.log})
		if err != nil {
			return nil, fmt.Errorf("preparing the qemu driver: %w", err)
		}
		return drv, nil
	case "fake":
		return fakehv.New(fakehv.NewHost()), nil
	}
	return nil, fmt.Errorf("--hypervisor %q: must be qemu or fake", d.cfg.Hypervisor)
}
