// Command initramfs is the first program of the tiny image, the /init of its
// initial RAM file system: it loads the disk's drivers, mounts the root disk and
// makes place for the /sbin/init there. It runs on Linux only and imports no
// package of this project but its own boot.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/images/tiny/internal/boot"
)

const (
	newRoot    = "/newroot"
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "initramfs: this is the first process of a machine; it cannot be run otherwise")
		os.Exit(1)
	}
	boot.MountKernel()
	boot.UseConsole()
	err := bootFromInitramfs()
	boot.Logf("cannot start the system on the root disk: %v", err)
	boot.Logf("giving up: the machine powers off in 10 s")
	time.Sleep(10 * time.Second)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// bootFromInitramfs mounts the root disk and becomes its /sbin/init. It returns
// only on failure.
func bootFromInitramfs() error {
	boot.LoadModules("/lib/modules")
	args := kernelArguments()
	root := args["root"]
	if root == "" {
		return fmt.Errorf("the kernel's command line has no root=/dev/…")
	}
	fstype := args["rootfstype"]
	if fstype == "" {
		fstype = "ext4"
	}
	if err := waitForFile(root, 10*time.Second); err != nil {
		return fmt.Errorf("waiting for the root disk: %w", err)
	}
	if err := os.MkdirAll(newRoot, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(root, newRoot, fstype, unix.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("mounting %s (%s): %w", root, fstype, err)
	}
	boot.Logf("root disk %s mounted", root)
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		if err := unix.Mount(dir, newRoot+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("moving %s: %w", dir, err)
		}
	}
	forgetInitramfs()
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return unix.Exec("/sbin/init", []string{"/sbin/init"}, []string{"PATH=" + searchPath, "HOME=/root", "TERM=linux"})
}

// forgetInitramfs gives back the memory that the RAM file system holds.
func forgetInitramfs() {
	_ = os.Remove("/init")
	_ = os.RemoveAll("/lib")
}

func kernelArguments() map[string]string {
	line, _ := os.ReadFile("/proc/cmdline")
	args := map[string]string{}
	for _, word := range strings.Fields(string(line)) {
		k, v, _ := strings.Cut(word, "=")
		args[k] = v
	}
	return args
}

func waitForFile(pattern string, timeout time.Duration) error {
	for deadline := time.Now().Add(timeout); ; time.Sleep(5 * time.Millisecond) {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s did not appear within %s", pattern, timeout)
		}
	}
}
