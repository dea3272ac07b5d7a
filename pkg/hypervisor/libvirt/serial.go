//go:build libvirt

package libvirt

import (
	"context"
	"fmt"
	"net"

	"github.com/bundt/bundt/pkg/hypervisor/serialport"
)

// SerialPort joins the machine's serial port, of which QEMU serves one client.
func (d *driver) SerialPort(ctx context.Context, id string) (net.Conn, error) {
	var socket string
	err := d.running(ctx, id, func(m *domain) error {
		socket = m.paths.ConsoleSocket()
		return nil
	})
	if err != nil {
		return nil, err
	}
	port, _ := d.ports.LoadOrStore(id, &serialport.Port{
		Before: func(max int) ([]byte, error) { return d.ConsoleOutput(context.Background(), id, max) },
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	})
	conn, err := port.(*serialport.Port).Join(ctx)
	if err != nil {
		return nil, fmt.Errorf("joining the serial port of %s: %w", id, err)
	}
	return conn, nil
}
