package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/control"
	fakenet "github.com/bundt/bundt/pkg/network/fake"
	"github.com/bundt/bundt/pkg/network/kernel"
)

// The values of --network.
const (
	networkAuto   = "auto"
	networkUser   = "user"
	networkKernel = "kernel"
)

// jumboMTU is EC2's within a VPC, in bytes.
const jumboMTU = 9001

// chooseNetwork decides between the datapaths. reason says what keeps the kernel
// from moving the packets, "" if nothing does.
func chooseNetwork(wanted string, problem func() string) (chosen, reason string, err error) {
	if wanted == networkUser {
		return networkUser, "", nil
	}
	reason = problem()
	switch {
	case reason == "":
		return networkKernel, "", nil
	case wanted == networkKernel:
		return "", reason, fmt.Errorf("--network kernel is not possible here: %s; --network auto takes user then", reason)
	}
	return networkUser, reason, nil
}

// kernelProblem says why the kernel cannot move packets, "" if it can: by the host, or by
// the driver, as libvirt has no way to take the taps.
func (c *Config) kernelProblem(host func() string) func() string {
	if c.usesLibvirt() {
		return func() string { return "the kernel's network opens tap devices, which libvirt does not take" }
	}
	return host
}

// newDatapath picks the network: simulated machines have a simulated one.
func (d *Daemon) newDatapath(ctx context.Context) (network.Datapath, error) {
	if d.cfg.Hypervisor == hypervisorFake {
		return &fakenet.Datapath{}, nil
	}
	chosen, reason, err := chooseNetwork(d.cfg.Network, d.cfg.kernelProblem(kernel.Problem))
	if err != nil {
		return nil, err
	}
	if reason != "" {
		d.log.Warn("the kernel does not move the packets of instances", "reason", reason)
	}
	other := networkUser
	if chosen == networkUser {
		other = networkKernel
	}
	if err := d.endNetwork(ctx, other, false); err != nil {
		return nil, err
	}
	o, err := d.networkOptions(chosen)
	if err != nil {
		return nil, err
	}
	client, err := control.NewClient(o)
	if err == nil && chosen == networkKernel {
		return control.Attacher{Client: client}, nil
	}
	return client, err
}

// networkOptions say how the switch of one kind is run.
func (d *Daemon) networkOptions(kind string) (control.Options, error) {
	self, err := selfCommand()
	if err != nil {
		return control.Options{}, err
	}
	o := control.Options{ControlSocket: d.runPath("switch.sock"), StateFile: d.path("switch.json"), LogFile: d.path("switch.log"), Logger: d.log}
	if kind == networkKernel {
		o.ControlSocket, o.StateFile, o.LogFile = d.runPath("kernel.sock"), d.path("kernel.json"), d.path("kernel.log")
		self = append(self, "--kernel", d.hostName())
	}
	o.Command = append(self, "--control", o.ControlSocket, "--state", o.StateFile)
	return o, nil
}

// hostName tells what this daemon makes on the host from what others make.
func (d *Daemon) hostName() string {
	sum := sha256.Sum256([]byte(d.cfg.DataDir))
	return hex.EncodeToString(sum[:4])
}

// endNetwork stops the switch of one kind with all that it holds. Unless forced,
// one that machines are attached to is an error: they would never get to the
// network of the other kind.
func (d *Daemon) endNetwork(ctx context.Context, kind string, force bool) error {
	o, err := d.networkOptions(kind)
	if err != nil {
		return err
	}
	ports, exists, err := control.Ports(o.StateFile)
	if err != nil {
		return err
	}
	running, err := control.Running(o.ControlSocket)
	if err != nil || !exists && !running {
		return err
	}
	if ports > 0 && !force {
		return fmt.Errorf("%d network interfaces of instances are attached with --network %s: stop the instances before you change it", ports, kind)
	}
	client, err := control.NewClient(o)
	if err != nil {
		return err
	}
	if exists {
		// A switch that does not run comes back to end what it has left.
		_, err = client.Status(ctx)
	}
	return errors.Join(err, client.Stop(ctx))
}
