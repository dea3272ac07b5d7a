package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespace is a network namespace that a file keeps alive, as "ip netns" has it.
type namespace struct {
	path string
	file *os.File
	link *netlink.Handle
}

// onThread runs f on a thread of its own, which is thrown away unless f leaves
// it in the namespace that it found it in.
func onThread(f func() (tainted bool, err error)) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		tainted, err := f()
		if !tainted {
			runtime.UnlockOSThread()
		}
		done <- err // a goroutine that ends locked takes its thread with it
	}()
	return <-done
}

// makeNamespace makes a namespace and its file.
func makeNamespace(path string) (*namespace, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the directory of namespaces: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return nil, fmt.Errorf("making a namespace: %w", err)
	}
	f.Close()
	err = onThread(func() (bool, error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return false, fmt.Errorf("making a namespace: %w", err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return true, fmt.Errorf("keeping the namespace %s: %w", path, err)
		}
		return true, nil
	})
	if err != nil {
		os.Remove(path)
		return nil, err
	}
	return openNamespace(path)
}

// openNamespace opens a namespace that is there.
func openNamespace(path string) (*namespace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening a namespace: %w", err)
	}
	n := &namespace{path: path, file: f}
	if n.link, err = netlink.NewHandleAt(netns.NsHandle(f.Fd())); err != nil {
		f.Close()
		return nil, fmt.Errorf("entering the namespace %s: %w", path, err)
	}
	return n, nil
}

// ensureNamespace opens the namespace, or makes it. A file that an interrupted
// making left is no namespace, and goes.
func ensureNamespace(path string) (*namespace, error) {
	n, err := openNamespace(path)
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		if err := removeNamespace(path); err != nil {
			return nil, err
		}
	}
	return makeNamespace(path)
}

// removeNamespace lets a namespace go. With the last process in it everything
// in it ends.
func removeNamespace(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // EINVAL: nothing is mounted there
		return fmt.Errorf("releasing the namespace %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the namespace %s: %w", path, err)
	}
	return nil
}

func (n *namespace) handle() *netns.NsHandle {
	h := netns.NsHandle(n.file.Fd())
	return &h
}

// close ends our hold; the namespace stays.
func (n *namespace) close() {
	n.link.Close()
	n.file.Close()
}

// do runs f with its thread in the namespace: sockets and devices that it makes
// are the namespace's.
func (n *namespace) do(f func() error) error {
	return onThread(func() (bool, error) {
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return false, fmt.Errorf("opening the host's namespace: %w", err)
		}
		defer home.Close()
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return false, fmt.Errorf("entering the namespace %s: %w", n.path, err)
		}
		err = f()
		return unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) != nil, err
	})
}

// sysctl sets a value of the namespace; name is the path below net.
func sysctl(name, value string) error {
	if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0); err != nil {
		return fmt.Errorf("setting net/%s to %s: %w", name, value, err)
	}
	return nil
}
