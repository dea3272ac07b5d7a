package libvirt

import (
	"cmp"
	"fmt"
	"slices"

	"libvirt.org/go/libvirtxml"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

// diskFormats are the formats that can be read, by libvirt's names.
var diskFormats = map[string]model.DiskFormat{
	"raw": model.FormatRaw, "qcow2": model.FormatQcow2, "vmdk": model.FormatVMDK, "vpc": model.FormatVHD, "vhdx": model.FormatVHDX,
}

// foreign reads the definition of a domain that somebody else made. What of it cannot
// be read is an error: half of a machine is none.
func foreign(x *libvirtxml.Domain) (model.ForeignMachine, error) {
	m := model.ForeignMachine{Name: x.Name, UUID: x.UUID}
	if x.OS == nil || x.OS.Type == nil || x.Devices == nil {
		return m, fmt.Errorf("the domain %s is no whole machine: %w", x.Name, hypervisor.ErrUnsupported)
	}
	for a, name := range arch {
		if name == x.OS.Type.Arch {
			m.Arch = a
		}
	}
	if m.Arch == "" {
		return m, fmt.Errorf("the domain %s has the architecture %s: %w", x.Name, x.OS.Type.Arch, hypervisor.ErrUnsupported)
	}
	m.UEFI = x.OS.Firmware == "efi" || x.OS.Loader != nil && x.OS.Loader.Type == "pflash"
	disks := slices.Clone(x.Devices.Disks)
	slices.SortStableFunc(disks, func(a, b libvirtxml.DomainDisk) int { return cmp.Compare(bootOrder(a), bootOrder(b)) })
	for _, d := range disks {
		if d.Device != "" && d.Device != "disk" { // CD-ROMs and floppies come and go
			continue
		}
		disk, err := foreignDisk(d)
		if err != nil {
			return m, fmt.Errorf("the domain %s: %w", x.Name, err)
		}
		m.Disks = append(m.Disks, disk)
	}
	if len(m.Disks) == 0 {
		return m, fmt.Errorf("the domain %s has no disks: %w", x.Name, hypervisor.ErrUnsupported)
	}
	return m, nil
}

// bootOrder sorts disks that are not booted from behind the others.
func bootOrder(d libvirtxml.DomainDisk) uint {
	if d.Boot == nil {
		return ^uint(0)
	}
	return d.Boot.Order
}

func foreignDisk(d libvirtxml.DomainDisk) (model.ForeignDisk, error) {
	out := model.ForeignDisk{}
	if d.Target != nil {
		out.Name = d.Target.Dev
	}
	format := "raw" // libvirt's own default, as it probes nothing
	if d.Driver != nil && d.Driver.Type != "" {
		format = d.Driver.Type
	}
	out.Format = diskFormats[format]
	switch {
	case d.Source == nil || d.Source.File == nil || d.Source.File.File == "":
		return out, fmt.Errorf("its disk %s is no file: %w; copy it to one first", out.Name, hypervisor.ErrUnsupported)
	case d.Source.Encryption != nil || d.Encryption != nil:
		return out, fmt.Errorf("its disk %s is encrypted: %w", out.Name, hypervisor.ErrUnsupported)
	case out.Format == "":
		return out, fmt.Errorf("its disk %s has the format %s: %w; convert it first", out.Name, format, hypervisor.ErrUnsupported)
	case backed(d.BackingStore):
		return out, fmt.Errorf("its disk %s is an overlay on other files: %w; flatten it first (virsh blockpull)", out.Name, hypervisor.ErrUnsupported)
	}
	out.Path = d.Source.File.File
	return out, nil
}

func backed(b *libvirtxml.DomainDiskBackingStore) bool { return b != nil && b.Source != nil }
