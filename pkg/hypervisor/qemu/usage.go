package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
)

// clockTick is Linux's unit of times in /proc (USER_HZ), the same everywhere.
const clockTick = 10 * time.Millisecond

// Usage asks the kernel for what the process and the threads of its virtual processors have
// used, and QEMU for the disks.
func (d *Driver) Usage(ctx context.Context, id string) (u hypervisor.Usage, err error) {
	m, err := d.known(id)
	if err != nil {
		return u, err
	}
	r, client, err := m.monitor(ctx)
	if err != nil {
		return u, err
	}
	var cpus []struct {
		Thread int `json:"thread-id"`
	}
	if err := client.Execute(ctx, "query-cpus-fast", nil, &cpus); err != nil {
		return u, err
	}
	var devices []struct {
		Path  string `json:"qdev"`
		Stats struct {
			ReadBytes    int64         `json:"rd_bytes"`
			WrittenBytes int64         `json:"wr_bytes"`
			Reads        int64         `json:"rd_operations"`
			Writes       int64         `json:"wr_operations"`
			ReadTime     time.Duration `json:"rd_total_time_ns"`
			WriteTime    time.Duration `json:"wr_total_time_ns"`
		} `json:"stats"`
	}
	if err := client.Execute(ctx, "query-blockstats", nil, &devices); err != nil {
		return u, err
	}
	proc := fmt.Sprintf("/proc/%d", r.proc.pid)
	threads := map[int]bool{} // emulated processors may share one
	for _, c := range cpus {
		if threads[c.Thread] {
			continue
		}
		threads[c.Thread] = true
		t, err := threadTime(fmt.Sprintf("%s/task/%d/stat", proc, c.Thread))
		if err != nil {
			return u, gone(id, err)
		}
		u.CPU += t
	}
	if u.Memory, err = residentMemory(proc + "/statm"); err != nil {
		return u, gone(id, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	u.Disks = map[string]hypervisor.DiskUsage{}
	for _, disk := range m.rec.Spec.Disks {
		for _, dev := range devices {
			if dev.Path == backend(disk.ID) {
				u.Disks[disk.ID] = hypervisor.DiskUsage(dev.Stats)
			}
		}
	}
	return u, nil
}

// gone is the error of a process that ended while it was looked at.
func gone(id string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("machine %s: %w", id, hypervisor.ErrNotRunning)
	}
	return err
}

// threadTime is the time that a thread has run in user and kernel mode: the fields 14 and
// 15 of its stat (proc_pid_stat(5)), counted after the name, which may have anything in it.
func threadTime(path string) (time.Duration, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("reading a processor's time: %w", err)
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 13 {
		return 0, fmt.Errorf("reading a processor's time: %s has %d fields", path, len(f))
	}
	user, err := strconv.ParseInt(string(f[11]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading a processor's time: %w", err)
	}
	system, err := strconv.ParseInt(string(f[12]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading a processor's time: %w", err)
	}
	return time.Duration(user+system) * clockTick, nil
}

// residentMemory is the second field of a process's statm, in bytes.
func residentMemory(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("reading a process's memory: %w", err)
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0, fmt.Errorf("reading a process's memory: %s has %d fields", path, len(f))
	}
	pages, err := strconv.ParseInt(string(f[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading a process's memory: %w", err)
	}
	return pages * int64(os.Getpagesize()), nil
}
