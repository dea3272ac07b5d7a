//go:build vm

package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/digitalocean/go-qemu/qemu"
	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/hvtest"
	"github.com/bundt/bundt/pkg/hypervisor/qemu/qmp"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/uefi"
)

// world is a directory with a base image and drivers on it.
type world struct {
	*hvtest.World
	accel string
}

func newWorld(t testing.TB, accel string) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "bundt-vm-") // short, for socket paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		found, _ := findProcesses(filepath.Join(dir, "state"))
		for id, pid := range found {
			t.Errorf("machine %s is still there, as process %d", id, pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		_ = os.RemoveAll(dir)
	})
	return &world{World: hvtest.NewWorld(t, dir), accel: accel}
}

func (w *world) driver(t testing.TB) *Driver {
	t.Helper()
	d, err := New(Options{StateDir: filepath.Join(w.Dir, "state"), RunDir: filepath.Join(w.Dir, "run"), ForceAccel: w.accel})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w *world) harness(patience time.Duration) hvtest.Harness {
	h := w.Harness(patience, func(t *testing.T) hypervisor.Driver { return w.driver(t) })
	h.Limits = limitsOf
	return h
}

func TestConformanceTCG(t *testing.T) {
	hvtest.Run(t, newWorld(t, accelTCG).harness(20*time.Second))
}

// needKVM skips the test on a host without the device; hack/noskip knows the words,
// and looks for itself. A device that does not open is a failure.
func needKVM(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("NO DEVICE: /dev/kvm")
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
}

// The real KVM device, wherever it is: forced, whatever the probe says of it.
func TestConformanceKVM(t *testing.T) {
	needKVM(t)
	hvtest.Run(t, newWorld(t, accelKVM).harness(60*time.Second))
}

// Forced KVM is KVM: QEMU itself says so.
func TestForcedKVMIsKVM(t *testing.T) {
	needKVM(t)
	w := newWorld(t, "")
	d := w.driver(t)
	defer d.Close()
	for accel, want := range map[string]bool{accelKVM: true, accelTCG: false} {
		spec := w.Spec(t, "i-"+accel)
		spec.Accel = accel
		st, err := d.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Remove(t.Context(), spec.ID)
		if st.Accel.Name != accel {
			t.Errorf("status says %+v", st.Accel)
		}
		c, err := qmp.Dial(t.Context(), d.Paths(spec.ID).Telemetry())
		if err != nil {
			t.Fatal(err)
		}
		var kvm struct{ Enabled bool }
		if err := c.Execute(t.Context(), "query-kvm", nil, &kvm); err != nil || kvm.Enabled != want {
			t.Errorf("%s: KVM enabled %v, %v", accel, kvm.Enabled, err)
		}
		_ = c.Close()
	}
}

// go-qemu's Domain reads a real machine's state over our client.
func TestGoQEMUDomainOnARealMachine(t *testing.T) {
	w := newWorld(t, accelTCG)
	d := w.driver(t)
	defer d.Close()
	spec := w.Spec(t, "i-domain")
	if _, err := d.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	defer d.Remove(t.Context(), spec.ID)
	c, err := qmp.Dial(t.Context(), d.Paths(spec.ID).Telemetry())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	domain, err := qemu.NewDomain(c.Monitor(t.Context()), spec.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer domain.Close()
	if s, err := domain.Status(); err != nil || s != qemu.StatusRunning {
		t.Errorf("%v, %v", s, err)
	}
	if b, err := domain.BlockDevices(); err != nil || len(b) != 1 {
		t.Errorf("%+v, %v", b, err)
	}
	var schema []any // far over the 64 KiB at which go-qemu's own monitor ends
	if err := c.Execute(t.Context(), "query-qmp-schema", nil, &schema); err != nil || len(schema) < 100 {
		t.Errorf("%d, %v", len(schema), err)
	}
}

// Every architecture's and boot mode's arguments are accepted by its QEMU, up to
// running CPUs.
func TestArgvIsAccepted(t *testing.T) {
	w := newWorld(t, accelTCG)
	kernel := filepath.Join(w.Dir, "kernel")
	if err := os.WriteFile(kernel, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, tc := range []struct {
		arch model.Arch
		boot hypervisor.BootSpec
	}{
		{model.X8664, hypervisor.BootSpec{Firmware: model.FirmwareUEFI}},
		{model.I386, hypervisor.BootSpec{Firmware: model.FirmwareBIOS}},
		{model.ARM64, hypervisor.BootSpec{Firmware: model.FirmwareUEFI}},
		{model.ARM64, hypervisor.BootSpec{Firmware: model.FirmwareUEFI, Kernel: kernel, Cmdline: "console=ttyAMA0"}},
		{model.ARM64, hypervisor.BootSpec{Firmware: model.FirmwareNone, Kernel: kernel}},
	} {
		t.Run(fmt.Sprintf("%s-%s", tc.arch, tc.boot.Firmware), func(t *testing.T) {
			d := w.driver(t)
			defer d.Close()
			spec := w.Spec(t, fmt.Sprintf("i-%d", i))
			spec.Arch, spec.Boot, spec.MemoryMiB = tc.arch, tc.boot, 256
			st, err := d.Start(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			if st.State != hypervisor.StateRunning {
				t.Errorf("got %+v", st)
			}
			if err := d.Remove(t.Context(), spec.ID); err != nil {
				t.Error(err)
			}
		})
	}
}

// UEFI firmware's variables can be read while it runs and afterwards.
func TestVariables(t *testing.T) {
	w := newWorld(t, accelTCG)
	d := w.driver(t)
	defer d.Close()
	spec := w.Spec(t, "i-uefi")
	spec.Arch, spec.Boot, spec.MemoryMiB = model.X8664, hypervisor.BootSpec{Firmware: model.FirmwareUEFI}, 256
	if _, err := d.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	names := func() []string {
		t.Helper()
		flash, err := d.Variables(t.Context(), spec.ID)
		if err != nil {
			t.Fatal(err)
		}
		vars, err := uefi.Parse(flash)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, v := range vars {
			out = append(out, v.Name)
		}
		return out
	}
	for end := time.Now().Add(time.Minute); !slices.Contains(names(), "Boot0000"); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the firmware has written %q only", names())
		}
	}
	if err := d.Kill(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	if got := names(); !slices.Contains(got, "BootOrder") {
		t.Errorf("after the end there are %q", got)
	}
	if err := d.Remove(t.Context(), spec.ID); err != nil {
		t.Error(err)
	}
}

// tap opens a tap device that ends with its file.
func tap(t *testing.T, name string) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no taps here: %v", err)
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { _ = f.Close() })
	request, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		t.Skipf("making a tap: %v", err)
	}
	return f
}

// QEMU takes taps, at its start and while it runs.
func TestTaps(t *testing.T) {
	w := newWorld(t, accelTCG)
	d := w.driver(t)
	defer d.Close()
	spec := w.Spec(t, "i-taps")
	spec.NICs[0].Tap, spec.Taps = true, []*os.File{tap(t, "bundttap0")}
	if _, err := d.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	extra := hypervisor.NIC{ID: "eni-00000000000000002", MAC: "02:00:00:00:00:02", Index: 1, Tap: true}
	if err := d.AttachNIC(t.Context(), spec.ID, extra, nil); err == nil {
		t.Error("attached without its tap")
	}
	if err := d.AttachNIC(t.Context(), spec.ID, extra, tap(t, "bundttap1")); err != nil {
		t.Fatal(err)
	}
	if ids, err := d.NICs(t.Context(), spec.ID); err != nil || len(ids) != 2 {
		t.Errorf("it has %v, %v", ids, err)
	}
	if st, err := d.Status(t.Context(), spec.ID); err != nil || len(st.NICSockets) != 2 || st.NICSockets[extra.ID] != "" {
		t.Errorf("it has %+v, %v", st, err)
	}
	if err := d.Remove(t.Context(), spec.ID); err != nil {
		t.Error(err)
	}
}

// A QEMU whose record was never written, or whose whole directory is gone, is found.
func TestOrphans(t *testing.T) {
	w := newWorld(t, accelTCG)
	d := w.driver(t)
	for _, id := range []string{"i-unrecorded", "i-gone"} {
		if _, err := d.Start(t.Context(), w.Spec(t, id)); err != nil {
			t.Fatal(err)
		}
	}
	_ = d.Close()
	for _, path := range []string{d.Paths("i-unrecorded").process(), d.Paths("i-unrecorded").spec(), d.Paths("i-gone").State} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	d = w.driver(t)
	defer d.Close()
	list, err := d.List(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, m := range list {
		if m.State != hypervisor.StateRunning || m.PID == 0 {
			t.Errorf("got %+v", m)
		}
		if err := d.Remove(t.Context(), m.ID); err != nil {
			t.Error(err)
		}
	}
}

func TestFailedStartSaysWhyAndLeavesNothing(t *testing.T) {
	w := newWorld(t, accelTCG)
	d := w.driver(t)
	defer d.Close()
	spec := w.Spec(t, "i-broken")
	spec.Disks[0].Layers[0].Path = filepath.Join(w.Dir, "absent.qcow2")
	_, err := d.Start(t.Context(), spec)
	if err == nil {
		t.Fatal("it started")
	}
	t.Log(err)
	for _, dir := range []string{d.Paths(spec.ID).State, d.Paths(spec.ID).Run} {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
}

// bareGreeting is the floor: exec of QEMU to its greeting, with nothing recorded.
func bareGreeting(b *testing.B, w *world, argv []string, p Paths) time.Duration {
	b.Helper()
	for _, dir := range []string{p.State, p.Run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			b.Fatal(err)
		}
	}
	m := &machine{driver: &Driver{}, paths: p}
	lock, err := m.lock(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer lock.Close()
	begun := time.Now()
	proc, err := m.exec(argv, lock, nil)
	if err != nil {
		b.Fatal(err)
	}
	client, err := qmp.Dial(b.Context(), p.Control())
	took := time.Since(begun)
	if err != nil {
		b.Fatal(err)
	}
	if err := proc.end(b.Context()); err != nil {
		b.Fatal(err)
	}
	_ = client.Close()
	_ = os.RemoveAll(p.State)
	return took
}

// BenchmarkStart compares Start with bare exec to greeting, in turns.
func BenchmarkStart(b *testing.B) {
	w := newWorld(b, accelTCG)
	d := w.driver(b)
	defer d.Close()
	host, err := d.Host(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	spec := w.Spec(b, "i-bench")
	spec.Accel = accelTCG
	argv, err := Argv(spec, host, d.Paths(spec.ID))
	if err != nil {
		b.Fatal(err)
	}
	var start, bare, remove time.Duration
	for b.Loop() {
		bare += bareGreeting(b, w, argv, d.Paths(spec.ID))
		begun := time.Now()
		if _, err := d.Start(b.Context(), spec); err != nil {
			b.Fatal(err)
		}
		start += time.Since(begun)
		begun = time.Now()
		if err := d.Remove(b.Context(), spec.ID); err != nil {
			b.Fatal(err)
		}
		remove += time.Since(begun)
	}
	n := float64(b.N)
	b.ReportMetric(float64(start.Microseconds())/n/1000, "start-ms")
	b.ReportMetric(float64(bare.Microseconds())/n/1000, "bare-ms")
	b.ReportMetric(float64(remove.Microseconds())/n/1000, "remove-ms")
	b.ReportMetric(float64(start)/float64(bare), "start/bare")
}
