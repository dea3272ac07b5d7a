// Command init is process 1 of the tiny image once its root disk is mounted: it
// brings up the network, asks the instance metadata service who it is, serves
// SSH and runs services. Under the name scp it is the far end of scp. It runs on Linux only and imports no package of this
// project but the image's own boot.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/images/tiny/internal/boot"
)

func logf(format string, args ...any) { boot.Logf(format, args...) }

func main() {
	if filepath.Base(os.Args[0]) == "scp" {
		os.Exit(scpMain(os.Args[1:], os.Stdin, os.Stdout))
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is the first process of a machine; it cannot be run otherwise")
		os.Exit(1)
	}
	// Process 1 must not die of a signal that somebody sends it.
	signal.Ignore(syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGPIPE, syscall.SIGALRM, syscall.SIGTRAP)
	boot.UseConsole()
	run()
}

// run is the life of the system on the root disk.
func run() {
	boot.Mount("devpts", "/dev/pts", "devpts")
	boot.Mount("tmpfs", "/run", "tmpfs")
	boot.Mount("tmpfs", "/tmp", "tmpfs")
	if name, err := os.ReadFile("/etc/hostname"); err == nil {
		_ = unix.Sethostname([]byte(strings.TrimSpace(string(name))))
	}
	boot.LoadModules("/lib/modules")
	logf("modules loaded")

	go reapOrphans()
	go watchPowerButton()
	go consoleShell()
	go bringUp()

	// busybox's halt, poweroff and reboot ask process 1 by these signals;
	// SIGINT is Ctrl-Alt-Del.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF)
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
	first := waitForInterface()
	keepAddress(first)
	go keepOthers(first.dev)
	go keepIPv6(first)
	md := newMetadata()
	id := md.identity(first.dev)
	if err := id.apply(); err != nil {
		logf("identity: %v", err)
	}
	go serveSSH()
	go runServices()
	go id.runUserData()
}
