package qemu

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

// descriptorDirs hold firmware descriptors, most important first: an
// administrator's before the distribution's.
// https://www.qemu.org/docs/master/interop/firmware.json
var descriptorDirs = []string{"/etc/qemu/firmware", "/usr/share/qemu/firmware", "/usr/local/share/qemu/firmware"}

// wellKnownFirmware is where distributions put UEFI images, for those that
// install no descriptors.
var wellKnownFirmware = []hypervisor.FirmwareFile{
	{Arch: model.X8664, Code: "/usr/share/OVMF/OVMF_CODE_4M.fd", Vars: "/usr/share/OVMF/OVMF_VARS_4M.fd"},         // Debian, Ubuntu
	{Arch: model.X8664, Code: "/usr/share/OVMF/OVMF_CODE.fd", Vars: "/usr/share/OVMF/OVMF_VARS.fd"},               // older ones
	{Arch: model.X8664, Code: "/usr/share/edk2/ovmf/OVMF_CODE.fd", Vars: "/usr/share/edk2/ovmf/OVMF_VARS.fd"},     // Fedora
	{Arch: model.X8664, Code: "/usr/share/edk2/x64/OVMF_CODE.4m.fd", Vars: "/usr/share/edk2/x64/OVMF_VARS.4m.fd"}, // Arch
	{Arch: model.ARM64, Code: "/usr/share/AAVMF/AAVMF_CODE.fd", Vars: "/usr/share/AAVMF/AAVMF_VARS.fd"},           // Debian, Ubuntu
	{Arch: model.ARM64, Code: "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", Vars: "/usr/share/edk2/aarch64/vars-template-pflash.raw"},
}

// qemuArch is QEMU's name of an architecture.
var qemuArch = map[model.Arch]string{model.X8664: "x86_64", model.ARM64: "aarch64", model.I386: "i386"}

// descriptor is what we need of a firmware descriptor.
type descriptor struct {
	InterfaceTypes []string `json:"interface-types"`
	Mapping        struct {
		Device     string `json:"device"`
		Executable struct {
			Filename string `json:"filename"`
		} `json:"executable"`
		Template struct {
			Filename string `json:"filename"`
		} `json:"nvram-template"`
	} `json:"mapping"`
	Targets []struct {
		Architecture string   `json:"architecture"`
		Machines     []string `json:"machines"`
	} `json:"targets"`
	Features []string `json:"features"`
}

// plain reports whether the firmware is UEFI in flash that needs neither SMM nor
// enrolled keys nor a confidential machine.
func (d *descriptor) plain() bool {
	if !slices.Contains(d.InterfaceTypes, "uefi") || d.Mapping.Device != "flash" ||
		d.Mapping.Executable.Filename == "" || d.Mapping.Template.Filename == "" {
		return false
	}
	return !slices.ContainsFunc(d.Features, func(f string) bool {
		return f == "secure-boot" || f == "requires-smm" || f == "enrolled-keys"
	})
}

func (d *descriptor) serves(a model.Arch) bool {
	board := "q35"
	if a == model.ARM64 {
		board = "virt"
	}
	for _, t := range d.Targets {
		if t.Architecture == qemuArch[a] &&
			slices.ContainsFunc(t.Machines, func(m string) bool { return strings.Contains(m, board) }) {
			return true
		}
	}
	return false
}

// findFirmware lists the UEFI firmware of the host, at most one per
// architecture, and for those without one what is missing.
func findFirmware(dirs []string) []hypervisor.FirmwareFile {
	descriptors := readDescriptors(dirs)
	var found []hypervisor.FirmwareFile
	for _, a := range model.Archs {
		found = append(found, findFirmwareFor(a, descriptors))
	}
	return found
}

func findFirmwareFor(a model.Arch, descriptors []descriptor) hypervisor.FirmwareFile {
	var candidates []hypervisor.FirmwareFile
	for _, d := range descriptors {
		if d.plain() && d.serves(a) {
			candidates = append(candidates, hypervisor.FirmwareFile{Code: d.Mapping.Executable.Filename, Vars: d.Mapping.Template.Filename})
		}
	}
	for _, f := range wellKnownFirmware {
		if f.Arch == a {
			candidates = append(candidates, f)
		}
	}
	problem := "not installed: " + firmwareFix(a)
	for _, f := range candidates {
		f.Arch, f.Kind = a, model.FirmwareUEFI
		err := errors.Join(readable(f.Code), readable(f.Vars))
		if err == nil {
			return f
		}
		if !errors.Is(err, os.ErrNotExist) {
			problem = err.Error()
		}
	}
	return hypervisor.FirmwareFile{Arch: a, Kind: model.FirmwareUEFI, Problem: problem}
}

func firmwareFix(a model.Arch) string {
	switch a {
	case model.X8664:
		return "sudo apt install ovmf (Debian, Ubuntu) or sudo dnf install edk2-ovmf (Fedora)"
	case model.ARM64:
		return "sudo apt install qemu-efi-aarch64 (Debian, Ubuntu) or sudo dnf install edk2-aarch64 (Fedora)"
	}
	return "no distribution's default; images of this architecture boot by BIOS or kernel"
}

func readDescriptors(dirs []string) []descriptor {
	var list []descriptor
	seen := map[string]bool{}
	for _, dir := range dirs {
		names, _ := filepath.Glob(filepath.Join(dir, "*.json")) // sorted, which is their order of preference
		for _, name := range names {
			if seen[filepath.Base(name)] {
				continue // hidden by one in an earlier directory
			}
			seen[filepath.Base(name)] = true
			text, err := os.ReadFile(name)
			var d descriptor
			if err == nil && json.Unmarshal(text, &d) == nil {
				list = append(list, d)
			}
		}
	}
	return list
}

func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

func firmwareFor(h hypervisor.Host, a model.Arch) (hypervisor.FirmwareFile, error) {
	for _, f := range h.Firmware {
		if f.Arch != a || f.Kind != model.FirmwareUEFI {
			continue
		}
		if f.Problem != "" {
			return f, fmt.Errorf("%w: UEFI firmware for %s: %s", hypervisor.ErrUnavailable, a, f.Problem)
		}
		return f, nil
	}
	return hypervisor.FirmwareFile{}, fmt.Errorf("%w: no UEFI firmware for %s: %s", hypervisor.ErrUnavailable, a, firmwareFix(a))
}

// imageFormat is a firmware image's format; distributions tell it by the name.
func imageFormat(path string) string {
	if strings.HasSuffix(path, ".qcow2") {
		return "qcow2"
	}
	return "raw"
}

// makeVars copies the template of the variable store, if the machine has none
// yet, and leaves holes where it is zero: templates are up to 64 MiB of nothing.
func makeVars(template, path string) (err error) {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	in, err := os.Open(template)
	if err != nil {
		return fmt.Errorf("opening the template of the UEFI variables: %w", err)
	}
	defer in.Close()
	tmp := path + ".new"
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("creating the UEFI variables: %w", err)
	}
	size, err := copySparse(out, in)
	if err == nil {
		err = out.Truncate(size)
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("copying the UEFI variables: %w", err)
	}
	return nil
}

func copySparse(out io.WriterAt, in io.Reader) (int64, error) {
	buf := make([]byte, 256<<10)
	zero := make([]byte, len(buf))
	var at int64
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 && !bytes.Equal(buf[:n], zero[:n]) {
			if _, err := out.WriteAt(buf[:n], at); err != nil {
				return at, err
			}
		}
		at += int64(n)
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return at, nil
		case err != nil:
			return at, err
		}
	}
}
