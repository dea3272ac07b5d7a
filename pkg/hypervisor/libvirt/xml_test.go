package libvirt

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu"
	"github.com/bundt/bundt/pkg/model"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func testHost(models ...string) Host {
	h := Host{SecModels: models, UID: 1000, GID: 100, Host: hypervisor.Host{
		Archs: map[model.Arch]hypervisor.ArchSupport{},
		KVM:   hypervisor.KVM{Present: true, Usable: true},
		Firmware: []hypervisor.FirmwareFile{
			{Arch: model.X8664, Kind: model.FirmwareUEFI, Code: "/fw/OVMF_CODE.fd", Vars: "/fw/OVMF_VARS.fd"},
			{Arch: model.ARM64, Kind: model.FirmwareUEFI, Code: "/fw/AAVMF_CODE.qcow2", Vars: "/fw/AAVMF_VARS.qcow2"},
		},
	}}
	for a, name := range map[model.Arch]string{model.X8664: "x86_64", model.ARM64: "aarch64", model.I386: "i386"} {
		h.Archs[a] = hypervisor.ArchSupport{
			Emulator: "/usr/bin/qemu-system-" + name, Accel: model.Accelerator{Name: "tcg", Reason: "a test"}, PVH: a == model.X8664,
		}
	}
	return h
}

func testSpec(a model.Arch, boot hypervisor.BootSpec) hypervisor.Spec {
	return hypervisor.Spec{
		ID: "i-0123456789abcdef0", UUID: "ec2a1b2c-0000-4000-8000-000000000001",
		Arch: a, VCPUs: 2, MemoryMiB: 512, Boot: boot,
		Disks: []hypervisor.Disk{
			{ID: "vol-0123456789abcdef0", Layers: []hypervisor.Layer{
				{ID: "layer-2", Path: "/layers/2"}, {ID: "layer-1", Path: "/layers/1"}, {ID: "layer-0", Path: "/layers/0"},
			}},
			{ID: "vol-0123456789abcdef1", Layers: []hypervisor.Layer{
				{ID: "layer-3", Path: "/layers/3, <with> all & sundry"}, {ID: "layer-0", Path: "/layers/0"},
			}, Limits: model.IOLimits{Operations: model.Rate{PerSecond: 100, Burst: 3000, BurstSeconds: 1800}, Bytes: model.Rate{PerSecond: 1 << 20}, OperationBytes: 4096}},
		},
		NICs: []hypervisor.NIC{
			{ID: "eni-0123456789abcdef0", MAC: "02:00:00:00:00:01", MTU: 1500},
			{ID: "eni-0123456789abcdef1", MAC: "02:00:00:00:00:02", Index: 2},
		},
	}
}

var testPaths = qemu.Paths{State: "/state/i-0123456789abcdef0", Run: "/run/a,b/i-0123456789abcdef0"}

func TestDomainXMLGolden(t *testing.T) {
	direct := hypervisor.BootSpec{Firmware: model.FirmwareNone, Kernel: "/k/vmlinuz", Initrd: "/k/initrd", Cmdline: "root=/dev/vda1 quiet", VMLinux: "/k/vmlinux"}
	bios, uefi := hypervisor.BootSpec{Firmware: model.FirmwareBIOS}, hypervisor.BootSpec{Firmware: model.FirmwareUEFI}
	for name, tc := range map[string]struct {
		arch    model.Arch
		boot    hypervisor.BootSpec
		accel   string
		display bool
		models  []string
	}{
		"x86_64-bios-confined": {model.X8664, bios, "", false, []string{"apparmor", "dac"}},
		"x86_64-uefi-display":  {model.X8664, uefi, "", true, []string{"none"}},
		"x86_64-kernel-kvm":    {model.X8664, direct, "kvm", false, nil},
		"i386-kernel":          {model.I386, direct, "", false, nil},
		"arm64-uefi-display":   {model.ARM64, uefi, "", true, nil},
		"arm64-kernel":         {model.ARM64, direct, "", false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			spec := testSpec(tc.arch, tc.boot)
			spec.Accel, spec.Display = tc.accel, tc.display
			got, err := DomainXML(spec, testHost(tc.models...), testPaths, "/state")
			if err != nil {
				t.Fatal(err)
			}
			got += "\n"
			golden := filepath.Join("testdata", name+".xml")
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

func TestDomainXMLRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*hypervisor.Spec)
		want  string
	}{
		"no UUID":             {func(s *hypervisor.Spec) { s.UUID = "" }, "UUID"},
		"BIOS on arm64":       {func(s *hypervisor.Spec) { s.Arch = model.ARM64 }, "UEFI only"},
		"too many disks":      {func(s *hypervisor.Spec) { s.Disks = make([]hypervisor.Disk, 18) }, "more than"},
		"a tap":               {func(s *hypervisor.Spec) { s.NICs[1].Tap = true }, "--network user"},
		"long socket path":    {func(s *hypervisor.Spec) {}, ""},
		"unknown accelerator": {func(s *hypervisor.Spec) { s.Accel = "xen" }, "unknown accelerator"},
	} {
		t.Run(name, func(t *testing.T) {
			spec, paths := testSpec(model.X8664, hypervisor.BootSpec{Firmware: model.FirmwareBIOS}), testPaths
			tc.spoil(&spec)
			if tc.want == "" {
				paths.Run, tc.want = "/"+strings.Repeat("r", 100), "shorter run directory"
			}
			text, err := DomainXML(spec, testHost(), paths, "/state")
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, %s", err, text)
			}
		})
	}
}

// A record survives its way through XML, whatever is in it.
func TestRecord(t *testing.T) {
	spec := testSpec(model.X8664, hypervisor.BootSpec{Cmdline: `a="<b>" & ]]> 'c' é`})
	for _, halted := range []bool{false, true} {
		want := record{Owner: "/state & <more>", Spec: spec, Accel: model.Accelerator{Name: "tcg", Reason: "a \"reason\""}, Halted: halted}
		for _, encode := range []func(record) (string, error){record.element, record.metadata} {
			text, err := encode(want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := parseRecord(text)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
		}
	}
	for _, bad := range []string{"", "<a", "<a>{</a>", "<a>[]</a>"} {
		if r, err := parseRecord(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, r)
		}
	}
}

func TestCheckURI(t *testing.T) {
	for _, good := range []string{"qemu:///system", "qemu:///session", "qemu+unix:///system?socket=/run/x", "qemu:///session?socket=/tmp/a"} {
		if err := CheckURI(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "qemu", "qemu://host/system", "qemu+ssh://a@b/system", "qemu+ssh:///system", "xen:///system", "qemu:///", "lxc:///", "test:///default", ":", "qemu:///system/x"} {
		if err := CheckURI(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := New(Options{URI: "qemu+tcp://far/system"}); err == nil || errors.Is(err, hypervisor.ErrUnavailable) {
		t.Errorf("another host's libvirt: %v", err)
	}
}
