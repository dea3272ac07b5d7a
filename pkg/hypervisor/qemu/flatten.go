package qemu

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu/qmp"
)

// A disk is flattened by QEMU's job "stream", which copies into the head what it
// reads from the layers to be left out, and writes to no other. While it runs QEMU
// refuses to change the disk: snapshots and the like end it first, which loses
// nothing, because what was copied stays.

const (
	flattenJob  = "flatten-" // and the disk's device
	flattenPoll = 50 * time.Millisecond
)

// FlattenDisk starts the job and waits for its end.
func (d *Driver) FlattenDisk(ctx context.Context, id, diskID, base string, bytesPerSecond int64) error {
	head := ""
	err := d.plugging(ctx, id, func(m *machine, _ *run, client *qmp.Client) (err error) {
		head, err = m.startFlatten(ctx, client, diskID, base, bytesPerSecond)
		return err
	})
	if err != nil || head == "" {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err() // the job goes on; the next call finds its result
		case <-time.After(flattenPoll):
		}
		ended := false
		err := d.plugging(ctx, id, func(m *machine, _ *run, client *qmp.Client) error {
			jobs, err := flattenJobs(ctx, client)
			if err != nil {
				return err
			}
			at := slices.IndexFunc(jobs, func(j job) bool { return j.ID == flattenJob+diskDevice(diskID) })
			if at < 0 {
				return fmt.Errorf("flattening disk %s was interrupted: %w", diskID, hypervisor.ErrBusy)
			}
			switch jobs[at].Status {
			case jobConcluded:
			case jobPending:
				// What was copied is to be on stable storage before the head's header says
				// that it needs nothing else.
				if err := flush(ctx, client, diskID); err != nil {
					return err
				}
				return client.Execute(ctx, "job-finalize", map[string]any{"id": jobs[at].ID}, nil)
			default:
				return nil
			}
			ended = true
			if err := client.Execute(ctx, "job-dismiss", map[string]any{"id": jobs[at].ID}, nil); err != nil {
				return err
			}
			if jobs[at].Error != "" {
				return fmt.Errorf("flattening disk %s: %s", diskID, jobs[at].Error)
			}
			if err := flush(ctx, client, diskID); err != nil {
				return err
			}
			return m.flattened(client, diskID, head, base)
		})
		if ended || err != nil {
			return err
		}
	}
}

// startFlatten returns the head that the job writes to, "" if there is nothing to do.
func (m *machine) startFlatten(ctx context.Context, client *qmp.Client, diskID, base string, bytesPerSecond int64) (head string, err error) {
	if err := endFlattening(ctx, client); err != nil { // of a driver that was killed
		return "", err
	}
	m.mu.Lock()
	spec := m.rec.Spec
	m.mu.Unlock()
	i := diskIndex(spec, diskID)
	if i < 0 {
		return "", fmt.Errorf("it has no disk %s", diskID)
	}
	layers := spec.Disks[i].Layers
	args := map[string]any{
		"job-id": flattenJob + diskDevice(diskID), "device": layers[0].ID, "speed": bytesPerSecond, "auto-dismiss": false, "auto-finalize": false,
	}
	at := len(layers)
	if base != "" {
		at = slices.IndexFunc(layers, func(l hypervisor.Layer) bool { return l.ID == base })
		if at < 1 {
			return "", fmt.Errorf("disk %s has no layer %s below its head", diskID, base)
		}
		args["base-node"], args["backing-file"] = base, filepath.Base(layers[at].Path)
	}
	if at == 1 {
		return "", nil
	}
	blocks, err := queryBlocks(ctx, client)
	if err != nil {
		return "", err
	}
	if now := blocks[diskDevice(diskID)].head; now != layers[0].ID {
		return "", fmt.Errorf("disk %s has the head %q where %s was expected: %w", diskID, now, layers[0].ID, hypervisor.ErrBusy)
	}
	if err := client.Execute(ctx, "block-stream", args, nil); err != nil {
		return "", fmt.Errorf("flattening disk %s: %w", diskID, err)
	}
	return layers[0].ID, nil
}

// flattened records a disk's shorter chain, and closes the layers that were left out.
func (m *machine) flattened(client *qmp.Client, diskID, head, base string) error {
	var out []string
	err := m.renote(func(s *hypervisor.Spec) bool {
		i := diskIndex(*s, diskID)
		if i < 0 || s.Disks[i].Layers[0].ID != head {
			return false
		}
		layers := s.Disks[i].Layers
		at := len(layers)
		if base != "" {
			at = slices.IndexFunc(layers, func(l hypervisor.Layer) bool { return l.ID == base })
		}
		for _, l := range slices.Backward(layers[1:at]) {
			out = append(out, l.ID)
		}
		s.Disks = slices.Clone(s.Disks)
		s.Disks[i].Layers = append([]hypervisor.Layer{layers[0]}, layers[at:]...)
		return true
	})
	closeNodes(client, out)
	return err
}

// job is what QEMU says of a job that goes on or has ended.
type job struct{ ID, Status, Error string }

// The states of jobs that wait for us.
const (
	jobPending   = "pending"
	jobConcluded = "concluded"
)

// flush writes what QEMU has of a disk, its tables included, to stable storage. The
// protocol has no command for that, its human monitor has.
func flush(ctx context.Context, client *qmp.Client, diskID string) error {
	line := map[string]any{"command-line": "qemu-io -d " + backend(diskID) + " flush"}
	var said string
	if err := client.Execute(ctx, "human-monitor-command", line, &said); err != nil {
		return fmt.Errorf("flushing disk %s: %w", diskID, err)
	}
	if said != "" {
		return fmt.Errorf("flushing disk %s: %s", diskID, strings.TrimSpace(said))
	}
	return nil
}

func flattenJobs(ctx context.Context, client *qmp.Client) (jobs []job, err error) {
	if err := client.Execute(ctx, "query-jobs", nil, &jobs); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(jobs, func(j job) bool { return !strings.HasPrefix(j.ID, flattenJob) }), nil
}

// endFlattening ends all such jobs of a machine.
func endFlattening(ctx context.Context, client *qmp.Client) error {
	for {
		jobs, err := flattenJobs(ctx, client)
		if err != nil || len(jobs) == 0 {
			return err
		}
		for _, j := range jobs {
			command := "job-cancel"
			if j.Status == jobConcluded {
				command = "job-dismiss"
			}
			// One that has just ended is refused: the next look sees it.
			_ = client.Execute(ctx, command, map[string]any{"id": j.ID}, nil)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}
