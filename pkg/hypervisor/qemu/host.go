package qemu

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/kvmprobe"
	"github.com/bundt/bundt/pkg/model"
)

const (
	accelKVM = "kvm"
	accelTCG = "tcg"
)

// minMajor, minMinor: the first QEMU with -netdev stream.
const minMajor, minMinor = 7, 2

// emulators are the program names by architecture, in order of preference. RHEL
// calls its own qemu-kvm.
var emulators = map[model.Arch][]string{
	model.X8664: {"qemu-system-x86_64"},
	model.ARM64: {"qemu-system-aarch64"},
	model.I386:  {"qemu-system-i386", "qemu-system-x86_64"},
}

// packages install the emulators.
var packages = map[model.Arch][2]string{
	model.X8664: {"qemu-system-x86", "qemu-system-x86-core"},
	model.ARM64: {"qemu-system-arm", "qemu-system-aarch64-core"},
	model.I386:  {"qemu-system-x86", "qemu-system-x86-core"},
}

// nativeArchs are those that KVM can run on a host of this GOARCH.
//
//nolint:unparam // a parameter, so that tests can try other hosts
func nativeArchs(goarch string) []model.Arch {
	switch goarch {
	case "amd64":
		return []model.Arch{model.X8664, model.I386}
	case "arm64":
		return []model.Arch{model.ARM64}
	}
	return nil
}

func native(a model.Arch) bool {
	for _, n := range nativeArchs(runtime.GOARCH) {
		if n == a {
			return true
		}
	}
	return false
}

// Probe measures what this host can run, for this driver and for others that run
// QEMU. The zero value is ready.
type Probe struct {
	// Emulators overrides the program by architecture.
	Emulators map[model.Arch]string
	// ForceAccel, "kvm" or "tcg", is used for machines that do not choose.
	ForceAccel string

	mu   sync.Mutex
	host *hypervisor.Host
}

// Host reports what this host can run. The answer is kept while every emulator
// is there; one that was missing is looked for again.
func (p *Probe) Host(ctx context.Context) (hypervisor.Host, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.host == nil {
		kvm := kvmprobe.Probe(ctx)
		if err := ctx.Err(); err != nil {
			return hypervisor.Host{}, fmt.Errorf("probing KVM: %w", err)
		}
		p.host = &hypervisor.Host{Driver: driverName, KVM: kvm}
	}
	complete := p.host.Archs != nil
	for _, s := range p.host.Archs {
		complete = complete && s.Emulator != ""
	}
	if !complete {
		// A new map: callers have the old one.
		archs := make(map[model.Arch]hypervisor.ArchSupport, len(model.Archs))
		versions := map[string]string{}
		for _, a := range model.Archs {
			archs[a] = p.probeArch(ctx, a, versions)
		}
		if err := ctx.Err(); err != nil {
			return hypervisor.Host{}, fmt.Errorf("probing QEMU: %w", err)
		}
		p.host.Archs = archs
		p.host.Version = versions[archs[model.X8664].Emulator]
		for _, a := range nativeArchs(runtime.GOARCH) {
			if v := versions[archs[a].Emulator]; v != "" {
				p.host.Version = v
				break
			}
		}
		p.host.Firmware = findFirmware(descriptorDirs)
	}
	return *p.host, nil
}

// Refresh makes the next Host measure again: after a BIOS setting, a group or a
// package has changed.
func (p *Probe) Refresh() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.host = nil
}

func (p *Probe) probeArch(ctx context.Context, a model.Arch, versions map[string]string) hypervisor.ArchSupport {
	s := hypervisor.ArchSupport{Accel: p.chooseAccel(a)}
	fix := fmt.Sprintf("sudo apt install %s (Debian, Ubuntu) or sudo dnf install %s (Fedora)", packages[a][0], packages[a][1])
	path, err := p.findEmulator(a)
	if err != nil {
		s.Problem, s.Fix = fmt.Sprintf("%s is not installed", emulators[a][0]), fix
		return s
	}
	version, ok := versions[path]
	if !ok {
		if version, err = emulatorVersion(ctx, path); err != nil {
			s.Problem, s.Fix = err.Error(), fix
			return s
		}
		versions[path] = version
	}
	s.Emulator = path
	if !recentEnough(version) {
		s.Problem = fmt.Sprintf("%s is version %s, bundt needs %d.%d or newer", path, version, minMajor, minMinor)
		s.Fix = "use a newer release of the distribution, or a backport of QEMU"
	}
	s.PVH = a == model.X8664 && hasFile(ctx, path, pvhROM)
	return s
}

// pvhROM is the option ROM by which QEMU starts an ELF kernel at its PVH entry
// point. Distributions package firmware apart from QEMU, and not all of it.
const pvhROM = "pvh.bin"

// hasFile reports whether QEMU finds a file in its data directories.
func hasFile(ctx context.Context, qemu, name string) bool {
	out, err := exec.CommandContext(ctx, qemu, "-L", "help").Output()
	if err != nil {
		return false
	}
	for dir := range strings.Lines(string(out)) {
		if info, err := os.Stat(filepath.Join(strings.TrimSpace(dir), name)); err == nil && info.Mode().IsRegular() {
			return true
		}
	}
	return false
}

func (p *Probe) findEmulator(a model.Arch) (string, error) {
	if path := p.Emulators[a]; path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			return "", err
		}
		return filepath.Abs(found)
	}
	var err error
	for _, name := range emulators[a] {
		var path string
		if path, err = exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	if native(a) {
		if path, rhel := exec.LookPath("/usr/libexec/qemu-kvm"); rhel == nil {
			return path, nil
		}
	}
	return "", err
}

var versionPattern = regexp.MustCompile(`version (\d+)\.(\d+)(\.\d+)?`)

func emulatorVersion(ctx context.Context, path string) (string, error) {
	out, err := exec.CommandContext(ctx, path, "-version").Output()
	if err != nil {
		return "", fmt.Errorf("running %s -version: %w", path, err)
	}
	m := versionPattern.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("%s does not say its version", path)
	}
	return string(m[1]) + "." + string(m[2]) + string(m[3]), nil
}

func recentEnough(version string) bool {
	m := versionPattern.FindStringSubmatch("version " + version)
	if m == nil {
		return false
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major > minMajor || major == minMajor && minor >= minMinor
}

// chooseAccel is the driver's choice for machines that do not ask for one.
func (p *Probe) chooseAccel(a model.Arch) model.Accelerator {
	kvm := p.host.KVM
	switch {
	case p.ForceAccel != "":
		return model.Accelerator{Name: p.ForceAccel, Reason: "chosen by the node's configuration"}
	case !native(a):
		return model.Accelerator{Name: accelTCG, Reason: fmt.Sprintf(
			"software emulation (TCG): slow, because this host's CPU is %s and the guest's %s", runtime.GOARCH, a)}
	case kvm.Usable:
		return model.Accelerator{Name: accelKVM, Reason: "hardware virtualization (KVM): " + kvm.Reason}
	}
	return model.Accelerator{Name: accelTCG, Reason: "software emulation (TCG): slow, because " + kvm.Reason}
}

// accelerator decides what executes a machine, or why it cannot run.
func accelerator(spec hypervisor.Spec, h hypervisor.Host) (model.Accelerator, error) {
	support := h.Archs[spec.Arch]
	if support.Problem != "" {
		return model.Accelerator{}, fmt.Errorf("%w: %s machines cannot run: %s; %s",
			hypervisor.ErrUnavailable, spec.Arch, support.Problem, support.Fix)
	}
	accel := support.Accel
	if spec.Accel != "" && spec.Accel != accel.Name {
		accel = model.Accelerator{Name: spec.Accel, Reason: "asked for"}
	}
	if accel.Name != accelKVM {
		return accel, nil
	}
	switch {
	case !native(spec.Arch):
		return accel, fmt.Errorf("%w: KVM cannot run %s guests on this %s host; use tcg",
			hypervisor.ErrUnavailable, spec.Arch, runtime.GOARCH)
	case !h.KVM.Present:
		return accel, fmt.Errorf("%w: KVM: %s; %s", hypervisor.ErrUnavailable, h.KVM.Reason, h.KVM.Fix)
	case !h.KVM.Usable:
		accel.Reason += fmt.Sprintf(", although %s", h.KVM.Reason)
	}
	return accel, nil
}
