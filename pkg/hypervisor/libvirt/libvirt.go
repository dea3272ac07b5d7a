// Package libvirt owns machines that are domains of this host's libvirt: their XML,
// their life through libvirt's API, and their files, except disks. What a guest sees is
// as pkg/hypervisor/qemu has it, from which it takes all that is QEMU's own. It may import
// pkg/hypervisor, its subpackages, pkg/keylock and pkg/model.
//
// libvirt's library is C. The driver itself is compiled with the build tag libvirt
// only (make build-libvirt), and opens the library when it is used; without the tag
// there is the XML, and a New that says so.
package libvirt

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"

	"github.com/bundt/bundt/pkg/hypervisor"
)

// Options configure a driver.
type Options struct {
	// URI is that of libvirt's connection, such as qemu:///system: see CheckURI.
	URI string
	// StateDir keeps each machine's logs and UEFI variables. It also tells the domains
	// of this driver from those of others.
	StateDir string
	// RunDir holds the sockets; see qemu.Options.
	RunDir string
	// ForceAccel, "kvm" or "tcg", is used for machines that do not choose.
	ForceAccel string
	// Logger gets what nobody can be told as an error. Optional.
	Logger *slog.Logger
}

// Driver is what New returns. It is no hypervisor.Flattener: libvirt lets QEMU write a
// head's new backing file before what was copied is sure to be on the disk.
type Driver interface {
	hypervisor.Driver
	hypervisor.Snapshotter
	hypervisor.Console
	hypervisor.DiskPlugger
	hypervisor.NICPlugger
	hypervisor.Refresher
	hypervisor.Screenshotter
	hypervisor.Meter
	hypervisor.SerialPort
	hypervisor.Variables
	hypervisor.Adopter
	// Close lets go of the machines, which run on.
	Close() error
}

// DriverName is what the driver is called.
const DriverName = "libvirt"

// URIs are the connections that CheckURI accepts, for messages.
const URIs = "qemu:///system or qemu:///session"

// CheckURI refuses connections that lead to another host, whose libvirt could open
// neither our layers nor our sockets, or to another hypervisor. Which libvirtd is asked
// may be said: qemu:///session?socket=/path.
func CheckURI(uri string) error {
	u, err := url.Parse(uri)
	if err != nil {
		return fmt.Errorf("%q: %w", uri, err)
	}
	local := (u.Scheme == "qemu" || u.Scheme == "qemu+unix") && u.Host == "" && u.User == nil
	if !local || (u.Path != "/system" && u.Path != "/session") {
		return fmt.Errorf("%q is no connection to this host's libvirt: use %s", uri, URIs)
	}
	return nil
}

// errTap: a domain's interface cannot get an open tap device from us.
var errTap = errors.Join(hypervisor.ErrUnsupported, errors.New("libvirt takes no open tap devices; use --network user"))
