package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

// record is what was started (spec.json). It is there before the process is.
type record struct {
	Spec  hypervisor.Spec   `json:"spec"`
	Accel model.Accelerator `json:"accel"`
}

// processRecord tells a machine's process from others with its id (process.json).
type processRecord struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot
}

// endRecord is how the last process ended (end.json).
type endRecord struct {
	GuestHalted bool      `json:"guestHalted"`
	Detail      string    `json:"detail"`
	Time        time.Time `json:"time"`
}

// save replaces a record as a whole; durably if it must survive a power cut.
// What describes a process need not: a power cut ends the process, too.
func save(path string, value any, durable bool) (err error) {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(text)
	if err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil && durable {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// load reads a record. One that is missing or torn leaves value as it is and
// reports false.
func load(path string, value any) bool {
	text, err := os.ReadFile(path)
	return err == nil && json.Unmarshal(text, value) == nil
}
