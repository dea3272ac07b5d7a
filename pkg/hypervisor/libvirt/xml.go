package libvirt

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu"
	"github.com/bundt/bundt/pkg/model"
)

// Host is what a domain's XML depends on besides the machine.
type Host struct {
	hypervisor.Host
	// SecModels are the security drivers that libvirt confines domains with, such as
	// "apparmor" and "dac".
	SecModels []string
	UID, GID  int // of the daemon, which made the layers and directories
}

// record is what a domain's metadata says of the machine that it is. So everything that
// there is to know lies in one place, and comes and goes with the domain.
type record struct {
	Owner  string            `json:"owner"` // the driver's StateDir
	Spec   hypervisor.Spec   `json:"spec"`
	Accel  model.Accelerator `json:"accel"`
	Halted bool              `json:"halted,omitempty"` // the guest powered off
}

// The metadata's XML namespace and its prefix.
const (
	namespace = "https://github.com/bundt/bundt/libvirt/1"
	prefix    = "bundt"
)

// element is the record as XML, without its namespace.
func (r record) element() (string, error) { return r.xml("machine", "") }

// metadata is the record as a part of the domain's XML.
func (r record) metadata() (string, error) {
	return r.xml(prefix+":machine", fmt.Sprintf(" xmlns:%s=%q", prefix, namespace))
}

func (r record) xml(name, attributes string) (string, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encoding the record: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<%s%s>", name, attributes)
	if err := xml.EscapeText(&b, text); err != nil {
		return "", fmt.Errorf("encoding the record: %w", err)
	}
	fmt.Fprintf(&b, "</%s>", name)
	return b.String(), nil
}

func parseRecord(element string) (r record, err error) {
	var m struct {
		Text string `xml:",chardata"`
	}
	if err := xml.Unmarshal([]byte(element), &m); err != nil {
		return r, fmt.Errorf("decoding the record: %w", err)
	}
	if err := json.Unmarshal([]byte(m.Text), &r); err != nil {
		return r, fmt.Errorf("decoding the record: %w", err)
	}
	return r, nil
}

// domainName is the name of a machine's domain, for people: domains are known by UUID.
func domainName(id string) string { return "bundt-" + id }

// arch is libvirt's name of an architecture.
var arch = map[model.Arch]string{model.X8664: "x86_64", model.ARM64: "aarch64", model.I386: "i686"}

// DomainXML returns the domain of a machine on this host, whose record says who owns
// it. It depends on nothing but its parameters and touches nothing.
func DomainXML(spec hypervisor.Spec, h Host, p qemu.Paths, owner string) (string, error) {
	if slices.ContainsFunc(spec.NICs, func(n hypervisor.NIC) bool { return n.Tap }) {
		return "", fmt.Errorf("machine %s: %w", spec.ID, errTap)
	}
	accel, err := qemu.Resolve(spec, h.Host, p)
	if err != nil {
		return "", fmt.Errorf("machine %s: %w", spec.ID, err)
	}
	spec.Taps = nil
	for _, disk := range spec.Disks {
		if err := plain(disk.Layers...); err != nil {
			return "", fmt.Errorf("machine %s: %w", spec.ID, err)
		}
	}
	metadata, err := record{Owner: owner, Spec: spec, Accel: accel}.metadata()
	if err != nil {
		return "", err
	}
	spec.Accel = accel.Name
	b := builder{spec: spec, host: h, paths: p}
	system, err := b.os()
	if err != nil {
		return "", err
	}
	command, err := b.commandline()
	if err != nil {
		return "", err
	}
	dom := libvirtxml.Domain{
		Type: "qemu", Name: domainName(spec.ID), UUID: spec.UUID,
		Metadata: &libvirtxml.DomainMetadata{XML: metadata},
		Memory:   &libvirtxml.DomainMemory{Value: uint(spec.MemoryMiB), Unit: "MiB"},
		VCPU:     &libvirtxml.DomainVCPU{Value: uint(spec.VCPUs)},
		SysInfo:  b.sysinfo(), OS: system, Features: b.features(), CPU: b.cpu(), Clock: b.clock(),
		OnPoweroff: "destroy", OnReboot: "restart", OnCrash: "preserve",
		Devices: b.devices(), SecLabel: b.labels(),
		QEMUCommandline: command, QEMUOverride: b.override(),
	}
	if spec.Accel == qemu.AccelKVM {
		dom.Type = "kvm"
	}
	if b.x86() {
		dom.GenID = &libvirtxml.DomainGenID{} // libvirt makes one up
	}
	text, err := dom.Marshal()
	if err != nil {
		return "", fmt.Errorf("encoding the domain of machine %s: %w", spec.ID, err)
	}
	return text, nil
}

type builder struct {
	spec  hypervisor.Spec
	host  Host
	paths qemu.Paths
}

func (b *builder) x86() bool { return b.spec.Arch != model.ARM64 }

func (b *builder) uefi() bool { return b.spec.Boot.Firmware == model.FirmwareUEFI }

// sysinfo has EC2's own strings: cloud-init and systemd-detect-virt go by them.
func (b *builder) sysinfo() []libvirtxml.DomainSysInfo {
	return []libvirtxml.DomainSysInfo{{SMBIOS: &libvirtxml.DomainSysInfoSMBIOS{System: &libvirtxml.DomainSysInfoSystem{
		Entry: []libvirtxml.DomainSysInfoEntry{
			{Name: "manufacturer", Value: "Amazon EC2"},
			{Name: "product", Value: "bundt"},
			{Name: "serial", Value: b.spec.UUID},
			{Name: "uuid", Value: b.spec.UUID},
		},
	}}}}
}

func (b *builder) os() (*libvirtxml.DomainOS, error) {
	board := "q35"
	if !b.x86() {
		board = "virt"
	}
	boot := b.spec.Boot
	system := &libvirtxml.DomainOS{
		Type:   &libvirtxml.DomainOSType{Arch: arch[b.spec.Arch], Machine: board, Type: "hvm"},
		SMBios: &libvirtxml.DomainSMBios{Mode: "sysinfo"},
		Initrd: boot.Initrd, Cmdline: boot.Cmdline,
	}
	if boot.Kernel != "" {
		system.Kernel = qemu.Kernel(b.spec, b.host.Host)
	}
	if !b.uefi() {
		return system, nil
	}
	fw, err := qemu.Firmware(b.host.Host, b.spec.Arch)
	if err != nil {
		return nil, err
	}
	system.Loader = &libvirtxml.DomainLoader{Path: fw.Code, Readonly: "yes", Type: "pflash"}
	system.NVRam = &libvirtxml.DomainNVRam{NVRam: b.paths.Vars(fw.Vars)}
	if format := qemu.ImageFormat(fw.Code); format != "raw" { // libvirt before 9.2 knows raw ones only
		system.Loader.Format, system.NVRam.Format = format, format
	}
	// With its menu enabled and no time for it, the firmware skips a wait of 5 s.
	system.BootMenu = &libvirtxml.DomainBootMenu{Enable: "yes", Timeout: "0"}
	return system, nil
}

func (b *builder) features() *libvirtxml.DomainFeatureList {
	f := &libvirtxml.DomainFeatureList{}
	off := &libvirtxml.DomainFeatureState{State: "off"}
	if b.x86() {
		f.ACPI, f.APIC = &libvirtxml.DomainFeature{}, &libvirtxml.DomainFeatureAPIC{}
		f.VMPort, f.SMM = off, &libvirtxml.DomainFeatureSMM{State: "off"}
	} else {
		f.GIC = &libvirtxml.DomainFeatureGIC{Version: "3"}
		if b.spec.Accel == qemu.AccelKVM {
			f.GIC.Version = "host"
		}
		if b.uefi() { // libvirt allows it with UEFI only
			f.ACPI = &libvirtxml.DomainFeature{}
		}
	}
	if b.spec.Accel == qemu.AccelTCG {
		f.TCG = &libvirtxml.DomainFeatureTCG{TBCache: &libvirtxml.DomainFeatureTCGTBCache{Unit: "MiB", Size: qemu.TranslationCacheMiB}}
	}
	return f
}

// cpu translates the model that QEMU's driver chooses.
func (b *builder) cpu() *libvirtxml.DomainCPU {
	name, features, _ := strings.Cut(qemu.CPU(b.spec, b.host.Host), ",")
	if name == "host" {
		return &libvirtxml.DomainCPU{Mode: "host-passthrough", Check: "none"}
	}
	cpu := &libvirtxml.DomainCPU{
		Mode: "custom", Match: "exact", Check: "none",
		Model: &libvirtxml.DomainCPUModel{Fallback: "forbid", Value: name},
	}
	for f := range strings.SplitSeq(features, ",") {
		feature, state, ok := strings.Cut(f, "=")
		if !ok {
			continue
		}
		policy := "require"
		if state == "off" {
			policy = "disable"
		}
		cpu.Features = append(cpu.Features, libvirtxml.DomainCPUFeature{Policy: policy, Name: feature})
	}
	return cpu
}

// clock leaves out the HPET where QEMU's driver does: Linux has better ones.
func (b *builder) clock() *libvirtxml.DomainClock {
	c := &libvirtxml.DomainClock{Offset: "utc"}
	if b.x86() && qemu.DirectBoot(b.spec) {
		c.Timer = []libvirtxml.DomainTimer{{Name: "hpet", Present: "no"}}
	}
	return c
}

// labels have QEMU run as the daemon's user, whose files it opens, and keep libvirt
// from changing their owners and from confining QEMU to what the XML names: it does
// not name the sockets.
func (b *builder) labels() []libvirtxml.DomainSecLabel {
	var labels []libvirtxml.DomainSecLabel
	for _, m := range b.host.SecModels {
		switch m {
		case "none":
		case "dac":
			labels = append(labels, libvirtxml.DomainSecLabel{
				Type: "static", Model: m, Relabel: "no", Label: fmt.Sprintf("+%d:+%d", b.host.UID, b.host.GID),
			})
		default:
			labels = append(labels, libvirtxml.DomainSecLabel{Type: "none", Model: m})
		}
	}
	return labels
}

func (b *builder) devices() *libvirtxml.DomainDeviceList {
	list := &libvirtxml.DomainDeviceList{
		Emulator:    b.host.Archs[b.spec.Arch].Emulator,
		Controllers: b.controllers(),
		MemBalloon:  &libvirtxml.DomainMemBalloon{Model: "none"},
		RNGs: []libvirtxml.DomainRNG{{
			Model: "virtio", Backend: &libvirtxml.DomainRNGBackend{BuiltIn: &libvirtxml.DomainRNGBackendBuiltIn{}},
			Address: pci(0, qemu.SlotRNG, 0),
		}},
		Channels: []libvirtxml.DomainChannel{{
			Source: &libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{Mode: "bind", Path: b.paths.Agent()}},
			Target: &libvirtxml.DomainChannelTarget{VirtIO: &libvirtxml.DomainChannelTargetVirtIO{Name: agentPort}},
		}},
	}
	for i, disk := range b.spec.Disks {
		at := pci(0, qemu.SlotDisk, 0)
		if i > 0 {
			at = place(b.x86(), qemu.DiskPlace(i))
		}
		d := diskXML(disk, diskTarget(i), at)
		d.Boot = &libvirtxml.DomainDeviceBoot{Order: uint(i + 1)}
		list.Disks = append(list.Disks, d)
	}
	if b.spec.Display {
		card := "vga"
		if !b.x86() {
			card = "virtio"
		}
		list.Videos = []libvirtxml.DomainVideo{{Model: libvirtxml.DomainVideoModel{Type: card}, Address: pci(0, qemu.SlotVideo, 0)}}
	}
	return list
}

// agentPort is where the guest agent is spoken to.
const agentPort = "org.qemu.guest_agent.0"

// controllers are the buses, as QEMU's driver makes them: see its hotPlace.
func (b *builder) controllers() []libvirtxml.DomainController {
	controller := func(kind, model string, index uint, at *libvirtxml.DomainAddress) libvirtxml.DomainController {
		return libvirtxml.DomainController{Type: kind, Model: model, Index: &index, Address: at}
	}
	list := []libvirtxml.DomainController{
		controller("usb", "none", 0, nil),
		controller("pci", "pcie-root", 0, nil),
		controller("virtio-serial", "", 0, pci(0, qemu.SlotSerial, 0)),
	}
	if b.x86() {
		// Libvirt plugs the bridge into a port only, QEMU's driver into the root complex.
		return append(list,
			controller("pci", "pcie-root-port", 1, pci(0, qemu.SlotPlaces, 0)),
			controller("pci", "pcie-to-pci-bridge", x86Bridge, pci(1, 0, 0)))
	}
	for i := range uint(qemu.HotPlaces) {
		port := controller("pci", "pcie-root-port", i+1, pci(0, qemu.SlotPlaces+i/8, i%8))
		number := i + 1
		port.PCI = &libvirtxml.DomainControllerPCI{Target: &libvirtxml.DomainControllerPCITarget{Chassis: &number, Port: &number}}
		port.Alias = &libvirtxml.DomainAlias{Name: portAlias(i)}
		if i%8 == 0 {
			port.Address.PCI.MultiFunction = "on"
		}
		list = append(list, port)
	}
	return list
}

// x86Bridge is the index of the bridge on which devices come and go.
const x86Bridge = 2

func portAlias(i uint) string { return fmt.Sprintf("ua-port%d", i) }

// override keeps ports from reserving I/O ports, of which there are too few for all.
func (b *builder) override() *libvirtxml.DomainQEMUOverride {
	if b.x86() {
		return nil
	}
	o := &libvirtxml.DomainQEMUOverride{}
	for i := range uint(qemu.HotPlaces) {
		o.Devices = append(o.Devices, libvirtxml.DomainQEMUOverrideDevice{
			Alias: portAlias(i),
			Frontend: libvirtxml.DomainQEMUOverrideFrontend{Properties: []libvirtxml.DomainQEMUOverrideProperty{
				{Name: "io-reserve", Type: "unsigned", Value: "0"},
			}},
		})
	}
	return o
}

// commandline is what libvirt's XML cannot say: interfaces that listen on a socket
// (-netdev stream); a serial port that QEMU itself keeps a log of, which is ours to read
// and to shorten, and not virtlogd's; and where the process's id is to be found.
func (b *builder) commandline() (*libvirtxml.DomainQEMUCommandline, error) {
	args := append([]string{"-pidfile", pidFile(b.paths)}, b.paths.ConsoleArgs()...)
	for _, nic := range b.spec.NICs {
		bus, slot := nicSlot(b.x86(), nic.Index)
		netdev, device := b.paths.NICArgs(nic, bus, slot)
		for _, option := range []struct {
			name  string
			value any
		}{{"-netdev", netdev}, {"-device", device}} {
			text, err := json.Marshal(option.value)
			if err != nil {
				return nil, fmt.Errorf("encoding interface %s: %w", nic.ID, err)
			}
			args = append(args, option.name, string(text))
		}
	}
	c := &libvirtxml.DomainQEMUCommandline{}
	for _, a := range args {
		c.Args = append(c.Args, libvirtxml.DomainQEMUCommandlineArg{Value: a})
	}
	return c, nil
}

// place is the address of a place for what comes and goes.
func place(x86 bool, i int) *libvirtxml.DomainAddress {
	if x86 {
		return pci(x86Bridge, uint(i)+1, 0)
	}
	return pci(uint(i)+1, 0, 0)
}

// nicSlot is where an interface is: a bus of libvirt's making, and a slot.
func nicSlot(x86 bool, index int) (bus string, slot int) {
	switch {
	case index == 0:
		return "pcie.0", qemu.SlotNIC
	case x86:
		return fmt.Sprintf("pci.%d", x86Bridge), qemu.NICPlace(index) + 1
	}
	return portAlias(uint(qemu.NICPlace(index))), 0
}

func pci(bus, slot, function uint) *libvirtxml.DomainAddress {
	return &libvirtxml.DomainAddress{PCI: &libvirtxml.DomainAddressPCI{Bus: &bus, Slot: &slot, Function: &function}}
}

// diskTarget is the name by which libvirt's API knows the i-th disk.
func diskTarget(i int) string { return "vd" + string(rune('a'+i)) }

// diskAlias is the name of a disk's device in QEMU.
func diskAlias(diskID string) string { return "ua-" + qemu.Serial(diskID) }

// diskXML describes a disk with the whole of its chain: the format of each layer and the
// end are said, so that libvirt looks into none of them.
func diskXML(disk hypervisor.Disk, target string, at *libvirtxml.DomainAddress) libvirtxml.DomainDisk {
	below := &libvirtxml.DomainDiskBackingStore{} // the end
	for _, l := range slices.Backward(disk.Layers[1:]) {
		below = &libvirtxml.DomainDiskBackingStore{
			Format: &libvirtxml.DomainDiskFormat{Type: "qcow2"}, Source: fileSource(l.Path), BackingStore: below,
		}
	}
	d := libvirtxml.DomainDisk{
		Device: "disk",
		Driver: &libvirtxml.DomainDiskDriver{
			Name: "qemu", Type: "qcow2", ErrorPolicy: "stop", RErrorPolicy: "report", Discard: "unmap", DetectZeros: "unmap",
		},
		Source: fileSource(disk.Layers[0].Path), BackingStore: below,
		Target: &libvirtxml.DomainDiskTarget{Dev: target, Bus: "virtio"},
		Serial: qemu.Serial(disk.ID), Alias: &libvirtxml.DomainAlias{Name: diskAlias(disk.ID)}, Address: at,
	}
	if bus := at.PCI.Bus; *bus > 0 { // where there are no I/O ports to spare
		d.Model = "virtio-non-transitional"
	}
	if disk.Limits != (model.IOLimits{}) {
		tune := tuning(disk.Limits)
		d.IOTune = &tune
	}
	return d
}

// plain refuses encrypted layers.
func plain(layers ...hypervisor.Layer) error {
	for _, l := range layers {
		if l.Key.ID != "" {
			return fmt.Errorf("layer %s is encrypted, which the libvirt driver cannot open yet; use --hypervisor qemu: %w", l.ID, hypervisor.ErrUnsupported)
		}
	}
	return nil
}

func fileSource(path string) *libvirtxml.DomainDiskSource {
	return &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: path}}
}

// tuning translates limits. Where there is no burst, what one second allows may be done
// at once, as EBS counts by the second; QEMU's own measure is a tenth of that.
func tuning(l model.IOLimits) (t libvirtxml.DomainDiskIOTune) {
	put := func(r model.Rate, rate, most, seconds *uint64) {
		if r.PerSecond > 0 {
			*rate, *most, *seconds = uint64(r.PerSecond), uint64(max(r.Burst, r.PerSecond)), uint64(max(r.BurstSeconds, 1))
		}
	}
	put(l.Operations, &t.TotalIopsSec, &t.TotalIopsSecMax, &t.TotalIopsSecMaxLength)
	put(l.Bytes, &t.TotalBytesSec, &t.TotalBytesSecMax, &t.TotalBytesSecMaxLength)
	if l.Operations != (model.Rate{}) {
		t.SizeIopsSec = uint64(l.OperationBytes)
	}
	return t
}

// pidFile is where QEMU says which process it is: libvirt does not tell.
func pidFile(p qemu.Paths) string { return filepath.Join(p.Run, "pid") }
