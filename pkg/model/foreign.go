package model

// ForeignMachine is a virtual machine of this host that bundt did not make.
type ForeignMachine struct {
	Name string
	UUID string
	Arch Arch
	UEFI bool // it boots by UEFI, else by BIOS
	// Running: its disks change while they are read.
	Running bool
	Disks   []ForeignDisk // the one that it boots from first
}

// ForeignDisk is a disk of a foreign machine: one file, in the format that the
// machine's definition says.
type ForeignDisk struct {
	Name   string // as the definition calls it, "vda"
	Path   string
	Format DiskFormat
}

// BootMode is how the machine boots.
func (m *ForeignMachine) BootMode() BootMode {
	if m.UEFI {
		return BootModeUEFI
	}
	return BootModeBIOS
}
