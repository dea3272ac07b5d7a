// Package boot owns what both programs of the tiny image do first: the kernel's
// file systems, the console, kernel modules. It stays small: the program of the
// initial RAM file system starts sooner the less it links.
package boot

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

var start = time.Now()

// Logf writes one line of boot progress on the console, with the seconds since
// this program started.
func Logf(format string, args ...any) {
	fmt.Printf("[init %6.3f] %s\n", Elapsed().Seconds(), fmt.Sprintf(format, args...))
}

// Elapsed is the time since this program started.
func Elapsed() time.Duration { return time.Since(start) }

// MountKernel mounts /proc, /sys and /dev.
func MountKernel() {
	Mount("proc", "/proc", "proc")
	Mount("sysfs", "/sys", "sysfs")
	Mount("devtmpfs", "/dev", "devtmpfs")
}

// Mount mounts a file system without a device, and says on the console if it
// cannot.
func Mount(source, target, fstype string) {
	_ = os.MkdirAll(target, 0o755)
	// EBUSY: mounted already.
	if err := unix.Mount(source, target, fstype, unix.MS_NOSUID, ""); err != nil && err != unix.EBUSY {
		Logf("mounting %s: %v", target, err)
	}
}

// UseConsole makes the console this program's output: the kernel opens it before
// /dev is mounted only when the file system brings a device node.
func UseConsole() {
	f, err := os.OpenFile("/dev/console", os.O_RDWR, 0)
	if err != nil {
		return
	}
	for fd := range 3 {
		_ = unix.Dup3(int(f.Fd()), fd, 0)
	}
}
