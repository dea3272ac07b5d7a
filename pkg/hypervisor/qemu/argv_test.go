package qemu

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func testHost() hypervisor.Host {
	h := hypervisor.Host{
		Archs: map[model.Arch]hypervisor.ArchSupport{},
		KVM:   hypervisor.KVM{Present: true, Usable: true},
		Firmware: []hypervisor.FirmwareFile{
			{Arch: model.X8664, Kind: model.FirmwareUEFI, Code: "/fw/OVMF_CODE.fd", Vars: "/fw/OVMF_VARS.fd"},
			{Arch: model.ARM64, Kind: model.FirmwareUEFI, Code: "/fw/AAVMF_CODE.qcow2", Vars: "/fw/AAVMF_VARS.qcow2"},
			{Arch: model.I386, Kind: model.FirmwareUEFI, Problem: "not installed"},
		},
	}
	for a, q := range qemuArch {
		h.Archs[a] = hypervisor.ArchSupport{Emulator: "/usr/bin/qemu-system-" + q, Accel: model.Accelerator{Name: accelTCG}, PVH: a == model.X8664}
	}
	return h
}

func testSpec(arch model.Arch, boot hypervisor.BootSpec) hypervisor.Spec {
	return hypervisor.Spec{
		ID: "i-0123456789abcdef0", UUID: "ec2a1b2c-0000-4000-8000-000000000001",
		Arch: arch, VCPUs: 2, MemoryMiB: 512, Boot: boot,
		Disks: []hypervisor.Disk{
			{ID: "vol-0123456789abcdef0", Layers: []hypervisor.Layer{
				{ID: "layer-00000000000000002", Path: "/layers/2"},
				{ID: "layer-00000000000000001", Path: "/layers/1"},
				{ID: "layer-00000000000000000", Path: "/layers/0"},
			}},
			{ID: "vol-0123456789abcdef1", Layers: []hypervisor.Layer{
				{ID: "layer-00000000000000003", Path: "/layers/3, with a comma"},
				{ID: "layer-00000000000000000", Path: "/layers/0"},
			}},
		},
		NICs: []hypervisor.NIC{
			{ID: "eni-0123456789abcdef0", MAC: "02:00:00:00:00:01", MTU: 1500},
			{ID: "eni-0123456789abcdef1", MAC: "02:00:00:00:00:02", Index: 2},
		},
	}
}

var testPaths = Paths{State: "/state/i-0123456789abcdef0", Run: "/run/a,b/i-0123456789abcdef0"}

func TestArgvGolden(t *testing.T) {
	direct := hypervisor.BootSpec{Firmware: model.FirmwareNone, Kernel: "/k/vmlinuz", Initrd: "/k/initrd", Cmdline: "root=/dev/vda1 console=ttyS0,115200"}
	uefiKernel := direct
	uefiKernel.Firmware = model.FirmwareUEFI
	pvh, pvhByUEFI := direct, uefiKernel
	pvh.VMLinux, pvhByUEFI.VMLinux = "/k/vmlinux", "/k/vmlinux"
	for name, tc := range map[string]struct {
		arch  model.Arch
		boot  hypervisor.BootSpec
		accel string // or "display" or "tap", which adds one
	}{
		"x86_64-bios":       {model.X8664, hypervisor.BootSpec{Firmware: model.FirmwareBIOS}, ""},
		"x86_64-uefi":       {model.X8664, hypervisor.BootSpec{Firmware: model.FirmwareUEFI}, ""},
		"x86_64-kernel-kvm": {model.X8664, direct, "kvm"},
		"x86_64-pvh":        {model.X8664, pvh, ""},
		"x86_64-uefi-pvh":   {model.X8664, pvhByUEFI, ""},
		"x86_64-display":    {model.X8664, hypervisor.BootSpec{Firmware: model.FirmwareBIOS}, "display"},
		"arm64-display":     {model.ARM64, hypervisor.BootSpec{Firmware: model.FirmwareUEFI}, "display"},
		"x86_64-tap":        {model.X8664, direct, "tap"},
		"i386-pvh":          {model.I386, pvh, ""},
		"i386-kernel":       {model.I386, direct, "tcg"},
		"arm64-uefi":        {model.ARM64, hypervisor.BootSpec{Firmware: model.FirmwareUEFI}, ""},
		"arm64-uefi-kernel": {model.ARM64, uefiKernel, ""},
		"arm64-kernel-kvm":  {model.ARM64, direct, "kvm"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := testSpec(tc.arch, tc.boot)
			if spec.Accel = tc.accel; tc.accel == "display" {
				spec.Accel, spec.Display = "", true
			}
			if tc.accel == "tap" {
				spec.Accel, spec.NICs = "", append(spec.NICs, hypervisor.NIC{ID: "eni-1", MAC: "02:00:00:00:00:02", MTU: 9001, Tap: true, Index: 1})
			}
			argv, err := Argv(spec, testHost(), testPaths)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(strings.Join(argv, "\n"), "\n-", "\n  -") + "\n"
			golden := filepath.Join("testdata", name+".argv")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("differs from %s:\n%s", golden, got)
			}
		})
	}
}

func TestArgvRefuses(t *testing.T) {
	bios := hypervisor.BootSpec{Firmware: model.FirmwareBIOS}
	for name, tc := range map[string]struct {
		spoil func(*hypervisor.Spec)
		want  string
	}{
		"id that leaves the directory": {func(s *hypervisor.Spec) { s.ID = "../x" }, "cannot be a machine's id"},
		"no UUID":                      {func(s *hypervisor.Spec) { s.UUID = "" }, "UUID"},
		"unknown accelerator":          {func(s *hypervisor.Spec) { s.Accel = "xen" }, "unknown accelerator"},
		"BIOS on arm64":                {func(s *hypervisor.Spec) { s.Arch = model.ARM64 }, "UEFI only"},
		"nothing to start it":          {func(s *hypervisor.Spec) { s.Boot.Firmware = model.FirmwareNone }, "needs a kernel"},
		"command line without kernel":  {func(s *hypervisor.Spec) { s.Boot.Cmdline = "quiet" }, "needs a kernel"},
		"UEFI without firmware":        {func(s *hypervisor.Spec) { s.Arch, s.Boot.Firmware = model.I386, model.FirmwareUEFI }, "not installed"},
		"UEFI in too little memory":    {func(s *hypervisor.Spec) { s.MemoryMiB, s.Boot.Firmware = 128, model.FirmwareUEFI }, "larger instance type"},
		"long layer id":                {func(s *hypervisor.Spec) { s.Disks[0].Layers[0].ID = strings.Repeat("l", 32) }, "block node"},
		"relative layer":               {func(s *hypervisor.Spec) { s.Disks[0].Layers[0].Path = "x" }, "absolute path"},
		"two disks with one head":      {func(s *hypervisor.Spec) { s.Disks[1].Layers = s.Disks[0].Layers }, "used twice"},
		"two NICs of one index":        {func(s *hypervisor.Spec) { s.NICs[1].Index = 0 }, "the index 0"},
		"index of no place":            {func(s *hypervisor.Spec) { s.NICs[1].Index = 8 }, "0 to 7"},
		"id that is no device's":       {func(s *hypervisor.Spec) { s.NICs[1].ID = "eni,x" }, "cannot be a network interface's id"},
		"long serial":                  {func(s *hypervisor.Spec) { s.Disks[0].ID = strings.Repeat("v", 21) }, "serial"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := testSpec(model.X8664, bios)
			tc.spoil(&spec)
			argv, err := Argv(spec, testHost(), testPaths)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, %v", argv, err)
			}
		})
	}
}

// Everything that can be plugged in has a place of its own.
func TestPlaces(t *testing.T) {
	for _, x86 := range []bool{true, false} {
		taken := map[place]bool{onRoot(slotDisk): true, onRoot(slotNIC): true}
		places := diskPlaces(x86)
		for index := 1; index < maxNICs; index++ {
			places = append(places, nicPlace(x86, index))
		}
		for _, p := range places {
			if taken[p] || !p.hot {
				t.Errorf("x86 %v: %+v is taken, or for devices that stay", x86, p)
			}
			taken[p] = true
		}
		if len(places) != hotPlaces {
			t.Errorf("x86 %v: %d places, made are %d", x86, len(places), hotPlaces)
		}
	}
	devices := map[string]place{"root": {}, "a": diskPlaces(true)[0], "nic": nicPlace(true, 1)}
	if p, err := freePlace(devices, diskPlaces(true)); err != nil || p != diskPlaces(true)[1] {
		t.Errorf("the free place is %+v, %v", p, err)
	}
	if _, err := freePlace(devices, diskPlaces(true)[:1]); err == nil {
		t.Error("a place was found where all are taken")
	}
}

func TestMachineOf(t *testing.T) {
	argv, err := Argv(testSpec(model.X8664, hypervisor.BootSpec{Firmware: model.FirmwareBIOS}), testHost(), testPaths)
	if err != nil {
		t.Fatal(err)
	}
	cmdline := []byte(strings.Join(argv, "\x00") + "\x00")
	if id, ok := machineOf(cmdline, "/state"); !ok || id != "i-0123456789abcdef0" {
		t.Errorf("got %q, %v", id, ok)
	}
	for name, other := range map[string]struct {
		cmdline, dir string
	}{
		"another state directory": {string(cmdline), "/state2"},
		"part of the path":        {string(cmdline), "/stat"},
		"another program":         {"vim\x00/state/i-0123456789abcdef0/console.log\x00", "/state"},
		"no arguments":            {"", "/state"},
		"name without value":      {"qemu\x00-name\x00", "/state"},
	} {
		if id, ok := machineOf([]byte(other.cmdline), other.dir); ok {
			t.Errorf("%s: taken for %q", name, id)
		}
	}
}

func FuzzMachineOf(f *testing.F) {
	f.Add([]byte("qemu\x00-name\x00guest=i-1,x\x00,logfile=/s/i-1/console.log,\x00"))
	f.Fuzz(func(t *testing.T, cmdline []byte) {
		if id, ok := machineOf(cmdline, "/s"); ok && !idPattern.MatchString(id) {
			t.Errorf("id %q", id)
		}
	})
}
