package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/libvirt"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/network/kernel"
	"github.com/bundt/bundt/pkg/rundir"
	"github.com/bundt/bundt/pkg/version"
)

// What a host should have free for a first machine.
const (
	wantMemoryMiB = 1024
	wantDiskMiB   = 2048
	failDiskMiB   = 256
)

// report collects the outcome of an examination.
type report struct{ out bundttypes.DescribeHostOutput }

func (r *report) add(name, status, fix, detail string, args ...any) {
	r.out.Checks = append(r.out.Checks, bundttypes.HostCheck{Name: name, Status: status, Detail: fmt.Sprintf(detail, args...), Fix: fix})
}

func (r *report) fact(name, value string) {
	r.out.Facts = append(r.out.Facts, bundttypes.HostFact{Name: name, Value: value})
}

// examine checks everything that bundt needs of this host.
func examine(ctx context.Context, cfg Config, driver hypervisor.Driver) (*bundttypes.DescribeHostOutput, error) {
	r := &report{}
	r.fact("version", version.Get().String())
	r.fact("host", cfg.NodeID)
	r.fact("platform", runtime.GOOS+"/"+runtime.GOARCH)
	r.fact("cpus", strconv.Itoa(runtime.NumCPU()))
	r.fact("data directory", cfg.DataDir)
	r.fact("socket", cfg.Socket)
	host, err := driver.Host(ctx)
	if errors.Is(err, hypervisor.ErrUnavailable) {
		r.add("hypervisor", bundttypes.CheckFail, installHint("qemu-system-x86 qemu-utils", "qemu-system-x86 qemu-img"), "%v", err)
		err = nil
	} else if err == nil {
		r.hypervisor(host)
	}
	if err != nil {
		return nil, fmt.Errorf("examining the host: %w", err)
	}
	r.tools()
	r.memory()
	r.disk(cfg.DataDir)
	r.network(cfg, kernel.Problem)
	r.lowPorts(cfg)
	r.permissions(cfg)
	return &r.out, nil
}

func installHint(debian, fedora string) string {
	return fmt.Sprintf("sudo apt-get install %s   (Fedora: sudo dnf install %s)", debian, fedora)
}

func (r *report) hypervisor(h hypervisor.Host) {
	r.fact("hypervisor", strings.TrimSpace(h.Driver+" "+h.Version))
	switch h.Driver {
	case libvirt.DriverName:
		r.add("libvirt", bundttypes.CheckOK, "", "answers")
	case hypervisorQEMU:
	default:
		r.add("hypervisor", bundttypes.CheckWarn, "start bundtd with --hypervisor qemu to run real machines", "machines are simulated by the driver %q", h.Driver)
		return
	}
	if h.Version == "" {
		r.add("QEMU", bundttypes.CheckFail, installHint("qemu-system-x86 qemu-utils", "qemu-system-x86-core qemu-img"), "not installed: it runs the machines")
	} else {
		r.add("QEMU", bundttypes.CheckOK, "", "version %s", h.Version)
	}
	switch {
	case h.KVM.Usable:
		r.add("KVM", bundttypes.CheckOK, "", "%s", cmp.Or(h.KVM.Reason, "guests run at hardware speed"))
	default:
		r.add("KVM", bundttypes.CheckWarn, h.KVM.Fix, "%s", cmp.Or(h.KVM.Reason, "not usable"))
	}
	native := nativeArch()
	for _, a := range model.Archs {
		s, ok := h.Archs[a]
		switch {
		case ok && s.Problem == "":
			r.add(string(a)+" guests", bundttypes.CheckOK, "", "%s: %s", s.Accel.Name, s.Accel.Reason)
		case a == native:
			r.add(string(a)+" guests", bundttypes.CheckFail, s.Fix, "%s", cmp.Or(s.Problem, "not supported"))
		default:
			r.add(string(a)+" guests", bundttypes.CheckWarn, s.Fix, "%s", cmp.Or(s.Problem, "not supported"))
		}
	}
	for _, f := range h.Firmware {
		if f.Problem != "" {
			r.add(fmt.Sprintf("%s firmware for %s", f.Kind, f.Arch), bundttypes.CheckWarn, "", "%s", f.Problem)
			continue
		}
		r.add(fmt.Sprintf("%s firmware for %s", f.Kind, f.Arch), bundttypes.CheckOK, "", "%s", f.Code)
	}
}

func nativeArch() model.Arch {
	switch runtime.GOARCH {
	case "arm64":
		return model.ARM64
	case "386":
		return model.I386
	}
	return model.X8664
}

// tools are the programs that baking images needs.
func (r *report) tools() {
	for _, t := range []struct{ name, purpose, debian, fedora string }{
		{"qemu-img", "converts baked disks", "qemu-utils", "qemu-img"},
		{"mke2fs", "makes baked file systems", "e2fsprogs", "e2fsprogs"},
		{"debugfs", "sets owners in baked file systems", "e2fsprogs", "e2fsprogs"},
		{"ssh", "is what bundt ssh runs", "openssh-client", "openssh-clients"},
	} {
		path, err := lookTool(t.name)
		if err != nil {
			r.add(t.name, bundttypes.CheckFail, installHint(t.debian, t.fedora), "not found: it %s", t.purpose)
			continue
		}
		r.add(t.name, bundttypes.CheckOK, "", "%s", path)
	}
	const installer = "mmdebstrap"
	if path, err := lookTool(installer); err != nil {
		r.add(installer, bundttypes.CheckWarn, installHint("mmdebstrap uidmap debian-archive-keyring", "mmdebstrap debian-keyring"), "not found: it installs whole distributions into images")
	} else {
		r.add(installer, bundttypes.CheckOK, "", "%s", path)
	}
}

// lookTool also looks where administrators' tools are, which users' PATHs omit.
func lookTool(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", exec.ErrNotFound
}

func (r *report) memory() {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		r.add("memory", bundttypes.CheckWarn, "", "could not be measured: %v", err)
		return
	}
	free := availableMiB()
	r.fact("memory", fmt.Sprintf("%d MiB", info.Totalram*uint64(info.Unit)>>20))
	if free < wantMemoryMiB {
		r.add("memory", bundttypes.CheckWarn, "stop other programs, or run small instance types (bundt type ls)", "%d MiB available", free)
		return
	}
	r.add("memory", bundttypes.CheckOK, "", "%d MiB available", free)
}

func availableMiB() int64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemAvailable:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err == nil {
				return kib >> 10
			}
		}
	}
	return 0
}

func (r *report) disk(dir string) {
	for { // the directory may not exist before the first start
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		r.add("disk", bundttypes.CheckWarn, "", "%s could not be measured: %v", dir, err)
		return
	}
	free := int64(fs.Bavail) * fs.Bsize >> 20
	const fix = "free some space, or put the data elsewhere with bundtd --data-dir"
	switch {
	case free < failDiskMiB:
		r.add("disk", bundttypes.CheckFail, fix, "%d MiB free for %s", free, dir)
	case free < wantDiskMiB:
		r.add("disk", bundttypes.CheckWarn, fix, "%d MiB free for %s", free, dir)
	default:
		r.add("disk", bundttypes.CheckOK, "", "%d MiB free for %s", free, dir)
	}
}

// network says what moves instances' packets, and why not the kernel.
func (r *report) network(cfg Config, problem func() string) {
	if cfg.Hypervisor == hypervisorFake {
		return
	}
	chosen, reason, err := chooseNetwork(cfg.Network, cfg.kernelProblem(problem))
	switch {
	case err != nil:
		r.add("network", bundttypes.CheckFail, "start bundtd with --network auto", "the kernel cannot move the packets of instances: %s", reason)
	case reason != "":
		r.add("network", bundttypes.CheckOK, "", "packets are moved in user space, not by the kernel: %s", reason)
	case chosen == networkKernel:
		r.add("network", bundttypes.CheckOK, "", "packets are moved by the kernel (--network %s)", cfg.Network)
		if !kernel.HostForwards() {
			r.add("internet", bundttypes.CheckWarn, "sudo sysctl net.ipv4.ip_forward=1", "the host forwards no packets, so instances reach nothing beyond their VPC")
		}
	default:
		r.add("network", bundttypes.CheckOK, "", "packets are moved in user space (--network user)")
	}
}

// lowPorts says whether instances' public addresses can have SSH's port.
func (r *report) lowPorts(cfg Config) {
	if cfg.PublicPool == "" {
		r.add("public addresses", bundttypes.CheckWarn, "start bundtd with --public-pool 127.77.0.0/16", "instances get none; bundt ssh and bundt forward work all the same")
		return
	}
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	first, perr := strconv.Atoi(strings.TrimSpace(string(data)))
	if os.Geteuid() != 0 && (err != nil || perr != nil || first > 22) {
		r.add("low ports", bundttypes.CheckWarn, "sudo sysctl net.ipv4.ip_unprivileged_port_start=22",
			"ports below %d cannot be opened on instances' public addresses; bundt ssh and bundt forward work all the same", max(first, 1024))
		return
	}
	r.add("low ports", bundttypes.CheckOK, "", "ports 22 and up can be opened on instances' public addresses (%s)", cfg.PublicPool)
}

func (r *report) permissions(cfg Config) {
	for _, dir := range []string{cfg.DataDir, cfg.RunDir} {
		if err := unix.Access(dir, unix.W_OK); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.add("permissions", bundttypes.CheckFail, "choose another directory, or make it yours: sudo chown -R $USER "+dir, "%s cannot be written: %v", dir, err)
			return
		}
	}
	if err := rundir.Check(cfg.RunDir); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.add("permissions", bundttypes.CheckFail, "", "%v", err)
		return
	}
	r.add("permissions", bundttypes.CheckOK, "", "data and run directories can be written")
}

// newDoctorCommand examines the host without starting anything.
func newDoctorCommand(cfg *Config) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "doctor", Args: cobra.NoArgs, Short: "Check what this host can run, without starting the daemon",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.complete(); err != nil {
				return err
			}
			log, err := newLogger("error")
			if err != nil {
				return err
			}
			d := &Daemon{cfg: *cfg, log: log}
			driver, err := d.newDriver()
			if err != nil {
				return err
			}
			out, err := examine(cmd.Context(), *cfg, driver)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(out)
			} else {
				err = printChecks(cmd, out)
			}
			if err == nil && slices.ContainsFunc(out.Checks, func(c bundttypes.HostCheck) bool { return c.Status == bundttypes.CheckFail }) {
				return errors.New("this host lacks something that bundt needs: see the checks that failed")
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the checks as JSON")
	return c
}

func printChecks(cmd *cobra.Command, out *bundttypes.DescribeHostOutput) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
	for _, c := range out.Checks {
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Status, c.Name, c.Detail)
		if c.Fix != "" {
			fmt.Fprintf(w, "\t\tfix: %s\n", c.Fix)
		}
	}
	return w.Flush()
}
