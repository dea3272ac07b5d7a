package qemu

import (
	"context"
	"fmt"
	"net"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/serialport"
)

// SerialPort joins the machine's serial port, of which QEMU serves one client.
func (d *Driver) SerialPort(ctx context.Context, id string) (net.Conn, error) {
	m, err := d.known(id)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	running := m.run != nil
	if m.port == nil {
		m.port = &serialport.Port{
			Before: func(max int) ([]byte, error) { return d.ConsoleOutput(context.Background(), id, max) },
			Dial: func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", m.paths.ConsoleSocket())
			},
		}
	}
	port := m.port
	m.mu.Unlock()
	if !running {
		return nil, fmt.Errorf("machine %s: %w", id, hypervisor.ErrNotRunning)
	}
	conn, err := port.Join(ctx)
	if err != nil {
		return nil, fmt.Errorf("joining the serial port of %s: %w", id, err)
	}
	return conn, nil
}
