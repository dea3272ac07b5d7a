//go:build vm && libvirt

package libvirt

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bundt/bundt/hack/libvirttest"
	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/hvtest"
	"github.com/bundt/bundt/pkg/model"
)

// nobody is who session mode is tested as by root.
const nobody = 65534

// again runs the test that calls it in another process of this program, as a session's
// user, or as root of a user namespace of its own. It reports whether it did.
func again(t *testing.T, root bool) bool {
	t.Helper()
	uid := os.Geteuid()
	if (uid == 0) == root {
		return false
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "10m")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if root {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	} else {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	return true
}

// world is a base image, a libvirtd, and drivers of it.
type world struct {
	*hvtest.World
	*libvirttest.Server
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "bundt-lv-") // short, for socket paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &world{World: hvtest.NewWorld(t, dir), Server: libvirttest.Start(t, dir+"/l")}
}

func (w *world) driver(t *testing.T) *driver {
	t.Helper()
	d, err := New(Options{URI: w.URI, StateDir: w.Dir + "/state", RunDir: w.Dir + "/run", ForceAccel: "tcg"})
	if err != nil {
		t.Fatal(err)
	}
	return d.(*driver)
}

func (w *world) harness() hvtest.Harness {
	h := w.Harness(30*time.Second, func(t *testing.T) hypervisor.Driver { return w.driver(t) })
	h.Limits = limitsOf
	return h
}

// limitsOf asks libvirt for a disk's limits. What is one second's worth is no burst.
func limitsOf(t *testing.T, d hypervisor.Driver, id, diskID string) (limits model.IOLimits) {
	t.Helper()
	rate := func(perSecond, most, seconds uint64) model.Rate {
		if seconds <= 1 {
			return model.Rate{PerSecond: int64(perSecond)}
		}
		return model.Rate{PerSecond: int64(perSecond), Burst: int64(most), BurstSeconds: int64(seconds)}
	}
	err := d.(*driver).on(t.Context(), id, func(m *domain) error {
		disk, err := m.disk(diskID)
		if err != nil {
			return err
		}
		p, err := m.dom.GetBlockIoTune(disk.Target.Dev, 0)
		if err != nil {
			return err
		}
		limits = model.IOLimits{
			Operations:     rate(p.TotalIopsSec, p.TotalIopsSecMax, p.TotalIopsSecMaxLength),
			Bytes:          rate(p.TotalBytesSec, p.TotalBytesSecMax, p.TotalBytesSecMaxLength),
			OperationBytes: int64(p.SizeIopsSec),
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return limits
}

// The system's libvirtd runs as root, and QEMU as the user that the domain says.
func TestSystem(t *testing.T) {
	t.Parallel() // most of both is waiting
	if again(t, true) {
		return
	}
	hvtest.Run(t, newWorld(t).harness())
}

// A session's runs as its user. A libvirtd's first look at the host's QEMUs takes seconds:
// one serves all that is tested.
func TestSession(t *testing.T) {
	t.Parallel()
	if again(t, false) {
		return
	}
	w := newWorld(t)
	hvtest.Run(t, w.harness())
	t.Run("LibvirtdRestarts", w.restarts)
	t.Run("OthersDomains", w.othersDomains)
	t.Run("Foreign", w.foreign)
}

// restarts: machines outlive libvirtd, and the driver finds them again when it is back, with what
// happened meanwhile.
func (w *world) restarts(t *testing.T) {
	d := w.driver(t)
	defer d.Close()
	ctx := t.Context()
	runs, halts := w.Spec(t, "i-runs"), w.Spec(t, "i-halts")
	for _, spec := range []hypervisor.Spec{runs, halts} {
		if _, err := d.Start(ctx, spec); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := d.Remove(context.WithoutCancel(ctx), spec.ID); err != nil {
				t.Error(err)
			}
		}()
	}
	before, err := d.Status(ctx, runs.ID)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, d, halts.ID, "its boot", func(hypervisor.Status) bool {
		out, err := d.ConsoleOutput(ctx, halts.ID, 1<<10)
		return err == nil && strings.Contains(string(out), hvtest.Banner)
	})
	if err := d.PowerButton(ctx, halts.ID); err != nil {
		t.Fatal(err)
	}
	wait(t, d, halts.ID, "its end", func(s hypervisor.Status) bool { return s.GuestHalted })
	wait(t, d, halts.ID, "the record of its end", func(hypervisor.Status) (halted bool) {
		err := d.find(ctx, halts.ID, func(m *domain) error { halted = m.rec.Halted; return nil })
		return err == nil && halted
	})
	w.Stop()
	if _, err := d.Status(ctx, runs.ID); !errors.Is(err, hypervisor.ErrUnavailable) {
		t.Errorf("without libvirtd: %v", err)
	}
	events := d.Events(ctx)
	w.Resume()
	after, err := d.Status(ctx, runs.ID)
	if err != nil || after.PID != before.PID || after.State != hypervisor.StateRunning {
		t.Errorf("it was %+v, is %+v, %v", before, after, err)
	}
	if st, err := d.Status(ctx, halts.ID); err != nil || !st.GuestHalted {
		t.Errorf("what powered off is %+v, %v", st, err)
	}
	for end := time.After(10 * time.Second); ; {
		select {
		case e := <-events:
			if e.ID == runs.ID {
				return
			}
		case <-end:
			t.Fatal("nobody was told to look")
		}
	}
}

func wait(t *testing.T, d *driver, id, what string, ok func(hypervisor.Status) bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		st, err := d.Status(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if ok(st) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited for %s, got %+v", what, st)
		}
	}
}

// othersDomains: domains that are not ours, or another directory's, are left alone.
func (w *world) othersDomains(t *testing.T) {
	d := w.driver(t)
	defer d.Close()
	spec := w.Spec(t, "i-ours")
	if _, err := d.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	other, err := New(Options{URI: w.URI, StateDir: w.Dir + "/other", RunDir: w.Dir + "/run2", ForceAccel: "tcg"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if list, err := other.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("it lists %+v, %v", list, err)
	}
	if err := other.Remove(t.Context(), spec.ID); err != nil {
		t.Error(err)
	}
	if _, err := other.Start(t.Context(), spec); err == nil {
		t.Error("it started a domain of another's UUID")
	}
	if st, err := d.Status(t.Context(), spec.ID); err != nil || st.State != hypervisor.StateRunning {
		t.Errorf("ours is %+v, %v", st, err)
	}
	if err := d.Remove(t.Context(), spec.ID); err != nil {
		t.Error(err)
	}
}

// foreign: a domain that bundt did not make is found, and told from bundt's own.
func (w *world) foreign(t *testing.T) {
	d := w.driver(t)
	defer d.Close()
	c, err := d.connection()
	if err != nil {
		t.Fatal(err)
	}
	const uuid = "5c1b3a7e-1111-4222-8333-444455556666"
	dom, err := c.DomainDefineXML(`<domain type="qemu"><name>mail</name><uuid>` + uuid + `</uuid><memory unit="MiB">64</memory>
<os><type arch="x86_64" machine="q35">hvm</type></os><devices><disk type="file" device="disk">
<driver name="qemu" type="qcow2"/><source file="` + w.Base.Path + `"/><target dev="vda" bus="virtio"/></disk></devices></domain>`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dom.Undefine(); _ = dom.Free() }()
	for _, name := range []string{"mail", uuid} {
		m, err := d.Foreign(t.Context(), name)
		if err != nil || m.UUID != uuid || m.Arch != model.X8664 || m.UEFI || m.Running || len(m.Disks) != 1 || m.Disks[0].Path != w.Base.Path || m.Disks[0].Format != model.FormatQcow2 {
			t.Errorf("%s is %+v, %v", name, m, err)
		}
	}
	if _, err := d.Foreign(t.Context(), "nobody"); !errors.Is(err, hypervisor.ErrNotFound) {
		t.Errorf("no such domain: %v", err)
	}
	spec := w.Spec(t, "i-ours")
	if _, err := d.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Foreign(t.Context(), domainName(spec.ID)); !errors.Is(err, hypervisor.ErrUnsupported) {
		t.Errorf("bundt's own: %v", err)
	}
	if err := d.Remove(t.Context(), spec.ID); err != nil {
		t.Error(err)
	}
	if list, err := d.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("a foreign domain is listed: %+v, %v", list, err)
	}
}
