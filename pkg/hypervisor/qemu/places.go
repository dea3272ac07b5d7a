package qemu

import "fmt"

// place is where a PCI device is plugged in.
type place struct {
	bus  string
	addr string // on a bus of many slots; "" on a port, which has one
	hot  bool   // a device there can come and go
}

// onRoot is a slot of the root complex, whose devices stay.
func onRoot(slot int) place { return place{bus: "pcie.0", addr: fmt.Sprintf("%#x", slot)} }

// put adds the place to a device's properties. Where devices come and go there are
// no I/O ports to spare, which only drivers of before 2014 need.
func (p place) put(device properties) properties {
	device["bus"] = p.bus
	if p.addr != "" {
		device["addr"] = p.addr
	}
	if p.hot {
		device["disable-legacy"] = "on"
	}
	return device
}

// hotPlaces is how many devices can come and go: all disks but the root disk, all
// interfaces but the first.
const hotPlaces = maxDisks - 1 + maxNICs - 1

// bridge is the bus of x86 machines on which devices come and go.
const bridge = "places"

// hotPlace is the i-th place of those that can be filled while the machine runs.
// They are made before it starts, because buses cannot be added later.
//
// On x86 it is a slot of a conventional bridge, one device whose 31 slots ACPI's
// hot-plug serves, natively a PCI bus's own. A root port for each would cost every
// boot: each is one more bus for the firmware and the kernel to set up, and makes
// QEMU work out all its memory maps anew, 0.4 s in all under emulation. The virt
// board has no ACPI hot-plug for PCI before QEMU 10.1, and kernels for ARM no
// driver for the bridge's own: there it is a root port.
func hotPlace(x86 bool, i int) place {
	if x86 {
		return onBridge(i + 1) // slot 0 is the bridge's controller's
	}
	return place{bus: fmt.Sprintf("port%d", i), hot: true}
}

func onBridge(slot int) place { return place{bus: bridge, addr: fmt.Sprintf("%#x", slot), hot: true} }

// diskPlaces are the places of all disks but the root disk.
func diskPlaces(x86 bool) []place {
	places := make([]place, maxDisks-1)
	for i := range places {
		places[i] = hotPlace(x86, i)
	}
	return places
}

// nicPlace is the place of the interface of that device index, which is not 0.
func nicPlace(x86 bool, index int) place { return hotPlace(x86, maxDisks-1+index-1) }

// places adds the bridge or the ports. Ports reserve no I/O ports, of which a
// machine has too few for all of them.
func (b *builder) places() {
	if b.x86() {
		b.add("-device", fmt.Sprintf("pcie-pci-bridge,id=%s,addr=%#x", bridge, slotPlaces))
		return
	}
	for i := range hotPlaces {
		port := fmt.Sprintf("pcie-root-port,id=%s,chassis=%d,slot=%d,addr=%#x.%d,io-reserve=0", hotPlace(false, i).bus, i+1, i+1, slotPlaces+i/8, i%8)
		if i%8 == 0 {
			port += ",multifunction=on"
		}
		b.add("-device", port)
	}
}
