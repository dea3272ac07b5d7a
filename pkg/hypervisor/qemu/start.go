package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/digitalocean/go-qemu/qmp/raw"
	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu/qmp"
	"github.com/bundt/bundt/pkg/model"
)

// greetingTime bounds how long QEMU may take from exec to its monitor.
const greetingTime = 60 * time.Second

// start is called with op held.
func (m *machine) start(ctx context.Context, spec hypervisor.Spec) (hypervisor.Status, error) {
	if r := m.current(); r != nil && !m.leaving(r) {
		return m.keep(ctx, r, spec)
	} else if r != nil { // the guest powered off and QEMU is about to end
		select {
		case <-r.finished:
		case <-ctx.Done():
			return hypervisor.Status{}, ctx.Err()
		}
	}
	host, err := m.driver.Host(ctx)
	if err != nil {
		return hypervisor.Status{}, err
	}
	accel, err := accelerator(spec, host)
	if err != nil {
		return hypervisor.Status{}, err
	}
	resolved := spec
	resolved.Accel = accel.Name
	argv, err := Argv(resolved, host, m.paths)
	if err != nil {
		return hypervisor.Status{}, err
	}
	if err := m.paths.check(); err != nil {
		return hypervisor.Status{}, err
	}
	if n := taps(spec); n != len(spec.Taps) {
		return hypervisor.Status{}, fmt.Errorf("%d taps are given for %d interfaces", len(spec.Taps), n)
	}
	fresh := m.empty()
	open := spec.Taps
	spec.Taps = nil
	if err := m.launch(ctx, argv, open, record{Spec: spec, Accel: accel}, host); err != nil {
		if fresh {
			_ = os.RemoveAll(m.paths.State)
		}
		_ = os.RemoveAll(m.paths.Run)
		return hypervisor.Status{}, err
	}
	m.driver.watchers.emit(m.id, "started")
	return m.status(ctx)
}

// taps counts the interfaces that are attached to one.
func taps(spec hypervisor.Spec) (n int) {
	for _, nic := range spec.NICs {
		if nic.Tap {
			n++
		}
	}
	return n
}

func (m *machine) leaving(r *run) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return r.halted || r.killed
}

// keep leaves a running machine as it is, except for what an earlier start may
// not have got round to.
func (m *machine) keep(ctx context.Context, r *run, spec hypervisor.Spec) (hypervisor.Status, error) {
	m.mu.Lock()
	unrecorded := m.rec.Spec.ID == ""
	if unrecorded {
		m.rec.Spec = spec
		m.rec.Spec.Taps = nil
		if m.rec.Accel.Name == "" {
			m.rec.Accel.Name = spec.Accel
		}
	}
	rec := m.rec
	m.mu.Unlock()
	if unrecorded {
		if err := os.MkdirAll(m.paths.State, 0o700); err != nil {
			return hypervisor.Status{}, fmt.Errorf("creating its directory: %w", err)
		}
		if err := save(m.paths.spec(), rec, true); err != nil {
			return hypervisor.Status{}, err
		}
	}
	if m.paused(r) {
		if err := m.command(ctx, "continuing", (*raw.Monitor).Cont); err != nil {
			return hypervisor.Status{}, err
		}
		if err := m.refresh(ctx, r); err != nil {
			return hypervisor.Status{}, err
		}
	}
	return m.status(ctx)
}

// launch starts QEMU. Whoever kills us meanwhile leaves either no process or one
// that holds the machine's lock and names the machine on its command line.
func (m *machine) launch(ctx context.Context, argv []string, taps []*os.File, rec record, host hypervisor.Host) error {
	for _, dir := range []string{m.paths.State, m.paths.Run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("creating its directory: %w", err)
		}
	}
	lock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := m.prepare(rec, host); err != nil {
		return err
	}
	keys := specKeys(rec.Spec)
	secrets, err := pipes(keys)
	if err != nil {
		return err
	}
	proc, err := m.exec(argv, lock, slices.Concat(taps, secrets))
	closeAll(secrets)
	if err != nil {
		return err
	}
	r := newRun(proc, false)
	client, err := m.greet(ctx, r)
	if err != nil {
		return m.giveUp(r, err)
	}
	recorded := make(chan error, 1)
	go func() {
		recorded <- errors.Join(
			save(m.paths.spec(), rec, true),
			save(m.paths.process(), processRecord{PID: proc.pid, Start: proc.start}, false))
	}()
	events := client.Subscribe()
	forgetKeys(client, keys)
	err = throttleAll(ctx, client, rec.Spec.Disks)
	state, serr := queryState(ctx, client)
	if err = errors.Join(err, serr, <-recorded); err != nil {
		_ = client.Close()
		return m.giveUp(r, err)
	}
	m.mu.Lock()
	m.rec, m.end, m.run = rec, endRecord{}, r
	r.client = client
	m.mu.Unlock()
	m.apply(r, state)
	close(r.ready)
	m.driver.wg.Go(func() { m.follow(r, client, events) })
	return nil
}

// prepare makes the files that QEMU expects, and forgets the last run's.
func (m *machine) prepare(rec record, host hypervisor.Host) error {
	if err := save(m.paths.spec(), rec, false); err != nil {
		return err
	}
	for _, stale := range []string{m.paths.end(), m.paths.process(), m.paths.frozen(), m.paths.Console()} {
		if err := os.Remove(stale); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing the last run's files: %w", err)
		}
	}
	if rec.Spec.Boot.Firmware != model.FirmwareUEFI {
		return nil
	}
	fw, err := firmwareFor(host, rec.Spec.Arch)
	if err != nil {
		return err
	}
	return makeVars(fw.Vars, m.paths.Vars(fw.Vars))
}

// lock takes the lock that tells a machine with a process from one without. It
// is QEMU's from then on: the lock belongs to the open file that QEMU inherits,
// and ends with it, however anyone else ends.
func (m *machine) lock(ctx context.Context) (*os.File, error) {
	f, err := os.OpenFile(m.paths.lock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening its lock: %w", err)
	}
	deadline := time.Now().Add(answerTime)
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			break
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			_ = f.Close()
			return nil, ctx.Err()
		}
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("another process holds %s: is a second daemon using this directory?", m.paths.lock())
	}
	return nil, fmt.Errorf("locking %s: %w", m.paths.lock(), err)
}

// exec starts QEMU with its monitors' sockets listening already.
func (m *machine) exec(argv []string, lock *os.File, more []*os.File) (*process, error) {
	control, err := listen(m.paths.Control())
	if err != nil {
		return nil, err
	}
	defer control.Close()
	telemetry, err := listen(m.paths.Telemetry())
	if err != nil {
		return nil, err
	}
	defer telemetry.Close()
	// In the order of controlFD, telemetryFD, the lock, firstTapFD and secrets.
	return spawn(argv, m.paths.State, m.paths.Log(), append([]*os.File{control, telemetry, lock}, more...))
}

func listen(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing an old socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("making a socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	return l.File()
}

// greet connects to a QEMU that was just started; the connection waits in the
// socket's queue until QEMU takes it.
func (m *machine) greet(ctx context.Context, r *run) (*qmp.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, greetingTime)
	defer cancel()
	go func() {
		select {
		case <-r.proc.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return qmp.Dial(ctx, m.paths.Control())
}

// giveUp ends a process whose start failed, and tells what QEMU said about it.
func (m *machine) giveUp(r *run, cause error) error {
	byItself := false
	select {
	case <-r.proc.done:
		byItself = true
	case <-time.After(100 * time.Millisecond): // a closed monitor comes just before the end
	}
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	err := r.proc.end(ctx)
	said := lastLines(m.paths.Log(), 5)
	end := endRecord{Time: time.Now(), Detail: "it did not start: " + said}
	m.mu.Lock()
	m.end = end
	m.mu.Unlock()
	_ = m.settle(end)
	switch {
	case byItself && said != "":
		return fmt.Errorf("QEMU ended (%s): %s", r.proc.outcome(), said)
	case byItself:
		return fmt.Errorf("QEMU ended (%s) without a word: %w", r.proc.outcome(), cause)
	}
	return errors.Join(cause, err)
}
