//go:build libvirt

package libvirt

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu"
	"github.com/bundt/bundt/pkg/hypervisor/qemu/qmp"
	"github.com/bundt/bundt/pkg/model"
)

// domain is a machine as libvirt has it, for one call.
type domain struct {
	driver *driver
	dom    *libvirt.Domain
	uuid   string
	rec    record
	paths  qemu.Paths
}

func (m *domain) id() string { return m.rec.Spec.ID }

func (m *domain) x86() bool { return m.rec.Spec.Arch != model.ARM64 }

// Start defines the machine's domain and starts it. A machine that an I/O error paused
// is continued.
func (d *driver) Start(ctx context.Context, spec hypervisor.Spec) (st hypervisor.Status, err error) {
	if err := ctx.Err(); err != nil {
		return st, err
	}
	host, err := d.Host(ctx)
	if err != nil {
		return st, err
	}
	if _, err := qemu.Resolve(spec, host, d.paths(spec.ID)); err != nil {
		return st, fmt.Errorf("machine %s: %w", spec.ID, err)
	}
	defer d.ops.Lock(spec.ID)()
	err = d.running(ctx, spec.ID, func(m *domain) error {
		if err := m.proceed(); err != nil {
			return err
		}
		st, err = m.status()
		return err
	})
	if !errors.Is(err, hypervisor.ErrNotFound) && !errors.Is(err, hypervisor.ErrNotRunning) {
		return st, err
	}
	fresh := errors.Is(err, hypervisor.ErrNotFound)
	if st, err = d.create(ctx, spec); err != nil {
		err = fmt.Errorf("starting machine %s: %w", spec.ID, err)
		if fresh {
			err = errors.Join(err, d.undo(spec.ID))
		}
	}
	return st, err
}

// undo removes what a failed first start has left.
func (d *driver) undo(id string) error {
	err := d.find(context.Background(), id, (*domain).remove)
	if err == nil || errors.Is(err, hypervisor.ErrNotFound) {
		d.forget(id)
		return nil
	}
	return err
}

// host is what the domains' XML depends on.
func (d *driver) host(ctx context.Context) (h Host, err error) {
	h.UID, h.GID = os.Geteuid(), os.Getegid()
	if h.Host, err = d.Host(ctx); err != nil {
		return h, err
	}
	h.SecModels, err = d.secModels()
	return h, err
}

// create is called with the machine locked.
func (d *driver) create(ctx context.Context, spec hypervisor.Spec) (hypervisor.Status, error) {
	host, err := d.host(ctx)
	if err != nil {
		return hypervisor.Status{}, err
	}
	p := d.paths(spec.ID)
	text, err := DomainXML(spec, host, p, d.opts.StateDir)
	if err != nil {
		return hypervisor.Status{}, err
	}
	c, err := d.connection()
	if err != nil {
		return hypervisor.Status{}, err
	}
	if err := d.vacant(c, spec.UUID); err != nil {
		return hypervisor.Status{}, err
	}
	// Before the files, which the domain is the record of.
	dom, err := c.DomainDefineXML(text)
	if err != nil {
		return hypervisor.Status{}, fmt.Errorf("defining its domain: %w", err)
	}
	defer func() { _ = dom.Free() }()
	d.know(spec.ID, spec.UUID)
	if err := prepare(spec, host.Host, p); err != nil {
		return hypervisor.Status{}, err
	}
	if err := dom.Create(); err != nil {
		_ = os.RemoveAll(p.Run)
		return hypervisor.Status{}, err
	}
	m, err := d.ours(dom)
	if err != nil {
		return hypervisor.Status{}, err
	}
	if m == nil {
		return hypervisor.Status{}, hypervisor.ErrNotFound
	}
	return m.status()
}

// vacant refuses to define a domain over one that is not ours: libvirt would not.
func (d *driver) vacant(c *libvirt.Connect, uuid string) error {
	dom, err := c.LookupDomainByUUIDString(uuid)
	if is(err, libvirt.ERR_NO_DOMAIN) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for a domain: %w", err)
	}
	defer func() { _ = dom.Free() }()
	if m, err := d.ours(dom); err != nil || m == nil {
		return errors.Join(err, fmt.Errorf("libvirt has a domain with its UUID %s that is somebody else's", uuid))
	}
	return nil
}

// prepare makes the files that QEMU expects, and forgets the last run's.
func prepare(spec hypervisor.Spec, host hypervisor.Host, p qemu.Paths) error {
	if err := os.RemoveAll(p.Run); err != nil {
		return fmt.Errorf("removing the last run's files: %w", err)
	}
	for _, dir := range []string{p.State, p.Run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("creating its directory: %w", err)
		}
	}
	if err := os.Remove(p.Console()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the last run's files: %w", err)
	}
	if spec.Boot.Firmware != model.FirmwareUEFI {
		return nil
	}
	fw, err := qemu.Firmware(host, spec.Arch)
	if err != nil {
		return err
	}
	return qemu.MakeVars(fw.Vars, p.Vars(fw.Vars))
}

// proceed continues a machine that is paused.
func (m *domain) proceed() error {
	state, _, err := m.dom.GetState()
	if err != nil || (state != libvirt.DOMAIN_PAUSED && state != libvirt.DOMAIN_CRASHED) {
		return err
	}
	return m.dom.Resume()
}

// endTime is how long libvirt may take to see that QEMU has ended.
const endTime = 2 * time.Second

func (m *domain) status() (hypervisor.Status, error) {
	for end := time.Now().Add(endTime); ; time.Sleep(5 * time.Millisecond) {
		st, err := m.look()
		// QEMU takes its file with it when it ends.
		if !errors.Is(err, fs.ErrNotExist) || time.Now().After(end) {
			return st, err
		}
	}
}

func (m *domain) look() (hypervisor.Status, error) {
	state, reason, err := m.dom.GetState()
	if err != nil {
		return hypervisor.Status{}, absent(err)
	}
	st := hypervisor.Status{ID: m.id(), Accel: m.rec.Accel, State: hypervisor.StateRunning}
	switch state {
	case libvirt.DOMAIN_SHUTOFF, libvirt.DOMAIN_NOSTATE:
		return m.ended(st, libvirt.DomainShutoffReason(reason)), nil
	case libvirt.DOMAIN_PAUSED:
		st.State, st.Detail = hypervisor.StatePaused, m.whyPaused(libvirt.DomainPausedReason(reason))
	case libvirt.DOMAIN_CRASHED:
		st.State, st.Detail = hypervisor.StatePaused, qemu.PauseDetail("guest-panicked", m.rec.Accel.Name, "")
	case libvirt.DOMAIN_PMSUSPENDED:
		st.Detail = qemu.PauseDetail("suspended", m.rec.Accel.Name, "")
	}
	if st.PID, err = m.pid(); err != nil {
		return st, err
	}
	if st.Started, err = qemu.Started(st.PID); err != nil {
		m.driver.log.Debug("asking when a machine was started", "machine", m.id(), "error", err) // it is just ending
	}
	st.NICSockets = make(map[string]string, len(m.rec.Spec.NICs))
	for _, nic := range m.rec.Spec.NICs {
		st.NICSockets[nic.ID] = m.paths.NIC(nic.Index)
	}
	return st, nil
}

// ended completes the status of a machine without a process.
func (m *domain) ended(st hypervisor.Status, reason libvirt.DomainShutoffReason) hypervisor.Status {
	st.State = hypervisor.StateStopped
	switch {
	case reason == libvirt.DOMAIN_SHUTOFF_SHUTDOWN || m.rec.Halted:
		st.GuestHalted, st.Detail = true, qemu.DetailHalted
	case reason == libvirt.DOMAIN_SHUTOFF_DESTROYED:
		st.Detail = "killed"
	case reason == libvirt.DOMAIN_SHUTOFF_CRASHED:
		st.Detail = "QEMU ended unexpectedly; libvirt's log of the domain " + domainName(m.id()) + " may say why"
	default:
		st.Detail = "QEMU does not run, and libvirt does not know why"
	}
	return st
}

// halted reports whether the machine has no process because its guest powered off.
func (m *domain) halted() (bool, error) {
	state, reason, err := m.dom.GetState()
	return state == libvirt.DOMAIN_SHUTOFF && libvirt.DomainShutoffReason(reason) == libvirt.DOMAIN_SHUTOFF_SHUTDOWN, err
}

func (m *domain) whyPaused(reason libvirt.DomainPausedReason) string {
	accel := m.rec.Accel.Name
	switch reason {
	case libvirt.DOMAIN_PAUSED_IOERROR:
		var failed []string
		if disks, err := m.dom.GetDiskErrors(0); err == nil {
			for _, e := range disks {
				what := "a request failed"
				if e.Error == libvirt.DOMAIN_DISK_ERROR_NO_SPACE {
					what = "no space is left"
				}
				failed = append(failed, what+" on "+e.Disk)
			}
		}
		return qemu.PauseDetail("io-error", accel, strings.Join(failed, ", "))
	case libvirt.DOMAIN_PAUSED_CRASHED:
		return qemu.PauseDetail("guest-panicked", accel, "")
	case libvirt.DOMAIN_PAUSED_UNKNOWN: // libvirt has no word for KVM's failure
		return qemu.PauseDetail("internal-error", accel, "")
	}
	return "somebody paused the domain"
}

func (m *domain) pid() (int, error) {
	text, err := os.ReadFile(pidFile(m.paths))
	if err != nil {
		return 0, fmt.Errorf("asking which process it is: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func (m *domain) kill() error {
	err := m.dom.DestroyFlags(libvirt.DOMAIN_DESTROY_DEFAULT)
	if err != nil && !is(err, libvirt.ERR_OPERATION_INVALID) { // it does not run
		return absent(err)
	}
	if err := os.RemoveAll(m.paths.Run); err != nil {
		return fmt.Errorf("removing its sockets: %w", err)
	}
	return nil
}

func (m *domain) remove() error {
	if err := m.kill(); err != nil {
		return err
	}
	if err := os.RemoveAll(m.paths.State); err != nil {
		return fmt.Errorf("removing its files: %w", err)
	}
	// The variables went with the files.
	return absent(m.dom.UndefineFlags(libvirt.DOMAIN_UNDEFINE_KEEP_NVRAM | libvirt.DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | libvirt.DOMAIN_UNDEFINE_MANAGED_SAVE))
}

// note replaces the record in the domain's metadata.
func (m *domain) note(where libvirt.DomainModificationImpact) error {
	element, err := m.rec.element()
	if err != nil {
		return err
	}
	if err := m.dom.SetMetadata(libvirt.DOMAIN_METADATA_ELEMENT, element, prefix, namespace, where); err != nil {
		return fmt.Errorf("recording it in the domain: %w", err)
	}
	return nil
}

// xml is the domain as it is now.
func (m *domain) xml() (*libvirtxml.Domain, error) {
	text, err := m.dom.GetXMLDesc(0)
	if err != nil {
		return nil, absent(err)
	}
	x := &libvirtxml.Domain{}
	if err := xml.Unmarshal([]byte(text), x); err != nil {
		return nil, fmt.Errorf("reading its domain: %w", err)
	}
	return x, nil
}

// Execute runs a QMP command by way of libvirt, for what libvirt has no words for.
func (m *domain) Execute(ctx context.Context, command string, args, out any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	request := map[string]any{"execute": command}
	if args != nil {
		request["arguments"] = args
	}
	text, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	reply, err := m.dom.QemuMonitorCommand(string(text), libvirt.DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT)
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	var answer struct {
		Return json.RawMessage `json:"return"`
		Error  *qmp.Error      `json:"error"`
	}
	if err := json.Unmarshal([]byte(reply), &answer); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	if answer.Error != nil {
		answer.Error.Command = command
		return answer.Error
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer.Return, out); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

var _ qmp.Executor = (*domain)(nil)
