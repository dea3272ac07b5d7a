package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/hypervisor"
)

const (
	// consoleLimit is how large a console's log may grow on disk.
	consoleLimit = 1 << 20
	// consoleKept is how much of it is kept then, at least.
	consoleKept = 256 << 10
	// consoleBlock: file systems give back whole blocks only.
	consoleBlock = 64 << 10
	// trimInterval: a serial port writes a few megabytes meanwhile at most.
	trimInterval = 3 * time.Second
)

// ConsoleOutput returns the end of what the guest wrote on its serial port since
// the machine was last started.
func (d *Driver) ConsoleOutput(_ context.Context, id string, max int) ([]byte, error) {
	m, err := d.known(id)
	if err != nil {
		return nil, err
	}
	if max <= 0 {
		return nil, nil
	}
	text, err := tail(m.paths.Console(), max)
	if errors.Is(err, os.ErrNotExist) {
		if m.empty() {
			return nil, fmt.Errorf("machine %s: %w", id, hypervisor.ErrNotFound)
		}
		return nil, nil // nothing was written yet
	}
	if err != nil {
		return nil, fmt.Errorf("reading the console of %s: %w", id, err)
	}
	return text, nil
}

// tail returns the last max bytes of a file, without the hole at its beginning.
func tail(path string, max int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	from := size - min(size, int64(max))
	if data, err := unix.Seek(int(f.Fd()), from, unix.SEEK_DATA); err == nil {
		from = data
	}
	text := make([]byte, size-from)
	n, err := f.ReadAt(text, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return bytes.TrimLeft(text[:n], "\x00"), nil
}

// trimConsoles keeps the consoles' logs small while the driver is open.
func (d *Driver) trimConsoles() {
	trimConsoles(d.ctx, func() []Paths {
		d.mu.Lock()
		defer d.mu.Unlock()
		paths := make([]Paths, 0, len(d.machines))
		for _, m := range d.machines {
			paths = append(paths, m.paths)
		}
		return paths
	}, func(p Paths, err error) {
		d.log.Warn("shortening a console's log", "path", p.Console(), "error", err)
	})
}

func trimConsoles(ctx context.Context, list func() []Paths, failed func(Paths, error)) {
	tick := time.NewTicker(trimInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, p := range list() {
			if err := trim(p.Console()); err != nil && !errors.Is(err, os.ErrNotExist) {
				failed(p, err)
			}
		}
	}
}

// trim gives back the space of all but the end of a log that QEMU appends to. It
// punches a hole, which loses nothing that is being written; where the file
// system has no holes, the log is begun anew with its end.
func trim(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Blocks*512 <= consoleLimit {
		return nil
	}
	end := (st.Size - consoleKept) / consoleBlock * consoleBlock
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, end)
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	kept := make([]byte, consoleKept)
	n, err := f.ReadAt(kept, st.Size-consoleKept)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.Write(kept[:n])
	return err
}
