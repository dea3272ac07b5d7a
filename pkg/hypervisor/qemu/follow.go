package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu/qmp"
)

// follow keeps a run's state up to date from QEMU's events until its process
// ends, and then records the end. When the driver closes it lets go.
func (m *machine) follow(r *run, client *qmp.Client, events *qmp.Subscription) {
	for {
		if client == nil {
			if client, events = m.connect(r); client == nil {
				break
			}
		}
		m.heed(r, client, events)
		_ = client.Close()
		client = nil
		m.mu.Lock()
		r.client = nil
		m.mu.Unlock()
		if m.driver.ctx.Err() != nil {
			return
		}
	}
	select {
	case <-r.proc.done:
		m.finish(r)
	case <-m.driver.ctx.Done():
	}
}

// connect reaches the monitor of a process that runs already. It returns nil
// when the process has ended or the driver closes.
func (m *machine) connect(r *run) (*qmp.Client, *qmp.Subscription) {
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second) {
		select {
		case <-r.proc.done:
			return nil, nil
		case <-m.driver.ctx.Done():
			return nil, nil
		default:
		}
		client, events, err := m.tryConnect(r)
		if err == nil {
			return client, events
		}
		m.driver.log.Debug("connecting to a machine's monitor", "machine", m.id, "error", err)
		select {
		case <-r.proc.done:
		case <-m.driver.ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (m *machine) tryConnect(r *run) (*qmp.Client, *qmp.Subscription, error) {
	ctx, cancel := context.WithTimeout(m.driver.ctx, commandTime)
	defer cancel()
	go func() {
		select {
		case <-r.proc.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	client, err := qmp.Dial(ctx, m.paths.Control())
	if err != nil {
		return nil, nil, err
	}
	events := client.Subscribe()
	// Events that came while nobody was connected are lost: ask.
	state, err := queryState(ctx, client)
	if err != nil {
		_ = client.Close()
		return nil, nil, err
	}
	m.mu.Lock()
	r.client = client
	disks := m.rec.Spec.Disks
	m.mu.Unlock()
	if err := throttleAll(ctx, client, disks); err != nil { // a guest may have let go of one meanwhile
		m.driver.log.Debug("limiting the disks of an adopted machine", "machine", m.id, "error", err)
	}
	m.apply(r, state)
	m.thawIfLeft(client)
	select {
	case <-r.ready:
	default:
		close(r.ready)
	}
	return client, events, nil
}

// heed handles events until the connection or the process ends or the driver closes.
func (m *machine) heed(r *run, client *qmp.Client, events *qmp.Subscription) {
	defer events.Close()
	for {
		select {
		case e, ok := <-events.C():
			if !ok {
				return
			}
			m.handle(r, client, e)
			if events.Lost() > 0 {
				m.ask(r, client)
			}
		case <-r.proc.done:
			return
		case <-m.driver.ctx.Done():
			return
		}
	}
}

func (m *machine) handle(r *run, client *qmp.Client, e qmp.Event) {
	switch e.Name {
	case "SHUTDOWN":
		var d struct {
			Guest  bool   `json:"guest"`
			Reason string `json:"reason"`
		}
		if json.Unmarshal(e.Data, &d) == nil && d.Guest && d.Reason == "guest-shutdown" {
			m.halt(r, client)
		}
	case "BLOCK_IO_ERROR":
		var d struct {
			Node      string `json:"node-name"`
			Operation string `json:"operation"`
			Reason    string `json:"reason"`
		}
		if json.Unmarshal(e.Data, &d) == nil {
			m.mu.Lock()
			r.ioErr = fmt.Sprintf("%s on %s: %s", d.Operation, d.Node, d.Reason)
			m.mu.Unlock()
		}
	case "STOP", "RESUME", "GUEST_PANICKED":
		m.ask(r, client)
	case "DEVICE_DELETED":
		if deletedDevice(e) != "" {
			m.driver.watchers.emit(m.id, "unplugged")
		}
	case "RESET":
		m.driver.watchers.emit(m.id, "reset")
	}
}

// ask brings the run's state up to date.
func (m *machine) ask(r *run, client *qmp.Client) {
	ctx, cancel := context.WithTimeout(m.driver.ctx, commandTime)
	defer cancel()
	state, err := queryState(ctx, client)
	if err != nil {
		return // the connection has ended, which the caller sees, or QEMU hangs
	}
	m.apply(r, state)
}

func (m *machine) refresh(ctx context.Context, r *run) error {
	_, client, err := m.monitor(ctx)
	if err != nil {
		return err
	}
	state, err := queryState(ctx, client)
	if err != nil {
		return err
	}
	m.apply(r, state)
	return nil
}

// queryState returns QEMU's RunState. It is not go-qemu's type, which refuses
// states that newer versions of QEMU have.
func queryState(ctx context.Context, client *qmp.Client) (string, error) {
	var out struct {
		Status string `json:"status"`
	}
	err := client.Execute(ctx, "query-status", nil, &out)
	return out.Status, err
}

// apply translates QEMU's RunState.
func (m *machine) apply(r *run, state string) {
	if state == "shutdown" {
		m.mu.Lock()
		client := r.client
		m.mu.Unlock()
		m.halt(r, client)
		return
	}
	m.mu.Lock()
	before := r.state
	r.state, r.detail = translate(state, m.rec.Accel.Name, r.ioErr)
	if r.state == hypervisor.StateRunning {
		r.ioErr = ""
	}
	changed := before != r.state
	after := r.state
	m.mu.Unlock()
	switch {
	case changed && after == hypervisor.StatePaused:
		m.driver.watchers.emit(m.id, "paused")
	case changed:
		m.driver.watchers.emit(m.id, "started")
	}
}

func translate(state, accel, ioErr string) (hypervisor.State, string) {
	switch state {
	case "running":
		return hypervisor.StateRunning, ""
	case "suspended":
		return hypervisor.StateRunning, "the guest suspended itself to memory"
	case "internal-error":
		if accel == accelKVM {
			return hypervisor.StatePaused, "KVM broke: it could not execute the guest's code; use software emulation (tcg) for this machine"
		}
		return hypervisor.StatePaused, "QEMU stopped the guest after an internal error"
	case "io-error":
		if ioErr == "" {
			ioErr = "a request failed"
		}
		return hypervisor.StatePaused, "its disk failed: " + ioErr + "; free space or repair the disk, then start it again"
	case "guest-panicked":
		return hypervisor.StatePaused, "the guest's kernel panicked"
	}
	return hypervisor.StatePaused, "QEMU is " + state
}

// quitTime is how long QEMU may take to close its disks and leave.
const quitTime = 5 * time.Second

// halt records that the guest powered off, durably, and lets QEMU end, which
// waits for us to do so (-action shutdown=pause).
func (m *machine) halt(r *run, client *qmp.Client) {
	m.mu.Lock()
	again := r.quitting
	r.halted, r.quitting, r.detail = true, true, detailHalted
	m.mu.Unlock()
	if again {
		return
	}
	if err := save(m.paths.end(), endRecord{GuestHalted: true, Detail: detailHalted, Time: time.Now()}, true); err != nil {
		m.driver.log.Error("recording that a guest powered off", "machine", m.id, "error", err)
	}
	m.driver.wg.Go(func() {
		ctx, cancel := context.WithTimeout(m.driver.ctx, quitTime)
		defer cancel()
		if client != nil {
			_ = client.Execute(ctx, "quit", nil, nil) // may close before it answers
		}
		select {
		case <-r.proc.done:
		case <-ctx.Done():
			if m.driver.ctx.Err() == nil {
				_ = r.proc.kill()
			}
		}
	})
}
