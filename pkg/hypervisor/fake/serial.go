package fake

import (
	"context"
	"fmt"
	"net"

	"github.com/bundt/bundt/pkg/hypervisor/serialport"
)

// serialBehind is how many writes of a guest may wait for who looks at its serial port.
const serialBehind = 256

// SerialPort joins the serial port of a machine, whose guest prints what is typed.
func (d *Driver) SerialPort(ctx context.Context, id string) (net.Conn, error) {
	if err := d.fault(ctx, OpSerialPort, id); err != nil {
		return nil, err
	}
	var port *serialport.Port
	err := d.host.control(id, func(m *machine) {
		if m.port == nil {
			m.port = &serialport.Port{
				Before: func(max int) ([]byte, error) { return d.ConsoleOutput(context.Background(), id, max) },
				Dial:   func(context.Context) (net.Conn, error) { return d.host.dialSerial(id) },
			}
		}
		port = m.port
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	return port.Join(ctx)
}

// unplugSerial hangs up who looks at the serial port, and lets another one look.
func (m *machine) unplugSerial(next chan []byte) {
	if m.serial != nil {
		close(m.serial)
	}
	m.serial = next
}

// dialSerial is the cable to a guest's serial port.
func (h *Host) dialSerial(id string) (net.Conn, error) {
	here, there := net.Pipe()
	printed := make(chan []byte, serialBehind)
	if err := h.control(id, func(m *machine) { m.unplugSerial(printed) }); err != nil {
		return nil, err
	}
	go func() { // what the guest prints
		for text := range printed {
			if _, err := there.Write(text); err != nil {
				return
			}
		}
		_ = there.Close()
	}()
	go func() { // what is typed
		typed := make([]byte, 256)
		for {
			n, err := there.Read(typed)
			if err != nil {
				return
			}
			if h.control(id, func(m *machine) { m.print(string(typed[:n])) }) != nil {
				return
			}
		}
	}()
	return here, nil
}
