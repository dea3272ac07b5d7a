package daemon

import (
	"fmt"

	"github.com/bundt/bundt/pkg/hypervisor"
	fakehv "github.com/bundt/bundt/pkg/hypervisor/fake"
	"github.com/bundt/bundt/pkg/hypervisor/qemu"
	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/control"
	fakenet "github.com/bundt/bundt/pkg/network/fake"
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

// newDatapath picks the network: simulated machines have a simulated one.
func (d *Daemon) newDatapath() (network.Datapath, error) {
	if d.cfg.Hypervisor == "fake" {
		return &fakenet.Datapath{}, nil
	}
	self, err := selfCommand()
	if err != nil {
		return nil, err
	}
	socket, state := d.runPath("switch.sock"), d.path("switch.json")
	return control.NewClient(control.Options{
		ControlSocket: socket, StateFile: state, Command: append(self, "--control", socket, "--state", state), LogFile: d.path("switch.log"), Logger: d.log,
	})
}
