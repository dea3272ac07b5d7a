package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// A switch's process holds the lock of its control socket from before it runs: the
// daemon takes it, and the process inherits it. The kernel releases it with the last of
// them, however that ends.

const (
	// lockEnv names the lock's file descriptor to the process that inherits it.
	lockEnv = "BUNDT_SWITCH_LOCK_FD"
	// firstExtraFile is the number that os/exec gives to the first further file.
	firstExtraFile = 3
)

func lockFile(controlSocket string) string { return controlSocket + ".lock" }

// lock makes the caller the only one to start or be the switch of a control socket,
// until it closes the file. ErrRunning: somebody is.
func lock(controlSocket string) (*os.File, error) {
	path := lockFile(controlSocket)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the control directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w (%s)", ErrRunning, path)
	}
	return f, nil
}

// takeLock is the switch's own: what it has inherited, or by itself if nobody
// started it with one.
func takeLock(controlSocket string) (*os.File, error) {
	value, inherited := os.LookupEnv(lockEnv)
	if !inherited {
		return lock(controlSocket)
	}
	if err := os.Unsetenv(lockEnv); err != nil {
		return nil, fmt.Errorf("taking the lock over: %w", err)
	}
	fd, err := strconv.Atoi(value)
	if err != nil {
		return nil, fmt.Errorf("taking the lock over: %s=%q is no file descriptor", lockEnv, value)
	}
	unix.CloseOnExec(fd) // it ends with this process, not with one of its children
	f := os.NewFile(uintptr(fd), lockFile(controlSocket))
	ours, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("taking the lock over: %w", err)
	}
	named, err := os.Stat(lockFile(controlSocket))
	if err != nil || !os.SameFile(ours, named) {
		return nil, errors.Join(fmt.Errorf("taking the lock over: it is not %s any more", lockFile(controlSocket)), err, f.Close())
	}
	return f, nil
}

// Running reports whether there is a switch of a control socket, one that has only
// just been started included.
func Running(controlSocket string) (bool, error) {
	f, err := os.OpenFile(lockFile(controlSocket), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for a switch: %w", err)
	}
	defer f.Close()
	// A shared lock, so that two who look do not take each other for a switch.
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for a switch: %w", err)
	}
	return false, nil
}
