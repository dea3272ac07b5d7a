package qemu

import (
	"fmt"
	"path/filepath"
)

// Paths are a machine's two directories and the names in them.
type Paths struct {
	State string // survives the machine's process: records, logs, UEFI variables
	Run   string // sockets
}

// Console is the log of what the guest wrote on its serial port.
func (p Paths) Console() string { return filepath.Join(p.State, "console.log") }

// ConsoleSocket is the unix socket of the serial port.
func (p Paths) ConsoleSocket() string { return filepath.Join(p.Run, "console.sock") }

// Control is the QMP socket that the driver uses.
func (p Paths) Control() string { return filepath.Join(p.Run, "qmp.sock") }

// Telemetry is the QMP socket for everybody else: QEMU serves one client each.
func (p Paths) Telemetry() string { return filepath.Join(p.Run, "stat.sock") }

// Agent is the unix socket of the guest agent's virtio-serial port.
func (p Paths) Agent() string { return filepath.Join(p.Run, "qga.sock") }

// NIC is the unix stream socket of the network interface with that index.
func (p Paths) NIC(index int) string { return filepath.Join(p.Run, fmt.Sprintf("nic%d.sock", index)) }

// Log is what QEMU itself said.
func (p Paths) Log() string { return filepath.Join(p.State, "qemu.log") }

// Vars is the UEFI variable store, in the format of its template.
func (p Paths) Vars(template string) string {
	return filepath.Join(p.State, "efivars"+filepath.Ext(template))
}

// screen is where QEMU writes a picture of the display, for a moment.
func (p Paths) screen() string { return filepath.Join(p.State, "screen.ppm") }

func (p Paths) lock() string    { return filepath.Join(p.State, "lock") }
func (p Paths) spec() string    { return filepath.Join(p.State, "spec.json") }
func (p Paths) process() string { return filepath.Join(p.State, "process.json") }
func (p Paths) end() string     { return filepath.Join(p.State, "end.json") }
func (p Paths) frozen() string  { return filepath.Join(p.State, "frozen") }

// maxSocketPath is what struct sockaddr_un holds, without the final NUL.
const maxSocketPath = 107

func (p Paths) check() error {
	if path := p.ConsoleSocket(); len(path) > maxSocketPath { // the longest
		return fmt.Errorf("socket path %s is longer than %d bytes: use a shorter run directory", path, maxSocketPath)
	}
	return nil
}
