//go:build vm

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// Environment of the second life of this test binary, in its namespace.
const (
	insideEnv = "BUNDT_E2E_INSIDE"
	cacheEnv  = "BUNDT_E2E_CACHE"
)

// TestMain bakes the images while there is a network to fetch packages from,
// and then runs the tests in a namespace where no guest can reach anything but
// this host's loopback.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		if err := loopbackUp(); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	code, err := outside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func outside() (int, error) {
	cache := os.Getenv(cacheEnv)
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return 1, err
		}
		cache = filepath.Join(dir, "bundt-test")
	}
	if err := warmCache(cache); err != nil {
		return 1, fmt.Errorf("baking the images: %w", err)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"=1", cacheEnv+"="+cache)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	runtime.LockOSThread() // Pdeathsig is tied to the thread
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding the loopback interface: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bringing loopback up: %w", err)
	}
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("listing interfaces: %w", err)
	}
	for _, l := range links {
		if l.Attrs().Name != "lo" && l.Attrs().Flags&1 != 0 {
			return fmt.Errorf("refusing to run: %s is up, guests could reach the network", l.Attrs().Name)
		}
	}
	return nil
}

// warmCache bakes every image that the tests use. Nothing is ever run here.
func warmCache(cache string) error {
	dir, err := os.MkdirTemp("", "bundt-e2e-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &daemon{dir: dir, cache: cache}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	if err := d.start(ctx); err != nil {
		return err
	}
	defer d.kill()
	for _, b := range []struct{ recipe, arch string }{{"tiny", "x86_64"}, {"tiny", "arm64"}, {"tiny", "i386"}, {"boot-sector", "x86_64"}} {
		if _, err := d.build(ctx, b.recipe, b.arch); err != nil {
			return fmt.Errorf("%s for %s: %w", b.recipe, b.arch, err)
		}
	}
	return nil
}
