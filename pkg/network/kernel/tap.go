package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tapName is the device of an interface: names are unique in their VPC, and as
// long as the kernel allows.
func tapName(interfaceID string) string { return tapPrefix + short(interfaceID) }

const tapPrefix = "tap"

// short is a digest of an id for names that must be short.
func short(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])[:10]
}

// openTap makes a tap device or joins one that nobody else has open. It is of
// the thread's namespace, and stays when the file is closed.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		// The header in front of frames lets QEMU agree on offloads with the guest.
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err == nil {
		err = unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
	}
	if err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("opening %s: another machine has it open: %w", name, err)
		}
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// ensureTap makes the device if it is not there and sets it up.
func (n *namespace) ensureTap(name, alias string, mtu int, hw []byte) (netlink.Link, error) {
	link, err := n.link.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		err = n.do(func() error {
			f, err := openTap(name)
			if err != nil {
				return err
			}
			return f.Close()
		})
		if err != nil {
			return nil, err
		}
		link, err = n.link.LinkByName(name)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for %s: %w", name, err)
	}
	a := link.Attrs()
	var errs []error
	if string(a.HardwareAddr) != string(hw) {
		errs = append(errs, n.link.LinkSetHardwareAddr(link, hw))
	}
	if a.MTU != mtu {
		errs = append(errs, n.link.LinkSetMTU(link, mtu))
	}
	if a.Alias != alias {
		errs = append(errs, n.link.LinkSetAlias(link, alias))
	}
	if a.RawFlags&unix.IFF_UP == 0 {
		// Before it is up: its settings begin as the namespace's defaults.
		errs = append(errs, n.do(func() error {
			return errors.Join(sysctl("ipv4/conf/"+name+"/proxy_arp", "1"), sysctl("ipv4/neigh/"+name+"/proxy_delay", "0"))
		}), n.link.LinkSetUp(link))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("setting up %s: %w", name, err)
	}
	return link, nil
}
