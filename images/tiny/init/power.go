package main

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/images/tiny/internal/boot"
)

// Of linux/input-event-codes.h.
const (
	evKey    = 1
	keyPower = 116
)

// watchPowerButton turns presses of the ACPI power button into a clean power off.
func watchPowerButton() {
	watched := map[string]bool{}
	for ; ; time.Sleep(time.Second) {
		devices, _ := filepath.Glob("/dev/input/event*")
		for _, name := range devices {
			if watched[name] {
				continue
			}
			f, err := os.Open(name)
			if err != nil {
				continue
			}
			watched[name] = true
			go readButtons(f)
		}
		if len(watched) > 0 && boot.Elapsed() > time.Minute {
			return
		}
	}
}

// readButtons reads struct input_event: a struct timeval, which is two longs,
// then type, code and value.
func readButtons(f *os.File) {
	defer f.Close()
	head := 2 * int(unsafe.Sizeof(uintptr(0)))
	event := make([]byte, head+8)
	for {
		if _, err := io.ReadFull(f, event); err != nil {
			return
		}
		e := event[head:]
		if binary.NativeEndian.Uint16(e) == evKey && binary.NativeEndian.Uint16(e[2:]) == keyPower && binary.NativeEndian.Uint32(e[4:]) == 1 {
			logf("power button")
			shutdown("power off", unix.LINUX_REBOOT_CMD_POWER_OFF)
		}
	}
}

var shutdownOnce sync.Once

// shutdown ends all processes, makes the disk clean and stops the machine.
func shutdown(what string, command int) {
	shutdownOnce.Do(func() {
		logf("%s: stopping processes", what)
		// The shells that ran the command still have a word to say to their clients.
		_ = unix.Kill(-1, unix.SIGTERM)
		_ = unix.Kill(-1, unix.SIGCONT)
		for deadline := time.Now().Add(300 * time.Millisecond); userProcesses() && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
		_ = unix.Kill(-1, unix.SIGKILL)
		unix.Sync()
		for try := 0; try < 20; try++ {
			err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
			if err == nil {
				break
			}
			if try == 19 {
				logf("making the root disk read-only: %v", err)
			}
			time.Sleep(10 * time.Millisecond) // killed processes still hold files open
		}
		unix.Sync()
		logf("%s", what)
		_ = unix.Reboot(command)
	})
	select {}
}

// userProcesses reports whether any process but this one and the kernel's runs.
func userProcesses() bool {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range lines {
		if strings.HasPrefix(name, "/proc/1/") {
			continue
		}
		if b, err := os.ReadFile(name); err == nil && len(b) > 0 {
			return true
		}
	}
	return false
}
