// Command init is process 1 of the tiny image, twice: in the initial RAM file
// system, where it finds the root disk, and on the root disk, where it brings up
// the network, asks the instance metadata service who it is, and serves SSH. It
// runs on Linux only and imports no package of this project.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var start = time.Now()

// logf writes one line of boot progress on the console.
func logf(format string, args ...any) {
	fmt.Printf("[init %6.3f] %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
}

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is the first process of a machine; it cannot be run otherwise")
		os.Exit(1)
	}
	if os.Args[0] == "/init" {
		mountKernel()
		useConsole()
		if err := bootFromInitramfs(); err != nil {
			logf("cannot start the system on the root disk: %v", err)
			logf("giving up: the machine powers off in 10 s")
			time.Sleep(10 * time.Second)
			_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
		}
		return
	}
	mountKernel()
	useConsole()
	run()
}

// run is the life of the system on the root disk.
func run() {
	mountRuntime()
	if name, err := os.ReadFile("/etc/hostname"); err == nil {
		_ = unix.Sethostname([]byte(strings.TrimSpace(string(name))))
	}
	loadModules("/lib/modules")
	logf("modules loaded")

	go reapOrphans()
	go watchPowerButton()
	go consoleShell()
	go bringUp()

	// busybox's halt, poweroff and reboot ask process 1 by these signals;
	// SIGINT is Ctrl-Alt-Del.
	unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF)
	sig := make(chan os.Signal, 8)
	signal.Notify(sig, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM, syscall.SIGINT)
	for s := range sig {
		switch s {
		case syscall.SIGTERM, syscall.SIGINT:
			shutdown("reboot", unix.LINUX_REBOOT_CMD_RESTART)
		default:
			shutdown("power off", unix.LINUX_REBOOT_CMD_POWER_OFF)
		}
	}
}

// bringUp goes from no network to a machine that can be logged in to.
func bringUp() {
	dev := waitForInterface()
	keepAddress(dev)
	md := newMetadata()
	id := md.identity(dev)
	if err := id.apply(); err != nil {
		logf("identity: %v", err)
	}
	go serveSSH()
	go runServices()
	go id.runUserData()
}

func mountKernel() {
	for _, m := range []struct{ source, target, fstype string }{
		{"proc", "/proc", "proc"}, {"sysfs", "/sys", "sysfs"}, {"devtmpfs", "/dev", "devtmpfs"},
	} {
		mount(m.source, m.target, m.fstype)
	}
}

func mountRuntime() {
	mount("devpts", "/dev/pts", "devpts")
	mount("tmpfs", "/run", "tmpfs")
	mount("tmpfs", "/tmp", "tmpfs")
}

func mount(source, target, fstype string) {
	_ = os.MkdirAll(target, 0o755)
	// EBUSY: mounted already, by the kernel or by the first stage.
	if err := unix.Mount(source, target, fstype, unix.MS_NOSUID, ""); err != nil && err != unix.EBUSY {
		logf("mounting %s: %v", target, err)
	}
}

// useConsole makes the console this program's output: the kernel opens it before
// /dev is mounted only when the file system brings a device node.
func useConsole() {
	f, err := os.OpenFile("/dev/console", os.O_RDWR, 0)
	if err != nil {
		return
	}
	for fd := range 3 {
		_ = unix.Dup3(int(f.Fd()), fd, 0)
	}
}
