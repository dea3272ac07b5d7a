package qemu

import (
	"errors"
	"fmt"
	"os"
)

// adoptAll finds the machines of the state directory and their processes.
func (d *Driver) adoptAll() error {
	entries, err := os.ReadDir(d.opts.StateDir)
	if err != nil {
		return fmt.Errorf("listing machines: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() && idPattern.MatchString(e.Name()) {
			d.machineOrNew(e.Name()).restore()
		}
	}
	if err := d.adoptOrphans(); err != nil {
		return err
	}
	for _, m := range d.machines {
		m.bury()
	}
	return nil
}

// adoptOrphans takes over processes that no machine knows: of a daemon that was
// killed between exec and its record, or whose records somebody removed.
func (d *Driver) adoptOrphans() error {
	found, err := findProcesses(d.opts.StateDir)
	if err != nil {
		return err
	}
	for id, pid := range found {
		m := d.machineOrNew(id)
		if !m.op.TryLock() {
			continue // somebody is just starting or removing it
		}
		if m.current() == nil && !m.removed {
			if err := m.adopt(pid, nil); err != nil && !errors.Is(err, os.ErrProcessDone) {
				d.log.Error("adopting a machine", "machine", id, "process", pid, "error", err)
			}
			if m.empty() {
				m.removed = true
				d.forget(m)
			}
		}
		m.op.Unlock()
	}
	return nil
}

// restore reads the machine's records and takes over its recorded process.
func (m *machine) restore() {
	m.op.Lock()
	defer m.op.Unlock()
	load(m.paths.spec(), &m.rec)
	load(m.paths.end(), &m.end)
	var p processRecord
	if !load(m.paths.process(), &p) {
		return
	}
	if err := m.adopt(p.PID, &p.Start); err != nil && !errors.Is(err, os.ErrProcessDone) {
		m.driver.log.Error("adopting a machine", "machine", m.id, "process", p.PID, "error", err)
	}
}

// adopt takes over a process, unless it is not this machine's. The process is
// held before it is looked at, so that it cannot be another one afterwards.
func (m *machine) adopt(pid int, start *uint64) error {
	proc, err := watch(pid, nil)
	if errors.Is(err, os.ErrNotExist) {
		return os.ErrProcessDone
	}
	if err != nil {
		return err
	}
	id, ours := machineOfPID(pid, m.driver.opts.StateDir)
	if !ours || id != m.id || (start != nil && *start != proc.start) {
		return os.ErrProcessDone // the id was reused by another process
	}
	r := newRun(proc, true)
	m.mu.Lock()
	r.halted = m.end.GuestHalted
	m.run = r
	m.mu.Unlock()
	if start == nil {
		// Without its directory it stays an orphan, which List shows.
		if err := save(m.paths.process(), processRecord{PID: pid, Start: proc.start}, false); err != nil {
			m.driver.log.Debug("recording an adopted process", "machine", m.id, "error", err)
		}
	}
	m.driver.wg.Go(func() { m.follow(r, nil, nil) })
	return nil
}

// bury records the end of a machine whose process ended while nobody looked.
func (m *machine) bury() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.run != nil {
		return
	}
	if m.end.Detail == "" {
		m.end.Detail = "QEMU ended while the daemon was not running"
		if said := lastLines(m.paths.Log(), 3); said != "" {
			m.end.Detail += ": " + said
		}
	}
	if err := m.settle(m.end); err != nil {
		m.driver.log.Error("recording the end of a machine", "machine", m.id, "error", err)
	}
}
