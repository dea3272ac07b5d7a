package qemu

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

// File descriptors that QEMU inherits: the listening QMP sockets, so that the
// first connection needs no waiting for QEMU to make them, the machine's lock, taps,
// and the pipes of secrets after them.
const (
	controlFD   = 3
	telemetryFD = 4
	firstTapFD  = 6
)

// Limits that QEMU or the virtio devices set.
const (
	maxNodeName   = 31 // block node names
	maxDiskSerial = 20 // VIRTIO_BLK_ID_BYTES
	maxDisks      = 17
	maxNICs       = 8
)

// PCI slots on the root complex. They are fixed, so that a guest finds its
// devices where it left them, whatever else the machine has.
const (
	slotRNG    = 0x02
	slotSerial = 0x03
	slotNIC    = 0x04
	slotDisk   = 0x0c // of the root disk
	slotVideo  = 0x0d
	slotPlaces = 0x1b // of what comes and goes, and the next two; 0x1f is q35's own
)

var idPattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// Argv returns QEMU's arguments, program first, for a machine on this host. It
// depends on nothing but its parameters and touches nothing.
func Argv(spec hypervisor.Spec, h hypervisor.Host, p Paths) ([]string, error) {
	if err := check(spec); err != nil {
		return nil, fmt.Errorf("machine %s: %w", spec.ID, err)
	}
	b := &builder{spec: spec, host: h, paths: p, accel: spec.Accel}
	if b.accel == "" {
		b.accel = h.Archs[spec.Arch].Accel.Name
	}
	steps := []func() error{b.machine, b.boot, b.devices, b.disks, b.nics}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, fmt.Errorf("machine %s: %w", spec.ID, err)
		}
	}
	return append([]string{h.Archs[spec.Arch].Emulator}, b.args...), nil
}

func check(spec hypervisor.Spec) error {
	switch {
	case !idPattern.MatchString(spec.ID):
		return fmt.Errorf("%q cannot be a machine's id", spec.ID)
	case !spec.Arch.Valid():
		return fmt.Errorf("unknown architecture %q", spec.Arch)
	case spec.UUID == "":
		return fmt.Errorf("it has no UUID")
	case spec.VCPUs < 1 || spec.MemoryMiB < 1:
		return fmt.Errorf("%d vCPUs and %d MiB of memory are too few", spec.VCPUs, spec.MemoryMiB)
	case len(spec.Disks) > maxDisks:
		return fmt.Errorf("%d disks are more than %d", len(spec.Disks), maxDisks)
	case spec.Boot.Kernel == "" && len(spec.Disks) == 0:
		return fmt.Errorf("it has neither a disk nor a kernel to boot")
	case spec.Accel != "" && spec.Accel != accelKVM && spec.Accel != accelTCG:
		return fmt.Errorf("unknown accelerator %q: use %q or %q", spec.Accel, accelKVM, accelTCG)
	}
	for _, d := range spec.Disks {
		if err := checkDisk(d); err != nil {
			return err
		}
	}
	taken := map[int]bool{}
	for _, n := range spec.NICs {
		if err := checkNIC(n); err != nil {
			return err
		}
		if taken[n.Index] {
			return fmt.Errorf("two network interfaces have the index %d", n.Index)
		}
		taken[n.Index] = true
	}
	return nil
}

func checkNIC(n hypervisor.NIC) error {
	if !idPattern.MatchString(n.ID) {
		return fmt.Errorf("%q cannot be a network interface's id", n.ID)
	}
	if n.Index < 0 || n.Index >= maxNICs {
		return fmt.Errorf("network interface %s has the index %d: there are 0 to %d", n.ID, n.Index, maxNICs-1)
	}
	return nil
}

func checkDisk(d hypervisor.Disk) error {
	if len(d.Layers) == 0 {
		return fmt.Errorf("disk %s has no layers", d.ID)
	}
	if !strings.HasPrefix(d.ID, "vol-") || len(serial(d.ID)) > maxDiskSerial {
		return fmt.Errorf("disk id %q is no volume's, or longer than a disk's serial number", d.ID)
	}
	for _, l := range d.Layers {
		if err := checkLayer(l); err != nil {
			return err
		}
	}
	return nil
}

func checkLayer(l hypervisor.Layer) error {
	if len(l.ID) > maxNodeName || !idPattern.MatchString(l.ID) {
		return fmt.Errorf("layer id %q cannot name a block node: at most %d of a-z, 0-9 and -", l.ID, maxNodeName)
	}
	if !filepath.IsAbs(l.Path) {
		return fmt.Errorf("layer %s needs an absolute path, not %q", l.ID, l.Path)
	}
	if l.Key.ID != "" && !idPattern.MatchString(l.Key.ID) {
		return fmt.Errorf("key id %q cannot name a secret", l.Key.ID)
	}
	return nil
}

// serial is a disk's serial number as EC2 makes it: vol0123….
func serial(diskID string) string { return strings.ReplaceAll(diskID, "-", "") }

// builder collects arguments.
type builder struct {
	spec  hypervisor.Spec
	host  hypervisor.Host
	paths Paths
	accel string
	args  []string
}

func (b *builder) add(args ...string) { b.args = append(b.args, args...) }

// addJSON adds an option whose value is JSON, which needs no quoting of commas.
func (b *builder) addJSON(option string, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // only maps of strings, numbers and booleans come here
	}
	b.add(option, string(text))
}

// quote escapes a value inside of a comma-separated option.
func quote(value string) string { return strings.ReplaceAll(value, ",", ",,") }

func (b *builder) x86() bool { return b.spec.Arch != model.ARM64 }

// machine adds the board, its CPUs and memory, and what every machine has.
func (b *builder) machine() error {
	b.add("-name", nameArg(b.spec.ID),
		"-nodefaults", "-no-user-config", "-display", "none", "-msg", "timestamp=on",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		// A guest that powered off stays until its end has been recorded, also
		// when it does so while no daemon runs.
		"-action", "shutdown=pause",
		"-machine", b.board(), "-cpu", b.cpu())
	if b.accel == accelKVM {
		b.add("-accel", "kvm")
	} else {
		// QEMU would keep up to 1 GiB of translated code for each machine.
		b.add("-accel", fmt.Sprintf("tcg,tb-size=%d", TranslationCacheMiB))
	}
	b.add("-smp", strconv.Itoa(b.spec.VCPUs),
		"-m", fmt.Sprintf("%dM", b.spec.MemoryMiB),
		"-object", fmt.Sprintf("memory-backend-ram,id=ram,size=%dM", b.spec.MemoryMiB))
	// EC2's own strings: cloud-init and systemd-detect-virt go by them.
	b.add("-smbios", fmt.Sprintf("type=1,manufacturer=Amazon EC2,product=bundt,uuid=%s,serial=%s",
		quote(b.spec.UUID), quote(b.spec.UUID)))
	return nil
}

// nameArg identifies the process of a machine, see belongs.
func nameArg(id string) string { return "guest=" + id + ",debug-threads=on" }

// board names the machine type without a version: no memory image depends on
// it, and distributions rename or drop versions.
func (b *builder) board() string {
	// Nothing is ever plugged into its disk controller and its system management bus.
	board := "q35,vmport=off,smm=off,sata=off,smbus=off"
	switch {
	case !b.x86() && b.accel == accelKVM:
		board = "virt,gic-version=host"
	case !b.x86():
		board = "virt,gic-version=3"
	case b.direct():
		// Linux has better clocks than the HPET, and nobody types. Other systems,
		// which come with a boot loader, may expect a whole PC.
		board += ",hpet=off,i8042=off"
	}
	board += ",memory-backend=ram"
	if b.spec.Boot.Firmware == model.FirmwareUEFI {
		board += ",pflash0=efi-code,pflash1=efi-vars"
	}
	return board
}

// direct reports whether a kernel is started without UEFI in between.
func (b *builder) direct() bool {
	return b.spec.Boot.Kernel != "" && b.spec.Boot.Firmware != model.FirmwareUEFI
}

// cpu names a model. Under emulation it is one that has what current
// distributions need (x86-64-v2, ARMv8.0) and not `max`, whose many extensions
// make guests spend seconds on self-tests. Of x86's it is AMD's: of Intel's Linux
// believes that they need page table isolation against Meltdown, and every system
// call would make QEMU forget the guest's page tables. A KVM that is an emulator
// itself gets a named model, too: it refuses registers of the host's CPU that it
// announces.
func (b *builder) cpu() string {
	switch {
	case b.accel == accelKVM && b.host.KVM.Usable:
		return "host"
	case b.spec.Arch == model.ARM64:
		return "cortex-a72"
	case b.spec.Arch == model.I386:
		return "Nehalem,lm=off,syscall=off"
	case b.accel == accelKVM:
		return "Nehalem"
	}
	return "Opteron_G3,misalignsse=off,ssse3=on,sse4.1=on,sse4.2=on" // QEMU does not emulate misalignsse
}

// boot adds the firmware and the kernel.
func (b *builder) boot() error {
	boot := b.spec.Boot
	if boot.Kernel == "" && boot.Firmware != model.FirmwareUEFI && !b.x86() {
		return fmt.Errorf("%s machines boot a disk by UEFI only, not by firmware %q", b.spec.Arch, boot.Firmware)
	}
	if boot.Kernel == "" && boot.Firmware == model.FirmwareNone {
		return fmt.Errorf("without firmware it needs a kernel")
	}
	if boot.Kernel == "" && (boot.Initrd != "" || boot.Cmdline != "" || boot.VMLinux != "") {
		return fmt.Errorf("an initrd or a command line needs a kernel")
	}
	switch boot.Firmware {
	case model.FirmwareUEFI:
		if err := b.uefi(); err != nil {
			return err
		}
	case model.FirmwareNone:
	case model.FirmwareBIOS:
		if !b.x86() {
			return fmt.Errorf("%s machines have no BIOS", b.spec.Arch)
		}
	default:
		return fmt.Errorf("unknown firmware %q", boot.Firmware)
	}
	if boot.Kernel != "" {
		b.add("-kernel", b.kernel())
		if boot.Initrd != "" {
			b.add("-initrd", boot.Initrd)
		}
		if boot.Cmdline != "" {
			b.add("-append", boot.Cmdline)
		}
	}
	return nil
}

// kernel is the file to start. UEFI starts what is an EFI program itself, as a
// bzImage is and its uncompressed kernel is not.
func (b *builder) kernel() string {
	boot := b.spec.Boot
	if boot.VMLinux != "" && boot.Firmware != model.FirmwareUEFI && b.host.Archs[b.spec.Arch].PVH {
		return boot.VMLinux
	}
	return boot.Kernel
}

// minUEFIMemory: with less, OVMF does not get as far as its boot menu.
const minUEFIMemory = 192

func (b *builder) uefi() error {
	fw, err := firmwareFor(b.host, b.spec.Arch)
	if err != nil {
		return err
	}
	if b.x86() && b.spec.MemoryMiB < minUEFIMemory {
		return fmt.Errorf("UEFI needs %d MiB of memory, it has %d: use a larger instance type", minUEFIMemory, b.spec.MemoryMiB)
	}
	flash := func(node, path string, readOnly bool) {
		b.addJSON("-blockdev", properties{
			"driver": imageFormat(path), "node-name": node, "read-only": readOnly,
			"file": properties{"driver": "file", "filename": path, "read-only": readOnly},
		})
	}
	flash("efi-code", fw.Code, true)
	flash("efi-vars", b.paths.Vars(fw.Vars), false)
	// With its menu enabled and no time for it, the firmware skips a wait of 5 s.
	b.add("-boot", "menu=on,splash-time=0")
	return nil
}

// devices adds monitors, serial port, guest agent port, random numbers and the
// places for disks and interfaces that come and go.
func (b *builder) devices() error {
	for _, m := range []struct {
		id string
		fd int
	}{{"control", controlFD}, {"telemetry", telemetryFD}} {
		b.add("-chardev", fmt.Sprintf("socket,id=%s,fd=%d,server=on,wait=off", m.id, m.fd),
			"-mon", "chardev="+m.id+",mode=control")
	}
	b.add(b.paths.console()...)
	b.add("-object", "rng-builtin,id=rng", "-device", fmt.Sprintf("virtio-rng-pci,rng=rng,id=rng0,addr=%#x", slotRNG))
	b.add("-device", fmt.Sprintf("virtio-serial-pci,id=vserial,addr=%#x", slotSerial),
		"-chardev", "socket,id="+agentChardev+",server=on,wait=off,path="+quote(b.paths.Agent()),
		"-device", "virtserialport,bus=vserial.0,nr=1,chardev="+agentChardev+",name=org.qemu.guest_agent.0")
	if b.x86() {
		b.add("-device", "vmgenid,guid=auto,id=vmgenid0")
	}
	if b.spec.Display {
		b.add("-device", fmt.Sprintf("%s,id=video0,addr=%#x", b.video(), slotVideo))
	}
	b.places()
	return nil
}

// console makes the serial port, with a socket for those who are there and a log
// for those who come later.
func (p Paths) console() []string {
	return []string{
		"-chardev", fmt.Sprintf("socket,id=console,path=%s,server=on,wait=off,logfile=%s,logappend=on",
			quote(p.ConsoleSocket()), quote(p.Console())),
		"-serial", "chardev:console",
	}
}

// video is the graphics card: one that firmware and kernels write text on without
// a driver, where there is such a thing.
func (b *builder) video() string {
	if b.x86() {
		return "VGA"
	}
	return "virtio-gpu-pci"
}

// properties describe a block node, a device or the host's side of an interface,
// on the command line and in blockdev-add, device_add and netdev_add alike.
// https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html
type properties map[string]any

// layerNode describes a layer's node. The format is always said: a file that is
// probed is a file whose guest chooses how it is read.
func layerNode(l hypervisor.Layer, head bool, backing any) properties {
	node := properties{
		"driver": "qcow2", "node-name": l.ID, "read-only": !head, "backing": backing,
		"file": properties{"driver": "file", "filename": l.Path, "read-only": !head},
	}
	if head {
		node["discard"], node["detect-zeroes"] = "unmap", "unmap"
		node["file"].(properties)["discard"] = "unmap"
	}
	if l.Key.ID != "" {
		node["encrypt"] = properties{"format": "luks", "key-secret": l.Key.ID}
	}
	return node
}

// disks adds the layers' nodes, base first, and a virtio disk on each head.
// Disks may share layers below their heads.
func (b *builder) disks() error {
	for i, k := range specKeys(b.spec) {
		b.add("-object", fmt.Sprintf("secret,id=%s,file=/dev/fd/%d", k.ID, firstTapFD+taps(b.spec)+i))
	}
	added := map[string]string{}
	for i, disk := range b.spec.Disks {
		var backing any // JSON null: the chain's end is said, not read from the file
		for j := len(disk.Layers) - 1; j >= 0; j-- {
			l := disk.Layers[j]
			path, known := added[l.ID]
			if known && (path != l.Path || j == 0) {
				return fmt.Errorf("layer %s is used twice", l.ID)
			}
			if !known {
				b.addJSON("-blockdev", layerNode(l, j == 0, backing))
				added[l.ID] = l.Path
			}
			backing = l.ID
		}
		b.addJSON("-device", b.coldDisk(i, disk))
	}
	return nil
}

// coldDisk is the device of a disk that is there from the start: the root disk on
// the root complex, the others where they can be unplugged.
func (b *builder) coldDisk(i int, disk hypervisor.Disk) properties {
	at := onRoot(slotDisk)
	if i > 0 {
		at = diskPlaces(b.x86())[i-1]
	}
	args := diskArgs(disk, at)
	args["bootindex"] = i + 1 // 0 belongs to the ROM that loads a -kernel
	return args
}

// diskArgs are a virtio disk's properties, for -device and device_add.
func diskArgs(disk hypervisor.Disk, at place) properties {
	return at.put(properties{
		"driver": diskDriver, "id": diskDevice(disk.ID), "drive": disk.Layers[0].ID, "serial": serial(disk.ID),
		"werror": "stop", "rerror": "report",
	})
}

// diskDevice is the id of a disk's device.
func diskDevice(diskID string) string { return serial(diskID) }

// nics adds the interfaces, the first on the root complex, the others where they
// can be unplugged.
func (b *builder) nics() error {
	tap := firstTapFD
	for _, nic := range b.spec.NICs {
		at := onRoot(slotNIC)
		if nic.Index > 0 {
			at = nicPlace(b.x86(), nic.Index)
		}
		fd := ""
		if nic.Tap {
			fd = strconv.Itoa(tap)
			tap++
		}
		b.addJSON("-netdev", b.paths.netdev(nic, fd))
		b.addJSON("-device", nicArgs(nic, at))
	}
	return nil
}

// netdev is the host's side of an interface, for -netdev and netdev_add. At a
// socket QEMU listens, so that the network's switch can come and go; a tap comes
// open, as tap.
func (p Paths) netdev(nic hypervisor.NIC, tap string) properties {
	if nic.Tap {
		return properties{"type": "tap", "id": netdevID(nic.ID), "fd": tap, "vhost": false}
	}
	return properties{
		"type": "stream", "id": netdevID(nic.ID), "server": true,
		"addr": properties{"type": "unix", "path": p.NIC(nic.Index)},
	}
}

// nicArgs are a virtio interface's properties, for -device and device_add. No
// option ROM: nothing boots from the network.
func nicArgs(nic hypervisor.NIC, at place) properties {
	args := at.put(properties{
		"driver": nicDriver, "id": nic.ID, "netdev": netdevID(nic.ID), "mac": nic.MAC, "romfile": "",
	})
	if nic.MTU > 0 {
		args["host_mtu"] = nic.MTU
	}
	return args
}

func netdevID(nicID string) string { return "net-" + nicID }
