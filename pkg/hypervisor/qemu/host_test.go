package qemu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func newDriver(t *testing.T, o Options) *Driver {
	t.Helper()
	if o.StateDir == "" {
		o.StateDir = t.TempDir()
	}
	if o.RunDir == "" {
		o.RunDir = t.TempDir()
	}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestHostExplainsEveryArchitecture(t *testing.T) {
	d := newDriver(t, Options{Emulators: map[model.Arch]string{
		model.X8664: script(t, "echo QEMU emulator version 9.1.0"),
		model.I386:  script(t, "echo QEMU emulator version 6.2.0"),
		model.ARM64: "/absent/qemu-system-aarch64",
	}})
	h, err := d.Host(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := h.Archs[model.X8664]; s.Problem != "" || s.Emulator == "" || s.Accel.Reason == "" {
		t.Errorf("x86_64: %+v", s)
	}
	if s := h.Archs[model.I386]; !strings.Contains(s.Problem, "6.2.0") || s.Fix == "" {
		t.Errorf("old: %+v", s)
	}
	if s := h.Archs[model.ARM64]; !strings.Contains(s.Problem, "not installed") || !strings.Contains(s.Fix, "qemu-system-arm") {
		t.Errorf("absent: %+v", s)
	}
	if runtime.GOARCH == "amd64" {
		if h.Version != "9.1.0" {
			t.Errorf("version %q", h.Version)
		}
		if s := h.Archs[model.ARM64]; s.Accel.Name != accelTCG || !strings.Contains(s.Accel.Reason, "amd64") {
			t.Errorf("foreign: %+v", s.Accel)
		}
	}
	spec := testSpec(model.ARM64, hypervisor.BootSpec{Firmware: model.FirmwareUEFI})
	if _, err := d.Start(t.Context(), spec); !errors.Is(err, hypervisor.ErrUnavailable) || !strings.Contains(err.Error(), "apt install") {
		t.Errorf("starting: %v", err)
	}
	if list, _ := d.List(t.Context()); len(list) != 0 {
		t.Errorf("left: %+v", list)
	}
}

// TestPVHNeedsItsROM checks that a kernel is started directly only where QEMU has
// the option ROM that does it.
func TestPVHNeedsItsROM(t *testing.T) {
	data := t.TempDir()
	d := newDriver(t, Options{Emulators: map[model.Arch]string{
		model.X8664: script(t, `[ "$1" = -L ] && { echo /absent; echo `+data+`; exit; }; echo QEMU emulator version 9.1.0`),
		model.ARM64: "/absent/qemu", model.I386: "/absent/qemu",
	}})
	for _, want := range []bool{false, true} {
		if want {
			if err := os.WriteFile(filepath.Join(data, pvhROM), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			d.Refresh()
		}
		h, err := d.Host(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if h.Archs[model.X8664].PVH != want {
			t.Errorf("PVH is %v, want %v", !want, want)
		}
	}
}

func TestAccelerator(t *testing.T) {
	if len(nativeArchs(runtime.GOARCH)) == 0 {
		t.Skip("no KVM on this architecture")
	}
	own := nativeArchs(runtime.GOARCH)[0]
	foreign := model.ARM64
	if own == model.ARM64 {
		foreign = model.X8664
	}
	host := func(kvm hypervisor.KVM) hypervisor.Host {
		h := testHost()
		h.KVM = kvm
		return h
	}
	usable := hypervisor.KVM{Present: true, Usable: true}
	slow := hypervisor.KVM{Present: true, Reason: "it is slow"}
	absent := hypervisor.KVM{Reason: "no device", Fix: "modprobe"}
	for _, tc := range []struct {
		arch   model.Arch
		forced string
		kvm    hypervisor.KVM
		name   string
		err    string
	}{
		{own, "", usable, accelTCG, ""}, // testHost's choice
		{own, "kvm", usable, accelKVM, ""},
		{own, "kvm", slow, accelKVM, ""},
		{own, "kvm", absent, "", "modprobe"},
		{foreign, "kvm", usable, "", "use tcg"},
		{foreign, "tcg", absent, accelTCG, ""},
	} {
		spec := hypervisor.Spec{Arch: tc.arch, Accel: tc.forced}
		a, err := accelerator(spec, host(tc.kvm))
		switch {
		case tc.err != "":
			if !errors.Is(err, hypervisor.ErrUnavailable) || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%+v: %v", tc, err)
			}
		case err != nil || a.Name != tc.name:
			t.Errorf("%+v: %+v, %v", tc, a, err)
		}
	}
}

func TestForceAccelIsChecked(t *testing.T) {
	if _, err := New(Options{StateDir: t.TempDir(), RunDir: t.TempDir(), ForceAccel: "hvf"}); err == nil {
		t.Error("accepted")
	}
}

func TestFirmwareDescriptors(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	code, vars := file("CODE.fd"), file("VARS.fd")
	describe := func(name, code, arch, board, features string) {
		text := fmt.Sprintf(`{"interface-types":["uefi"],"mapping":{"device":"flash","executable":{"filename":%q},"nvram-template":{"filename":%q}},
			"targets":[{"architecture":%q,"machines":[%q]}],"features":[%s]}`, code, vars, arch, board, features)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	describe("10-secure.json", "/secure", "x86_64", "pc-q35-*", `"secure-boot","requires-smm"`)
	describe("20-gone.json", "/gone", "x86_64", "pc-q35-*", "")
	describe("30-good.json", code, "x86_64", "pc-q35-*", `"acpi-s3"`)
	describe("31-worse.json", vars, "x86_64", "pc-q35-*", "")
	describe("40-micro.json", code, "i386", "microvm", "")
	if err := os.WriteFile(filepath.Join(dir, "50-torn.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range findFirmware([]string{dir}) {
		switch f.Arch {
		case model.X8664:
			if f.Code != code || f.Vars != vars || f.Problem != "" {
				t.Errorf("got %+v", f)
			}
		case model.I386:
			if f.Problem == "" {
				t.Errorf("got %+v", f)
			}
		}
	}
}

func TestVariableStoreIsSparseAndKept(t *testing.T) {
	dir := t.TempDir()
	template, path := filepath.Join(dir, "t"), filepath.Join(dir, "v")
	content := make([]byte, 8<<20)
	copy(content[3<<20:], "variables")
	if err := os.WriteFile(template, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := makeVars(template, path); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != string(content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if used := diskUse(t, path); used > 1<<20 {
		t.Errorf("%d bytes on disk", used)
	}
	if err := os.WriteFile(path, []byte("the guest's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := makeVars(template, path); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "the guest's" {
		t.Error("the guest's variables were overwritten")
	}
}
