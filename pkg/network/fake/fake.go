// Package fake is a datapath in memory: it carries no packets, but every port
// that is configured counts as leased, and its guests answer on port 22 with an
// SSH banner. It serves tests of what is above the network. It imports
// pkg/network and pkg/network/gateway only.
package fake

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/gateway"
)

// Datapath is the fake. The zero value is ready.
type Datapath struct {
	mu    sync.Mutex
	ports map[string]network.PortStatus
	last  network.Config
}

var (
	_ network.Datapath = (*Datapath)(nil)
	_ network.Tracer   = (*Datapath)(nil)
)

// Apply makes the ports of cfg the ports there are.
func (d *Datapath) Apply(_ context.Context, cfg network.Config) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	ports := make(map[string]network.PortStatus, len(cfg.Ports))
	for _, p := range cfg.Ports {
		st, ok := d.ports[p.ID]
		if !ok {
			st = network.PortStatus{Connected: true, LeasedAt: time.Now(), LastSeen: time.Now()}
		}
		ports[p.ID] = st
	}
	d.ports, d.last = ports, cfg
	return nil
}

// Config returns what was applied last.
func (d *Datapath) Config() network.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// Status reports configured ports.
func (d *Datapath) Status(_ context.Context, ids ...string) (network.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return network.Select(d.ports, ids, func(st network.PortStatus) network.PortStatus { return st }), nil
}

// Trace follows a packet by the plan of what was applied last.
func (d *Datapath) Trace(_ context.Context, p network.Probe) (network.Trace, error) {
	plan, err := gateway.NewPlan(d.Config())
	if err != nil {
		return network.Trace{}, err
	}
	return gateway.Trace(&gateway.PlanScene{Plan: plan}, p)
}

// Dial answers on port 22 with a banner and then echoes; other ports do not answer.
func (d *Datapath) Dial(_ context.Context, id string, port uint16) (net.Conn, error) {
	d.mu.Lock()
	_, ok := d.ports[id]
	d.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("%w: %s", network.ErrNoSuchPort, id)
	}
	if port != 22 {
		return nil, fmt.Errorf("%w: port %d", network.ErrUnreachable, port)
	}
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		if _, err := far.Write([]byte("SSH-2.0-fake\r\n")); err != nil {
			return
		}
		buf := make([]byte, 4096)
		for {
			n, err := far.Read(buf)
			if err != nil {
				return
			}
			if _, err := far.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	return near, nil
}

// Stop removes every port.
func (d *Datapath) Stop(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ports = nil
	return nil
}
